"""`warmline demo`: the whole story on this machine, with real processes."""

from __future__ import annotations

import sys
from pathlib import Path

import click


def default_programme() -> Path:
    """The programme that the package carries; in a checkout, the one among the deployment examples."""
    import warmline

    packaged = Path(warmline.__file__).parent / "demo" / "weekly_programme.toml"
    if packaged.exists():
        return packaged
    return Path(warmline.__file__).parents[2] / "deploy" / "examples" / "weekly_programme.toml"


@click.command()
@click.option(
    "--programme",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    default=default_programme,
    show_default="the example that comes with warmline",
    help="A weekly programme of 24 groups or more.",
)
@click.option("--nodes", type=click.IntRange(6, 24), default=6, show_default=True, help="Nodes to run.")
@click.option("--keep", is_flag=True, help="Leave the network running afterwards, to play with.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object at the end, and nothing else.")
def command(programme: Path, nodes: int, keep: bool, as_json: bool) -> None:
    """Play the whole story on this machine: nodes, supporters, seekers, a node that dies, a credential revoked.

    Everything is a process of its own, driven by the commands that you would type. Takes about a minute; at the end
    it shows what happened, and what each party saw, read from what they were left with. Exit 1 if anything failed.
    """
    import trio

    from warmline.demo.run import Options, run_demo

    sys.exit(trio.run(run_demo, Options(programme, nodes, keep, as_json)))
