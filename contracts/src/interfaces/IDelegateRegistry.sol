// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

/// @title Which Ed25519 keys speak for a wallet
/// @notice A wallet stays in its drawer; the key on the device signs. A wallet delegates either here, or off chain
/// by an EIP-712 message, which only a wallet with a plain key can sign and which runs 30 days at most. Both die
/// here: a lost device stops speaking with `revokeBefore`.
/// @dev No money, no calls to others; governance can announce a successor and nothing else. Keys are not checked to be points on the curve and not proven to
/// belong to the caller: the record that a key signs names the wallet, so claiming a stranger's key gains nothing.
///
/// All times are seconds since 1970 UTC.
interface IDelegateRegistry {
    /// @notice The key is zero.
    error ZeroKey();

    /// @notice The end lies beyond `latest`. Milliseconds in place of seconds end here.
    error TooFarAhead(uint64 time, uint64 latest);

    /// @notice The time is not later than the one recorded. A revocation is never taken back.
    error NotLater(uint64 time, uint64 recorded);

    /// @notice `key` speaks for `wallet` until `until`; a date that is over ends it.
    event DelegateSet(address indexed wallet, bytes32 indexed key, uint64 until);

    /// @notice Off-chain delegations of `wallet` that start before `time` are dead, and so is every key that was
    /// set here earlier in the chain's order than this event.
    event DelegatesRevokedBefore(address indexed wallet, uint64 time);

    /// @notice Lets a key speak for the caller until a date. A date at or before now withdraws it.
    /// @param key the 32 bytes of an Ed25519 public key (RFC 8032); not zero
    /// @param until first second in which it speaks no more; within `MAX_DELEGATION`
    function setDelegate(bytes32 key, uint64 until) external;

    /// @notice Ends every delegation of the caller: those off chain that start before `time`, and all set here so
    /// far. Set again what should go on.
    /// @param time later than the recorded one, and no more than `MAX_AHEAD` after the block's time (a chain's
    /// clock may be behind the caller's)
    function revokeBefore(uint64 time) external;

    /// @notice First second in which the key speaks no more; 0 if it was never set or was revoked.
    function delegateUntil(address wallet, bytes32 key) external view returns (uint64);

    /// @notice Off-chain delegations of the wallet that start before this second are dead.
    function revokedBefore(address wallet) external view returns (uint64);

    /// @notice The longest that a delegation set here may run from now: one year.
    function MAX_DELEGATION() external view returns (uint64);

    /// @notice How far after the block's time `revokeBefore` may reach: one day.
    function MAX_AHEAD() external view returns (uint64);
}
