"""What the two of a one-to-one session ask each other besides talking: to find each other again, and whether a second
peer may join.

A *thread* needs both: each side gives half of a secret, inside the encryption, so neither can choose it alone and
neither can begin one for both. What comes of it is a word of ``known``: it marks the Hello by which the seeker comes
back for this supporter, and nobody else. *Backup* needs the seeker's yes before anybody is invited.
"""

from __future__ import annotations

import hmac
from typing import Any

from warmline_protocol.errors import UsageError
from warmline_protocol.session import events
from warmline_protocol.session.keyschedule import derive
from warmline_protocol.session.known import WORD_SIZE
from warmline_protocol.session.messages import (
    BackupAnswer,
    BackupAsk,
    Body,
    Invite,
    ThreadAnswer,
    ThreadHere,
    ThreadOffer,
    clean,
)
from warmline_protocol.session.pair_hearing import PairHearing

_PROOF = b"warmline/1/thread here\0"


class PairAsks(PairHearing):
    """Adds questions and answers to :class:`~.pair_hearing.PairHearing`."""

    def __init__(self, *args: Any, **rest: Any) -> None:
        super().__init__(*args, **rest)
        self.thread = b""
        """The word of the thread, once both have agreed or where this side came back by one."""
        self._mine = b""
        self._theirs = b""
        self.backup = ""
        """Where the question of a second peer stands: asked, yes, no, or nothing yet."""

    # -- threads

    def offer_thread(self, now_ms: int) -> None:
        """Ask to be able to find each other again; after their offer it is a yes."""
        self._check_open()
        if self._theirs and not self._mine:
            self.answer_thread(True, now_ms)
            return
        if self._mine:
            raise UsageError("this was asked already", hint="They answer when they want to, or not.")
        self._mine = self.draw(32)
        self._enqueue(ThreadOffer(self._mine), now_ms, told=False)
        self._pump(now_ms)

    def answer_thread(self, yes: bool, now_ms: int) -> None:
        """Answer their offer."""
        self._check_open()
        if not self._theirs or self._mine:
            raise UsageError("nobody asks that now")
        if yes:
            self._mine = self.draw(32)
        self._enqueue(ThreadAnswer(self._mine or None), now_ms, told=False)
        if yes:
            self._agree()
        else:
            self._theirs = b""
        self._pump(now_ms)

    def _agree(self) -> None:
        host, guest = (self._mine, self._theirs) if self.is_host else (self._theirs, self._mine)
        self.thread = derive(host + guest, "thread", size=WORD_SIZE)
        self._emit(events.ThreadAgreed())

    def came_back(self, thread: bytes, now_ms: int) -> None:
        """This session began with a Hello that showed the thread. The supporter proves that it has it still."""
        self.thread = thread
        if self.is_host and not self.closed:
            self._enqueue(ThreadHere(self._thread_proof()), now_ms, told=False)
            self._pump(now_ms)

    def _thread_proof(self) -> bytes:
        evidence = self.signer or self.verifier
        nonce = b"" if evidence is None else evidence.nonce
        return hmac.digest(self.thread, _PROOF + nonce, "sha256")[:16]

    # -- a second peer

    def ask_backup(self, words: str, now_ms: int) -> None:
        """The supporter asks the seeker."""
        self._check_open()
        if not self.is_host:
            raise UsageError("only the supporter asks for backup", hint="Say so to them: they can.")
        self._enqueue(BackupAsk(words), now_ms, told=False)
        self.backup = "asked"
        self._pump(now_ms)

    def answer_backup(self, yes: bool, now_ms: int) -> None:
        """The seeker's yes or no. A yes may be taken back by a no until somebody was invited."""
        self._check_open()
        if self.is_host or not self.backup:
            raise UsageError("nobody asks that now")
        self._enqueue(BackupAnswer(yes), now_ms, told=False)
        self.backup = "yes" if yes else "no"
        self._pump(now_ms)

    def invite(self, attempt: bytes, words: str, card: bytes, now_ms: int) -> None:
        """Ask the other side into a room: a seeker only after its yes."""
        self._check_open()
        if self.is_host and self.backup != "yes":
            raise UsageError("they have not said yes to that", hint="Ask them first: /backup.")
        self._enqueue(Invite(attempt, words, card), now_ms, told=False)
        self._pump(now_ms)

    # -- hearing

    def _hear_ask(self, body: Body) -> bool:
        match body:
            case ThreadOffer(share=share):
                self._hear_offer(share)
            case ThreadAnswer(share=share) if self._mine and not self._theirs:
                self._hear_answer(share)
            case ThreadHere(proof=proof) if not self.is_host and self.thread:
                if hmac.compare_digest(proof, self._thread_proof()):
                    self._emit(events.ThreadKnown())
            case BackupAsk(words=words) if not self.is_host:
                self.backup = "asked"
                self._emit(events.BackupAsked(clean(words) if words else ""))
            case BackupAnswer(yes=yes) if self.is_host and self.backup:
                self.backup = "yes" if yes else "no"
                self._emit(events.BackupAnswered(yes))
            case Invite(attempt=attempt, words=words, card=card) if self.is_host or self.backup == "yes":
                self._emit(events.Invited(attempt, clean(words) if words else "", card))
            case _:
                return False
        return True

    def _hear_offer(self, share: bytes) -> None:
        if self._theirs:
            return  # theirs once: a second share would let them choose the secret
        self._theirs = share
        if self._mine:
            self._agree()  # both asked before either heard
        else:
            self._emit(events.ThreadOffered())

    def _hear_answer(self, share: bytes | None) -> None:
        if share is None:
            self._mine = b""
            self._emit(events.ThreadDeclined())
            return
        self._theirs = share
        self._agree()

    # -- keeping

    def _asks_fields(self) -> dict[str, Any]:
        return {"thread": self.thread, "mine": self._mine, "theirs": self._theirs, "backup": self.backup}

    def _restore_asks(self, fields: dict[str, Any]) -> None:
        self.thread, self._mine, self._theirs = fields["thread"], fields["mine"], fields["theirs"]
        self.backup = fields["backup"]

    def _asks_from(self, old: PairAsks) -> None:
        self._restore_asks(old._asks_fields())
