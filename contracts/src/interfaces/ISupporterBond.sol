// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

/// @title What supporters put down
/// @notice A supporter, or a community for them, puts down coin. It comes back to whoever put it down, after a delay
/// that is fixed when the exit is queued, less what a ruling took meanwhile. No role can move, hold or shorten any of
/// it: only the panel, fixed at deployment, can hold claims for a time and take a bounded part.
/// @dev Amounts are wei, or the token's least unit. Rules that hold at all times, whatever is called:
///
/// - the coin of the contract covers all bonds, all open exits and what was slashed and not passed on yet, exactly;
/// - an exit's supporter, beneficiary and time never change, and its amount only by a slash, which takes the same
///   fraction of every part of the supporter's stake (rounding favours who stays longest, by a wei);
/// - every exit can be claimed `MAX_LOCK` after its time at the latest, whatever the panel does;
/// - who slashes gains nothing: the coin is burnt or goes to a commons fixed at deployment.
interface ISupporterBond {
    /// @notice Fixed at deployment.
    struct Terms {
        address token; // ERC-20 that is put down; zero for the native coin
        address commons; // where slashed coin goes; zero burns it
        address panel; // the ReportPanel, by the address that it will have
        uint64 exitDelay; // seconds from queueing to claiming
        uint96 quotaUnit; // amount that gives a hosting quota of one
    }

    /// @notice A bond for the zero address could never be taken out; nor can there be a zero panel.
    error ZeroAddress();

    /// @notice Nothing was sent, or nothing was asked for.
    error ZeroAmount();

    /// @notice The exit delay must be at least a second and at most `MAX_EXIT_DELAY`.
    error DelayOutOfRange(uint64 delay);

    /// @notice A supporter's bond holds at most 2^96 - 1 shares.
    error BondTooLarge(address supporter);

    /// @notice This funder has less than that in the bond of this supporter.
    error InsufficientBond(address supporter, address funder, uint256 available);

    /// @notice Only the supporter and the funder may take a funder's part out.
    error NotParty(address supporter, address funder, address caller);

    /// @notice There is no such exit, or it was paid.
    error UnknownExit(uint256 exitId);

    /// @notice The exit can be claimed from `claimableAt` on.
    error TooEarly(uint256 exitId, uint64 claimableAt);

    /// @notice A report against the supporter is open; the exit can be claimed from `until` on at the latest.
    error Locked(address supporter, uint64 until);

    /// @notice Only the beneficiary may name another receiver.
    error NotBeneficiary(uint256 exitId, address caller);

    /// @notice Only the panel may do that.
    error NotPanel(address caller);

    /// @notice A lock ends after now and at or before `latest`.
    error LockOutOfRange(uint64 until, uint64 latest);

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

    /// @notice Claims of the supporter's exits wait until `until`, for `open` reports of the same `round`.
    event BondLocked(address indexed supporter, uint64 until, uint32 round, uint32 open);

    /// @notice One report less holds the supporter's claims; none of this round does if `open` is 0.
    event BondReleased(address indexed supporter, uint32 round, uint32 open);

    /// @notice A ruling took `amount` of the supporter's stake.
    /// @param bonded what `bondOf` is afterwards
    /// @param exiting what `exitingOf` is afterwards
    event Slashed(
        address indexed supporter, bytes32 indexed reportId, uint256 amount, uint256 bonded, uint256 exiting
    );

    /// @notice What was slashed went to the commons, or was burnt.
    event Swept(address indexed receiver, uint256 amount);

    /// @notice Puts down the native coin that is sent, for the caller.
    function bond() external payable;

    /// @notice Puts down the native coin that is sent, for a supporter. It stays the caller's: it returns to the caller
    /// on exit.
    /// @dev Nobody is asked. It gives the sender no say over the supporter, and the supporter may send it back.
    function bondFor(address supporter) external payable;

    /// @notice Puts down tokens that the caller approved, for a supporter or for the caller.
    function bondTokens(address supporter, uint96 amount) external;

    /// @notice Takes out part of what the caller put down for themselves.
    /// @param amount at most `ownBondOf`
    /// @return exitId number to claim with
    function queueExit(uint128 amount) external returns (uint256 exitId);

    /// @notice Takes out part of what a funder put down for a supporter; it returns to the funder.
    /// @dev The funder calls to end the sponsorship, the supporter to send the coin back.
    /// @param amount at most `sponsoredBy(supporter, funder)`
    /// @return exitId number to claim with
    function queueSponsoredExit(address supporter, address funder, uint128 amount)
        external
        returns (uint256 exitId);

    /// @notice Pays a matured exit to its beneficiary. Anyone may call.
    function claim(uint256 exitId) external;

    /// @notice Pays a matured exit to another receiver: for a beneficiary that cannot be paid itself.
    function claimTo(uint256 exitId, address payable receiver) external;

    /// @notice Holds the claims of a supporter's exits until a date. Panel only.
    /// @dev There is one lock at a time; further reports share it and can make it longer. No exit is held for more than
    /// `MAX_LOCK` in all, by however many reports.
    /// @param until first second in which it ends by itself; within `MAX_LOCK`
    /// @return round number of the lock, to release it by
    function lock(address supporter, uint64 until) external returns (uint32 round);

    /// @notice One report less holds the lock; the last one ends it. Panel only; without effect on a later round.
    function release(address supporter, uint32 round) external;

    /// @notice Takes a part of all of a supporter's stake, also of what is in exit. Panel only.
    /// @dev Never reverts for want of stake: it takes what the caps leave.
    /// @param basisPoints of the stake; no more than `MAX_SLASH` count
    /// @return amount what was taken
    function slash(address supporter, bytes32 reportId, uint16 basisPoints) external returns (uint256 amount);

    /// @notice Passes on to the commons what was slashed, or burns it. Anyone may call.
    function sweep() external;

    /// @notice What is in the bond of a supporter, own and sponsored; open exits are not counted.
    function bondOf(address supporter) external view returns (uint256);

    /// @notice What the supporter put down for themselves.
    function ownBondOf(address supporter) external view returns (uint256);

    /// @notice What a funder put down for a supporter; 0 where both are the same.
    function sponsoredBy(address supporter, address funder) external view returns (uint256);

    /// @notice What left the bond of a supporter and was not paid yet.
    function exitingOf(address supporter) external view returns (uint256);

    /// @notice All that can be slashed: bond and open exits.
    function stakeOf(address supporter) external view returns (uint256);

    /// @notice An open exit; zeros if there is none of that number or it was paid.
    /// @return supporter whose bond it left
    /// @return beneficiary who gets it
    /// @return amount what it is worth now
    /// @return claimableAt first second in which it can be claimed if no report is open
    function exitOf(uint256 exitId)
        external
        view
        returns (address supporter, address beneficiary, uint256 amount, uint64 claimableAt);

    /// @notice The lock of a supporter; it holds while the block's time is before `until`.
    function lockOf(address supporter) external view returns (uint64 until, uint32 round, uint32 open);

    /// @notice How many rooms the bond lets a supporter host: the square root of the bond in units, rounded down, at
    /// most `MAX_QUOTA`. Four times the bond gives twice the rooms, so coin does not buy the network.
    function quotaOf(address supporter) external view returns (uint256);

    /// @notice What was slashed and not passed on yet.
    function slashedHeld() external view returns (uint256);

    /// @notice Seconds between queueing and claiming; never changes.
    function EXIT_DELAY() external view returns (uint64);

    /// @notice The only address that can lock and slash; never changes.
    function PANEL() external view returns (address);

    /// @notice Where slashed coin goes: the commons, or an address that nobody has the key of.
    function COMMONS() external view returns (address);

    /// @notice Bond that gives a quota of one.
    function QUOTA_UNIT() external view returns (uint96);

    /// @notice The longest exit delay that can be deployed: one year.
    function MAX_EXIT_DELAY() external view returns (uint64);

    /// @notice The longest that an exit can be held, by all locks together: 60 days.
    function MAX_LOCK() external view returns (uint64);

    /// @notice The most that one ruling, and all rulings of a period, take: 5000 basis points.
    function MAX_SLASH() external view returns (uint16);

    /// @notice The period that `MAX_SLASH` also counts for: 90 days from its first slash, of the stake it began with.
    function SLASH_PERIOD() external view returns (uint64);

    /// @notice The largest hosting quota: 64.
    function MAX_QUOTA() external view returns (uint256);
}
