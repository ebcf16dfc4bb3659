// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import { Coin } from "./Coin.sol";
import { Intake } from "./Intake.sol";
import { Shares } from "./Shares.sol";
import { ISupporterBond } from "./interfaces/ISupporterBond.sol";
import { AccessManaged } from "@openzeppelin/contracts/access/manager/AccessManaged.sol";
import { ReentrancyGuardTransient } from "@openzeppelin/contracts/utils/ReentrancyGuardTransient.sol";
import { Math } from "@openzeppelin/contracts/utils/math/Math.sol";

// No cast loses anything: a bond takes no more than 2^96 - 1 shares in all, and no amount is larger than its shares.
// forge-lint: disable-next-item(unsafe-typecast)
/// @title What supporters put down: see ISupporterBond.
contract SupporterBond is ISupporterBond, Intake, Coin, ReentrancyGuardTransient {
    /// @inheritdoc ISupporterBond
    uint64 public constant MAX_EXIT_DELAY = 365 days;
    /// @inheritdoc ISupporterBond
    uint64 public constant MAX_LOCK = 60 days;
    /// @inheritdoc ISupporterBond
    uint64 public constant SLASH_PERIOD = 90 days;
    /// @inheritdoc ISupporterBond
    uint16 public constant MAX_SLASH = 5000;
    /// @inheritdoc ISupporterBond
    uint256 public constant MAX_QUOTA = 64;

    uint256 private constant WHOLE = 10_000; // basis points
    address private constant ASHES = 0x000000000000000000000000000000000000dEaD;

    /// @inheritdoc ISupporterBond
    uint64 public immutable EXIT_DELAY;
    /// @inheritdoc ISupporterBond
    address public immutable PANEL;
    /// @inheritdoc ISupporterBond
    address public immutable COMMONS;
    /// @inheritdoc ISupporterBond
    uint96 public immutable QUOTA_UNIT;

    // Everything is counted in shares (see Shares). The common supporter bonds for themselves, is never slashed, and
    // writes one word; what only sponsorship and slashing need is apart.
    struct Account {
        uint128 own; // shares put down by the supporter
        uint128 exiting; // shares in open exits, own and sponsored
    }

    struct Rest {
        uint128 sponsored; // shares put down by others
        uint128 lost; // what all shares are worth less than their number
    }

    struct Exit {
        address supporter; // whose bond it left
        uint64 claimableAt; // seconds; 0 means that there is no such exit
        address beneficiary; // who put it down
        uint96 shares; // 96 bits fill the word
    }

    struct Lock {
        uint64 until; // seconds; it holds before that
        uint32 round; // number of locks so far
        uint32 open; // reports that share it
    }

    struct Toll {
        uint64 since; // seconds; when the period began
        uint96 base; // stake at that time
        uint96 taken; // by rulings in this period
    }

    mapping(address supporter => Account) private _accounts;
    mapping(address supporter => Rest) private _rest;
    mapping(address supporter => mapping(address funder => uint256 shares)) private _sponsoredBy;
    mapping(uint256 exitId => Exit) private _exits;
    mapping(address supporter => Lock) private _locks;
    mapping(address supporter => Toll) private _tolls;
    uint256 private _lastExitId;
    /// @inheritdoc ISupporterBond
    uint256 public slashedHeld;

    modifier onlyPanel() {
        if (msg.sender != PANEL) revert NotPanel(msg.sender);
        _;
    }

    /// @param governance who may pause intake and announce a successor, and nothing else
    /// @param terms see ISupporterBond. The ReportPanel refuses to be deployed upon a bond that does not name it, or
    /// that pays out before a report can end.
    constructor(address governance, Terms memory terms) AccessManaged(governance) Coin(terms.token) {
        if (terms.exitDelay == 0 || terms.exitDelay > MAX_EXIT_DELAY) {
            revert DelayOutOfRange(terms.exitDelay);
        }
        if (terms.panel == address(0)) revert ZeroAddress();
        if (terms.quotaUnit == 0) revert ZeroAmount();
        EXIT_DELAY = terms.exitDelay;
        PANEL = terms.panel;
        COMMONS = terms.commons == address(0) ? ASHES : terms.commons;
        QUOTA_UNIT = terms.quotaUnit;
    }

    /// @inheritdoc ISupporterBond
    function bond() external payable {
        _requireNative();
        _bond(msg.sender, msg.value);
    }

    /// @inheritdoc ISupporterBond
    function bondFor(address supporter) external payable {
        _requireNative();
        _bond(supporter, msg.value);
    }

    /// @inheritdoc ISupporterBond
    function bondTokens(address supporter, uint96 amount) external nonReentrant {
        _takeTokens(amount);
        _bond(supporter, amount);
    }

    /// @inheritdoc ISupporterBond
    function queueExit(uint128 amount) external returns (uint256 exitId) {
        Account storage account = _accounts[msg.sender];
        uint256 shares = _sharesFor(msg.sender, msg.sender, account.own, amount);
        account.own -= uint128(shares);
        return _queue(msg.sender, msg.sender, amount, shares);
    }

    /// @inheritdoc ISupporterBond
    function queueSponsoredExit(address supporter, address funder, uint128 amount)
        external
        returns (uint256 exitId)
    {
        if (msg.sender != funder && msg.sender != supporter) {
            revert NotParty(supporter, funder, msg.sender);
        }
        uint256 held = _sponsoredBy[supporter][funder];
        uint256 shares = _sharesFor(supporter, funder, held, amount);
        _sponsoredBy[supporter][funder] = held - shares;
        _rest[supporter].sponsored -= uint128(shares);
        return _queue(supporter, funder, amount, shares);
    }

    /// @inheritdoc ISupporterBond
    function claim(uint256 exitId) external nonReentrant {
        (address beneficiary, uint256 amount) = _takeOut(exitId);
        _pay(beneficiary, amount);
    }

    /// @inheritdoc ISupporterBond
    function claimTo(uint256 exitId, address payable receiver) external nonReentrant {
        if (receiver == address(0)) revert ZeroAddress();
        (address beneficiary, uint256 amount) = _takeOut(exitId);
        if (msg.sender != beneficiary) revert NotBeneficiary(exitId, msg.sender);
        _pay(receiver, amount);
    }

    /// @inheritdoc ISupporterBond
    function lock(address supporter, uint64 until) external onlyPanel returns (uint32 round) {
        uint64 latest = uint64(block.timestamp) + MAX_LOCK;
        if (until <= block.timestamp || until > latest) revert LockOutOfRange(until, latest);
        Lock memory held = _locks[supporter];
        if (block.timestamp < held.until) {
            ++held.open;
            if (until > held.until) held.until = until;
        } else {
            held = Lock({ until: until, round: held.round + 1, open: 1 });
        }
        _locks[supporter] = held;
        emit BondLocked(supporter, held.until, held.round, held.open);
        return held.round;
    }

    /// @inheritdoc ISupporterBond
    function release(address supporter, uint32 round) external onlyPanel {
        Lock memory held = _locks[supporter];
        if (held.round != round || held.open == 0) return;
        --held.open;
        if (held.open == 0) held.until = 0;
        _locks[supporter] = held;
        emit BondReleased(supporter, round, held.open);
    }

    /// @inheritdoc ISupporterBond
    function slash(address supporter, bytes32 reportId, uint16 basisPoints)
        external
        onlyPanel
        returns (uint256 amount)
    {
        (uint256 supply, uint256 lost) = _pool(supporter);
        amount = _toll(supporter, supply - lost, Math.min(basisPoints, MAX_SLASH));
        lost += amount;
        _rest[supporter].lost = uint128(lost);
        slashedHeld += amount;
        uint256 exiting = _accounts[supporter].exiting;
        emit Slashed(
            supporter,
            reportId,
            amount,
            Shares.worth(supply - exiting, supply, lost),
            Shares.worth(exiting, supply, lost)
        );
    }

    /// @inheritdoc ISupporterBond
    function sweep() external nonReentrant {
        uint256 amount = slashedHeld;
        if (amount == 0) revert ZeroAmount();
        slashedHeld = 0;
        emit Swept(COMMONS, amount);
        _pay(COMMONS, amount);
    }

    /// @inheritdoc ISupporterBond
    function ownBondOf(address supporter) external view returns (uint256) {
        return _worth(supporter, _accounts[supporter].own);
    }

    /// @inheritdoc ISupporterBond
    function sponsoredBy(address supporter, address funder) external view returns (uint256) {
        return _worth(supporter, _sponsoredBy[supporter][funder]);
    }

    /// @inheritdoc ISupporterBond
    function exitingOf(address supporter) external view returns (uint256) {
        return _worth(supporter, _accounts[supporter].exiting);
    }

    /// @inheritdoc ISupporterBond
    function stakeOf(address supporter) external view returns (uint256) {
        (uint256 supply, uint256 lost) = _pool(supporter);
        return supply - lost;
    }

    /// @inheritdoc ISupporterBond
    function exitOf(uint256 exitId)
        external
        view
        returns (address supporter, address beneficiary, uint256 amount, uint64 claimableAt)
    {
        Exit memory exit = _exits[exitId];
        return (exit.supporter, exit.beneficiary, _worth(exit.supporter, exit.shares), exit.claimableAt);
    }

    /// @inheritdoc ISupporterBond
    function lockOf(address supporter) external view returns (uint64 until, uint32 round, uint32 open) {
        Lock memory held = _locks[supporter];
        return (held.until, held.round, held.open);
    }

    /// @inheritdoc ISupporterBond
    function quotaOf(address supporter) external view returns (uint256) {
        return Math.min(Math.sqrt(bondOf(supporter) / QUOTA_UNIT), MAX_QUOTA);
    }

    /// @inheritdoc ISupporterBond
    function bondOf(address supporter) public view returns (uint256) {
        return _worth(supporter, uint256(_accounts[supporter].own) + _rest[supporter].sponsored);
    }

    /// @dev The coin has arrived.
    function _bond(address supporter, uint256 amount) private whileOpen {
        if (supporter == address(0)) revert ZeroAddress();
        if (amount == 0) revert ZeroAmount();
        (uint256 supply, uint256 lost) = _pool(supporter);
        if (amount > type(uint96).max) revert BondTooLarge(supporter);
        uint256 shares = Shares.minted(amount, supply, lost);
        if (supply + shares > type(uint96).max) revert BondTooLarge(supporter);
        if (supporter == msg.sender) {
            _accounts[supporter].own += uint128(shares);
        } else {
            _rest[supporter].sponsored += uint128(shares);
            _sponsoredBy[supporter][msg.sender] += shares;
        }
        if (shares != amount) _rest[supporter].lost = uint128(lost + shares - amount);
        emit Bonded(supporter, msg.sender, amount);
    }

    /// @dev The shares to take for an amount out of `held`; all of them for all that they are worth.
    function _sharesFor(address supporter, address funder, uint256 held, uint256 amount)
        private
        view
        returns (uint256)
    {
        if (amount == 0) revert ZeroAmount();
        (uint256 supply, uint256 lost) = _pool(supporter);
        uint256 available = supply == 0 ? 0 : Shares.worth(held, supply, lost);
        if (amount > available) revert InsufficientBond(supporter, funder, available);
        return amount == available ? held : Shares.covering(amount, supply, lost);
    }

    /// @dev The caller has taken the shares out of the bond.
    function _queue(address supporter, address beneficiary, uint256 amount, uint256 shares)
        private
        returns (uint256 exitId)
    {
        _accounts[supporter].exiting += uint128(shares);
        uint64 claimableAt = uint64(block.timestamp) + EXIT_DELAY;
        exitId = ++_lastExitId;
        _exits[exitId] = Exit({
            supporter: supporter, claimableAt: claimableAt, beneficiary: beneficiary, shares: uint96(shares)
        });
        emit ExitQueued(supporter, exitId, beneficiary, amount, claimableAt);
    }

    /// @dev Removes a matured exit from the books; the caller pays it.
    function _takeOut(uint256 exitId) private returns (address beneficiary, uint256 amount) {
        Exit memory exit = _exits[exitId];
        // slither-disable-next-line incorrect-equality
        if (exit.claimableAt == 0) revert UnknownExit(exitId);
        if (block.timestamp < exit.claimableAt) revert TooEarly(exitId, exit.claimableAt);
        _requireUnlocked(exit.supporter, exit.claimableAt + MAX_LOCK);
        (uint256 supply, uint256 lost) = _pool(exit.supporter);
        amount = Shares.worth(exit.shares, supply, lost);
        delete _exits[exitId];
        _accounts[exit.supporter].exiting -= exit.shares;
        if (amount != exit.shares) _rest[exit.supporter].lost = uint128(lost + amount - exit.shares);
        emit ExitClaimed(exit.supporter, exitId, amount);
        return (exit.beneficiary, amount);
    }

    /// @dev What a ruling may take now, and notes it.
    function _toll(address supporter, uint256 stake, uint256 basisPoints) private returns (uint256 amount) {
        Toll memory toll = _tolls[supporter];
        if (block.timestamp >= toll.since + SLASH_PERIOD) {
            toll = Toll({ since: uint64(block.timestamp), base: uint96(stake), taken: 0 });
        }
        uint256 left = uint256(toll.base) * MAX_SLASH / WHOLE - toll.taken;
        amount = Math.min(stake * basisPoints / WHOLE, left);
        toll.taken += uint96(amount);
        _tolls[supporter] = toll;
    }

    /// @dev A lock ends by its date, and for this exit at `latest`.
    function _requireUnlocked(address supporter, uint64 latest) private view {
        uint64 until = _locks[supporter].until;
        if (until > latest) until = latest;
        if (block.timestamp < until) revert Locked(supporter, until);
    }

    function _worth(address supporter, uint256 shares) private view returns (uint256) {
        (uint256 supply, uint256 lost) = _pool(supporter);
        return Shares.worth(shares, supply, lost);
    }

    function _pool(address supporter) private view returns (uint256 supply, uint256 lost) {
        Account memory account = _accounts[supporter];
        Rest memory rest = _rest[supporter];
        return (uint256(account.own) + account.exiting + rest.sponsored, rest.lost);
    }
}
