// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import { ReportPanel } from "../src/ReportPanel.sol";
import { SupporterBond } from "../src/SupporterBond.sol";
import { ICoin } from "../src/interfaces/ICoin.sol";
import { IReportPanel } from "../src/interfaces/IReportPanel.sol";
import { ISuccession } from "../src/interfaces/ISuccession.sol";
import { ISupporterBond } from "../src/interfaces/ISupporterBond.sol";
import { Court } from "./support/Court.sol";
import { Token } from "./support/Tokens.sol";
import { IAccessManaged } from "@openzeppelin/contracts/access/manager/IAccessManaged.sol";
import { ReentrancyGuardTransient } from "@openzeppelin/contracts/utils/ReentrancyGuardTransient.sol";

/// @notice A filer that collects again while it is being paid.
contract GreedyFiler {
    ReportPanel private immutable PANEL;
    bytes public refusal;

    constructor(ReportPanel panel) {
        PANEL = panel;
    }

    function file(bytes32 reportId) external payable {
        PANEL.fileWithBond{ value: msg.value }(reportId);
    }

    function collect() external {
        PANEL.collect(address(this));
    }

    receive() external payable {
        // forge-lint: disable-next-line(unchecked-call)
        (, refusal) = address(PANEL).call(abi.encodeCall(PANEL.collect, (address(this))));
    }
}

contract ReportPanelTest is Court {
    IReportPanel.Phase private constant ADMITTED = IReportPanel.Phase.Admitted;
    IReportPanel.Phase private constant CLOSED = IReportPanel.Phase.Closed;

    function setUp() public {
        _build(address(0));
    }

    // --- constructor ---

    function testConstructorSuccess() public view {
        assert(panel.BOND() == address(bond) && panel.TOKEN() == address(0));
        assert(panel.LONGEST_PATH() == 50 days && panel.FILING_BOND() == STAKE);
        assert(bond.EXIT_DELAY() > panel.LONGEST_PATH());
        assert(panel.SEATS() == 3 && panel.APPEAL_SEATS() == 5 && panel.MAX_PANELLISTS() == 200);
        assert(panel.QUOTA_PERIOD() == 30 days);
        IReportPanel.Terms memory spans = panel.terms();
        assert(keccak256(abi.encode(spans)) == keccak256(abi.encode(_terms())));
    }

    function testConstructorBondUnfitExitDelay() public {
        IReportPanel.Terms memory spans = _terms();
        spans.admission += 25 days; // 75 days in all: as long as an exit takes
        _expectBondUnfit(spans, 75 days);
        spans.admission -= 1;
        _deployPanel(spans, 75 days - 1);
    }

    function testConstructorBondUnfitLock() public {
        IReportPanel.Terms memory spans = _terms();
        spans.response += 17 days + 1; // 60 days and a second after admission: longer than a lock
        _expectBondUnfit(spans, 67 days + 1);
    }

    function testConstructorBondUnfitOtherPanel() public {
        vm.expectRevert(abi.encodeWithSelector(IReportPanel.BondUnfit.selector, address(bond), 50 days));
        new ReportPanel(address(governance), bond, _terms());
    }

    function testConstructorZeroValue() public {
        for (uint256 i; i < 7; ++i) {
            IReportPanel.Terms memory spans = _terms();
            if (i == 0) spans.admission = 0;
            if (i == 1) spans.response = 0;
            if (i == 2) spans.draw = 0;
            if (i == 3) spans.commit = 0;
            if (i == 4) spans.reveal = 0;
            if (i == 5) spans.appeal = 0;
            if (i == 6) spans.execution = 0;
            vm.expectRevert(abi.encodeWithSelector(IReportPanel.ZeroValue.selector));
            new ReportPanel(address(governance), bond, spans);
        }
    }

    // --- accredit, discharge ---

    function testAccreditSuccess() public {
        vm.expectEmit(address(panel));
        emit IReportPanel.PanellistAccredited(person(300), person(301));
        panel.accredit(person(300), person(301));
        (bool accredited, address organisation) = panel.panellistOf(person(300));
        assert(accredited && organisation == person(301) && panel.panellists() == PANELLISTS + 1);
    }

    function testAccreditUnchanged() public {
        vm.expectRevert(abi.encodeWithSelector(IReportPanel.Unchanged.selector, _panellist(0)));
        panel.accredit(_panellist(0), address(0));
    }

    function testAccreditZeroValue() public {
        vm.expectRevert(abi.encodeWithSelector(IReportPanel.ZeroValue.selector));
        panel.accredit(address(0), address(0));
    }

    function testAccreditTooManyPanellists() public {
        for (uint256 i = PANELLISTS; i < 200; ++i) {
            panel.accredit(person(1000 + i), address(0));
        }
        vm.expectRevert(abi.encodeWithSelector(IReportPanel.TooManyPanellists.selector));
        panel.accredit(person(2000), address(0));
    }

    function testAccreditUnauthorized() public {
        vm.expectRevert(abi.encodeWithSelector(IAccessManaged.AccessManagedUnauthorized.selector, STRANGER));
        vm.prank(STRANGER);
        panel.accredit(STRANGER, address(0));
    }

    function testFuzzAccreditSuccess(address someone, address organisation) public {
        (bool before,) = panel.panellistOf(someone);
        vm.assume(someone != address(0) && !before);
        panel.accredit(someone, organisation);
        (bool accredited, address of_) = panel.panellistOf(someone);
        assert(accredited && of_ == organisation);
    }

    function testDischargeSuccess() public {
        vm.expectEmit(address(panel));
        emit IReportPanel.PanellistDischarged(_panellist(2));
        panel.discharge(_panellist(2));
        (bool accredited,) = panel.panellistOf(_panellist(2));
        assert(!accredited && panel.panellists() == PANELLISTS - 1);
        panel.discharge(_panellist(PANELLISTS - 1)); // the one that was moved
        panel.accredit(_panellist(2), address(0));
        assert(panel.panellists() == PANELLISTS - 1);
    }

    /// @notice Who sits goes on sitting: governance cannot bend an open report.
    function testDischargeSuccessSeatsStay() public {
        bytes32 id = _voting();
        address[] memory seats = panel.seatsOf(id, 0);
        for (uint256 i; i < 3; ++i) {
            panel.discharge(seats[i]);
        }
        _vote(id, 0, BARRED, 3);
        panel.tally(id);
        assert(panel.reportOf(id).ruling == BARRED);
    }

    function testDischargeUnchanged() public {
        vm.expectRevert(abi.encodeWithSelector(IReportPanel.Unchanged.selector, STRANGER));
        panel.discharge(STRANGER);
    }

    function testFuzzDischargeSuccess(uint256 seed) public {
        for (uint256 left = PANELLISTS; left > 0; --left) {
            address who = _panellist(uint256(keccak256(abi.encode(seed, left))) % PANELLISTS);
            (bool accredited,) = panel.panellistOf(who);
            if (!accredited) continue;
            uint256 count = panel.panellists();
            panel.discharge(who);
            (accredited,) = panel.panellistOf(who);
            assert(!accredited && panel.panellists() == count - 1);
        }
    }

    // --- setAdvocate ---

    function testSetAdvocateSuccess() public {
        vm.expectEmit(address(panel));
        emit IReportPanel.AdvocateSet(STRANGER, HOUSE, 5);
        panel.setAdvocate(STRANGER, HOUSE, 5);
        (address organisation, uint16 quota, uint16 left) = panel.advocateOf(STRANGER);
        assert(organisation == HOUSE && quota == 5 && left == 5);
    }

    function testSetAdvocateZeroValue() public {
        vm.expectRevert(abi.encodeWithSelector(IReportPanel.ZeroValue.selector));
        panel.setAdvocate(address(0), HOUSE, 1);
    }

    function testFuzzSetAdvocateSuccess(uint16 first, uint16 second) public {
        vm.assume(first > 0);
        panel.setAdvocate(STRANGER, HOUSE, first);
        vm.prank(STRANGER);
        panel.file(keccak256("a"));
        panel.setAdvocate(STRANGER, HOUSE, second);
        (,, uint16 left) = panel.advocateOf(STRANGER);
        assert(left == (second > 1 ? second - 1 : 0)); // what was used stays used
    }

    // --- file ---

    function testFileSuccess() public {
        bytes32 id = _id(ADVOCATE);
        vm.expectEmit(address(panel));
        emit IReportPanel.ReportFiled(id, ADVOCATE, false);
        vm.prank(ADVOCATE);
        panel.file(id);
        IReportPanel.Report memory report = panel.reportOf(id);
        assert(report.filer == ADVOCATE && report.phase == IReportPanel.Phase.Filed);
        assert(report.respondent == address(0) && report.deadline == now64() + 7 days);
    }

    function testFileNoQuota() public {
        for (uint256 i; i < 3; ++i) {
            vm.prank(ADVOCATE);
            panel.file(keccak256(abi.encode(i)));
        }
        vm.expectRevert(abi.encodeWithSelector(IReportPanel.NoQuota.selector, ADVOCATE));
        vm.prank(ADVOCATE);
        panel.file(keccak256("one more"));
        vm.warp(block.timestamp + 30 days);
        (,, uint16 left) = panel.advocateOf(ADVOCATE);
        assert(left == 3);
        vm.prank(ADVOCATE);
        panel.file(keccak256("one more"));
        vm.expectRevert(abi.encodeWithSelector(IReportPanel.NoQuota.selector, STRANGER));
        vm.prank(STRANGER);
        panel.file(keccak256("without a bond"));
    }

    function testFileAlreadyFiled() public {
        bytes32 id = _filed();
        vm.expectRevert(abi.encodeWithSelector(IReportPanel.AlreadyFiled.selector, id));
        vm.prank(ADVOCATE);
        panel.file(id);
    }

    function testFileZeroValue() public {
        vm.expectRevert(abi.encodeWithSelector(IReportPanel.ZeroValue.selector));
        vm.prank(ADVOCATE);
        panel.file(0);
    }

    function testFileAlreadySuperseded() public {
        (bytes32 open, bytes32 next) = (_filed(), _id(ADVOCATE));
        panel.supersede(address(governance));
        vm.warp(block.timestamp + 30 days);
        vm.expectRevert(abi.encodeWithSelector(ISuccession.AlreadySuperseded.selector, address(governance)));
        vm.prank(ADVOCATE);
        panel.file(next);
        panel.close(open); // what was open goes on
    }

    function testFuzzFileSuccess(bytes32 id) public {
        vm.assume(id != 0);
        vm.prank(ADVOCATE);
        panel.file(id);
        assert(panel.reportOf(id).stakes == 0);
    }

    // --- fileWithBond ---

    function testFileWithBondSuccess() public {
        bytes32 id = _id(FILER);
        vm.expectEmit(address(panel));
        emit IReportPanel.ReportFiled(id, FILER, true);
        vm.prank(FILER);
        panel.fileWithBond{ value: STAKE }(id);
        assert(panel.reportOf(id).stakes == 1 && address(panel).balance == STAKE);
    }

    function testFileWithBondWrongAmount() public {
        vm.expectRevert(abi.encodeWithSelector(ICoin.WrongAmount.selector, STAKE, STAKE - 1));
        vm.prank(FILER);
        panel.fileWithBond{ value: STAKE - 1 }(keccak256("a"));
    }

    function testFileWithBondTokens() public {
        Token token = new Token();
        _build(address(token));
        token.mint(FILER, 10 ether);
        vm.prank(FILER);
        token.approve(address(panel), 10 ether);
        vm.expectRevert(abi.encodeWithSelector(ICoin.WrongCoin.selector));
        vm.prank(FILER);
        panel.fileWithBond{ value: 1 }(keccak256("a"));
        token.reenter(address(panel), abi.encodeCall(panel.fileWithBond, (keccak256("b"))));
        vm.prank(FILER);
        panel.fileWithBond(keccak256("a"));
        assert(bytes4(token.refusal()) == ReentrancyGuardTransient.ReentrancyGuardReentrantCall.selector);
        token.behave(Token.Manner.KeepsFee);
        vm.expectRevert(abi.encodeWithSelector(ICoin.WrongAmount.selector, STAKE, STAKE - STAKE / 10));
        vm.prank(FILER);
        panel.fileWithBond(keccak256("b"));
        token.behave(Token.Manner.Honest);
        vm.warp(block.timestamp + 7 days);
        panel.close(keccak256("a"));
        vm.prank(FILER);
        panel.collect(FILER);
        assert(token.balanceOf(FILER) == 10 ether);
    }

    function testFuzzFileWithBondSuccess(bytes32 id, address filer) public {
        vm.assume(id != 0 && filer != address(panel));
        vm.deal(filer, STAKE);
        vm.prank(filer);
        panel.fileWithBond{ value: STAKE }(id);
        assert(panel.reportOf(id).filer == filer);
    }

    // --- admit ---

    function testAdmitSuccess() public {
        bytes32 id = _filed();
        vm.expectEmit(address(panel));
        emit IReportPanel.ReportAdmitted(id, RESPONDENT, _panellist(0), EVIDENCE);
        vm.prank(_panellist(0));
        panel.admit(id, RESPONDENT, EVIDENCE, SALT);
        IReportPanel.Report memory report = panel.reportOf(id);
        assert(report.respondent == RESPONDENT && report.phase == ADMITTED);
        assert(report.deadline == now64() + 7 days && report.ends == now64() + 43 days);
        (uint64 until,, uint32 open) = bond.lockOf(RESPONDENT);
        assert(until == now64() + 43 days && open == 1);
    }

    function testAdmitNotWhatWasFiled() public {
        bytes32 id = _filed();
        vm.expectRevert(abi.encodeWithSelector(IReportPanel.NotWhatWasFiled.selector, id));
        vm.prank(_panellist(0));
        panel.admit(id, STRANGER, EVIDENCE, SALT);
    }

    function testAdmitZeroValue() public {
        bytes32 id = panel.reportIdOf(FILER, address(0), EVIDENCE, SALT);
        vm.prank(FILER);
        panel.fileWithBond{ value: STAKE }(id);
        vm.expectRevert(abi.encodeWithSelector(IReportPanel.ZeroValue.selector));
        vm.prank(_panellist(0));
        panel.admit(id, address(0), EVIDENCE, SALT);
    }

    function testAdmitNotNow() public {
        bytes32 id = _filed();
        uint64 deadline = now64() + 7 days;
        vm.warp(deadline);
        _expectNotNow(id, IReportPanel.Phase.Filed, deadline);
        vm.prank(_panellist(0));
        panel.admit(id, RESPONDENT, EVIDENCE, SALT);
    }

    function testAdmitNotNowTwice() public {
        bytes32 id = _admitted();
        _expectNotNow(id, ADMITTED, now64() + 7 days);
        vm.prank(_panellist(1));
        panel.admit(id, RESPONDENT, EVIDENCE, SALT);
    }

    function testAdmitNotNeutral() public {
        // A stranger; a panellist of the advocate's house; one who sponsors the respondent, and one whose house does.
        panel.accredit(person(400), HOUSE);
        panel.accredit(person(401), person(402));
        panel.accredit(person(403), ADVOCATE);
        panel.accredit(person(404), RESPONDENT);
        panel.accredit(RESPONDENT, address(0));
        panel.accredit(ADVOCATE, address(0));
        _sponsor(_panellist(0));
        _sponsor(person(402));
        bytes32 id = _id(ADVOCATE);
        vm.prank(ADVOCATE);
        panel.file(id);
        address[8] memory partial_ = [
            STRANGER, person(400), person(401), person(403), person(404), RESPONDENT, ADVOCATE, _panellist(0)
        ];
        for (uint256 i; i < partial_.length; ++i) {
            vm.expectRevert(abi.encodeWithSelector(IReportPanel.NotNeutral.selector, partial_[i]));
            vm.prank(partial_[i]);
            panel.admit(id, RESPONDENT, EVIDENCE, SALT);
        }
        panel.accredit(person(405), person(406));
        vm.prank(person(405));
        panel.admit(id, RESPONDENT, EVIDENCE, SALT);
    }

    /// @notice Whom the respondent sponsors stays neutral: else a wei each would empty the panel.
    function testAdmitSuccessPanellistSponsoredByRespondent() public {
        vm.deal(RESPONDENT, PANELLISTS);
        for (uint256 i; i < PANELLISTS; ++i) {
            vm.prank(RESPONDENT);
            bond.bondFor{ value: 1 }(_panellist(i));
        }
        _voting();
    }

    function testFuzzAdmitSuccess(address respondent, bytes32 evidence, bytes32 salt) public {
        vm.assume(respondent != address(0) && respondent != _panellist(0));
        bytes32 id = panel.reportIdOf(FILER, respondent, evidence, salt);
        vm.prank(FILER);
        panel.fileWithBond{ value: STAKE }(id);
        vm.prank(_panellist(0));
        panel.admit(id, respondent, evidence, salt);
        assert(panel.reportOf(id).respondent == respondent);
    }

    function testFuzzAdmitNotWhatWasFiled(address respondent, bytes32 evidence, bytes32 salt) public {
        vm.assume(respondent != RESPONDENT || evidence != EVIDENCE || salt != SALT);
        bytes32 id = _filed();
        vm.expectRevert(abi.encodeWithSelector(IReportPanel.NotWhatWasFiled.selector, id));
        vm.prank(_panellist(0));
        panel.admit(id, respondent, evidence, salt);
    }

    // --- respond ---

    function testRespondSuccess() public {
        bytes32 id = _admitted();
        vm.expectEmit(address(panel));
        emit IReportPanel.ResponseGiven(id, keccak256("answer"));
        vm.prank(RESPONDENT);
        panel.respond(id, keccak256("answer"));
        panel.summon(id); // need not wait
    }

    function testRespondNotParty() public {
        bytes32 id = _admitted();
        vm.expectRevert(abi.encodeWithSelector(IReportPanel.NotParty.selector, id, FILER));
        vm.prank(FILER);
        panel.respond(id, 0);
    }

    function testRespondNotNow() public {
        bytes32 id = _admitted();
        uint64 deadline = now64() + 7 days;
        vm.warp(deadline);
        _expectNotNow(id, ADMITTED, deadline);
        vm.prank(RESPONDENT);
        panel.respond(id, 0);
    }

    function testFuzzRespondSuccess(bytes32 answer, uint32 after_) public {
        bytes32 id = _admitted();
        vm.warp(block.timestamp + bound(after_, 0, 7 days - 1));
        vm.prank(RESPONDENT);
        panel.respond(id, answer);
        assert(panel.reportOf(id).deadline == now64());
    }

    // --- summon ---

    function testSummonSuccess() public {
        bytes32 id = _admitted();
        vm.warp(block.timestamp + 7 days); // without an answer
        vm.expectEmit(address(panel));
        emit IReportPanel.LotSet(id, 0, block.number + 4);
        panel.summon(id);
        assert(panel.reportOf(id).phase == IReportPanel.Phase.Drawing);
    }

    function testSummonSuccessAgainWhenTheHashIsGone() public {
        bytes32 id = _summoned();
        uint64 deadline = panel.reportOf(id).deadline;
        vm.roll(block.number + 260);
        _expectNotNow(id, IReportPanel.Phase.Drawing, deadline);
        panel.summon(id);
        vm.roll(block.number + 1);
        vm.expectRevert(abi.encodeWithSelector(IReportPanel.LotNotKnown.selector, block.number - 257));
        panel.seat(id);
        panel.summon(id);
    }

    function testSummonNotNow() public {
        bytes32 id = _admitted();
        uint64 deadline = now64() + 7 days;
        _expectNotNow(id, ADMITTED, deadline);
        panel.summon(id);
        vm.warp(deadline + 3 days);
        _expectNotNow(id, ADMITTED, deadline);
        panel.summon(id);
    }

    function testFuzzSummonSuccess(uint32 after_) public {
        bytes32 id = _admitted();
        vm.warp(block.timestamp + 7 days + bound(after_, 0, 3 days - 1));
        panel.summon(id);
    }

    // --- seat ---

    function testSeatSuccess() public {
        bytes32 id = _summoned();
        vm.roll(block.number + 5);
        panel.seat(id);
        address[] memory seats = panel.seatsOf(id, 0);
        assert(seats.length == 3);
        for (uint256 i; i < 3; ++i) {
            assert(seats[i] != _panellist(0)); // who admitted
            for (uint256 k; k < i; ++k) {
                assert(seats[i] != seats[k]);
            }
        }
        assert(panel.reportOf(id).deadline == now64() + 8 days);
    }

    function testSeatSuccessEvent() public {
        for (uint256 i = 4; i < PANELLISTS; ++i) {
            panel.discharge(_panellist(i)); // three are left beside the one who admits, so it is they
        }
        bytes32 id = _summoned();
        vm.roll(block.number + 5);
        vm.recordLogs();
        panel.seat(id);
        (, address[] memory seats,,) =
            abi.decode(vm.getRecordedLogs()[0].data, (uint8, address[], uint64, uint64));
        assert(seats.length == 3);
    }

    function testSeatEmits() public {
        bytes32 id = _summoned();
        vm.roll(block.number + 5);
        uint256 before = vm.snapshotState();
        panel.seat(id);
        address[] memory seats = panel.seatsOf(id, 0);
        assert(vm.revertToState(before));
        vm.expectEmit(address(panel));
        emit IReportPanel.PanelDrawn(id, 0, seats, now64() + 5 days, now64() + 8 days);
        panel.seat(id);
    }

    function testSeatLotNotKnown() public {
        bytes32 id = _summoned();
        vm.roll(block.number + 4); // the block itself does not know its hash
        vm.expectRevert(abi.encodeWithSelector(IReportPanel.LotNotKnown.selector, block.number));
        panel.seat(id);
    }

    function testSeatTooFewPanellists() public {
        for (uint256 i = 3; i < PANELLISTS; ++i) {
            panel.discharge(_panellist(i));
        }
        bytes32 id = _summoned();
        vm.roll(block.number + 5);
        vm.expectRevert(abi.encodeWithSelector(IReportPanel.TooFewPanellists.selector, 2, 3));
        panel.seat(id);
        vm.warp(block.timestamp + 3 days);
        panel.close(id); // for the respondent
        assert(panel.reportOf(id).ruling == IReportPanel.Ruling.None);
    }

    function testSeatNotNow() public {
        bytes32 id = _admitted();
        _expectNotNow(id, ADMITTED, now64() + 7 days);
        panel.seat(id);
    }

    function testFuzzSeatSuccess(bytes32 salt) public {
        bytes32 id = panel.reportIdOf(FILER, RESPONDENT, EVIDENCE, salt);
        vm.prank(FILER);
        panel.fileWithBond{ value: STAKE }(id);
        vm.prank(_panellist(1));
        panel.admit(id, RESPONDENT, EVIDENCE, salt);
        _draw(id);
        address[] memory seats = panel.seatsOf(id, 0);
        assert(seats[0] != seats[1] && seats[1] != seats[2] && seats[0] != seats[2]);
        for (uint256 i; i < 3; ++i) {
            (bool accredited,) = panel.panellistOf(seats[i]);
            assert(accredited && seats[i] != _panellist(1));
        }
    }

    // --- commitVote ---

    function testCommitVoteSuccess() public {
        bytes32 id = _voting();
        address who = panel.seatsOf(id, 0)[0];
        vm.expectEmit(address(panel));
        emit IReportPanel.VoteCommitted(id, 0, who);
        vm.prank(who);
        panel.commitVote(id, keccak256("vote"));
    }

    function testCommitVoteNotSeated() public {
        bytes32 id = _voting();
        vm.expectRevert(abi.encodeWithSelector(IReportPanel.NotSeated.selector, id, _panellist(0)));
        vm.prank(_panellist(0));
        panel.commitVote(id, keccak256("vote"));
    }

    function testCommitVoteWrongVote() public {
        bytes32 id = _voting();
        address who = panel.seatsOf(id, 0)[0];
        vm.expectRevert(abi.encodeWithSelector(IReportPanel.WrongVote.selector, id, who));
        vm.prank(who);
        panel.commitVote(id, 0);
        vm.prank(who);
        panel.commitVote(id, keccak256("vote"));
        vm.expectRevert(abi.encodeWithSelector(IReportPanel.WrongVote.selector, id, who));
        vm.prank(who);
        panel.commitVote(id, keccak256("another"));
    }

    function testCommitVoteNotNow() public {
        bytes32 id = _voting();
        uint64 deadline = now64() + 8 days;
        vm.warp(deadline - 3 days);
        _expectNotNow(id, IReportPanel.Phase.Voting, deadline);
        panel.commitVote(id, keccak256("vote"));
    }

    function testFuzzCommitVoteSuccess(bytes32 commitment) public {
        vm.assume(commitment != 0);
        bytes32 id = _voting();
        vm.prank(panel.seatsOf(id, 0)[1]);
        panel.commitVote(id, commitment);
    }

    // --- revealVote ---

    function testRevealVoteSuccess() public {
        bytes32 id = _voting();
        address who = panel.seatsOf(id, 0)[0];
        _commit(id, 0, who, BARRED);
        vm.warp(block.timestamp + 5 days);
        vm.expectEmit(address(panel));
        emit IReportPanel.VoteRevealed(id, 0, who, BARRED);
        vm.prank(who);
        panel.revealVote(id, BARRED, SALT);
        assert(panel.reportOf(id).revealed == 1);
        vm.expectRevert(abi.encodeWithSelector(IReportPanel.WrongVote.selector, id, who));
        vm.prank(who);
        panel.revealVote(id, BARRED, SALT);
    }

    function testRevealVoteWrongVote() public {
        bytes32 id = _voting();
        address[] memory seats = panel.seatsOf(id, 0);
        _commit(id, 0, seats[0], BARRED);
        _commit(id, 0, seats[1], IReportPanel.Ruling.None);
        vm.warp(block.timestamp + 5 days);
        // Another vote; none; nothing committed.
        for (uint256 i; i < 3; ++i) {
            vm.expectRevert(abi.encodeWithSelector(IReportPanel.WrongVote.selector, id, seats[i]));
            vm.prank(seats[i]);
            panel.revealVote(id, i == 1 ? IReportPanel.Ruling.None : DISMISSED, SALT);
        }
    }

    function testRevealVoteNotNow() public {
        bytes32 id = _voting();
        uint64 deadline = now64() + 8 days;
        _expectNotNow(id, IReportPanel.Phase.Voting, deadline);
        panel.revealVote(id, BARRED, SALT);
        vm.warp(deadline);
        _expectNotNow(id, IReportPanel.Phase.Voting, deadline);
        panel.revealVote(id, BARRED, SALT);
    }

    function testFuzzRevealVoteSuccess(uint8 ruling, bytes32 salt) public {
        IReportPanel.Ruling vote = IReportPanel.Ruling(bound(ruling, 1, 5));
        bytes32 id = _voting();
        address who = panel.seatsOf(id, 0)[2];
        bytes32 commitment = panel.voteHash(id, 0, who, vote, salt);
        vm.prank(who);
        panel.commitVote(id, commitment);
        vm.warp(block.timestamp + 5 days);
        vm.prank(who);
        panel.revealVote(id, vote, salt);
    }

    // --- tally ---

    function testTallySuccess() public {
        bytes32 id = _voting();
        _vote(id, 0, SUSPENDED, 3);
        uint64 ends = panel.reportOf(id).ends;
        vm.expectEmit(address(panel));
        emit IReportPanel.PanelRuled(id, 0, SUSPENDED, now64() + 7 days);
        vm.expectEmit(address(panel));
        emit IReportPanel.SuspensionChanged(RESPONDENT, ends);
        panel.tally(id); // need not wait: all have shown
        assert(panel.suspendedUntil(RESPONDENT) > block.timestamp); // acts at once
        assert(bond.slashedHeld() == 0); // coin waits
    }

    /// @notice Who is silent counts for the respondent.
    function testTallySuccessSilenceDismisses() public {
        bytes32 id = _voting();
        uint64 deadline = panel.reportOf(id).deadline;
        _vote(id, 0, BARRED, 1);
        _expectNotNow(id, IReportPanel.Phase.Voting, deadline);
        panel.tally(id);
        vm.warp(deadline + 2 days); // late, but the time to appeal does not grow
        panel.tally(id);
        assert(panel.reportOf(id).ruling == DISMISSED);
        assert(panel.reportOf(id).deadline == deadline + 7 days);
        assert(panel.suspendedUntil(RESPONDENT) == 0);
    }

    /// @notice The most severe ruling that a majority holds to be deserved at least.
    function testTallySuccessMiddleVoteDecides() public {
        assert(_ruledBy(BARRED, REPROVED, DISMISSED) == REPROVED);
        assert(_ruledBy(BARRED, SUSPENDED, BAD_FAITH) == SUSPENDED);
        assert(_ruledBy(BARRED, BARRED, BAD_FAITH) == BARRED);
        assert(_ruledBy(BARRED, BAD_FAITH, DISMISSED) == DISMISSED);
        assert(_ruledBy(BAD_FAITH, BAD_FAITH, BARRED) == BAD_FAITH);
    }

    function testTallyNotNowAfterTheEnd() public {
        bytes32 id = _voting();
        _vote(id, 0, BARRED, 3);
        uint64 deadline = panel.reportOf(id).deadline;
        vm.warp(panel.reportOf(id).ends);
        _expectNotNow(id, IReportPanel.Phase.Voting, deadline);
        panel.tally(id);
        panel.close(id);
        assert(panel.reportOf(id).ruling == IReportPanel.Ruling.None && panel.suspendedUntil(RESPONDENT) == 0);
    }

    function testFuzzTallySuccess(uint8 a, uint8 b, uint8 c) public {
        uint256[3] memory votes = [bound(a, 0, 5), bound(b, 0, 5), bound(c, 0, 5)]; // 0: silent
        bytes32 id = _voting();
        _votes(id, votes);
        vm.warp(panel.reportOf(id).deadline);
        panel.tally(id);
        uint256 ruling = uint256(panel.reportOf(id).ruling);
        uint256 atLeast;
        for (uint256 i; i < 3; ++i) {
            if (votes[i] >= ruling) ++atLeast;
        }
        if (ruling > 2) assert(atLeast >= 2);
        assert(ruling >= 1);
    }

    // --- appeal ---

    function testAppealSuccess() public {
        bytes32 id = _ruled(SUSPENDED);
        vm.expectEmit(address(panel));
        emit IReportPanel.Appealed(id, RESPONDENT);
        vm.prank(RESPONDENT);
        panel.appeal(id);
        _draw(id);
        address[] memory first = panel.seatsOf(id, 0);
        address[] memory second = panel.seatsOf(id, 1);
        assert(second.length == 5);
        for (uint256 i; i < 5; ++i) {
            assert(second[i] != _panellist(0));
            for (uint256 k; k < 3; ++k) {
                assert(second[i] != first[k]); // others
            }
        }
    }

    /// @notice The wrongly accused gets everything back, at once.
    function testAppealSuccessOverturned() public {
        _bondRespondent();
        vm.prank(RESPONDENT);
        uint256 exitId = bond.queueExit(2 ether);
        vm.warp(block.timestamp + 70 days);
        bytes32 id = _ruled(BARRED);
        vm.prank(RESPONDENT);
        panel.appeal(id);
        _draw(id);
        _vote(id, 1, DISMISSED, 5);
        vm.expectEmit(address(panel));
        emit IReportPanel.PanelRuled(id, 1, DISMISSED, 0);
        vm.expectEmit(address(panel));
        emit IReportPanel.SuspensionChanged(RESPONDENT, 0);
        vm.expectEmit(address(panel));
        emit IReportPanel.ReportClosed(id, RESPONDENT, DISMISSED, 0, 0);
        panel.tally(id);
        assert(panel.suspendedUntil(RESPONDENT) == 0 && bond.stakeOf(RESPONDENT) == 10 ether);
        bond.claim(exitId);
        assert(RESPONDENT.balance == 2 ether);
    }

    function testAppealSuccessByFilerWithBond() public {
        bytes32 id = _ruled(DISMISSED);
        vm.prank(FILER);
        panel.appeal{ value: STAKE }(id);
        _draw(id);
        _vote(id, 1, SUSPENDED, 3); // three of five
        vm.warp(panel.reportOf(id).deadline);
        panel.tally(id);
        assert(panel.reportOf(id).ruling == SUSPENDED && panel.owedTo(FILER) == 2 * STAKE);
        assert(panel.suspendedUntil(RESPONDENT) == now64() + 90 days);
    }

    function testAppealSuccessByAdvocate() public {
        bytes32 id = _ruledFor(ADVOCATE, DISMISSED);
        vm.prank(ADVOCATE);
        panel.appeal(id);
        (,, uint16 left) = panel.advocateOf(ADVOCATE);
        assert(left == 1);
    }

    /// @notice A second panel that is silent leaves the first ruling.
    function testAppealSuccessSilenceLeavesTheFirstRuling() public {
        _bondRespondent();
        bytes32 id = _ruled(SUSPENDED);
        uint64 since = panel.reportOf(id).suspendedFrom;
        vm.prank(RESPONDENT);
        panel.appeal(id);
        _draw(id);
        _vote(id, 1, DISMISSED, 2);
        vm.warp(panel.reportOf(id).deadline);
        panel.tally(id);
        assert(panel.reportOf(id).ruling == SUSPENDED && bond.slashedHeld() == 1 ether);
        assert(panel.suspendedUntil(RESPONDENT) == since + 90 days); // time served counts
    }

    function testAppealNotParty() public {
        bytes32 id = _ruled(DISMISSED);
        address[2] memory others = [STRANGER, RESPONDENT]; // the respondent has nothing to appeal
        for (uint256 i; i < 2; ++i) {
            vm.expectRevert(abi.encodeWithSelector(IReportPanel.NotParty.selector, id, others[i]));
            vm.prank(others[i]);
            panel.appeal(id);
        }
    }

    function testAppealWrongAmount() public {
        bytes32 id = _ruled(SUSPENDED);
        vm.expectRevert(abi.encodeWithSelector(ICoin.WrongAmount.selector, STAKE, 0));
        vm.prank(FILER);
        panel.appeal(id);
        vm.deal(RESPONDENT, 1);
        vm.expectRevert(abi.encodeWithSelector(ICoin.WrongAmount.selector, 0, 1));
        vm.prank(RESPONDENT);
        panel.appeal{ value: 1 }(id);
    }

    function testAppealNotNow() public {
        bytes32 id = _ruled(SUSPENDED);
        uint64 deadline = panel.reportOf(id).deadline;
        vm.warp(deadline);
        _expectNotNow(id, IReportPanel.Phase.Ruled, deadline);
        vm.prank(RESPONDENT);
        panel.appeal(id);
    }

    /// @notice One appeal, and no more.
    function testAppealNotNowTwice() public {
        bytes32 id = _ruled(SUSPENDED);
        vm.prank(RESPONDENT);
        panel.appeal(id);
        _expectNotNow(id, ADMITTED, now64());
        vm.prank(FILER);
        panel.appeal{ value: STAKE }(id);
        _expectNotNow(id, ADMITTED, now64());
        vm.prank(RESPONDENT);
        panel.respond(id, 0);
    }

    function testFuzzAppealSuccess(uint8 votes, uint8 ruling, uint32 after_) public {
        bytes32 id = _ruled(SUSPENDED);
        vm.warp(block.timestamp + bound(after_, 0, 7 days - 1));
        vm.prank(RESPONDENT);
        panel.appeal(id);
        _draw(id);
        votes = uint8(bound(votes, 0, 5));
        IReportPanel.Ruling vote = IReportPanel.Ruling(bound(ruling, 1, 5));
        _vote(id, 1, vote, votes);
        vm.warp(panel.reportOf(id).deadline);
        panel.tally(id);
        assert(panel.reportOf(id).phase == CLOSED);
        assert(panel.reportOf(id).ruling == (votes > 2 ? vote : SUSPENDED));
    }

    // --- close: a default for silence in every state ---

    function testCloseSuccess() public {
        _bondRespondent();
        bytes32 id = _ruled(BARRED);
        uint40 since = panel.reportOf(id).suspendedFrom;
        vm.warp(panel.reportOf(id).deadline);
        vm.expectEmit(address(panel));
        emit IReportPanel.ReportClosed(id, RESPONDENT, BARRED, since + 730 days, 5 ether);
        panel.close(id);
        assert(panel.suspendedUntil(RESPONDENT) == since + 730 days);
        assert(bond.stakeOf(RESPONDENT) == 5 ether && panel.owedTo(FILER) == STAKE);
        (uint64 until,, uint32 open) = bond.lockOf(RESPONDENT);
        assert(until == 0 && open == 0);
    }

    function testCloseSuccessNobodyAdmits() public {
        bytes32 id = _filed();
        vm.warp(block.timestamp + 7 days);
        vm.expectEmit(address(panel));
        emit IReportPanel.ReportClosed(id, address(0), IReportPanel.Ruling.None, 0, 0);
        panel.close(id);
        assert(panel.owedTo(FILER) == STAKE);
    }

    function testCloseSuccessNobodyDraws() public {
        bytes32 id = _admitted();
        vm.warp(block.timestamp + 10 days);
        panel.close(id);
        (,, uint32 open) = bond.lockOf(RESPONDENT);
        assert(panel.owedTo(FILER) == STAKE && open == 0);
    }

    function testCloseSuccessNobodySeatsTheAppeal() public {
        bytes32 id = _ruled(SUSPENDED);
        vm.prank(RESPONDENT);
        panel.appeal(id);
        panel.summon(id);
        vm.warp(block.timestamp + 3 days);
        panel.close(id);
        assert(panel.reportOf(id).ruling == SUSPENDED); // the first ruling stands
    }

    /// @notice Nobody carried the ruling out in time: the suspension stands, the coin is not touched.
    function testCloseSuccessTooLateToSlash() public {
        _bondRespondent();
        bytes32 id = _ruled(SUSPENDED);
        vm.warp(panel.reportOf(id).ends);
        panel.close(id);
        assert(bond.stakeOf(RESPONDENT) == 10 ether && panel.suspendedUntil(RESPONDENT) > block.timestamp);
    }

    function testCloseSuccessBadFaith() public {
        bytes32 id = _ruled(BAD_FAITH);
        vm.warp(panel.reportOf(id).deadline);
        panel.close(id);
        assert(panel.owedTo(FILER) == 0 && panel.forfeited() == STAKE);
    }

    function testCloseSuccessBadFaithOfAnAdvocate() public {
        bytes32 id = _ruledFor(ADVOCATE, BAD_FAITH);
        vm.warp(panel.reportOf(id).deadline);
        panel.close(id);
        (, uint16 quota,) = panel.advocateOf(ADVOCATE);
        assert(quota == 2);
        panel.setAdvocate(ADVOCATE, HOUSE, 0);
    }

    function testCloseSuccessBadFaithOfAFormerAdvocate() public {
        bytes32 id = _ruledFor(ADVOCATE, BAD_FAITH);
        panel.setAdvocate(ADVOCATE, HOUSE, 0);
        vm.warp(panel.reportOf(id).deadline);
        panel.close(id);
        (, uint16 quota,) = panel.advocateOf(ADVOCATE);
        assert(quota == 0);
    }

    /// @notice Two reports, each with a suspension that can be appealed: one that falls does not lift the other.
    function testCloseSuccessTwoReports() public {
        bytes32 first = _ruled(SUSPENDED);
        SALT = keccak256("other salt");
        bytes32 second = _ruled(BARRED);
        vm.prank(RESPONDENT);
        panel.appeal(second);
        _draw(second);
        _vote(second, 1, DISMISSED, 5);
        panel.tally(second);
        assert(panel.suspendedUntil(RESPONDENT) > block.timestamp);
        uint40 since = panel.reportOf(first).suspendedFrom;
        vm.warp(panel.reportOf(first).deadline);
        panel.close(first);
        assert(panel.suspendedUntil(RESPONDENT) == since + 90 days);
    }

    function testCloseNotNow() public {
        bytes32 id = keccak256("nothing");
        _expectNotNow(id, IReportPanel.Phase.None, 0);
        panel.close(id);
        id = _admitted();
        vm.warp(block.timestamp + 10 days - 1);
        _expectNotNow(id, ADMITTED, now64() - 3 days + 1);
        panel.close(id);
        vm.warp(block.timestamp + 1);
        panel.close(id);
        _expectNotNow(id, CLOSED, now64() - 3 days);
        panel.close(id);
    }

    /// @notice Whoever falls silent wherever: after the longest path anyone can end it, and the bond is free.
    function testFuzzCloseSuccess(uint8 steps) public {
        bytes32 id = _filed();
        uint64 filedAt = now64();
        _walk(id, steps % 9);
        vm.warp(filedAt + panel.LONGEST_PATH());
        if (panel.reportOf(id).phase != CLOSED) panel.close(id);
        (uint64 until,, uint32 open) = bond.lockOf(RESPONDENT);
        assert(open == 0 && until <= block.timestamp && panel.owedTo(FILER) == STAKE);
    }

    // --- collect ---

    function testCollectSuccess() public {
        bytes32 id = _filed();
        vm.warp(block.timestamp + 7 days);
        panel.close(id);
        vm.expectEmit(address(panel));
        emit IReportPanel.Collected(FILER, STRANGER, STAKE);
        vm.prank(FILER);
        panel.collect(STRANGER);
        assert(STRANGER.balance == STAKE && panel.owedTo(FILER) == 0 && address(panel).balance == 0);
    }

    function testCollectNothingOwed() public {
        vm.expectRevert(abi.encodeWithSelector(IReportPanel.NothingOwed.selector, FILER));
        vm.prank(FILER);
        panel.collect(FILER);
    }

    function testCollectZeroValue() public {
        vm.expectRevert(abi.encodeWithSelector(IReportPanel.ZeroValue.selector));
        panel.collect(address(0));
    }

    function testCollectReentrancy() public {
        GreedyFiler greedy = new GreedyFiler(panel);
        greedy.file{ value: STAKE }(keccak256("a"));
        _filed();
        vm.warp(block.timestamp + 7 days);
        panel.close(keccak256("a"));
        greedy.collect();
        assert(address(greedy).balance == STAKE && address(panel).balance == STAKE);
        assert(bytes4(greedy.refusal()) == ReentrancyGuardTransient.ReentrancyGuardReentrantCall.selector);
    }

    function testFuzzCollectSuccess(uint8 reports) public {
        reports = uint8(bound(reports, 1, 5));
        vm.deal(FILER, reports * uint256(STAKE));
        for (uint256 i; i < reports; ++i) {
            vm.prank(FILER);
            panel.fileWithBond{ value: STAKE }(keccak256(abi.encode(i)));
        }
        vm.warp(block.timestamp + 7 days);
        for (uint256 i; i < reports; ++i) {
            panel.close(keccak256(abi.encode(i)));
        }
        vm.prank(FILER);
        panel.collect(FILER);
        assert(FILER.balance == reports * uint256(STAKE));
    }

    // --- sweep ---

    function testSweepSuccess() public {
        _badFaithClosed();
        vm.expectEmit(address(panel));
        emit IReportPanel.Swept(COMMONS, STAKE);
        panel.sweep();
        assert(COMMONS.balance == STAKE && panel.forfeited() == 0);
    }

    function testSweepNothingOwed() public {
        vm.expectRevert(abi.encodeWithSelector(IReportPanel.NothingOwed.selector, COMMONS));
        panel.sweep();
    }

    function testFuzzSweepSuccess(address caller) public {
        _badFaithClosed();
        vm.prank(caller);
        panel.sweep();
        assert(COMMONS.balance == STAKE);
    }

    // --- verbs ---

    function _badFaithClosed() private {
        bytes32 id = _ruled(BAD_FAITH);
        vm.warp(panel.reportOf(id).deadline);
        panel.close(id);
    }

    function _sponsor(address sponsor) private {
        vm.deal(sponsor, 1);
        vm.prank(sponsor);
        bond.bondFor{ value: 1 }(RESPONDENT);
    }

    function _expectNotNow(bytes32 id, IReportPanel.Phase phase, uint64 deadline) private {
        vm.expectRevert(abi.encodeWithSelector(IReportPanel.NotNow.selector, id, phase, deadline));
    }

    function _expectBondUnfit(IReportPanel.Terms memory spans, uint64 path) private {
        SupporterBond other = _bondFor(address(this), 1);
        vm.expectRevert(abi.encodeWithSelector(IReportPanel.BondUnfit.selector, address(other), path));
        new ReportPanel(address(governance), other, spans);
    }

    function _deployPanel(IReportPanel.Terms memory spans, uint64 path) private {
        SupporterBond other = _bondFor(address(this), 1);
        assert(new ReportPanel(address(governance), other, spans).LONGEST_PATH() == path);
    }

    function _ruledBy(IReportPanel.Ruling a, IReportPanel.Ruling b, IReportPanel.Ruling c)
        private
        returns (IReportPanel.Ruling)
    {
        SALT = keccak256(abi.encode(SALT));
        bytes32 id = _voting();
        _votes(id, [uint256(a), uint256(b), uint256(c)]);
        panel.tally(id);
        return panel.reportOf(id).ruling;
    }

    function _votes(bytes32 id, uint256[3] memory votes) private {
        address[] memory seats = panel.seatsOf(id, 0);
        for (uint256 i; i < 3; ++i) {
            if (votes[i] != 0) _commit(id, 0, seats[i], IReportPanel.Ruling(votes[i]));
        }
        vm.warp(block.timestamp + 5 days);
        for (uint256 i; i < 3; ++i) {
            if (votes[i] == 0) continue;
            vm.prank(seats[i]);
            panel.revealVote(id, IReportPanel.Ruling(votes[i]), SALT);
        }
    }

    /// @dev So many steps of a report from filing on, each at the last moment.
    function _walk(bytes32 id, uint256 steps) private {
        if (steps > 0) {
            vm.warp(block.timestamp + 7 days - 1);
            vm.prank(_panellist(0));
            panel.admit(id, RESPONDENT, EVIDENCE, SALT);
        }
        if (steps > 1) {
            vm.warp(panel.reportOf(id).deadline + 3 days - 1);
            panel.summon(id);
        }
        if (steps > 2) {
            vm.roll(block.number + 5);
            panel.seat(id);
        }
        if (steps > 3) {
            _vote(id, 0, BARRED, 3);
            vm.warp(panel.reportOf(id).deadline);
            panel.tally(id);
        }
        if (steps > 4) {
            vm.warp(panel.reportOf(id).deadline - 1);
            vm.prank(RESPONDENT);
            panel.appeal(id);
        }
        if (steps > 5) {
            vm.warp(panel.reportOf(id).deadline + 3 days - 1);
            panel.summon(id);
        }
        if (steps > 6) {
            vm.roll(block.number + 5);
            panel.seat(id);
        }
        if (steps > 7) {
            _vote(id, 1, BARRED, 5);
            vm.warp(panel.reportOf(id).deadline);
            assert(block.timestamp < panel.reportOf(id).ends); // always time to carry it out
            panel.tally(id);
        }
    }
}
