"""A log node that shows people different things, and members who say that it does."""

from __future__ import annotations

from support.rooms import FakeLog, House, Person, a_house
from warmline_protocol import limits
from warmline_protocol.session.events import Gap, OpenLog, OutOfStep, TextReceived
from warmline_protocol.session.messages import Heartbeat, Inner, pack_body, pack_inner

NAMES = ["River", "Moss", "Fern"]


class Lying(FakeLog):
    """What a node shows to one reader: some cells of the true log replaced, or in another order."""

    def __init__(self, true: FakeLog) -> None:
        self.true = true
        self.shown: dict[int, int] = {}
        self.rubbish: set[int] = set()
        self.__dict__.update({name: value for name, value in true.__dict__.items() if name != "log"})

    @property
    def log(self):  # type: ignore[no-untyped-def]
        return self.true.log

    @log.setter
    def log(self, value) -> None:  # type: ignore[no-untyped-def]
        self.true.log = value

    def read(self, read_key: bytes | None, after: int) -> list[tuple[int, bytes]]:
        cells = dict(self.true.read(read_key, after))
        all_of_it = dict(self.true.read(read_key, 0))
        return [
            (seq, bytes(limits.CELL_SIZE) if seq in self.rubbish else all_of_it[self.shown.get(seq, seq)])
            for seq in cells
        ]


def a_talking_house() -> House:
    house = a_house(*NAMES)
    for person in house.everyone:
        house.say(person, "hello")
    house.settle()
    return house


def once(house: House) -> None:
    for _ in range(4):
        for person in house.everyone:
            while person.todo:
                house.perform(person)
            house.fetch(person)


def pass_time(house: House) -> None:
    """Until the host has said how far it has read."""
    for _ in range(4):
        once(house)
        house.sleep(limits.SEEN_HOST_MS)


def lost(person: Person) -> bool:
    return person.machine.out_of_step


def unique(person: Person) -> bool:
    ids = [each.id for each in person.events if isinstance(each, TextReceived)]
    return len(ids) == len(set(ids))


def test_a_cell_hidden_from_one_member_is_noticed_and_told() -> None:
    house = a_talking_house()
    river, moss, fern = house.members
    river.log = lying = Lying(house.log)
    lying.rubbish.add(house.log.log.head + 1)
    message = house.say(moss, "River must not see this")
    while moss.todo:
        house.perform(moss)
    mine = house.say(river, "said into the dark")
    house.say(house.host, "hello all")
    pass_time(house)
    assert lost(river) and not lost(fern)
    river.log = house.log
    house.rejoin(river)
    house.settle()
    assert not lost(river) and "River must not see this" not in river.texts
    assert moss.states(message)[-1] == "delivered"  # the host has it
    assert house.host.texts.count("said into the dark") == 1 and river.states(mine)[-1] == "delivered"
    house.say(moss, "still there?")
    house.settle()
    assert river.texts[-1] == "still there?"
    assert Gap(moss.machine.me.id, 1) in river.events
    assert all(unique(person) for person in house.everyone)


def test_a_log_in_another_order_is_another_log() -> None:
    house = a_talking_house()
    river, moss, fern = house.members
    river.log = lying = Lying(house.log)
    head = house.log.log.head
    lying.shown = {head + 1: head + 2, head + 2: head + 1}
    for person, text in ((moss, "first"), (fern, "second")):
        house.say(person, text)
        while person.todo:
            house.perform(person)
    house.say(house.host, "third")
    pass_time(house)
    assert lost(river)
    assert not lost(moss) and not lost(fern)


def test_a_node_that_goes_on_lying_is_left() -> None:
    house = a_talking_house()
    river = house.members[0]
    before = house.log
    for _ in range(limits.ROOM_REJOINS_MAX):
        river.log = lying = Lying(house.log)
        lying.rubbish.add(house.log.log.head + 1)
        house.say(house.members[1], "hidden from River")
        while house.members[1].todo:
            house.perform(house.members[1])
        house.say(house.host, "hello")
        pass_time(house)
        if not lost(river):
            break
        house.rejoin(river)
        house.settle()
        if house.log is not before:
            break
    assert house.log is not before and house.logs == 1
    house.say(house.members[1], "in a new place")
    house.settle()
    assert all("in a new place" in person.texts for person in (house.host, river, house.members[2]))
    assert all(unique(person) for person in house.everyone)


def test_the_host_leaves_a_log_that_a_member_reads_differently() -> None:
    house = a_talking_house()
    river = house.members[0]
    river.log = lying = Lying(house.log)
    lying.rubbish.add(house.log.log.head + 1)
    house.say(house.members[1], "hidden from River")
    while house.members[1].todo:
        house.perform(house.members[1])
    house.fetch(river)
    message = house.say(river, "I have read on")
    house.settle()
    assert house.logs == 1 and not lost(river)
    assert river.states(message)[-1] == "delivered" and house.host.texts.count("I have read on") == 1
    house.say(house.members[1], "and now?")
    house.settle()
    assert river.texts[-1] == "and now?"
    hidden = "hidden from River" in river.texts  # said again in the new log, where the host had not confirmed it yet
    assert hidden or Gap(house.members[1].machine.me.id, 1) in river.events


def test_a_member_who_lies_about_the_log_moves_the_room_once() -> None:
    house = a_talking_house()
    river = house.members[0]
    for number in range(5):
        machine = river.machine
        body = pack_body(Heartbeat(machine.epoch, bytes(16)))
        inner = Inner(bytes([number]) * 16, 0, 1, house.now, body, machine.after, None, b"\1" * 16)
        machine._append(machine._cells(machine.group.seal(pack_inner(inner)), 0, "log"), [])
        river.commit()
        house.settle()
    assert house.logs == 1
    assert not any(isinstance(each, OutOfStep) for person in house.members for each in person.events)


def test_a_log_that_came_back_from_a_backup_is_left() -> None:
    house = a_talking_house()
    message = house.say(house.members[0], "before the restore")
    once(house)
    house.log.incarnation = b"restored" * 2
    house.say(house.members[1], "and after")
    house.settle()
    assert house.logs == 1
    assert {"before the restore", "and after"} <= set(house.host.texts)
    assert house.members[0].states(message)[-1] == "delivered"
    assert all(unique(person) for person in house.everyone)


def test_cells_that_are_played_again_are_shown_once_and_move_nobody() -> None:
    house = a_talking_house()
    river = house.members[0]
    house.say(river, "once is enough")
    house.settle()
    assert river.keys is not None
    for cell in house.log.cells[-6:]:
        house.log.append((cell,), river.keys.send_key, river.keys.fence)
    house.settle()
    house.say(house.host, "go on")
    house.settle()
    assert house.host.texts.count("once is enough") == 1
    assert all(unique(person) and not lost(person) for person in house.everyone)
    assert house.logs == 0


def test_fragments_of_others_in_between_harm_nobody() -> None:
    house = a_talking_house()
    river, moss = house.members[:2]
    long = house.say(river, "x" * 6000)
    output = river.todo.pop(0)
    assert len(output.cells) == 2  # type: ignore[union-attr]
    assert river.keys is not None and moss.keys is not None
    first, second = output.cells  # type: ignore[union-attr]
    house.log.append((second,), river.keys.send_key, river.keys.fence)
    house.log.append((bytes(limits.CELL_SIZE),), moss.keys.send_key, moss.keys.fence)
    seq = house.log.append((first,), river.keys.send_key, river.keys.fence)
    river.machine.receipted(output.token, "log node", house.log.incarnation, seq, house.now)  # type: ignore[union-attr]
    river.commit()
    house.settle()
    assert house.host.texts[-1] == "x" * 6000 == house.members[2].texts[-1]
    assert river.states(long)[-1] == "delivered"


def test_a_rubbish_commit_puts_nobody_out_of_step() -> None:
    """Before, one member could send everybody out to knock again."""
    house = a_talking_house()
    river = house.members[0]
    machine = river.machine
    cells = machine._commit_cells(b"no commit at all" * 20, 0, "log", machine.schedule.current)
    assert river.keys is not None
    house.log.append(cells, river.keys.send_key, river.keys.fence)
    house.settle()
    assert not any(lost(person) for person in house.everyone)
    house.say(river, "still here")
    house.settle()
    assert house.host.texts[-1] == "still here"


def test_open_log_is_asked_for_once() -> None:
    house = a_talking_house()
    for _ in range(3):
        house.room._leave_log()
    outputs, _ = house.room.take()
    assert sum(isinstance(each, OpenLog) for each in outputs) == 1
