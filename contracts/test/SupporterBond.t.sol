// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import { SupporterBond } from "../src/SupporterBond.sol";
import { ICoin } from "../src/interfaces/ICoin.sol";
import { IIntake } from "../src/interfaces/IIntake.sol";
import { ISuccession } from "../src/interfaces/ISuccession.sol";
import { ISupporterBond } from "../src/interfaces/ISupporterBond.sol";
import { Test } from "./support/Test.sol";
import { Token } from "./support/Tokens.sol";
import { GreedyFunder, RefusingFunder } from "./support/Wallets.sol";
import { AccessManager } from "@openzeppelin/contracts/access/manager/AccessManager.sol";
import { SafeERC20 } from "@openzeppelin/contracts/token/ERC20/utils/SafeERC20.sol";
import { Errors } from "@openzeppelin/contracts/utils/Errors.sol";
import { ReentrancyGuardTransient } from "@openzeppelin/contracts/utils/ReentrancyGuardTransient.sol";

contract SupporterBondTest is Test {
    uint64 private constant DELAY = 75 days;
    AccessManager private governance;
    SupporterBond private target;
    Token private token;
    address private immutable PANEL = person(8);
    address private immutable COMMONS = person(9);
    address private constant ASHES = 0x000000000000000000000000000000000000dEaD;
    bytes32 private constant REPORT = keccak256("report");
    uint96 private constant UNIT = 0.1 ether;
    address private immutable SUPPORTER = person(1);
    address private immutable SPONSOR = person(2);
    address private immutable STRANGER = person(3);

    function setUp() public {
        vm.warp(1_800_000_000);
        governance = new AccessManager(address(this));
        token = new Token();
        target = _deploy(address(0), COMMONS, DELAY);
        vm.deal(SUPPORTER, 100 ether);
        vm.deal(SPONSOR, 100 ether);
    }

    // --- constructor ---

    function testConstructorSuccess() public {
        assert(target.EXIT_DELAY() == DELAY && target.PANEL() == PANEL && target.COMMONS() == COMMONS);
        assert(target.TOKEN() == address(0) && target.QUOTA_UNIT() == UNIT && target.MAX_QUOTA() == 64);
        assert(target.MAX_LOCK() == 60 days && target.MAX_SLASH() == 5000 && target.SLASH_PERIOD() == 90 days);
        assert(_deploy(address(0), address(0), 1).COMMONS() == ASHES);
        assert(_deploy(address(token), COMMONS, 365 days).EXIT_DELAY() == target.MAX_EXIT_DELAY());
    }

    function testConstructorDelayOutOfRange() public {
        vm.expectRevert(abi.encodeWithSelector(ISupporterBond.DelayOutOfRange.selector, 0));
        _deploy(address(0), COMMONS, 0);
        vm.expectRevert(abi.encodeWithSelector(ISupporterBond.DelayOutOfRange.selector, 365 days + 1));
        _deploy(address(0), COMMONS, 365 days + 1);
    }

    function testConstructorZeroAddress() public {
        vm.expectRevert(abi.encodeWithSelector(ISupporterBond.ZeroAddress.selector));
        new SupporterBond(
            address(governance), ISupporterBond.Terms(address(0), COMMONS, address(0), DELAY, UNIT)
        );
    }

    function testConstructorZeroAmount() public {
        vm.expectRevert(abi.encodeWithSelector(ISupporterBond.ZeroAmount.selector));
        new SupporterBond(address(governance), ISupporterBond.Terms(address(0), COMMONS, PANEL, DELAY, 0));
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

    function testBondBondTooLarge() public {
        vm.deal(SUPPORTER, type(uint256).max);
        vm.expectRevert(abi.encodeWithSelector(ISupporterBond.BondTooLarge.selector, SUPPORTER));
        _bond(1 << 96);
        _bond(type(uint96).max);
        vm.expectRevert(abi.encodeWithSelector(ISupporterBond.BondTooLarge.selector, SUPPORTER));
        _bond(1);
    }

    function testBondWrongCoin() public {
        SupporterBond other = _deploy(address(token), COMMONS, DELAY);
        vm.expectRevert(abi.encodeWithSelector(ICoin.WrongCoin.selector));
        vm.prank(SUPPORTER);
        other.bond{ value: 1 }();
    }

    function testBondIntakeResting() public {
        target.pauseIntake(now64() + 7 days);
        vm.expectRevert(abi.encodeWithSelector(IIntake.IntakeResting.selector, now64() + 7 days));
        _bond(1);
        vm.warp(block.timestamp + 7 days);
        _bond(1);
    }

    function testBondAlreadySuperseded() public {
        target.supersede(address(governance));
        vm.warp(block.timestamp + 30 days);
        vm.expectRevert(abi.encodeWithSelector(ISuccession.AlreadySuperseded.selector, address(governance)));
        _bond(1);
    }

    function testFuzzBondSuccess(address supporter, uint96 first, uint64 second) public {
        vm.assume(first > 0 && second > 0 && uint256(first) + second < 1 << 96);
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
        vm.assume(
            own > 0 && sponsored > 0 && uint256(own) + sponsored < 1 << 96 && sponsor != SUPPORTER
                && sponsor != address(target)
        );
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

    function testClaimSuccessWhilePausedAndSuperseded() public {
        uint256 exitId = _queued(1 ether);
        target.supersede(address(governance));
        vm.warp(block.timestamp + DELAY);
        target.pauseIntake(now64() + 1 days);
        target.claim(exitId);
        assert(SUPPORTER.balance == 100 ether);
    }

    function testClaimLocked() public {
        uint256 exitId = _queued(1 ether);
        vm.warp(block.timestamp + DELAY);
        _lock(10 days);
        uint64 until = now64() + 10 days;
        vm.warp(until - 1);
        vm.expectRevert(abi.encodeWithSelector(ISupporterBond.Locked.selector, SUPPORTER, until));
        target.claim(exitId);
        vm.warp(until);
        target.claim(exitId);
    }

    /// @notice One report after another: each exit is held for 60 days in all and no longer.
    function testClaimLockedNoLongerThan60DaysInAll() public {
        uint256 exitId = _queued(1 ether);
        uint64 latest = now64() + DELAY + 60 days;
        vm.warp(block.timestamp + DELAY - 1 days);
        _lock(60 days);
        vm.warp(block.timestamp + 50 days);
        _lock(60 days);
        vm.warp(latest - 1);
        vm.expectRevert(abi.encodeWithSelector(ISupporterBond.Locked.selector, SUPPORTER, latest));
        target.claim(exitId);
        vm.warp(latest);
        target.claim(exitId);
        assert(SUPPORTER.balance == 100 ether);
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

    // --- bondTokens ---

    function testBondTokensSuccess() public {
        SupporterBond other = _tokenBond();
        vm.expectEmit(address(other));
        emit ISupporterBond.Bonded(SUPPORTER, SPONSOR, 2 ether);
        vm.prank(SPONSOR);
        other.bondTokens(SUPPORTER, 2 ether);
        assert(other.sponsoredBy(SUPPORTER, SPONSOR) == 2 ether && token.balanceOf(address(other)) == 2 ether);
        vm.prank(SPONSOR);
        uint256 exitId = other.queueSponsoredExit(SUPPORTER, SPONSOR, 2 ether);
        vm.prank(PANEL);
        other.slash(SUPPORTER, REPORT, 1000);
        vm.warp(block.timestamp + DELAY);
        other.claim(exitId);
        other.sweep();
        assert(token.balanceOf(SPONSOR) == 99.8 ether && token.balanceOf(COMMONS) == 0.2 ether);
    }

    function testBondTokensWrongCoin() public {
        vm.expectRevert(abi.encodeWithSelector(ICoin.WrongCoin.selector));
        target.bondTokens(SUPPORTER, 1);
    }

    function testBondTokensWrongAmount() public {
        SupporterBond other = _tokenBond();
        token.behave(Token.Manner.KeepsFee);
        vm.expectRevert(abi.encodeWithSelector(ICoin.WrongAmount.selector, 100, 90));
        vm.prank(SPONSOR);
        other.bondTokens(SUPPORTER, 100);
    }

    function testBondTokensTokenSaysFalse() public {
        SupporterBond other = _tokenBond();
        token.behave(Token.Manner.SaysFalse);
        vm.expectRevert(abi.encodeWithSelector(SafeERC20.SafeERC20FailedOperation.selector, address(token)));
        vm.prank(SPONSOR);
        other.bondTokens(SUPPORTER, 100);
    }

    function testBondTokensReentrancy() public {
        SupporterBond other = _tokenBond();
        token.mint(address(token), 1 ether);
        token.reenter(address(other), abi.encodeCall(target.bondTokens, (SUPPORTER, 1)));
        vm.prank(SPONSOR);
        other.bondTokens(SUPPORTER, 100);
        assert(bytes4(token.refusal()) == ReentrancyGuardTransient.ReentrancyGuardReentrantCall.selector);
        assert(other.bondOf(SUPPORTER) == 100);
    }

    function testFuzzBondTokensSuccess(address supporter, uint96 amount) public {
        vm.assume(supporter != address(0) && amount > 0);
        SupporterBond other = _tokenBond();
        token.mint(SPONSOR, amount);
        vm.prank(SPONSOR);
        other.bondTokens(supporter, amount);
        assert(other.bondOf(supporter) == amount);
    }

    // --- lock ---

    function testLockSuccess() public {
        vm.expectEmit(address(target));
        emit ISupporterBond.BondLocked(SUPPORTER, now64() + 60 days, 1, 1);
        assert(_lock(60 days) == 1);
        (uint64 until, uint32 round, uint32 open) = target.lockOf(SUPPORTER);
        assert(until == now64() + 60 days && round == 1 && open == 1);
    }

    function testLockSuccessShared() public {
        _lock(20 days);
        assert(_lock(10 days) == 1); // shorter: the date stays
        _expectLock(now64() + 20 days, 1, 2);
        assert(_lock(30 days) == 1);
        _expectLock(now64() + 30 days, 1, 3);
    }

    function testLockSuccessNextRound() public {
        _lock(20 days);
        vm.warp(block.timestamp + 20 days);
        assert(_lock(5 days) == 2);
        _expectLock(now64() + 5 days, 2, 1);
    }

    function testLockNotPanel() public {
        vm.expectRevert(abi.encodeWithSelector(ISupporterBond.NotPanel.selector, address(this)));
        target.lock(SUPPORTER, now64() + 1);
    }

    function testLockLockOutOfRange() public {
        uint64[2] memory bad = [now64(), now64() + 60 days + 1];
        for (uint256 i; i < 2; ++i) {
            vm.expectRevert(
                abi.encodeWithSelector(ISupporterBond.LockOutOfRange.selector, bad[i], now64() + 60 days)
            );
            vm.prank(PANEL);
            target.lock(SUPPORTER, bad[i]);
        }
    }

    function testFuzzLockSuccess(uint64 span) public {
        span = uint64(bound(span, 1, 60 days));
        _lock(span);
        _expectLock(now64() + span, 1, 1);
    }

    // --- release ---

    function testReleaseSuccess() public {
        uint256 exitId = _queued(1 ether);
        vm.warp(block.timestamp + DELAY);
        uint32 round = _lock(20 days);
        _lock(20 days);
        _release(round);
        _expectLock(now64() + 20 days, 1, 1);
        vm.expectEmit(address(target));
        emit ISupporterBond.BondReleased(SUPPORTER, 1, 0);
        _release(round);
        target.claim(exitId); // at once
    }

    function testReleaseSuccessOtherRound() public {
        uint32 first = _lock(20 days);
        vm.warp(block.timestamp + 20 days);
        _lock(20 days);
        _release(first); // late, of a lock that is over: the new one stands
        _expectLock(now64() + 20 days, 2, 1);
        _release(2);
        _release(2); // once too often
        _expectLock(0, 2, 0);
    }

    function testReleaseNotPanel() public {
        vm.expectRevert(abi.encodeWithSelector(ISupporterBond.NotPanel.selector, address(this)));
        target.release(SUPPORTER, 1);
    }

    function testFuzzReleaseSuccess(uint8 reports) public {
        reports = uint8(bound(reports, 1, 20));
        for (uint256 i; i < reports; ++i) {
            _lock(1 days);
        }
        for (uint256 i; i < reports; ++i) {
            // forge-lint: disable-next-line(unsafe-typecast)
            _expectLock(now64() + 1 days, 1, uint32(reports - i));
            _release(1);
        }
        _expectLock(0, 1, 0);
    }

    // --- slash ---

    /// @notice The same fraction of every part, also of what is in exit.
    function testSlashSuccess() public {
        _bond(4 ether);
        _bondFor(2 ether);
        vm.prank(SUPPORTER);
        uint256 exitId = target.queueExit(2 ether);
        vm.expectEmit(address(target));
        emit ISupporterBond.Slashed(SUPPORTER, REPORT, 0.6 ether, 3.6 ether, 1.8 ether);
        assert(_slash(1000) == 0.6 ether);
        assert(target.ownBondOf(SUPPORTER) == 1.8 ether);
        assert(target.sponsoredBy(SUPPORTER, SPONSOR) == 1.8 ether);
        assert(target.bondOf(SUPPORTER) == 3.6 ether && target.exitingOf(SUPPORTER) == 1.8 ether);
        assert(target.stakeOf(SUPPORTER) == 5.4 ether && target.slashedHeld() == 0.6 ether);
        vm.warp(block.timestamp + DELAY);
        target.claim(exitId);
        assert(SUPPORTER.balance == 97.8 ether && target.bondOf(SUPPORTER) == 3.6 ether);
    }

    function testSlashSuccessBondAfterwards() public {
        _bond(3 ether);
        _slash(5000);
        _bondFor(1 ether); // is not diluted by what was lost before
        assert(target.sponsoredBy(SUPPORTER, SPONSOR) == 1 ether);
        assert(target.ownBondOf(SUPPORTER) == 1.5 ether);
        vm.prank(SUPPORTER);
        target.queueExit(0.5 ether);
        assert(target.ownBondOf(SUPPORTER) == 1 ether && target.exitingOf(SUPPORTER) == 0.5 ether);
    }

    function testSlashSuccessLastOneOutLeavesNothing() public {
        _bond(101);
        _bondFor(50);
        _slash(3333);
        uint256 own = target.ownBondOf(SUPPORTER);
        uint256 sponsored = target.sponsoredBy(SUPPORTER, SPONSOR);
        assert(own + sponsored == target.stakeOf(SUPPORTER) - 1); // one wei is between the two
        vm.prank(SUPPORTER);
        // forge-lint: disable-next-line(unsafe-typecast)
        uint256 first = target.queueExit(uint128(own));
        vm.prank(SUPPORTER);
        // forge-lint: disable-next-line(unsafe-typecast)
        uint256 second = target.queueSponsoredExit(SUPPORTER, SPONSOR, uint128(sponsored));
        vm.warp(block.timestamp + DELAY);
        target.claim(first);
        target.claim(second);
        target.sweep();
        assert(target.stakeOf(SUPPORTER) == 0 && address(target).balance == 0);
        _bond(7); // and begins anew
        assert(target.bondOf(SUPPORTER) == 7);
    }

    function testSlashSuccessNothingThere() public {
        assert(_slash(5000) == 0);
        assert(target.slashedHeld() == 0);
    }

    function testSlashSuccessCapPerRuling() public {
        _bond(4 ether);
        assert(_slash(10_000) == 2 ether);
    }

    function testSlashSuccessCapPerPeriod() public {
        _bond(4 ether);
        assert(_slash(1000) == 0.4 ether);
        assert(_slash(5000) == 1.6 ether); // 2 ether in all
        assert(_slash(5000) == 0);
        vm.warp(block.timestamp + 90 days - 1);
        assert(_slash(5000) == 0);
        vm.warp(block.timestamp + 1);
        assert(_slash(5000) == 1 ether);
    }

    function testSlashNotPanel() public {
        vm.expectRevert(abi.encodeWithSelector(ISupporterBond.NotPanel.selector, address(this)));
        target.slash(SUPPORTER, REPORT, 1);
    }

    function testFuzzSlashSuccess(uint96 own, uint96 sponsored, uint96 out, uint16 part, uint96 later)
        public
    {
        own = uint96(bound(own, 1, 1 << 93));
        sponsored = uint96(bound(sponsored, 1, 1 << 93));
        later = uint96(bound(later, 1, 1 << 93));
        vm.deal(SUPPORTER, own);
        vm.deal(SPONSOR, uint256(sponsored) + later);
        _bond(own);
        _bondFor(sponsored);
        vm.prank(SUPPORTER);
        uint256 exitId = target.queueExit(uint128(bound(out, 1, own)));
        uint256 taken = _slash(part);
        uint256 stake = uint256(own) + sponsored - taken;
        assert(taken <= (uint256(own) + sponsored) / 2 && target.stakeOf(SUPPORTER) == stake);
        _bondFor(later);
        vm.warp(block.timestamp + DELAY);
        target.claim(exitId);
        assert(target.stakeOf(SUPPORTER) == stake + later - SUPPORTER.balance);
        assert(address(target).balance == target.stakeOf(SUPPORTER) + taken);
        assert(target.ownBondOf(SUPPORTER) <= own && target.bondOf(SUPPORTER) <= stake + later);
    }

    // --- sweep ---

    function testSweepSuccess() public {
        _bond(4 ether);
        _slash(5000);
        vm.expectEmit(address(target));
        emit ISupporterBond.Swept(COMMONS, 2 ether);
        target.sweep();
        assert(COMMONS.balance == 2 ether && target.slashedHeld() == 0);
    }

    function testSweepSuccessBurnt() public {
        target = _deploy(address(0), address(0), DELAY);
        _bond(4 ether);
        _slash(5000);
        target.sweep();
        assert(ASHES.balance == 2 ether);
    }

    function testSweepZeroAmount() public {
        vm.expectRevert(abi.encodeWithSelector(ISupporterBond.ZeroAmount.selector));
        target.sweep();
    }

    function testFuzzSweepSuccess(uint96 amount) public {
        amount = uint96(bound(amount, 2, type(uint96).max));
        vm.deal(SUPPORTER, amount);
        _bond(amount);
        _slash(5000);
        target.sweep();
        assert(COMMONS.balance == amount / 2 && address(target).balance == amount - amount / 2);
    }

    // --- quotaOf ---

    function testQuotaOfSuccess() public {
        assert(target.quotaOf(SUPPORTER) == 0);
        _bond(UNIT - 1);
        assert(target.quotaOf(SUPPORTER) == 0);
        _bond(1);
        assert(target.quotaOf(SUPPORTER) == 1);
        _bond(3 * UNIT);
        assert(target.quotaOf(SUPPORTER) == 2);
        _bondFor(5 * UNIT); // a sponsor's coin counts
        assert(target.quotaOf(SUPPORTER) == 3);
        vm.prank(SUPPORTER);
        target.queueExit(1); // what leaves does not
        assert(target.quotaOf(SUPPORTER) == 2);
        vm.deal(SUPPORTER, 10_000 * uint256(UNIT));
        _bond(10_000 * uint256(UNIT));
        assert(target.quotaOf(SUPPORTER) == 64);
    }

    function testFuzzQuotaOfSuccess(uint96 amount) public {
        vm.assume(amount > 0);
        vm.deal(SUPPORTER, amount);
        _bond(amount);
        uint256 quota = target.quotaOf(SUPPORTER);
        assert(quota <= 64 && quota * quota * UNIT <= amount);
        assert(quota == 64 || (quota + 1) * (quota + 1) * UNIT > amount);
    }

    // --- verbs ---

    function _deploy(address coin, address commons, uint64 delay) private returns (SupporterBond) {
        return new SupporterBond(address(governance), ISupporterBond.Terms(coin, commons, PANEL, delay, UNIT));
    }

    function _tokenBond() private returns (SupporterBond other) {
        other = _deploy(address(token), COMMONS, DELAY);
        token.mint(SPONSOR, 100 ether);
        vm.prank(SPONSOR);
        token.approve(address(other), type(uint256).max);
    }

    function _lock(uint64 span) private returns (uint32) {
        vm.prank(PANEL);
        return target.lock(SUPPORTER, now64() + span);
    }

    function _release(uint32 round) private {
        vm.prank(PANEL);
        target.release(SUPPORTER, round);
    }

    function _slash(uint16 basisPoints) private returns (uint256) {
        vm.prank(PANEL);
        return target.slash(SUPPORTER, REPORT, basisPoints);
    }

    function _expectLock(uint64 until, uint32 round, uint32 open) private view {
        (uint64 u, uint32 r, uint32 o) = target.lockOf(SUPPORTER);
        assert(u == until && r == round && o == open);
    }

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
