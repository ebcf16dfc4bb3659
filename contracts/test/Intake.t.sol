// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import { CredentialRegistry } from "../src/CredentialRegistry.sol";
import { IIntake } from "../src/interfaces/IIntake.sol";
import { ISuccession } from "../src/interfaces/ISuccession.sol";
import { Test } from "./support/Test.sol";
import { AccessManager } from "@openzeppelin/contracts/access/manager/AccessManager.sol";
import { IAccessManaged } from "@openzeppelin/contracts/access/manager/IAccessManaged.sol";

/// @notice On the registry of credentials, whose intake is three ways to issue.
contract IntakeTest is Test {
    CredentialRegistry private registry;
    address private successor;
    address private immutable HOLDER = person(3);
    address private immutable STRANGER = person(4);
    bytes32 private constant TYPE = keccak256("peer supporter, 40 hours");

    function setUp() public {
        vm.warp(1_800_000_000);
        AccessManager governance = new AccessManager(address(this));
        registry = new CredentialRegistry(address(governance));
        successor = address(new CredentialRegistry(address(governance)));
        registry.admitIssuer(address(this), 0);
        registry.registerType(TYPE, 0);
    }

    function testPauseIntakeSuccess() public {
        uint64 until = now64() + 1 days;
        vm.expectEmit(address(registry));
        emit IIntake.IntakePaused(until);
        registry.pauseIntake(until);
        assert(registry.intakePausedUntil() == until);
        bytes memory refusal = abi.encodeWithSelector(IIntake.IntakeResting.selector, until);
        vm.expectRevert(refusal);
        registry.issue(HOLDER, TYPE, now64() + 2 days);
        address[] memory holders = new address[](1);
        holders[0] = HOLDER;
        vm.expectRevert(refusal);
        registry.issueBatch(holders, TYPE, now64() + 2 days);
        vm.expectRevert(refusal);
        registry.issueBySignature(address(this), HOLDER, TYPE, now64() + 2 days, until, "");
        vm.warp(until);
        registry.issue(HOLDER, TYPE, now64() + 1); // by itself
    }

    function testPauseIntakeSuccessTakingTrustBackGoesOn() public {
        registry.issue(HOLDER, TYPE, now64() + 30 days);
        registry.issue(STRANGER, TYPE, now64() + 30 days);
        registry.pauseIntake(now64() + 7 days);
        registry.revoke(HOLDER, TYPE, 0);
        vm.prank(STRANGER);
        registry.renounce(address(this), TYPE);
        registry.removeIssuer(address(this));
    }

    function testPauseIntakeSuccessAgainAfterGap() public {
        registry.pauseIntake(now64() + 1);
        vm.warp(now64() + 1 + registry.PAUSE_GAP());
        registry.pauseIntake(now64() + 7 days);
    }

    function testPauseIntakePausedTooRecently() public {
        registry.pauseIntake(now64() + 7 days);
        uint64 earliest = now64() + 7 days + registry.PAUSE_GAP();
        vm.warp(earliest - 1);
        vm.expectRevert(abi.encodeWithSelector(IIntake.PausedTooRecently.selector, earliest));
        registry.pauseIntake(earliest + 1);
    }

    function testPauseIntakePauseOutOfRange() public {
        uint64 latest = now64() + registry.MAX_PAUSE();
        vm.expectRevert(abi.encodeWithSelector(IIntake.PauseOutOfRange.selector, latest + 1, latest));
        registry.pauseIntake(latest + 1);
        vm.expectRevert(abi.encodeWithSelector(IIntake.PauseOutOfRange.selector, now64(), latest));
        registry.pauseIntake(now64());
    }

    function testPauseIntakeUnauthorized() public {
        vm.expectRevert(abi.encodeWithSelector(IAccessManaged.AccessManagedUnauthorized.selector, STRANGER));
        vm.prank(STRANGER);
        registry.pauseIntake(now64() + 1);
    }

    function testPauseIntakeSupersededTakesNothingIn() public {
        registry.issue(HOLDER, TYPE, now64() + 365 days);
        registry.supersede(successor);
        vm.warp(now64() + 30 days - 1);
        registry.issue(HOLDER, TYPE, now64() + 365 days);
        vm.warp(now64() + 1);
        vm.expectRevert(abi.encodeWithSelector(ISuccession.AlreadySuperseded.selector, successor));
        registry.issue(HOLDER, TYPE, now64() + 365 days);
        registry.revoke(HOLDER, TYPE, 0);
    }

    function testFuzzPauseIntakeSuccess(uint64 until, uint64 wait) public {
        until = uint64(bound(until, now64() + 1, now64() + registry.MAX_PAUSE()));
        wait = uint64(bound(wait, 0, 8 days));
        registry.pauseIntake(until);
        vm.warp(now64() + wait);
        if (now64() < until) {
            vm.expectRevert(abi.encodeWithSelector(IIntake.IntakeResting.selector, until));
        }
        registry.issue(HOLDER, TYPE, now64() + 1);
    }

    function testFuzzPauseIntakePausedTooRecently(uint64 until, uint64 wait) public {
        until = uint64(bound(until, now64() + 1, now64() + registry.MAX_PAUSE()));
        uint64 earliest = until + registry.PAUSE_GAP();
        registry.pauseIntake(until);
        vm.warp(bound(wait, now64(), earliest - 1));
        vm.expectRevert(abi.encodeWithSelector(IIntake.PausedTooRecently.selector, earliest));
        registry.pauseIntake(now64() + 1);
    }

    function testFuzzPauseIntakeUnauthorized(address caller) public {
        vm.assume(caller != address(this));
        vm.expectRevert(abi.encodeWithSelector(IAccessManaged.AccessManagedUnauthorized.selector, caller));
        vm.prank(caller);
        registry.pauseIntake(now64() + 1);
    }
}
