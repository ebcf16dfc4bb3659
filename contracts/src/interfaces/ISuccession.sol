// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

/// @title How a contract hands over to a later version
/// @notice Nothing here is upgradable. Governance announces a successor in the old contract, 30 days ahead and in the
/// open; who reads the chain learns new addresses from here and from nowhere else.
/// @dev The old contract goes on for ever with everything that ends or pays out. What a contract refuses once it is
/// superseded, it says itself.
interface ISuccession {
    /// @notice The handover took effect, and stays.
    error AlreadySuperseded(address successor);

    /// @notice There is no code at this address, or it is this contract.
    error NotASuccessor(address successor);

    /// @notice `successor` takes over at `since`; zero and zero: an announcement was withdrawn.
    event SuccessorAnnounced(address indexed successor, uint64 since);

    /// @notice Announces a successor, which takes over after `HANDOVER`. Governance only.
    /// @dev A second announcement replaces the first and starts the time anew. After it took effect nothing changes.
    /// @param successor a contract; zero withdraws the announcement
    function supersede(address successor) external;

    /// @notice Who takes over and when (seconds); zeros if nobody was announced. In effect from `since` on.
    function supersededBy() external view returns (address successor, uint64 since);

    /// @notice Seconds between announcement and handover: 30 days.
    function HANDOVER() external view returns (uint64);
}
