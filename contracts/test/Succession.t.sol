// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import { DelegateRegistry } from "../src/DelegateRegistry.sol";
import { ISuccession } from "../src/interfaces/ISuccession.sol";
import { Test } from "./support/Test.sol";
import { AccessManager } from "@openzeppelin/contracts/access/manager/AccessManager.sol";
import { IAccessManaged } from "@openzeppelin/contracts/access/manager/IAccessManaged.sol";

/// @notice On the smallest contract that can be superseded.
contract SuccessionTest is Test {
    DelegateRegistry private registry;
    address private successor;
    address private other;
    address private immutable STRANGER = person(4);

    function setUp() public {
        vm.warp(1_800_000_000);
        AccessManager governance = new AccessManager(address(this));
        registry = new DelegateRegistry(address(governance));
        successor = address(new DelegateRegistry(address(governance)));
        other = address(governance);
    }

    function testSupersedeSuccess() public {
        uint64 since = now64() + registry.HANDOVER();
        vm.expectEmit(address(registry));
        emit ISuccession.SuccessorAnnounced(successor, since);
        registry.supersede(successor);
        _expect(successor, since);
    }

    function testSupersedeSuccessReplaced() public {
        registry.supersede(successor);
        vm.warp(now64() + 29 days);
        registry.supersede(other);
        _expect(other, now64() + 30 days);
    }

    function testSupersedeSuccessWithdrawn() public {
        registry.supersede(successor);
        vm.expectEmit(address(registry));
        emit ISuccession.SuccessorAnnounced(address(0), 0);
        registry.supersede(address(0));
        _expect(address(0), 0);
        vm.warp(now64() + 60 days);
        registry.supersede(successor); // nothing took effect
    }

    function testSupersedeSuccessOldOneGoesOn() public {
        registry.supersede(successor);
        vm.warp(now64() + 30 days);
        registry.setDelegate(keccak256("device"), now64() + 1);
        registry.revokeBefore(now64());
    }

    function testSupersedeAlreadySuperseded() public {
        registry.supersede(successor);
        vm.warp(now64() + 30 days);
        vm.expectRevert(abi.encodeWithSelector(ISuccession.AlreadySuperseded.selector, successor));
        registry.supersede(other);
        vm.expectRevert(abi.encodeWithSelector(ISuccession.AlreadySuperseded.selector, successor));
        registry.supersede(address(0));
    }

    function testSupersedeNotASuccessor() public {
        vm.expectRevert(abi.encodeWithSelector(ISuccession.NotASuccessor.selector, STRANGER));
        registry.supersede(STRANGER);
        vm.expectRevert(abi.encodeWithSelector(ISuccession.NotASuccessor.selector, address(registry)));
        registry.supersede(address(registry));
    }

    function testSupersedeUnauthorized() public {
        vm.expectRevert(abi.encodeWithSelector(IAccessManaged.AccessManagedUnauthorized.selector, STRANGER));
        vm.prank(STRANGER);
        registry.supersede(successor);
    }

    function testFuzzSupersedeSuccess(uint64 wait) public {
        wait = uint64(bound(wait, 0, 30 days - 1));
        registry.supersede(successor);
        vm.warp(now64() + wait);
        registry.supersede(other);
        _expect(other, now64() + registry.HANDOVER());
    }

    function testFuzzSupersedeUnauthorized(address caller) public {
        vm.assume(caller != address(this));
        vm.expectRevert(abi.encodeWithSelector(IAccessManaged.AccessManagedUnauthorized.selector, caller));
        vm.prank(caller);
        registry.supersede(successor);
    }

    function _expect(address who, uint64 since) private view {
        (address found, uint64 from) = registry.supersededBy();
        assert(found == who && from == since);
    }
}
