"""A burst in one session, measured: ``python tests/bench/session_burst.py [--seed N] [--messages N] [--rtt-ms N]``
(with ``PYTHONPATH=tests``) prints one JSON object.

A seeker says everything at once. Queue services, disks and machines are the real ones; between them is memory, where
every answer takes ``--rtt-ms``, as through an entry. Messages a second are from the first word to the last delivery;
``appends_of_both_sides`` is how many requests carried cells, acks included.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import trio

from support.conversations import Street, StreetPath, a_street, a_supporter
from warmline.client.queues import QueueClient
from warmline.client.session import Client, Persona, SessionSettings, open_session
from warmline.net.api import Channel
from warmline_protocol.records.node import NodeAddress
from warmline_protocol.session.events import MessageState


class LateChannel:
    """A channel whose answers take their time."""

    def __init__(self, channel: Channel, delay: float) -> None:
        self._channel = channel
        self._delay = delay

    async def receive(self, **deadline: Any) -> bytes:
        """One frame, late."""
        frame = await self._channel.receive(**deadline)
        await trio.sleep(self._delay)
        return frame

    def __getattr__(self, name: str) -> Any:
        return getattr(self._channel, name)


class LatePath:
    """A path of such channels."""

    weakness = None

    def __init__(self, path: StreetPath, delay: float) -> None:
        self._path = path
        self._delay = delay
        self.wait_expiring = path.wait_expiring

    async def open_channel(self, protocol: str) -> Any:
        """A late one."""
        return LateChannel(await self._path.open_channel(protocol), self._delay)


class FarStreet:
    """A street at some distance."""

    def __init__(self, street: Street, delay: float) -> None:
        self._street = street
        self._delay = delay

    @asynccontextmanager
    async def path(self, purpose: str, node: NodeAddress) -> AsyncIterator[LatePath]:
        """As the street's own, farther away."""
        async with self._street.path(purpose, node) as path:
            yield LatePath(path, self._delay)


async def measure(seed: int, messages: int, rtt_ms: float, folder: Path) -> dict[str, Any]:
    """One burst from seeker to supporter."""
    appends = 0
    append = QueueClient.append

    async def counted(self: QueueClient, *args: Any, **kwargs: Any) -> Any:
        nonlocal appends
        appends += 1
        return await append(self, *args, **kwargs)

    async with a_street(folder) as street:
        far: Any = FarStreet(street, rtt_ms / 1000)
        ada = a_supporter(street)

        def client(name: str) -> Client:
            near = street.client(f"{name} {seed}", SessionSettings())
            near.paths = far
            return near

        ada.client = client("supporter")
        async with (
            ada.at_the_door() as keeper,
            open_session(client("river"), ada.contact, me=Persona("River", b"r" * 16)) as seeker,
        ):
            await keeper.accept(await keeper.knocks.receive())
            await seeker.wait_established()
            await trio.sleep(1)
            QueueClient.append = counted  # type: ignore[method-assign]
            began = time.perf_counter()
            open_ids = {await seeker.send(f"message {number}") for number in range(messages)}
            said = time.perf_counter()
            with trio.fail_after(120):
                async for event in seeker.events:
                    if isinstance(event, MessageState) and event.state == "delivered":
                        open_ids.discard(event.id)
                    if not open_ids:
                        break
            took = time.perf_counter() - began
            QueueClient.append = append  # type: ignore[method-assign]
    return {
        "seed": seed,
        "messages": messages,
        "rtt_ms": rtt_ms,
        "said_per_s": round(messages / (said - began), 1),
        "delivered_per_s": round(messages / took, 1),
        "appends_of_both_sides": appends,
    }


def main() -> None:
    """Read the command line, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--messages", type=int, default=200)
    parser.add_argument("--rtt-ms", type=float, default=20.0)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        figures = trio.run(measure, arguments.seed, arguments.messages, arguments.rtt_ms, Path(folder))
    print(json.dumps(figures, indent=2))


if __name__ == "__main__":
    main()
