"""From a search to a conversation: a yes counts when the Welcome is there, and a search goes on until one is.

Told as events, so that a terminal, a program and a page say the same things.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Final

import trio

from warmline.client.awake import Awake
from warmline.client.feedback import seeker_side
from warmline.client.matching import Supporter
from warmline.client.now import Asking, NowSettings, Search, Yes
from warmline.client.ringing import Asked, DoorRinger, DoorRinging
from warmline.client.session import Contact, Persona, Session, open_session
from warmline.client.session_client import Client
from warmline.client.vault import Vault
from warmline_protocol import limits
from warmline_protocol.errors import RefusedError

WELCOME_WITHIN: Final = limits.OFFER_CLAIM_MS / 1000
"""Seconds from a yes to the Welcome; whoever takes longer has vanished."""


@dataclass(frozen=True, slots=True)
class SaidYes:
    """Somebody is there, and is being said Hello to."""

    who: Supporter


@dataclass(frozen=True, slots=True)
class Vanished:
    """They said yes and did not come; others are asked again."""


Progress = Asking | SaidYes | Vanished


class Reaching:
    """One person's way to somebody. Obtained from :func:`reaching`."""

    def __init__(
        self, client: Client, awake: Awake, ringer: DoorRinger, tell: Callable[[Progress], None], settings: NowSettings
    ) -> None:
        self._client = client
        self._ringer = ringer
        self._tell = tell
        self.search: Search[Supporter] = Search(
            awake.tiers, self._ring, rng=client.rng, settings=settings, tell=tell, key=lambda who: who.record.id
        )

    def _ring(self, who: Supporter) -> DoorRinging:
        return self._ringer.ring(contact_of(who))

    @asynccontextmanager
    async def somebody(
        self, me: Persona, line: str, vault: Vault | None = None
    ) -> AsyncIterator[tuple[Supporter, Session] | None]:
        """An established conversation, for the length of the block; None when the search ended without one."""
        while True:
            yes = await self.search.run()
            if yes is None:
                yield None
                return
            self._tell(SaidYes(yes.who))
            contact = contact_of(yes.who)
            async with open_session(
                self._client,
                contact,
                me=me,
                line=line,
                attempt=yes.attempt,
                vault=vault,
                feedback=seeker_side(yes.who),
            ) as session:
                if await self._welcomed(session):
                    self._claimed(yes)
                    yield yes.who, session
                    return
            yes.ringing.over("late")
            self._tell(Vanished())

    async def _welcomed(self, session: Session) -> bool:
        with trio.move_on_after(WELCOME_WITHIN):
            try:
                await session.wait_established()
            except RefusedError:
                return False
            return True
        return False

    def _claimed(self, yes: Yes[Supporter]) -> None:
        if isinstance(yes.ringing, DoorRinging):
            yes.ringing.claimed()


def contact_of(who: Supporter) -> Contact:
    """How to reach them, and what proves it is them."""
    return Contact.of(who.card, who.record.key, who.record.data)


@asynccontextmanager
async def reaching(
    client: Client,
    awake: Awake,
    asked: Asked,
    tell: Callable[[Progress], None],
    settings: NowSettings | None = None,
) -> AsyncIterator[Reaching]:
    """Ask people for the length of the block; offers that stand when it ends are taken back, best effort."""
    async with trio.open_nursery() as nursery:
        ringer = DoorRinger(client, nursery, asked)
        try:
            yield Reaching(client, awake, ringer, tell, settings or NowSettings())
        finally:
            with trio.move_on_after(client.settings.goodbye, shield=True):
                await ringer.wait_quiet()
            nursery.cancel_scope.cancel()


__all__ = ["Asking", "Reaching", "SaidYes", "Vanished", "contact_of", "reaching"]
