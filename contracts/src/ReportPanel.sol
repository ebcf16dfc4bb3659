// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import { Coin } from "./Coin.sol";
import { Succession } from "./Succession.sol";
import { ICoin } from "./interfaces/ICoin.sol";
import { IReportPanel } from "./interfaces/IReportPanel.sol";
import { ISupporterBond } from "./interfaces/ISupporterBond.sol";
import { AccessManaged } from "@openzeppelin/contracts/access/manager/AccessManaged.sol";
import { ReentrancyGuardTransient } from "@openzeppelin/contracts/utils/ReentrancyGuardTransient.sol";
import { Math } from "@openzeppelin/contracts/utils/math/Math.sol";

// No cast loses anything: times fit 40 bits for 34 thousand years, and there are 200 panellists at most.
// forge-lint: disable-next-item(unsafe-typecast)
/// @title How reports are decided: see IReportPanel.
contract ReportPanel is IReportPanel, Succession, Coin, ReentrancyGuardTransient {
    /// @inheritdoc IReportPanel
    uint256 public constant SEATS = 3;
    /// @inheritdoc IReportPanel
    uint256 public constant APPEAL_SEATS = 5;
    /// @inheritdoc IReportPanel
    uint256 public constant MAX_PANELLISTS = 200;
    /// @inheritdoc IReportPanel
    uint64 public constant QUOTA_PERIOD = 30 days;

    uint256 private constant DRAW_AHEAD = 4; // blocks: who calls `summon` cannot know or choose their hashes
    uint40 private constant SUSPENSION = 90 days;
    uint40 private constant BAR = 730 days;
    uint16 private constant SUSPENSION_SLASH = 1000; // basis points
    uint16 private constant BAR_SLASH = 5000;

    /// @inheritdoc IReportPanel
    uint96 public immutable FILING_BOND;
    /// @inheritdoc IReportPanel
    uint64 public immutable LONGEST_PATH;
    ISupporterBond private immutable _BOND;
    address private immutable _COMMONS;
    uint40 private immutable _ADMISSION;
    uint40 private immutable _RESPONSE;
    uint40 private immutable _DRAW;
    uint40 private immutable _COMMIT;
    uint40 private immutable _REVEAL;
    uint40 private immutable _APPEAL;
    uint40 private immutable _EXECUTION;

    struct Panellist {
        uint16 place; // in the list, from 1; 0 means not accredited
        address organisation; // zero if none
    }

    struct Advocate {
        address organisation; // zero if none
        uint16 quota; // reports for each period; 0 means no advocate
        uint16 used; // in the present period
        uint40 since; // seconds; when the present period began
    }

    // A suspension is provisional while its report can still be appealed, and final afterwards. Provisional ones share
    // one date that passes by itself; it falls when the last report that holds it is closed.
    struct Suspension {
        uint40 until; // seconds; by final rulings
        uint40 provisionalUntil; // seconds; by rulings that can be appealed
        uint32 holders; // reports with such a ruling
    }

    struct Vote {
        bool seated;
        Ruling ruling; // None until revealed
        bytes32 commitment; // zero until committed
    }

    mapping(bytes32 reportId => Report) private _reports;
    mapping(bytes32 reportId => mapping(uint8 panel => address[])) private _seats;
    mapping(bytes32 reportId => mapping(uint8 panel => mapping(address panellist => Vote))) private _votes;
    mapping(address panellist => Panellist) private _panellists;
    address[] private _list;
    mapping(address advocate => Advocate) private _advocates;
    mapping(address person => Suspension) private _suspensions;
    /// @inheritdoc IReportPanel
    mapping(address filer => uint256) public owedTo;
    /// @inheritdoc IReportPanel
    uint256 public forfeited;

    /// @param governance who accredits panellists, appoints advocates and announces a successor
    /// @param supporterBond deployed with the address of this contract as its panel
    /// @param spans periods and filing bond
    constructor(address governance, ISupporterBond supporterBond, Terms memory spans)
        AccessManaged(governance)
        Coin(ICoin(address(supporterBond)).TOKEN())
    {
        _requireSpans(spans);
        uint40 afterAdmission =
            spans.response + 2 * (spans.draw + spans.commit + spans.reveal) + spans.appeal + spans.execution;
        uint64 path = uint64(spans.admission) + afterAdmission;
        if (
            supporterBond.PANEL() != address(this) || supporterBond.EXIT_DELAY() <= path
                || supporterBond.MAX_LOCK() < afterAdmission
        ) revert BondUnfit(address(supporterBond), path);
        (_BOND, _COMMONS, LONGEST_PATH) = (supporterBond, supporterBond.COMMONS(), path);
        (_ADMISSION, _RESPONSE, _DRAW) = (spans.admission, spans.response, spans.draw);
        (_COMMIT, _REVEAL, _APPEAL) = (spans.commit, spans.reveal, spans.appeal);
        (_EXECUTION, FILING_BOND) = (spans.execution, spans.filingBond);
    }

    /// @inheritdoc IReportPanel
    function accredit(address panellist, address organisation) external restricted {
        if (panellist == address(0)) revert ZeroValue();
        if (_panellists[panellist].place != 0) revert Unchanged(panellist);
        if (_list.length == MAX_PANELLISTS) revert TooManyPanellists();
        _list.push(panellist);
        _panellists[panellist] = Panellist({ place: uint16(_list.length), organisation: organisation });
        emit PanellistAccredited(panellist, organisation);
    }

    /// @inheritdoc IReportPanel
    function discharge(address panellist) external restricted {
        uint16 place = _panellists[panellist].place;
        if (place == 0) revert Unchanged(panellist);
        address last = _list[_list.length - 1];
        _list[place - 1] = last;
        _panellists[last].place = place;
        _list.pop();
        delete _panellists[panellist];
        emit PanellistDischarged(panellist);
    }

    /// @inheritdoc IReportPanel
    function setAdvocate(address advocate, address organisation, uint16 quota) external restricted {
        if (advocate == address(0)) revert ZeroValue();
        Advocate storage entry = _advocates[advocate];
        (entry.organisation, entry.quota) = (organisation, quota);
        emit AdvocateSet(advocate, organisation, quota);
    }

    /// @inheritdoc IReportPanel
    function file(bytes32 reportId) external {
        _useQuota(msg.sender);
        _file(reportId, 0);
    }

    /// @inheritdoc IReportPanel
    function fileWithBond(bytes32 reportId) external payable nonReentrant {
        _takeStake();
        _file(reportId, 1);
    }

    /// @inheritdoc IReportPanel
    function admit(bytes32 reportId, address respondent, bytes32 evidenceHash, bytes32 salt) external {
        Report storage report = _reports[reportId];
        address filer = report.filer;
        if (report.phase != Phase.Filed || block.timestamp >= report.deadline) _notNow(reportId);
        if (reportIdOf(filer, respondent, evidenceHash, salt) != reportId) revert NotWhatWasFiled(reportId);
        if (respondent == address(0)) revert ZeroValue();
        if (!_isNeutral(msg.sender, filer, respondent)) revert NotNeutral(msg.sender);
        uint40 ends = uint40(block.timestamp + LONGEST_PATH - _ADMISSION);
        (report.phase, report.deadline) = (Phase.Admitted, uint40(block.timestamp) + _RESPONSE);
        (report.respondent, report.ends, report.admitter) = (respondent, ends, msg.sender);
        emit ReportAdmitted(reportId, respondent, msg.sender, evidenceHash);
        // The bond was deployed for this contract and calls nobody.
        // slither-disable-next-line reentrancy-no-eth,reentrancy-benign
        report.lockRound = _BOND.lock(respondent, ends);
    }

    /// @inheritdoc IReportPanel
    function respond(bytes32 reportId, bytes32 responseHash) external {
        Report storage report = _reports[reportId];
        if (report.phase != Phase.Admitted || report.panel != 0 || block.timestamp >= report.deadline) {
            _notNow(reportId);
        }
        if (msg.sender != report.respondent) revert NotParty(reportId, msg.sender);
        report.deadline = uint40(block.timestamp);
        emit ResponseGiven(reportId, responseHash);
    }

    /// @inheritdoc IReportPanel
    function summon(bytes32 reportId) external {
        Report storage report = _reports[reportId];
        bool due = report.phase == Phase.Admitted
            || (report.phase == Phase.Drawing && block.number > uint256(report.drawBlock) + 256);
        uint40 from = report.deadline;
        if (!due || block.timestamp < from || block.timestamp >= from + _DRAW) _notNow(reportId);
        report.phase = Phase.Drawing;
        report.drawBlock = uint48(block.number + DRAW_AHEAD);
        emit LotSet(reportId, report.panel, report.drawBlock);
    }

    /// @inheritdoc IReportPanel
    function seat(bytes32 reportId) external {
        Report storage report = _reports[reportId];
        if (report.phase != Phase.Drawing || block.timestamp >= report.deadline + _DRAW) _notNow(reportId);
        bytes32 lot = blockhash(report.drawBlock); // zero for this block, later ones, and those 256 back
        if (lot == 0) revert LotNotKnown(report.drawBlock);
        uint8 panel = report.panel;
        address[] memory seats = _draw(reportId, report, keccak256(abi.encode(lot, reportId)));
        for (uint256 i; i < seats.length; ++i) {
            _votes[reportId][panel][seats[i]].seated = true;
        }
        _seats[reportId][panel] = seats;
        uint40 commitUntil = uint40(block.timestamp) + _COMMIT;
        (report.phase, report.deadline, report.revealed) = (Phase.Voting, commitUntil + _REVEAL, 0);
        emit PanelDrawn(reportId, panel, seats, commitUntil, commitUntil + _REVEAL);
    }

    /// @inheritdoc IReportPanel
    function commitVote(bytes32 reportId, bytes32 commitment) external {
        Report storage report = _reports[reportId];
        if (report.phase != Phase.Voting || block.timestamp >= report.deadline - _REVEAL) _notNow(reportId);
        Vote storage vote = _votes[reportId][report.panel][msg.sender];
        if (!vote.seated) revert NotSeated(reportId, msg.sender);
        if (vote.commitment != 0 || commitment == 0) revert WrongVote(reportId, msg.sender);
        vote.commitment = commitment;
        emit VoteCommitted(reportId, report.panel, msg.sender);
    }

    /// @inheritdoc IReportPanel
    function revealVote(bytes32 reportId, Ruling ruling, bytes32 salt) external {
        Report storage report = _reports[reportId];
        uint40 end = report.deadline;
        if (report.phase != Phase.Voting || block.timestamp < end - _REVEAL || block.timestamp >= end) {
            _notNow(reportId);
        }
        Vote storage vote = _votes[reportId][report.panel][msg.sender];
        if (
            ruling == Ruling.None || vote.ruling != Ruling.None
                || vote.commitment != voteHash(reportId, report.panel, msg.sender, ruling, salt)
        ) revert WrongVote(reportId, msg.sender);
        vote.ruling = ruling;
        ++report.revealed;
        emit VoteRevealed(reportId, report.panel, msg.sender, ruling);
    }

    /// @inheritdoc IReportPanel
    function tally(bytes32 reportId) external {
        Report storage report = _reports[reportId];
        uint8 panel = report.panel;
        uint256 seats = panel == 0 ? SEATS : APPEAL_SEATS;
        if (
            report.phase != Phase.Voting || block.timestamp >= report.ends
                || (block.timestamp < report.deadline && report.revealed < seats)
        ) _notNow(reportId);
        Ruling ruling = _outcome(reportId, panel, seats);
        if (panel == 1) {
            if (uint256(report.revealed) * 2 <= seats) ruling = report.ruling;
            emit PanelRuled(reportId, 1, ruling, 0);
            _conclude(reportId, report, ruling);
            return;
        }
        uint40 voted = uint40(Math.min(block.timestamp, report.deadline));
        (report.phase, report.ruling, report.deadline) = (Phase.Ruled, ruling, voted + _APPEAL);
        emit PanelRuled(reportId, 0, ruling, voted + _APPEAL);
        if (ruling >= Ruling.Suspended) _suspendProvisionally(report);
    }

    /// @inheritdoc IReportPanel
    function appeal(bytes32 reportId) external payable nonReentrant {
        Report storage report = _reports[reportId];
        if (report.phase != Phase.Ruled || block.timestamp >= report.deadline) _notNow(reportId);
        if (msg.sender == report.filer) {
            if (report.stakes == 0) _useQuota(msg.sender);
            else _takeStake();
            if (report.stakes != 0) ++report.stakes;
        } else if (msg.sender != report.respondent || report.ruling < Ruling.Reproved) {
            revert NotParty(reportId, msg.sender);
        }
        if (msg.value != 0 && report.stakes != 2) revert WrongAmount(0, msg.value);
        (report.phase, report.panel, report.appealed) = (Phase.Admitted, 1, true);
        report.deadline = uint40(block.timestamp);
        emit Appealed(reportId, msg.sender);
    }

    /// @inheritdoc IReportPanel
    function close(bytes32 reportId) external {
        Report storage report = _reports[reportId];
        if (!_isOver(report)) _notNow(reportId);
        _conclude(reportId, report, report.ruling);
    }

    /// @inheritdoc IReportPanel
    function collect(address receiver) external nonReentrant {
        if (receiver == address(0)) revert ZeroValue();
        uint256 amount = owedTo[msg.sender];
        if (amount == 0) revert NothingOwed(msg.sender);
        owedTo[msg.sender] = 0;
        emit Collected(msg.sender, receiver, amount);
        _pay(receiver, amount);
    }

    /// @inheritdoc IReportPanel
    function sweep() external nonReentrant {
        uint256 amount = forfeited;
        if (amount == 0) revert NothingOwed(_COMMONS);
        forfeited = 0;
        emit Swept(_COMMONS, amount);
        _pay(_COMMONS, amount);
    }

    /// @inheritdoc IReportPanel
    function reportOf(bytes32 reportId) external view returns (Report memory) {
        return _reports[reportId];
    }

    /// @inheritdoc IReportPanel
    function seatsOf(bytes32 reportId, uint8 panel) external view returns (address[] memory) {
        return _seats[reportId][panel];
    }

    /// @inheritdoc IReportPanel
    function suspendedUntil(address person) external view returns (uint64) {
        return _suspendedUntil(_suspensions[person]);
    }

    /// @inheritdoc IReportPanel
    function panellistOf(address panellist) external view returns (bool accredited, address organisation) {
        Panellist memory entry = _panellists[panellist];
        return (entry.place != 0, entry.organisation);
    }

    /// @inheritdoc IReportPanel
    function advocateOf(address advocate)
        external
        view
        returns (address organisation, uint16 quota, uint16 left)
    {
        Advocate memory entry = _advocates[advocate];
        uint16 used = block.timestamp >= entry.since + QUOTA_PERIOD ? 0 : entry.used;
        return (entry.organisation, entry.quota, entry.quota > used ? entry.quota - used : 0);
    }

    /// @inheritdoc IReportPanel
    function panellists() external view returns (uint256) {
        return _list.length;
    }

    /// @inheritdoc IReportPanel
    function BOND() external view returns (address) {
        return address(_BOND);
    }

    /// @inheritdoc IReportPanel
    function terms() external view returns (Terms memory) {
        return Terms(_ADMISSION, _RESPONSE, _DRAW, _COMMIT, _REVEAL, _APPEAL, _EXECUTION, FILING_BOND);
    }

    /// @inheritdoc IReportPanel
    function reportIdOf(address filer, address respondent, bytes32 evidenceHash, bytes32 salt)
        public
        view
        returns (bytes32)
    {
        return keccak256(abi.encode(block.chainid, address(this), filer, respondent, evidenceHash, salt));
    }

    /// @inheritdoc IReportPanel
    function voteHash(bytes32 reportId, uint8 panel, address panellist, Ruling ruling, bytes32 salt)
        public
        view
        returns (bytes32)
    {
        return keccak256(abi.encode(block.chainid, address(this), reportId, panel, panellist, ruling, salt));
    }

    /// @dev The caller has paid with a filing bond, or with quota.
    function _file(bytes32 reportId, uint8 stakes) private {
        Life memory life = _life;
        if (_isSuperseded(life)) revert AlreadySuperseded(life.successor);
        Report storage report = _reports[reportId];
        if (reportId == 0) revert ZeroValue();
        if (report.phase != Phase.None) revert AlreadyFiled(reportId);
        (report.filer, report.stakes, report.phase) = (msg.sender, stakes, Phase.Filed);
        report.deadline = uint40(block.timestamp) + _ADMISSION;
        emit ReportFiled(reportId, msg.sender, stakes != 0);
    }

    function _takeStake() private {
        if (TOKEN != address(0)) {
            if (msg.value != 0) revert WrongCoin();
            _takeTokens(FILING_BOND);
        } else if (msg.value != FILING_BOND) {
            revert WrongAmount(FILING_BOND, msg.value);
        }
    }

    function _useQuota(address advocate) private {
        Advocate memory entry = _advocates[advocate];
        if (block.timestamp >= entry.since + QUOTA_PERIOD) {
            (entry.since, entry.used) = (uint40(block.timestamp), 0);
        }
        if (entry.used >= entry.quota) revert NoQuota(advocate);
        ++entry.used;
        _advocates[advocate] = entry;
    }

    /// @dev Neutral panellists by lot: a Fisher-Yates shuffle that stops when the seats are filled.
    function _draw(bytes32 reportId, Report storage report, bytes32 seed)
        private
        view
        returns (address[] memory seats)
    {
        uint256 wanted = report.panel == 0 ? SEATS : APPEAL_SEATS;
        seats = new address[](wanted);
        uint256 left = _list.length;
        uint256[] memory moved = new uint256[](left); // 0: not moved, else place + 1
        uint256 filled;
        while (left != 0 && filled < wanted) {
            // The hash is of a block that nobody had made when it was chosen (see `summon`).
            // slither-disable-next-line weak-prng
            uint256 pick = uint256(keccak256(abi.encode(seed, left))) % left;
            --left;
            address candidate = _list[moved[pick] == 0 ? pick : moved[pick] - 1];
            moved[pick] = moved[left] == 0 ? left + 1 : moved[left];
            if (_maySit(reportId, report, candidate)) seats[filled++] = candidate;
        }
        if (filled < wanted) revert TooFewPanellists(filled, wanted);
    }

    function _maySit(bytes32 reportId, Report storage report, address candidate) private view returns (bool) {
        if (candidate == report.admitter || _votes[reportId][0][candidate].seated) return false;
        return _isNeutral(candidate, report.filer, report.respondent);
    }

    /// @dev Sponsors of the respondent are not neutral. Those whom the respondent sponsors are: else the respondent
    /// could disqualify every panellist with a wei each.
    function _isNeutral(address panellist, address filer, address respondent) private view returns (bool) {
        Panellist memory entry = _panellists[panellist];
        if (entry.place == 0 || panellist == filer || panellist == respondent) return false;
        // slither-disable-next-line calls-loop
        if (_BOND.sponsoredBy(respondent, panellist) != 0) return false;
        address house = entry.organisation;
        if (house == address(0)) return true;
        if (house == filer || house == respondent || house == _advocates[filer].organisation) return false;
        // slither-disable-next-line calls-loop
        return _BOND.sponsoredBy(respondent, house) == 0;
    }

    function _outcome(bytes32 reportId, uint8 panel, uint256 seats) private view returns (Ruling) {
        // slither-disable-next-line uninitialized-local
        uint256[6] memory votes; // by ruling; zeros
        address[] memory seated = _seats[reportId][panel];
        for (uint256 i; i < seats; ++i) {
            ++votes[uint256(_votes[reportId][panel][seated[i]].ruling)];
        }
        uint256 atLeast = 0;
        for (uint256 severity = uint256(Ruling.Barred); severity > uint256(Ruling.Dismissed); --severity) {
            atLeast += votes[severity];
            if (atLeast * 2 > seats) return Ruling(severity);
        }
        return votes[uint256(Ruling.BadFaith)] * 2 > seats ? Ruling.BadFaith : Ruling.Dismissed;
    }

    /// @dev Whether the time of the present state has run out. A first vote that nobody counted ends by `ends`.
    function _isOver(Report storage report) private view returns (bool) {
        Phase phase = report.phase;
        if (phase == Phase.None || phase == Phase.Closed) return false;
        uint40 end = report.deadline;
        if (phase == Phase.Admitted || phase == Phase.Drawing) end += _DRAW;
        if (phase == Phase.Voting) end = report.ends;
        return block.timestamp >= end;
    }

    /// @dev Ends the report. A ruling of None is for the respondent, as a dismissal is.
    function _conclude(bytes32 reportId, Report storage report, Ruling ruling) private {
        (report.phase, report.ruling) = (Phase.Closed, ruling);
        _settleStakes(report, ruling);
        address respondent = report.respondent;
        if (respondent == address(0)) {
            emit ReportClosed(reportId, address(0), ruling, 0, 0);
            return;
        }
        uint40 until = _settleSuspension(report, ruling);
        uint16 part = ruling == Ruling.Barred ? BAR_SLASH : ruling == Ruling.Suspended ? SUSPENSION_SLASH : 0;
        uint256 slashed = 0;
        // The bond was deployed for this contract and calls nobody.
        // slither-disable-next-line reentrancy-events
        if (part != 0 && block.timestamp < report.ends) slashed = _BOND.slash(respondent, reportId, part);
        emit ReportClosed(reportId, respondent, ruling, until, slashed);
        _BOND.release(respondent, report.lockRound);
    }

    function _settleStakes(Report storage report, Ruling ruling) private {
        address filer = report.filer;
        uint256 held = uint256(report.stakes) * FILING_BOND;
        report.stakes = 0;
        if (ruling != Ruling.BadFaith) owedTo[filer] += held;
        else if (held != 0) forfeited += held;
        else if (_advocates[filer].quota != 0) --_advocates[filer].quota;
    }

    function _suspendProvisionally(Report storage report) private {
        report.suspendedFrom = uint40(block.timestamp);
        Suspension memory entry = _suspensions[report.respondent];
        if (report.ends > entry.provisionalUntil) entry.provisionalUntil = report.ends;
        ++entry.holders;
        _suspensions[report.respondent] = entry;
        emit SuspensionChanged(report.respondent, _suspendedUntil(entry));
    }

    /// @dev Lifts what was provisional, and notes what is final. Time that was served since the first ruling counts.
    function _settleSuspension(Report storage report, Ruling ruling) private returns (uint40 until) {
        uint40 from = report.suspendedFrom;
        if (from == 0 && ruling < Ruling.Suspended) return 0;
        Suspension memory entry = _suspensions[report.respondent];
        // slither-disable-next-line incorrect-equality
        if (from != 0 && --entry.holders == 0) entry.provisionalUntil = 0;
        if (ruling >= Ruling.Suspended) {
            if (from == 0) from = uint40(block.timestamp);
            until = from + (ruling == Ruling.Barred ? BAR : SUSPENSION);
            if (until > entry.until) entry.until = until;
        }
        _suspensions[report.respondent] = entry;
        emit SuspensionChanged(report.respondent, _suspendedUntil(entry));
    }

    function _suspendedUntil(Suspension memory entry) private pure returns (uint64) {
        return entry.until > entry.provisionalUntil ? entry.until : entry.provisionalUntil;
    }

    function _notNow(bytes32 reportId) private view {
        Report storage report = _reports[reportId];
        revert NotNow(reportId, report.phase, report.deadline);
    }

    function _requireSpans(Terms memory spans) private pure {
        if (
            spans.admission == 0 || spans.response == 0 || spans.draw == 0 || spans.commit == 0
                || spans.reveal == 0 || spans.appeal == 0 || spans.execution == 0
        ) revert ZeroValue();
    }
}
