// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import { DelegateRegistry } from "../src/DelegateRegistry.sol";
import { IDelegateRegistry } from "../src/interfaces/IDelegateRegistry.sol";
import { Test } from "./support/Test.sol";

contract DelegateRegistryTest is Test {
    DelegateRegistry private registry;
    address private immutable WALLET = person(1);
    bytes32 private constant KEY = keccak256("device");

    function setUp() public {
        vm.warp(1_800_000_000);
        registry = new DelegateRegistry(address(this));
    }

    function testSetDelegateSuccess() public {
        vm.expectEmit(address(registry));
        emit IDelegateRegistry.DelegateSet(WALLET, KEY, now64() + 1 days);
        vm.prank(WALLET);
        registry.setDelegate(KEY, now64() + 1 days);
        assert(registry.delegateUntil(WALLET, KEY) == now64() + 1 days);
        assert(registry.delegateUntil(person(2), KEY) == 0);
    }

    function testSetDelegateSuccessWithdraws() public {
        vm.prank(WALLET);
        registry.setDelegate(KEY, now64() + 1 days);
        vm.prank(WALLET);
        registry.setDelegate(KEY, 0);
        assert(registry.delegateUntil(WALLET, KEY) == 0);
    }

    function testSetDelegateSuccessAtLimit() public {
        uint64 latest = now64() + registry.MAX_DELEGATION();
        registry.setDelegate(KEY, latest);
        assert(registry.delegateUntil(address(this), KEY) == latest);
    }

    function testSetDelegateZeroKey() public {
        vm.expectRevert(abi.encodeWithSelector(IDelegateRegistry.ZeroKey.selector));
        registry.setDelegate(0, now64() + 1);
    }

    function testSetDelegateTooFarAhead() public {
        uint64 latest = now64() + registry.MAX_DELEGATION();
        vm.expectRevert(abi.encodeWithSelector(IDelegateRegistry.TooFarAhead.selector, latest + 1, latest));
        registry.setDelegate(KEY, latest + 1);
    }

    function testFuzzSetDelegateSuccess(address wallet, bytes32 key, uint64 until) public {
        vm.assume(key != 0);
        until = uint64(bound(until, 0, now64() + registry.MAX_DELEGATION()));
        vm.prank(wallet);
        registry.setDelegate(key, until);
        assert(registry.delegateUntil(wallet, key) == until);
    }

    function testFuzzSetDelegateTooFarAhead(uint64 until) public {
        uint64 latest = now64() + registry.MAX_DELEGATION();
        until = uint64(bound(until, latest + 1, type(uint64).max));
        vm.expectRevert(abi.encodeWithSelector(IDelegateRegistry.TooFarAhead.selector, until, latest));
        registry.setDelegate(KEY, until);
    }

    function testRevokeBeforeSuccess() public {
        vm.prank(WALLET);
        registry.setDelegate(KEY, now64() + 1 days);
        registry.setDelegate(KEY, now64() + 1 days);
        vm.expectEmit(address(registry));
        emit IDelegateRegistry.DelegatesRevokedBefore(WALLET, now64());
        vm.prank(WALLET);
        registry.revokeBefore(now64());
        assert(registry.revokedBefore(WALLET) == now64());
        assert(registry.delegateUntil(WALLET, KEY) == 0);
        assert(registry.delegateUntil(address(this), KEY) == now64() + 1 days); // another wallet's
    }

    function testRevokeBeforeSuccessThenSetAgain() public {
        registry.revokeBefore(now64() + registry.MAX_AHEAD());
        registry.setDelegate(KEY, now64() + 1);
        assert(registry.delegateUntil(address(this), KEY) == now64() + 1);
    }

    function testRevokeBeforeNotLater() public {
        registry.revokeBefore(now64());
        vm.expectRevert(abi.encodeWithSelector(IDelegateRegistry.NotLater.selector, now64(), now64()));
        registry.revokeBefore(now64());
    }

    function testRevokeBeforeNotLaterZero() public {
        vm.expectRevert(abi.encodeWithSelector(IDelegateRegistry.NotLater.selector, 0, 0));
        registry.revokeBefore(0);
    }

    function testRevokeBeforeTooFarAhead() public {
        uint64 latest = now64() + registry.MAX_AHEAD();
        uint64 milliseconds = now64() * 1000;
        vm.expectRevert(abi.encodeWithSelector(IDelegateRegistry.TooFarAhead.selector, milliseconds, latest));
        registry.revokeBefore(milliseconds);
    }

    function testFuzzRevokeBeforeSuccess(uint64 first, uint64 second) public {
        uint64 latest = now64() + registry.MAX_AHEAD();
        first = uint64(bound(first, 1, latest - 1));
        second = uint64(bound(second, first + 1, latest));
        registry.revokeBefore(first);
        registry.setDelegate(KEY, now64() + 1);
        registry.revokeBefore(second);
        assert(registry.revokedBefore(address(this)) == second);
        assert(registry.delegateUntil(address(this), KEY) == 0);
    }

    function testFuzzRevokeBeforeNotLater(uint64 first, uint64 second) public {
        first = uint64(bound(first, 1, now64() + registry.MAX_AHEAD()));
        second = uint64(bound(second, 0, first));
        registry.revokeBefore(first);
        vm.expectRevert(abi.encodeWithSelector(IDelegateRegistry.NotLater.selector, second, first));
        registry.revokeBefore(second);
    }
}
