"""Three collectors, an issuer and a supporter on either chain, with queue services and clocks that can be set."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import trio

from support.chain import NEVER_S, Actors, on_both_chains, open_anvil
from support.conversations import QUICK, House, Street
from support.feedback import World, rsa_key, wallet
from support.queues import NODE, a_store
from warmline.chain import deployer
from warmline.chain.conduct import ConductChain, ConductNow
from warmline.chain.contracts import Contracts
from warmline.chain.devchain import COLLECTORS, DevChainSettings, dev_terms, open_devchain
from warmline.chain.plans import dev_plan
from warmline.chain.provider import Rpc, open_rpc
from warmline.chain.wallet import Wallet, dev_wallet
from warmline.client.collector import CollectorDuty, open_collector
from warmline.client.collector_base import Network
from warmline.client.collector_files import CollectorFiles
from warmline.client.feedback import SeekerSide
from warmline.client.identity import Identity
from warmline.client.session_lanes import Client, SessionSettings
from warmline.env import SeededRng, SystemRng, run_in_thread
from warmline.services.feedback import FeedbackService
from warmline.services.queues import QueueService, QueueSettings
from warmline.store.store import Store
from warmline_protocol.feedback.epochs import Epochs
from warmline_protocol.keys import SigningKey
from warmline_protocol.records.collector import CollectorRecord
from warmline_protocol.records.delegation import SUPPORTER, Delegation, sign_delegation
from warmline_protocol.records.envelope import open_record
from warmline_protocol.records.node import NodeAddress

EPOCH_S, WINDOW_S = 3600, 600


@dataclass
class SetClock:
    """Runs like the wall's, and can be put forward."""

    ahead_ms: int = 0

    def utc_ms(self) -> int:
        import time

        return time.time_ns() // 1_000_000 + self.ahead_ms


class ClockedStreet(Street):
    """A street whose people's clocks are that one."""

    def __init__(self, houses: list[House], clock: SetClock) -> None:
        super().__init__(houses)
        self.clock = clock
        self.keepers = list(houses)

    def client(self, name: str, settings: SessionSettings = QUICK) -> Client:
        every, self.houses = self.houses, self.keepers
        made = super().client(name, settings)
        nodes = list(made.queue_nodes())
        self.houses = every
        return replace(made, clock=self.clock, queue_nodes=lambda: nodes)


@dataclass
class Seat:
    """One collector: its wallet, device, folder and node."""

    circle: Circle
    wallet: Wallet
    identity: Identity
    folder: Path
    house: House
    said: list[dict[str, object]] = field(default_factory=list)

    async def duty(self, files: CollectorFiles | None = None) -> CollectorDuty:
        """As the process that begins."""
        circle = self.circle
        name = self.wallet.address.hex()
        network = Network(circle.street.client(name), self.house.address, circle.find, circle.publish)
        chain = ConductChain(circle.act.rpc, circle.act.contracts.manifest)
        return await open_collector(
            network, chain, self.wallet, self.identity, files or CollectorFiles(self.folder), self.tell
        )

    def tell(self, text: str, data: dict[str, object]) -> None:
        self.said.append(data)

    def heard(self, event: str) -> list[dict[str, object]]:
        return [each for each in self.said if each["event"] == event]


@dataclass
class Circle:
    """Everybody, in epoch 1; ``world`` holds the issuer's keys and ana's vouchers for epochs 1 and 2."""

    clock: SetClock
    travel: Travel
    act: Actors
    street: ClockedStreet
    chain: ConductChain
    epochs: Epochs
    world: World
    seats: list[Seat] = field(default_factory=list)
    records: dict[bytes, CollectorRecord] = field(default_factory=dict)

    async def find(self) -> list[CollectorRecord]:
        return list(self.records.values())

    async def publish(self, data: bytes) -> None:
        body = open_record(data).body
        assert isinstance(body, CollectorRecord)
        self.records[body.owner] = body

    async def at(self, second: int) -> None:
        """Put every clock forward to this time, and let the chain know."""
        self.clock.ahead_ms += max(0, second * 1000 - self.clock.utc_ms())
        await self.travel(second)
        await self.mine()

    async def mine(self) -> None:
        await self.act.do(self.act.sponsor, self.act.contracts.bond(1))

    async def seen(self) -> ConductNow:
        return await self.chain.now()

    async def seeker(self) -> SeekerSide:
        seen = await self.seen()
        return SeekerSide(wallet("ana"), await self.chain.conduct(seen), tuple(self.records.values()))

    async def grant(self, epoch: int) -> None:
        made = self.world.open(epoch)
        await self.act.do(self.act.issuer, self.act.contracts.grant_vouchers(epoch, made.vouchers, made.root))


Travel = Callable[[int], Awaitable[None]]
Opened = Callable[[Path, SetClock], AbstractAsyncContextManager[tuple[Rpc, Travel]]]


@asynccontextmanager
async def embedded(folder: Path, clock: SetClock) -> AsyncIterator[tuple[Rpc, Travel]]:
    """Goes by the clock that it is given."""

    async def travel(_: int) -> None:
        await trio.lowlevel.checkpoint()

    settings = DevChainSettings(folder / "chain", 0, NEVER_S)
    async with open_devchain(settings, clock, run_in_thread) as running, open_rpc(running.url) as rpc:
        yield rpc, travel


@asynccontextmanager
async def anvil(_: Path, __: SetClock) -> AsyncIterator[tuple[Rpc, Travel]]:
    """Has its own clock, which is put forward too."""
    async with open_anvil() as rpc:

        async def travel(second: int) -> None:
            newest = int((await rpc.call("eth_getBlockByNumber", "latest", False))["timestamp"], 16)
            if second > newest:
                await rpc.call("evm_setNextBlockTimestamp", second)

        yield rpc, travel


on_both = on_both_chains(embedded, anvil)


@asynccontextmanager
async def a_circle(folder: Path, *, vouchers: int = 20, opened: Opened = embedded) -> AsyncIterator[Circle]:
    clock = SetClock()
    rsa_key(0)
    async with AsyncExitStack() as stack:
        rpc, travel = await stack.enter_async_context(opened(folder, clock))
        plan = dev_plan(replace(dev_terms(), epoch_s=EPOCH_S, window_s=WINDOW_S))
        manifest = await deployer.deploy(rpc, dev_wallet(8), plan, folder / "manifest.json", run_in_thread)
        act = Actors(rpc, Contracts(rpc, manifest))
        await act.do(dev_wallet(8), act.contracts.admit_issuer(act.issuer.address, bytes(32)))
        chain = ConductChain(rpc, manifest)
        epochs, _ = await chain.terms()
        stores = [await stack.enter_async_context(a_store(":memory:")) for _ in range(6)]
        houses = [_queue_house(number, stores[number], clock) for number in range(3)]
        street = ClockedStreet(houses, clock)
        world = World(supporters=("ana",), vouchers=vouchers)
        world.issuer = act.issuer.address
        circle = Circle(clock, travel, act, street, chain, epochs, world)
        for number, account in enumerate(COLLECTORS):
            seat = _seat(circle, folder / f"collector{number}", dev_wallet(account), stores[3 + number])
            circle.seats.append(seat)
            street.houses.insert(0, seat.house)
        # A block takes a second at least, so the chain may be ahead of the clock by now.
        await circle.at(max(epochs.genesis_s, await act.time_s()) + 1)
        await circle.grant(1)
        await circle.grant(2)
        yield circle


def _queue_house(number: int, store: Store, clock: SetClock) -> House:
    rng = SeededRng(f"node {number}")
    service = QueueService(NODE, store, clock=clock, rng=rng, settings=QueueSettings())
    return House(_address(SigningKey(rng.bytes(32)).peer_id, 4000 + number), service)


def _address(peer: str, port: int) -> NodeAddress:
    return NodeAddress(peer, (f"/ip4/127.0.0.1/tcp/{port}/p2p/{peer}",))


def served(
    name: str,
    store: Store,
    clock: SetClock,
    *,
    keys: Path | None = None,
    collector: Path | None = None,
    speaks_for: Callable[[bytes, bytes], bool] = lambda wallet, key: False,
) -> House:
    """A node that answers about feedback only."""
    service: Any = FeedbackService(
        keys,
        store,
        speaks_for=speaks_for,
        clock=clock,
        rng=SystemRng(),
        run_blocking=run_in_thread,
        collector=collector,
    )
    return House(_address(SigningKey(SeededRng(name).bytes(32)).peer_id, 4900), service)


def _seat(circle: Circle, folder: Path, account: Wallet, store: Store) -> Seat:
    files = CollectorFiles(folder)
    key = SigningKey(SeededRng(account.address.hex()).bytes(32))
    start = circle.clock.utc_ms() // 1000
    manifest = circle.act.contracts.manifest
    unsigned = Delegation(
        account.address,
        key.public,
        SUPPORTER,
        start,
        start + 20 * 86_400,
        manifest.chain_id,
        manifest.address("DelegateRegistry"),
    )
    given = sign_delegation(unsigned, bytes(account._account.key))
    house = served(f"served {account.address.hex()}", store, circle.clock, collector=files.served)
    return Seat(circle, account, Identity(key, given), folder, house)
