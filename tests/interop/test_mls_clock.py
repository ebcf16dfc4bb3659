"""A seeker whose engine is ts-mls and whose clock is ahead, with a supporter on mls-rs, over real queues."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import trio

from support.conversations import PATIENCE, a_street, a_supporter, until
from support.tsmls import Peer, TsMlsProvider
from warmline.client.session import Persona, open_session
from warmline.client.session_knock import ahead_s
from warmline.env import SystemClock
from warmline_protocol import limits
from warmline_protocol.session.events import TextReceived
from warmline_protocol.session.hello import Hello

AHEAD_S = 6


class Ahead(TsMlsProvider):
    """Dates its key packages from its own now, as mls-rs does."""

    def candidate(self, **spoilt: Any) -> Any:
        return super().candidate(notBefore=int(time.time()) + AHEAD_S)


async def test_a_seeker_with_a_fast_clock_is_let_in_when_it_is_time(tmp_path: Path, peer: Peer) -> None:
    with trio.fail_after(PATIENCE):
        async with a_street(tmp_path) as street:
            ada = a_supporter(street)
            client = street.client("seeker")
            client.provider = Ahead(peer, client.rng.bytes)
            async with (
                ada.at_the_door() as keeper,
                open_session(client, ada.contact, me=Persona("River", b"r" * 16)) as seeker,
            ):
                knock = await keeper.knocks.receive()
                assert ahead_s(knock.hello, SystemClock().utc_ms()) == 0
                supporter = await keeper.accept(knock)
                await seeker.wait_established()
                await seeker.send("hello")
                assert (await until(supporter, TextReceived)).text == "hello"
                await supporter.send("hello, River")
                assert (await until(seeker, TextReceived)).signed


def test_no_waiting_where_it_does_not_help(peer: Peer) -> None:
    def ahead_of(package: bytes, now_s: int) -> float:
        hello = Hello(bytes(16), package, bytes(1216), bytes(32), bytes(32), (b"q",), "", b"", "", b"")
        return ahead_s(hello, now_s * 1000)

    package = TsMlsProvider(peer, lambda size: b"i" * size).candidate(notBefore=10_000).key_package
    assert 59 < ahead_of(package, 9_940) < 61
    assert ahead_of(package, 10_000) == ahead_of(package, 20_000) == 0
    assert ahead_of(package, 10_000 - limits.CLOCK_SKEW_MS // 1000 - 1) == 0
    assert ahead_of(package[:9], 9_940) == 0
