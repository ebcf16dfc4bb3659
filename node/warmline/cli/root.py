"""`warmline`: finds the command, prints every error with what to do next.

The table below is all that ``--help`` needs, so that asking for help imports click and nothing else.
"""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Iterator

import click

from warmline import __version__
from warmline_protocol.errors import WarmlineError

COMMANDS = {
    "talk": "Talk to a peer, end-to-end encrypted, under a name you make up.",
    "threads": "Supporters whom you can find again, and forgetting them.",
    "report": "Check a report that proves what a supporter wrote.",
    "groups": "Find support groups, join one, or publish your own.",
    "desk": "Who is on duty when: find a desk, or publish your community's rota.",
    "supporter": "For peer supporters: keys, card, bond, credentials, being on duty.",
    "issuer": "For organisations that train and credential supporters.",
    "collector": "For collectors of feedback: take answers, and publish what they come to.",
    "conduct": "What collectors published, recomputed by you; and objections to it.",
    "advocate": "For advocates: file reports for people who have no wallet.",
    "panel": "For panellists: read cases, vote, and end what is over.",
    "node": "For operators: run a node and see how it is doing.",
    "chain": "The embedded development chain.",
    "config": "Print every configuration field with its meaning.",
    "demo": "The whole story on this machine, with real processes, in about a minute.",
}

DEFECT = 70
"""EX_SOFTWARE of sysexits.h."""

DISCLAIMER = (
    "warmline is people listening to people. It is not therapy and not a crisis service, and nobody here can trace "
    "you or send help. It is for adults, and its encryption has not been audited yet."
)


class LazyGroup(click.Group):
    """A group whose subcommands live in ``warmline.cli.<name>`` as ``command``."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        if name not in COMMANDS:
            return None
        command: click.Command = importlib.import_module(f"warmline.cli.{name}").command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


@click.group(cls=LazyGroup, epilog=DISCLAIMER, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="warmline")
def command() -> None:
    """A peer-support line that nobody owns."""


def main() -> None:
    """Run the command line.

    Exit 0 when it worked, 1 on an explained error, 2 on wrong usage, 70 on a defect of ours, 130 on Ctrl-C.
    """
    try:
        command(standalone_mode=False)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except (click.Abort, KeyboardInterrupt):
        sys.exit(130)
    except WarmlineError as error:
        _explain([error])
    except BrokenPipeError:
        _end_quietly()
    except BaseExceptionGroup as group:
        _explain_group(group)
    except Exception as error:  # noqa: BLE001 - a defect of ours, which no person at a terminal can read as a traceback
        _apologise(error)


def _explain_group(group: BaseExceptionGroup[BaseException]) -> None:
    explained = list(_flatten(group))
    if any(isinstance(error, (KeyboardInterrupt, click.Abort)) for error in explained):
        sys.exit(130)
    if all(isinstance(error, BrokenPipeError) for error in explained):
        _end_quietly()
    defects = [error for error in explained if not isinstance(error, WarmlineError)]
    if defects:
        _apologise(group if len(explained) > 1 else defects[0])
    _explain([error for error in explained if isinstance(error, WarmlineError)])


def _end_quietly() -> None:
    """Whoever read the output (`| head`) has had enough; Python would complain once more when it flushes."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    sys.exit(141)


def _apologise(error: BaseException) -> None:
    """The type and place only: the text of an unforeseen error may quote what people wrote."""
    if os.environ.get("WARMLINE_DEBUG"):
        raise error
    from traceback import extract_tb

    first = next(iter(_flatten(error))) if isinstance(error, BaseExceptionGroup) else error
    frames = extract_tb(first.__traceback__)
    where = f" at {os.path.basename(frames[-1].filename)}:{frames[-1].lineno}" if frames else ""
    click.secho(
        f"warmline: something went wrong that should not have ({type(first).__name__}{where})", fg="red", err=True
    )
    click.echo(
        "  → This is a defect of warmline's. WARMLINE_DEBUG=1 before the command shows where, for a report.", err=True
    )
    sys.exit(DEFECT)


def _flatten(group: BaseExceptionGroup[BaseException]) -> Iterator[BaseException]:
    for error in group.exceptions:
        if isinstance(error, BaseExceptionGroup):
            yield from _flatten(error)
        else:
            yield error


def _explain(errors: list[WarmlineError]) -> None:
    for error in dict.fromkeys(errors):
        click.secho(f"warmline: {error.message}", fg="red", err=True)
        click.echo(f"  → {error.hint}", err=True)
    sys.exit(1)
