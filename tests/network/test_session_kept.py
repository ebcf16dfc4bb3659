"""Sessions that people chose to keep: going on after a restart, a crash, and an end that leaves nothing."""

from __future__ import annotations

from contextlib import AsyncExitStack
from pathlib import Path

import pytest
import trio

from support.conversations import PATIENCE, a_street, a_supporter, until
from warmline.client.session import Persona, open_session, resume_session
from warmline.client.session_keep import KIND
from warmline.client.vault import MemoryVault, open_vault
from warmline.env import SeededRng, SystemClock
from warmline_protocol.errors import UsageError
from warmline_protocol.session.events import Left, MessageState, TextReceived

RIVER = Persona("River", b"r" * 16)


async def test_both_sides_go_on_where_they_were(tmp_path: Path) -> None:
    with trio.fail_after(PATIENCE):
        async with AsyncExitStack() as stack:
            street = await stack.enter_async_context(a_street(tmp_path))
            ada = a_supporter(street)
            hers = MemoryVault(SystemClock())
            his = stack.enter_context(
                open_vault(
                    tmp_path / "river.vault",
                    rng=SeededRng("vault"),
                    clock=SystemClock(),
                    passphrase=lambda: "four quiet winter rivers",
                )
            )
            async with (
                ada.at_the_door(vault=hers) as keeper,
                open_session(street.client("river"), ada.contact, me=RIVER, vault=his) as seeker,
            ):
                supporter = await keeper.accept(await keeper.knocks.receive())
                await seeker.wait_established()
                first = await seeker.send("before")
                await until(supporter, TextReceived)
                await until(seeker, MessageState, id=first, state="delivered")
                seeker.detach()
                pending = await supporter.send("said while you were away")
                await until(supporter, MessageState, id=pending, state="held")
                supporter.detach()
            (kept,), (hers_kept,) = his.ids(KIND), hers.ids(KIND)
            async with (
                resume_session(ada.client, hers, hers_kept, key=ada.key) as supporter,
                resume_session(street.client("river again"), his, kept) as seeker,
            ):
                assert (await until(seeker, TextReceived)).text == "said while you were away"
                await until(supporter, MessageState, id=pending, state="delivered")
                await seeker.send("after")
                assert (await until(supporter, TextReceived)).text == "after"
                await seeker.aclose()
                await until(supporter, Left)
                assert await supporter.wait_closed() == "peer left"
            assert his.ids(KIND) == hers.ids(KIND) == []
            with pytest.raises(UsageError):
                async with resume_session(street.client("late"), his, kept):
                    pass


async def test_going_on_before_anything_was_read_and_with_no_node_in_reach(tmp_path: Path) -> None:
    with trio.fail_after(PATIENCE):
        async with a_street(tmp_path) as street:
            ada, vault = a_supporter(street), MemoryVault(SystemClock())
            async with ada.at_the_door() as keeper:
                async with open_session(street.client("river"), ada.contact, me=RIVER, vault=vault) as seeker:
                    supporter = await keeper.accept(await keeper.knocks.receive())
                    await seeker.wait_established()
                    for inlet in seeker._inlets:  # as when the program dies between making a queue and following it
                        inlet.own.cursor = None
                    await seeker.send("before")
                    await until(supporter, TextReceived)
                    saved = dict(vault._kept)
                    seeker.detach()
                vault._kept = {place: saved.get(place, kept) for place, kept in vault._kept.items()}
                for house in street.houses:
                    house.die()
                (kept,) = vault.ids(KIND)
                async with resume_session(street.client("river again"), vault, kept) as seeker:
                    message = await seeker.send("after")
                    await until(seeker, MessageState, id=message, state="waiting")
                    with trio.move_on_after(0.5):
                        await seeker.wait_closed()
                    assert not seeker.closed
                    for house in street.houses:
                        house.wake()
                    assert (await until(supporter, TextReceived)).text == "after"
                    await supporter.send("and back")
                    assert (await until(seeker, TextReceived)).text == "and back"
