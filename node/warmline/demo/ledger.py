"""What became of every message: read from what the senders' and the receivers' own programs printed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from warmline.demo.processes import Heard, Program

LEFT_HELD = "left held"
"""Still ``held`` when its sender left: the last word says by whom and until when, so it is explained too."""
FINAL = ("delivered", "expired", "refused", LEFT_HELD)


@dataclass(slots=True)
class Talk:
    """One conversation. ``since``: the line number of each program at which it began."""

    name: str
    programs: tuple[Program, ...]
    places: tuple[int, ...]
    """The conversation's number at each program's switchboard."""

    def lines(self, program: Program) -> Iterator[Heard]:
        place = self.places[self.programs.index(program)]
        for heard in program.heard:
            if heard.data.get("place") == place:
                yield heard


@dataclass(slots=True)
class Account:
    """The sums over one conversation. ``lost`` and ``twice`` must be empty."""

    sent: int = 0
    fates: Counter[str] = field(default_factory=Counter)
    lost: list[str] = field(default_factory=list)
    """Messages whose sender was never told the end, or was told of a delivery that nobody saw."""
    twice: list[str] = field(default_factory=list)

    @property
    def sound(self) -> bool:
        return not self.lost and not self.twice


def fates_of(talk: Talk, sender: Program) -> dict[str, str]:
    """The last state that the sender was told, by message id."""
    states: dict[str, str] = {}
    for heard in talk.lines(sender):
        if heard.data.get("event") == "message_state":
            kept = heard.data["state"] == "held" and heard.data.get("why")
            states[heard.data["id"]] = LEFT_HELD if kept else heard.data["state"]
    return states


def texts_sent(talk: Talk, sender: Program) -> dict[str, str]:
    """What was said, by message id."""
    return {h.data["id"]: h.data["text"] for h in talk.lines(sender) if h.data.get("event") == "sent"}


def texts_shown(talk: Talk, reader: Program) -> Counter[str]:
    """What was shown, and how often."""
    return Counter(h.data["text"] for h in talk.lines(reader) if h.data.get("event") == "text_received")


def settle(talks: Sequence[Talk]) -> Account:
    """Account for every message of these conversations."""
    account = Account()
    for talk in talks:
        shown = {reader.name: texts_shown(talk, reader) for reader in talk.programs}
        account.twice += [text for counts in shown.values() for text, times in counts.items() if times > 1]
        for sender in talk.programs:
            fates = fates_of(talk, sender)
            for message, text in texts_sent(talk, sender).items():
                fate = fates.get(message, "waiting")
                account.sent += 1
                account.fates[fate] += 1
                others = [shown[reader.name][text] for reader in talk.programs if reader is not sender]
                if fate not in FINAL or (fate == "delivered" and not any(others)):
                    account.lost.append(f"{talk.name}: {sender.name} said {text!r}, told {fate}")
    return account


def holders(talk: Talk, sender: Program) -> list[tuple[str, ...]]:
    """The nodes that held each of the sender's messages, as they were told."""
    lines = (heard.data for heard in talk.lines(sender) if heard.data.get("event") == "message_state")
    return [tuple(data["by"]) for data in lines if data["state"] == "held"]
