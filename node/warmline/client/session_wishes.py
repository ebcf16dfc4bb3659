"""What a person may want of a one-to-one session besides talking: to keep it for a day, to find the other side again, a
second peer, the evidence. See ``session``."""

from __future__ import annotations

import trio

from warmline.client.session_client import Client
from warmline.client.session_keep import Keep, Origin
from warmline.client.session_seeking import Asking, Contact, Persona
from warmline.client.vault import Vault
from warmline_protocol.session.pair import Pair


class Wishes(Asking):
    """The part of :class:`warmline.client.session.Session` that does these."""

    def __init__(self, client: Client, nursery: trio.Nursery) -> None:
        super().__init__(client, nursery)
        self._keep: Keep | None = None
        self._contact: Contact | None = None
        self._me: Persona | None = None

    @property
    def _origin(self) -> Origin | None:
        if self._contact is None or self._me is None or self._seeking is None:
            return None
        return Origin(self._contact, self._me, self._seeking.attempt)

    @property
    def _my_name(self) -> str:
        return "You" if self._me is None else self._me.name

    @property
    def kept_until_ms(self) -> int:
        """Until when (ms UTC) it can be gone on with after this process; 0 where it is not kept."""
        return 0 if self._keep is None else self._keep.until_ms

    async def keep(self, vault: Vault) -> None:
        """From now on it is kept there, for a day from its last word, until it ends."""
        if self._keep is None:
            keep = Keep(self.client, vault)

            def begin(machine: Pair, now: int) -> None:
                machine.journal = True
                self.transcript.all_changed()
                self._keep = keep

            await self._do(begin, asked=True)

    # -- what the two ask each other

    async def offer_thread(self) -> None:
        """Ask to be able to find each other again; after their offer it is a yes."""
        await self._do(lambda pair, now: pair.offer_thread(now), asked=True)

    async def answer_thread(self, yes: bool) -> None:
        """Answer their offer."""
        await self._do(lambda pair, now: pair.answer_thread(yes, now), asked=True)

    @property
    def thread(self) -> bytes:
        """The word by which the seeker comes back; empty until both agreed. Secret."""
        return b"" if self._machine is None else bytes(self._machine.thread)

    async def came_back(self, thread: bytes) -> None:
        """This conversation began with a Hello that showed this thread."""
        await self._do(lambda pair, now: pair.came_back(thread, now))

    async def ask_backup(self, words: str) -> None:
        """The supporter asks whether a second peer may join."""
        await self._do(lambda pair, now: pair.ask_backup(words, now), asked=True)

    async def answer_backup(self, yes: bool) -> None:
        """The seeker's answer."""
        await self._do(lambda pair, now: pair.answer_backup(yes, now), asked=True)

    async def invite(self, attempt: bytes, words: str = "", card: bytes = b"") -> None:
        """Ask the other side to knock at this side's door with ``attempt`` (``DoorKeeper.expect`` it first)."""
        await self._do(lambda pair, now: pair.invite(attempt, words, card, now), asked=True)

    @property
    def contact(self) -> Contact | None:
        """Where this conversation came in; None at the side whose door it was."""
        return self._contact

    @property
    def me(self) -> Persona | None:
        """Who this side is here, where it knocked."""
        return self._me
