"""`warmline supporter card`: make, renew and publish what seekers see of you."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from warmline.cli.device import device_passphrase, supporter_options
from warmline.cli.entries import entry_option, known_entries

if TYPE_CHECKING:
    from warmline.client.card import Profile
    from warmline.client.identity import Identity, IdentityFiles


@click.command()
@click.option("--name", required=True, help="The name that seekers see. Not your real one, if you like.")
@click.option("--language", "languages", multiple=True, required=True, help="A language you support in, like en.")
@click.option("--topic", "topics", multiple=True, required=True, help="Something you know from your own life.")
@click.option("--about", default="", help="A few sentences about you.")
@click.option("--age", default="18+", show_default=True, help="Ages you feel able to support: 18+ or 18-30.")
@click.option(
    "--mandated-reporter",
    default="No duty to report.",
    show_default=True,
    help="Whether the law obliges you to report what you hear, and which law. Seekers see it before they write.",
)
@click.option("--credential", "credentials", multiple=True, help="A credential type that you hold.")
@click.option("--desk", "desks", multiple=True, metavar="ID", help="The 64 digits of a desk whose rota you are on.")
@click.option("--closed", is_flag=True, help="Do not let strangers knock for now.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@supporter_options
@entry_option
def card(
    name: str,
    languages: tuple[str, ...],
    topics: tuple[str, ...],
    about: str,
    age: str,
    mandated_reporter: str,
    credentials: tuple[str, ...],
    desks: tuple[str, ...],
    closed: bool,
    as_json: bool,
    passphrase_fd: int | None,
    folder: Path,
    entries: tuple[str, ...],
) -> None:
    """Make your card, or renew it: it lives seven days. Everything on it is public.

    Without a wallet (`warmline supporter register`) the card works and shows as unverified.
    """
    from warmline.client.card import Profile
    from warmline.client.identity import BOX_FILE, IdentityFiles
    from warmline_protocol.records.listing_file import age_band

    type_ids: tuple[bytes, ...] = ()
    if credentials:
        from warmline.chain.contracts import type_id_of

        type_ids = tuple(type_id_of(each) for each in credentials)
    profile = Profile(name, languages, topics, about, age_band(age), mandated_reporter, type_ids, _desk_ids(desks))
    files = IdentityFiles(folder)
    known = known_entries(entries)
    passphrase = device_passphrase(passphrase_fd, new=not (folder / BOX_FILE).exists())
    identity = _identity(files, passphrase)
    say: Callable[[str], None] = (lambda text: None) if as_json else click.echo
    result = _make(files, identity, profile, passphrase, not closed, known, say)
    if as_json:
        click.echo(json.dumps(result))
    elif result["verdict"] in ("accept", "defer"):
        click.echo(f"Your card is published as {'verified' if result['verified'] else 'unverified'}: {result['hint']}")
        click.echo(f"Its id, for a desk's rota: {result['card']}")
    if result["verdict"] in ("reject", "ignore"):
        from warmline_protocol.errors import RefusedError

        raise RefusedError(result["reason"], f"the card was not taken: {result['reason']}", hint=result["hint"])


def _desk_ids(given: tuple[str, ...]) -> tuple[bytes, ...]:
    from warmline_protocol.errors import UsageError

    for each in given:
        if len(each) != 64 or set(each.lower()) - set("0123456789abcdef"):
            raise UsageError(f"{each!r:.70} is not a desk's id", hint="`warmline desk find --json` shows it whole.")
    return tuple(bytes.fromhex(each) for each in given)


def _identity(files: IdentityFiles, passphrase: str) -> Identity:
    """The device's identity; without any, a key of its own that no wallet vouches for."""
    from warmline.client.identity import BOX_FILE, Identity
    from warmline.env import SystemRng
    from warmline_protocol.keys import SigningKey

    if (files.folder / BOX_FILE).exists() or (files.folder / "device.key").exists():
        return files.load(lambda: passphrase)
    return Identity(SigningKey(SystemRng().bytes(32)))


def _make(
    files: IdentityFiles,
    identity: Identity,
    profile: Profile,
    passphrase: str,
    open_to_all: bool,
    entries: tuple[str, ...],
    say: Callable[[str], None],
) -> dict[str, Any]:
    import trio

    from warmline.client.card import new_card, open_doors
    from warmline.client.finder import Finder
    from warmline.client.routes import Routes
    from warmline.env import SystemClock, SystemRng
    from warmline_protocol.records.card import Card
    from warmline_protocol.records.envelope import open_record

    rng, clock = SystemRng(), SystemClock()
    before = files.card()
    avatar = before.body.avatar if before and isinstance(before.body, Card) else rng.bytes(16)

    async def make() -> dict[str, Any]:
        routes = Routes(entries, rng=rng, clock=clock)
        finder = Finder(routes, rng=rng, clock=clock)
        say("Looking for nodes …")
        nodes = await finder.meet_nodes()
        say("Opening your doors, where seekers can knock …")
        doors = await open_doors(identity, nodes, routes, rng=rng, open_to_all=open_to_all)
        renewed, data = new_card(identity, profile, doors, avatar=avatar, rng=rng, clock=clock)
        # Kept before it is published: a first message to a lost contact key could never be opened.
        files.save(renewed, passphrase, rng)
        files.keep_card(data)
        say("Publishing the card …")
        (published,) = await finder.publish([data])
        return {
            "card": open_record(data).id.hex(),
            "doors": [door.node.peer_id for door in doors],
            "verdict": published.verdict,
            "reason": published.reason,
            "hint": published.hint,
            "verified": published.verified,
        }

    return trio.run(make)
