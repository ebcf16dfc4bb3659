// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

/// @title A pause that cannot be used to hold people
/// @notice A guardian may stop what comes in (issues and bonds), for a week at most and then not again for 30 days.
/// What goes out or takes trust back has no such check at all: reports, rulings, revocations, renunciation, exits.
/// @dev A contract that is superseded takes nothing new in either; both answers lie in one storage word.
interface IIntake {
    /// @notice Intake rests until `until`.
    error IntakeResting(uint64 until);

    /// @notice The end of a pause must lie after the block's time and at or before `latest`.
    error PauseOutOfRange(uint64 until, uint64 latest);

    /// @notice The last pause ended less than `PAUSE_GAP` ago.
    error PausedTooRecently(uint64 earliest);

    /// @notice Intake rests until `until`.
    event IntakePaused(uint64 until);

    /// @notice Stops intake until a date. Guardian only. It ends by itself and cannot be made longer.
    /// @param until first second in which intake is open again; within `MAX_PAUSE`
    function pauseIntake(uint64 until) external;

    /// @notice First second in which intake is open again after the last pause; 0 if there was none.
    function intakePausedUntil() external view returns (uint64);

    /// @notice The longest pause: 7 days.
    function MAX_PAUSE() external view returns (uint64);

    /// @notice The least time from the end of a pause to the start of the next: 30 days.
    function PAUSE_GAP() external view returns (uint64);
}
