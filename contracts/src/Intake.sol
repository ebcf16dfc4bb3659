// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import { Succession } from "./Succession.sol";
import { IIntake } from "./interfaces/IIntake.sol";
import { SafeCast } from "@openzeppelin/contracts/utils/math/SafeCast.sol";

/// @title A pause that cannot be used to hold people: see IIntake.
abstract contract Intake is IIntake, Succession {
    using SafeCast for uint256;

    /// @inheritdoc IIntake
    uint64 public constant MAX_PAUSE = 7 days;
    /// @inheritdoc IIntake
    uint64 public constant PAUSE_GAP = 30 days;

    /// @dev For what comes in, and only for that.
    modifier whileOpen() {
        _requireOpen();
        _;
    }

    /// @inheritdoc IIntake
    function pauseIntake(uint64 until) external restricted {
        uint64 last = _life.pausedUntil;
        if (last != 0 && block.timestamp < last + PAUSE_GAP) revert PausedTooRecently(last + PAUSE_GAP);
        uint64 latest = uint64(block.timestamp) + MAX_PAUSE;
        if (until <= block.timestamp || until > latest) revert PauseOutOfRange(until, latest);
        _life.pausedUntil = uint256(until).toUint40();
        emit IntakePaused(until);
    }

    /// @inheritdoc IIntake
    function intakePausedUntil() external view returns (uint64) {
        return _life.pausedUntil;
    }

    function _requireOpen() private view {
        Life memory life = _life;
        if (block.timestamp < life.pausedUntil) revert IntakeResting(life.pausedUntil);
        if (_isSuperseded(life)) revert AlreadySuperseded(life.successor);
    }
}
