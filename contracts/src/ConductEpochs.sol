// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import { Signers } from "./Signers.sol";
import { Succession } from "./Succession.sol";
import { IConductEpochs } from "./interfaces/IConductEpochs.sol";
import { ICredentialRegistry } from "./interfaces/ICredentialRegistry.sol";
import { AccessManaged } from "@openzeppelin/contracts/access/manager/AccessManaged.sol";
import { EIP712 } from "@openzeppelin/contracts/utils/cryptography/EIP712.sol";
import { SafeCast } from "@openzeppelin/contracts/utils/math/SafeCast.sol";

/// @title What the collectors say of an epoch's feedback: see IConductEpochs.
contract ConductEpochs is IConductEpochs, Succession, EIP712 {
    using SafeCast for uint256;

    /// @inheritdoc IConductEpochs
    uint256 public constant MAX_COLLECTORS = 16;
    /// @inheritdoc IConductEpochs
    uint32 public constant MAX_VOUCHERS = 100_000;
    /// @inheritdoc IConductEpochs
    uint64 public constant MAX_AHEAD = 13;

    bytes32 private constant EPOCH_TYPEHASH = keccak256(
        "Epoch(uint64 epoch,bytes32 previousRoot,bytes32 root,bytes32 dataHash,uint64 tokenCount)"
    );

    /// @inheritdoc IConductEpochs
    address public immutable REGISTRY;
    /// @inheritdoc IConductEpochs
    uint64 public immutable GENESIS;
    /// @inheritdoc IConductEpochs
    uint64 public immutable EPOCH;
    /// @inheritdoc IConductEpochs
    uint64 public immutable WINDOW;

    // One word. A post settles by the clock, so what "stands" is worked out when it is asked for.
    struct Head {
        uint64 settledEpoch; // whose root is in _settledRoot
        uint64 lastEpoch; // whose root is in _lastRoot
        uint40 standsAt; // first second in which _lastRoot stands; zero if it was vetoed or there is none
        uint8 threshold; // signatures that a post needs
    }

    Head private _head;
    bytes32 private _settledRoot;
    // Kept after a veto too, though it means nothing then: writing over it is cheaper than over zero.
    bytes32 private _lastRoot;
    address[] private _collectors;
    mapping(address collector => bool) private _isCollector;
    mapping(uint64 epoch => uint256) private _vouchers;
    mapping(address issuer => mapping(uint64 epoch => bytes32)) private _keyRoots;
    mapping(uint64 epoch => mapping(bytes32 root => bool)) private _vetoed;

    /// @param governance who names collectors, and who holds the panel's role for vetoes
    /// @param registry the CredentialRegistry whose issuers grant vouchers
    constructor(
        address governance,
        address registry,
        uint64 epoch,
        uint64 window,
        address[] memory initial,
        uint8 threshold
    ) AccessManaged(governance) EIP712("warmline ConductEpochs", "1") {
        if (window == 0 || window > epoch || epoch > 366 days) {
            revert TimesOutOfRange(epoch, window);
        }
        if (registry == address(0)) revert ZeroAddress();
        (REGISTRY, GENESIS, EPOCH, WINDOW) = (registry, uint64(block.timestamp), epoch, window);
        _setCollectors(initial, threshold);
    }

    /// @inheritdoc IConductEpochs
    function setCollectors(address[] calldata named, uint8 threshold) external restricted {
        _setCollectors(named, threshold);
    }

    /// @inheritdoc IConductEpochs
    function grantVouchers(uint64 epoch, uint32 count, bytes32 keyRoot) external {
        if (!ICredentialRegistry(REGISTRY).mayIssue(msg.sender)) revert NotIssuer(msg.sender);
        uint64 current = currentEpoch();
        if (epoch < current || epoch > current + MAX_AHEAD) revert EpochOutOfRange(epoch, current);
        if (count == 0 || count > MAX_VOUCHERS) revert VouchersOutOfRange(count);
        if (keyRoot == 0) revert ZeroRoot();
        if (_keyRoots[msg.sender][epoch] != 0) revert AlreadyGranted(msg.sender, epoch);
        _keyRoots[msg.sender][epoch] = keyRoot;
        _vouchers[epoch] += count;
        emit VouchersGranted(msg.sender, epoch, count, keyRoot);
    }

    /// @inheritdoc IConductEpochs
    function post(
        uint64 epoch,
        bytes32 root,
        bytes32 dataHash,
        uint64 tokenCount,
        address[] calldata signers,
        bytes[] calldata signatures
    ) external {
        Head memory head = _head;
        bytes32 previousRoot = _settle(head);
        _requireTimely(epoch, head.settledEpoch);
        if (root == 0) revert ZeroRoot();
        uint256 vouchers = _vouchers[epoch];
        if (tokenCount > vouchers) revert TooManyTokens(tokenCount, vouchers);
        if (_vetoed[epoch][root]) revert Vetoed(epoch, root);
        bytes32 digest = epochDigest(epoch, previousRoot, root, dataHash, tokenCount);
        _requireSigned(digest, head.threshold, signers, signatures);
        (head.lastEpoch, head.standsAt) = (epoch, (block.timestamp + WINDOW).toUint40());
        (_head, _lastRoot) = (head, root);
        emit EpochPosted(epoch, previousRoot, root, dataHash, tokenCount, head.standsAt);
    }

    /// @inheritdoc IConductEpochs
    function veto(uint64 epoch, bytes32 root) external {
        if (!_isCollector[msg.sender]) _checkCanCall(msg.sender, msg.data);
        if (!_isPending(_head) || _head.lastEpoch != epoch || _lastRoot != root) {
            revert NothingPending(epoch, root);
        }
        _vetoed[epoch][root] = true;
        _head.standsAt = 0;
        emit EpochVetoed(epoch, root, msg.sender);
    }

    /// @inheritdoc IConductEpochs
    function standing() external view returns (uint64 epoch, bytes32 root) {
        Head memory head = _head;
        if (_stands(head)) return (head.lastEpoch, _lastRoot);
        return (head.settledEpoch, _settledRoot);
    }

    /// @inheritdoc IConductEpochs
    function pending() external view returns (uint64 epoch, bytes32 root, uint64 standsAt) {
        Head memory head = _head;
        if (_isPending(head)) return (head.lastEpoch, _lastRoot, head.standsAt);
    }

    /// @inheritdoc IConductEpochs
    function isVetoed(uint64 epoch, bytes32 root) external view returns (bool) {
        return _vetoed[epoch][root];
    }

    /// @inheritdoc IConductEpochs
    function vouchersOf(uint64 epoch) external view returns (uint256) {
        return _vouchers[epoch];
    }

    /// @inheritdoc IConductEpochs
    function keyRootOf(address issuer, uint64 epoch) external view returns (bytes32) {
        return _keyRoots[issuer][epoch];
    }

    /// @inheritdoc IConductEpochs
    function collectors() external view returns (address[] memory all, uint8 threshold) {
        return (_collectors, _head.threshold);
    }

    /// @inheritdoc IConductEpochs
    function currentEpoch() public view returns (uint64) {
        return (uint64(block.timestamp) - GENESIS) / EPOCH + 1;
    }

    /// @inheritdoc IConductEpochs
    function epochDigest(
        uint64 epoch,
        bytes32 previousRoot,
        bytes32 root,
        bytes32 dataHash,
        uint64 tokenCount
    ) public view returns (bytes32) {
        return _hashTypedDataV4(
            keccak256(abi.encode(EPOCH_TYPEHASH, epoch, previousRoot, root, dataHash, tokenCount))
        );
    }

    /// @dev Makes a post that stands by now the settled one; the root that stands.
    function _settle(Head memory head) private returns (bytes32 root) {
        if (_isPending(head)) revert WindowOpen(head.standsAt);
        if (!_stands(head)) return _settledRoot;
        root = _lastRoot;
        (head.settledEpoch, _settledRoot) = (head.lastEpoch, root);
    }

    /// @dev Without access restriction. At most 2 * MAX_COLLECTORS steps.
    function _setCollectors(address[] memory named, uint8 threshold) private {
        if (named.length == 0 || named.length > MAX_COLLECTORS) revert BadCollectors();
        if (threshold > named.length || 2 * uint256(threshold) <= named.length) {
            revert ThresholdOutOfRange(threshold, named.length);
        }
        address[] memory former = _collectors;
        for (uint256 i; i < former.length; ++i) {
            _isCollector[former[i]] = false;
        }
        address last = address(0);
        for (uint256 i; i < named.length; ++i) {
            if (named[i] <= last) revert BadCollectors();
            last = named[i];
            _isCollector[last] = true;
        }
        _collectors = named;
        _head.threshold = threshold;
        emit CollectorsSet(named, threshold);
    }

    function _isPending(Head memory head) private view returns (bool) {
        return block.timestamp < head.standsAt;
    }

    function _stands(Head memory head) private view returns (bool) {
        return head.standsAt != 0 && block.timestamp >= head.standsAt;
    }

    function _requireTimely(uint64 epoch, uint64 settled) private view {
        if (epoch <= settled) revert NotInOrder(epoch, settled);
        uint256 end = GENESIS + uint256(epoch) * EPOCH;
        if (block.timestamp < end) revert EpochNotOver(epoch, end);
    }

    function _requireSigned(
        bytes32 digest,
        uint8 threshold,
        address[] calldata signers,
        bytes[] calldata signatures
    ) private view {
        if (signers.length < threshold || signers.length != signatures.length) {
            revert TooFewSignatures(signers.length, signatures.length, threshold);
        }
        address last = address(0);
        for (uint256 i; i < signers.length; ++i) {
            address signer = signers[i];
            if (signer <= last) revert NotAscending(signer);
            if (!_isCollector[signer]) revert NotCollector(signer);
            if (!Signers.signed(signer, digest, signatures[i])) revert BadSignature(signer);
            last = signer;
        }
    }
}
