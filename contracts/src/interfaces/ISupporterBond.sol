// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

/// @title What supporters put down
/// @notice A supporter, or a community for them, puts down native coin. It comes back to whoever put it down, after
/// a delay that is fixed when the exit is queued. No role can move, hold or shorten any of it.
/// @dev Two balances for each supporter: *own* (put down by themselves) and *sponsored* (by others, kept for each
/// funder). Rules that hold at all times, whatever is called:
///
/// - the coin of the contract covers the sum of all bonds and all open exits, to the wei;
/// - `bondOf` is own plus sponsored, `exitingOf` is the sum of the open exits;
/// - an exit's beneficiary, amount and time never change after it is queued.
interface ISupporterBond {
    /// @notice A bond for the zero address could never be taken out.
    error ZeroAddress();

    /// @notice Nothing was sent, or nothing was asked for.
    error ZeroAmount();

    /// @notice The exit delay must be at least a second and at most `MAX_EXIT_DELAY`.
    error DelayOutOfRange(uint64 delay);

    /// @notice This funder has less than that in the bond of this supporter.
    error InsufficientBond(address supporter, address funder, uint256 available);

    /// @notice Only the supporter and the funder may take a funder's part out.
    error NotParty(address supporter, address funder, address caller);

    /// @notice There is no such exit, or it was paid.
    error UnknownExit(uint256 exitId);

    /// @notice The exit can be claimed from `claimableAt` on.
    error TooEarly(uint256 exitId, uint64 claimableAt);

    /// @notice Only the beneficiary may name another receiver.
    error NotBeneficiary(uint256 exitId, address caller);

    /// @notice Coin was put down for a supporter.
    event Bonded(address indexed supporter, address indexed funder, uint256 amount);

    /// @notice Coin leaves the bond and waits.
    /// @param beneficiary who put it down, and gets it back
    /// @param claimableAt first second in which it can be claimed
    event ExitQueued(
        address indexed supporter,
        uint256 indexed exitId,
        address beneficiary,
        uint256 amount,
        uint64 claimableAt
    );

    /// @notice An exit was paid.
    event ExitClaimed(address indexed supporter, uint256 indexed exitId, uint256 amount);

    /// @notice Puts down what is sent, for the caller.
    function bond() external payable;

    /// @notice Puts down what is sent, for a supporter. It stays the caller's: it returns to the caller on exit.
    /// @dev Nobody is asked. It gives the sender no say over the supporter, and the supporter may send it back.
    function bondFor(address supporter) external payable;

    /// @notice Takes out part of what the caller put down for themselves.
    /// @param amount wei; at most `ownBondOf`
    /// @return exitId number to claim with
    function queueExit(uint128 amount) external returns (uint256 exitId);

    /// @notice Takes out part of what a funder put down for a supporter; it returns to the funder.
    /// @dev The funder calls to end the sponsorship, the supporter to send the coin back.
    /// @param amount wei; at most `sponsoredBy(supporter, funder)`
    /// @return exitId number to claim with
    function queueSponsoredExit(address supporter, address funder, uint128 amount)
        external
        returns (uint256 exitId);

    /// @notice Pays a matured exit to its beneficiary. Anyone may call.
    function claim(uint256 exitId) external;

    /// @notice Pays a matured exit to another receiver: for a beneficiary that cannot be paid itself.
    function claimTo(uint256 exitId, address payable receiver) external;

    /// @notice Wei in the bond of a supporter, own and sponsored; open exits are not counted.
    function bondOf(address supporter) external view returns (uint256);

    /// @notice Wei that the supporter put down for themselves.
    function ownBondOf(address supporter) external view returns (uint256);

    /// @notice Wei that a funder put down for a supporter; 0 where both are the same.
    function sponsoredBy(address supporter, address funder) external view returns (uint256);

    /// @notice Wei that left the bond of a supporter and was not paid yet.
    function exitingOf(address supporter) external view returns (uint256);

    /// @notice An open exit; zeros if there is none of that number or it was paid.
    function exitOf(uint256 exitId)
        external
        view
        returns (address supporter, address beneficiary, uint256 amount, uint64 claimableAt);

    /// @notice Seconds between queueing and claiming; never changes.
    function EXIT_DELAY() external view returns (uint64);

    /// @notice The longest exit delay that can be deployed: one year.
    function MAX_EXIT_DELAY() external view returns (uint64);
}
