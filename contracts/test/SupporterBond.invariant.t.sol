// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import { SupporterBond } from "../src/SupporterBond.sol";
import { ISupporterBond } from "../src/interfaces/ISupporterBond.sol";
import { Reenterer } from "./support/Reenterer.sol";
import { Test } from "./support/Test.sol";
import { Token } from "./support/Tokens.sol";
import { Vm } from "./support/Vm.sol";
import { AccessManager } from "@openzeppelin/contracts/access/manager/AccessManager.sol";

/// @notice Four people who put coin down for themselves and each other, take it out, claim, and try what they may
/// not; one of them re-enters whenever they are paid. A panel that locks, releases and slashes as it pleases. A
/// guardian that pauses, a governance that supersedes. Coin that is forced in, a token that re-enters, keeps fees and
/// lies. Its books are kept from the contract's events alone, as a reader off chain has to.
contract BondActors is Test {
    struct OpenExit {
        address supporter;
        address beneficiary;
        uint256 shares;
        uint64 claimableAt;
    }

    SupporterBond public immutable TARGET;
    Token public immutable TOKEN;
    uint256 public constant PEOPLE = 4;
    uint64 public constant MAX_LOCK = 60 days;

    mapping(address supporter => uint256) public worth;
    mapping(address supporter => uint256) public supply;
    mapping(address supporter => mapping(address funder => uint256)) public shares;
    mapping(address supporter => uint256) public exiting;
    mapping(address supporter => uint256) public slashedOf;
    mapping(uint256 exitId => OpenExit) public exits;
    mapping(address supporter => uint64) public lockedUntil;
    uint256 public putDown;
    uint256 public paidOut;
    uint256 public slashed;
    uint256 public swept;
    uint256 public lastExit;
    uint256 public forced;

    constructor(SupporterBond target, Token token) {
        (TARGET, TOKEN) = (target, token);
        vm.etch(someone(3), type(Reenterer).runtimeCode);
        for (uint256 i; i < PEOPLE; ++i) {
            if (address(token) == address(0)) continue;
            vm.prank(someone(i));
            token.approve(address(target), type(uint256).max);
        }
    }

    function someone(uint256 seed) public pure returns (address) {
        return person(1 + (seed % PEOPLE));
    }

    function bond(uint256 who, uint96 amount) external {
        _put(who, who, bound(amount, 0, 10 ether));
    }

    function bondFor(uint256 who, uint256 whom, uint96 amount) external {
        _put(who, whom, bound(amount, 0, 10 ether));
    }

    /// @notice Small odd amounts: what rounding can do, it does here.
    function bondDust(uint256 who, uint256 whom, uint96 amount) external {
        _put(who, whom, bound(amount, 1, 9));
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

    /// @notice Whoever claims a matured exit that no lock holds is paid; and 60 days later even a lock holds nothing.
    function claim(uint256 who, uint256 exitId) external {
        exitId = bound(exitId, 0, lastExit + 1);
        OpenExit memory exit = exits[exitId];
        bool due = exit.claimableAt != 0 && block.timestamp >= exit.claimableAt
            && (block.timestamp >= lockedUntil[exit.supporter]
                || block.timestamp >= exit.claimableAt + MAX_LOCK);
        bool accepted = _act(someone(who), 0, abi.encodeCall(TARGET.claim, (exitId)));
        if (_isHonest()) vm.assertTrue(accepted == due, "a claim is paid when it is due, and only then");
    }

    function claimTo(uint256 who, uint256 whom, uint256 exitId) external {
        address payable receiver = payable(someone(whom));
        _act(someone(who), 0, abi.encodeCall(TARGET.claimTo, (bound(exitId, 0, lastExit + 1), receiver)));
    }

    function lock(uint256 whom, uint64 span) external {
        span = uint64(bound(span, 0, MAX_LOCK + 1 days));
        _act(TARGET.PANEL(), 0, abi.encodeCall(TARGET.lock, (someone(whom), now64() + span)));
    }

    function release(uint256 whom, uint32 round) external {
        round = uint32(bound(round, 0, 3));
        _act(TARGET.PANEL(), 0, abi.encodeCall(TARGET.release, (someone(whom), round)));
    }

    function slash(uint256 whom, uint16 basisPoints) external {
        uint256 before = worth[someone(whom)];
        uint256 lost = slashedOf[someone(whom)];
        _act(TARGET.PANEL(), 0, abi.encodeCall(TARGET.slash, (someone(whom), bytes32(0), basisPoints)));
        vm.assertTrue(slashedOf[someone(whom)] - lost <= before / 2, "half of it at the most");
    }

    /// @notice What only the panel may do, tried by others.
    function meddle(uint256 who, uint256 whom, uint8 what) external {
        bytes memory call = abi.encodeCall(TARGET.slash, (someone(whom), bytes32(0), 1));
        if (what % 3 == 1) call = abi.encodeCall(TARGET.lock, (someone(whom), now64() + 1));
        if (what % 3 == 2) call = abi.encodeCall(TARGET.release, (someone(whom), 1));
        vm.assertTrue(!_act(someone(who), 0, call), "only the panel");
    }

    function sweep(uint256 who) external {
        _act(someone(who), 0, abi.encodeCall(TARGET.sweep, ()));
    }

    function pause(uint32 span) external {
        _act(address(this), 0, abi.encodeCall(TARGET.pauseIntake, (now64() + uint64(bound(span, 0, 8 days)))));
    }

    /// @notice Announced and, mostly, withdrawn in time.
    function supersede(uint8 chance) external {
        address successor = chance == 0 ? address(this) : address(0);
        _act(address(this), 0, abi.encodeCall(TARGET.supersede, (successor)));
    }

    function send(uint256 who, uint96 amount) external {
        if (address(TOKEN) == address(0)) _act(someone(who), amount, "");
    }

    /// @notice Coin that arrives without a call, as from a block's fees.
    function force(uint96 amount) external {
        amount = uint96(bound(amount, 1, 1 ether));
        forced += amount;
        if (address(TOKEN) == address(0)) vm.deal(address(TARGET), address(TARGET).balance + amount);
        else TOKEN.mint(address(TARGET), amount);
    }

    /// @notice The token changes its manners; with `what` 3 it calls back whenever it moves.
    function tokenBehaves(uint8 what, uint256 who, uint256 exitId) external {
        if (address(TOKEN) == address(0)) return;
        what = what % 4;
        bytes memory call = abi.encodeCall(TARGET.claim, (exitId % (lastExit + 1)));
        if (who % 3 == 1) call = abi.encodeCall(TARGET.bondTokens, (someone(who), 1));
        if (who % 3 == 2) call = abi.encodeCall(TARGET.sweep, ());
        if (what == 3) TOKEN.reenter(address(TARGET), call);
        else TOKEN.behave(Token.Manner(what));
    }

    function wait(uint32 time) external {
        vm.warp(block.timestamp + bound(time, 1, 60 days));
    }

    function held() public view returns (uint256) {
        return address(TOKEN) == address(0) ? address(TARGET).balance : TOKEN.balanceOf(address(TARGET));
    }

    function _isHonest() private view returns (bool) {
        return address(TOKEN) == address(0) || TOKEN.manner() == Token.Manner.Honest;
    }

    function _put(uint256 who, uint256 whom, uint256 amount) private {
        if (address(TOKEN) != address(0)) {
            TOKEN.mint(someone(who), amount);
            // forge-lint: disable-next-line(unsafe-typecast)
            _act(someone(who), 0, abi.encodeCall(TARGET.bondTokens, (someone(whom), uint96(amount))));
        } else if (someone(who) == someone(whom)) {
            _act(someone(who), amount, abi.encodeCall(TARGET.bond, ()));
        } else {
            _act(someone(who), amount, abi.encodeCall(TARGET.bondFor, (someone(whom))));
        }
    }

    function _act(address who, uint256 value, bytes memory call) private returns (bool accepted) {
        vm.deal(who, who.balance + value);
        vm.recordLogs();
        vm.prank(who);
        (accepted,) = address(TARGET).call{ value: value }(call);
        Vm.Log[] memory logs = vm.getRecordedLogs();
        if (!accepted) return false; // forge also hands out the logs of refused calls
        for (uint256 i; i < logs.length; ++i) {
            if (logs[i].emitter == address(TARGET)) _fold(logs[i]);
        }
    }

    function _fold(Vm.Log memory log) private {
        bytes32 kind = log.topics[0];
        address supporter = log.topics.length > 1 ? address(uint160(uint256(log.topics[1]))) : address(0);
        if (kind == ISupporterBond.Bonded.selector) {
            _foldBonded(supporter, address(uint160(uint256(log.topics[2]))), abi.decode(log.data, (uint256)));
        } else if (kind == ISupporterBond.ExitQueued.selector) {
            _foldExitQueued(supporter, uint256(log.topics[2]), log.data);
        } else if (kind == ISupporterBond.ExitClaimed.selector) {
            _foldExitClaimed(supporter, uint256(log.topics[2]), abi.decode(log.data, (uint256)));
        } else if (kind == ISupporterBond.Slashed.selector) {
            (uint256 amount, uint256 bonded, uint256 leaving) =
                abi.decode(log.data, (uint256, uint256, uint256));
            worth[supporter] -= amount;
            slashedOf[supporter] += amount;
            slashed += amount;
            vm.assertEq(bonded, _value(supporter, supply[supporter] - exiting[supporter]), "bonded");
            vm.assertEq(leaving, _value(supporter, exiting[supporter]), "exiting");
        } else if (kind == ISupporterBond.BondLocked.selector) {
            (lockedUntil[supporter],,) = abi.decode(log.data, (uint64, uint32, uint32));
        } else if (kind == ISupporterBond.BondReleased.selector) {
            (, uint32 open) = abi.decode(log.data, (uint32, uint32));
            if (open == 0) lockedUntil[supporter] = 0;
        } else if (kind == ISupporterBond.Swept.selector) {
            swept += abi.decode(log.data, (uint256));
        }
    }

    function _foldBonded(address supporter, address funder, uint256 amount) private {
        uint256 pool = worth[supporter];
        uint256 more = pool == 0 ? amount : amount * supply[supporter] / pool;
        shares[supporter][funder] += more;
        supply[supporter] += more;
        worth[supporter] = pool + amount;
        putDown += amount;
    }

    function _foldExitQueued(address supporter, uint256 exitId, bytes memory data) private {
        (address beneficiary, uint256 amount, uint64 claimableAt) =
            abi.decode(data, (address, uint256, uint64));
        uint256 all = shares[supporter][beneficiary];
        uint256 pool = worth[supporter];
        uint256 part = amount == _value(supporter, all) ? all : (amount * supply[supporter] + pool - 1) / pool;
        shares[supporter][beneficiary] = all - part;
        exiting[supporter] += part;
        lastExit = exitId;
        exits[exitId] = OpenExit(supporter, beneficiary, part, claimableAt);
    }

    function _foldExitClaimed(address supporter, uint256 exitId, uint256 amount) private {
        OpenExit memory exit = exits[exitId];
        vm.assertTrue(block.timestamp >= exit.claimableAt, "claimed before its time");
        vm.assertEq(amount, _value(supporter, exit.shares), "paid what it is worth");
        supply[supporter] -= exit.shares;
        exiting[supporter] -= exit.shares;
        worth[supporter] -= amount;
        paidOut += amount;
        delete exits[exitId];
    }

    function _value(address supporter, uint256 part) private view returns (uint256) {
        return part == 0 ? 0 : part * worth[supporter] / supply[supporter];
    }

    /// @notice What a funder's part of a bond is worth, by the events.
    function partOf(address supporter, address funder) external view returns (uint256) {
        return _value(supporter, shares[supporter][funder]);
    }

    function exitWorth(uint256 exitId) external view returns (uint256) {
        return _value(exits[exitId].supporter, exits[exitId].shares);
    }

    function bondWorth(address supporter) external view returns (uint256) {
        return _value(supporter, supply[supporter] - exiting[supporter]);
    }

    function exitingWorth(address supporter) external view returns (uint256) {
        return _value(supporter, exiting[supporter]);
    }
}

abstract contract BondInvariants is Test {
    SupporterBond internal target;
    BondActors internal actors;

    function _build(Token token) internal {
        vm.warp(1_800_000_000);
        AccessManager governance = new AccessManager(address(this));
        target = new SupporterBond(
            address(governance),
            ISupporterBond.Terms(address(token), person(90), person(91), 75 days, 1 ether)
        );
        actors = new BondActors(target, token);
        governance.grantRole(0, address(actors), 0);
    }

    function targetContracts() public view returns (address[] memory targets) {
        targets = new address[](1);
        targets[0] = address(actors);
    }

    /// @notice To the wei: what is in the contract is what was put down, less what was paid and what went to the
    /// commons (and what was forced in).
    function invariant_coinIsConserved() public view {
        uint256 owed;
        for (uint256 i; i < actors.PEOPLE(); ++i) {
            owed += target.stakeOf(actors.someone(i));
        }
        vm.assertEq(owed + actors.slashed(), actors.putDown() - actors.paidOut(), "stakes are what is left");
        vm.assertEq(target.slashedHeld(), actors.slashed() - actors.swept(), "what was slashed");
        vm.assertEq(actors.held(), owed + target.slashedHeld() + actors.forced(), "the coin is there");
    }

    /// @notice Nobody gains from another: all parts of a stake together are what it is worth, less a wei for each
    /// part; and where nothing was ever slashed, not even that.
    function invariant_partsAreTheWhole() public view {
        for (uint256 s; s < actors.PEOPLE(); ++s) {
            address supporter = actors.someone(s);
            uint256 parts = target.ownBondOf(supporter);
            uint256 count = 1;
            for (uint256 f; f < actors.PEOPLE(); ++f) {
                parts += target.sponsoredBy(supporter, actors.someone(f));
                ++count;
            }
            for (uint256 id = 1; id <= actors.lastExit(); ++id) {
                (address of_,, uint256 amount,) = target.exitOf(id);
                if (of_ != supporter) continue;
                parts += amount;
                ++count;
            }
            uint256 whole = target.stakeOf(supporter);
            vm.assertTrue(parts <= whole && whole <= parts + count, "parts and whole");
            if (actors.slashedOf(supporter) == 0) vm.assertEq(parts, whole, "exactly");
        }
    }

    /// @notice Every view can be rebuilt from events.
    function invariant_viewsFollowFromEvents() public view {
        for (uint256 s; s < actors.PEOPLE(); ++s) {
            address supporter = actors.someone(s);
            for (uint256 f; f < actors.PEOPLE(); ++f) {
                address funder = actors.someone(f);
                uint256 seen =
                    funder == supporter ? target.ownBondOf(supporter) : target.sponsoredBy(supporter, funder);
                vm.assertEq(seen, actors.partOf(supporter, funder), "each part");
            }
            vm.assertEq(target.stakeOf(supporter), actors.worth(supporter), "stakeOf");
            vm.assertEq(target.bondOf(supporter), actors.bondWorth(supporter), "bondOf");
            vm.assertEq(target.exitingOf(supporter), actors.exitingWorth(supporter), "exitingOf");
            (uint64 until,,) = target.lockOf(supporter);
            vm.assertEq(until, actors.lockedUntil(supporter), "lockOf");
        }
        for (uint256 id = 1; id <= actors.lastExit(); ++id) {
            (address supporter, address beneficiary, uint256 amount, uint64 claimableAt) = target.exitOf(id);
            (address s, address b,, uint64 c) = actors.exits(id);
            vm.assertTrue(supporter == s && beneficiary == b && claimableAt == c, "exitOf");
            vm.assertEq(amount, actors.exitWorth(id), "what an exit is worth");
        }
    }
}

contract SupporterBondInvariantTest is BondInvariants {
    function setUp() public {
        _build(Token(address(0)));
    }
}

contract SupporterBondTokenInvariantTest is BondInvariants {
    function setUp() public {
        _build(new Token());
    }
}
