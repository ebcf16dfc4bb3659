"""`warmline threads`: whom you can find again from this device, and forgetting them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import click

from warmline.cli.keeping import GIVE_BACK, Cupboard, ask_before, keeping_options, passphrase_of

if TYPE_CHECKING:
    from warmline.client.vault import FileVault

T = TypeVar("T")


@click.group()
def command() -> None:
    """Supporters whom you can find again, where you both said yes. They are kept on this device only, encrypted."""


@command.command("list")
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
@keeping_options
def list_(as_json: bool, passphrase_fd: int | None, folder: Path) -> None:
    """Show them by the names you gave them."""
    from warmline.cli.words import day
    from warmline.client.threads import threads

    cupboard = Cupboard(folder, passphrase_of(passphrase_fd))
    found = _with(cupboard, threads) if cupboard.exists else []
    if as_json:
        rows = [
            {"name": each.name, "supporter": each.supporter, "card": each.card.hex(), "since_ms": each.since_ms}
            for each in found
        ]
        click.echo(json.dumps(rows, ensure_ascii=False))
        return
    for each in found:
        click.echo(f"{each.name}  {each.supporter}, since {day(each.since_ms)}; you are {each.my_name} there")
    if not found:
        click.echo("No thread is kept on this device. /thread NAME in a conversation begins one.")


@command.command()
@click.argument("name")
@keeping_options
def forget(name: str, passphrase_fd: int | None, folder: Path) -> None:
    """Forget NAME on this device. The other side keeps its half until it forgets too; it finds nobody with it."""
    from warmline.client.threads import forget_thread
    from warmline_protocol.errors import UsageError

    cupboard = Cupboard(folder, passphrase_of(passphrase_fd))
    if not cupboard.exists:
        raise UsageError("no thread is kept on this device")
    _with(cupboard, lambda vault: forget_thread(vault, name))
    click.echo(f"Forgotten: {name}.")


def _with(cupboard: Cupboard, work: Callable[[FileVault], T]) -> T:
    import trio

    from warmline.env import run_in_thread

    async def open_and_work() -> T:
        vault = await cupboard.open(ask_before)
        try:
            return await run_in_thread(lambda: work(vault))
        finally:
            with trio.move_on_after(GIVE_BACK, shield=True):
                await cupboard.close()

    return trio.run(open_and_work)
