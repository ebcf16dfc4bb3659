"""The seam to the MLS engine (RFC 9420): what a session needs of it, and nothing of how it is made.

An engine is synchronous and CPU-bound; above ``protocol`` it runs through ``run_blocking``. It draws its own
randomness. It holds secrets, so it says how to save itself: ``snapshot`` after every call that changed state, before
anything it made leaves the machine, or a restart would use a ratchet generation twice.

Rules every engine keeps: suite 0x0001; credentials are random per session and name nobody; a commit is applied
where it is made, at once; a commit by anyone but the expected committer leaves the group as it was; the epoch before
can be opened until ``forget_previous``, older ones never.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from warmline_protocol.session.mlswire import Member

__all__ = ["Commit", "E2EEProvider", "Group", "Member", "Opened", "Roster"]

Roster = tuple[Member, ...]


@dataclass(frozen=True, slots=True)
class Commit:
    """A commit just made and applied: ``commit`` for the others, ``welcome`` for those it adds (b"" if none)."""

    commit: bytes
    welcome: bytes


@dataclass(frozen=True, slots=True)
class Opened:
    """An application message and which member signed it."""

    sender: Member
    data: bytes


class Group(Protocol):
    """One MLS group. Every failure that the other side can cause is a ``RemoteError``."""

    @property
    def group_id(self) -> bytes: ...

    @property
    def me(self) -> Member: ...

    def roster(self) -> Roster:
        """The members now, in leaf order."""
        ...

    def export(self, label: bytes, context: bytes, size: int) -> bytes:
        """The MLS exporter of the current epoch."""
        ...

    def seal(self, plaintext: bytes) -> bytes: ...

    def open(self, message: bytes) -> Opened:
        """An application message; commits and proposals are refused here."""
        ...

    def add(self, key_packages: Sequence[bytes]) -> Commit:
        """Each key package is checked (suite, one credential of 16 bytes, no member twice) before it is added."""
        ...

    def remove(self, members: Sequence[Member]) -> Commit: ...

    def refresh(self) -> Commit:
        """An empty commit: fresh keys for the committer."""
        ...

    def process(self, commit: bytes, committer: Member) -> Roster:
        """Apply a commit of ``committer``; the roster after it, empty when it removed this member."""
        ...

    def forget_previous(self) -> None:
        """Delete the keys of every epoch but the current one."""
        ...

    def snapshot(self) -> bytes:
        """Secret bytes from which :meth:`E2EEProvider.restore` makes this group again."""
        ...


class Candidate(Protocol):
    """One key package, and the private half that opens one Welcome. Lives in memory only."""

    @property
    def key_package(self) -> bytes: ...

    def join(self, welcome: bytes) -> Group:
        """The group that a Welcome for this key package describes."""
        ...


class E2EEProvider(Protocol):
    """Makes groups and candidates."""

    def create(self, group_id: bytes) -> Group:
        """A new group of one, under a fresh random credential."""
        ...

    def candidate(self) -> Candidate: ...

    def restore(self, snapshot: bytes) -> Group: ...
