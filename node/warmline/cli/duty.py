"""`warmline supporter duty`: a supporter at their doors, with the conversations and rooms they have let people into."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from warmline.cli.device import device_passphrase, supporter_options
from warmline.cli.entries import entry_option, known_entries, local_zone

if TYPE_CHECKING:
    import trio

    from warmline.cli.switchboard import Face, Switchboard
    from warmline.client.door_policy import DoorRules
    from warmline.client.duty import Duty


@click.command(short_help="Be there: answer your doors, host your rooms.")
@click.option("--seats", type=click.IntRange(1, 8), default=3, show_default=True, help="Conversations at once.")
@click.option(
    "--door",
    "who",
    type=click.Choice(["open", "known", "desk"]),
    help="Who may knock: anybody, people you know, or also people whom your desk sends. Without it, as your card says.",
)
@click.option("--per-day", type=click.IntRange(0, 48), default=0, help="Conversations in 24 hours; 0 is no limit.")
@click.option("--rest", type=click.IntRange(0, 240), default=0, help="Minutes to rest after a conversation.")
@click.option(
    "--unread/--read",
    default=None,
    help="Show that somebody knocks, and name and words only on /show. Without --json this is how it is.",
)
@click.option(
    "--keep",
    is_flag=True,
    help="Keep conversations on this device, encrypted, until they end: a crash then cuts none off.",
)
@click.option("--second-queue-after", type=float, hidden=True, help="Seconds before the second queue is offered.")
@click.option("--heartbeat-every", type=float, hidden=True, help="Seconds between a room's signs of life.")
@click.option("--log-away-after", type=float, hidden=True, help="Seconds of a log node's silence before a room moves.")
@click.option("--json", "as_json", is_flag=True, help="JSON lines in and out, for programs.")
@supporter_options
@entry_option
def duty(
    seats: int,
    who: str | None,
    per_day: int,
    rest: int,
    unread: bool | None,
    keep: bool,
    second_queue_after: float | None,
    heartbeat_every: float | None,
    log_away_after: float | None,
    as_json: bool,
    passphrase_fd: int | None,
    folder: Path,
    entries: tuple[str, ...],
) -> None:
    """Be there for people: keep your doors, take or decline who knocks, host your rooms. Ctrl-D ends your duty.

    Your groups and desks are renewed while you are on duty. Nobody is told why you decline, and nothing is counted.
    """
    from warmline.client.door_policy import DoorRules

    given = {"second_queue_ms": second_queue_after, "heartbeat_ms": heartbeat_every, "log_silence": log_away_after}
    pace = {name: seconds for name, seconds in given.items() if seconds is not None}
    rules = DoorRules(who or "", seats, per_day, rest)
    known = known_entries(entries)
    passphrase = device_passphrase(passphrase_fd)
    import trio

    hidden = not as_json if unread is None else unread
    trio.run(_duty, folder, passphrase, known, rules, hidden, keep, as_json, pace)


async def _duty(
    folder: Path,
    passphrase: str,
    entries: tuple[str, ...],
    rules: DoorRules,
    hidden: bool,
    keep: bool,
    as_json: bool,
    pace: dict[str, float],
) -> None:
    import trio

    from warmline.cli.switchboard import JsonFace, TerminalFace
    from warmline.cli.terminal import open_terminal
    from warmline.client.duty import open_duty
    from warmline.client.line import pick_up
    from warmline.client.session import SessionSettings
    from warmline.env import SystemClock, SystemRng, run_in_thread

    settings = SessionSettings(
        **{name: int(seconds * 1000) if name.endswith("_ms") else seconds for name, seconds in pace.items()}  # type: ignore[arg-type]
    )
    line = await pick_up(entries, rng=SystemRng(), clock=SystemClock(), run_blocking=run_in_thread, settings=settings)
    async with open_terminal() as terminal:
        face: Face = JsonFace(terminal) if as_json else TerminalFace(terminal, supporter=True, many=True)
        face.note("Opening your doors …", "2")
        async with (
            open_duty(line, folder, passphrase, seats=rules.at_once, rules=rules, keep=keep) as duty,
            trio.open_nursery() as nursery,
        ):
            board = _at_work(duty, face, nursery, hidden)
            nursery.start_soon(_tell_due, duty, face)
            _greet(duty, face)
            for session in await duty.take_up():
                place = board.add(session, session.peer_name or "somebody")
                face.note(f"Going on with {place.name}.", "1", event="resumed", name=place.name, place=place.number)
            await board.serve()
            face.note("Saying goodbye …", "2")
            nursery.cancel_scope.cancel()


def _at_work(duty: Duty, face: Face, nursery: trio.Nursery, hidden: bool) -> Switchboard:
    """The board with all that a supporter can do at it; the door is listened at from now on."""
    from warmline.cli.duty_door import AtDoor
    from warmline.cli.duty_rooms import RoomVerbs
    from warmline.cli.duty_verbs import Verbs
    from warmline.cli.peers import SupporterDeeds
    from warmline.cli.switchboard import Switchboard

    door = AtDoor(duty, face, hidden=hidden)
    board = Switchboard(face, nursery, door.act)
    door.board = board
    board.also(Verbs(duty, face, board).act)
    rooms = RoomVerbs(duty, face, board)
    board.also(rooms.act, rooms.notice)
    deeds = SupporterDeeds(board, duty.supporting, duty.colleagues, duty.who_is, nursery)
    board.also(deeds.act, deeds.notice)
    door.deeds = deeds
    for listen in (door.listen, door.listen_left, door.listen_offers, door.listen_sent):
        nursery.start_soon(listen)
    return board


def _greet(duty: Duty, face: Face) -> None:
    rules = duty.gate.rules
    face.note(
        f"You are on duty as {duty.name}, at {_doors(duty.doors_up)}. /help says what you can do.",
        "1",
        event="on_duty",
        name=duty.name,
        doors=duty.doors_up,
        door=rules.who,
        seats=rules.at_once,
        per_day=rules.per_day,
        rest=rules.rest_minutes,
        today=duty.gate.today(),
        card=duty.card_id.hex(),
    )
    if rules.who != "open" and duty.says_open:
        face.note(
            "Your card still says that strangers may knock; they will be turned away without a reason. "
            "`warmline supporter card --closed` says it beforehand.",
            "33",
            event="card_says_open",
        )


async def _tell_due(duty: Duty, face: Face) -> None:
    """When this supporter is due, by the rotas they are on."""
    from warmline.cli.rota_chart import distance, moment
    from warmline.env import SystemClock

    await duty.rotas.wait_known()
    zone, now = local_zone(), SystemClock().utc_ms()
    for due in duty.rotas.due():
        start, end = due.watch.start, due.watch.end
        when = f"until {moment(end, zone)}" if due.now else f"{moment(start, zone)} (in {distance(start - now)})"
        face.note(
            f"{due.desk}: you are on the rota {'now, ' if due.now else 'next '}{when}.",
            "2",
            event="due",
            desk=due.desk,
            start_ms=start,
            end_ms=end,
            now=due.now,
        )


def _doors(count: int) -> str:
    if not count:
        return "no door yet: they are out of reach, and are tried again"
    return f"{count} door{'s' if count > 1 else ''}. People can knock now"
