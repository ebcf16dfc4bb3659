"""CPU per gossip delivery: warmline beside py- and js-libp2p as shipped; same graph, messages, machine and run.

    python tests/bench/gossip_cpu.py [--seed 1] [--nodes 10] [--messages 80] [--rate 10 50 200] [--size 200]

Each variant is one process with all its nodes in it, over loopback TCP, Noise and Yamux. The figure is the process's
CPU time from the first publish until the last delivery (or five seconds after the last publish), divided by the
copies that subscribers got; publishers' own are not counted. Prints one JSON object. ``stock`` offers GossipSub 1.2
as the library's examples do, ``stock11`` only 1.1 as we do; both get our heartbeat and no spam filter, without which
they would drop messages and look cheaper. ``js`` is js-libp2p, where the packages of ``tests/interop`` are installed.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any

import trio

TOPIC = "bench/announce/1"
INTEROP = Path(__file__).resolve().parents[1] / "interop"
DEGREE, DEGREE_LOW, DEGREE_HIGH = 4, 3, 6
SETTLE = 4.0
"""Seconds for meshes to form; not measured."""
LINKS = 4
"""Earlier nodes that each node dials."""


@dataclass
class Meter:
    """Who got what when; ``sent`` holds the publishing times by message number."""

    sent: dict[int, float] = field(default_factory=dict)
    late: list[float] = field(default_factory=list)

    def got(self, data: bytes) -> None:
        self.late.append(trio.current_time() - self.sent[int.from_bytes(data[:4])])


Publish = Callable[[bytes], Awaitable[None]]
Dial = Callable[[int, int], Awaitable[None]]
Nodes = tuple[list[Publish], Dial]


@asynccontextmanager
async def ours(seed: int, count: int, meter: Meter, version: str) -> AsyncIterator[Nodes]:
    from warmline.env import SeededRng, SystemClock
    from warmline.net.gossip import GossipSettings, open_gossip
    from warmline.net.host import HostSettings, open_host
    from warmline_protocol.keys import SigningKey
    from warmline_protocol.verdict import Verdict

    settings = GossipSettings(degree=DEGREE, degree_low=DEGREE_LOW, degree_high=DEGREE_HIGH)
    async with AsyncExitStack() as stack:
        hosts, publishers = [], []
        nursery = await stack.enter_async_context(trio.open_nursery())
        stack.callback(nursery.cancel_scope.cancel)
        for number in range(count):
            key = SigningKey(sha256(b"%d/%d" % (seed, number)).digest())
            opening = open_host(
                HostSettings(listen=("/ip4/127.0.0.1/tcp/0",)), key=key, rng=SeededRng(number), clock=SystemClock()
            )
            host = await stack.enter_async_context(opening)
            gossip = await stack.enter_async_context(open_gossip(host, settings))
            heard = await stack.enter_async_context(gossip.subscribe(TOPIC, lambda data, peer: Verdict.ACCEPT))

            async def read(heard: Any = heard) -> None:
                async for message in heard:
                    meter.got(message.data)

            async def publish(data: bytes, gossip: Any = gossip) -> None:
                await gossip.publish(TOPIC, data)

            nursery.start_soon(read)
            hosts.append(host)
            publishers.append(publish)

        async def dial(a: int, b: int) -> None:
            await hosts[a].connect(hosts[b].addrs()[0])

        yield publishers, dial
        nursery.cancel_scope.cancel()


@asynccontextmanager
async def stock(seed: int, count: int, meter: Meter, version: str) -> AsyncIterator[Nodes]:
    from libp2p import create_new_ed25519_key_pair, new_host
    from libp2p.crypto.x25519 import create_new_key_pair as new_x25519
    from libp2p.custom_types import TProtocol
    from libp2p.peer.peerinfo import PeerInfo
    from libp2p.pubsub.gossipsub import GossipSub
    from libp2p.pubsub.pubsub import Pubsub
    from libp2p.security.noise.transport import PROTOCOL_ID as NOISE_ID
    from libp2p.security.noise.transport import Transport as NoiseTransport
    from libp2p.stream_muxer.yamux.yamux import PROTOCOL_ID as YAMUX_ID
    from libp2p.stream_muxer.yamux.yamux import Yamux
    from libp2p.tools.anyio_service import background_trio_service
    from multiaddr import Multiaddr

    listen = [Multiaddr("/ip4/127.0.0.1/tcp/0")]
    async with AsyncExitStack() as stack:
        hosts, publishers = [], []
        nursery = await stack.enter_async_context(trio.open_nursery())
        for number in range(count):
            pair = create_new_ed25519_key_pair(sha256(b"%d/%d" % (seed, number)).digest())
            host = new_host(
                key_pair=pair,
                listen_addrs=listen,
                sec_opt={NOISE_ID: NoiseTransport(pair, noise_privkey=new_x25519().private_key)},
                muxer_opt={TProtocol(YAMUX_ID): Yamux},
            )
            await stack.enter_async_context(host.run(listen_addrs=listen))
            router = GossipSub(
                protocols=[TProtocol(f"/meshsub/{version}.0")],
                degree=DEGREE,
                degree_low=DEGREE_LOW,
                degree_high=DEGREE_HIGH,
                heartbeat_interval=1,
                spam_protection_enabled=False,
            )
            pubsub = Pubsub(host, router, strict_signing=True)
            await stack.enter_async_context(background_trio_service(pubsub))
            await stack.enter_async_context(background_trio_service(router))
            await pubsub.wait_until_ready()
            subscription = await pubsub.subscribe(TOPIC)

            async def read(subscription: Any = subscription, own: bytes = host.get_id().to_bytes()) -> None:
                while True:
                    message = await subscription.get()
                    if message.from_id != own:
                        meter.got(message.data)

            async def publish(data: bytes, pubsub: Any = pubsub) -> None:
                await pubsub.publish(TOPIC, data)

            nursery.start_soon(read)
            hosts.append(host)
            publishers.append(publish)

        async def dial(a: int, b: int) -> None:
            await hosts[a].connect(PeerInfo(hosts[b].get_id(), hosts[b].get_addrs()))

        yield publishers, dial
        nursery.cancel_scope.cancel()


VARIANTS = {"warmline": (ours, "1.1"), "stock": (stock, "1.2"), "stock11": (stock, "1.1")}


async def measure(options: argparse.Namespace) -> None:
    opened, version = VARIANTS[options.variant]
    rng, meter = random.Random(options.seed), Meter()
    async with opened(options.seed, options.nodes, meter, version) as (publishers, dial):
        for number in range(1, options.nodes):
            for other in rng.sample(range(number), min(LINKS, number)):
                await dial(number, other)
        await trio.sleep(SETTLE)
        expected = options.messages * (options.nodes - 1)
        cpu, start = time.process_time(), trio.current_time()
        for number in range(options.messages):
            await trio.sleep_until(start + number / options.rate)
            meter.sent[number] = trio.current_time()
            data = number.to_bytes(4) + rng.randbytes(options.size - 4)
            await publishers[rng.randrange(options.nodes)](data)
        with trio.move_on_after(5):
            while len(meter.late) < expected:  # noqa: ASYNC110 - counted in many tasks
                await trio.sleep(0.05)
        cpu = time.process_time() - cpu
        result = summary(meter, cpu, expected)
        sys.stdout.write(json.dumps(result) + "\n")
        sys.stdout.flush()
        sys.stderr.flush()
        # Stock hosts take seconds to close and some never do; the measurement is over.
        os._exit(0)


def summary(meter: Meter, cpu: float, expected: int) -> dict[str, float]:
    late = sorted(meter.late) or [0.0]
    return {
        "deliveries": len(meter.late),
        "expected": expected,
        "delivered_percent": round(100 * len(meter.late) / expected, 2),
        "cpu_ms_per_delivery": round(1000 * cpu / max(1, len(meter.late)), 3),
        "p50_ms": round(1000 * late[len(late) // 2], 1),
        "p99_ms": round(1000 * late[int(len(late) * 0.99)], 1),
    }


def run_js(options: argparse.Namespace) -> dict[str, float] | None:
    """js-libp2p in one process of Node.js, the same graph and publishers; None where its packages are not installed."""
    if not (INTEROP / "node_modules").is_dir():
        return None
    rng = random.Random(options.seed)
    edges = [
        (number, other) for number in range(1, options.nodes) for other in rng.sample(range(number), min(LINKS, number))
    ]
    publishers = []
    for _ in range(options.messages):
        rng.randbytes(options.size - 4)
        publishers.append(rng.randrange(options.nodes))
    told = {"nodes": options.nodes, "edges": edges, "publishers": publishers, "rate": options.rate}
    told |= {"size": options.size, "settle": SETTLE, "degree": (DEGREE_LOW, DEGREE, DEGREE_HIGH)}
    command = ["node", "--experimental-websocket", "--import", "./polyfill.mjs", "gossip_bench.mjs", json.dumps(told)]
    done = subprocess.run(command, cwd=INTEROP, stdout=subprocess.PIPE, timeout=300, check=True)
    result: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return result


def run(variant: str, options: argparse.Namespace) -> dict[str, float]:
    numbers = [f"--{name}={getattr(options, name)}" for name in ("seed", "nodes", "messages", "rate", "size")]
    done = subprocess.run(
        [sys.executable, __file__, f"--variant={variant}", *numbers], stdout=subprocess.PIPE, timeout=300, check=True
    )
    result: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return result


def run_all(rate: float, options: argparse.Namespace) -> dict[str, object]:
    """All variants at one rate, one after another, each for ten seconds at least where no count was given."""
    count = options.messages or max(80, int(10 * rate))
    setting = argparse.Namespace(**{**vars(options), "rate": rate, "messages": count})
    results = {variant: run(variant, setting) for variant in VARIANTS}
    if found := run_js(setting):
        results["js"] = found
    mine = results["warmline"]["cpu_ms_per_delivery"]
    ratios = {name: round(found["cpu_ms_per_delivery"] / mine, 2) for name, found in results.items()}
    return {"rate": rate, "messages": count, "variants": results, "times_cheaper_than": ratios}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--nodes", type=int, default=10)
    parser.add_argument("--messages", type=int, default=0, help="by default what ten seconds hold, at least 80")
    parser.add_argument("--rate", type=float, nargs="+", default=[10.0], help="messages a second of all nodes together")
    parser.add_argument("--size", type=int, default=200)
    parser.add_argument("--variant", choices=sorted(VARIANTS), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.variant:
        options.rate = options.rate[0]
        trio.run(measure, options)
        return
    setting = {name: getattr(options, name) for name in ("seed", "nodes", "size")}
    runs = [run_all(rate, options) for rate in options.rate]
    sys.stdout.write(json.dumps({"setting": setting, "load": os.getloadavg(), "runs": runs}, indent=1) + "\n")


if __name__ == "__main__":
    main()
