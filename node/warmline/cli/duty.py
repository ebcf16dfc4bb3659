"""`warmline supporter duty`: a supporter at their doors, with the conversations and rooms they have let people into."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from warmline.cli.device import device_passphrase, supporter_options
from warmline.cli.entries import entry_option, known_entries

if TYPE_CHECKING:
    from warmline.cli.switchboard import Face, Switchboard, Wish
    from warmline.client.duty import Duty
    from warmline.client.session_doors import Knocking


@click.command(short_help="Be there: answer your doors, host your rooms.")
@click.option("--seats", type=click.IntRange(1, 8), default=3, show_default=True, help="Conversations at once.")
@click.option("--second-queue-after", type=float, hidden=True, help="Seconds before the second queue is offered.")
@click.option("--json", "as_json", is_flag=True, help="JSON lines in and out, for programs.")
@supporter_options
@entry_option
def duty(
    seats: int,
    second_queue_after: float | None,
    as_json: bool,
    passphrase_fd: int | None,
    folder: Path,
    entries: tuple[str, ...],
) -> None:
    """Be there for people: keep your doors, take or decline who knocks, host your rooms. Ctrl-D ends your duty.

    Your card and the groups you published are renewed while you are on duty.
    """
    known = known_entries(entries)
    passphrase = device_passphrase(passphrase_fd)
    import trio

    trio.run(_duty, folder, passphrase, known, seats, as_json, second_queue_after)


async def _duty(
    folder: Path, passphrase: str, entries: tuple[str, ...], seats: int, as_json: bool, second_queue_after: float | None
) -> None:
    import trio

    from warmline.cli.switchboard import JsonFace, Switchboard, TerminalFace
    from warmline.cli.terminal import open_terminal
    from warmline.client.duty import open_duty
    from warmline.client.line import pick_up
    from warmline.client.session import SessionSettings
    from warmline.env import SystemClock, SystemRng, run_in_thread

    settings = SessionSettings()
    if second_queue_after is not None:
        settings = SessionSettings(second_queue_ms=int(second_queue_after * 1000))
    line = await pick_up(entries, rng=SystemRng(), clock=SystemClock(), run_blocking=run_in_thread, settings=settings)
    async with open_terminal() as terminal:
        face: Face = JsonFace(terminal) if as_json else TerminalFace(terminal, supporter=True, many=True)
        face.note("Opening your doors …", "2")
        async with open_duty(line, folder, passphrase, seats=seats) as duty, trio.open_nursery() as nursery:
            knocks = Knocks(duty, face)
            board = Switchboard(face, nursery, knocks.act)
            knocks.board = board
            nursery.start_soon(knocks.listen)
            face.note(
                f"You are on duty as {duty.name}, at {_doors(duty.doors_up)}. /help says what you can do.",
                "1",
                event="on_duty",
                name=duty.name,
                doors=duty.doors_up,
            )
            await board.serve()
            face.note("Saying goodbye …", "2")
            nursery.cancel_scope.cancel()


def _doors(count: int) -> str:
    if not count:
        return "no door yet: they are out of reach, and are tried again"
    return f"{count} door{'s' if count > 1 else ''}. People can knock now"


class Knocks:
    """Who waits at the doors, numbered; turns /accept, /decline and /busy into answers."""

    def __init__(self, duty: Duty, face: Face) -> None:
        self._duty = duty
        self._face = face
        self._waiting: dict[str, Knocking] = {}
        self._count = 0
        self.board: Switchboard | None = None

    async def listen(self) -> None:
        async for knock in self._duty.knocks:
            self._count += 1
            number = str(self._count)
            self._waiting[number] = knock
            where = self._duty.title_of(knock.listing)
            self._face.call()
            self._face.note(
                f"{number}: {knock.name or 'somebody'} knocks{f' for {where}' if where else ''}"
                + (f": “{knock.line}”" if knock.line else "")
                + f"   /accept {number}   /decline {number}   /busy {number}",
                "33",
                event="knock",
                knock=number,
                name=knock.name,
                line=knock.line,
                listing=knock.listing.hex(),
            )

    async def act(self, wish: Wish) -> bool:
        if wish.verb == "remove":
            await self._duty.remove(wish.target)
            return True
        if wish.verb not in ("accept", "decline", "busy"):
            return False
        number = self._which(wish.target)
        knock = self._waiting[number]
        match wish.verb:
            case "accept":
                await self._let_in(knock)
            case "decline":
                await self._duty.keeper.decline(knock)
            case "busy":
                await self._duty.keeper.busy(knock)
        # Only now: who could not be let in still waits for an answer.
        del self._waiting[number]
        return True

    async def _let_in(self, knock: Knocking) -> None:
        assert self.board is not None
        opened = await self._duty.let_in(knock)
        if opened.new:
            self.board.add(opened.talk, opened.name, room=opened.room)

    def _which(self, number: str) -> str:
        from warmline_protocol.errors import UsageError

        if number in self._waiting:
            return number
        if not number and len(self._waiting) == 1:
            return next(iter(self._waiting))
        waiting = ", ".join(self._waiting) or "nobody"
        raise UsageError(f"no knock {number!r}", hint=f"Waiting at your doors: {waiting}.")
