"""What was read leaves its node soon after, and not with a request of its own for every cell."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import trio

from support.conversations import PATIENCE, QUICK, a_street, a_supporter, until
from warmline.client.queues import Cursor, QueueClient
from warmline.client.session import Persona, open_session
from warmline_protocol.errors import UnreachableError
from warmline_protocol.keys import SigningKey
from warmline_protocol.session.events import TextReceived

RIVER = Persona("River", b"r" * 16)


class Deletions:
    """Every acknowledgement that nodes were asked for: (queue, upto). The first ``lost`` of them find nobody."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *, lost: int = 0) -> None:
        self.asked: list[tuple[bytes, int]] = []
        self._changed = trio.Event()
        ack = QueueClient.ack

        async def noted(client: QueueClient, queue: bytes, owner: SigningKey, cursor: Cursor) -> int:
            self.asked.append((queue, cursor.seq))
            if len(self.asked) <= lost:
                raise UnreachableError("the node did not answer")
            base = await ack(client, queue, owner, cursor)
            changed, self._changed = self._changed, trio.Event()
            changed.set()
            return base

        monkeypatch.setattr(QueueClient, "ack", noted)

    async def reach(self, queue: bytes, upto: int) -> None:
        while not any(queue == each and seq >= upto for each, seq in self.asked):
            await self._changed.wait()


async def said_and_heard(tmp_path: Path, deletions: Deletions, pause: float, words: int) -> list[int]:
    """Words to the supporter, one after another: what was asked of the node of the queue that they came by."""
    settings = replace(QUICK, delete_pause=pause)
    with trio.fail_after(PATIENCE):
        async with a_street(tmp_path) as street:
            ada = a_supporter(street, settings=settings)
            async with (
                ada.at_the_door() as keeper,
                open_session(street.client("river", settings), ada.contact, me=RIVER) as seeker,
            ):
                supporter = await keeper.accept(await keeper.knocks.receive())
                await seeker.wait_established()
                for number in range(words):
                    await seeker.send(f"word {number}")
                    assert (await until(supporter, TextReceived)).text == f"word {number}"
                machine: Any = seeker.machine
                inlet = supporter._inlets[machine.preferred]
                assert inlet.own.cursor is not None
                upto = inlet.own.cursor.seq
                await deletions.reach(inlet.own.queue, upto)
                return [seq for queue, seq in deletions.asked if queue == inlet.own.queue]


async def test_a_burst_is_deleted_by_few_requests(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = await said_and_heard(tmp_path, Deletions(monkeypatch), pause=2.0, words=10)
    assert len(asked) < 10 and asked == sorted(asked)


async def test_deleting_is_asked_again_on_the_next_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = await said_and_heard(tmp_path, Deletions(monkeypatch, lost=1), pause=0.01, words=3)
    assert asked
