// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import { SupporterBond } from "../src/SupporterBond.sol";
import { ISupporterBond } from "../src/interfaces/ISupporterBond.sol";
import { Test } from "./support/Test.sol";
import { GreedyFunder, RefusingFunder } from "./support/Wallets.sol";
import { Errors } from "@openzeppelin/contracts/utils/Errors.sol";
import { ReentrancyGuardTransient } from "@openzeppelin/contracts/utils/ReentrancyGuardTransient.sol";
import { SafeCast } from "@openzeppelin/contracts/utils/math/SafeCast.sol";

contract SupporterBondTest is Test {
    uint64 private constant DELAY = 75 days;
    SupporterBond private target;
    address private immutable SUPPORTER = person(1);
    address private immutable SPONSOR = person(2);
    address private immutable STRANGER = person(3);

    function setUp() public {
        vm.warp(1_800_000_000);
        target = new SupporterBond(DELAY);
        vm.deal(SUPPORTER, 100 ether);
        vm.deal(SPONSOR, 100 ether);
    }

    // --- constructor ---

    function testConstructorSuccess() public {
        assert(target.EXIT_DELAY() == DELAY);
        assert(new SupporterBond(1).EXIT_DELAY() == 1);
        assert(new SupporterBond(365 days).EXIT_DELAY() == target.MAX_EXIT_DELAY());
    }

    function testConstructorDelayOutOfRange() public {
        vm.expectRevert(abi.encodeWithSelector(ISupporterBond.DelayOutOfRange.selector, 0));
        new SupporterBond(0);
        vm.expectRevert(abi.encodeWithSelector(ISupporterBond.DelayOutOfRange.selector, 365 days + 1));
        new SupporterBond(365 days + 1);
    }

    // --- bond ---

    function testBondSuccess() public {
        vm.expectEmit(address(target));
        emit ISupporterBond.Bonded(SUPPORTER, SUPPORTER, 3 ether);
        _bond(3 ether);
        assert(target.bondOf(SUPPORTER) == 3 ether);
        assert(target.ownBondOf(SUPPORTER) == 3 ether);
        assert(target.sponsoredBy(SUPPORTER, SUPPORTER) == 0);
        assert(address(target).balance == 3 ether);
    }

    function testBondSuccessTopUp() public {
        _bond(3 ether);
        _bond(1 wei);
        assert(target.bondOf(SUPPORTER) == 3 ether + 1);
    }

    function testBondZeroAmount() public {
        vm.expectRevert(abi.encodeWithSelector(ISupporterBond.ZeroAmount.selector));
        target.bond();
    }

    function testBondPlainTransferRefused() public {
        vm.prank(SUPPORTER);
        (bool sent,) = address(target).call{ value: 1 ether }("");
        assert(!sent);
    }

    function testBondMoreThan128Bits() public {
        vm.deal(SUPPORTER, type(uint256).max);
        vm.expectRevert(
            abi.encodeWithSelector(SafeCast.SafeCastOverflowedUintDowncast.selector, 128, 1 << 128)
        );
        _bond(1 << 128);
    }

    function testFuzzBondSuccess(address supporter, uint128 first, uint64 second) public {
        vm.assume(first > 0 && second > 0 && uint256(first) + second < 1 << 128);
        vm.assume(supporter != address(target));
        vm.deal(supporter, uint256(first) + second);
        vm.prank(supporter);
        target.bond{ value: first }();
        vm.prank(supporter);
        target.bond{ value: second }();
        assert(target.bondOf(supporter) == uint256(first) + second);
    }

    // --- bondFor ---

    function testBondForSuccess() public {
        vm.expectEmit(address(target));
        emit ISupporterBond.Bonded(SUPPORTER, SPONSOR, 2 ether);
        _bondFor(2 ether);
        assert(target.bondOf(SUPPORTER) == 2 ether);
        assert(target.ownBondOf(SUPPORTER) == 0);
        assert(target.sponsoredBy(SUPPORTER, SPONSOR) == 2 ether);
        assert(target.bondOf(SPONSOR) == 0);
    }

    function testBondForSuccessOneself() public {
        vm.prank(SUPPORTER);
        target.bondFor{ value: 2 ether }(SUPPORTER);
        assert(target.ownBondOf(SUPPORTER) == 2 ether);
        assert(target.sponsoredBy(SUPPORTER, SUPPORTER) == 0);
    }

    function testBondForZeroAddress() public {
        vm.deal(address(this), 1);
        vm.expectRevert(abi.encodeWithSelector(ISupporterBond.ZeroAddress.selector));
        target.bondFor{ value: 1 }(address(0));
    }

    function testBondForZeroAmount() public {
        vm.expectRevert(abi.encodeWithSelector(ISupporterBond.ZeroAmount.selector));
        target.bondFor(SUPPORTER);
    }

    function testFuzzBondForSuccess(address sponsor, uint96 own, uint96 sponsored) public {
        vm.assume(own > 0 && sponsored > 0 && sponsor != SUPPORTER && sponsor != address(target));
        vm.deal(SUPPORTER, own);
        _bond(own);
        vm.deal(sponsor, sponsored);
        vm.prank(sponsor);
        target.bondFor{ value: sponsored }(SUPPORTER);
        assert(target.bondOf(SUPPORTER) == uint256(own) + sponsored);
        assert(target.ownBondOf(SUPPORTER) == own);
    }

    // --- queueExit ---

    function testQueueExitSuccess() public {
        _bond(3 ether);
        vm.expectEmit(address(target));
        emit ISupporterBond.ExitQueued(SUPPORTER, 1, SUPPORTER, 1 ether, now64() + DELAY);
        vm.prank(SUPPORTER);
        assert(target.queueExit(1 ether) == 1);
        assert(target.bondOf(SUPPORTER) == 2 ether);
        assert(target.exitingOf(SUPPORTER) == 1 ether);
        (address supporter, address beneficiary, uint256 amount, uint64 claimableAt) = target.exitOf(1);
        assert(supporter == SUPPORTER && beneficiary == SUPPORTER);
        assert(amount == 1 ether && claimableAt == now64() + DELAY);
    }

    function testQueueExitInsufficientBond() public {
        _bond(1 ether);
        _bondFor(5 ether); // the sponsor's part is not the supporter's to take
        vm.expectRevert(
            abi.encodeWithSelector(ISupporterBond.InsufficientBond.selector, SUPPORTER, SUPPORTER, 1 ether)
        );
        vm.prank(SUPPORTER);
        target.queueExit(1 ether + 1);
    }

    function testQueueExitZeroAmount() public {
        vm.expectRevert(abi.encodeWithSelector(ISupporterBond.ZeroAmount.selector));
        target.queueExit(0);
    }

    function testQueueExitMoreThan96Bits() public {
        vm.deal(SUPPORTER, type(uint128).max);
        _bond(type(uint128).max);
        vm.expectRevert(abi.encodeWithSelector(SafeCast.SafeCastOverflowedUintDowncast.selector, 96, 1 << 96));
        vm.prank(SUPPORTER);
        target.queueExit(1 << 96);
        vm.prank(SUPPORTER);
        target.queueExit(type(uint96).max); // in parts it goes
    }

    function testFuzzQueueExitSuccess(uint96 bonded, uint96 amount) public {
        vm.assume(bonded > 0);
        amount = uint96(bound(amount, 1, bonded));
        vm.deal(SUPPORTER, bonded);
        _bond(bonded);
        vm.prank(SUPPORTER);
        target.queueExit(amount);
        assert(target.bondOf(SUPPORTER) == bonded - amount);
        assert(target.exitingOf(SUPPORTER) == amount);
    }

    function testFuzzQueueExitInsufficientBond(uint96 bonded, uint128 amount) public {
        vm.assume(bonded > 0);
        amount = uint128(bound(amount, uint256(bonded) + 1, type(uint128).max));
        vm.deal(SUPPORTER, bonded);
        _bond(bonded);
        vm.expectRevert(
            abi.encodeWithSelector(ISupporterBond.InsufficientBond.selector, SUPPORTER, SUPPORTER, bonded)
        );
        vm.prank(SUPPORTER);
        target.queueExit(amount);
    }

    // --- queueSponsoredExit ---

    function testQueueSponsoredExitSuccessByFunder() public {
        _bondFor(2 ether);
        vm.expectEmit(address(target));
        emit ISupporterBond.ExitQueued(SUPPORTER, 1, SPONSOR, 2 ether, now64() + DELAY);
        vm.prank(SPONSOR);
        target.queueSponsoredExit(SUPPORTER, SPONSOR, 2 ether);
        assert(target.bondOf(SUPPORTER) == 0 && target.sponsoredBy(SUPPORTER, SPONSOR) == 0);
        assert(target.exitingOf(SUPPORTER) == 2 ether && target.exitingOf(SPONSOR) == 0);
    }

    function testQueueSponsoredExitSuccessBySupporter() public {
        _bondFor(2 ether);
        vm.prank(SUPPORTER);
        uint256 exitId = target.queueSponsoredExit(SUPPORTER, SPONSOR, 2 ether);
        vm.warp(block.timestamp + DELAY);
        vm.prank(SUPPORTER);
        target.claim(exitId);
        assert(SPONSOR.balance == 100 ether); // it went back to the sponsor
    }

    function testQueueSponsoredExitNotParty() public {
        _bondFor(2 ether);
        vm.expectRevert(
            abi.encodeWithSelector(ISupporterBond.NotParty.selector, SUPPORTER, SPONSOR, STRANGER)
        );
        vm.prank(STRANGER);
        target.queueSponsoredExit(SUPPORTER, SPONSOR, 1);
    }

    function testQueueSponsoredExitInsufficientBond() public {
        _bond(5 ether);
        _bondFor(2 ether);
        vm.expectRevert(
            abi.encodeWithSelector(ISupporterBond.InsufficientBond.selector, SUPPORTER, SPONSOR, 2 ether)
        );
        vm.prank(SPONSOR);
        target.queueSponsoredExit(SUPPORTER, SPONSOR, 2 ether + 1);
    }

    function testQueueSponsoredExitZeroAmount() public {
        vm.expectRevert(abi.encodeWithSelector(ISupporterBond.ZeroAmount.selector));
        vm.prank(SPONSOR);
        target.queueSponsoredExit(SUPPORTER, SPONSOR, 0);
    }

    function testFuzzQueueSponsoredExitSuccess(uint96 sponsored, uint96 amount) public {
        vm.assume(sponsored > 0);
        amount = uint96(bound(amount, 1, sponsored));
        vm.deal(SPONSOR, sponsored);
        _bondFor(sponsored);
        vm.prank(SPONSOR);
        uint256 exitId = target.queueSponsoredExit(SUPPORTER, SPONSOR, amount);
        vm.warp(block.timestamp + DELAY);
        target.claim(exitId);
        assert(SPONSOR.balance == amount);
        assert(target.bondOf(SUPPORTER) == sponsored - amount);
    }

    function testFuzzQueueSponsoredExitNotParty(address caller) public {
        vm.assume(caller != SUPPORTER && caller != SPONSOR);
        _bondFor(1 ether);
        vm.expectRevert(abi.encodeWithSelector(ISupporterBond.NotParty.selector, SUPPORTER, SPONSOR, caller));
        vm.prank(caller);
        target.queueSponsoredExit(SUPPORTER, SPONSOR, 1);
    }

    // --- claim ---

    function testClaimSuccess() public {
        uint256 exitId = _queued(1 ether);
        vm.warp(block.timestamp + DELAY);
        vm.expectEmit(address(target));
        emit ISupporterBond.ExitClaimed(SUPPORTER, exitId, 1 ether);
        vm.prank(STRANGER); // anyone may call; the beneficiary is paid
        target.claim(exitId);
        assert(SUPPORTER.balance == 100 ether && STRANGER.balance == 0);
        assert(target.exitingOf(SUPPORTER) == 0 && address(target).balance == 0);
        (address supporter,,,) = target.exitOf(exitId);
        assert(supporter == address(0));
    }

    function testClaimUnknownExit() public {
        vm.expectRevert(abi.encodeWithSelector(ISupporterBond.UnknownExit.selector, 7));
        target.claim(7);
    }

    function testClaimUnknownExitTwice() public {
        uint256 exitId = _queued(1 ether);
        _queued(1 ether); // coin enough for a second payment
        vm.warp(block.timestamp + DELAY);
        target.claim(exitId);
        vm.expectRevert(abi.encodeWithSelector(ISupporterBond.UnknownExit.selector, exitId));
        target.claim(exitId);
    }

    function testClaimTooEarly() public {
        uint256 exitId = _queued(1 ether);
        uint64 claimableAt = now64() + DELAY;
        vm.warp(claimableAt - 1);
        vm.expectRevert(abi.encodeWithSelector(ISupporterBond.TooEarly.selector, exitId, claimableAt));
        target.claim(exitId);
    }

    function testClaimReceiverRefuses() public {
        (, uint256 exitId) = _refusingExit();
        vm.expectRevert(abi.encodeWithSelector(Errors.FailedCall.selector));
        target.claim(exitId);
        assert(target.exitingOf(SUPPORTER) == 1 ether); // nothing lost
    }

    function testClaimReentrancy() public {
        GreedyFunder greedy = new GreedyFunder(target);
        greedy.bond{ value: 2 ether }();
        uint256 first = greedy.queueExit(1 ether);
        greedy.aim(greedy.queueExit(1 ether)); // another exit that is due: only the guard stands in the way
        _bond(50 ether);
        vm.warp(block.timestamp + DELAY);
        target.claim(first);
        assert(greedy.attempts() == 1 && address(greedy).balance == 1 ether);
        assert(bytes4(greedy.refusal()) == ReentrancyGuardTransient.ReentrancyGuardReentrantCall.selector);
        assert(target.exitingOf(address(greedy)) == 1 ether);
    }

    function testFuzzClaimSuccess(uint96 amount, uint64 wait) public {
        vm.assume(amount > 0);
        vm.deal(SUPPORTER, amount);
        uint256 exitId = _queued(amount);
        vm.warp(block.timestamp + DELAY + wait);
        target.claim(exitId);
        assert(SUPPORTER.balance == amount);
    }

    function testFuzzClaimTooEarly(uint64 wait) public {
        uint256 exitId = _queued(1 ether);
        uint64 claimableAt = now64() + DELAY;
        vm.warp(block.timestamp + bound(wait, 0, DELAY - 1));
        vm.expectRevert(abi.encodeWithSelector(ISupporterBond.TooEarly.selector, exitId, claimableAt));
        target.claim(exitId);
    }

    // --- claimTo ---

    function testClaimToSuccess() public {
        (RefusingFunder funder, uint256 exitId) = _refusingExit();
        vm.warp(block.timestamp + DELAY);
        vm.expectEmit(address(target));
        emit ISupporterBond.ExitClaimed(SUPPORTER, exitId, 1 ether);
        funder.claimTo(target, exitId, payable(STRANGER));
        assert(STRANGER.balance == 1 ether);
    }

    function testClaimToNotBeneficiary() public {
        _bondFor(1 ether);
        vm.prank(SUPPORTER);
        uint256 exitId = target.queueSponsoredExit(SUPPORTER, SPONSOR, 1 ether);
        vm.warp(block.timestamp + DELAY);
        vm.expectRevert(abi.encodeWithSelector(ISupporterBond.NotBeneficiary.selector, exitId, SUPPORTER));
        vm.prank(SUPPORTER);
        target.claimTo(exitId, payable(SUPPORTER));
    }

    function testClaimToTooEarly() public {
        uint256 exitId = _queued(1 ether);
        vm.expectRevert(abi.encodeWithSelector(ISupporterBond.TooEarly.selector, exitId, now64() + DELAY));
        vm.prank(SUPPORTER);
        target.claimTo(exitId, payable(STRANGER));
    }

    function testClaimToUnknownExit() public {
        vm.expectRevert(abi.encodeWithSelector(ISupporterBond.UnknownExit.selector, 7));
        target.claimTo(7, payable(STRANGER));
    }

    function testClaimToZeroAddress() public {
        vm.expectRevert(abi.encodeWithSelector(ISupporterBond.ZeroAddress.selector));
        target.claimTo(1, payable(address(0)));
    }

    function testFuzzClaimToSuccess(uint160 receiver, uint96 amount) public {
        vm.assume(receiver > 0xffff && amount > 0);
        address payable to = payable(address(receiver));
        vm.assume(to.code.length == 0 && to != SUPPORTER && to != address(vm));
        vm.deal(SUPPORTER, amount);
        uint256 exitId = _queued(amount);
        vm.deal(to, 0);
        vm.warp(block.timestamp + DELAY);
        vm.prank(SUPPORTER);
        target.claimTo(exitId, to);
        assert(to.balance == amount);
    }

    function testFuzzClaimToNotBeneficiary(address caller) public {
        vm.assume(caller != SUPPORTER);
        uint256 exitId = _queued(1 ether);
        vm.warp(block.timestamp + DELAY);
        vm.expectRevert(abi.encodeWithSelector(ISupporterBond.NotBeneficiary.selector, exitId, caller));
        vm.prank(caller);
        target.claimTo(exitId, payable(STRANGER));
    }

    // --- verbs ---

    function _bond(uint256 amount) private {
        vm.prank(SUPPORTER);
        target.bond{ value: amount }();
    }

    function _bondFor(uint256 amount) private {
        vm.prank(SPONSOR);
        target.bondFor{ value: amount }(SUPPORTER);
    }

    function _queued(uint128 amount) private returns (uint256) {
        _bond(amount);
        vm.prank(SUPPORTER);
        return target.queueExit(amount);
    }

    function _refusingExit() private returns (RefusingFunder funder, uint256 exitId) {
        funder = new RefusingFunder();
        funder.bondFor{ value: 1 ether }(target, SUPPORTER);
        vm.prank(SUPPORTER);
        exitId = target.queueSponsoredExit(SUPPORTER, address(funder), 1 ether);
        vm.warp(block.timestamp + DELAY);
    }
}
