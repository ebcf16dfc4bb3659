"""`warmline node`: for operators. Thin: what it shows is asked of the running node, what it does is in the daemon."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, fields
from functools import wraps
from pathlib import Path
from typing import Any

import click


def default_data() -> Path:
    """The node's directory when none is named."""
    return Path(click.get_app_dir("warmline")) / "node"


data_option = click.option(
    "--data",
    type=click.Path(path_type=Path, file_okay=False),
    default=default_data,
    envvar="WARMLINE_NODE",
    show_default="your application directory",
    help="The node's directory.",
)
json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


@dataclass(frozen=True, slots=True)
class Setup:
    """What the first run writes into the configuration; empty where the default stays."""

    operator: str
    listen: tuple[str, ...]
    announce: tuple[str, ...]
    bootstrap: tuple[str, ...]
    chain: str
    manifest: Path | None

    def overrides(self) -> dict[str, dict[str, Any]]:
        """By section and field, without what was not said."""
        manifest = str(self.manifest.resolve()) if self.manifest else ""
        said: dict[str, dict[str, Any]] = {
            "node": {"operator": self.operator},
            "net": {
                "listen": self.listen,
                "announce": self.announce,
                "bootstrap": tuple(addr for addr in self.bootstrap if addr),
            },
            "chain": {"url": self.chain, "manifest": manifest},
        }
        return {section: {name: value for name, value in values.items() if value} for section, values in said.items()}


def setup_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """The options of :class:`Setup`, gathered into one argument ``setup``."""

    @wraps(function)
    def gathered(**given: Any) -> Any:
        names = [field.name for field in fields(Setup)]
        return function(setup=Setup(**{name: given.pop(name) for name in names}), **given)

    for option in (
        click.option("--manifest", type=click.Path(path_type=Path), help="Manifest of that chain's contracts."),
        click.option("--chain", default="", metavar="URL", help="Ethereum node to read supporters' standing from."),
        click.option("--bootstrap", multiple=True, metavar="ADDR", help="A node to join by: multiaddr with /p2p/…"),
        click.option("--announce", multiple=True, metavar="ADDR", help="Public address to tell others."),
        click.option("--listen", multiple=True, metavar="ADDR", help="Multiaddr to listen on."),
        click.option("--operator", default="", help="A name for who runs this node."),
    ):
        gathered = option(gathered)
    return gathered


@click.group(help="For operators: run a node and see how it is doing.")
def command() -> None:
    pass


@command.command(help="Create a node: its key and its configuration. `run` does this by itself the first time.")
@data_option
@setup_options
def init(data: Path, setup: Setup) -> None:
    _create(data, setup)
    click.echo(f"  run it with: warmline node run --data {data}")


@command.command(help="Run the node until Ctrl-C or SIGTERM; the first run creates it.")
@data_option
@setup_options
@click.option("--verbose", is_flag=True, help="Log more to standard error; still no addresses of clients.")
def run(data: Path, setup: Setup, verbose: bool) -> None:
    import logging

    from warmline.daemon.home import Home

    if not Home(data).exists():
        _create(data, setup)
    elif any(setup.overrides().values()):
        click.echo(f"  (the node exists: its settings are those in {data / 'config.toml'})", err=True)
    logging.basicConfig(
        level=logging.DEBUG if verbose else logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s"
    )
    for library in ("httpx", "httpcore"):  # they name the chain's URL, with the key that may be in it, at every poll
        logging.getLogger(library).setLevel(logging.WARNING)
    import trio

    from warmline.daemon.run import run_node

    trio.run(run_node, data, _say_ready)


def _create(data: Path, setup: Setup) -> None:
    from warmline.daemon.home import Home
    from warmline.env import SystemRng

    Home(data).create(SystemRng(), setup.overrides())
    click.echo(f"created a node in {data}: its key, and config.toml with every setting explained")


def _say_ready(node: Any) -> None:
    click.echo(f"node {node.peer_id} is ready")
    for addr in node.host.addrs():
        click.echo(f"  others join by: warmline node run --bootstrap {addr}")


def _ask(data: Path, question: str) -> Any:
    import trio

    from warmline.daemon import control
    from warmline.daemon.home import Home

    return trio.run(control.ask, Home(data).socket, question)


@command.command(help="How the running node is doing.")
@data_option
@json_option
@click.option("--quiet", is_flag=True, help="Print nothing; exit 0 when the node answers (for health checks).")
def status(data: Path, as_json: bool, quiet: bool) -> None:
    answer = _ask(data, "status")
    if quiet:
        return
    if as_json:
        click.echo(json.dumps(answer, indent=2))
        return
    from warmline.cli.node_text import status_text

    click.echo(status_text(answer))


@command.command(help="The nodes that this one knows, is connected to and gossips with.")
@data_option
@json_option
def mesh(data: Path, as_json: bool) -> None:
    answer = _ask(data, "mesh")
    if as_json:
        click.echo(json.dumps(answer, indent=2))
        return
    from warmline.cli.node_text import mesh_text

    click.echo(mesh_text(answer))


@command.command(
    help="Write the node to one file: its key, its settings, its records and queues, and nothing that people wrote. "
    "It may run meanwhile. Whoever has the file can pose as this node."
)
@data_option
@click.argument("target", type=click.Path(path_type=Path, dir_okay=False))
@json_option
def backup(data: Path, target: Path, as_json: bool) -> None:
    from dataclasses import asdict

    from warmline.daemon.backup import back_up
    from warmline.env import SystemClock

    done = back_up(data, target, now_ms=SystemClock().utc_ms())
    if as_json:
        click.echo(json.dumps(asdict(done)))
        return
    click.echo(f"wrote {target}: node {done.peer_id}, {done.queues} queues and {done.records} records, without cells")
    click.echo("  it was restored once to see that it works. Keep it as safe as the node's key")


@command.command(help="Make the node of a backup in an empty directory. Do not run it and the old one at once.")
@data_option
@click.argument("source", type=click.Path(path_type=Path, dir_okay=False))
def restore(data: Path, source: Path) -> None:
    from warmline.daemon.backup import restore as restored

    restored(source, data)
    click.echo(f"restored the node of {source} in {data}")
    click.echo(f"  run it with: warmline node run --data {data}")


@command.command(help="Look for what keeps the node from working, and name the fix. Exit 1 when something is broken.")
@data_option
@json_option
def doctor(data: Path, as_json: bool) -> None:
    import sys

    import trio

    from warmline.daemon.doctor import Level, examine

    findings = trio.run(examine, data)
    if as_json:
        rows = [{"what": f.what, "level": f.level.value, "detail": f.detail, "fix": f.fix} for f in findings]
        click.echo(json.dumps(rows, indent=2))
    else:
        for finding in findings:
            colour = {Level.OK: "green", Level.NOTE: "yellow", Level.FAIL: "red"}[finding.level]
            mark = click.style(f"{finding.level.value:<4}", fg=colour)
            click.echo(f"{mark}  {finding.what:<10} {finding.detail}")
            if finding.fix:
                click.echo(f"                 → {finding.fix}")
    if any(finding.level is Level.FAIL for finding in findings):
        sys.exit(1)
