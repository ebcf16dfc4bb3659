// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import { ISuccession } from "./interfaces/ISuccession.sol";
import { AccessManaged } from "@openzeppelin/contracts/access/manager/AccessManaged.sol";
import { SafeCast } from "@openzeppelin/contracts/utils/math/SafeCast.sol";

/// @title How a contract hands over to a later version: see ISuccession.
abstract contract Succession is ISuccession, AccessManaged {
    using SafeCast for uint256;

    /// @inheritdoc ISuccession
    uint64 public constant HANDOVER = 30 days;

    // One word, so that Intake answers both of its questions with one read.
    struct Life {
        address successor; // zero if nobody was announced
        uint40 supersededAt; // seconds; zero if nobody was announced
        uint40 pausedUntil; // seconds; used by Intake
    }

    Life internal _life;

    /// @inheritdoc ISuccession
    function supersede(address successor) external restricted {
        Life memory life = _life;
        if (_isSuperseded(life)) revert AlreadySuperseded(life.successor);
        if (successor == address(this) || (successor != address(0) && successor.code.length == 0)) {
            revert NotASuccessor(successor);
        }
        uint40 since = successor == address(0) ? 0 : (block.timestamp + HANDOVER).toUint40();
        (_life.successor, _life.supersededAt) = (successor, since);
        emit SuccessorAnnounced(successor, since);
    }

    /// @inheritdoc ISuccession
    function supersededBy() external view returns (address successor, uint64 since) {
        return (_life.successor, _life.supersededAt);
    }

    function _isSuperseded(Life memory life) internal view returns (bool) {
        return life.supersededAt != 0 && block.timestamp >= life.supersededAt;
    }
}
