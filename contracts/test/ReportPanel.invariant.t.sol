// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import { ReportPanel } from "../src/ReportPanel.sol";
import { SupporterBond } from "../src/SupporterBond.sol";
import { IReportPanel } from "../src/interfaces/IReportPanel.sol";
import { ISupporterBond } from "../src/interfaces/ISupporterBond.sol";
import { Court } from "./support/Court.sol";
import { Test } from "./support/Test.sol";
import { Vm } from "./support/Vm.sol";

/// @notice Three people who bond, leave, report each other, twice too, answer and appeal; panellists who open, sit,
/// commit, show, or fall silent; anyone who pushes reports on. Time passes in jumps, so that steps are missed. What is
/// known of reports is kept from events alone.
contract PanelActors is Test {
    struct Known {
        address filer;
        address respondent;
        uint64 filedAt;
        uint64 ends;
        bool closed;
        IReportPanel.Ruling ruling;
    }

    ReportPanel public immutable PANEL;
    SupporterBond public immutable BOND;
    uint256 public constant PEOPLE = 3;
    uint256 private constant PANELLISTS = 12;
    uint96 private immutable STAKE;

    bytes32[] public ids;
    mapping(bytes32 reportId => Known) public known;
    mapping(bytes32 reportId => address) private _about; // what only filer and panellists know before admission
    mapping(bytes32 reportId => mapping(uint8 panel => mapping(address who => uint8))) private _votes;
    mapping(address person => uint64) public suspendedUntil; // by the last event
    mapping(address person => uint256) public upheld; // reports that ended with a suspension
    mapping(uint256 exitId => uint64) public queuedAt;
    uint256 public lastExit;
    uint256 public paidIn;
    uint256 public paidBack;
    uint256 public swept;
    uint256 private _salt;

    constructor(ReportPanel panel, SupporterBond target) {
        (PANEL, BOND, STAKE) = (panel, target, panel.FILING_BOND());
    }

    function someone(uint256 seed) public pure returns (address) {
        return person(1 + (seed % PEOPLE));
    }

    function count() external view returns (uint256) {
        return ids.length;
    }

    /// @notice Person 3 is an advocate; the others put down a bond.
    function file(uint256 who, uint256 whom) external {
        if (_openReports() > 4) return;
        (address filer, address about) = (someone(who), someone(whom));
        bytes32 id = PANEL.reportIdOf(filer, about, 0, bytes32(++_salt));
        bool advocate = filer == person(3);
        bytes memory call =
            advocate ? abi.encodeCall(PANEL.file, (id)) : abi.encodeCall(PANEL.fileWithBond, (id));
        uint256 value = advocate ? 0 : STAKE;
        if (!_act(address(PANEL), filer, value, call)) return;
        paidIn += value;
        _about[id] = about;
        vm.assertTrue(!_act(address(PANEL), filer, value, call), "twice");
    }

    function admit(uint256 report, uint256 panellist) public {
        if (ids.length == 0) return;
        uint256 index = ids.length - 1 - (report % _min(ids.length, 5));
        (bytes32 id, address filer) = (ids[index], known[ids[index]].filer);
        // The salts are 1, 2, 3, ... in the order of filing, as are the reports that were accepted; look it up.
        for (uint256 salt = _salt; salt > 0; --salt) {
            if (PANEL.reportIdOf(filer, _about[id], 0, bytes32(salt)) != id) continue;
            bytes memory call = abi.encodeCall(PANEL.admit, (id, _about[id], 0, bytes32(salt)));
            _act(address(PANEL), person(100 + (panellist % PANELLISTS)), 0, call);
            return;
        }
    }

    function respond(uint256 report, uint256 who) external {
        _on(someone(who), 0, abi.encodeCall(PANEL.respond, (_pick(report), 0)));
    }

    function seat(uint256 report, uint8 blocks_) public {
        bytes32 id = _pick(report);
        _on(address(this), 0, abi.encodeCall(PANEL.summon, (id)));
        vm.roll(block.number + blocks_);
        _on(address(this), 0, abi.encodeCall(PANEL.seat, (id)));
    }

    /// @notice All seats whose bit is set commit to a vote.
    function commitVotes(uint256 report, uint8 who, uint8 ruling) public {
        bytes32 id = _pick(report);
        uint8 panel = PANEL.reportOf(id).panel;
        address[] memory seats = PANEL.seatsOf(id, panel);
        uint8 vote = uint8(bound(ruling, 1, 5));
        for (uint256 i; i < seats.length; ++i) {
            // forge-lint: disable-next-line(incorrect-shift)
            if (who & (1 << i) == 0) continue;
            bytes32 hash = PANEL.voteHash(id, panel, seats[i], IReportPanel.Ruling(vote), 0);
            if (_on(seats[i], 0, abi.encodeCall(PANEL.commitVote, (id, hash)))) {
                _votes[id][panel][seats[i]] = vote;
            }
        }
    }

    function revealVotes(uint256 report, uint8 silent) public {
        bytes32 id = _pick(report);
        uint8 panel = PANEL.reportOf(id).panel;
        address[] memory seats = PANEL.seatsOf(id, panel);
        for (uint256 i; i < seats.length; ++i) {
            IReportPanel.Ruling vote = IReportPanel.Ruling(_votes[id][panel][seats[i]]);
            // forge-lint: disable-next-line(incorrect-shift)
            if (silent & (8 << i) == 0) _on(seats[i], 0, abi.encodeCall(PANEL.revealVote, (id, vote, 0)));
        }
        _on(address(this), 0, abi.encodeCall(PANEL.tally, (id)));
    }

    function tally(uint256 report) external {
        _on(address(this), 0, abi.encodeCall(PANEL.tally, (_pick(report))));
    }

    function appeal(uint256 report, uint256 who) external {
        bytes32 id = _pick(report);
        bool pays = someone(who) == known[id].filer && someone(who) != person(3);
        if (_on(someone(who), pays ? STAKE : 0, abi.encodeCall(PANEL.appeal, (id))) && pays) paidIn += STAKE;
    }

    /// @notice Whatever was left undone by whomever: after the longest path a report can be ended.
    function close(uint256 report) external {
        bytes32 id = _pick(report);
        Known memory entry = known[id];
        bool due = entry.filer != address(0) && !entry.closed
            && block.timestamp >= entry.filedAt + PANEL.LONGEST_PATH();
        bool accepted = _on(address(this), 0, abi.encodeCall(PANEL.close, (id)));
        if (due) vm.assertTrue(accepted, "a report that cannot be ended");
    }

    /// @notice What comes next for a report, in time: chance alone seldom gets as far as an appeal.
    function advance(uint256 report, uint8 ruling, uint256 who) external {
        bytes32 id = _pick(report);
        IReportPanel.Report memory entry = PANEL.reportOf(id);
        if (entry.phase == IReportPanel.Phase.Filed) {
            admit(report, who);
        } else if (entry.phase == IReportPanel.Phase.Admitted) {
            if (block.timestamp < entry.deadline) vm.warp(entry.deadline);
            seat(report, 5);
        } else if (entry.phase == IReportPanel.Phase.Voting) {
            commitVotes(report, 255, ruling);
            if (block.timestamp < entry.deadline - 3 days) vm.warp(entry.deadline - 3 days);
            revealVotes(report, 0);
        }
    }

    function collect(uint256 who) external {
        uint256 owed = PANEL.owedTo(someone(who));
        if (_on(someone(who), 0, abi.encodeCall(PANEL.collect, (someone(who))))) paidBack += owed;
    }

    function sweep() external {
        uint256 amount = PANEL.forfeited();
        if (_on(address(this), 0, abi.encodeCall(PANEL.sweep, ()))) swept += amount;
    }

    function bond(uint256 who, uint96 amount) external {
        _act(address(BOND), someone(who), bound(amount, 1, 10 ether), abi.encodeCall(BOND.bond, ()));
    }

    function queueExit(uint256 who, uint128 amount) external {
        uint256 own = BOND.ownBondOf(someone(who));
        if (own == 0) return;
        bytes memory call = abi.encodeCall(BOND.queueExit, (uint128(bound(amount, 1, own))));
        _act(address(BOND), someone(who), 0, call);
    }

    function claim(uint256 exitId) external {
        _act(address(BOND), address(this), 0, abi.encodeCall(BOND.claim, (bound(exitId, 0, lastExit))));
    }

    /// @notice Pauses intake of bonds, which must not touch anything above.
    function pause() external {
        _act(address(BOND), address(this), 0, abi.encodeCall(BOND.pauseIntake, (now64() + 7 days)));
    }

    function wait(uint32 time) external {
        vm.warp(block.timestamp + bound(time, 1, 6 days));
        vm.roll(block.number + bound(time, 1, 300));
    }

    function waitShort(uint16 time) external {
        vm.warp(block.timestamp + time);
    }

    function _pick(uint256 report) private view returns (bytes32) {
        return ids.length == 0 ? bytes32(0) : ids[ids.length - 1 - (report % _min(ids.length, 5))];
    }

    function _min(uint256 a, uint256 b) private pure returns (uint256) {
        return a < b ? a : b;
    }

    function _openReports() private view returns (uint256 open) {
        for (uint256 i = ids.length; i > 0 && ids.length - i < 8; --i) {
            if (!known[ids[i - 1]].closed) ++open;
        }
    }

    function _on(address who, uint256 value, bytes memory call) private returns (bool) {
        return _act(address(PANEL), who, value, call);
    }

    function _act(address target, address who, uint256 value, bytes memory call)
        private
        returns (bool accepted)
    {
        vm.deal(who, who.balance + value);
        vm.recordLogs();
        vm.prank(who);
        (accepted,) = target.call{ value: value }(call);
        Vm.Log[] memory logs = vm.getRecordedLogs();
        if (!accepted) return false; // forge also hands out the logs of refused calls
        for (uint256 i; i < logs.length; ++i) {
            _fold(logs[i]);
        }
    }

    function _fold(Vm.Log memory log) private {
        bytes32 id = log.topics.length > 1 ? log.topics[1] : bytes32(0);
        bytes32 kind = log.topics[0];
        if (kind == IReportPanel.ReportFiled.selector) {
            ids.push(id);
            known[id].filer = address(uint160(uint256(log.topics[2])));
            known[id].filedAt = now64();
        } else if (kind == IReportPanel.ReportAdmitted.selector) {
            known[id].respondent = address(uint160(uint256(log.topics[2])));
            known[id].ends = PANEL.reportOf(id).ends;
        } else if (kind == IReportPanel.SuspensionChanged.selector) {
            suspendedUntil[address(uint160(uint256(id)))] = abi.decode(log.data, (uint64));
        } else if (kind == IReportPanel.ReportClosed.selector) {
            (known[id].ruling,,) = abi.decode(log.data, (IReportPanel.Ruling, uint64, uint256));
            known[id].closed = true;
            if (known[id].ruling >= IReportPanel.Ruling.Suspended) ++upheld[known[id].respondent];
        } else if (kind == ISupporterBond.ExitQueued.selector) {
            lastExit = uint256(log.topics[2]);
            queuedAt[lastExit] = now64();
        }
    }
}

contract ReportPanelInvariantTest is Court {
    PanelActors private actors;

    function setUp() public {
        _build(address(0));
        panel.setAdvocate(person(3), HOUSE, 30);
        actors = new PanelActors(panel, bond);
        governance.grantRole(0, address(actors), 0);
    }

    function targetContracts() public view returns (address[] memory targets) {
        targets = new address[](1);
        targets[0] = address(actors);
    }

    /// @notice Filing bonds, to the wei: held for open reports, owed, or lost.
    function invariant_filingBondsAreConserved() public view {
        uint256 held = panel.forfeited();
        for (uint256 i; i < actors.PEOPLE(); ++i) {
            held += panel.owedTo(actors.someone(i));
        }
        for (uint256 i; i < actors.count(); ++i) {
            held += uint256(panel.reportOf(actors.ids(i)).stakes) * STAKE;
        }
        vm.assertEq(address(panel).balance, held, "each has its owner");
        vm.assertEq(held, actors.paidIn() - actors.paidBack() - actors.swept(), "what came in and went");
    }

    /// @notice Who queues an exit once a report is filed cannot leave before it ends.
    function invariant_exitDelayExceedsEveryReport() public view {
        vm.assertTrue(bond.EXIT_DELAY() > panel.LONGEST_PATH(), "by deployment");
        for (uint256 i; i < actors.count(); ++i) {
            (, address respondent, uint64 filedAt, uint64 ends,,) = actors.known(actors.ids(i));
            if (respondent == address(0)) continue;
            vm.assertTrue(ends <= filedAt + panel.LONGEST_PATH(), "a report takes no longer");
            for (uint256 id = 1; id <= actors.lastExit(); ++id) {
                (address supporter,,, uint64 claimableAt) = bond.exitOf(id);
                if (supporter != respondent || actors.queuedAt(id) < filedAt) continue;
                vm.assertTrue(claimableAt > ends, "still there when it ends");
            }
        }
    }

    /// @notice Suspended is who the events say, and nobody without a ruling that stands or can be appealed.
    function invariant_suspensionsFollowFromRulings() public view {
        for (uint256 i; i < actors.PEOPLE(); ++i) {
            address who = actors.someone(i);
            uint64 until = panel.suspendedUntil(who);
            vm.assertEq(until, actors.suspendedUntil(who), "by the last event");
            if (until == 0 || actors.upheld(who) != 0) continue;
            bool grounds;
            for (uint256 k; k < actors.count(); ++k) {
                IReportPanel.Report memory report = panel.reportOf(actors.ids(k));
                grounds = grounds
                    || (report.respondent == who
                        && report.phase != IReportPanel.Phase.Closed
                        && report.suspendedFrom != 0);
            }
            vm.assertTrue(grounds, "a suspension without a ruling");
        }
    }

    /// @notice What a report is can be rebuilt from events.
    function invariant_reportsFollowFromEvents() public view {
        for (uint256 k; k < actors.count(); ++k) {
            IReportPanel.Report memory report = panel.reportOf(actors.ids(k));
            (address filer, address respondent,, uint64 ends, bool closed, IReportPanel.Ruling ruling) =
                actors.known(actors.ids(k));
            vm.assertTrue(report.filer == filer && report.respondent == respondent, "whose, against whom");
            vm.assertTrue(report.ends == ends, "until when");
            vm.assertTrue((report.phase == IReportPanel.Phase.Closed) == closed, "whether it is over");
            vm.assertTrue(!closed || report.ruling == ruling, "with what ruling");
        }
    }

    /// @notice Claims are held only while a report is open, and a lock counts exactly those.
    function invariant_locksAreHeldByOpenReports() public view {
        for (uint256 i; i < actors.PEOPLE(); ++i) {
            address who = actors.someone(i);
            (uint64 until, uint32 round, uint32 open) = bond.lockOf(who);
            uint256 holding;
            for (uint256 k; k < actors.count(); ++k) {
                IReportPanel.Report memory report = panel.reportOf(actors.ids(k));
                if (
                    report.respondent == who && report.phase != IReportPanel.Phase.Closed
                        && report.lockRound == round
                ) ++holding;
            }
            vm.assertEq(open, holding, "as many as are open");
            if (holding == 0) vm.assertEq(until, 0, "free");
        }
    }
}
