// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import { ReportPanel } from "../../src/ReportPanel.sol";
import { SupporterBond } from "../../src/SupporterBond.sol";
import { IReportPanel } from "../../src/interfaces/IReportPanel.sol";
import { ISupporterBond } from "../../src/interfaces/ISupporterBond.sol";
import { Test } from "./Test.sol";
import { AccessManager } from "@openzeppelin/contracts/access/manager/AccessManager.sol";

/// @notice A bond and its panel, people, and verbs that bring a report to each of its states.
abstract contract Court is Test {
    IReportPanel.Ruling internal constant BAD_FAITH = IReportPanel.Ruling.BadFaith;
    IReportPanel.Ruling internal constant DISMISSED = IReportPanel.Ruling.Dismissed;
    IReportPanel.Ruling internal constant REPROVED = IReportPanel.Ruling.Reproved;
    IReportPanel.Ruling internal constant SUSPENDED = IReportPanel.Ruling.Suspended;
    IReportPanel.Ruling internal constant BARRED = IReportPanel.Ruling.Barred;

    uint256 internal constant PANELLISTS = 12;
    uint96 internal constant STAKE = 0.05 ether;
    uint64 internal constant EXIT = 75 days;
    bytes32 internal constant EVIDENCE = keccak256("evidence");
    // forge-lint: disable-next-line(mixed-case-variable)
    bytes32 internal SALT = keccak256("salt");

    AccessManager internal governance;
    SupporterBond internal bond;
    ReportPanel internal panel;
    address internal immutable RESPONDENT = person(1);
    address internal immutable FILER = person(2);
    address internal immutable ADVOCATE = person(3);
    address internal immutable STRANGER = person(4);
    address internal immutable HOUSE = person(5);
    address internal immutable COMMONS = person(6);

    function _build(address token) internal {
        vm.warp(1_800_000_000);
        vm.roll(1000);
        governance = new AccessManager(address(this));
        bond = new SupporterBond(
            address(governance),
            ISupporterBond.Terms(
                token, COMMONS, vm.computeCreateAddress(address(this), _nonce() + 1), EXIT, 1 ether
            )
        );
        panel = new ReportPanel(address(governance), bond, _terms());
        for (uint256 i; i < PANELLISTS; ++i) {
            panel.accredit(_panellist(i), address(0));
        }
        panel.setAdvocate(ADVOCATE, HOUSE, 3);
        vm.deal(FILER, 10 ether);
    }

    function _nonce() internal view returns (uint64) {
        return vm.getNonce(address(this));
    }

    /// @dev A bond for the panel that `deployer` creates `ahead` creations after this one.
    function _bondFor(address deployer, uint64 ahead) internal returns (SupporterBond) {
        address next = vm.computeCreateAddress(deployer, vm.getNonce(deployer) + ahead);
        return new SupporterBond(
            address(governance), ISupporterBond.Terms(address(0), COMMONS, next, EXIT, 1 ether)
        );
    }

    function _terms() internal pure returns (IReportPanel.Terms memory) {
        return IReportPanel.Terms({
            admission: 7 days,
            response: 7 days,
            draw: 3 days,
            commit: 5 days,
            reveal: 3 days,
            appeal: 7 days,
            execution: 7 days,
            filingBond: STAKE
        });
    }

    function _panellist(uint256 number) internal pure returns (address) {
        return person(100 + number);
    }

    function _id(address filer) internal view returns (bytes32) {
        return panel.reportIdOf(filer, RESPONDENT, EVIDENCE, SALT);
    }

    function _filedBy(address filer) internal returns (bytes32 id) {
        id = _id(filer);
        vm.prank(filer);
        if (filer == ADVOCATE) panel.file(id);
        else panel.fileWithBond{ value: STAKE }(id);
    }

    function _filed() internal returns (bytes32) {
        return _filedBy(FILER);
    }

    function _admittedFor(address filer) internal returns (bytes32 id) {
        id = _filedBy(filer);
        vm.prank(_panellist(0));
        panel.admit(id, RESPONDENT, EVIDENCE, SALT);
    }

    function _admitted() internal returns (bytes32) {
        return _admittedFor(FILER);
    }

    function _summoned() internal returns (bytes32 id) {
        id = _admitted();
        vm.warp(block.timestamp + 7 days);
        panel.summon(id);
    }

    function _draw(bytes32 id) internal {
        if (block.timestamp < panel.reportOf(id).deadline) vm.warp(panel.reportOf(id).deadline);
        panel.summon(id);
        vm.roll(block.number + 5);
        panel.seat(id);
    }

    function _voting() internal returns (bytes32 id) {
        id = _admitted();
        _draw(id);
    }

    function _ruled(IReportPanel.Ruling ruling) internal returns (bytes32) {
        return _ruledFor(FILER, ruling);
    }

    function _ruledFor(address filer, IReportPanel.Ruling ruling) internal returns (bytes32 id) {
        id = _admittedFor(filer);
        _draw(id);
        _vote(id, 0, ruling, 3);
        panel.tally(id);
    }

    function _commit(bytes32 id, uint8 round, address who, IReportPanel.Ruling ruling) internal {
        bytes32 commitment = panel.voteHash(id, round, who, ruling, SALT);
        vm.prank(who);
        panel.commitVote(id, commitment);
    }

    /// @dev The first `count` seats vote for the same.
    function _vote(bytes32 id, uint8 round, IReportPanel.Ruling ruling, uint256 count) internal {
        address[] memory seats = panel.seatsOf(id, round);
        for (uint256 i; i < count; ++i) {
            _commit(id, round, seats[i], ruling);
        }
        vm.warp(block.timestamp + 5 days);
        for (uint256 i; i < count; ++i) {
            vm.prank(seats[i]);
            panel.revealVote(id, ruling, SALT);
        }
    }

    function _bondRespondent() internal {
        vm.deal(RESPONDENT, 10 ether);
        vm.prank(RESPONDENT);
        bond.bond{ value: 10 ether }();
    }
}
