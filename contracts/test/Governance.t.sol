// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import { ConductEpochs } from "../src/ConductEpochs.sol";
import { CredentialRegistry } from "../src/CredentialRegistry.sol";
import { DelegateRegistry } from "../src/DelegateRegistry.sol";
import { ReportPanel } from "../src/ReportPanel.sol";
import { SupporterBond } from "../src/SupporterBond.sol";
import { Court } from "./support/Court.sol";
import { AccessManager } from "@openzeppelin/contracts/access/manager/AccessManager.sol";
import { IAccessManaged } from "@openzeppelin/contracts/access/manager/IAccessManaged.sol";
import { TimelockController } from "@openzeppelin/contracts/governance/TimelockController.sol";

/// @notice The contracts as they stand on a live network: every role against every function.
contract GovernanceTest is Court {
    uint64 private constant GUARDIAN = 1;
    uint64 private constant VETO = 2;
    uint256 private constant DELAY = 14 days;

    // Who may call what. Everything that is not for everyone is listed once, with its role.
    uint256 private constant FOR_ALL = 0; // the contract itself decides, as by who is an issuer
    uint256 private constant FOR_TIMELOCK = 1;
    uint256 private constant FOR_GUARDIAN = 2;
    uint256 private constant FOR_VETO = 3; // and collectors
    uint256 private constant FOR_NOBODY = 4; // but the AccessManager itself

    struct Row {
        address target;
        string signature;
        uint256 who;
    }

    TimelockController private timelock;
    CredentialRegistry private credentials;
    DelegateRegistry private delegates;
    ConductEpochs private conduct;
    Row[] private table;
    address private immutable COUNCIL = person(50);
    address private immutable KEEPER = person(51);
    address private immutable VETOER = person(52);
    address private immutable COLLECTOR = person(53);
    address private immutable ISSUER = person(54);

    function setUp() public {
        _build(address(0));
        credentials = new CredentialRegistry(address(governance));
        delegates = new DelegateRegistry(address(governance));
        address[] memory one = new address[](1);
        one[0] = COLLECTOR;
        conduct = new ConductEpochs(address(governance), address(credentials), 7 days, 3 days, one, 1);
        credentials.admitIssuer(ISSUER, 0);
        one[0] = COUNCIL;
        timelock = new TimelockController(DELAY, one, one, address(0));
        _fillTable();
        _setRoles();
    }

    // --- the table ---

    /// @notice Each of nine callers against each function that changes something: refused by role exactly where the
    /// table says so.
    function testEveryRoleAgainstEveryFunction() public {
        address[9] memory callers = [
            address(timelock),
            COUNCIL,
            KEEPER,
            VETOER,
            COLLECTOR,
            ISSUER,
            ADVOCATE,
            _panellist(0),
            address(this) // who deployed it all
        ];
        for (uint256 i; i < table.length; ++i) {
            for (uint256 k; k < callers.length; ++k) {
                bool expected = _isAllowed(table[i].who, callers[k]);
                bool refused = _isRefusedByRole(table[i], callers[k]);
                vm.assertTrue(refused != expected, table[i].signature);
            }
        }
    }

    /// @notice The authority answers as the table does, so a reader of the chain can check it without acting.
    function testTableIsWhatTheAuthoritySays() public view {
        for (uint256 i; i < table.length; ++i) {
            bytes4 selector = bytes4(keccak256(bytes(table[i].signature)));
            uint64 role = governance.getTargetFunctionRole(table[i].target, selector);
            uint256 who = table[i].who;
            assert(role == (who == FOR_GUARDIAN ? GUARDIAN : who == FOR_VETO ? VETO : 0));
        }
    }

    // --- the timelock ---

    function testTimelockSuccess() public {
        bytes memory call = abi.encodeCall(credentials.admitIssuer, (person(60), 0));
        _schedule(address(credentials), call);
        vm.warp(block.timestamp + DELAY);
        vm.prank(COUNCIL);
        timelock.execute(address(credentials), 0, call, 0, 0);
        (bool admitted,) = credentials.issuerOf(person(60));
        assert(admitted);
    }

    function testTimelockTooEarly() public {
        bytes memory call = abi.encodeCall(credentials.admitIssuer, (person(60), 0));
        _schedule(address(credentials), call);
        vm.warp(block.timestamp + DELAY - 1);
        vm.prank(COUNCIL);
        (bool done,) = address(timelock)
            .call(abi.encodeCall(timelock.execute, (address(credentials), 0, call, bytes32(0), bytes32(0))));
        assert(!done);
    }

    function testTimelockStrangerCannotPropose() public {
        bytes memory call = abi.encodeCall(credentials.admitIssuer, (person(60), 0));
        vm.prank(STRANGER);
        (bool done,) = address(timelock)
            .call(
                abi.encodeCall(
                    timelock.schedule, (address(credentials), 0, call, bytes32(0), bytes32(0), DELAY)
                )
            );
        assert(!done);
    }

    /// @notice Not even governance shortens its own delay without waiting for it.
    function testTimelockDelayIsItsOwn() public {
        vm.prank(COUNCIL);
        (bool done,) = address(timelock).call(abi.encodeCall(timelock.updateDelay, (1)));
        assert(!done);
    }

    function testGovernanceWhoDeployedHasNothingLeft() public view {
        (bool member,) = governance.hasRole(0, address(this));
        assert(!member && !timelock.hasRole(timelock.DEFAULT_ADMIN_ROLE(), address(this)));
    }

    // --- what no role can do ---

    /// @notice Governance closes all that it can close and pauses all that it can pause. Whoever leaves, takes trust
    /// back, reports or judges does not notice.
    function testGovernanceWorstCaseHoldsNobody() public {
        bytes32 kind = keccak256("type");
        vm.prank(ISSUER);
        credentials.registerType(kind, 0);
        vm.prank(ISSUER);
        credentials.issue(RESPONDENT, kind, now64() + 300 days);
        _bondRespondent();
        vm.prank(RESPONDENT);
        uint256 exitId = bond.queueExit(10 ether);
        vm.warp(block.timestamp + EXIT);
        address[5] memory all =
            [address(credentials), address(delegates), address(bond), address(panel), address(conduct)];
        for (uint256 i; i < all.length; ++i) {
            vm.prank(address(timelock));
            governance.setTargetClosed(all[i], true);
        }
        bond.claim(exitId);
        assert(RESPONDENT.balance == 10 ether);
        vm.prank(RESPONDENT);
        credentials.renounce(ISSUER, kind);
        vm.prank(RESPONDENT);
        delegates.revokeBefore(now64());
        bytes32 id = _ruled(SUSPENDED); // filing, admission, lot and vote
        vm.warp(panel.reportOf(id).deadline);
        panel.close(id);
        vm.prank(FILER);
        panel.collect(FILER);
    }

    /// @notice The guardian's week stops bonds and issues, and nothing else.
    function testGuardianPauseStopsIntakeOnly() public {
        bytes32 kind = keccak256("type");
        vm.prank(ISSUER);
        credentials.registerType(kind, 0);
        vm.prank(ISSUER);
        credentials.issue(RESPONDENT, kind, now64() + 300 days);
        _bondRespondent();
        vm.prank(KEEPER);
        bond.pauseIntake(now64() + 7 days);
        vm.prank(KEEPER);
        credentials.pauseIntake(now64() + 7 days);
        vm.deal(RESPONDENT, 1);
        vm.prank(RESPONDENT);
        (bool bonded,) = address(bond).call{ value: 1 }(abi.encodeCall(bond.bond, ()));
        vm.prank(ISSUER);
        (bool issued,) =
            address(credentials).call(abi.encodeCall(credentials.issue, (STRANGER, kind, now64() + 1 days)));
        assert(!bonded && !issued);
        vm.prank(RESPONDENT);
        bond.queueExit(1 ether);
        vm.prank(ISSUER);
        credentials.revoke(RESPONDENT, kind, 0);
        _admitted();
        vm.prank(KEEPER); // nor again before 30 days have passed
        (bool again,) = address(bond).call(abi.encodeCall(bond.pauseIntake, (now64() + 7 days)));
        assert(!again);
    }

    // --- verbs ---

    function _isAllowed(uint256 who, address caller) private view returns (bool) {
        if (who == FOR_ALL) return true;
        if (who == FOR_TIMELOCK) return caller == address(timelock);
        if (who == FOR_GUARDIAN) return caller == KEEPER;
        return who == FOR_VETO && (caller == VETOER || caller == COLLECTOR);
    }

    /// @dev Calls with zeros, enough for any argument list. Whatever else the contract says to that, it is not about the role.
    function _isRefusedByRole(Row memory row, address caller) private returns (bool) {
        uint256 before = vm.snapshotState();
        vm.prank(caller);
        (bool accepted, bytes memory answer) =
            row.target.call(abi.encodePacked(bytes4(keccak256(bytes(row.signature))), new bytes(32 * 12)));
        assert(vm.revertToState(before));
        if (accepted || answer.length < 4) return false;
        // forge-lint: disable-next-line(unsafe-typecast)
        return bytes4(answer) == IAccessManaged.AccessManagedUnauthorized.selector;
    }

    function _schedule(address target, bytes memory call) private {
        vm.prank(COUNCIL);
        timelock.schedule(target, 0, call, 0, 0, DELAY);
    }

    function _setRoles() private {
        _assign(address(credentials), "pauseIntake(uint64)", GUARDIAN);
        _assign(address(credentials), "suspendIssuer(address,uint64)", GUARDIAN);
        _assign(address(bond), "pauseIntake(uint64)", GUARDIAN);
        _assign(address(conduct), "veto(uint64,bytes32)", VETO);
        governance.grantRole(GUARDIAN, KEEPER, 0);
        governance.grantRole(VETO, VETOER, 0);
        governance.grantRole(0, address(timelock), 0);
        governance.renounceRole(0, address(this));
    }

    function _assign(address target, string memory signature, uint64 role) private {
        bytes4[] memory selectors = new bytes4[](1);
        selectors[0] = bytes4(keccak256(bytes(signature)));
        governance.setTargetFunctionRole(target, selectors, role);
    }

    function _row(address target, string memory signature, uint256 who) private {
        table.push(Row(target, signature, who));
    }

    // tools/names holds this table to the contracts: every function that changes something is here.
    function _fillTable() private {
        _row(address(credentials), "admitIssuer(address,bytes32)", FOR_TIMELOCK);
        _row(address(credentials), "issue(address,bytes32,uint64)", FOR_ALL);
        _row(address(credentials), "issueBatch(address[],bytes32,uint64)", FOR_ALL);
        _row(address(credentials), "issueBySignature(address,address,bytes32,uint64,uint64,bytes)", FOR_ALL);
        _row(address(credentials), "pauseIntake(uint64)", FOR_GUARDIAN);
        _row(address(credentials), "recognise(bytes32,address)", FOR_ALL);
        _row(address(credentials), "registerType(bytes32,bytes32)", FOR_ALL);
        _row(address(credentials), "removeIssuer(address)", FOR_TIMELOCK);
        _row(address(credentials), "renounce(address,bytes32)", FOR_ALL);
        _row(address(credentials), "resign()", FOR_ALL);
        _row(address(credentials), "revoke(address,bytes32,uint8)", FOR_ALL);
        _row(address(credentials), "setAuthority(address)", FOR_NOBODY);
        _row(address(credentials), "sunsetIssuer(address)", FOR_TIMELOCK);
        _row(address(credentials), "supersede(address)", FOR_TIMELOCK);
        _row(address(credentials), "suspendIssuer(address,uint64)", FOR_GUARDIAN);
        _row(address(credentials), "withdrawRecognition(bytes32,address)", FOR_ALL);
        _row(address(delegates), "revokeBefore(uint64)", FOR_ALL);
        _row(address(delegates), "setAuthority(address)", FOR_NOBODY);
        _row(address(delegates), "setDelegate(bytes32,uint64)", FOR_ALL);
        _row(address(delegates), "supersede(address)", FOR_TIMELOCK);
        _row(address(bond), "bond()", FOR_ALL);
        _row(address(bond), "bondFor(address)", FOR_ALL);
        _row(address(bond), "bondTokens(address,uint96)", FOR_ALL);
        _row(address(bond), "claim(uint256)", FOR_ALL);
        _row(address(bond), "claimTo(uint256,address)", FOR_ALL);
        _row(address(bond), "lock(address,uint64)", FOR_ALL);
        _row(address(bond), "pauseIntake(uint64)", FOR_GUARDIAN);
        _row(address(bond), "queueExit(uint128)", FOR_ALL);
        _row(address(bond), "queueSponsoredExit(address,address,uint128)", FOR_ALL);
        _row(address(bond), "release(address,uint32)", FOR_ALL);
        _row(address(bond), "setAuthority(address)", FOR_NOBODY);
        _row(address(bond), "slash(address,bytes32,uint16)", FOR_ALL);
        _row(address(bond), "supersede(address)", FOR_TIMELOCK);
        _row(address(bond), "sweep()", FOR_ALL);
        _row(address(panel), "accredit(address,address)", FOR_TIMELOCK);
        _row(address(panel), "admit(bytes32,address,bytes32,bytes32)", FOR_ALL);
        _row(address(panel), "appeal(bytes32)", FOR_ALL);
        _row(address(panel), "close(bytes32)", FOR_ALL);
        _row(address(panel), "collect(address)", FOR_ALL);
        _row(address(panel), "commitVote(bytes32,bytes32)", FOR_ALL);
        _row(address(panel), "discharge(address)", FOR_TIMELOCK);
        _row(address(panel), "file(bytes32)", FOR_ALL);
        _row(address(panel), "fileWithBond(bytes32)", FOR_ALL);
        _row(address(panel), "respond(bytes32,bytes32)", FOR_ALL);
        _row(address(panel), "revealVote(bytes32,uint8,bytes32)", FOR_ALL);
        _row(address(panel), "seat(bytes32)", FOR_ALL);
        _row(address(panel), "setAdvocate(address,address,uint16)", FOR_TIMELOCK);
        _row(address(panel), "setAuthority(address)", FOR_NOBODY);
        _row(address(panel), "summon(bytes32)", FOR_ALL);
        _row(address(panel), "supersede(address)", FOR_TIMELOCK);
        _row(address(panel), "sweep()", FOR_ALL);
        _row(address(panel), "tally(bytes32)", FOR_ALL);
        _row(address(conduct), "grantVouchers(uint64,uint32,bytes32)", FOR_ALL);
        _row(address(conduct), "post(uint64,bytes32,bytes32,uint64,address[],bytes[])", FOR_ALL);
        _row(address(conduct), "setAuthority(address)", FOR_NOBODY);
        _row(address(conduct), "setCollectors(address[],uint8)", FOR_TIMELOCK);
        _row(address(conduct), "supersede(address)", FOR_TIMELOCK);
        _row(address(conduct), "veto(uint64,bytes32)", FOR_VETO);
    }
}
