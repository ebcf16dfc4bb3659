// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import { Intake } from "./Intake.sol";
import { Signers } from "./Signers.sol";
import { ICredentialRegistry } from "./interfaces/ICredentialRegistry.sol";
import { AccessManaged } from "@openzeppelin/contracts/access/manager/AccessManaged.sol";
import { EIP712 } from "@openzeppelin/contracts/utils/cryptography/EIP712.sol";
import { SafeCast } from "@openzeppelin/contracts/utils/math/SafeCast.sol";

/// @title Who was trained by whom, until when: see ICredentialRegistry.
contract CredentialRegistry is ICredentialRegistry, Intake, EIP712 {
    using SafeCast for uint256;

    /// @inheritdoc ICredentialRegistry
    uint64 public constant MAX_VALIDITY = 1096 days;
    /// @inheritdoc ICredentialRegistry
    uint256 public constant MAX_ISSUERS = 8;
    /// @inheritdoc ICredentialRegistry
    uint256 public constant MAX_BATCH = 100;
    /// @inheritdoc ICredentialRegistry
    uint64 public constant SUNSET = 30 days;
    /// @inheritdoc ICredentialRegistry
    uint64 public constant MAX_SUSPENSION = 90 days;

    bytes32 private constant OFFER_TYPEHASH = keccak256(
        "Offer(address issuer,address holder,bytes32 typeId,uint64 until,uint32 version,uint64 deadline)"
    );
    uint8 private constant LAST_REASON = 10; // aACompromise, the last CRLReason of RFC 5280

    // The first five fields are one word: whether an issuer counts is one read.
    struct Issuer {
        bool admitted; // and not removed since; a sunset leaves it set and ends by the clock
        uint16 term; // number of admissions so far
        uint40 sunsetAt; // first second in which it is an issuer no more; zero if it is not leaving
        uint40 suspendedUntil; // first second in which it counts again; zero if it never was suspended
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
        if (_stands(entry)) revert AlreadyAdmitted(issuer);
        _issuers[issuer] = Issuer({
            admitted: true, term: entry.term + 1, sunsetAt: 0, suspendedUntil: 0, metadataHash: metadataHash
        });
        emit IssuerAdmitted(issuer, metadataHash);
    }

    /// @inheritdoc ICredentialRegistry
    function removeIssuer(address issuer) external restricted {
        if (!_stands(_issuers[issuer])) revert NotAdmitted(issuer);
        _issuers[issuer].admitted = false;
        emit IssuerRemoved(issuer);
    }

    /// @inheritdoc ICredentialRegistry
    function sunsetIssuer(address issuer) external restricted {
        _sunset(issuer);
    }

    /// @inheritdoc ICredentialRegistry
    function resign() external {
        _sunset(msg.sender);
    }

    /// @inheritdoc ICredentialRegistry
    function suspendIssuer(address issuer, uint64 until) external restricted {
        Issuer storage entry = _issuers[issuer];
        if (!_stands(entry)) revert NotAdmitted(issuer);
        uint64 latest = uint64(block.timestamp) + MAX_SUSPENSION;
        if (until > latest) revert SuspensionOutOfRange(until, latest);
        entry.suspendedUntil = uint256(until).toUint40();
        emit IssuerSuspended(issuer, until);
    }

    /// @inheritdoc ICredentialRegistry
    function registerType(bytes32 typeId, bytes32 documentHash) external {
        _requireMayAct(msg.sender);
        address steward = _types[typeId].steward;
        if (steward != address(0)) revert TypeTaken(typeId, steward);
        _types[typeId] = Type({ steward: msg.sender, documentHash: documentHash });
        emit TypeRegistered(msg.sender, typeId, documentHash);
    }

    /// @inheritdoc ICredentialRegistry
    function recognise(bytes32 typeId, address issuer) external {
        _requireMayAct(msg.sender);
        _requireMayAct(issuer);
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
    function issue(address holder, bytes32 typeId, uint64 until) external whileOpen {
        uint16 term = _requireMayIssue(msg.sender, typeId);
        _requireExpiry(until);
        _issue(msg.sender, term, holder, typeId, until);
    }

    /// @inheritdoc ICredentialRegistry
    function issueBatch(address[] calldata holders, bytes32 typeId, uint64 until) external whileOpen {
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
    ) external whileOpen {
        if (block.timestamp > deadline) revert OfferExpired(deadline);
        uint16 term = _requireMayIssue(issuer, typeId);
        _requireExpiry(until);
        (uint256 index, uint32 version) = _entryFor(_credentials[holder][typeId], issuer);
        bytes32 digest = _offerDigest(issuer, holder, typeId, until, version, deadline);
        if (!Signers.signed(issuer, digest, signature)) revert BadSignature(issuer);
        _write(index, version, issuer, term, holder, typeId, until);
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
        if (!_stands(_issuers[steward])) return false;
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
        if (!_stands(_issuers[steward])) return false;
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
        return (_stands(entry), entry.metadataHash);
    }

    /// @inheritdoc ICredentialRegistry
    function issuerDates(address issuer) external view returns (uint64 sunsetAt, uint64 suspendedUntil) {
        Issuer storage entry = _issuers[issuer];
        return (entry.sunsetAt, entry.suspendedUntil);
    }

    /// @inheritdoc ICredentialRegistry
    function mayIssue(address issuer) external view returns (bool) {
        Issuer storage entry = _issuers[issuer];
        return entry.admitted && entry.sunsetAt == 0 && block.timestamp >= entry.suspendedUntil;
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
        return _offerDigest(issuer, holder, typeId, until, version, deadline);
    }

    function _offerDigest(
        address issuer,
        address holder,
        bytes32 typeId,
        uint64 until,
        uint32 version,
        uint64 deadline
    ) private view returns (bytes32) {
        return _hashTypedDataV4(
            keccak256(abi.encode(OFFER_TYPEHASH, issuer, holder, typeId, until, version, deadline))
        );
    }

    /// @dev Without access restriction; the caller has checked issuer, type and expiry.
    function _issue(address issuer, uint16 term, address holder, bytes32 typeId, uint64 until) private {
        (uint256 index, uint32 version) = _entryFor(_credentials[holder][typeId], issuer);
        _write(index, version, issuer, term, holder, typeId, until);
    }

    /// @dev The same, where the entry was found before.
    function _write(
        uint256 index,
        uint32 version,
        address issuer,
        uint16 term,
        address holder,
        bytes32 typeId,
        uint64 until
    ) private {
        if (holder == address(0)) revert ZeroAddress();
        if (index == MAX_ISSUERS) revert TooManyIssuers(holder, typeId);
        _credentials[holder][typeId][index] = Credential({
            issuer: issuer,
            until: uint256(until).toUint40(),
            term: term,
            version: version + 1,
            state: CredentialState.Active
        });
        emit CredentialIssued(holder, typeId, issuer, until);
    }

    /// @dev Without access restriction.
    function _sunset(address issuer) private {
        _requireStaying(issuer);
        uint64 sunsetAt = uint64(block.timestamp) + SUNSET;
        _issuers[issuer].sunsetAt = uint256(sunsetAt).toUint40();
        emit IssuerSunset(issuer, sunsetAt);
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

    /// @dev Whether its word counts now, apart from a suspension: admitted, and not past its sunset.
    function _stands(Issuer storage entry) private view returns (bool) {
        return entry.admitted && (entry.sunsetAt == 0 || block.timestamp < entry.sunsetAt);
    }

    /// @dev Everything but the steward's own admission.
    function _counts(Credential memory entry, address steward, bytes32 typeId) private view returns (bool) {
        if (entry.state != CredentialState.Active || block.timestamp >= entry.until) return false;
        Issuer storage issuer = _issuers[entry.issuer];
        if (!_stands(issuer) || issuer.term != entry.term) return false;
        if (block.timestamp < issuer.suspendedUntil) return false;
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
        term = _requireMayAct(issuer);
        address steward = _types[typeId].steward;
        if (steward == issuer) return term;
        if (steward == address(0)) revert UnknownType(typeId);
        if (!_recognised[typeId][issuer]) revert NotRecognised(typeId, issuer);
        // A steward that is leaving or suspended still stands behind those it recognised.
        if (!_stands(_issuers[steward])) revert NotAdmitted(steward);
    }

    /// @dev For all that adds: admitted, not leaving, not suspended.
    function _requireMayAct(address issuer) private view returns (uint16 term) {
        term = _requireStaying(issuer);
        uint64 suspendedUntil = _issuers[issuer].suspendedUntil;
        if (block.timestamp < suspendedUntil) revert Suspended(issuer, suspendedUntil);
    }

    function _requireStaying(address issuer) private view returns (uint16 term) {
        Issuer storage entry = _issuers[issuer];
        if (!_stands(entry)) revert NotAdmitted(issuer);
        if (entry.sunsetAt != 0) revert Leaving(issuer, entry.sunsetAt);
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
