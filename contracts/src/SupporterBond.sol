// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import { ISupporterBond } from "./interfaces/ISupporterBond.sol";
import { Address } from "@openzeppelin/contracts/utils/Address.sol";
import { ReentrancyGuardTransient } from "@openzeppelin/contracts/utils/ReentrancyGuardTransient.sol";
import { SafeCast } from "@openzeppelin/contracts/utils/math/SafeCast.sol";

/// @title What supporters put down: see ISupporterBond.
contract SupporterBond is ISupporterBond, ReentrancyGuardTransient {
    using SafeCast for uint256;

    /// @inheritdoc ISupporterBond
    uint64 public constant MAX_EXIT_DELAY = 365 days;
    /// @inheritdoc ISupporterBond
    uint64 public immutable EXIT_DELAY;

    // The common supporter bonds for themselves and writes one word; the words of a sponsorship are apart.
    struct Account {
        uint128 own; // wei put down by the supporter
        uint128 exiting; // wei in open exits, own and sponsored
    }

    struct Exit {
        address supporter; // whose bond it left
        uint64 claimableAt; // seconds; 0 means that there is no such exit
        address beneficiary; // who put it down
        uint96 amount; // wei; 96 bits fill the word and hold 79 thousand million coins
    }

    mapping(address supporter => Account) private _accounts;
    mapping(address supporter => uint256 amount) private _sponsored;
    mapping(address supporter => mapping(address funder => uint256 amount)) private _sponsoredBy;
    mapping(uint256 exitId => Exit) private _exits;
    uint256 private _lastExitId;

    /// @param exitDelay seconds between queueing an exit and claiming it. On a live network longer than a report
    /// takes from filing to the last appeal.
    constructor(uint64 exitDelay) {
        if (exitDelay == 0 || exitDelay > MAX_EXIT_DELAY) revert DelayOutOfRange(exitDelay);
        EXIT_DELAY = exitDelay;
    }

    /// @inheritdoc ISupporterBond
    function bond() external payable {
        _bond(msg.sender);
    }

    /// @inheritdoc ISupporterBond
    function bondFor(address supporter) external payable {
        if (supporter == address(0)) revert ZeroAddress();
        _bond(supporter);
    }

    /// @inheritdoc ISupporterBond
    function queueExit(uint128 amount) external returns (uint256 exitId) {
        Account storage account = _accounts[msg.sender];
        if (amount > account.own) revert InsufficientBond(msg.sender, msg.sender, account.own);
        account.own -= amount;
        return _queue(msg.sender, msg.sender, amount);
    }

    /// @inheritdoc ISupporterBond
    function queueSponsoredExit(address supporter, address funder, uint128 amount)
        external
        returns (uint256 exitId)
    {
        if (msg.sender != funder && msg.sender != supporter) {
            revert NotParty(supporter, funder, msg.sender);
        }
        uint256 available = _sponsoredBy[supporter][funder];
        if (amount > available) revert InsufficientBond(supporter, funder, available);
        _sponsoredBy[supporter][funder] = available - amount;
        _sponsored[supporter] -= amount;
        return _queue(supporter, funder, amount);
    }

    /// @inheritdoc ISupporterBond
    function claim(uint256 exitId) external nonReentrant {
        Exit memory exit = _take(exitId);
        Address.sendValue(payable(exit.beneficiary), exit.amount);
    }

    /// @inheritdoc ISupporterBond
    function claimTo(uint256 exitId, address payable receiver) external nonReentrant {
        if (receiver == address(0)) revert ZeroAddress();
        Exit memory exit = _take(exitId);
        if (msg.sender != exit.beneficiary) revert NotBeneficiary(exitId, msg.sender);
        Address.sendValue(receiver, exit.amount);
    }

    /// @inheritdoc ISupporterBond
    function bondOf(address supporter) external view returns (uint256) {
        return _accounts[supporter].own + _sponsored[supporter];
    }

    /// @inheritdoc ISupporterBond
    function ownBondOf(address supporter) external view returns (uint256) {
        return _accounts[supporter].own;
    }

    /// @inheritdoc ISupporterBond
    function sponsoredBy(address supporter, address funder) external view returns (uint256) {
        return _sponsoredBy[supporter][funder];
    }

    /// @inheritdoc ISupporterBond
    function exitingOf(address supporter) external view returns (uint256) {
        return _accounts[supporter].exiting;
    }

    /// @inheritdoc ISupporterBond
    function exitOf(uint256 exitId)
        external
        view
        returns (address supporter, address beneficiary, uint256 amount, uint64 claimableAt)
    {
        Exit memory exit = _exits[exitId];
        return (exit.supporter, exit.beneficiary, exit.amount, exit.claimableAt);
    }

    function _bond(address supporter) private {
        if (msg.value == 0) revert ZeroAmount();
        if (supporter == msg.sender) {
            _accounts[supporter].own += msg.value.toUint128();
        } else {
            _sponsored[supporter] += msg.value;
            _sponsoredBy[supporter][msg.sender] += msg.value;
        }
        emit Bonded(supporter, msg.sender, msg.value);
    }

    /// @dev The caller has taken `amount` out of the bond.
    function _queue(address supporter, address beneficiary, uint128 amount) private returns (uint256 exitId) {
        if (amount == 0) revert ZeroAmount();
        _accounts[supporter].exiting += amount;
        uint64 claimableAt = uint64(block.timestamp) + EXIT_DELAY;
        exitId = ++_lastExitId;
        _exits[exitId] = Exit({
            supporter: supporter,
            claimableAt: claimableAt,
            beneficiary: beneficiary,
            amount: uint256(amount).toUint96()
        });
        emit ExitQueued(supporter, exitId, beneficiary, amount, claimableAt);
    }

    /// @dev Removes a matured exit from the books; the caller pays it.
    function _take(uint256 exitId) private returns (Exit memory exit) {
        exit = _exits[exitId];
        // slither-disable-next-line incorrect-equality
        if (exit.claimableAt == 0) revert UnknownExit(exitId);
        if (block.timestamp < exit.claimableAt) revert TooEarly(exitId, exit.claimableAt);
        delete _exits[exitId];
        _accounts[exit.supporter].exiting -= exit.amount;
        emit ExitClaimed(exit.supporter, exitId, exit.amount);
    }
}
