// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import { CredentialRegistry } from "../src/CredentialRegistry.sol";
import { ICredentialRegistry } from "../src/interfaces/ICredentialRegistry.sol";
import { Test } from "./support/Test.sol";
import { SigningWallet } from "./support/Wallets.sol";
import { AccessManager } from "@openzeppelin/contracts/access/manager/AccessManager.sol";
import { IAccessManaged } from "@openzeppelin/contracts/access/manager/IAccessManaged.sol";
import { IAccessManager } from "@openzeppelin/contracts/access/manager/IAccessManager.sol";

contract CredentialRegistryTest is Test {
    AccessManager private governance;
    CredentialRegistry private registry;

    uint256 private constant ISSUER_KEY = 0xA11CE;
    address private issuer;
    address private immutable OTHER = person(2); // an admitted issuer that is not the steward
    address private immutable HOLDER = person(3);
    address private immutable STRANGER = person(4);
    bytes32 private constant TYPE = keccak256("peer supporter, 40 hours");
    bytes32 private constant DOCUMENT = keccak256("what they were taught");
    bytes32 private constant WHO = keccak256("who they are");
    bytes32 private constant TYPE_2 = keccak256("facilitator of groups");
    bytes32 private constant DOCUMENT_2 = keccak256("another document");
    uint64 private until;

    function setUp() public {
        vm.warp(1_800_000_000);
        until = now64() + 365 days;
        issuer = vm.addr(ISSUER_KEY);
        governance = new AccessManager(address(this));
        registry = new CredentialRegistry(address(governance));
        registry.admitIssuer(issuer, keccak256("issuer"));
        registry.admitIssuer(OTHER, keccak256("other"));
        vm.prank(issuer);
        registry.registerType(TYPE, DOCUMENT);
    }

    // --- admitIssuer ---

    function testAdmitIssuerSuccess() public {
        vm.expectEmit(address(registry));
        emit ICredentialRegistry.IssuerAdmitted(STRANGER, WHO);
        registry.admitIssuer(STRANGER, WHO);
        (bool admitted, bytes32 metadataHash) = registry.issuerOf(STRANGER);
        assert(admitted && metadataHash == WHO);
    }

    function testAdmitIssuerSuccessAfterDelay() public {
        // The later shape of governance: a council whose every act waits two weeks in the open.
        address council = person(9);
        bytes memory call = abi.encodeCall(registry.admitIssuer, (STRANGER, WHO));
        bytes4[] memory selectors = new bytes4[](1);
        selectors[0] = registry.admitIssuer.selector;
        governance.setTargetFunctionRole(address(registry), selectors, 1);
        governance.grantRole(1, council, 14 days);

        vm.expectRevert(
            abi.encodeWithSelector(
                IAccessManager.AccessManagerNotScheduled.selector,
                governance.hashOperation(council, address(registry), call)
            )
        );
        vm.prank(council);
        registry.admitIssuer(STRANGER, WHO);

        vm.prank(council);
        governance.schedule(address(registry), call, 0);
        vm.warp(block.timestamp + 14 days);
        vm.prank(council);
        registry.admitIssuer(STRANGER, WHO);
        (bool admitted,) = registry.issuerOf(STRANGER);
        assert(admitted);
    }

    function testAdmitIssuerUnauthorized() public {
        vm.expectRevert(abi.encodeWithSelector(IAccessManaged.AccessManagedUnauthorized.selector, STRANGER));
        vm.prank(STRANGER);
        registry.admitIssuer(STRANGER, 0);
    }

    function testAdmitIssuerZeroAddress() public {
        vm.expectRevert(abi.encodeWithSelector(ICredentialRegistry.ZeroAddress.selector));
        registry.admitIssuer(address(0), 0);
    }

    function testAdmitIssuerAlreadyAdmitted() public {
        vm.expectRevert(abi.encodeWithSelector(ICredentialRegistry.AlreadyAdmitted.selector, issuer));
        registry.admitIssuer(issuer, 0);
    }

    function testFuzzAdmitIssuerSuccess(address who, bytes32 metadataHash) public {
        vm.assume(who != address(0) && who != issuer && who != OTHER);
        registry.admitIssuer(who, metadataHash);
        (bool admitted, bytes32 recorded) = registry.issuerOf(who);
        assert(admitted && recorded == metadataHash);
    }

    function testFuzzAdmitIssuerUnauthorized(address caller) public {
        vm.assume(caller != address(this));
        vm.expectRevert(abi.encodeWithSelector(IAccessManaged.AccessManagedUnauthorized.selector, caller));
        vm.prank(caller);
        registry.admitIssuer(STRANGER, 0);
    }

    // --- removeIssuer ---

    function testRemoveIssuerSuccess() public {
        _issue(until);
        vm.expectEmit(address(registry));
        emit ICredentialRegistry.IssuerRemoved(issuer);
        registry.removeIssuer(issuer);
        (bool admitted,) = registry.issuerOf(issuer);
        assert(!admitted && !registry.isValid(HOLDER, TYPE));
    }

    function testRemoveIssuerSuccessCredentialsStayDead() public {
        _issue(until);
        registry.removeIssuer(issuer);
        registry.admitIssuer(issuer, 0);
        assert(!registry.isValid(HOLDER, TYPE));
        _issue(until); // issued anew it counts
        assert(registry.isValid(HOLDER, TYPE));
    }

    function testRemoveIssuerSuccessStewardTakesTheTypeAlong() public {
        _recognise();
        vm.prank(OTHER);
        registry.issue(HOLDER, TYPE, until);
        registry.removeIssuer(issuer);
        assert(!registry.isValid(HOLDER, TYPE) && !registry.isValidFrom(OTHER, HOLDER, TYPE));
        registry.admitIssuer(issuer, 0);
        assert(registry.isValid(HOLDER, TYPE)); // OTHER was never removed
    }

    function testRemoveIssuerUnauthorized() public {
        vm.expectRevert(abi.encodeWithSelector(IAccessManaged.AccessManagedUnauthorized.selector, OTHER));
        vm.prank(OTHER);
        registry.removeIssuer(issuer);
    }

    function testRemoveIssuerNotAdmitted() public {
        vm.expectRevert(abi.encodeWithSelector(ICredentialRegistry.NotAdmitted.selector, STRANGER));
        registry.removeIssuer(STRANGER);
    }

    function testFuzzRemoveIssuerSuccess(address who, uint64 end) public {
        vm.assume(who != address(0) && who != issuer && who != OTHER);
        end = uint64(bound(end, now64() + 1, now64() + registry.MAX_VALIDITY()));
        _admitAndRecognise(who);
        vm.prank(who);
        registry.issue(HOLDER, TYPE, end);
        registry.removeIssuer(who);
        assert(!registry.isValid(HOLDER, TYPE));
        registry.admitIssuer(who, 0);
        assert(!registry.isValid(HOLDER, TYPE));
    }

    function testFuzzRemoveIssuerUnauthorized(address caller) public {
        vm.assume(caller != address(this));
        vm.expectRevert(abi.encodeWithSelector(IAccessManaged.AccessManagedUnauthorized.selector, caller));
        vm.prank(caller);
        registry.removeIssuer(issuer);
    }

    // --- sunsetIssuer ---

    function testSunsetIssuerSuccess() public {
        _issue(until);
        uint64 end = now64() + registry.SUNSET();
        vm.expectEmit(address(registry));
        emit ICredentialRegistry.IssuerSunset(issuer, end);
        registry.sunsetIssuer(issuer);
        (uint64 sunsetAt,) = registry.issuerDates(issuer);
        assert(sunsetAt == end && !registry.mayIssue(issuer));
        vm.warp(end - 1);
        (bool admitted,) = registry.issuerOf(issuer);
        assert(admitted && registry.isValid(HOLDER, TYPE));
        vm.warp(end);
        (admitted,) = registry.issuerOf(issuer);
        assert(!admitted && !registry.isValid(HOLDER, TYPE) && !registry.isValidFrom(issuer, HOLDER, TYPE));
    }

    function testSunsetIssuerSuccessTypeEndsForAll() public {
        _recognise();
        registry.sunsetIssuer(issuer);
        vm.prank(OTHER); // who was recognised issues on, as long as the steward stands
        registry.issue(HOLDER, TYPE, until);
        assert(registry.isValid(HOLDER, TYPE));
        vm.warp(now64() + registry.SUNSET());
        assert(!registry.isValid(HOLDER, TYPE));
    }

    function testSunsetIssuerSuccessAdmittedAnewLater() public {
        _issue(until);
        registry.sunsetIssuer(issuer);
        vm.warp(now64() + registry.SUNSET());
        registry.admitIssuer(issuer, WHO);
        assert(registry.mayIssue(issuer) && !registry.isValid(HOLDER, TYPE)); // a new term
        _issue(until);
        assert(registry.isValid(HOLDER, TYPE));
    }

    function testSunsetIssuerSuccessThenRemovedForCause() public {
        _issue(until);
        registry.sunsetIssuer(issuer);
        registry.removeIssuer(issuer);
        assert(!registry.isValid(HOLDER, TYPE));
    }

    function testSunsetIssuerAlreadyAdmittedWhileLeaving() public {
        registry.sunsetIssuer(issuer);
        vm.expectRevert(abi.encodeWithSelector(ICredentialRegistry.AlreadyAdmitted.selector, issuer));
        registry.admitIssuer(issuer, WHO);
    }

    function testSunsetIssuerLeaving() public {
        registry.sunsetIssuer(issuer);
        uint64 end = now64() + registry.SUNSET();
        vm.expectRevert(abi.encodeWithSelector(ICredentialRegistry.Leaving.selector, issuer, end));
        registry.sunsetIssuer(issuer);
        vm.expectRevert(abi.encodeWithSelector(ICredentialRegistry.Leaving.selector, issuer, end));
        _issue(until);
        vm.expectRevert(abi.encodeWithSelector(ICredentialRegistry.Leaving.selector, issuer, end));
        vm.prank(issuer);
        registry.registerType(TYPE_2, DOCUMENT);
        vm.expectRevert(abi.encodeWithSelector(ICredentialRegistry.Leaving.selector, issuer, end));
        _recognise();
    }

    function testSunsetIssuerNotAdmitted() public {
        vm.expectRevert(abi.encodeWithSelector(ICredentialRegistry.NotAdmitted.selector, STRANGER));
        registry.sunsetIssuer(STRANGER);
        registry.sunsetIssuer(issuer);
        vm.warp(now64() + registry.SUNSET());
        vm.expectRevert(abi.encodeWithSelector(ICredentialRegistry.NotAdmitted.selector, issuer));
        registry.removeIssuer(issuer);
    }

    function testSunsetIssuerUnauthorized() public {
        vm.expectRevert(abi.encodeWithSelector(IAccessManaged.AccessManagedUnauthorized.selector, OTHER));
        vm.prank(OTHER);
        registry.sunsetIssuer(issuer);
    }

    function testFuzzSunsetIssuerSuccess(uint64 wait) public {
        wait = uint64(bound(wait, 0, 60 days));
        _issue(until);
        registry.sunsetIssuer(issuer);
        vm.warp(now64() + wait);
        assert(registry.isValid(HOLDER, TYPE) == (wait < registry.SUNSET()));
    }

    function testFuzzSunsetIssuerUnauthorized(address caller) public {
        vm.assume(caller != address(this));
        vm.expectRevert(abi.encodeWithSelector(IAccessManaged.AccessManagedUnauthorized.selector, caller));
        vm.prank(caller);
        registry.sunsetIssuer(issuer);
    }

    // --- resign ---

    function testResignSuccess() public {
        vm.expectEmit(address(registry));
        emit ICredentialRegistry.IssuerSunset(OTHER, now64() + registry.SUNSET());
        vm.prank(OTHER);
        registry.resign();
        assert(!registry.mayIssue(OTHER));
    }

    function testResignNotAdmitted() public {
        vm.expectRevert(abi.encodeWithSelector(ICredentialRegistry.NotAdmitted.selector, STRANGER));
        vm.prank(STRANGER);
        registry.resign();
    }

    function testResignLeaving() public {
        vm.prank(OTHER);
        registry.resign();
        uint64 end = now64() + registry.SUNSET();
        vm.warp(now64() + 1); // the date cannot be moved
        vm.expectRevert(abi.encodeWithSelector(ICredentialRegistry.Leaving.selector, OTHER, end));
        vm.prank(OTHER);
        registry.resign();
    }

    function testFuzzResignSuccess(address who) public {
        vm.assume(who != address(0) && who != issuer && who != OTHER);
        _admitAndRecognise(who);
        vm.prank(who);
        registry.issue(HOLDER, TYPE, until);
        vm.prank(who);
        registry.resign();
        assert(registry.isValid(HOLDER, TYPE) && !registry.mayIssue(who));
        vm.warp(now64() + registry.SUNSET());
        assert(!registry.isValid(HOLDER, TYPE));
    }

    function testFuzzResignNotAdmitted(address caller) public {
        vm.assume(caller != issuer && caller != OTHER);
        vm.expectRevert(abi.encodeWithSelector(ICredentialRegistry.NotAdmitted.selector, caller));
        vm.prank(caller);
        registry.resign();
    }

    // --- suspendIssuer ---

    function testSuspendIssuerSuccess() public {
        _issue(until);
        uint64 end = now64() + 10 days;
        vm.expectEmit(address(registry));
        emit ICredentialRegistry.IssuerSuspended(issuer, end);
        registry.suspendIssuer(issuer, end);
        (, uint64 suspendedUntil) = registry.issuerDates(issuer);
        assert(suspendedUntil == end && !registry.mayIssue(issuer) && !registry.isValid(HOLDER, TYPE));
        vm.warp(end);
        assert(registry.mayIssue(issuer) && registry.isValid(HOLDER, TYPE)); // by itself
    }

    function testSuspendIssuerSuccessLifted() public {
        _issue(until);
        registry.suspendIssuer(issuer, now64() + 10 days);
        registry.suspendIssuer(issuer, 0);
        assert(registry.mayIssue(issuer) && registry.isValid(HOLDER, TYPE));
    }

    function testSuspendIssuerSuccessOthersCountOn() public {
        _recognise();
        vm.prank(OTHER);
        registry.issue(HOLDER, TYPE, until);
        registry.suspendIssuer(issuer, now64() + 10 days); // the steward
        assert(registry.isValid(HOLDER, TYPE));
        vm.prank(OTHER);
        registry.issue(STRANGER, TYPE, until);
        assert(registry.isValid(STRANGER, TYPE));
    }

    function testSuspendIssuerSuccessStillRevokes() public {
        _recognise();
        _issue(until);
        registry.suspendIssuer(issuer, now64() + 10 days);
        _revoke(9);
        vm.prank(issuer);
        registry.withdrawRecognition(TYPE, OTHER);
    }

    function testSuspendIssuerSuspended() public {
        uint64 end = now64() + 10 days;
        bytes memory signature = _offer(ISSUER_KEY, until, until);
        registry.suspendIssuer(issuer, end);
        bytes memory refusal = abi.encodeWithSelector(ICredentialRegistry.Suspended.selector, issuer, end);
        vm.expectRevert(refusal);
        _issue(until);
        vm.expectRevert(refusal);
        registry.issueBySignature(issuer, HOLDER, TYPE, until, until, signature);
        vm.expectRevert(refusal);
        vm.prank(issuer);
        registry.registerType(TYPE_2, DOCUMENT);
        vm.expectRevert(refusal);
        _recognise();
    }

    function testSuspendIssuerSuspensionOutOfRange() public {
        uint64 latest = now64() + registry.MAX_SUSPENSION();
        vm.expectRevert(
            abi.encodeWithSelector(ICredentialRegistry.SuspensionOutOfRange.selector, latest + 1, latest)
        );
        registry.suspendIssuer(issuer, latest + 1);
        registry.suspendIssuer(issuer, latest);
    }

    function testSuspendIssuerNotAdmitted() public {
        vm.expectRevert(abi.encodeWithSelector(ICredentialRegistry.NotAdmitted.selector, STRANGER));
        registry.suspendIssuer(STRANGER, until);
    }

    function testSuspendIssuerUnauthorized() public {
        vm.expectRevert(abi.encodeWithSelector(IAccessManaged.AccessManagedUnauthorized.selector, OTHER));
        vm.prank(OTHER);
        registry.suspendIssuer(issuer, until);
    }

    function testFuzzSuspendIssuerSuccess(uint64 end, uint64 wait) public {
        _issue(until);
        end = uint64(bound(end, 0, now64() + registry.MAX_SUSPENSION()));
        wait = uint64(bound(wait, 0, 120 days));
        registry.suspendIssuer(issuer, end);
        vm.warp(now64() + wait);
        assert(registry.isValid(HOLDER, TYPE) == (now64() >= end));
        assert(registry.mayIssue(issuer) == (now64() >= end));
    }

    function testFuzzSuspendIssuerSuspensionOutOfRange(uint64 end) public {
        uint64 latest = now64() + registry.MAX_SUSPENSION();
        end = uint64(bound(end, latest + 1, type(uint64).max));
        vm.expectRevert(
            abi.encodeWithSelector(ICredentialRegistry.SuspensionOutOfRange.selector, end, latest)
        );
        registry.suspendIssuer(issuer, end);
    }

    function testFuzzSuspendIssuerUnauthorized(address caller) public {
        vm.assume(caller != address(this));
        vm.expectRevert(abi.encodeWithSelector(IAccessManaged.AccessManagedUnauthorized.selector, caller));
        vm.prank(caller);
        registry.suspendIssuer(issuer, 0);
    }

    // --- registerType ---

    function testRegisterTypeSuccess() public {
        vm.expectEmit(address(registry));
        emit ICredentialRegistry.TypeRegistered(OTHER, TYPE_2, DOCUMENT);
        vm.prank(OTHER);
        registry.registerType(TYPE_2, DOCUMENT);
        (address steward, bytes32 documentHash) = registry.typeOf(TYPE_2);
        assert(steward == OTHER && documentHash == DOCUMENT);
    }

    function testRegisterTypeNotAdmitted() public {
        vm.expectRevert(abi.encodeWithSelector(ICredentialRegistry.NotAdmitted.selector, STRANGER));
        vm.prank(STRANGER);
        registry.registerType(TYPE_2, DOCUMENT);
    }

    function testRegisterTypeTypeTaken() public {
        vm.expectRevert(abi.encodeWithSelector(ICredentialRegistry.TypeTaken.selector, TYPE, issuer));
        vm.prank(OTHER);
        registry.registerType(TYPE, DOCUMENT);
    }

    function testRegisterTypeTypeTakenByOneself() public {
        vm.expectRevert(abi.encodeWithSelector(ICredentialRegistry.TypeTaken.selector, TYPE, issuer));
        vm.prank(issuer);
        registry.registerType(TYPE, DOCUMENT_2);
    }

    function testFuzzRegisterTypeSuccess(bytes32 typeId, bytes32 documentHash) public {
        vm.assume(typeId != TYPE);
        vm.prank(OTHER);
        registry.registerType(typeId, documentHash);
        (address steward, bytes32 recorded) = registry.typeOf(typeId);
        assert(steward == OTHER && recorded == documentHash);
    }

    // --- recognise ---

    function testRecogniseSuccess() public {
        vm.expectEmit(address(registry));
        emit ICredentialRegistry.IssuerRecognised(TYPE, OTHER);
        _recognise();
        assert(registry.isRecognised(TYPE, OTHER));
        vm.prank(OTHER);
        registry.issue(HOLDER, TYPE, until);
        assert(registry.isValid(HOLDER, TYPE));
    }

    function testRecogniseSuccessScopeIsOneType() public {
        vm.prank(issuer);
        registry.registerType(TYPE_2, DOCUMENT_2);
        _recognise();
        vm.expectRevert(abi.encodeWithSelector(ICredentialRegistry.NotRecognised.selector, TYPE_2, OTHER));
        vm.prank(OTHER);
        registry.issue(HOLDER, TYPE_2, until);
    }

    function testRecogniseSuccessBothWaysIsNoCycle() public {
        address third = person(5);
        registry.admitIssuer(third, 0);
        vm.prank(OTHER);
        registry.registerType(TYPE_2, DOCUMENT_2);
        _recognise();
        vm.prank(OTHER);
        registry.recognise(TYPE_2, issuer);
        vm.prank(OTHER);
        registry.recognise(TYPE_2, third);
        // OTHER may issue TYPE and trusts third for TYPE_2: nothing follows from that for third and TYPE.
        vm.expectRevert(abi.encodeWithSelector(ICredentialRegistry.NotRecognised.selector, TYPE, third));
        vm.prank(third);
        registry.issue(HOLDER, TYPE, until);
    }

    function testRecogniseNotSteward() public {
        _recognise();
        // One step deep: who is recognised cannot recognise.
        vm.expectRevert(abi.encodeWithSelector(ICredentialRegistry.NotSteward.selector, TYPE, OTHER));
        vm.prank(OTHER);
        registry.recognise(TYPE, issuer);
    }

    function testRecogniseNotAdmitted() public {
        vm.expectRevert(abi.encodeWithSelector(ICredentialRegistry.NotAdmitted.selector, STRANGER));
        vm.prank(issuer);
        registry.recognise(TYPE, STRANGER);
    }

    function testRecogniseNotAdmittedSteward() public {
        registry.removeIssuer(issuer);
        vm.expectRevert(abi.encodeWithSelector(ICredentialRegistry.NotAdmitted.selector, issuer));
        _recognise();
    }

    function testRecogniseUnknownType() public {
        vm.expectRevert(abi.encodeWithSelector(ICredentialRegistry.UnknownType.selector, TYPE_2));
        vm.prank(issuer);
        registry.recognise(TYPE_2, OTHER);
    }

    function testRecogniseRecognitionUnchanged() public {
        _recognise();
        vm.expectRevert(
            abi.encodeWithSelector(ICredentialRegistry.RecognitionUnchanged.selector, TYPE, OTHER)
        );
        _recognise();
    }

    function testRecogniseRecognitionUnchangedOneself() public {
        vm.expectRevert(
            abi.encodeWithSelector(ICredentialRegistry.RecognitionUnchanged.selector, TYPE, issuer)
        );
        vm.prank(issuer);
        registry.recognise(TYPE, issuer);
    }

    function testFuzzRecogniseSuccess(address who) public {
        vm.assume(who != address(0) && who != issuer && who != OTHER);
        _admitAndRecognise(who);
        vm.prank(who);
        registry.issue(HOLDER, TYPE, until);
        assert(registry.isRecognised(TYPE, who) && registry.isValidFrom(who, HOLDER, TYPE));
    }

    function testFuzzRecogniseNotSteward(address caller) public {
        vm.assume(caller != issuer && caller != address(0) && caller != OTHER);
        registry.admitIssuer(caller, 0);
        vm.expectRevert(abi.encodeWithSelector(ICredentialRegistry.NotSteward.selector, TYPE, caller));
        vm.prank(caller);
        registry.recognise(TYPE, OTHER);
    }

    // --- withdrawRecognition ---

    function testWithdrawRecognitionSuccess() public {
        _recognise();
        vm.prank(OTHER);
        registry.issue(HOLDER, TYPE, until);
        vm.expectEmit(address(registry));
        emit ICredentialRegistry.RecognitionWithdrawn(TYPE, OTHER);
        vm.prank(issuer);
        registry.withdrawRecognition(TYPE, OTHER);
        assert(!registry.isRecognised(TYPE, OTHER) && !registry.isValid(HOLDER, TYPE));
    }

    function testWithdrawRecognitionSuccessAfterRemoval() public {
        _recognise();
        registry.removeIssuer(issuer);
        vm.prank(issuer);
        registry.withdrawRecognition(TYPE, OTHER);
        assert(!registry.isRecognised(TYPE, OTHER));
    }

    function testWithdrawRecognitionNotSteward() public {
        _recognise();
        vm.expectRevert(abi.encodeWithSelector(ICredentialRegistry.NotSteward.selector, TYPE, STRANGER));
        vm.prank(STRANGER);
        registry.withdrawRecognition(TYPE, OTHER);
    }

    function testWithdrawRecognitionUnknownType() public {
        vm.expectRevert(abi.encodeWithSelector(ICredentialRegistry.UnknownType.selector, TYPE_2));
        registry.withdrawRecognition(TYPE_2, OTHER);
    }

    function testWithdrawRecognitionRecognitionUnchanged() public {
        vm.expectRevert(
            abi.encodeWithSelector(ICredentialRegistry.RecognitionUnchanged.selector, TYPE, OTHER)
        );
        vm.prank(issuer);
        registry.withdrawRecognition(TYPE, OTHER);
    }

    function testFuzzWithdrawRecognitionSuccess(address who) public {
        vm.assume(who != address(0) && who != issuer && who != OTHER);
        _admitAndRecognise(who);
        vm.prank(who);
        registry.issue(HOLDER, TYPE, until);
        vm.prank(issuer);
        registry.withdrawRecognition(TYPE, who);
        assert(!registry.isValid(HOLDER, TYPE) && !registry.isRecognised(TYPE, who));
    }

    function testFuzzWithdrawRecognitionNotSteward(address caller) public {
        vm.assume(caller != issuer);
        _recognise();
        vm.expectRevert(abi.encodeWithSelector(ICredentialRegistry.NotSteward.selector, TYPE, caller));
        vm.prank(caller);
        registry.withdrawRecognition(TYPE, OTHER);
    }

    // --- issue ---

    function testIssueSuccess() public {
        vm.expectEmit(address(registry));
        emit ICredentialRegistry.CredentialIssued(HOLDER, TYPE, issuer, until);
        _issue(until);
        _expectCredential(until, ICredentialRegistry.CredentialState.Active, 1);
        assert(registry.isValid(HOLDER, TYPE) && !registry.isValid(STRANGER, TYPE));
    }

    function testIssueSuccessReplaces() public {
        _issue(until);
        _issue(now64() + 1); // an earlier date is welcome too
        _expectCredential(now64() + 1, ICredentialRegistry.CredentialState.Active, 2);
        assert(registry.issuersOf(HOLDER, TYPE).length == 1);
    }

    function testIssueSuccessAfterRevocation() public {
        _issue(until);
        _revoke(9);
        _issue(until);
        _expectCredential(until, ICredentialRegistry.CredentialState.Active, 3);
        assert(registry.isValid(HOLDER, TYPE));
    }

    function testIssueNotAdmitted() public {
        vm.expectRevert(abi.encodeWithSelector(ICredentialRegistry.NotAdmitted.selector, STRANGER));
        vm.prank(STRANGER);
        registry.issue(HOLDER, TYPE, until);
    }

    function testIssueNotAdmittedSteward() public {
        _recognise();
        registry.removeIssuer(issuer);
        vm.expectRevert(abi.encodeWithSelector(ICredentialRegistry.NotAdmitted.selector, issuer));
        vm.prank(OTHER);
        registry.issue(HOLDER, TYPE, until);
    }

    function testIssueUnknownType() public {
        vm.expectRevert(abi.encodeWithSelector(ICredentialRegistry.UnknownType.selector, TYPE_2));
        vm.prank(issuer);
        registry.issue(HOLDER, TYPE_2, until);
    }

    function testIssueNotRecognised() public {
        vm.expectRevert(abi.encodeWithSelector(ICredentialRegistry.NotRecognised.selector, TYPE, OTHER));
        vm.prank(OTHER);
        registry.issue(HOLDER, TYPE, until);
    }

    function testIssueExpiryOutOfRangeNow() public {
        _expectExpiryOutOfRange(now64());
        _issue(now64());
    }

    function testIssueExpiryOutOfRangeTooFar() public {
        uint64 latest = now64() + registry.MAX_VALIDITY();
        _expectExpiryOutOfRange(latest + 1);
        _issue(latest + 1);
        _issue(latest);
    }

    function testIssueZeroAddress() public {
        vm.expectRevert(abi.encodeWithSelector(ICredentialRegistry.ZeroAddress.selector));
        vm.prank(issuer);
        registry.issue(address(0), TYPE, until);
    }

    function testIssueTooManyIssuers() public {
        for (uint256 i; i < registry.MAX_ISSUERS(); ++i) {
            _issueAs(person(100 + i));
        }
        address ninth = person(200);
        _admitAndRecognise(ninth);
        vm.expectRevert(abi.encodeWithSelector(ICredentialRegistry.TooManyIssuers.selector, HOLDER, TYPE));
        vm.prank(ninth);
        registry.issue(HOLDER, TYPE, until);
        vm.prank(person(103)); // the eight can renew
        registry.issue(HOLDER, TYPE, until + 1);
    }

    function testFuzzIssueSuccess(address holder, bytes32 typeId, uint64 end) public {
        vm.assume(holder != address(0) && typeId != TYPE);
        end = uint64(bound(end, now64() + 1, now64() + registry.MAX_VALIDITY()));
        vm.prank(OTHER);
        registry.registerType(typeId, DOCUMENT);
        vm.prank(OTHER);
        registry.issue(holder, typeId, end);
        vm.warp(end - 1);
        assert(registry.isValid(holder, typeId));
        vm.warp(end);
        assert(!registry.isValid(holder, typeId));
    }

    function testFuzzIssueExpiryOutOfRange(uint64 end, bool late) public {
        uint64 latest = now64() + registry.MAX_VALIDITY();
        end = uint64(late ? bound(end, latest + 1, type(uint64).max) : bound(end, 0, now64()));
        _expectExpiryOutOfRange(end);
        _issue(end);
    }

    function testFuzzIssueNotAdmitted(address caller) public {
        vm.assume(caller != issuer && caller != OTHER);
        vm.expectRevert(abi.encodeWithSelector(ICredentialRegistry.NotAdmitted.selector, caller));
        vm.prank(caller);
        registry.issue(HOLDER, TYPE, until);
    }

    function testIssueSuccessRenews() public {
        _issue(until);
        vm.warp(until - 1 days);
        _issue(until + 300 days);
        vm.warp(until + 1);
        assert(registry.isValid(HOLDER, TYPE));
    }

    // --- issueBatch ---

    function testIssueBatchSuccess() public {
        address[] memory holders = _people(registry.MAX_BATCH());
        for (uint256 i; i < holders.length; ++i) {
            vm.expectEmit(address(registry));
            emit ICredentialRegistry.CredentialIssued(holders[i], TYPE, issuer, until);
        }
        vm.prank(issuer);
        registry.issueBatch(holders, TYPE, until);
        for (uint256 i; i < holders.length; ++i) {
            assert(registry.isValid(holders[i], TYPE));
        }
    }

    function testIssueBatchAllOrNone() public {
        address[] memory holders = _people(3);
        holders[2] = address(0);
        vm.expectRevert(abi.encodeWithSelector(ICredentialRegistry.ZeroAddress.selector));
        vm.prank(issuer);
        registry.issueBatch(holders, TYPE, until);
        assert(!registry.isValid(holders[0], TYPE));
    }

    function testIssueBatchBatchOutOfRange() public {
        vm.expectRevert(abi.encodeWithSelector(ICredentialRegistry.BatchOutOfRange.selector, 0));
        vm.prank(issuer);
        registry.issueBatch(new address[](0), TYPE, until);
        vm.expectRevert(abi.encodeWithSelector(ICredentialRegistry.BatchOutOfRange.selector, 101));
        vm.prank(issuer);
        registry.issueBatch(new address[](101), TYPE, until);
    }

    function testIssueBatchNotRecognised() public {
        vm.expectRevert(abi.encodeWithSelector(ICredentialRegistry.NotRecognised.selector, TYPE, OTHER));
        vm.prank(OTHER);
        registry.issueBatch(_people(1), TYPE, until);
    }

    function testIssueBatchExpiryOutOfRange() public {
        _expectExpiryOutOfRange(0);
        vm.prank(issuer);
        registry.issueBatch(_people(1), TYPE, 0);
    }

    function testFuzzIssueBatchSuccess(uint8 count) public {
        address[] memory holders = _people(bound(count, 1, registry.MAX_BATCH()));
        vm.prank(issuer);
        registry.issueBatch(holders, TYPE, until);
        assert(registry.isValid(holders[holders.length - 1], TYPE));
    }

    // --- issueBySignature ---

    function testIssueBySignatureSuccess() public {
        bytes memory signature = _offer(ISSUER_KEY, until, now64());
        vm.expectEmit(address(registry));
        emit ICredentialRegistry.CredentialIssued(HOLDER, TYPE, issuer, until);
        vm.prank(HOLDER);
        registry.issueBySignature(issuer, HOLDER, TYPE, until, now64(), signature);
        assert(registry.isValid(HOLDER, TYPE));
    }

    function testIssueBySignatureSuccessContractWallet() public {
        address wallet = address(new SigningWallet(vm.addr(7)));
        _admitAndRecognise(wallet);
        bytes32 digest = registry.offerDigest(wallet, HOLDER, TYPE, until, until);
        (uint8 v, bytes32 r, bytes32 s) = vm.sign(7, digest);
        registry.issueBySignature(wallet, HOLDER, TYPE, until, until, abi.encode(r, s, v));
        assert(registry.isValidFrom(wallet, HOLDER, TYPE));
    }

    function testIssueBySignatureSuccessKeyThatLentItselfCode() public {
        bytes memory signature = _offer(ISSUER_KEY, until, until);
        vm.etch(issuer, hex"ef0100000000000000000000000000000000000000dead"); // EIP-7702
        registry.issueBySignature(issuer, HOLDER, TYPE, until, until, signature);
        assert(registry.isValid(HOLDER, TYPE));
    }

    function testIssueBySignatureBadSignatureContractWallet() public {
        address wallet = address(new SigningWallet(vm.addr(7)));
        _admitAndRecognise(wallet);
        (uint8 v, bytes32 r, bytes32 s) = vm.sign(8, registry.offerDigest(wallet, HOLDER, TYPE, until, until));
        vm.expectRevert(abi.encodeWithSelector(ICredentialRegistry.BadSignature.selector, wallet));
        registry.issueBySignature(wallet, HOLDER, TYPE, until, until, abi.encode(r, s, v));
    }

    function testIssueBySignatureOfferExpired() public {
        uint64 deadline = now64();
        bytes memory signature = _offer(ISSUER_KEY, until, deadline);
        vm.warp(block.timestamp + 1);
        vm.expectRevert(abi.encodeWithSelector(ICredentialRegistry.OfferExpired.selector, deadline));
        registry.issueBySignature(issuer, HOLDER, TYPE, until, deadline, signature);
    }

    function testIssueBySignatureBadSignature() public {
        bytes memory signature = _offer(0xBAD, until, until);
        _expectBadSignature();
        registry.issueBySignature(issuer, HOLDER, TYPE, until, until, signature);
        _expectBadSignature();
        registry.issueBySignature(issuer, HOLDER, TYPE, until, until, "");
    }

    function testIssueBySignatureBadSignatureReplay() public {
        bytes memory signature = _offer(ISSUER_KEY, until, until);
        registry.issueBySignature(issuer, HOLDER, TYPE, until, until, signature);
        _expectBadSignature();
        registry.issueBySignature(issuer, HOLDER, TYPE, until, until, signature);
    }

    function testIssueBySignatureBadSignatureAfterRevocation() public {
        bytes memory first = _offer(ISSUER_KEY, until, until);
        registry.issueBySignature(issuer, HOLDER, TYPE, until, until, first);
        bytes memory renewal = _offer(ISSUER_KEY, until, until);
        _revoke(9);
        _expectBadSignature();
        registry.issueBySignature(issuer, HOLDER, TYPE, until, until, renewal);
    }

    function testIssueBySignatureBadSignatureAfterRenunciation() public {
        _issue(until);
        bytes memory renewal = _offer(ISSUER_KEY, until, until);
        vm.prank(HOLDER);
        registry.renounce(issuer, TYPE);
        _expectBadSignature();
        registry.issueBySignature(issuer, HOLDER, TYPE, until, until, renewal);
    }

    function testIssueBySignatureNotAdmitted() public {
        bytes memory signature = _offer(ISSUER_KEY, until, until);
        registry.removeIssuer(issuer);
        vm.expectRevert(abi.encodeWithSelector(ICredentialRegistry.NotAdmitted.selector, issuer));
        registry.issueBySignature(issuer, HOLDER, TYPE, until, until, signature);
    }

    function testIssueBySignatureExpiryOutOfRange() public {
        bytes memory signature = _offer(ISSUER_KEY, 0, until);
        _expectExpiryOutOfRange(0);
        registry.issueBySignature(issuer, HOLDER, TYPE, 0, until, signature);
    }

    function testOfferDigestSuccess() public {
        // Written out once by hand, as another language would have to compute it.
        _issue(until);
        bytes32 domain = keccak256(
            abi.encode(
                keccak256(
                    "EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)"
                ),
                keccak256("warmline CredentialRegistry"),
                keccak256("1"),
                block.chainid,
                address(registry)
            )
        );
        bytes32 offer = keccak256(
            abi.encode(
                keccak256(
                    "Offer(address issuer,address holder,bytes32 typeId,uint64 until,uint32 version,uint64 deadline)"
                ),
                issuer,
                HOLDER,
                TYPE,
                until,
                uint32(1),
                uint64(5)
            )
        );
        bytes32 expected = keccak256(abi.encodePacked(hex"1901", domain, offer));
        assert(registry.offerDigest(issuer, HOLDER, TYPE, until, 5) == expected);
    }

    function testFuzzIssueBySignatureSuccess(uint256 key, address holder, uint64 end, uint64 deadline)
        public
    {
        key = bound(key, 1, type(uint128).max);
        address signer = vm.addr(key);
        vm.assume(holder != address(0) && signer != issuer && signer.code.length == 0);
        _admitAndRecognise(signer);
        end = uint64(bound(end, now64() + 1, now64() + registry.MAX_VALIDITY()));
        deadline = uint64(bound(deadline, now64(), type(uint64).max));
        bytes memory signature = _sign(key, registry.offerDigest(signer, holder, TYPE, end, deadline));
        registry.issueBySignature(signer, holder, TYPE, end, deadline, signature);
        assert(registry.isValidFrom(signer, holder, TYPE));
    }

    function testFuzzIssueBySignatureBadSignature(address holder, uint64 end, uint64 deadline) public {
        // A signature over one offer opens no other.
        vm.assume(holder != address(0));
        end = uint64(bound(end, now64() + 1, now64() + registry.MAX_VALIDITY()));
        deadline = uint64(bound(deadline, now64(), type(uint64).max));
        vm.assume(holder != HOLDER || end != until || deadline != until);
        bytes memory signature = _offer(ISSUER_KEY, until, until);
        _expectBadSignature();
        registry.issueBySignature(issuer, holder, TYPE, end, deadline, signature);
    }

    // --- revoke ---

    function testRevokeSuccess() public {
        _issue(until);
        vm.expectEmit(address(registry));
        emit ICredentialRegistry.CredentialRevoked(HOLDER, TYPE, issuer, 9);
        _revoke(9);
        _expectCredential(until, ICredentialRegistry.CredentialState.Revoked, 2);
        assert(!registry.isValid(HOLDER, TYPE));
    }

    function testRevokeSuccessAfterRemoval() public {
        _issue(until);
        registry.removeIssuer(issuer);
        _revoke(0);
        _expectCredential(until, ICredentialRegistry.CredentialState.Revoked, 2);
    }

    function testRevokeSuccessAfterExpiry() public {
        _issue(until);
        vm.warp(until + 1);
        _revoke(1); // late bad news is still news
    }

    function testRevokeUnknownReason() public {
        _issue(until);
        vm.expectRevert(abi.encodeWithSelector(ICredentialRegistry.UnknownReason.selector, 11));
        _revoke(11);
    }

    function testRevokeNotActive() public {
        vm.expectRevert(abi.encodeWithSelector(ICredentialRegistry.NotActive.selector, issuer, HOLDER, TYPE));
        _revoke(0);
    }

    function testRevokeNotActiveTwice() public {
        _issue(until);
        _revoke(0);
        vm.expectRevert(abi.encodeWithSelector(ICredentialRegistry.NotActive.selector, issuer, HOLDER, TYPE));
        _revoke(0);
    }

    function testRevokeNotActiveOfAnotherIssuer() public {
        _issue(until);
        vm.expectRevert(abi.encodeWithSelector(ICredentialRegistry.NotActive.selector, OTHER, HOLDER, TYPE));
        vm.prank(OTHER);
        registry.revoke(HOLDER, TYPE, 0);
    }

    function testRevokeNotActiveNinthIssuer() public {
        for (uint256 i; i < registry.MAX_ISSUERS(); ++i) {
            _issueAs(person(100 + i));
        }
        vm.expectRevert(abi.encodeWithSelector(ICredentialRegistry.NotActive.selector, issuer, HOLDER, TYPE));
        _revoke(0);
        _expectCredential(0, ICredentialRegistry.CredentialState.None, 0);
    }

    function testFuzzRevokeSuccess(uint8 reason) public {
        reason = uint8(bound(reason, 0, 10));
        _issue(until);
        _revoke(reason);
        assert(!registry.isValid(HOLDER, TYPE));
    }

    function testFuzzRevokeUnknownReason(uint8 reason) public {
        reason = uint8(bound(reason, 11, 255));
        _issue(until);
        vm.expectRevert(abi.encodeWithSelector(ICredentialRegistry.UnknownReason.selector, reason));
        _revoke(reason);
    }

    function testFuzzRevokeNotActive(address caller) public {
        vm.assume(caller != issuer);
        _issue(until);
        vm.expectRevert(abi.encodeWithSelector(ICredentialRegistry.NotActive.selector, caller, HOLDER, TYPE));
        vm.prank(caller);
        registry.revoke(HOLDER, TYPE, 0);
    }

    // --- renounce ---

    function testRenounceSuccess() public {
        _issue(until);
        vm.expectEmit(address(registry));
        emit ICredentialRegistry.CredentialRenounced(HOLDER, TYPE, issuer);
        vm.prank(HOLDER);
        registry.renounce(issuer, TYPE);
        _expectCredential(until, ICredentialRegistry.CredentialState.Renounced, 2);
        assert(!registry.isValid(HOLDER, TYPE));
    }

    function testRenounceNotActive() public {
        _issue(until);
        vm.expectRevert(
            abi.encodeWithSelector(ICredentialRegistry.NotActive.selector, issuer, STRANGER, TYPE)
        );
        vm.prank(STRANGER);
        registry.renounce(issuer, TYPE);
    }

    function testRenounceNotActiveZeroIssuer() public {
        vm.expectRevert(
            abi.encodeWithSelector(ICredentialRegistry.NotActive.selector, address(0), HOLDER, TYPE)
        );
        vm.prank(HOLDER);
        registry.renounce(address(0), TYPE);
    }

    function testFuzzRenounceSuccess(address holder) public {
        vm.assume(holder != address(0));
        vm.prank(issuer);
        registry.issue(holder, TYPE, until);
        vm.prank(holder);
        registry.renounce(issuer, TYPE);
        assert(!registry.isValid(holder, TYPE));
    }

    function testFuzzRenounceNotActive(address caller) public {
        vm.assume(caller != HOLDER);
        _issue(until);
        vm.expectRevert(abi.encodeWithSelector(ICredentialRegistry.NotActive.selector, issuer, caller, TYPE));
        vm.prank(caller);
        registry.renounce(issuer, TYPE);
    }

    // --- isValid ---

    function testIsValidSuccessOneOfSeveral() public {
        _recognise();
        _issue(now64() + 10);
        vm.prank(OTHER);
        registry.issue(HOLDER, TYPE, until);
        _revoke(9);
        assert(registry.isValid(HOLDER, TYPE)); // OTHER's still counts
        assert(!registry.isValidFrom(issuer, HOLDER, TYPE) && registry.isValidFrom(OTHER, HOLDER, TYPE));
        vm.warp(block.timestamp + 11);
        assert(registry.isValid(HOLDER, TYPE));
        vm.prank(HOLDER);
        registry.renounce(OTHER, TYPE);
        assert(!registry.isValid(HOLDER, TYPE));
        address[] memory issuers = registry.issuersOf(HOLDER, TYPE);
        assert(issuers.length == 2 && issuers[0] == issuer && issuers[1] == OTHER);
    }

    function testIsValidFalseForUnknownType() public view {
        assert(!registry.isValid(HOLDER, TYPE_2));
        assert(!registry.isValidFrom(issuer, HOLDER, TYPE_2));
    }

    function testIsValidGasIsBounded() public {
        uint256 most = registry.MAX_ISSUERS();
        for (uint256 i; i < most; ++i) {
            _issueAs(person(100 + i));
        }
        for (uint256 i; i < most; ++i) {
            vm.prank(issuer);
            registry.withdrawRecognition(TYPE, person(100 + i)); // the dearest way of not counting
        }
        vm.cool(address(registry));
        uint256 before = gasleft();
        bool valid = registry.isValid(HOLDER, TYPE);
        uint256 used = before - gasleft();
        assert(!valid);
        vm.assertTrue(used < 80_000, "isValid is not bounded as promised");
    }

    function testFuzzIsValidNeverReverts(address holder, bytes32 typeId, address from) public view {
        assert(!registry.isValid(holder, typeId));
        assert(!registry.isValidFrom(from, holder, typeId));
    }

    // --- verbs ---

    function _issue(uint64 end) private {
        vm.prank(issuer);
        registry.issue(HOLDER, TYPE, end);
    }

    function _issueAs(address who) private {
        _admitAndRecognise(who);
        vm.prank(who);
        registry.issue(HOLDER, TYPE, until);
    }

    function _recognise() private {
        vm.prank(issuer);
        registry.recognise(TYPE, OTHER);
    }

    function _admitAndRecognise(address who) private {
        registry.admitIssuer(who, 0);
        vm.prank(issuer);
        registry.recognise(TYPE, who);
    }

    function _revoke(uint8 reason) private {
        vm.prank(issuer);
        registry.revoke(HOLDER, TYPE, reason);
    }

    function _offer(uint256 key, uint64 end, uint64 deadline) private view returns (bytes memory) {
        return _sign(key, registry.offerDigest(issuer, HOLDER, TYPE, end, deadline));
    }

    function _sign(uint256 key, bytes32 digest) private pure returns (bytes memory) {
        (uint8 v, bytes32 r, bytes32 s) = vm.sign(key, digest);
        return abi.encodePacked(r, s, v);
    }

    function _people(uint256 count) private pure returns (address[] memory people) {
        people = new address[](count);
        for (uint256 i; i < count; ++i) {
            people[i] = person(1000 + i);
        }
    }

    function _expectBadSignature() private {
        vm.expectRevert(abi.encodeWithSelector(ICredentialRegistry.BadSignature.selector, issuer));
    }

    function _expectExpiryOutOfRange(uint64 end) private {
        uint64 latest = now64() + registry.MAX_VALIDITY();
        vm.expectRevert(abi.encodeWithSelector(ICredentialRegistry.ExpiryOutOfRange.selector, end, latest));
    }

    function _expectCredential(uint64 end, ICredentialRegistry.CredentialState state, uint32 version)
        private
        view
    {
        (uint64 recordedEnd, ICredentialRegistry.CredentialState recordedState, uint32 recordedVersion) =
            registry.credentialOf(issuer, HOLDER, TYPE);
        assert(recordedEnd == end && recordedState == state && recordedVersion == version);
    }
}
