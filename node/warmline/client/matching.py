"""What a person looks for, matched on their own device against everything that several nodes hold.

Holders may lie by leaving out, by serving old copies, or by vouching. So records are united over all of them and the
newest wins, and *verified* is counted over nodes of different operators whose signed standing is at most an hour old.
One liar can neither hide a group nor make one verified.

Newest wins only among records that may speak for their owner at all. A key that the wallet revoked, or that names
somebody's wallet in a delegation which nobody signed, would otherwise hide the owner's own record by a later date.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

from warmline_protocol import limits
from warmline_protocol.errors import LocalError, RemoteError, UsageError
from warmline_protocol.feedback.epochs import Epochs
from warmline_protocol.feedback.sheets import check_sheet
from warmline_protocol.records.admission import AdmissionLimits, admit
from warmline_protocol.records.card import Card
from warmline_protocol.records.collector import CollectorRecord
from warmline_protocol.records.conduct import Conduct, KeyRoot
from warmline_protocol.records.desk import Desk
from warmline_protocol.records.envelope import OpenedRecord
from warmline_protocol.records.listing import Listing
from warmline_protocol.records.merge import living
from warmline_protocol.records.schedule import Meeting, Window, meetings, next_meeting
from warmline_protocol.records.standing_sheet import StandingSheet
from warmline_protocol.verdict import Verdict

ADVOCATE_TYPE: Final = b"report-advocate".ljust(32, b"\0")
"""The credential type that makes a card an advocate's: it is there to take reports, and not to talk."""
AGREEING: Final = 3
"""Nodes of different operators that must vouch before the word *verified* stands alone."""
_OPEN: Final = AdmissionLimits()


@dataclass(frozen=True, slots=True)
class Wanted:
    """A search; empty means anything. ``age`` is the person's own."""

    topics: tuple[str, ...] = ()
    languages: tuple[str, ...] = ()
    when: Window | None = None
    kind: str | None = None
    age: int | None = None


@dataclass(frozen=True, slots=True)
class Holding:
    """What one holder said. ``operator`` names who runs it, as far as that can be known."""

    peer_id: str
    operator: str
    records: tuple[OpenedRecord, ...]
    sheet: StandingSheet | None


@dataclass(frozen=True, slots=True)
class Vouching:
    """How many operators vouch for a record, and how many could have."""

    agree: int = 0
    asked: int = 0

    @property
    def verified(self) -> bool:
        """Three agree; or, where fewer than three can be asked, all of them do (and the words say how many)."""
        return self.agree >= AGREEING or (0 < self.agree == self.asked)

    @property
    def words(self) -> str:
        if not self.verified:
            return "unverified" if not self.agree else f"unverified ({self.agree} of {self.asked} vouch)"
        return "verified" if self.agree >= AGREEING else f"verified by {self.agree} of {self.asked}"


@dataclass(frozen=True, slots=True)
class Match:
    """A listing that fits; ``card`` is its host's where one was found, ``meeting`` the next in what was asked for."""

    record: OpenedRecord
    listing: Listing
    card: Card | None
    vouching: Vouching
    meeting: Meeting | None


@dataclass(frozen=True, slots=True)
class Supporter:
    """Somebody to talk to one to one; ``record`` carries the key that proves them, ``conduct`` what was agreed on
    feedback when they were found, ``collectors`` those who take answers."""

    record: OpenedRecord
    card: Card
    vouching: Vouching
    conduct: Conduct | None = None
    collectors: tuple[CollectorRecord, ...] = ()


@dataclass(frozen=True, slots=True)
class FoundDesk:
    """A community's rota."""

    record: OpenedRecord
    desk: Desk
    vouching: Vouching


@dataclass(slots=True)
class Collection:
    """Everything that was heard so far, by operator and united."""

    chain_id: int | None = None
    """The chain whose standing counts; None: the one that most operators follow."""
    holdings: list[Holding] = field(default_factory=list)
    kept: tuple[OpenedRecord, ...] = ()
    """What this device knew before: signed like the rest, so that no holder can take it back by leaving it out."""

    def add(self, holding: Holding) -> None:
        self.holdings.append(holding)

    def records(self, now_ms: int) -> list[OpenedRecord]:
        """The newest of everything that lives, by id. What is signed in the future is not believed yet."""
        sheets = self._sheets(now_ms)
        return living((each for each in self.everything(now_ms) if _may_speak(each, sheets, now_ms)), now_ms)

    def everything(self, now_ms: int) -> list[OpenedRecord]:
        """Every record that anybody holds and that is not over, older ones under the same id too."""
        latest = now_ms + limits.CLOCK_SKEW_MS
        held = (record for records in (self.kept, *(h.records for h in self.holdings)) for record in records)
        found = {each.digest: each for each in held if each.seq <= latest and each.body.not_after > now_ms}
        return list(found.values())

    def operators(self) -> int:
        return len({holding.operator for holding in self.holdings})

    def matches(self, wanted: Wanted, now_ms: int) -> list[Match]:
        """What fits, soonest meeting first."""
        records = self.records(now_ms)
        cards = {record.id: record.body for record in records if isinstance(record.body, Card)}
        found = []
        for record in records:
            if isinstance(record.body, Listing) and fits(record.body, wanted):
                meeting = meeting_of(record.body, wanted.when, now_ms)
                vouching, refused = self._vouching(record, now_ms)
                if not refused and (meeting is not None or wanted.when is None):
                    card = cards.get(record.body.host)
                    found.append(Match(record, record.body, card, vouching, meeting))
        return sorted(found, key=lambda match: (match.meeting or Meeting(2**62, 2**62), match.record.id))

    def supporters(
        self, wanted: Wanted, now_ms: int, *, closed: bool = False, advocates: bool = False
    ) -> list[Supporter]:
        """Cards with an open door that fit, in the order of their record ids: nobody is ranked. With ``closed`` those
        too that let only people in who were given a word; ``advocates``, who take reports, instead of who listens."""
        found, conduct = [], self.conduct(now_ms)
        collectors = () if conduct is None else self.collectors(conduct, now_ms)
        for record in self.records(now_ms):
            if not isinstance(record.body, Card) or (ADVOCATE_TYPE in record.body.credentials) != advocates:
                continue
            if suits(record.body, wanted, closed=closed):
                vouching, refused = self._vouching(record, now_ms)
                if not refused:
                    found.append(Supporter(record, record.body, vouching, conduct, collectors))
        return sorted(found, key=lambda supporter: supporter.record.id)

    def desks(self, now_ms: int) -> list[FoundDesk]:
        """Every rota that may be shown, in the order of their record ids."""
        found = []
        for record in self.records(now_ms):
            if isinstance(record.body, Desk):
                vouching, refused = self._vouching(record, now_ms)
                if not refused:
                    found.append(FoundDesk(record, record.body, vouching))
        return found

    def conduct(self, now_ms: int) -> Conduct | None:
        """Feedback as three operators agree on it; in a smaller network all who can be asked.

        Every key root is agreed on by itself: a node that is a block behind lacks the newest, and one that lies can
        add none and take none away.
        """
        told = {operator: sheet.conduct for operator, sheet in self._sheets(now_ms) if sheet.conduct is not None}
        needed = min(AGREEING, len({operator for operator, _ in self._sheets(now_ms)}))
        terms = _agreed((replace(each, roots=()) for each in told.values()), needed)
        if terms is None:
            return None
        roots = Counter(root for each in told.values() if replace(each, roots=()) == terms for root in set(each.roots))
        return replace(terms, roots=tuple(sorted((r for r, n in roots.items() if n >= needed), key=_by_issuer)))

    def collectors(self, conduct: Conduct, now_ms: int) -> tuple[CollectorRecord, ...]:
        """Those on the contract's list whose record holds, in the order of their wallets. Who else publishes such a
        record is nobody's collector."""
        bodies = [each.body for each in self.records(now_ms) if isinstance(each.body, CollectorRecord)]
        found = [body for body in bodies if _collects(body, conduct, now_ms // 1000)]
        return tuple(sorted(found, key=lambda body: body.owner))

    def _vouching(self, record: OpenedRecord, now_ms: int) -> tuple[Vouching, bool]:
        """Who vouches, and whether more operators say that the listing must not travel than that it may."""
        agree, asked, against = set(), set(), set()
        for operator, sheet in self._sheets(now_ms):
            asked.add(operator)
            standing = sheet.of(record.wallet) if record.wallet else None
            answer = admit(record, standing=standing, head=sheet.chain, limits=_OPEN, now_ms=now_ms)
            if answer.verified:
                agree.add(operator)
            elif answer.verdict is Verdict.IGNORE:
                against.add(operator)
        agree -= against
        # Whoever follows another chain cannot vouch, but its silence must not make the others unanimous.
        strangers = {operator for operator, _ in self._fresh(now_ms)} - asked
        return Vouching(len(agree), len(asked | strangers)), len(against) > len(agree)

    def _fresh(self, now_ms: int) -> list[tuple[str, StandingSheet]]:
        oldest = now_ms // 1000 - limits.STANDING_AGE_MAX_S
        return [
            (holding.operator, holding.sheet)
            for holding in self.holdings
            if holding.sheet is not None and holding.sheet.chain.time_s >= oldest
        ]

    def _sheets(self, now_ms: int) -> list[tuple[str, StandingSheet]]:
        fresh = self._fresh(now_ms)
        chain = self.chain_id if self.chain_id is not None else _most_followed(fresh)
        return [(operator, sheet) for operator, sheet in fresh if sheet.chain.chain_id == chain]


def _agreed(said: Iterable[Conduct], needed: int) -> Conduct | None:
    """What enough say the same."""
    counted = Counter(said).most_common(1)
    return counted[0][0] if counted and counted[0][1] >= max(needed, 1) else None


def _collects(body: CollectorRecord, conduct: Conduct, now_s: int) -> bool:
    if body.sheet.contract != conduct.contract:
        return False
    try:
        epoch = Epochs(conduct.genesis_s, conduct.length_s).at(now_s)
        check_sheet(body.sheet, conduct.collectors, epoch)
    except (RemoteError, UsageError):
        return False
    return True


def _by_issuer(root: KeyRoot) -> tuple[bytes, int, bytes]:
    return root.issuer, root.epoch, root.root


def _may_speak(record: OpenedRecord, sheets: list[tuple[str, StandingSheet]], now_ms: int) -> bool:
    """Whether a record's key may speak for its wallet, as far as the operators who follow the chain can tell.

    A delegation that the wallet signed stands until more operators say that it was revoked than that it was not. One
    that only the chain proves stands when more say that it is there than that it is not.
    """
    given = record.delegation
    if given is None:
        return True
    yes: set[str] = set()
    no: set[str] = set()
    for operator, sheet in sheets:
        standing = sheet.of(given.wallet)
        if given.chain_id != sheet.chain.chain_id:
            continue
        if given.signature is None:
            good = standing is not None and standing.delegate_until(given.key) * 1000 > now_ms
        else:
            good = standing is None or given.not_before_s >= standing.revoked_before_s
        (yes if good else no).add(operator)
    yes -= no
    return len(yes) > len(no) if given.signature is None else len(no) <= len(yes)


def fits(listing: Listing, wanted: Wanted) -> bool:
    """Whether topics, languages, kind and age fit; one common topic and one common language are enough."""
    if wanted.kind and listing.kind != wanted.kind:
        return False
    if wanted.age is not None and not listing.age.low <= wanted.age <= listing.age.high:
        return False
    topics = {word.casefold() for word in wanted.topics}
    if topics and not any(topic in topics for topic in listing.topics):
        return False
    return not wanted.languages or any(
        speaks(offered, asked) for offered in listing.languages for asked in wanted.languages
    )


def suits(card: Card, wanted: Wanted, *, closed: bool = False) -> bool:
    """Whether a supporter lets strangers knock and fits by language, topic and age; ``closed`` asks for the latter."""
    if not closed and not any(door.open for door in card.doors):
        return False
    if wanted.age is not None and not card.age.low <= wanted.age <= card.age.high:
        return False
    topics = {word.casefold() for word in wanted.topics}
    if topics and not any(topic in topics for topic in card.topics):
        return False
    return not wanted.languages or any(speaks(mine, asked) for mine in card.languages for asked in wanted.languages)


def speaks(offered: str, asked: str) -> bool:
    """Whether a language tag serves a person who asked for another: ``pt`` and ``pt-BR`` serve each other."""
    offered, asked = offered.casefold(), asked.casefold()
    return offered == asked or offered.startswith(asked + "-") or asked.startswith(offered + "-")


def meeting_of(listing: Listing, when: Window | None, now_ms: int) -> Meeting | None:
    """The first meeting in the window (without one: the next), within the programme's dates; None if there is none.

    A zone that this machine does not know gives None: the group is then shown without a time.
    """
    try:
        if when is None:
            upcoming = next_meeting(listing.slots, listing.zone, max(now_ms, listing.opens or 0))
            found: Sequence[Meeting] = (upcoming,) if upcoming else ()
        else:
            found = meetings(listing.slots, listing.zone, when)
    except LocalError:
        return None
    return next((m for m in found if _within(m, listing) and m.end > now_ms), None)


def _within(meeting: Meeting, listing: Listing) -> bool:
    return (listing.opens or 0) <= meeting.start and (listing.closes is None or meeting.end <= listing.closes)


def _most_followed(sheets: Iterable[tuple[str, StandingSheet]]) -> int | None:
    by_chain = Counter(chain for chain, _ in {(sheet.chain.chain_id, operator) for operator, sheet in sheets})
    return min(by_chain, key=lambda chain: (-by_chain[chain], chain)) if by_chain else None
