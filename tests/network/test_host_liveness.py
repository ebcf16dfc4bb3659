"""Dead peers are found and replaced, on real processes."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator

import pytest
import trio

from support import hosts
from support.hosts import PATIENCE, a_host, key_of
from support.processes import Child, start
from warmline.env import SeededRng
from warmline.net.host import Libp2pHost
from warmline.net.liveness import KeeperSettings, open_keeper

BRISK = {"ping_every": 0.3, "ping_deadline": 1.5}
QUICK = KeeperSettings(degree=2, check_every=0.5, backoff_first=0.05, dial_deadline=5.0)


@pytest.fixture
def three() -> Iterator[list[Child]]:
    children = [start(hosts.__file__, "echo_node", name=f"liveness {i}") for i in range(3)]
    yield children
    for child in children:
        child.stop()


async def until_gone(host: Libp2pHost, peer: str) -> None:
    gone = trio.Event()
    host.on_peer_change(lambda who, connected: gone.set() if who == peer and not connected else None)
    if peer in host.peers():
        await gone.wait()


@pytest.mark.parametrize("which", [0, 1], ids=["tcp", "ws"])
@pytest.mark.parametrize("how", [signal.SIGSTOP, signal.SIGKILL])
async def test_a_stopped_peer_is_disconnected(how: signal.Signals, which: int) -> None:
    child = start(hosts.__file__, "echo_node")
    try:
        async with a_host(listen=(), **BRISK) as host:
            peer = await host.connect(child.facts["addrs"][which])
            await trio.sleep(1.0)  # several pings
            assert host.peers() == (peer,)
            child.signal(how)
            with trio.fail_after(PATIENCE):
                await until_gone(host, peer)
            assert host.peers() == ()
    finally:
        child.stop()


async def test_lost_peers_are_replaced_and_redialled(three: list[Child]) -> None:
    addrs = [child.facts["addrs"][0] for child in three]
    async with (
        a_host(listen=(), **BRISK) as host,
        open_keeper(host, QUICK, candidates=lambda: addrs, rng=SeededRng(1)) as keeper,
    ):
        with trio.fail_after(PATIENCE):
            await keeper.wait_degree(2)
        assert len(host.peers()) == 2
        lost = host.peers()[0]
        victim = next(child for child in three if child.facts["peer"] == lost)
        victim.signal(signal.SIGSTOP)
        with trio.fail_after(PATIENCE):
            await until_gone(host, lost)
            await keeper.wait_degree(2)
        assert lost not in host.peers()
        assert len(host.peers()) == 2


async def test_a_peer_that_comes_back_is_dialled_again() -> None:
    async with a_host(listen=(), **BRISK) as host, a_host(name="phoenix") as first:
        addr = first.addrs()[0]
        port = addr.split("/")[4]
        settings = KeeperSettings(degree=0, pinned=(addr,), check_every=0.5, backoff_first=0.05, dial_deadline=5.0)
        async with open_keeper(host, settings, candidates=lambda: (), rng=SeededRng(2)) as keeper:
            with trio.fail_after(PATIENCE):
                await keeper.wait_degree(1)
            await first.raw.close()
            with trio.fail_after(PATIENCE):
                await until_gone(host, first.peer_id)
            async with a_host(name="phoenix", listen=(f"/ip4/127.0.0.1/tcp/{port}",)):
                with trio.fail_after(PATIENCE):
                    await keeper.wait_degree(1)


async def test_dead_candidates_are_tried_ever_more_rarely(autojump_clock: trio.testing.MockClock) -> None:
    nowhere = f"/ip4/192.0.2.1/tcp/1/p2p/{key_of('nobody').peer_id}"
    host = NobodyAnswers()
    settings = KeeperSettings(degree=1, check_every=10.0, backoff_first=1.0, backoff_most=300.0)
    async with open_keeper(host, settings, candidates=lambda: (nowhere,), rng=SeededRng(3)) as keeper:
        await trio.sleep(60)
        after_a_minute = keeper.dials
        await trio.sleep(3540)
        after_an_hour = keeper.dials
    assert 4 <= after_a_minute <= 10
    assert after_an_hour <= after_a_minute + 20


async def test_a_keeper_that_lacks_nobody_sleeps(autojump_clock: trio.testing.MockClock) -> None:
    looks = 0

    def candidates() -> list[str]:
        nonlocal looks
        looks += 1
        # It answers to nobody, so its turn to be dialled again comes; but by then nobody is needed.
        return [f"/ip4/192.0.2.1/tcp/1/p2p/{key_of('nobody').peer_id}"]

    host = NobodyAnswers()
    async with open_keeper(host, KeeperSettings(degree=1), candidates=candidates, rng=SeededRng(3)) as keeper:
        await trio.sleep(1)
        assert keeper.dials
        keeper.settings = KeeperSettings(degree=0)
        await trio.sleep(30)
        looks = 0
        await trio.sleep(100)
    assert looks <= 15


async def test_a_tuple_of_candidates_that_changes_is_read_again(autojump_clock: trio.testing.MockClock) -> None:
    addrs = tuple(f"/ip4/192.0.2.{n}/tcp/1/p2p/{key_of(f'somebody {n}').peer_id}" for n in range(1, 4))
    given: tuple[str, ...] = ()
    host = EverybodyAnswers()
    async with open_keeper(host, KeeperSettings(degree=3), candidates=lambda: given, rng=SeededRng(3)) as keeper:
        await trio.sleep(1)
        assert keeper.degree == 0
        for count in range(1, 4):
            given = addrs[:count]
            keeper.reconsider()
            await trio.sleep(1)
            assert keeper.degree == len(host.peers()) == count
        given = addrs[1:]
        keeper.reconsider()
        await trio.sleep(1)
        assert (keeper.degree, len(host.peers())) == (2, 3)  # one is connected and counts no more


async def test_a_lost_pinned_peer_is_tried_twice_a_minute(autojump_clock: trio.testing.MockClock) -> None:
    nowhere = f"/ip4/192.0.2.1/tcp/1/p2p/{key_of('nobody').peer_id}"
    settings = KeeperSettings(degree=0, pinned=(nowhere,))
    async with open_keeper(NobodyAnswers(), settings, candidates=lambda: (), rng=SeededRng(3)) as keeper:
        await trio.sleep(3600)
        before = keeper.dials
        await trio.sleep(600)
        assert 13 <= keeper.dials - before <= 40


async def test_a_satisfied_keeper_meets_one_more_a_minute_up_to_three_times_its_degree(
    autojump_clock: trio.testing.MockClock,
) -> None:
    addrs = [f"/ip4/192.0.2.{n}/tcp/1/p2p/{key_of(f'somebody {n}').peer_id}" for n in range(1, 21)]
    host = EverybodyAnswers()
    async with open_keeper(host, KeeperSettings(degree=2), candidates=lambda: addrs, rng=SeededRng(3)):
        await trio.sleep(30)
        assert len(host.peers()) == 2
        await trio.sleep(200)
        assert 4 <= len(host.peers()) <= 6
        await trio.sleep(3600)
        assert len(host.peers()) == 6


async def test_two_sides_that_are_satisfied_with_themselves_find_each_other_again(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """All know all and are pinned to nobody; apart, each has three times its degree on its own side."""
    addrs = [f"/ip4/192.0.2.{n}/tcp/1/p2p/{key_of(f'side {n}').peer_id}" for n in range(1, 15)]
    host = TwoSides(set(map(peer_of, addrs[:7])))
    async with open_keeper(host, KeeperSettings(degree=2), candidates=lambda: addrs, rng=SeededRng(3)) as keeper:
        for addr in addrs:
            await host.connect(addr)
        await trio.sleep(1)
        host.part()
        await trio.sleep(3600)
        assert len(host.peers()) == 7
        tried = keeper.dials
        assert tried <= 60 * 1.25  # looking costs a dial a minute
        host.parted = False
        with trio.fail_after(180):
            while len(host.peers()) == 7:  # noqa: ASYNC110 - virtual time
                await trio.sleep(1)


def peer_of(addr: str) -> str:
    return addr.rsplit("/", 1)[1]


class NobodyAnswers:
    """A host in a network where nobody answers; only what a keeper uses."""

    peer_id = key_of("me").peer_id

    def peers(self) -> tuple[str, ...]:
        return ()

    def on_peer_change(self, callback: object) -> None:
        return

    async def connect(self, addr: str, *, deadline: float | None = None) -> str:
        from warmline_protocol.errors import UnreachableError

        raise UnreachableError("nobody")


class EverybodyAnswers(NobodyAnswers):
    """A host in a network where everybody answers."""

    def __init__(self) -> None:
        self._peers: list[str] = []

    def peers(self) -> tuple[str, ...]:
        return tuple(self._peers)

    async def connect(self, addr: str, *, deadline: float | None = None) -> str:
        self._peers.append(addr.rsplit("/", 1)[1])
        return self._peers[-1]


class TwoSides(EverybodyAnswers):
    """A host in a network that parts and heals."""

    def __init__(self, here: set[str]) -> None:
        super().__init__()
        self.parted = False
        self._here = here
        self._callbacks: list[Callable[[str, bool], None]] = []

    def on_peer_change(self, callback: Callable[[str, bool], None]) -> None:  # type: ignore[override]
        self._callbacks.append(callback)

    def part(self) -> None:
        self.parted = True
        for peer in [peer for peer in self._peers if peer not in self._here]:
            self._peers.remove(peer)
            for callback in self._callbacks:
                callback(peer, False)

    async def connect(self, addr: str, *, deadline: float | None = None) -> str:
        if self.parted and peer_of(addr) not in self._here:
            return await NobodyAnswers.connect(self, addr)
        return await super().connect(addr, deadline=deadline)
