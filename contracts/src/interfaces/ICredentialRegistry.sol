// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

/// @title Who was trained by whom, until when
/// @notice Governance admits issuers. An issuer registers credential types and becomes their steward; a steward
/// may recognise other issuers for a type of its own. Stewards and recognised issuers issue; every credential
/// ends by itself on a date.
/// @dev Several issuers may issue the same type to one holder. The registry keeps one credential for each
/// (issuer, holder, type), at most `MAX_ISSUERS` for each (holder, type), and never gives an entry to another
/// issuer. So `isValid` is a scan of at most eight words that stops at the first entry that counts: bounded by a
/// constant, and exact. It means "at least one credential counts now"; the alternatives were a pointer to one
/// leading credential (wrong after that one is revoked) and a counter (wrong after one expires in silence).
///
/// All times are seconds since 1970 UTC, compared with the block's time.
interface ICredentialRegistry {
    /// @notice What became of a credential by someone's act. Expiry is not an act: compare `until`.
    enum CredentialState {
        None, // never issued
        Active, // issued, and neither revoked nor renounced since
        Revoked, // ended by its issuer
        Renounced // ended by its holder
    }

    /// @notice The issuer stands in the registry already.
    error AlreadyAdmitted(address issuer);

    /// @notice The address is not an admitted issuer (now).
    error NotAdmitted(address issuer);

    /// @notice The issuer is leaving: what it issued counts until `sunsetAt`, and it adds nothing more.
    error Leaving(address issuer, uint64 sunsetAt);

    /// @notice The issuer is suspended until `until`.
    error Suspended(address issuer, uint64 until);

    /// @notice A suspension ends at or before `latest`.
    error SuspensionOutOfRange(uint64 until, uint64 latest);

    /// @notice The zero address can neither issue nor hold.
    error ZeroAddress();

    /// @notice The type was registered before. A changed document is a new type.
    error TypeTaken(bytes32 typeId, address steward);

    /// @notice Nobody registered this type.
    error UnknownType(bytes32 typeId);

    /// @notice Only the steward of the type may do this.
    error NotSteward(bytes32 typeId, address caller);

    /// @notice The recognition is already as asked for, or names the steward itself.
    error RecognitionUnchanged(bytes32 typeId, address issuer);

    /// @notice The issuer is neither the steward of the type nor recognised by it.
    error NotRecognised(bytes32 typeId, address issuer);

    /// @notice The expiry must lie after the block's time and at or before `latest`.
    error ExpiryOutOfRange(uint64 until, uint64 latest);

    /// @notice `MAX_ISSUERS` issuers have issued this type to this holder before.
    error TooManyIssuers(address holder, bytes32 typeId);

    /// @notice A batch holds between one and `MAX_BATCH` holders.
    error BatchOutOfRange(uint256 length);

    /// @notice There is no active credential to end.
    error NotActive(address issuer, address holder, bytes32 typeId);

    /// @notice Reasons are the CRLReason codes of RFC 5280, section 5.3.1: 0 to 10.
    error UnknownReason(uint8 reason);

    /// @notice The offer was to be taken up by `deadline`.
    error OfferExpired(uint64 deadline);

    /// @notice The signature is not the issuer's, or is over an older version of this credential.
    error BadSignature(address issuer);

    /// @notice Governance admitted an issuer. Credentials of an earlier admission stay dead.
    /// @param issuer the admitted address
    /// @param metadataHash hash of the document that says who the issuer is
    event IssuerAdmitted(address indexed issuer, bytes32 metadataHash);

    /// @notice Governance removed an issuer: all its credentials stop counting for good, and the types it is
    /// steward of count for nobody until it is admitted again.
    event IssuerRemoved(address indexed issuer);

    /// @notice An issuer leaves in peace: its credentials count until `sunsetAt` and it issues nothing more; then it is no
    /// issuer, and the types it is steward of count for nobody.
    event IssuerSunset(address indexed issuer, uint64 sunsetAt);

    /// @notice The issuer is suspended until `until`; a date that is over lifts it. Meanwhile its credentials do not
    /// count. Those that others issued for its types do.
    event IssuerSuspended(address indexed issuer, uint64 until);

    /// @notice An issuer registered a type and is its steward from now on.
    /// @param documentHash hash of the document that says what a holder was taught and how it was checked
    event TypeRegistered(address indexed issuer, bytes32 indexed typeId, bytes32 documentHash);

    /// @notice The steward lets another issuer issue the type.
    event IssuerRecognised(bytes32 indexed typeId, address indexed issuer);

    /// @notice The steward withdrew a recognition: that issuer's credentials of the type count no more, unless it
    /// is recognised again.
    event RecognitionWithdrawn(bytes32 indexed typeId, address indexed issuer);

    /// @notice A credential was issued, or an existing one of the same issuer replaced.
    event CredentialIssued(
        address indexed holder, bytes32 indexed typeId, address indexed issuer, uint64 until
    );

    /// @notice The issuer ended a credential.
    /// @param reason a CRLReason code of RFC 5280, never more: a chain keeps what it is told about people
    event CredentialRevoked(
        address indexed holder, bytes32 indexed typeId, address indexed issuer, uint8 reason
    );

    /// @notice The holder ended a credential.
    event CredentialRenounced(address indexed holder, bytes32 indexed typeId, address indexed issuer);

    /// @notice Admits an issuer. Governance only.
    /// @param issuer the address that will register types and issue; not zero, not admitted now
    /// @param metadataHash hash of the document that says who the issuer is
    function admitIssuer(address issuer, bytes32 metadataHash) external;

    /// @notice Removes an issuer at once, for cause. Governance only; also while it is suspended or leaving.
    /// @dev Its credentials never count again, also not after a later admission: what was ended for a cause must
    /// not come back by itself.
    function removeIssuer(address issuer) external;

    /// @notice Lets an issuer go that did nothing wrong: what it issued counts for `SUNSET`, so that holders have time
    /// to find another. Governance only. It cannot be taken back; after the sunset it can be admitted anew.
    function sunsetIssuer(address issuer) external;

    /// @notice The same by the caller's own wish.
    function resign() external;

    /// @notice Suspends an issuer until a date, or lifts its suspension with a date that is over. Governance only.
    /// @dev For the time that it takes to find out. The credentials of a suspended issuer do not count: if its key was
    /// stolen, nobody can tell the false ones. They come back by themselves. Those of the issuers that it recognised
    /// count on, because they have done nothing.
    /// @param until first second in which the issuer counts again; within `MAX_SUSPENSION`
    function suspendIssuer(address issuer, uint64 until) external;

    /// @notice Registers a type; the caller, an admitted issuer, becomes its steward for good.
    /// @param typeId any value that was not registered before
    /// @param documentHash hash of the document that defines the type
    function registerType(bytes32 typeId, bytes32 documentHash) external;

    /// @notice Lets another admitted issuer issue a type of the caller.
    /// @dev The scope is that type and no other. One step deep by construction: a recognised issuer is not the steward,
    /// so it can recognise nobody for it. Two stewards may recognise each other, each for a type of its own, and that
    /// is no cycle: `isValid` asks one steward, and never what that steward is recognised for.
    function recognise(bytes32 typeId, address issuer) external;

    /// @notice Takes a recognition back, at once.
    /// @dev Also open to a steward that was removed: taking trust back is never refused.
    function withdrawRecognition(bytes32 typeId, address issuer) external;

    /// @notice Issues a credential, or renews or shortens the one that the caller issued before.
    /// @param holder who was trained; not zero
    /// @param typeId a type that the caller is steward of or recognised for
    /// @param until first second in which it counts no more; after now and within `MAX_VALIDITY`
    function issue(address holder, bytes32 typeId, uint64 until) external;

    /// @notice Issues the same type with the same end to several holders: all of them or none.
    /// @param holders between one and `MAX_BATCH` addresses
    function issueBatch(address[] calldata holders, bytes32 typeId, uint64 until) external;

    /// @notice Issues a credential that the issuer signed off chain. Anyone may bring it, commonly the holder.
    /// @dev EIP-712 struct `Offer(address issuer,address holder,bytes32 typeId,uint64 until,uint32 version,uint64
    /// deadline)`, where `version` is the credential's version at the time of taking up. Every issue, revocation
    /// and renunciation raises the version, so an offer works once, and none works after a later act on the same
    /// credential. Contract wallets sign by ERC-1271.
    /// @param issuer whose signature it is; admitted, and steward or recognised
    /// @param deadline last second in which the offer may be taken up
    /// @param signature 65 bytes (r, s, v) of a key, or what the issuer's contract wallet accepts
    function issueBySignature(
        address issuer,
        address holder,
        bytes32 typeId,
        uint64 until,
        uint64 deadline,
        bytes calldata signature
    ) external;

    /// @notice Ends a credential that the caller issued. Never refused because of the caller's own standing.
    /// @param reason a CRLReason code of RFC 5280, section 5.3.1 (0 unspecified, 1 key compromise, 3 affiliation
    /// changed, 4 superseded, 5 cessation of operation, 9 privilege withdrawn); 0 to 10
    function revoke(address holder, bytes32 typeId, uint8 reason) external;

    /// @notice Ends a credential that the caller holds. Nobody is made to carry one.
    function renounce(address issuer, bytes32 typeId) external;

    /// @notice Whether at least one credential of this type counts for the holder now.
    /// @dev Checks everything: the type is registered and its steward admitted; and for one credential at least:
    /// active, not expired, issued in the issuer's present admission, the issuer neither suspended nor past its sunset,
    /// and steward or recognised. Never reverts. Reads at most 2 + 3 * `MAX_ISSUERS` words.
    function isValid(address holder, bytes32 typeId) external view returns (bool);

    /// @notice The same question about one issuer's credential.
    function isValidFrom(address issuer, address holder, bytes32 typeId) external view returns (bool);

    /// @notice What is recorded of one credential, whether or not it counts.
    /// @return until first second in which it counts no more
    /// @return state what became of it by someone's act
    /// @return version number of acts on it so far; an offer must name it
    function credentialOf(address issuer, address holder, bytes32 typeId)
        external
        view
        returns (uint64 until, CredentialState state, uint32 version);

    /// @notice Every issuer that ever issued this type to this holder, in order of first issue.
    function issuersOf(address holder, bytes32 typeId) external view returns (address[] memory);

    /// @notice Whether the address is an issuer now (also one that is leaving or suspended), and the hash given at its
    /// last admission.
    function issuerOf(address issuer) external view returns (bool admitted, bytes32 metadataHash);

    /// @notice When it stops or stopped being an issuer, and until when it is or was suspended; zeros if never.
    function issuerDates(address issuer) external view returns (uint64 sunsetAt, uint64 suspendedUntil);

    /// @notice Whether the address may add anything now: admitted, neither leaving nor suspended.
    function mayIssue(address issuer) external view returns (bool);

    /// @notice The steward and document of a type; zeros if nobody registered it.
    function typeOf(bytes32 typeId) external view returns (address steward, bytes32 documentHash);

    /// @notice Whether the steward of the type lets this issuer issue it. The steward itself is not listed.
    function isRecognised(bytes32 typeId, address issuer) external view returns (bool);

    /// @notice What an issuer signs to offer this credential in its present version.
    function offerDigest(address issuer, address holder, bytes32 typeId, uint64 until, uint64 deadline)
        external
        view
        returns (bytes32);

    /// @notice The longest that a credential may run from now: three years.
    function MAX_VALIDITY() external view returns (uint64);

    /// @notice How long the credentials of an issuer that leaves count: 30 days.
    function SUNSET() external view returns (uint64);

    /// @notice The longest suspension from now: 90 days.
    function MAX_SUSPENSION() external view returns (uint64);

    /// @notice How many issuers may ever issue one type to one holder: 8.
    function MAX_ISSUERS() external view returns (uint256);

    /// @notice How many holders a batch may name: 100, which fits a small block.
    function MAX_BATCH() external view returns (uint256);
}
