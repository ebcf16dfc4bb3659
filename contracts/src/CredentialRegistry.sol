// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import { ICredentialRegistry } from "./interfaces/ICredentialRegistry.sol";
import { AccessManaged } from "@openzeppelin/contracts/access/manager/AccessManaged.sol";
import { EIP712 } from "@openzeppelin/contracts/utils/cryptography/EIP712.sol";
import { SignatureChecker } from "@openzeppelin/contracts/utils/cryptography/SignatureChecker.sol";
import { SafeCast } from "@openzeppelin/contracts/utils/math/SafeCast.sol";

/// @title Who was trained by whom, until when: see ICredentialRegistry.
contract CredentialRegistry is ICredentialRegistry, AccessManaged, EIP712 {
    using SafeCast for uint256;

    /// @inheritdoc ICredentialRegistry
    uint64 public constant MAX_VALIDITY = 1096 days;
    /// @inheritdoc ICredentialRegistry
    uint256 public constant MAX_ISSUERS = 8;
    /// @inheritdoc ICredentialRegistry
    uint256 public constant MAX_BATCH = 100;

    bytes32 private constant OFFER_TYPEHASH = keccak256(
        "Offer(address issuer,address holder,bytes32 typeId,uint64 until,uint32 version,uint64 deadline)"
    );
    uint8 private constant LAST_REASON = 10; // aACompromise, the last CRLReason of RFC 5280

    struct Issuer {
        bool admitted; // now
        uint16 term; // number of admissions so far
        bytes32 metadataHash; // given at the last admission
    }

    struct Type {
        address steward; // who registered it; zero if nobody did
        bytes32 documentHash; // what defines it
    }

    // One word, so that issuing to a new holder writes one word.
    struct Credential {
        address issuer; // zero means that this and all later entries are empty
        uint40 until; // seconds; enough for 34 thousand years
        uint16 term; // the issuer's term when it was issued
        uint32 version; // number of acts on it so far
        CredentialState state; // 8 bits
    }

    mapping(address issuer => Issuer) private _issuers;
    mapping(bytes32 typeId => Type) private _types;
    mapping(bytes32 typeId => mapping(address issuer => bool)) private _recognised;
    // Entries fill from the front and keep their issuer for ever: were an entry given to another issuer, its
    // version would start again and an old offer could be taken up twice.
    // (slither does not see writes through the storage pointer in _issue.)
    // slither-disable-next-line uninitialized-state
    mapping(address holder => mapping(bytes32 typeId => Credential[MAX_ISSUERS])) private _credentials;

    /// @param governance AccessManager (or another IAuthority) that decides who may admit and remove issuers
    constructor(address governance) AccessManaged(governance) EIP712("warmline CredentialRegistry", "1") { }

    /// @inheritdoc ICredentialRegistry
    function admitIssuer(address issuer, bytes32 metadataHash) external restricted {
        if (issuer == address(0)) revert ZeroAddress();
        Issuer storage entry = _issuers[issuer];
        if (entry.admitted) revert AlreadyAdmitted(issuer);
        entry.admitted = true;
        ++entry.term;
        entry.metadataHash = metadataHash;
        emit IssuerAdmitted(issuer, metadataHash);
    }

    /// @inheritdoc ICredentialRegistry
    function removeIssuer(address issuer) external restricted {
        _requireAdmitted(issuer);
        _issuers[issuer].admitted = false;
        emit IssuerRemoved(issuer);
    }

    /// @inheritdoc ICredentialRegistry
    function registerType(bytes32 typeId, bytes32 documentHash) external {
        _requireAdmitted(msg.sender);
        address steward = _types[typeId].steward;
        if (steward != address(0)) revert TypeTaken(typeId, steward);
        _types[typeId] = Type({ steward: msg.sender, documentHash: documentHash });
        emit TypeRegistered(msg.sender, typeId, documentHash);
    }

    /// @inheritdoc ICredentialRegistry
    function recognise(bytes32 typeId, address issuer) external {
        _requireAdmitted(msg.sender);
        _requireAdmitted(issuer);
        _requireSteward(typeId);
        if (issuer == msg.sender || _recognised[typeId][issuer]) revert RecognitionUnchanged(typeId, issuer);
        _recognised[typeId][issuer] = true;
        emit IssuerRecognised(typeId, issuer);
    }

    /// @inheritdoc ICredentialRegistry
    function withdrawRecognition(bytes32 typeId, address issuer) external {
        _requireSteward(typeId);
        if (!_recognised[typeId][issuer]) revert RecognitionUnchanged(typeId, issuer);
        _recognised[typeId][issuer] = false;
        emit RecognitionWithdrawn(typeId, issuer);
    }

    /// @inheritdoc ICredentialRegistry
    function issue(address holder, bytes32 typeId, uint64 until) external {
        uint16 term = _requireMayIssue(msg.sender, typeId);
        _requireExpiry(until);
        _issue(msg.sender, term, holder, typeId, until);
    }

    /// @inheritdoc ICredentialRegistry
    function issueBatch(address[] calldata holders, bytes32 typeId, uint64 until) external {
        if (holders.length == 0 || holders.length > MAX_BATCH) revert BatchOutOfRange(holders.length);
        uint16 term = _requireMayIssue(msg.sender, typeId);
        _requireExpiry(until);
        for (uint256 i; i < holders.length; ++i) {
            _issue(msg.sender, term, holders[i], typeId, until);
        }
    }

    /// @inheritdoc ICredentialRegistry
    function issueBySignature(
        address issuer,
        address holder,
        bytes32 typeId,
        uint64 until,
        uint64 deadline,
        bytes calldata signature
    ) external {
        if (block.timestamp > deadline) revert OfferExpired(deadline);
        uint16 term = _requireMayIssue(issuer, typeId);
        _requireExpiry(until);
        bytes32 digest = offerDigest(issuer, holder, typeId, until, deadline);
        if (!SignatureChecker.isValidSignatureNow(issuer, digest, signature)) revert BadSignature(issuer);
        _issue(issuer, term, holder, typeId, until);
    }

    /// @inheritdoc ICredentialRegistry
    function revoke(address holder, bytes32 typeId, uint8 reason) external {
        if (reason > LAST_REASON) revert UnknownReason(reason);
        _end(msg.sender, holder, typeId, CredentialState.Revoked);
        emit CredentialRevoked(holder, typeId, msg.sender, reason);
    }

    /// @inheritdoc ICredentialRegistry
    function renounce(address issuer, bytes32 typeId) external {
        _end(issuer, msg.sender, typeId, CredentialState.Renounced);
        emit CredentialRenounced(msg.sender, typeId, issuer);
    }

    /// @inheritdoc ICredentialRegistry
    function isValid(address holder, bytes32 typeId) external view returns (bool) {
        address steward = _types[typeId].steward;
        if (!_issuers[steward].admitted) return false;
        Credential[MAX_ISSUERS] storage entries = _credentials[holder][typeId];
        for (uint256 i; i < MAX_ISSUERS; ++i) {
            Credential memory entry = entries[i];
            if (entry.issuer == address(0)) return false;
            if (_counts(entry, steward, typeId)) return true;
        }
        return false;
    }

    /// @inheritdoc ICredentialRegistry
    function isValidFrom(address issuer, address holder, bytes32 typeId) external view returns (bool) {
        address steward = _types[typeId].steward;
        if (!_issuers[steward].admitted) return false;
        return _counts(_find(issuer, holder, typeId), steward, typeId);
    }

    /// @inheritdoc ICredentialRegistry
    function credentialOf(address issuer, address holder, bytes32 typeId)
        external
        view
        returns (uint64 until, CredentialState state, uint32 version)
    {
        Credential memory entry = _find(issuer, holder, typeId);
        return (entry.until, entry.state, entry.version);
    }

    /// @inheritdoc ICredentialRegistry
    function issuersOf(address holder, bytes32 typeId) external view returns (address[] memory issuers) {
        Credential[MAX_ISSUERS] storage entries = _credentials[holder][typeId];
        uint256 count;
        while (count < MAX_ISSUERS && entries[count].issuer != address(0)) ++count;
        issuers = new address[](count);
        for (uint256 i; i < count; ++i) {
            issuers[i] = entries[i].issuer;
        }
    }

    /// @inheritdoc ICredentialRegistry
    function issuerOf(address issuer) external view returns (bool admitted, bytes32 metadataHash) {
        Issuer storage entry = _issuers[issuer];
        return (entry.admitted, entry.metadataHash);
    }

    /// @inheritdoc ICredentialRegistry
    function typeOf(bytes32 typeId) external view returns (address steward, bytes32 documentHash) {
        Type storage entry = _types[typeId];
        return (entry.steward, entry.documentHash);
    }

    /// @inheritdoc ICredentialRegistry
    function isRecognised(bytes32 typeId, address issuer) external view returns (bool) {
        return _recognised[typeId][issuer];
    }

    /// @inheritdoc ICredentialRegistry
    function offerDigest(address issuer, address holder, bytes32 typeId, uint64 until, uint64 deadline)
        public
        view
        returns (bytes32)
    {
        uint32 version = _find(issuer, holder, typeId).version;
        return _hashTypedDataV4(
            keccak256(abi.encode(OFFER_TYPEHASH, issuer, holder, typeId, until, version, deadline))
        );
    }

    /// @dev Without access restriction; the caller has checked issuer, type and expiry.
    function _issue(address issuer, uint16 term, address holder, bytes32 typeId, uint64 until) private {
        if (holder == address(0)) revert ZeroAddress();
        Credential[MAX_ISSUERS] storage entries = _credentials[holder][typeId];
        (uint256 index, uint32 version) = _entryFor(entries, issuer);
        if (index == MAX_ISSUERS) revert TooManyIssuers(holder, typeId);
        entries[index] = Credential({
            issuer: issuer,
            until: uint256(until).toUint40(),
            term: term,
            version: version + 1,
            state: CredentialState.Active
        });
        emit CredentialIssued(holder, typeId, issuer, until);
    }

    function _end(address issuer, address holder, bytes32 typeId, CredentialState state) private {
        Credential[MAX_ISSUERS] storage entries = _credentials[holder][typeId];
        (uint256 index,) = _entryFor(entries, issuer);
        if (index == MAX_ISSUERS || entries[index].state != CredentialState.Active) {
            revert NotActive(issuer, holder, typeId);
        }
        entries[index].state = state;
        ++entries[index].version;
    }

    /// @dev Everything but the steward's own admission.
    function _counts(Credential memory entry, address steward, bytes32 typeId) private view returns (bool) {
        if (entry.state != CredentialState.Active || block.timestamp >= entry.until) return false;
        Issuer storage issuer = _issuers[entry.issuer];
        if (!issuer.admitted || issuer.term != entry.term) return false;
        return entry.issuer == steward || _recognised[typeId][entry.issuer];
    }

    function _find(address issuer, address holder, bytes32 typeId) private view returns (Credential memory) {
        Credential[MAX_ISSUERS] storage entries = _credentials[holder][typeId];
        (uint256 index,) = _entryFor(entries, issuer);
        if (index < MAX_ISSUERS) return entries[index];
        return Credential(address(0), 0, 0, 0, CredentialState.None);
    }

    /// @dev The entry of an issuer, else the first empty one (version 0), else MAX_ISSUERS.
    function _entryFor(Credential[MAX_ISSUERS] storage entries, address issuer)
        private
        view
        returns (uint256 index, uint32 version)
    {
        for (; index < MAX_ISSUERS; ++index) {
            Credential memory entry = entries[index];
            if (entry.issuer == issuer || entry.issuer == address(0)) return (index, entry.version);
        }
    }

    function _requireMayIssue(address issuer, bytes32 typeId) private view returns (uint16 term) {
        term = _requireAdmitted(issuer);
        address steward = _types[typeId].steward;
        if (steward == issuer) return term;
        if (steward == address(0)) revert UnknownType(typeId);
        if (!_recognised[typeId][issuer]) revert NotRecognised(typeId, issuer);
        _requireAdmitted(steward);
    }

    function _requireAdmitted(address issuer) private view returns (uint16 term) {
        Issuer storage entry = _issuers[issuer];
        if (!entry.admitted) revert NotAdmitted(issuer);
        return entry.term;
    }

    function _requireSteward(bytes32 typeId) private view {
        address steward = _types[typeId].steward;
        if (steward == address(0)) revert UnknownType(typeId);
        if (steward != msg.sender) revert NotSteward(typeId, msg.sender);
    }

    function _requireExpiry(uint64 until) private view {
        uint64 latest = uint64(block.timestamp) + MAX_VALIDITY;
        if (until <= block.timestamp || until > latest) revert ExpiryOutOfRange(until, latest);
    }
}
