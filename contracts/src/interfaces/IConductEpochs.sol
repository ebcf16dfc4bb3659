// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

/// @title What the collectors say of an epoch's feedback, and nothing of a person
/// @notice Collectors gather one-bit answers, publish sums, and post one Merkle root for each epoch. What this contract
/// verifies is written down exactly, because a root that a quorum signed proves nothing by itself:
///
/// 1. at least `threshold` of the collectors signed (chain, this contract, epoch, previous root, root, data hash, token
///    count), by key or by ERC-1271;
/// 2. the token count is at most the vouchers that issuers granted for that epoch;
/// 3. the epoch is over and comes after the one that stands, and the previous post is settled;
/// 4. nobody entitled vetoed it before its window was over. Until then, and after a veto, the previous root stands.
///
/// It does **not** verify tokens, sums or omissions. Anyone recomputes those from the batch with hash `dataHash`, which
/// the collectors serve for 90 days; they publish the hashes of their sets at cut-off and take the union, so that one
/// honest collector is enough against omission, and its veto against a false sum.
/// @dev A post settles by the clock: no second transaction is needed. Vouchers are granted per issuer, as a number and
/// a root over (supporter, count, blind-signature key), before the epoch ends and once: a key root that can change can
/// tag people. Per-supporter numbers stay off the chain, where they would say how busy each person is.
///
/// All times are seconds since 1970 UTC. Epochs count from 1; epoch e is over at `GENESIS + e * EPOCH`.
interface IConductEpochs {
    /// @notice The window must last and not be longer than the epoch, and the epoch no longer than a year.
    error TimesOutOfRange(uint64 epoch, uint64 window);

    /// @notice There is no registry at zero.
    error ZeroAddress();

    /// @notice Collectors come in ascending order, each once, 1 to `MAX_COLLECTORS`, none zero.
    error BadCollectors();

    /// @notice More than half must sign, and no more than there are: else two halves could post two roots.
    error ThresholdOutOfRange(uint8 threshold, uint256 collectors);

    /// @notice The caller may add nothing as an issuer now.
    error NotIssuer(address caller);

    /// @notice This epoch is over, or further ahead than `MAX_AHEAD`.
    error EpochOutOfRange(uint64 epoch, uint64 current);

    /// @notice A grant is 1 to `MAX_VOUCHERS`.
    error VouchersOutOfRange(uint32 count);

    /// @notice This issuer granted for this epoch before.
    error AlreadyGranted(address issuer, uint64 epoch);

    /// @notice A root is not zero.
    error ZeroRoot();

    /// @notice The last post is open to veto until `standsAt`.
    error WindowOpen(uint64 standsAt);

    /// @notice The epoch must come after the one that stands.
    error NotInOrder(uint64 epoch, uint64 standing);

    /// @notice The epoch is not over before `end`.
    error EpochNotOver(uint64 epoch, uint256 end);

    /// @notice More tokens than vouchers were granted.
    error TooManyTokens(uint64 tokenCount, uint256 vouchers);

    /// @notice This root was vetoed for this epoch, and its signatures are void.
    error Vetoed(uint64 epoch, bytes32 root);

    /// @notice Fewer signers than the threshold, or not one signature for each.
    error TooFewSignatures(uint256 signers, uint256 signatures, uint8 threshold);

    /// @notice Signers come in ascending order, each once.
    error NotAscending(address signer);

    /// @notice The signer is not a collector.
    error NotCollector(address signer);

    /// @notice The signature is not this collector's, or is over something else.
    error BadSignature(address signer);

    /// @notice This root does not wait for this epoch: it was never posted, was vetoed, or stands already.
    error NothingPending(uint64 epoch, bytes32 root);

    /// @notice Governance named the collectors anew.
    event CollectorsSet(address[] collectors, uint8 threshold);

    /// @notice An issuer granted vouchers for an epoch.
    /// @param keyRoot Merkle root over (supporter, count, key of the blind signature), held against what clients see
    event VouchersGranted(address indexed issuer, uint64 indexed epoch, uint32 count, bytes32 keyRoot);

    /// @notice A root was posted. It stands from `standsAt` on, unless it is vetoed before.
    event EpochPosted(
        uint64 indexed epoch,
        bytes32 previousRoot,
        bytes32 root,
        bytes32 dataHash,
        uint64 tokenCount,
        uint64 standsAt
    );

    /// @notice A posted root was vetoed: the previous one stands, and the epoch may be posted again with another root.
    event EpochVetoed(uint64 indexed epoch, bytes32 root, address indexed by);

    /// @notice Names the collectors, all of them anew. Governance only.
    /// @param named ascending; keys or contract wallets
    /// @param threshold how many of them must sign
    function setCollectors(address[] calldata named, uint8 threshold) external;

    /// @notice Grants the vouchers of the caller, an issuer in good standing, for an epoch that is not over. Once.
    function grantVouchers(uint64 epoch, uint32 count, bytes32 keyRoot) external;

    /// @notice Posts an epoch. Anyone may bring it: the signatures speak.
    /// @dev EIP-712 struct `Epoch(uint64 epoch,bytes32 previousRoot,bytes32 root,bytes32 dataHash,uint64 tokenCount)`.
    /// Epochs may be left out, and a vetoed one may be posted again with another root: neither one lost batch nor one
    /// mistake stops the rest.
    /// @param dataHash hash of the batch that anyone recomputes from
    /// @param signers collectors, ascending
    /// @param signatures one for each signer
    function post(
        uint64 epoch,
        bytes32 root,
        bytes32 dataHash,
        uint64 tokenCount,
        address[] calldata signers,
        bytes[] calldata signatures
    ) external;

    /// @notice Vetoes what was posted, while its window is open. One collector alone, or the panel's role.
    /// @dev A collector that vetoes all for no reason can hold the root where it is, and nothing worse, until
    /// governance names the collectors anew.
    function veto(uint64 epoch, bytes32 root) external;

    /// @notice The epoch and root that stand now; zeros before the first.
    function standing() external view returns (uint64 epoch, bytes32 root);

    /// @notice What waits for its window to pass; zeros if nothing does.
    function pending() external view returns (uint64 epoch, bytes32 root, uint64 standsAt);

    /// @notice Whether this root was vetoed for this epoch.
    function isVetoed(uint64 epoch, bytes32 root) external view returns (bool);

    /// @notice Vouchers of all issuers for an epoch.
    function vouchersOf(uint64 epoch) external view returns (uint256);

    /// @notice The key root that an issuer published with its grant for an epoch; zero if it granted none.
    function keyRootOf(address issuer, uint64 epoch) external view returns (bytes32);

    /// @notice All collectors, ascending, and how many of them must sign.
    function collectors() external view returns (address[] memory all, uint8 threshold);

    /// @notice The epoch that runs now.
    function currentEpoch() external view returns (uint64);

    /// @notice What collectors sign to follow the root that stands when it is posted.
    function epochDigest(
        uint64 epoch,
        bytes32 previousRoot,
        bytes32 root,
        bytes32 dataHash,
        uint64 tokenCount
    ) external view returns (bytes32);

    /// @notice The registry that says who is an issuer.
    function REGISTRY() external view returns (address);

    /// @notice Start of epoch 1: the time of deployment.
    function GENESIS() external view returns (uint64);

    /// @notice Seconds in an epoch.
    function EPOCH() external view returns (uint64);

    /// @notice Seconds in which a post can be vetoed.
    function WINDOW() external view returns (uint64);

    /// @notice How many collectors there may be: 16.
    function MAX_COLLECTORS() external view returns (uint256);

    /// @notice How many vouchers one issuer may grant for one epoch: 100,000.
    function MAX_VOUCHERS() external view returns (uint32);

    /// @notice How many epochs ahead vouchers may be granted: 13.
    function MAX_AHEAD() external view returns (uint64);
}
