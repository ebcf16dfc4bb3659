// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

/// @title How reports are decided
/// @notice A report is filed as a salted hash that names nobody, by an advocate for someone without a wallet or by
/// anyone with a filing bond. A panellist who finds that it should be heard opens it; only then is the respondent
/// named. A panel drawn by lot from panellists party to neither side votes by commit and reveal; either side may have
/// a larger panel look once more. On chain are hashes, an enum and dates, never a text.
/// @dev Every state has an end, and anyone may say so with `close`. Silence of the panel is for the respondent;
/// silence of a second panel leaves the ruling of the first. Suspension acts at the first ruling and is lifted at once
/// if that falls; coin is taken only when nothing can change any more, so there is nothing to give back. Nobody earns
/// from a ruling: not who files, not who votes, not who was accused.
///
/// Nothing here can be paused. Governance accredits panellists and appoints advocates; it has no say in a report.
interface IReportPanel {
    /// @notice What a panel may find, from for to against the respondent.
    enum Ruling {
        None, // no panel has ruled
        BadFaith, // dismissed, and filed against better knowledge: the filing bond is lost
        Dismissed,
        Reproved, // upheld, without a suspension
        Suspended, // for 90 days, and a tenth of the stake
        Barred // for two years, and half of the stake
    }

    /// @notice Where a report stands.
    enum Phase {
        None,
        Filed, // a hash; `deadline` is the last moment to admit it
        Admitted, // the respondent is named and may answer until `deadline`; or, appealed, a panel is due
        Drawing, // the block that decides the lot is chosen
        Voting, // commit, then reveal until `deadline`
        Ruled, // may be appealed until `deadline`
        Closed
    }

    /// @notice Seconds of each step; never changes.
    struct Terms {
        uint40 admission; // from filing
        uint40 response; // from admission
        uint40 draw; // from the response or the appeal, until a panel must sit
        uint40 commit; // from the draw
        uint40 reveal; // from the end of commit
        uint40 appeal; // from the end of reveal
        uint40 execution; // from the last ruling, until a slash must be carried out
        uint96 filingBond; // native coin, or the token of the SupporterBond
    }

    /// @notice All that is kept of a report.
    struct Report {
        address filer; // an advocate, or who put down the filing bond
        uint40 deadline; // seconds; its meaning depends on the phase
        Phase phase;
        Ruling ruling; // of the last panel that ruled
        uint8 panel; // 0: the first, 1: the one of the appeal
        uint8 stakes; // filing bonds held; 0 for an advocate's report
        uint8 revealed; // votes of the sitting panel so far
        address respondent; // zero until admission
        uint40 ends; // seconds; from then on nothing can be taken for this report
        uint32 lockRound; // of the respondent's bond
        bool appealed;
        address admitter; // who may not sit on a panel
        uint48 drawBlock; // its hash decides the lot
        uint40 suspendedFrom; // seconds; when a suspension by this report began
    }

    /// @notice Zero is not a party, a period, or an amount here.
    error ZeroValue();

    /// @notice The bond names another panel, or pays out before a report can end (`longestPath`), or lets go of a lock
    /// before.
    error BondUnfit(address bond, uint64 longestPath);

    /// @notice This report was filed before.
    error AlreadyFiled(bytes32 reportId);

    /// @notice The report is in another phase, or the time of this step is over or not come.
    error NotNow(bytes32 reportId, Phase phase, uint64 deadline);

    /// @notice The caller is no advocate, or used up the quota of this period.
    error NoQuota(address caller);

    /// @notice The hash of what was shown is not the report.
    error NotWhatWasFiled(bytes32 reportId);

    /// @notice The caller is not an accredited panellist who is party to neither side.
    error NotNeutral(address caller);

    /// @notice Only the respondent (or, for an appeal, the filer) may do that.
    error NotParty(bytes32 reportId, address caller);

    /// @notice The hash of the block that decides is not known: too early, or 256 blocks too late.
    error LotNotKnown(uint256 drawBlock);

    /// @notice Fewer neutral panellists than seats.
    error TooFewPanellists(uint256 neutral, uint256 seats);

    /// @notice The caller has no seat in the sitting panel.
    error NotSeated(bytes32 reportId, address caller);

    /// @notice The vote was committed before, or was revealed, or this is not what was committed.
    error WrongVote(bytes32 reportId, address caller);

    /// @notice The panellist or advocate is what was asked for already.
    error Unchanged(address who);

    /// @notice At most `MAX_PANELLISTS`.
    error TooManyPanellists();

    /// @notice Nothing is owed to the caller, or there is nothing to sweep.
    error NothingOwed(address caller);

    /// @notice A panellist may be drawn from now on. `organisation` may be zero.
    event PanellistAccredited(address indexed panellist, address organisation);

    /// @notice A panellist is drawn no more; seats already drawn stay.
    event PanellistDischarged(address indexed panellist);

    /// @notice `quota` reports in each period may be filed without a bond; 0 ends it.
    event AdvocateSet(address indexed advocate, address organisation, uint16 quota);

    /// @notice Somebody is reported. Nobody is named.
    event ReportFiled(bytes32 indexed reportId, address indexed filer, bool bonded);

    /// @notice A panellist found that the report should be heard.
    event ReportAdmitted(
        bytes32 indexed reportId, address indexed respondent, address indexed admitter, bytes32 evidenceHash
    );

    /// @notice The respondent answered.
    event ResponseGiven(bytes32 indexed reportId, bytes32 responseHash);

    /// @notice The hash of this block will decide who sits.
    event LotSet(bytes32 indexed reportId, uint8 panel, uint256 drawBlock);

    /// @notice A panel sits: commit until `commitUntil`, reveal until `revealUntil`.
    event PanelDrawn(
        bytes32 indexed reportId, uint8 panel, address[] seats, uint64 commitUntil, uint64 revealUntil
    );

    /// @notice A panellist put down the hash of a vote.
    event VoteCommitted(bytes32 indexed reportId, uint8 panel, address indexed panellist);

    /// @notice A panellist showed the vote.
    event VoteRevealed(bytes32 indexed reportId, uint8 panel, address indexed panellist, Ruling ruling);

    /// @notice A panel ruled; the first one can be appealed until `appealUntil`.
    event PanelRuled(bytes32 indexed reportId, uint8 panel, Ruling ruling, uint64 appealUntil);

    /// @notice A larger panel is due.
    event Appealed(bytes32 indexed reportId, address indexed appellant);

    /// @notice What suspends a person changed: until `until`, by one report or several; a date that is over restores.
    event SuspensionChanged(address indexed respondent, uint64 until);

    /// @notice The report is over. `respondent` is zero if it was never admitted.
    event ReportClosed(
        bytes32 indexed reportId,
        address indexed respondent,
        Ruling ruling,
        uint64 suspendedUntil,
        uint256 slashed
    );

    /// @notice A filing bond was paid back.
    event Collected(address indexed filer, address receiver, uint256 amount);

    /// @notice Lost filing bonds went to the commons, or were burnt.
    event Swept(address indexed receiver, uint256 amount);

    /// @notice Accredits a panellist. Governance only.
    /// @param organisation that the panellist answers to, zero if none: its own reports and those of its advocates go
    /// to others, and so do those against whom it sponsors
    function accredit(address panellist, address organisation) external;

    /// @notice Ends an accreditation. Governance only. Seats that were drawn stay, so this bends no open report.
    function discharge(address panellist) external;

    /// @notice Lets an advocate file `quota` reports in each `QUOTA_PERIOD` without a bond; 0 ends it. Governance only.
    function setAdvocate(address advocate, address organisation, uint16 quota) external;

    /// @notice Files a report within the caller's quota as an advocate.
    /// @param reportId the hash of `reportIdOf`, with a salt of 32 random bytes
    function file(bytes32 reportId) external;

    /// @notice Files a report with `FILING_BOND`, which comes back unless the report is found to be in bad faith. In
    /// native coin it is sent along, a token is approved before.
    function fileWithBond(bytes32 reportId) external payable;

    /// @notice Opens a report: shows whom it is about, and holds the claims of their exits. Neutral panellists only, who
    /// got the rest from the filer, sealed. Who opens it does not judge it.
    /// @param evidenceHash salted hash of what the panel will read
    function admit(bytes32 reportId, address respondent, bytes32 evidenceHash, bytes32 salt) external;

    /// @notice Answers. Respondent only, once; the panel may be drawn then.
    /// @param responseHash salted hash of what the panel will read
    function respond(bytes32 reportId, bytes32 responseHash) external;

    /// @notice Chooses the block whose hash decides who sits: a few blocks ahead, so that nobody knows it. Anyone.
    /// @dev Again only when that hash can be known no more.
    function summon(bytes32 reportId) external;

    /// @notice Draws the panel: `SEATS`, or `APPEAL_SEATS` others for an appeal. Anyone.
    function seat(bytes32 reportId) external;

    /// @notice Puts down the hash of a vote. Seated panellists only, once.
    /// @param commitment the hash of `voteHash`, with a salt of 32 random bytes
    function commitVote(bytes32 reportId, bytes32 commitment) external;

    /// @notice Shows the vote.
    function revealVote(bytes32 reportId, Ruling ruling, bytes32 salt) external;

    /// @notice Counts, once all have revealed or the time is over. Anyone.
    /// @dev The ruling is the most severe one that a majority of all seats holds to be deserved at least; bad faith
    /// needs a majority for exactly that. Who is silent counts as none of it. A second panel that less than a majority
    /// took part in leaves the first ruling as it is.
    function tally(bytes32 reportId) external;

    /// @notice Asks for a larger panel, once. The respondent of a report that was upheld, without cost; the filer, for
    /// another filing bond or another piece of the advocate's quota.
    function appeal(bytes32 reportId) external payable;

    /// @notice Ends a report whose time is over in any state, with that state's default. Anyone.
    function close(bytes32 reportId) external;

    /// @notice Pays back the filing bonds that are due to the caller, to any receiver.
    function collect(address receiver) external;

    /// @notice Passes lost filing bonds on to the commons, or burns them. Anyone.
    function sweep() external;

    /// @notice What is kept of a report.
    function reportOf(bytes32 reportId) external view returns (Report memory);

    /// @notice Who sits on the first panel (0) or that of the appeal (1).
    function seatsOf(bytes32 reportId, uint8 panel) external view returns (address[] memory);

    /// @notice First second in which the person is suspended no more; 0 or a date that is over if they are not.
    function suspendedUntil(address person) external view returns (uint64);

    /// @notice Whether someone may be drawn, and for whom they work.
    function panellistOf(address panellist) external view returns (bool accredited, address organisation);

    /// @notice Quota of an advocate, and what is left of it now.
    function advocateOf(address advocate)
        external
        view
        returns (address organisation, uint16 quota, uint16 left);

    /// @notice How many panellists are accredited.
    function panellists() external view returns (uint256);

    /// @notice Filing bonds that someone can collect.
    function owedTo(address filer) external view returns (uint256);

    /// @notice Filing bonds that were lost and not passed on yet.
    function forfeited() external view returns (uint256);

    /// @notice The number of a report: the hash of everything that it hides until admission.
    function reportIdOf(address filer, address respondent, bytes32 evidenceHash, bytes32 salt)
        external
        view
        returns (bytes32);

    /// @notice What a panellist commits to.
    function voteHash(bytes32 reportId, uint8 panel, address panellist, Ruling ruling, bytes32 salt)
        external
        view
        returns (bytes32);

    /// @notice The SupporterBond that this panel rules over.
    function BOND() external view returns (address);

    /// @notice Filing bond, in the coin of `BOND`.
    function FILING_BOND() external view returns (uint96);

    /// @notice The periods, and the filing bond again.
    function terms() external view returns (Terms memory);

    /// @notice Seconds from filing to the last moment in which a ruling can take anything.
    function LONGEST_PATH() external view returns (uint64);

    /// @notice Seats of the first panel: 3.
    function SEATS() external view returns (uint256);

    /// @notice Seats of the panel of an appeal: 5.
    function APPEAL_SEATS() external view returns (uint256);

    /// @notice The most that can be accredited: 200, so that a draw fits a block.
    function MAX_PANELLISTS() external view returns (uint256);

    /// @notice Period of an advocate's quota: 30 days.
    function QUOTA_PERIOD() external view returns (uint64);
}
