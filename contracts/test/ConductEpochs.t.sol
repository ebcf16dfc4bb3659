// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import { ConductEpochs } from "../src/ConductEpochs.sol";
import { CredentialRegistry } from "../src/CredentialRegistry.sol";
import { IConductEpochs } from "../src/interfaces/IConductEpochs.sol";
import { Test } from "./support/Test.sol";
import { SigningWallet } from "./support/Wallets.sol";
import { AccessManager } from "@openzeppelin/contracts/access/manager/AccessManager.sol";
import { IAccessManaged } from "@openzeppelin/contracts/access/manager/IAccessManaged.sol";

contract ConductEpochsTest is Test {
    AccessManager private governance;
    CredentialRegistry private registry;
    ConductEpochs private conduct;

    // Five collectors, ascending; the keys of four, and a contract wallet whose key is KEY_OF_WALLET.
    address[] private collectors;
    mapping(address collector => uint256) private keyOf;
    uint256 private constant KEY_OF_WALLET = 0x3A113;
    SigningWallet private wallet;

    address private immutable ISSUER = person(1);
    address private immutable STRANGER = person(4);
    address private immutable PANEL = person(5);
    bytes32 private constant ROOT = keccak256("root");
    bytes32 private constant ROOT_2 = keccak256("another root");
    bytes32 private constant DATA = keccak256("batch");
    bytes32 private constant KEYS = keccak256("keys");
    uint64 private constant PANEL_ROLE = 7;

    function setUp() public {
        vm.warp(1_800_000_000);
        governance = new AccessManager(address(this));
        registry = new CredentialRegistry(address(governance));
        registry.admitIssuer(ISSUER, 0);
        wallet = new SigningWallet(vm.addr(KEY_OF_WALLET));
        for (uint256 i = 1; i <= 4; ++i) {
            _insert(vm.addr(i));
            keyOf[vm.addr(i)] = i;
        }
        _insert(address(wallet));
        conduct = _deploy(7 days, 3 days, 3);
        bytes4[] memory selectors = new bytes4[](1);
        selectors[0] = conduct.veto.selector;
        governance.setTargetFunctionRole(address(conduct), selectors, PANEL_ROLE);
        governance.grantRole(PANEL_ROLE, PANEL, 0);
    }

    // --- constructor ---

    function testConstructorSuccess() public view {
        assert(conduct.GENESIS() == now64() && conduct.EPOCH() == 7 days && conduct.WINDOW() == 3 days);
        assert(conduct.REGISTRY() == address(registry) && conduct.currentEpoch() == 1);
        _expectStanding(0, 0);
    }

    function testConstructorTimesOutOfRange() public {
        _expectTimesOutOfRange(7 days, 0);
        _deploy(7 days, 0, 3);
        _expectTimesOutOfRange(7 days, 7 days + 1);
        _deploy(7 days, 7 days + 1, 3);
        _expectTimesOutOfRange(367 days, 1);
        _deploy(367 days, 1, 3);
        _deploy(366 days, 366 days, 3);
    }

    function testConstructorZeroAddress() public {
        vm.expectRevert(abi.encodeWithSelector(IConductEpochs.ZeroAddress.selector));
        new ConductEpochs(address(governance), address(0), 7 days, 3 days, collectors, 3);
    }

    // --- setCollectors ---

    function testSetCollectorsSuccess() public {
        address[] memory named = new address[](2);
        (named[0], named[1]) = (person(50), person(51));
        vm.expectEmit(address(conduct));
        emit IConductEpochs.CollectorsSet(named, 2);
        conduct.setCollectors(named, 2);
        (address[] memory all, uint8 threshold) = conduct.collectors();
        assert(all.length == 2 && all[0] == person(50) && all[1] == person(51) && threshold == 2);
    }

    function testSetCollectorsSuccessOldOnesAreOut() public {
        _grant(1, 10);
        _endEpoch(1);
        (address[] memory signers, bytes[] memory signatures) = _signed(1, ROOT, 5, 3);
        address[] memory named = new address[](1);
        named[0] = person(50);
        conduct.setCollectors(named, 1);
        vm.expectRevert(abi.encodeWithSelector(IConductEpochs.NotCollector.selector, signers[0]));
        conduct.post(1, ROOT, DATA, 5, signers, signatures);
    }

    function testSetCollectorsBadCollectors() public {
        address[] memory named = new address[](2);
        (named[0], named[1]) = (person(51), person(50)); // not ascending
        _expectBadCollectors();
        conduct.setCollectors(named, 2);
        named[1] = person(51); // twice
        _expectBadCollectors();
        conduct.setCollectors(named, 2);
        named[0] = address(0);
        _expectBadCollectors();
        conduct.setCollectors(named, 2);
        _expectBadCollectors();
        conduct.setCollectors(new address[](0), 0);
        _expectBadCollectors();
        conduct.setCollectors(new address[](17), 9);
    }

    function testSetCollectorsThresholdOutOfRange() public {
        uint8[3] memory bad = [0, 2, 6];
        for (uint256 i; i < bad.length; ++i) {
            vm.expectRevert(abi.encodeWithSelector(IConductEpochs.ThresholdOutOfRange.selector, bad[i], 5));
            conduct.setCollectors(collectors, bad[i]);
        }
    }

    function testSetCollectorsUnauthorized() public {
        vm.expectRevert(abi.encodeWithSelector(IAccessManaged.AccessManagedUnauthorized.selector, STRANGER));
        vm.prank(STRANGER);
        conduct.setCollectors(collectors, 3);
    }

    function testFuzzSetCollectorsSuccess(uint256 count, uint8 threshold) public {
        count = bound(count, 1, conduct.MAX_COLLECTORS());
        threshold = uint8(bound(threshold, count / 2 + 1, count));
        address[] memory named = new address[](count);
        for (uint256 i; i < count; ++i) {
            named[i] = person(100 + i);
        }
        conduct.setCollectors(named, threshold);
        (address[] memory all, uint8 needed) = conduct.collectors();
        assert(all.length == count && needed == threshold);
    }

    function testFuzzSetCollectorsThresholdOutOfRange(uint8 threshold) public {
        vm.assume(threshold < 3 || threshold > 5);
        vm.expectRevert(abi.encodeWithSelector(IConductEpochs.ThresholdOutOfRange.selector, threshold, 5));
        conduct.setCollectors(collectors, threshold);
    }

    function testFuzzSetCollectorsUnauthorized(address caller) public {
        vm.assume(caller != address(this));
        vm.expectRevert(abi.encodeWithSelector(IAccessManaged.AccessManagedUnauthorized.selector, caller));
        vm.prank(caller);
        conduct.setCollectors(collectors, 3);
    }

    // --- grantVouchers ---

    function testGrantVouchersSuccess() public {
        registry.admitIssuer(person(2), 0);
        vm.expectEmit(address(conduct));
        emit IConductEpochs.VouchersGranted(ISSUER, 1, 10, KEYS);
        _grant(1, 10);
        vm.prank(person(2));
        conduct.grantVouchers(1, 5, KEYS);
        assert(conduct.vouchersOf(1) == 15 && conduct.vouchersOf(2) == 0);
        assert(conduct.keyRootOf(ISSUER, 1) == KEYS && conduct.keyRootOf(ISSUER, 2) == 0);
    }

    function testGrantVouchersSuccessAtLimits() public {
        _grant(1, conduct.MAX_VOUCHERS());
        _grant(1 + conduct.MAX_AHEAD(), 1);
    }

    function testGrantVouchersNotIssuer() public {
        vm.expectRevert(abi.encodeWithSelector(IConductEpochs.NotIssuer.selector, STRANGER));
        vm.prank(STRANGER);
        conduct.grantVouchers(1, 10, KEYS);
    }

    function testGrantVouchersNotIssuerWhileSuspended() public {
        registry.suspendIssuer(ISSUER, now64() + 1 days);
        vm.expectRevert(abi.encodeWithSelector(IConductEpochs.NotIssuer.selector, ISSUER));
        _grant(1, 10);
    }

    function testGrantVouchersEpochOutOfRange() public {
        vm.warp(now64() + 7 days);
        vm.expectRevert(abi.encodeWithSelector(IConductEpochs.EpochOutOfRange.selector, 1, 2));
        _grant(1, 10);
        vm.expectRevert(abi.encodeWithSelector(IConductEpochs.EpochOutOfRange.selector, 16, 2));
        _grant(16, 10);
    }

    function testGrantVouchersVouchersOutOfRange() public {
        vm.expectRevert(abi.encodeWithSelector(IConductEpochs.VouchersOutOfRange.selector, 0));
        _grant(1, 0);
        vm.expectRevert(abi.encodeWithSelector(IConductEpochs.VouchersOutOfRange.selector, 100_001));
        _grant(1, 100_001);
    }

    function testGrantVouchersZeroRoot() public {
        vm.expectRevert(abi.encodeWithSelector(IConductEpochs.ZeroRoot.selector));
        vm.prank(ISSUER);
        conduct.grantVouchers(1, 10, 0);
    }

    function testGrantVouchersAlreadyGranted() public {
        _grant(1, 10);
        vm.expectRevert(abi.encodeWithSelector(IConductEpochs.AlreadyGranted.selector, ISSUER, 1));
        _grant(1, 10);
    }

    function testFuzzGrantVouchersSuccess(uint64 epoch, uint32 count, bytes32 keyRoot) public {
        vm.assume(keyRoot != 0);
        epoch = uint64(bound(epoch, 1, 14));
        count = uint32(bound(count, 1, conduct.MAX_VOUCHERS()));
        vm.prank(ISSUER);
        conduct.grantVouchers(epoch, count, keyRoot);
        assert(conduct.vouchersOf(epoch) == count && conduct.keyRootOf(ISSUER, epoch) == keyRoot);
    }

    function testFuzzGrantVouchersEpochOutOfRange(uint64 epoch) public {
        vm.assume(epoch == 0 || epoch > 14);
        vm.expectRevert(abi.encodeWithSelector(IConductEpochs.EpochOutOfRange.selector, epoch, 1));
        _grant(epoch, 1);
    }

    function testFuzzGrantVouchersNotIssuer(address caller) public {
        vm.assume(caller != ISSUER);
        vm.expectRevert(abi.encodeWithSelector(IConductEpochs.NotIssuer.selector, caller));
        vm.prank(caller);
        conduct.grantVouchers(1, 10, KEYS);
    }

    // --- post ---

    function testPostSuccess() public {
        _grant(1, 10);
        _endEpoch(1);
        (address[] memory signers, bytes[] memory signatures) = _signed(1, ROOT, 10, 3);
        uint64 standsAt = now64() + 3 days;
        vm.expectEmit(address(conduct));
        emit IConductEpochs.EpochPosted(1, 0, ROOT, DATA, 10, standsAt);
        vm.prank(STRANGER);
        conduct.post(1, ROOT, DATA, 10, signers, signatures);
        _expectStanding(0, 0);
        _expectPending(1, ROOT, standsAt);
        vm.warp(standsAt);
        _expectStanding(1, ROOT); // by the clock alone
        _expectPending(0, 0, 0);
    }

    function testPostSuccessAllFiveWithAContractWallet() public {
        _endEpoch(1);
        _post(1, ROOT, 0, 5);
        _expectPending(1, ROOT, now64() + 3 days);
    }

    function testPostSuccessFollowsTheOneThatStands() public {
        _endEpoch(1);
        _post(1, ROOT, 0, 3);
        _endEpoch(2);
        (address[] memory signers, bytes[] memory signatures) = _signed(2, ROOT_2, 0, 3);
        vm.expectEmit(address(conduct));
        emit IConductEpochs.EpochPosted(2, ROOT, ROOT_2, DATA, 0, now64() + 3 days);
        conduct.post(2, ROOT_2, DATA, 0, signers, signatures);
        _expectStanding(1, ROOT);
        vm.warp(now64() + 3 days);
        _expectStanding(2, ROOT_2);
    }

    function testPostSuccessLeavesAnEpochOut() public {
        _endEpoch(3);
        _post(3, ROOT, 0, 3);
        vm.warp(now64() + 3 days);
        _expectStanding(3, ROOT);
        (address[] memory signers, bytes[] memory signatures) = _signed(2, ROOT_2, 0, 3);
        vm.expectRevert(abi.encodeWithSelector(IConductEpochs.NotInOrder.selector, 2, 3));
        conduct.post(2, ROOT_2, DATA, 0, signers, signatures);
    }

    function testPostZeroRoot() public {
        _endEpoch(1);
        (address[] memory signers, bytes[] memory signatures) = _signed(1, 0, 0, 3);
        vm.expectRevert(abi.encodeWithSelector(IConductEpochs.ZeroRoot.selector));
        conduct.post(1, 0, DATA, 0, signers, signatures);
    }

    function testPostWindowOpen() public {
        _endEpoch(2);
        _post(1, ROOT, 0, 3);
        uint64 standsAt = now64() + 3 days;
        (address[] memory signers, bytes[] memory signatures) = _signed(2, ROOT_2, 0, 3);
        vm.warp(standsAt - 1);
        vm.expectRevert(abi.encodeWithSelector(IConductEpochs.WindowOpen.selector, standsAt));
        conduct.post(2, ROOT_2, DATA, 0, signers, signatures);
    }

    function testPostNotInOrder() public {
        _endEpoch(1);
        (address[] memory signers, bytes[] memory signatures) = _signed(0, ROOT, 0, 3);
        vm.expectRevert(abi.encodeWithSelector(IConductEpochs.NotInOrder.selector, 0, 0));
        conduct.post(0, ROOT, DATA, 0, signers, signatures);
        _post(1, ROOT, 0, 3);
        vm.warp(now64() + 3 days);
        (signers, signatures) = _signed(1, ROOT_2, 0, 3);
        vm.expectRevert(abi.encodeWithSelector(IConductEpochs.NotInOrder.selector, 1, 1));
        conduct.post(1, ROOT_2, DATA, 0, signers, signatures);
    }

    function testPostEpochNotOver() public {
        (address[] memory signers, bytes[] memory signatures) = _signed(1, ROOT, 0, 3);
        uint256 end = now64() + 7 days;
        vm.warp(end - 1);
        vm.expectRevert(abi.encodeWithSelector(IConductEpochs.EpochNotOver.selector, 1, end));
        conduct.post(1, ROOT, DATA, 0, signers, signatures);
        vm.warp(end);
        conduct.post(1, ROOT, DATA, 0, signers, signatures);
    }

    function testPostTooManyTokens() public {
        _grant(1, 10);
        _grant(2, 90);
        _endEpoch(1);
        (address[] memory signers, bytes[] memory signatures) = _signed(1, ROOT, 11, 3);
        vm.expectRevert(abi.encodeWithSelector(IConductEpochs.TooManyTokens.selector, 11, 10));
        conduct.post(1, ROOT, DATA, 11, signers, signatures);
    }

    function testPostVetoed() public {
        _endEpoch(1);
        (address[] memory signers, bytes[] memory signatures) = _signed(1, ROOT, 0, 3);
        conduct.post(1, ROOT, DATA, 0, signers, signatures);
        _vetoAs(collectors[4], 1, ROOT);
        vm.expectRevert(abi.encodeWithSelector(IConductEpochs.Vetoed.selector, 1, ROOT));
        conduct.post(1, ROOT, DATA, 0, signers, signatures);
    }

    function testPostTooFewSignatures() public {
        _endEpoch(1);
        (address[] memory signers, bytes[] memory signatures) = _signed(1, ROOT, 0, 2);
        vm.expectRevert(abi.encodeWithSelector(IConductEpochs.TooFewSignatures.selector, 2, 2, 3));
        conduct.post(1, ROOT, DATA, 0, signers, signatures);
        (signers,) = _signed(1, ROOT, 0, 3);
        vm.expectRevert(abi.encodeWithSelector(IConductEpochs.TooFewSignatures.selector, 3, 2, 3));
        conduct.post(1, ROOT, DATA, 0, signers, signatures);
    }

    function testPostNotAscending() public {
        _endEpoch(1);
        (address[] memory signers, bytes[] memory signatures) = _signed(1, ROOT, 0, 3);
        (signers[2], signatures[2]) = (signers[1], signatures[1]); // one collector counted twice
        vm.expectRevert(abi.encodeWithSelector(IConductEpochs.NotAscending.selector, signers[1]));
        conduct.post(1, ROOT, DATA, 0, signers, signatures);
    }

    function testPostNotCollector() public {
        _endEpoch(1);
        (address[] memory signers, bytes[] memory signatures) = _signed(1, ROOT, 0, 3);
        signers[2] = address(type(uint160).max);
        vm.expectRevert(abi.encodeWithSelector(IConductEpochs.NotCollector.selector, signers[2]));
        conduct.post(1, ROOT, DATA, 0, signers, signatures);
    }

    function testPostBadSignature() public {
        _endEpoch(1);
        (address[] memory signers, bytes[] memory signatures) = _signed(1, ROOT, 0, 5);
        for (uint256 i; i < 5; ++i) {
            bytes memory good = signatures[i];
            signatures[i] = signatures[(i + 1) % 5];
            vm.expectRevert(abi.encodeWithSelector(IConductEpochs.BadSignature.selector, signers[i]));
            conduct.post(1, ROOT, DATA, 0, signers, signatures);
            signatures[i] = good;
        }
    }

    function testPostBadSignatureOverAnotherPrevious() public {
        // Two posts are signed at one time; what the second follows changes when the first is posted.
        _endEpoch(2);
        (address[] memory signers, bytes[] memory signatures) = _signed(2, ROOT_2, 0, 3);
        _post(1, ROOT, 0, 3);
        vm.warp(now64() + 3 days);
        vm.expectRevert(abi.encodeWithSelector(IConductEpochs.BadSignature.selector, signers[0]));
        conduct.post(2, ROOT_2, DATA, 0, signers, signatures);
    }

    function testPostBadSignatureOfAnotherContractAndChain() public {
        _endEpoch(1);
        (address[] memory signers, bytes[] memory signatures) = _signed(1, ROOT, 0, 3);
        ConductEpochs twin = _deploy(7 days, 3 days, 3);
        vm.warp(now64() + 7 days);
        vm.expectRevert(abi.encodeWithSelector(IConductEpochs.BadSignature.selector, signers[0]));
        twin.post(1, ROOT, DATA, 0, signers, signatures);
        vm.chainId(block.chainid + 1);
        vm.expectRevert(abi.encodeWithSelector(IConductEpochs.BadSignature.selector, signers[0]));
        conduct.post(1, ROOT, DATA, 0, signers, signatures);
    }

    function testFuzzPostSuccess(bytes32 root, bytes32 data, uint32 granted, uint32 count, uint256 enough)
        public
    {
        vm.assume(root != 0);
        granted = uint32(bound(granted, 1, conduct.MAX_VOUCHERS()));
        count = uint32(bound(count, 0, granted));
        _grant(1, granted);
        _endEpoch(1);
        bytes32 digest = conduct.epochDigest(1, 0, root, data, count);
        (address[] memory signers, bytes[] memory signatures) = _sign(digest, bound(enough, 3, 5));
        conduct.post(1, root, data, count, signers, signatures);
        _expectPending(1, root, now64() + 3 days);
    }

    function testFuzzPostBadSignature(uint64 epoch, bytes32 root, bytes32 data, uint32 count) public {
        // Signatures over one post open no other.
        epoch = uint64(bound(epoch, 1, 3));
        count = uint32(bound(count, 0, 9));
        vm.assume(root != 0 && (epoch != 1 || root != ROOT || data != DATA || count != 5));
        for (uint64 e = 1; e <= 3; ++e) {
            _grant(e, 9);
        }
        _endEpoch(3);
        (address[] memory signers, bytes[] memory signatures) = _signed(1, ROOT, 5, 3);
        vm.expectRevert(abi.encodeWithSelector(IConductEpochs.BadSignature.selector, signers[0]));
        conduct.post(epoch, root, data, count, signers, signatures);
    }

    function testFuzzPostTooManyTokens(uint32 granted, uint64 count) public {
        granted = uint32(bound(granted, 1, conduct.MAX_VOUCHERS()));
        count = uint64(bound(count, uint256(granted) + 1, type(uint64).max));
        _grant(1, granted);
        _endEpoch(1);
        (address[] memory signers, bytes[] memory signatures) = _signed(1, ROOT, count, 3);
        vm.expectRevert(abi.encodeWithSelector(IConductEpochs.TooManyTokens.selector, count, granted));
        conduct.post(1, ROOT, DATA, count, signers, signatures);
    }

    function testFuzzPostEpochNotOver(uint64 epoch) public {
        epoch = uint64(bound(epoch, 2, type(uint64).max));
        _endEpoch(1);
        uint256 end = conduct.GENESIS() + uint256(epoch) * 7 days;
        vm.expectRevert(abi.encodeWithSelector(IConductEpochs.EpochNotOver.selector, epoch, end));
        conduct.post(epoch, ROOT, DATA, 0, new address[](0), new bytes[](0));
    }

    function testEpochDigestSuccess() public view {
        // Written out once by hand, as another language would have to compute it.
        bytes32 domain = keccak256(
            abi.encode(
                keccak256(
                    "EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)"
                ),
                keccak256("warmline ConductEpochs"),
                keccak256("1"),
                block.chainid,
                address(conduct)
            )
        );
        bytes32 typeHash = keccak256(
            "Epoch(uint64 epoch,bytes32 previousRoot,bytes32 root,bytes32 dataHash,uint64 tokenCount)"
        );
        bytes32 message = keccak256(abi.encode(typeHash, uint64(3), ROOT, ROOT_2, DATA, uint64(9)));
        bytes32 expected = keccak256(abi.encodePacked(hex"1901", domain, message));
        assert(conduct.epochDigest(3, ROOT, ROOT_2, DATA, 9) == expected);
    }

    // --- veto ---

    function testVetoSuccess() public {
        _endEpoch(1);
        _post(1, ROOT, 0, 3);
        vm.expectEmit(address(conduct));
        emit IConductEpochs.EpochVetoed(1, ROOT, collectors[0]);
        _vetoAs(collectors[0], 1, ROOT);
        assert(conduct.isVetoed(1, ROOT) && !conduct.isVetoed(2, ROOT));
        _expectPending(0, 0, 0);
        vm.warp(now64() + 30 days);
        _expectStanding(0, 0);
    }

    function testVetoSuccessByThePanel() public {
        _endEpoch(1);
        _post(1, ROOT, 0, 3);
        _vetoAs(PANEL, 1, ROOT);
        assert(conduct.isVetoed(1, ROOT));
    }

    function testVetoSuccessPreviousRootStands() public {
        _endEpoch(1);
        _post(1, ROOT, 0, 3);
        _endEpoch(2);
        _post(2, ROOT_2, 0, 3);
        _vetoAs(collectors[0], 2, ROOT_2);
        _expectStanding(1, ROOT);
        _post(2, keccak256("corrected"), 0, 3); // follows ROOT still
        vm.warp(now64() + 3 days);
        _expectStanding(2, keccak256("corrected"));
    }

    function testVetoNothingPending() public {
        _expectNothingPending(1, ROOT);
        _vetoAs(collectors[0], 1, ROOT);
        _endEpoch(1);
        _post(1, ROOT, 0, 3);
        _expectNothingPending(1, ROOT_2);
        _vetoAs(collectors[0], 1, ROOT_2);
        _expectNothingPending(2, ROOT);
        _vetoAs(collectors[0], 2, ROOT);
        _vetoAs(collectors[0], 1, ROOT);
        _expectNothingPending(1, ROOT);
        _vetoAs(collectors[1], 1, ROOT);
    }

    function testVetoNothingPendingAfterTheWindow() public {
        _endEpoch(1);
        _post(1, ROOT, 0, 3);
        vm.warp(now64() + 3 days);
        _expectNothingPending(1, ROOT);
        _vetoAs(collectors[0], 1, ROOT);
    }

    function testVetoUnauthorized() public {
        _endEpoch(1);
        _post(1, ROOT, 0, 3);
        vm.expectRevert(abi.encodeWithSelector(IAccessManaged.AccessManagedUnauthorized.selector, STRANGER));
        _vetoAs(STRANGER, 1, ROOT);
    }

    function testFuzzVetoSuccess(uint64 wait, uint256 who) public {
        wait = uint64(bound(wait, 0, 3 days - 1));
        _endEpoch(1);
        _post(1, ROOT, 0, 3);
        vm.warp(now64() + wait);
        _vetoAs(collectors[who % 5], 1, ROOT);
        vm.warp(now64() + 3 days);
        _expectStanding(0, 0);
    }

    function testFuzzVetoUnauthorized(address caller) public {
        vm.assume(caller != PANEL && caller != address(wallet) && keyOf[caller] == 0);
        _endEpoch(1);
        _post(1, ROOT, 0, 3);
        vm.expectRevert(abi.encodeWithSelector(IAccessManaged.AccessManagedUnauthorized.selector, caller));
        _vetoAs(caller, 1, ROOT);
    }

    // --- help ---

    function _insert(address collector) private {
        collectors.push(collector);
        for (uint256 i = collectors.length - 1; i > 0 && collectors[i - 1] > collectors[i]; --i) {
            (collectors[i - 1], collectors[i]) = (collectors[i], collectors[i - 1]);
        }
    }

    function _deploy(uint64 epoch, uint64 window, uint8 threshold) private returns (ConductEpochs) {
        return new ConductEpochs(address(governance), address(registry), epoch, window, collectors, threshold);
    }

    function _grant(uint64 epoch, uint32 count) private {
        vm.prank(ISSUER);
        conduct.grantVouchers(epoch, count, KEYS);
    }

    function _endEpoch(uint64 epoch) private {
        vm.warp(conduct.GENESIS() + epoch * 7 days);
    }

    function _post(uint64 epoch, bytes32 root, uint64 count, uint256 signing) private {
        (address[] memory signers, bytes[] memory signatures) = _signed(epoch, root, count, signing);
        conduct.post(epoch, root, DATA, count, signers, signatures);
    }

    function _vetoAs(address caller, uint64 epoch, bytes32 root) private {
        vm.prank(caller);
        conduct.veto(epoch, root);
    }

    /// @dev What the first `signing` collectors sign now.
    function _signed(uint64 epoch, bytes32 root, uint64 count, uint256 signing)
        private
        view
        returns (address[] memory, bytes[] memory)
    {
        (, bytes32 previousRoot) = conduct.standing();
        return _sign(conduct.epochDigest(epoch, previousRoot, root, DATA, count), signing);
    }

    function _sign(bytes32 digest, uint256 signing)
        private
        view
        returns (address[] memory signers, bytes[] memory signatures)
    {
        (signers, signatures) = (new address[](signing), new bytes[](signing));
        for (uint256 i; i < signing; ++i) {
            signers[i] = collectors[i];
            uint256 key = keyOf[collectors[i]];
            (uint8 v, bytes32 r, bytes32 s) = vm.sign(key == 0 ? KEY_OF_WALLET : key, digest);
            signatures[i] = key == 0 ? abi.encode(r, s, v) : abi.encodePacked(r, s, v);
        }
    }

    function _expectStanding(uint64 epoch, bytes32 root) private view {
        (uint64 foundEpoch, bytes32 foundRoot) = conduct.standing();
        assert(foundEpoch == epoch && foundRoot == root);
    }

    function _expectPending(uint64 epoch, bytes32 root, uint64 standsAt) private view {
        (uint64 foundEpoch, bytes32 foundRoot, uint64 found) = conduct.pending();
        assert(foundEpoch == epoch && foundRoot == root && found == standsAt);
    }

    function _expectTimesOutOfRange(uint64 epoch, uint64 window) private {
        vm.expectRevert(abi.encodeWithSelector(IConductEpochs.TimesOutOfRange.selector, epoch, window));
    }

    function _expectBadCollectors() private {
        vm.expectRevert(abi.encodeWithSelector(IConductEpochs.BadCollectors.selector));
    }

    function _expectNothingPending(uint64 epoch, bytes32 root) private {
        vm.expectRevert(abi.encodeWithSelector(IConductEpochs.NothingPending.selector, epoch, root));
    }
}
