"""One to one: two machines, real MLS, and queues that lose, double, reorder, die and come back."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from support.sessions import START_MS, End, FakeQueue, Link, meet
from warmline_protocol import limits
from warmline_protocol.errors import UsageError
from warmline_protocol.session.events import (
    Append,
    Closed,
    Joined,
    Left,
    MessageState,
    OutOfStep,
    PeerAway,
    PeerBack,
    TextReceived,
    UseRoute,
)
from warmline_protocol.session.pair import Pair


@pytest.fixture
def link() -> Link:
    return Link(meet(1), Random(1))


def assert_all_told(link: Link) -> None:
    """Nothing was lost in silence, nothing doubled, nothing out of order unless it said so."""
    for end in link.ends:
        other = link.other(end)
        got = [each for each in other.events if isinstance(each, TextReceived)]
        assert sorted(each.id for each in got) == sorted(end.sent)
        in_order = [each.id for each in got if not each.late]
        assert in_order == [each for each in end.sent if each in set(in_order)]
        for message in end.sent:
            assert end.states(message)[-1] == "delivered"


def test_a_conversation(link: Link) -> None:
    first = link.say(link.host, "hello, I am Ada")
    link.settle()
    second = link.say(link.guest, "hi")
    link.settle()
    assert link.guest.texts == ["hello, I am Ada"] and link.host.texts == ["hi"]
    assert link.host.states(first) == ["waiting", "held", "delivered"]
    assert link.guest.states(second) == ["waiting", "held", "delivered"]
    joined = [each for each in link.guest.events if isinstance(each, Joined)]
    assert [(each.name, each.host) for each in joined] == [("Ada", True)]
    assert [each.name for each in link.host.events if isinstance(each, Joined)] == ["River"]
    received = next(each for each in link.guest.events if isinstance(each, TextReceived))
    assert received.signed and received.name == "Ada" and received.sent_ms == START_MS


def test_every_cell_looks_the_same(link: Link) -> None:
    link.say(link.host, "short")
    link.say(link.host, "x" * limits.TEXT_MAX)
    link.host.machine.renew(link.now)
    link.host.commit()
    link.settle()
    cells = [cell for end in link.ends for queue in end.reads for cell in queue.cells]
    assert {len(cell) for cell in cells} == {limits.CELL_SIZE}
    assert len(set(cells)) == len(cells)


def test_renewal_and_messages_that_cross_it(link: Link) -> None:
    link.settle()
    link.say(link.guest, "sealed before")
    while link.guest.todo:
        link.perform(link.guest)
    assert link.host.machine.renew(link.now)
    link.host.commit()
    link.say(link.host, "sealed after")
    link.settle()
    assert_all_told(link)
    assert link.host.machine.epoch == link.guest.machine.epoch == 2
    assert link.host.machine.schedule.previous is None
    link.say(link.guest, "and on")
    link.settle()
    assert link.guest.machine.schedule.previous is None
    assert_all_told(link)


def test_a_renewal_on_the_slow_queue_does_not_lose_what_overtakes_it(link: Link) -> None:
    link.settle()
    link.host.machine.renew(link.now)
    link.host.commit()
    (commit,) = link.host.todo
    link.host.machine.preferred = 1
    link.say(link.host, "overtaking")
    link.host.todo = link.host.todo[-1:]
    link.perform(link.host)
    link.fetch(link.guest)
    link.fetch(link.guest)
    assert link.guest.texts == []
    link.host.todo.append(commit)
    link.settle()
    assert link.guest.texts == ["overtaking"]
    assert_all_told(link)


def test_only_one_renewal_is_on_its_way(link: Link) -> None:
    link.settle()
    assert link.host.machine.renew(link.now)
    assert not link.host.machine.renew(link.now)
    with pytest.raises(UsageError):
        link.guest.machine.renew(link.now)


def test_the_second_queue_takes_over_when_the_first_dies(link: Link) -> None:
    link.settle()
    first = link.say(link.guest, "held by a node that dies")
    while link.guest.todo:
        link.perform(link.guest)
    link.host.reads[0].alive = False
    link.host.reads[0].cells.clear()
    second = link.say(link.guest, "said while it is dead")
    for _ in range(8):
        while link.guest.todo:
            link.perform(link.guest)
        link.sleep(10_000)
    assert link.guest.states(first) == ["waiting", "held", "held"]
    held = [each for each in link.guest.events if isinstance(each, MessageState) and each.id == first]
    assert held[-1].by == ("h0", "h1")
    link.settle()
    assert link.host.texts == ["held by a node that dies", "said while it is dead"]
    assert link.guest.states(second)[-1] == "delivered"
    third = link.say(link.guest, "at once, by the second")
    while link.guest.todo:
        link.perform(link.guest)
    assert link.guest.states(third) == ["waiting", "held"]


def test_a_queue_restored_from_a_backup_is_offered_again_what_it_forgot(link: Link) -> None:
    link.settle()
    link.say(link.guest, "forgotten")
    while link.guest.todo:
        link.perform(link.guest)
    queue = link.host.reads[0]
    del queue.cells[link.host.cursors[0] :]
    queue.incarnation = b"j" * 16
    link.say(link.guest, "after the restore")
    link.settle(rounds=5)
    assert link.host.texts == ["forgotten", "after the restore"]


def test_expiry_is_told(link: Link) -> None:
    link.settle()
    message = link.say(link.host, "nobody comes")
    while link.host.todo:
        link.perform(link.host)
    link.sleep(limits.PEER_AWAY_MS)
    assert any(isinstance(each, PeerAway) for each in link.host.events)
    link.sleep(limits.MESSAGE_TTL_MS)
    assert link.host.states(message)[-1] == "expired"
    link.say(link.host, "later")
    link.guest.cursors[0] = len(link.guest.reads[0].cells)
    link.settle()
    assert link.guest.texts == ["later"]
    assert any(isinstance(each, PeerBack) for each in link.host.events)


def test_refused_when_both_queues_are_gone(link: Link) -> None:
    link.settle()
    message = link.say(link.guest, "to nowhere")
    for code in ("unknown", "denied"):
        (output,) = link.guest.todo
        assert isinstance(output, Append)
        link.guest.todo.clear()
        link.guest.machine.append_failed(output.token, code, "gone", link.now)
        link.guest.commit()
    state = [each for each in link.guest.events if isinstance(each, MessageState) and each.id == message][-1]
    assert state.state == "refused" and "queues" in state.why


def test_a_full_queue_is_tried_again(link: Link) -> None:
    link.settle()
    message = link.say(link.guest, "patience")
    (output,) = link.guest.todo
    assert isinstance(output, Append)
    link.guest.todo.clear()
    link.guest.machine.append_failed(output.token, "full", "full", link.now)
    link.guest.commit()
    assert link.guest.machine.next_timer() == link.now + limits.RETRY_FIRST_MS
    link.sleep(limits.RETRY_FIRST_MS)
    link.settle()
    assert link.guest.states(message)[-1] == "delivered"


def test_a_farewell_that_is_read_first_leaves_room_for_what_a_node_holds(link: Link) -> None:
    link.settle()
    held = link.say(link.guest, "one node has this")
    while link.guest.todo:
        link.perform(link.guest)
    given_up = link.say(link.guest, "no node has this")
    link.guest.machine.leave(link.now, "left")
    link.guest.machine.finish()
    link.guest.commit()
    assert (link.guest.states(held)[-1], link.guest.states(given_up)[-1]) == ("held", "refused")
    link.host.machine.receive(list(link.guest.machine.farewell[1]), link.now)
    link.host.commit()
    assert not link.host.machine.closed
    link.host.machine.receive(link.host.reads[0].cells[link.host.cursors[0] :], link.now)
    link.host.commit()
    link.sleep(limits.GAP_PATIENCE_MS)
    assert link.host.texts == ["one node has this"]
    assert link.host.events[-1] == Closed("peer left")


@pytest.mark.parametrize("leaver", ["host", "guest"])
def test_leaving(link: Link, leaver: str) -> None:
    link.settle()
    end: End = getattr(link, leaver)
    pending = link.say(link.other(end), "wait")
    link.other(end).todo.clear()
    end.machine.leave(link.now, "left")
    end.commit()
    while end.todo:
        link.perform(end)
    assert end.machine.farewell_sent
    for _ in range(2):
        link.fetch(link.other(end))
    other = link.other(end)
    assert any(isinstance(each, Left) and each.why == "left" for each in other.events)
    assert other.events[-1] == Closed("peer left")
    assert other.states(pending)[-1] == "refused"
    with pytest.raises(UsageError):
        other.machine.send("hello?", link.now)
    with pytest.raises(UsageError):
        end.machine.send("one more thing", link.now)
    end.machine.finish()
    end.commit()
    assert end.events[-1] == Closed("left")


def test_tampered_replayed_and_reflected_cells_change_nothing(link: Link) -> None:
    link.say(link.host, "once")
    link.settle()
    seen = list(link.guest.reads[0].cells)
    sent = list(link.host.reads[0].cells)
    before = link.guest.texts.copy()
    flipped = [cell[:100] + bytes([cell[100] ^ 1]) + cell[101:] for cell in seen]
    link.guest.machine.receive(seen * 3 + flipped + sent + [b"", b"short", bytes(5000)], link.now)
    link.guest.commit()
    assert link.guest.texts == before
    assert link.guest.machine.statistics.doubles >= 1
    link.settle()
    assert_all_told(link)


def test_what_opens_outside_but_not_inside_is_asked_for_again(link: Link) -> None:
    link.settle()
    message = link.say(link.host, "spoilt on the way")
    entry = next(iter(link.host.machine.outbox.entries.values()))
    spoilt = entry.sealed[:-1] + bytes([entry.sealed[-1] ^ 1])
    cells = link.host.machine._cells(spoilt, entry.counter, "to guest")
    link.host.todo.clear()
    link.guest.machine.receive(list(cells), link.now)
    link.guest.commit()
    assert link.guest.texts == []
    link.settle(rounds=6)
    assert link.guest.texts == ["spoilt on the way"]
    assert link.host.states(message)[-1] == "delivered"


def test_a_supporter_who_does_not_sign_is_not_heard(link: Link) -> None:
    link.settle()
    link.host.machine.signer = None
    link.say(link.host, "deniable")
    while link.host.todo:
        link.perform(link.host)
    link.fetch(link.guest)
    link.fetch(link.guest)
    assert link.guest.texts == []
    assert link.guest.events[-1] == Closed("unproven")


def test_a_signature_by_another_key_is_not_heard(link: Link) -> None:
    link.settle()
    link.host.machine.signer.key = meet(77).key
    link.say(link.host, "someone else")
    while link.host.todo:
        link.perform(link.host)
    link.fetch(link.guest)
    link.fetch(link.guest)
    assert link.guest.texts == [] and link.guest.events[-1] == Closed("unproven")


def test_the_old_key_dies_after_ten_minutes(link: Link) -> None:
    link.settle()
    link.host.machine.renew(link.now)
    link.host.commit()
    assert link.host.machine.schedule.previous is not None
    link.sleep(limits.OLD_EPOCH_MS - 1)
    assert link.host.machine.schedule.previous is not None
    link.sleep(1)
    assert link.host.machine.schedule.previous is None
    link.say(link.guest, "from the old epoch, then the new")
    link.settle()
    assert_all_told(link)


def test_too_long_and_too_many(link: Link) -> None:
    with pytest.raises(UsageError):
        link.host.machine.send("é" * (limits.TEXT_MAX // 2 + 1), link.now)
    with pytest.raises(UsageError):
        link.host.machine.send("", link.now)
    for number in range(limits.OUTBOX_MAX - len(link.host.machine.outbox.entries)):
        link.host.machine.send(str(number), link.now)
    with pytest.raises(UsageError):
        link.host.machine.send("one too many", link.now)


def test_a_long_conversation_renews_its_keys_by_itself(link: Link) -> None:
    for number in range(limits.REFRESH_MESSAGES + 1):
        link.say(link.host, str(number))
        if number % 50 == 0:
            link.settle()
    link.settle()
    assert link.host.machine.epoch == link.guest.machine.epoch == 2
    assert_all_told(link)


def test_timers_never_ask_for_a_past_that_changes_nothing(link: Link) -> None:
    link.say(link.guest, "unread")
    while link.guest.todo:
        link.perform(link.guest)
    for _ in range(50):
        due = link.guest.machine.next_timer()
        if due is None:
            break
        assert due >= link.now
        link.now = due
        link.guest.machine.tick(due)
        link.guest.commit()
        while link.guest.todo:
            link.perform(link.guest)
        assert link.guest.machine.next_timer() != due
    assert link.guest.machine.outbox.entries == {}


def test_a_dead_node_is_not_hammered(link: Link) -> None:
    link.settle()
    for queue in link.host.reads:
        queue.alive = False
    link.say(link.guest, "anybody?")
    tries = 0
    until = link.now + 10 * 60_000
    while link.now < until:
        while link.guest.todo:
            tries += 1
            link.perform(link.guest)
        due = link.guest.machine.next_timer()
        assert due is not None
        link.now = max(due, link.now)
        link.guest.machine.tick(link.now)
        link.guest.commit()
    assert tries < 60


CHAOS = settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])


@CHAOS
@given(seed=st.integers(0, 2**32), routes=st.sampled_from([1, 2]))
def test_whatever_happens_nothing_is_lost_in_silence(seed: int, routes: int) -> None:
    random = Random(seed)
    link = Link(meet(seed, routes=routes), random, routes=routes)
    link.loss, link.reply_loss = random.choice([(0.0, 0.0), (0.2, 0.2), (0.5, 0.3)])
    for step in range(120):
        end = random.choice(link.ends)
        match random.randrange(10):
            case 0 | 1:
                link.say(end, f"message {step}")
            case 2 | 3 | 4:
                if end.todo:
                    link.perform(end)
            case 5 | 6:
                link.fetch(end, chaos=True)
            case 7:
                link.sleep(random.choice([10, 1_000, 30_000, 90_000]))
            case 8:
                if random.random() < 0.3:
                    link.host.machine.renew(link.now)
                    link.host.commit()
            case 9:
                end.crash(link.now)
    link.settle()
    assert_all_told(link)


@CHAOS
@given(seed=st.integers(0, 2**32), crash_at=st.integers(0, 40))
def test_a_crash_between_call_and_save_at_any_step(seed: int, crash_at: int) -> None:
    link = Link(meet(seed), Random(seed))
    steps = 0

    def doomed(end: End) -> bool:
        nonlocal steps
        steps += 1
        if steps != crash_at:
            return False
        end.machine.take()
        end.crash(link.now)
        return True

    for number in range(3):
        for end in link.ends:
            message = end.machine.send(f"{number}", link.now)
            if doomed(end):
                continue  # the person typed it again, or saw that it never left
            end.sent.append(message)
            end.commit()
            while end.todo:
                link.perform(end)
                doomed(end)
        for end in link.ends:
            for index, queue in enumerate(end.reads):
                end.machine.receive(list(queue.cells[end.cursors[index] :]), link.now)
                if not doomed(end):
                    end.commit()
                    end.cursors[index] = len(queue.cells)
        if number == 1:
            link.host.machine.renew(link.now)
            if not doomed(link.host):
                link.host.commit()
    link.settle()
    assert_all_told(link)


def test_restoring_something_else_is_refused(link: Link) -> None:
    from warmline_protocol.codec import encode
    from warmline_protocol.errors import StoreError

    with pytest.raises(StoreError):
        Pair.restore(encode({"no": 1}), link.parties.provider, link.parties.rng.bytes, 0)


def test_a_session_after_a_fresh_hello_carries_on(link: Link) -> None:
    link.settle()
    first = link.say(link.host, "never arrived")
    link.host.todo.clear()
    again = meet(99)
    again.host.carry_from(link.host.machine, link.now)
    fresh = Link(again, Random(2))
    fresh.now = link.now
    fresh.settle()
    assert fresh.guest.texts == ["never arrived"]
    assert fresh.host.states(first)[-1] == "delivered"
    assert isinstance(fresh.host.reads[0], FakeQueue)


def test_a_node_that_cannot_be_reached_is_passed_by_after_three_tries(link: Link) -> None:
    link.settle()
    link.host.reads[0].alive = False
    begun = link.now
    message = link.say(link.guest, "by the other way")
    while True:
        while link.guest.todo:
            link.perform(link.guest)
        if "held" in link.guest.states(message):
            break
        due = link.guest.machine.next_timer()
        assert due is not None
        link.sleep(max(1, due - link.now))
    assert link.now - begun < 10_000
    held = [each for each in link.guest.events if isinstance(each, MessageState) and each.state == "held"]
    assert held[-1].by == ("h1",)
    following = link.say(link.guest, "and this one at once")
    while link.guest.todo:
        link.perform(link.guest)
    assert link.guest.states(following) == ["waiting", "held"]


def last_word(end: End, message: bytes) -> MessageState:
    return [each for each in end.events if isinstance(each, MessageState) and each.id == message][-1]


def test_what_a_node_holds_stays_held_when_its_sender_leaves(link: Link) -> None:
    link.settle()
    held = link.say(link.guest, "a node has this")
    link.perform(link.guest)
    waiting = link.say(link.guest, "and nobody has this")
    link.guest.todo.clear()
    link.guest.machine.leave(link.now)
    link.guest.commit()
    link.guest.machine.finish()
    link.guest.commit()
    word = last_word(link.guest, held)
    assert (word.state, word.by, word.why, word.last) == ("held", ("h0",), "left", True)
    assert word.until_ms == link.now + limits.MESSAGE_TTL_MS
    assert (last_word(link.guest, waiting).state, last_word(link.guest, waiting).why) == ("refused", "left")
    assert link.guest.events[-1] == Closed("left")


def test_what_nobody_comes_for_is_refused_though_a_node_holds_it(link: Link) -> None:
    link.settle()
    held = link.say(link.guest, "too late")
    link.perform(link.guest)
    link.host.machine.leave(link.now)
    link.host.commit()
    while link.host.todo:
        link.perform(link.host)
    for _ in range(4):
        link.fetch(link.guest)
    word = last_word(link.guest, held)
    assert (word.state, word.why) == ("refused", "peer left")


def test_a_message_whose_node_forgot_it_is_waiting_again(link: Link) -> None:
    link.settle()
    message = link.say(link.guest, "forgotten")
    link.perform(link.guest)
    link.host.reads[0].cells.clear()
    link.host.reads[0].incarnation = b"j" * 16
    link.say(link.guest, "told by its receipt")
    link.perform(link.guest)
    assert link.guest.states(message) == ["waiting", "held", "waiting"]
    link.perform(link.guest)
    assert link.guest.states(message)[-1] == "held"


def test_a_full_outbox_can_still_renew_keys_and_say_goodbye(link: Link) -> None:
    link.settle()
    machine = link.host.machine
    while len(machine.outbox.entries) < limits.OUTBOX_MAX:
        link.say(link.host, "again")
        machine._said_since = 0
    epoch = machine.epoch
    assert machine.renew(link.now) and machine.epoch == epoch + 1
    machine.leave(link.now)
    link.host.commit()
    assert len(machine.outbox.entries) == limits.OUTBOX_MAX + 2


def test_a_full_outbox_is_carried_into_a_fresh_session(link: Link) -> None:
    link.settle()
    while len(link.host.machine.outbox.entries) < limits.OUTBOX_MAX:
        link.host.machine._said_since = 0
        link.say(link.host, "again")
    again = meet(98)
    again.host.carry_from(link.host.machine, link.now)
    assert len([each for each in again.host.outbox.entries.values() if each.told]) == limits.OUTBOX_MAX


def test_what_was_acknowledged_out_of_order_is_shown_when_the_session_begins_afresh(link: Link) -> None:
    """The peer was told that it is delivered: it must not vanish with the old session."""
    link.settle()
    link.say(link.host, "first, and late")
    second = link.say(link.host, "second")
    link.host.todo = link.host.todo[-1:]
    link.perform(link.host)
    link.fetch(link.guest)
    link.fetch(link.guest)
    link.perform(link.guest)
    link.fetch(link.host)
    link.fetch(link.host)
    assert link.host.states(second)[-1] == "delivered" and link.guest.texts == []
    again = meet(97)
    again.guest.carry_from(link.guest.machine, link.now)
    _, told = again.guest.take()
    assert [each.text for each in told if isinstance(each, TextReceived)] == ["second"]


def test_a_late_receipt_of_an_old_sealing_is_no_receipt(link: Link) -> None:
    link.settle()
    message = link.say(link.guest, "sealed before")
    (old,) = link.guest.todo
    assert isinstance(old, Append)
    link.guest.todo.clear()
    link.host.machine.renew(link.now)
    link.host.commit()
    while link.host.todo:
        link.perform(link.host)
    link.fetch(link.guest)
    link.fetch(link.guest)
    link.guest.machine.receipted(old.token, "h0", b"i" * 16, link.now)
    link.guest.commit()
    assert link.guest.states(message) == ["waiting"]
    link.settle()
    assert_all_told(link)


def test_an_answer_to_nothing_changes_nothing(link: Link) -> None:
    link.settle()
    link.guest.machine.append_failed(9_999, "unknown", "gone", link.now)
    link.guest.machine.receipted(9_999, "h0", b"k" * 16, link.now)
    message = link.say(link.guest, "as ever")
    assert isinstance(link.guest.todo[0], Append) and link.guest.todo[0].route == 0
    link.settle()
    assert link.guest.states(message)[-1] == "delivered"


@pytest.mark.parametrize("loser", ["host", "guest"])
def test_a_lost_queue_is_replaced_and_what_it_held_comes_again(link: Link, loser: str) -> None:
    link.settle()
    end: End = getattr(link, loser)
    other = link.other(end)
    message = link.say(other, "held by the node that dies")
    link.perform(other)
    fresh = FakeQueue("fresh")
    end.reads[0].alive = False
    end.reads[0] = other.writes[0] = fresh
    end.cursors[0] = 0
    end.machine.requeue(0, b"fresh", link.now)
    end.commit()
    while not any(isinstance(each, UseRoute) for each in other.todo):
        if end.todo:
            link.perform(end)
        link.fetch(other)
    other.todo.remove(UseRoute(0, b"fresh"))
    assert other.states(message)[-1] in ("waiting", "held")
    link.settle()
    assert other.states(message)[-1] == "delivered"
    assert end.texts[-1] == "held by the node that dies"
    assert fresh.cells


def test_a_lost_commit_is_noticed_and_told_once() -> None:
    link = Link(meet(1, routes=1), Random(1), routes=1)
    link.settle()
    link.host.machine.renew(link.now)
    link.host.commit()
    link.host.todo.clear()
    for _ in range(4):
        link.say(link.host, "unreadable")
        cells = [cell for output in link.host.todo if isinstance(output, Append) for cell in output.cells]
        link.host.todo.clear()
        link.guest.machine.receive(cells, link.now)
        link.guest.commit()
        link.now += limits.OLD_EPOCH_MS // 2
    assert len([each for each in link.guest.events if isinstance(each, OutOfStep)]) == 1


def test_what_is_said_when_both_queues_are_gone_waits_for_a_new_one(link: Link) -> None:
    test_refused_when_both_queues_are_gone(link)
    message = link.say(link.guest, "is there a way?")
    word = last_word(link.guest, message)
    assert word.state == "waiting" and "no queue" in word.why and not link.guest.todo
    link.host.machine.requeue(1, b"fresh", link.now)
    link.host.commit()
    while not any(isinstance(each, UseRoute) for each in link.guest.todo):
        if link.host.todo:
            link.perform(link.host)
        link.fetch(link.guest)
    link.guest.todo.remove(UseRoute(1, b"fresh"))
    link.settle()
    assert last_word(link.guest, message).state == "delivered"


class RoughLink(Link):
    """A link whose nodes forget what they hold, and whose queues are replaced."""

    def __init__(self, seed: int, random: Random) -> None:
        super().__init__(meet(seed), random)
        self.known: dict[bytes, FakeQueue] = {}

    def perform(self, end: End) -> None:
        routes = [each for each in end.todo if isinstance(each, UseRoute)]
        for output in routes:
            end.todo.remove(output)
            end.writes[output.route] = self.known[output.address]
        if end.todo:
            super().perform(end)

    def forget(self, end: End) -> None:
        """A node comes back from an old backup."""
        route = self.random.randrange(2)
        queue = end.reads[route]
        queue.cells.clear()
        queue.incarnation = self.random.randbytes(16)
        end.cursors[route] = 0

    def replace(self, end: End) -> None:
        """A node dies for good, and another one takes its place."""
        route, address = self.random.randrange(2), self.random.randbytes(8)
        end.reads[route].alive = False
        end.reads[route] = self.known[address] = FakeQueue(f"new {address.hex()}")
        end.cursors[route] = 0
        end.machine.requeue(route, address, self.now)
        end.commit()

    def rest(self) -> None:
        """Two days in which nobody says anything."""
        self.loss = self.reply_loss = 0.0
        for _ in range(300):
            for end in self.ends:
                while end.todo:
                    self.perform(end)
                for index, queue in enumerate(end.reads):
                    new = queue.cells[end.cursors[index] :]
                    end.cursors[index] = len(queue.cells)
                    if new:
                        end.machine.receive(list(new), self.now)
                        end.commit()
            self.sleep(600_000)


@CHAOS
@given(seed=st.integers(0, 2**32))
def test_nodes_that_forget_and_die_take_nothing_in_silence(seed: int) -> None:
    random = Random(seed)
    link = RoughLink(seed, random)
    link.loss, link.reply_loss = random.choice([(0.0, 0.0), (0.2, 0.2)])
    for step in range(100):
        end = random.choice(link.ends)
        match random.randrange(10):
            case 0 | 1:
                link.say(end, f"message {step}")
            case 2 | 3 | 4:
                if end.todo:
                    link.perform(end)
            case 5 | 6:
                link.fetch(end, chaos=True)
            case 7:
                link.sleep(random.choice([10, 1_000, 30_000, 90_000]))
            case 8:
                random.choice([link.forget, link.replace])(end)
            case 9:
                if random.random() < 0.5:
                    end.crash(link.now)
                else:
                    link.host.machine.renew(link.now)
                    link.host.commit()
    link.rest()
    for end in link.ends:
        got = [each.id for each in link.other(end).events if isinstance(each, TextReceived)]
        assert len(got) == len(set(got))
        for message in end.sent:
            final = last_word(end, message)
            assert final.state in ("delivered", "expired", "refused")
            assert final.state != "delivered" or message in got
