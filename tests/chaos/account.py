"""The account: what every journal says became of every message, and what must not be.

Rules, for whoever reads the code to check us:

* every message that was sent has a last word: ``delivered``, ``expired``, ``refused``, or ``held`` with a why (left)
* nothing is shown twice to the same person, altered, to the wrong people, or that nobody said
* *delivered* means shown: to the other side of a pair, to the host of a room, to a member if the host said it
* one sender's messages are shown in their order; one that is not is marked ``late``
* a member of a room who was shown an earlier and a later message of somebody was shown those between that were
  delivered, or was told of a gap
* what supporters said is shown as signed
* a person whose program was killed is told again what it had not yet noted as told, and nothing else; what was being
  said at that moment was either taken, and then all of this holds, or it was not and may be shown once at most
* a person gives up a session only when told that the other side has no queue or the host is away, when nobody came, or
  when the other side of a pair had ended and no node took its goodbye
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from chaos import words
from chaos.journal import lines_of

Line = dict[str, Any]
HOSTS = ("supporter", "host")


@dataclass
class Message:
    """One message of one speaker."""

    key: str
    talk: str
    number: int
    who: str
    id: str = ""
    state: str = "waiting"
    why: str = ""
    last: bool = False

    @property
    def fate(self) -> str:
        if self.state == "held" and self.last:
            return "held on leaving"
        return self.state if self.last else f"open ({self.state})"


@dataclass
class Account:
    """Everything that was journalled, and what is wrong with it."""

    seed: int
    messages: dict[str, Message] = field(default_factory=dict)
    shown: dict[tuple[str, str], list[Line]] = field(default_factory=lambda: defaultdict(list))
    """(reader, key) to the lines that show it."""
    gaps: Counter[tuple[str, str, int]] = field(default_factory=Counter)
    """(talk, reader, session number) to how many messages were said to be missing."""
    closed: Counter[str] = field(default_factory=Counter)
    unsure: set[str] = field(default_factory=set)
    """What was being said when the program was killed, and was not taken as far as anybody knows."""
    gave_up: Counter[str] = field(default_factory=Counter)
    left_alone: list[tuple[str, int, str, float]] = field(default_factory=list)
    """(talk, session number, who, when): to whom nothing had happened for minutes."""
    inside: dict[tuple[str, int], set[str]] = field(default_factory=lambda: defaultdict(set))
    """(talk, session number) to everybody who was in it."""
    ended: dict[tuple[str, int, str], float] = field(default_factory=dict)
    """Who was told the end of which session, and when."""
    again: int = 0
    """Texts that were told again after a death."""
    nameless: int = 0
    violations: list[tuple[str, str]] = field(default_factory=list)
    """(what, key)."""
    _ids: dict[str, Message] = field(default_factory=dict)
    _early: dict[str, list[Line]] = field(default_factory=lambda: defaultdict(list))

    # -- reading

    def take(self, line: Line) -> None:
        what = line["what"]
        if what == "sent":
            self._sent(line)
        elif what == "state":
            message = self._ids.get(line["id"])
            if message is None:
                self._early[line["id"]].append(line)
            else:
                self._state(message, line)
        elif what == "shown":
            self._show(line)
        elif what == "in":
            self.inside[line["talk"], line["number"]].add(line["who"])
        elif what == "gap":
            self.gaps[line["talk"], line["who"], line["number"]] += line["count"]
        elif what == "unsure":
            self.unsure.add(line["key"])
        elif what == "gave up":
            self.gave_up[line["why"]] += 1
            if line["why"] == "nothing happens":
                self.left_alone.append((line["talk"], line["number"], line["who"], line["t"]))
        elif what == "event" and line["told"]["event"] == "closed":
            self.closed[line["told"]["why"]] += 1
            self.ended.setdefault((line["talk"], line["number"], line["who"]), line["t"])

    def _sent(self, line: Line) -> None:
        key = line["key"]
        if key in self.messages:
            self.wrong("taken twice from the person", key)
        message = Message(key, line["talk"], line["number"], line["who"], line["id"])
        self.messages[key] = self._ids[line["id"]] = message
        for early in self._early.pop(line["id"], ()):
            self._state(message, early)

    def _state(self, message: Message, line: Line) -> None:
        if message.last and line["state"] != message.state:
            self.wrong(f"told {line['state']} after its last word, {message.fate}", message.key)
        message.state, message.why, message.last = line["state"], line["why"], line["last"]

    def _show(self, line: Line) -> None:
        key, reader = line["key"], f"{line['talk']}/{line['who']}"
        if not key:
            self.wrong(f"shown to {reader}, said by nobody: {line}", key)
            return
        talk, author, _ = key.split("/")
        self.shown[reader, key].append(line)
        if line["hash"] != words.digest(words.text_of(self.seed, key)):
            self.wrong(f"altered when shown to {reader}", key)
        if talk != line["talk"] or author == line["who"]:
            self.wrong(f"shown to {reader}, who was not to read it", key)
        if author in HOSTS and not line["signed"]:
            self.wrong(f"shown to {reader} without the signature", key)
        if line["name"] == "somebody new":
            self.nameless += 1
        elif author not in (*HOSTS, "seeker") and line["name"] != author:
            self.wrong(f"shown to {reader} as said by {line['name']}", key)

    def wrong(self, what: str, key: str) -> None:
        self.violations.append((what, key))

    # -- judging

    def judge(self) -> None:
        for (reader, key), lines in self.shown.items():
            if len({line["life"] for line in lines}) < len(lines):
                self.wrong(f"shown {len(lines)} times to {reader}", key)
            self.again += len(lines) - 1
            if key not in self.messages and key not in self.unsure:
                self.wrong(f"shown to {reader}, and its sender never had it taken", key)
        present: dict[str, set[str]] = defaultdict(set)
        for reader, _ in self.shown:
            talk, who = reader.split("/")
            present[talk].add(who)
        for message in self.messages.values():
            self._judge_one(message, present[message.talk])
        self._judge_order()
        self._judge_left_alone()

    def _judge_left_alone(self) -> None:
        """Who waits for people to whom it is over does not hang: they may hear that first, when their clock jumps."""
        for talk, number, who, at in self.left_alone:
            others = self.inside[talk, number] - {who}
            if not all(self.ended.get((talk, number, other), at) < at for other in others):
                self.wrong(f"{talk} {number}: {who} gave up: nothing happens", "")

    def _judge_one(self, message: Message, present: set[str]) -> None:
        """``present``: everybody to whom anything of this conversation was shown."""
        if not message.last:
            self.wrong(f"without a last word: {message.state} {message.why}", message.key)
        if message.state == "delivered" and not any(
            (f"{message.talk}/{reader}", message.key) in self.shown for reader in _readers(message, present)
        ):
            self.wrong("delivered and not shown", message.key)

    def _judge_order(self) -> None:
        seen: dict[tuple[str, int, str], list[Line]] = defaultdict(list)
        for (reader, key), lines in self.shown.items():
            seen[reader, lines[0]["number"], key.split("/")[1]].append(lines[0])
        for (reader, number, author), lines in seen.items():
            lines.sort(key=lambda line: line["at"])
            highest = -1
            for line in lines:
                count = _count(line["key"])
                if count < highest and not line["late"]:
                    self.wrong(f"shown to {reader} after a later one, and not marked late", line["key"])
                highest = max(highest, count)
            if reader.startswith("r"):
                self._judge_gaps(reader, number, author, {_count(line["key"]) for line in lines})

    def _judge_gaps(self, reader: str, number: int, author: str, seen: set[int]) -> None:
        talk, who = reader.split("/")
        between = [f"{talk}/{author}/{count}" for count in range(min(seen), max(seen)) if count not in seen]
        missing = [
            key
            for key in between
            if key in self.messages and self.messages[key].number == number and self.messages[key].state == "delivered"
        ]
        if len(missing) > self.gaps[talk, who, number]:
            self.wrong(f"not shown to {reader}, who was told of no gap", missing[0])

    # -- telling

    def table(self) -> list[str]:
        fates: Counter[tuple[str, str]] = Counter()
        for message in self.messages.values():
            fates["rooms" if message.talk.startswith("r") else "pairs", message.fate] += 1
        names = sorted({fate for _, fate in fates})
        rows = [f"  {'':<18}{'pairs':>9}{'rooms':>9}{'all':>9}"]
        for name in names:
            pairs, rooms = fates["pairs", name], fates["rooms", name]
            rows.append(f"  {name:<18}{pairs:>9}{rooms:>9}{pairs + rooms:>9}")
        pairs = sum(not each.talk.startswith("r") for each in self.messages.values())
        rows.append(f"  {'sent':<18}{pairs:>9}{len(self.messages) - pairs:>9}{len(self.messages):>9}")
        late = sum(line["late"] for lines in self.shown.values() for line in lines)
        whys = Counter(each.why for each in self.messages.values() if each.state == "refused")
        rows += [
            f"  shown {sum(map(len, self.shown.values()))} times, {late} of them late; told of gaps: "
            f"{sum(self.gaps.values())} messages",
            f"  told again after a death: {self.again} texts; before the name was known: {self.nameless}; "
            f"given up: {_counted(self.gave_up)}",
            f"  refused because: {_counted(whys)}",
            f"  sessions ended because: {_counted(self.closed)}",
        ]
        return rows

    def history(self, key: str, folder: Path) -> list[str]:
        """Every journal line about a message."""
        message = self.messages.get(key)
        ids = {message.id} if message is not None else set()
        return [
            f"{path.parent.name}: {line}"
            for path in sorted(folder.glob("*/journal.jsonl"))
            for line in lines_of(path)
            if line.get("key") == key or line.get("id") in ids
        ]


def account_of(folder: Path, seed: int) -> Account:
    """Read all journals under ``folder`` and judge."""
    account = Account(seed)
    for path in sorted(folder.glob("*/journal.jsonl")):
        life = 0
        for at, line in enumerate(lines_of(path)):
            life += line["what"] == "began"
            account.take(line | {"at": at, "life": life})
    account.judge()
    return account


def _readers(message: Message, present: set[str]) -> Iterable[str]:
    if not message.talk.startswith("r"):
        return ("supporter",) if message.who == "seeker" else ("seeker",)
    return sorted(present) if message.who == "host" else ("host",)


def _count(key: str) -> int:
    return int(key.rsplit("/", 1)[1])


def _counted(counts: Counter[str]) -> str:
    return ", ".join(f"{why or 'no reason'} {count}" for why, count in counts.most_common()) or "none"
