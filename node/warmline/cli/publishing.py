"""What commands that publish records share: the file, the identity, the finder, and what became of each record."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from warmline.cli.device import device_passphrase
from warmline.cli.entries import known_entries

if TYPE_CHECKING:
    from warmline.client.finder import Finder
    from warmline.client.identity import Identity
    from warmline_protocol.records.messages import Published


def with_finder(
    entries: tuple[str, ...], work: Callable[[Finder], Awaitable[Any]], settings: Any = None, cache: Any = None
) -> Any:
    """Do something with a finder of one's own."""
    import trio

    from warmline.client.finder import Finder
    from warmline.client.routes import Routes
    from warmline.env import SystemClock, SystemRng

    rng, clock = SystemRng(), SystemClock()
    known = known_entries(entries)

    async def run() -> Any:
        routes = Routes(known, rng=rng, clock=clock)
        return await work(Finder(routes, rng=rng, clock=clock, settings=settings, cache=cache))

    return trio.run(run)


def text_of(file: Path) -> str:
    """A file that a person wrote; ConfigError where it is not UTF-8."""
    from warmline_protocol.errors import ConfigError

    try:
        return file.read_text("utf-8")
    except UnicodeDecodeError:
        raise ConfigError(f"{file} is not a UTF-8 text file", hint="Save it as UTF-8 and try again.") from None


def load_identity(folder: Path, passphrase_fd: int | None) -> Identity:
    """The device's identity, after its passphrase."""
    from warmline.client.identity import IdentityFiles

    return IdentityFiles(folder).load(lambda: device_passphrase(passphrase_fd))


def report(names: Sequence[tuple[str, str]], answers: Sequence[Published], as_json: bool) -> None:
    """Print the verdict on each record, (id, title) by (id, title); exit 1 where one was refused."""
    rows = [
        {
            "id": slug,
            "title": title,
            "record": answer.id.hex(),
            "verdict": answer.verdict,
            "reason": answer.reason,
            "hint": answer.hint,
            "verified": answer.verified,
        }
        for (slug, title), answer in zip(names, answers, strict=True)
    ]
    if as_json:
        click.echo(json.dumps(rows))
    else:
        for row in rows:
            mark = {"accept": "ok", "defer": "waiting"}.get(str(row["verdict"]), "refused")
            click.echo(f"{mark:8} {row['id']:28} {row['title']}")
        for hint in dict.fromkeys(str(row["hint"]) for row in rows):
            click.echo(f"→ {hint}")
    if any(row["verdict"] in ("reject", "ignore") for row in rows):
        raise click.exceptions.Exit(1)
