// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import { SupporterBond } from "../src/SupporterBond.sol";
import { ISupporterBond } from "../src/interfaces/ISupporterBond.sol";
import { Test } from "./support/Test.sol";
import { Vm } from "./support/Vm.sol";

/// @notice Four people who put coin down for themselves and each other, take it out, claim, and try what they may
/// not. Its books are kept from the contract's events alone, as a reader off chain has to.
contract BondActors is Test {
    struct OpenExit {
        address supporter;
        address beneficiary;
        uint256 amount;
        uint64 claimableAt;
    }

    SupporterBond public immutable TARGET;
    uint256 public constant PEOPLE = 4;

    mapping(address supporter => mapping(address funder => uint256)) public bonded;
    mapping(address supporter => uint256) public exiting;
    mapping(address funder => uint256) public putDown;
    mapping(address funder => uint256) public paidOut;
    mapping(uint256 exitId => OpenExit) public exits;
    uint256 public lastExit;
    uint256 public forced;
    uint256 public claims;

    constructor(SupporterBond target) {
        TARGET = target;
    }

    function someone(uint256 seed) public pure returns (address) {
        return person(1 + (seed % PEOPLE));
    }

    function bond(uint256 who, uint96 amount) external {
        _act(someone(who), bound(amount, 0, 10 ether), abi.encodeCall(TARGET.bond, ()));
    }

    function bondFor(uint256 who, uint256 whom, uint96 amount) external {
        _act(someone(who), bound(amount, 0, 10 ether), abi.encodeCall(TARGET.bondFor, (someone(whom))));
    }

    function queueExit(uint256 who, uint128 amount) external {
        uint256 own = TARGET.ownBondOf(someone(who));
        _act(
            someone(who), 0, abi.encodeCall(TARGET.queueExit, (uint128(bound(amount, 0, own + own / 8 + 1))))
        );
    }

    function queueSponsoredExit(uint256 who, uint256 whom, uint256 funder, uint128 amount) external {
        uint256 part = TARGET.sponsoredBy(someone(whom), someone(funder));
        uint128 wanted = uint128(bound(amount, 0, part + part / 8 + 1));
        _act(
            someone(who),
            0,
            abi.encodeCall(TARGET.queueSponsoredExit, (someone(whom), someone(funder), wanted))
        );
    }

    function claim(uint256 who, uint256 exitId) external {
        _act(someone(who), 0, abi.encodeCall(TARGET.claim, (bound(exitId, 0, lastExit + 1))));
    }

    function claimTo(uint256 who, uint256 whom, uint256 exitId) external {
        address payable receiver = payable(someone(whom));
        _act(someone(who), 0, abi.encodeCall(TARGET.claimTo, (bound(exitId, 0, lastExit + 1), receiver)));
    }

    function send(uint256 who, uint96 amount) external {
        _act(someone(who), amount, "");
    }

    /// @notice Coin that arrives without a call, as from a block's fees.
    function force(uint96 amount) external {
        amount = uint96(bound(amount, 1, 1 ether));
        forced += amount;
        vm.deal(address(TARGET), address(TARGET).balance + amount);
    }

    function wait(uint32 time) external {
        vm.warp(block.timestamp + bound(time, 1, 60 days));
    }

    function _act(address who, uint256 value, bytes memory call) private {
        vm.deal(who, who.balance + value);
        vm.recordLogs();
        vm.prank(who);
        (bool accepted,) = address(TARGET).call{ value: value }(call);
        Vm.Log[] memory logs = vm.getRecordedLogs();
        if (!accepted) return; // forge also hands out the logs of refused calls
        vm.assertEq(logs.length, 1, "one event for each accepted act");
        _fold(logs[0]);
    }

    function _fold(Vm.Log memory log) private {
        address supporter = address(uint160(uint256(log.topics[1])));
        if (log.topics[0] == ISupporterBond.Bonded.selector) {
            address funder = address(uint160(uint256(log.topics[2])));
            uint256 amount = abi.decode(log.data, (uint256));
            bonded[supporter][funder] += amount;
            putDown[funder] += amount;
        } else if (log.topics[0] == ISupporterBond.ExitQueued.selector) {
            (address beneficiary, uint256 amount, uint64 claimableAt) =
                abi.decode(log.data, (address, uint256, uint64));
            bonded[supporter][beneficiary] -= amount;
            exiting[supporter] += amount;
            lastExit = uint256(log.topics[2]);
            exits[lastExit] = OpenExit(supporter, beneficiary, amount, claimableAt);
        } else if (log.topics[0] == ISupporterBond.ExitClaimed.selector) {
            uint256 exitId = uint256(log.topics[2]);
            uint256 amount = abi.decode(log.data, (uint256));
            vm.assertTrue(block.timestamp >= exits[exitId].claimableAt, "claimed before its time");
            vm.assertEq(exits[exitId].amount, amount, "paid as much as was queued");
            exiting[supporter] -= amount;
            paidOut[exits[exitId].beneficiary] += amount;
            delete exits[exitId];
            ++claims;
        } else {
            revert("an event that nobody knows");
        }
    }
}

contract SupporterBondInvariantTest is Test {
    SupporterBond private target;
    BondActors private actors;

    function setUp() public {
        vm.warp(1_800_000_000);
        target = new SupporterBond(
            address(1), ISupporterBond.Terms(address(0), address(0), address(2), 75 days, 1 ether)
        );
        actors = new BondActors(target);
    }

    function targetContracts() public view returns (address[] memory targets) {
        targets = new address[](1);
        targets[0] = address(actors);
    }

    /// @notice To the wei: what is in the contract is what was put down less what was paid (and what was forced in).
    function invariant_coinIsConserved() public view {
        uint256 putDown;
        uint256 paidOut;
        uint256 owed;
        for (uint256 i; i < actors.PEOPLE(); ++i) {
            address who = actors.someone(i);
            putDown += actors.putDown(who);
            paidOut += actors.paidOut(who);
            owed += target.bondOf(who) + target.exitingOf(who);
        }
        vm.assertEq(owed, putDown - paidOut, "bonds and exits are what was put down less what was paid");
        vm.assertEq(address(target).balance, owed + actors.forced(), "the coin is there");
    }

    /// @notice Nobody gets what another put down: for each funder, in bonds plus in exits plus paid is put down.
    function invariant_everyFunderKeepsTheirOwn() public view {
        for (uint256 f; f < actors.PEOPLE(); ++f) {
            address funder = actors.someone(f);
            uint256 theirs = actors.paidOut(funder);
            for (uint256 s; s < actors.PEOPLE(); ++s) {
                address supporter = actors.someone(s);
                theirs += funder == supporter
                    ? target.ownBondOf(supporter)
                    : target.sponsoredBy(supporter, funder);
            }
            for (uint256 id = 1; id <= actors.lastExit(); ++id) {
                (, address beneficiary, uint256 amount,) = target.exitOf(id);
                if (beneficiary == funder) theirs += amount;
            }
            vm.assertEq(theirs, actors.putDown(funder), "a funder's coin is all there");
        }
    }

    /// @notice Every view can be rebuilt from events.
    function invariant_viewsFollowFromEvents() public view {
        for (uint256 s; s < actors.PEOPLE(); ++s) {
            address supporter = actors.someone(s);
            uint256 total;
            for (uint256 f; f < actors.PEOPLE(); ++f) {
                address funder = actors.someone(f);
                uint256 part = actors.bonded(supporter, funder);
                total += part;
                uint256 seen =
                    funder == supporter ? target.ownBondOf(supporter) : target.sponsoredBy(supporter, funder);
                vm.assertEq(seen, part, "each part");
            }
            vm.assertEq(target.bondOf(supporter), total, "bondOf");
            vm.assertEq(target.exitingOf(supporter), actors.exiting(supporter), "exitingOf");
        }
        for (uint256 id = 1; id <= actors.lastExit(); ++id) {
            (address supporter, address beneficiary, uint256 amount, uint64 claimableAt) = target.exitOf(id);
            (address s, address b, uint256 a, uint64 c) = actors.exits(id);
            vm.assertTrue(supporter == s && beneficiary == b && amount == a && claimableAt == c, "exitOf");
        }
    }
}
