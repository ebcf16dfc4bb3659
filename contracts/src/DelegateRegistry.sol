// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import { Succession } from "./Succession.sol";
import { IDelegateRegistry } from "./interfaces/IDelegateRegistry.sol";
import { AccessManaged } from "@openzeppelin/contracts/access/manager/AccessManaged.sol";

/// @title Which Ed25519 keys speak for a wallet: see IDelegateRegistry.
contract DelegateRegistry is IDelegateRegistry, Succession {
    /// @inheritdoc IDelegateRegistry
    uint64 public constant MAX_DELEGATION = 366 days;
    /// @inheritdoc IDelegateRegistry
    uint64 public constant MAX_AHEAD = 1 days;

    // A revocation must end all keys of a wallet in one write. Keys carry the round they were set in, and only
    // those of the present round speak.
    struct Wallet {
        uint64 revokedBefore; // seconds; off-chain delegations that start earlier are dead
        uint64 round; // number of revocations so far
    }

    struct Delegate {
        uint64 until; // first second in which the key speaks no more
        uint64 round; // the wallet's round when the key was set
    }

    mapping(address wallet => Wallet) private _wallets;
    mapping(address wallet => mapping(bytes32 key => Delegate)) private _delegates;

    /// @param governance who may announce a successor, and nothing else
    constructor(address governance) AccessManaged(governance) { }

    /// @inheritdoc IDelegateRegistry
    function setDelegate(bytes32 key, uint64 until) external {
        if (key == 0) revert ZeroKey();
        _requireWithin(until, MAX_DELEGATION);
        _delegates[msg.sender][key] = Delegate({ until: until, round: _wallets[msg.sender].round });
        emit DelegateSet(msg.sender, key, until);
    }

    /// @inheritdoc IDelegateRegistry
    function revokeBefore(uint64 time) external {
        Wallet storage wallet = _wallets[msg.sender];
        if (time <= wallet.revokedBefore) revert NotLater(time, wallet.revokedBefore);
        _requireWithin(time, MAX_AHEAD);
        wallet.revokedBefore = time;
        ++wallet.round;
        emit DelegatesRevokedBefore(msg.sender, time);
    }

    /// @inheritdoc IDelegateRegistry
    function delegateUntil(address wallet, bytes32 key) external view returns (uint64) {
        Delegate memory delegate = _delegates[wallet][key];
        return delegate.round == _wallets[wallet].round ? delegate.until : 0;
    }

    /// @inheritdoc IDelegateRegistry
    function revokedBefore(address wallet) external view returns (uint64) {
        return _wallets[wallet].revokedBefore;
    }

    function _requireWithin(uint64 time, uint64 span) private view {
        uint64 latest = uint64(block.timestamp) + span;
        if (time > latest) revert TooFarAhead(time, latest);
    }
}
