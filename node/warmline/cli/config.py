"""`warmline config`: every field of a node's configuration with its meaning and default."""

from __future__ import annotations

import click


@click.command(help="Print every configuration field with its meaning and default, as a TOML file.")
def command() -> None:
    from warmline.daemon.config import render

    click.echo(render())
