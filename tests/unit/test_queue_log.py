"""One log as a value, held against a model that is a plain list."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from support.queues import cell
from warmline_protocol.errors import RefusedError
from warmline_protocol.queue.auth import key_hash
from warmline_protocol.queue.log import Log, born, link, position
from warmline_protocol.queue.messages import CAPS, Create, Cursor

HOUR = 3600_000
SEND, READ, OWNER = b"s" * 32, b"r" * 32, b"o" * 32


def new(kind: str = "queue", cap: int = 8, fence: int | None = None, release_at: int | None = None) -> Log:
    send = None if kind == "door" else key_hash(SEND)
    read = key_hash(READ) if kind == "log" else None
    at = (fence or 0) if kind == "log" else None
    asked = Create(kind, OWNER, cap, HOUR, 2 * HOUR, b"s" * 64, send, read, at, release_at)
    return born(asked, now_ms=0)


def code_of(call: Any, *args: Any, **kwargs: Any) -> str:
    with pytest.raises(RefusedError) as caught:
        call(*args, **kwargs)
    return caught.value.code


def test_numbers_and_chain_go_on() -> None:
    log = new()
    first, links = log.append([cell(1), cell(2)], now_ms=5)
    assert [each.seq for each in links] == [1, 2]
    assert links[1].chain == first.chain == link(link(log.chain, cell(1)), cell(2))
    assert {each.until_ms for each in links} == {5 + HOUR}
    second, more = first.append([cell(3)], now_ms=6)
    assert more[0].seq == 3 and second.head == 3 and second.count == 3
    assert log.head == 0  # a value: the old one is what it was


def test_logs_of_different_owners_have_different_chains() -> None:
    other = born(Create("door", b"p" * 32, 8, HOUR, HOUR, b"s" * 64), now_ms=0)
    assert other.chain != new("door").chain


def test_full_refuses_whole_bundles() -> None:
    log, _ = new(cap=3).append([cell(1), cell(2)], now_ms=0)
    assert code_of(log.append, [cell(3), cell(4)], now_ms=0) == "full"
    log, _ = log.append([cell(3)], now_ms=0)
    assert code_of(log.append, [cell(4)], now_ms=0) == "full"
    log.ack(1).append([cell(4)], now_ms=0)


def test_a_door_takes_one_cell_from_anybody() -> None:
    door = new("door")
    door.check_sender(None, None)
    door.append([cell(1)], now_ms=0)
    assert code_of(door.append, [cell(1), cell(2)], now_ms=0) == "kind"


def test_who_may_send() -> None:
    queue, log = new(), new("log", fence=4)
    queue.check_sender(SEND, None)
    assert code_of(queue.check_sender, None, None) == "denied"
    assert code_of(queue.check_sender, READ, None) == "denied"
    log.check_sender(SEND, 4)
    assert code_of(log.check_sender, SEND, 3) == "fenced"
    assert code_of(log.check_sender, SEND, 5) == "fenced"
    assert code_of(log.check_sender, SEND, None) == "fenced"
    assert code_of(log.check_sender, b"x" * 32, 4) == "denied"


def commit(log: Log, *cells: bytes, fence: int = 0, new_owner: bytes | None = None) -> Log:
    keys = {"send_hash": key_hash(b"S" * 32), "read_hash": key_hash(b"R" * 32)}
    return log.commit(cells, fence=fence, new_owner=new_owner, now_ms=0, **keys)[0]


def test_a_commit_changes_keys_and_fence_in_one_step() -> None:
    log, _ = new("log").append([cell(1)], now_ms=0)
    after = commit(log, cell("commit"))
    assert (after.fence, after.head) == (1, 2)
    assert code_of(after.check_sender, SEND, 0) == "fenced"
    assert code_of(after.check_sender, SEND, 1) == "fenced"
    assert code_of(after.check_sender, b"S" * 32, 0) == "fenced"
    after.check_sender(b"S" * 32, 1)
    assert code_of(commit, after, cell(2), fence=0) == "fenced"
    assert code_of(commit, new(), cell(1)) == "kind"


def test_a_member_sees_the_commit_that_ends_its_epoch_and_nothing_after() -> None:
    log, _ = new("log", cap=64).append([cell(1)], now_ms=0)
    log = commit(log, cell(2), cell(3))
    log, _ = log.append([cell(4)], now_ms=0)
    old, now = log.view_of_member(READ), log.view_of_member(b"R" * 32)
    assert (old.after, old.head, old.ended) == (0, 3, True)
    assert (now.after, now.head, now.ended) == (3, 4, False)
    assert log.view_of_owner(now_ms=0).head == 4
    assert code_of(log.view_of_member, SEND) == "denied"
    assert code_of(log.view_of_member, None) == "denied"


def test_a_full_room_can_still_be_led() -> None:
    log = new("log", cap=16)
    for n in range(14):
        log, _ = log.append([cell(n)], now_ms=0)
    assert code_of(log.append, [cell("x")], now_ms=0) == "full"
    log = commit(log, cell("remove the flooder"))
    assert log.count == 15
    assert code_of(commit, log, cell(1), cell(2), fence=1) == "full"


def test_hand_over() -> None:
    assert commit(new("log"), cell(1), new_owner=b"N" * 32).owner == b"N" * 32


def test_nobody_acknowledges_in_a_room() -> None:
    log, _ = new("log").append([cell(1)], now_ms=0)
    assert code_of(log.ack, 1) == "kind"


def test_ack_only_goes_forward_and_not_beyond() -> None:
    log, _ = new().append([cell(1), cell(2), cell(3)], now_ms=0)
    log = log.ack(2)
    assert log.base == 2
    assert log.ack(1).base == 2
    assert code_of(log.ack, 4) == "beyond"


def test_a_drop_shows_nothing_before_its_time() -> None:
    log, _ = new(release_at=100).append([cell(1)], now_ms=0)
    assert log.view_of_owner(now_ms=99).head == 0
    assert log.view_of_owner(now_ms=100).head == 1


def test_a_lease_is_renewed_when_half_is_gone() -> None:
    log = new()
    assert log.touch(now_ms=HOUR - 1) is None
    renewed = log.touch(now_ms=HOUR)
    assert renewed is not None and renewed.until_ms == 3 * HOUR


def test_a_cursor_of_another_life_counts_for_nothing() -> None:
    assert position(None, b"i" * 16) == 0
    assert position(Cursor(b"i" * 16, 9), b"i" * 16) == 9
    assert position(Cursor(b"j" * 16, 9), b"i" * 16) == 0


class Model(RuleBasedStateMachine):
    """Cells as a list; the window of the log must always be a slice of it."""

    @initialize(kind=st.sampled_from(["queue", "door", "log"]), cap=st.integers(1, 24))
    def start(self, kind: str, cap: int) -> None:
        self.log = new(kind, cap)
        self.all: list[bytes] = []
        self.gone = 0
        self.chains = [self.log.chain]

    @rule(count=st.integers(0, 18))
    def append(self, count: int) -> None:
        cells = [cell(len(self.all) + n) for n in range(count)]
        kept = len(self.all) - self.gone
        allowed = 0 < count <= (1 if self.log.kind == "door" else 16) and kept + count <= self.log.room
        self._grow(cells, allowed, lambda: self.log.append(cells, now_ms=0))

    @precondition(lambda self: self.log.kind == "log")
    @rule(count=st.integers(1, 3), offset=st.integers(-1, 1))
    def commit(self, count: int, offset: int) -> None:
        cells = [cell(len(self.all) + n) for n in range(count)]
        fence = self.log.fence
        allowed = offset == 0 and len(self.all) - self.gone + count <= self.log.cap
        keys = {"send_hash": key_hash(cells[0]), "read_hash": key_hash(cells[0])}
        self._grow(
            cells, allowed, lambda: self.log.commit(cells, fence=fence + offset, new_owner=None, now_ms=0, **keys)
        )
        assert self.log.fence == fence + allowed

    def _grow(self, cells: list[bytes], allowed: bool, act: Any) -> None:
        if not allowed:
            before = self.log
            code_of(act)
            assert self.log == before
            return
        self.log, links = act()
        for each in cells:
            self.all.append(each)
            self.chains.append(link(self.chains[-1], each))
        assert [each.seq for each in links] == list(range(len(self.all) - len(cells) + 1, len(self.all) + 1))
        assert [each.chain for each in links] == self.chains[-len(cells) :]

    @rule(upto=st.integers(0, 60), expired=st.booleans())
    def forget(self, upto: int, expired: bool) -> None:
        if not expired and (self.log.kind == "log" or upto > len(self.all)):
            code_of(self.log.ack, upto)
            return
        self.log = self.log.forget(upto) if expired else self.log.ack(upto)
        self.gone = min(len(self.all), max(self.gone, upto))

    @invariant()
    def same(self) -> None:
        if not hasattr(self, "log"):
            return
        assert (self.log.base, self.log.head) == (self.gone, len(self.all))
        assert self.log.chain == self.chains[-1]
        assert 0 <= self.log.count <= self.log.cap <= CAPS[self.log.kind]
        if self.log.kind == "log":
            edges = [(each.first, each.last) for each in self.log.epochs]
            assert all(last is not None and last + 1 == after for (_, last), (after, _) in itertools.pairwise(edges))
            assert edges[-1][1] is None and self.log.epochs[-1].fence == self.log.fence


Model.TestCase.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)
TestModel = Model.TestCase
