// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import { DelegateRegistry } from "../src/DelegateRegistry.sol";
import { IDelegateRegistry } from "../src/interfaces/IDelegateRegistry.sol";
import { Test } from "./support/Test.sol";
import { Vm } from "./support/Vm.sol";

/// @notice Three wallets and three keys under all acts in any order; the model is a reader of the events, who clears a
/// wallet's keys at each revocation.
contract DelegateActors is Test {
    DelegateRegistry public immutable REGISTRY = new DelegateRegistry(address(this));
    uint256 public constant WALLETS = 3;
    uint256 public constant KEYS = 3;

    mapping(address wallet => mapping(bytes32 key => uint64)) public until;
    mapping(address wallet => uint64) public revokedBefore;

    function walletAt(uint256 seed) public pure returns (address) {
        return person(1 + (seed % WALLETS));
    }

    function keyAt(uint256 seed) public pure returns (bytes32) {
        return bytes32(1 + (seed % KEYS));
    }

    function setDelegate(uint256 w, uint256 k, uint32 time, bool withdraw) external {
        uint64 end = withdraw ? 0 : now64() + time % 400 days;
        _act(walletAt(w), abi.encodeCall(REGISTRY.setDelegate, (keyAt(k), end)));
    }

    function revokeBefore(uint256 w, uint32 time, bool ahead) external {
        uint64 when = ahead ? now64() + time % 2 days : now64() - time % 2 days;
        _act(walletAt(w), abi.encodeCall(REGISTRY.revokeBefore, (when)));
    }

    function wait(uint32 time) external {
        vm.warp(block.timestamp + bound(time, 1, 20 days));
    }

    function _act(address who, bytes memory call) private {
        vm.recordLogs();
        vm.prank(who);
        (bool done,) = address(REGISTRY).call(call);
        Vm.Log[] memory logs = vm.getRecordedLogs();
        if (!done) return;
        vm.assertTrue(logs.length == 1, "one event for each accepted act");
        address wallet = address(uint160(uint256(logs[0].topics[1])));
        uint64 time = abi.decode(logs[0].data, (uint64));
        if (logs[0].topics[0] == IDelegateRegistry.DelegateSet.selector) {
            until[wallet][logs[0].topics[2]] = time;
            return;
        }
        vm.assertTrue(time > revokedBefore[wallet], "a revocation only moves forward");
        revokedBefore[wallet] = time;
        for (uint256 k; k < KEYS; ++k) {
            until[wallet][keyAt(k)] = 0;
        }
    }
}

contract DelegateRegistryInvariantTest is Test {
    DelegateActors private actors;

    function setUp() public {
        vm.warp(1_800_000_000);
        actors = new DelegateActors();
    }

    function targetContracts() public view returns (address[] memory targets) {
        targets = new address[](1);
        targets[0] = address(actors);
    }

    /// @notice Both views are what a reader of the events would say.
    function invariant_viewsFollowFromEvents() public view {
        for (uint256 w; w < actors.WALLETS(); ++w) {
            address wallet = actors.walletAt(w);
            vm.assertTrue(
                actors.REGISTRY().revokedBefore(wallet) == actors.revokedBefore(wallet), "revocations"
            );
            for (uint256 k; k < actors.KEYS(); ++k) {
                bytes32 key = actors.keyAt(k);
                vm.assertTrue(
                    actors.REGISTRY().delegateUntil(wallet, key) == actors.until(wallet, key), "keys"
                );
            }
        }
    }
}
