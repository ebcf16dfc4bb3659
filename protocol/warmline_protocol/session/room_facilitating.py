"""What the host does for the peace of a room: who may speak, who facilitates too, a word in private, who never came.

Only the host's word counts. A co-facilitator asks by a whisper, and the host's client does it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from warmline_protocol import limits
from warmline_protocol.errors import RemoteError, UsageError
from warmline_protocol.session import events
from warmline_protocol.session.hello import Answer, Invited, seal_answer
from warmline_protocol.session.messages import Conduct, Whisper
from warmline_protocol.session.mls import Member
from warmline_protocol.session.room_changes import RoomChanges
from warmline_protocol.session.room_words import Consent, Plea, Replies, open_whisper

LISTS = ("voices", "muted", "helpers")
"""Lists of members in ``Conduct``."""


@dataclass(slots=True)
class Guest:
    """What the host keeps of a member besides its name: how to reach it when the log does not."""

    attempt: bytes
    reply_secret: bytes
    replies: tuple[bytes, ...]
    after: int = 0
    """The place in the log after which they read; 0 in every log that was opened later."""


class RoomFacilitating(RoomChanges):
    """The part of :class:`~.room_host.HostRoom` that is about manners."""

    def __init__(self, *arguments: Any, **more: Any) -> None:
        super().__init__(*arguments, **more)
        self._guests: dict[bytes, Guest] = {}
        self._asked: dict[bytes, bytes] = {}
        self._never_came: set[bytes] = set()
        self.manners.conduct = Conduct(mute_first=False, slow_ms=0)

    def remove(self, member: bytes, now_ms: int) -> None:
        """Take somebody out."""
        raise NotImplementedError

    def taken_back(self, attempt: bytes, now_ms: int) -> None:
        """Whoever was let in by this Hello said at the door that they left before they were in. Somebody who has said
        something in here takes leave in here, and nobody can do it for them."""
        self._waiting = [each for each in self._waiting if each.attempt != attempt]
        change = self._change or self._landed
        if change is not None and any(each.attempt == attempt for each in change.hellos):
            self._never_came.add(attempt)
        member = self._member_of_attempt(attempt)
        if member is not None and all(each.id != member for each in self._inboxes):
            self._has_gone(member)
            self._change_next(now_ms)

    def _has_gone(self, member: bytes) -> None:
        person = self.people.pop(member, None)
        if person is not None:
            self._emit(events.Left(member, person.name, "left"))
        self._leaving_members.append(member)

    def _member_of_attempt(self, attempt: bytes) -> bytes | None:
        return next((member for member, guest in self._guests.items() if guest.attempt == attempt), None)

    def _check_here(self, member: bytes, *, not_me: bool = False) -> None:
        if (not_me and member == self.me.id) or all(each.id != member for each in self._roster):
            raise UsageError("nobody of that id is here")

    def _helpers_here(self) -> bool:
        return any(member.id in self.manners.helpers for member in self._roster)

    def _tell_alone(self, member: bytes, answer: Answer) -> None:
        guest = self._guests[member]
        self._control(guest.replies, seal_answer(answer, guest.reply_secret, self.draw))

    # -- manners

    @property
    def _conduct(self) -> Conduct:
        assert self.manners.conduct is not None
        return self.manners.conduct

    def _say_conduct(self, now_ms: int, **changes: Any) -> None:
        conduct = self._conduct
        fields = {name: getattr(conduct, name) for name in ("mute_first", "slow_ms", *LISTS)} | changes
        new = Conduct(**fields)
        self._take_conduct(new)
        self._enqueue(new, now_ms, told=False)
        self._pump(now_ms)

    def mute(self, member: bytes, now_ms: int) -> None:
        """From here on what they say is not shown to anybody, and their client says so to them."""
        self._check_here(member, not_me=True)
        conduct = self._conduct
        voices = tuple(each for each in conduct.voices if each != member)
        self._say_conduct(now_ms, voices=voices, muted=_with(conduct.muted, member))

    def unmute(self, member: bytes, now_ms: int) -> None:
        """They may speak, for the first time or again."""
        self._check_here(member)
        conduct = self._conduct
        muted = tuple(each for each in conduct.muted if each != member)
        self._say_conduct(now_ms, voices=_with(conduct.voices, member), muted=muted)

    def mute_first(self, on: bool, now_ms: int) -> None:
        """Whether those who come in from now on listen until they are unmuted. Those who are in keep their voice."""
        conduct = self._conduct
        voices = [each.id for each in self._roster if self.manners.voice(each.id, self.host.id)]
        self._say_conduct(now_ms, mute_first=on, voices=tuple(voices) if on else conduct.voices)

    def slow(self, ms: int, now_ms: int) -> None:
        """So long between two texts of one member; 0 ends it."""
        if not 0 <= ms <= limits.SLOW_MODE_MAX_MS:
            raise UsageError("slow mode is from 0 to 3600 s")
        self._say_conduct(now_ms, slow_ms=ms)

    def co_facilitate(self, member: bytes, on: bool, now_ms: int) -> None:
        """Whether this member facilitates too: may have people muted, unmuted and removed."""
        self._check_here(member, not_me=True)
        conduct = self._conduct
        rest = tuple(each for each in conduct.helpers if each != member)
        self._say_conduct(now_ms, helpers=(*rest, member) if on else rest)

    # -- words with one member

    def invite(self, member: bytes, now_ms: int) -> bytes:
        """Ask somebody for a word in private: the attempt id with which they say Hello after a yes."""
        self._check_here(member, not_me=True)
        aside = self.draw(16)
        self._asked[aside] = member
        self._tell_alone(member, Invited(self._guests[member].attempt, aside))
        return aside

    def _take_whisper(self, sender: Member, whisper: Whisper, now_ms: int) -> None:
        guest = self._guests.get(sender.id)
        try:
            word = None if guest is None else open_whisper(whisper, guest.reply_secret)
        except RemoteError:
            word = None
        match word:
            case Replies(addresses=addresses) if guest is not None:
                self._readdress(guest.replies, addresses)
                guest.replies = addresses
            case Consent(aside=aside, yes=yes) if self._asked.get(aside) == sender.id:
                del self._asked[aside]
                self._emit(events.AsideAnswered(aside, sender.id, self.name_of(sender.id), yes))
            case Plea(verb=verb, member=member) if sender.id in self.manners.helpers:
                self._do_for(sender, verb, member, now_ms)
            case _:
                self.statistics.refused += 1

    def _do_for(self, sender: Member, verb: str, member: bytes, now_ms: int) -> None:
        target = self.name_of(member)
        if member == self.me.id or member in self.manners.helpers or all(each.id != member for each in self._roster):
            self.statistics.refused += 1
            return
        {"mute": self.mute, "unmute": self.unmute, "remove": self.remove}[verb](member, now_ms)
        self._emit(events.Facilitated(sender.id, self.name_of(sender.id), verb, target))


def _with(ids: tuple[bytes, ...], member: bytes) -> tuple[bytes, ...]:
    return ids if member in ids else (*ids, member)
