"""A supporter's device on the command line: where its files are, and its passphrase, which is never an argument."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click


def device_passphrase(fd: int | None, *, new: bool = False) -> str:
    """The passphrase; a ``new`` one is typed twice."""
    words = "A passphrase for this device (8 characters or more)" if new else "Passphrase of this device"
    return secret(fd, words, twice=new)


def secret(fd: int | None, words: str, *, twice: bool) -> str:
    """What is not shown while it is typed: from the file descriptor, else asked for by these words."""
    if fd is not None:
        from warmline.chain.wallet import passphrase_from_fd

        return passphrase_from_fd(fd)
    text: str = click.prompt(words, hide_input=True, confirmation_prompt=twice, err=True)
    return text


device_option = click.option(
    "--data",
    "folder",
    envvar="WARMLINE_SUPPORTER",
    type=click.Path(path_type=Path),
    default=lambda: Path(click.get_app_dir("warmline")) / "supporter",
    show_default="in your application directory",
    help="Directory of your device key and card.",
)
"""``--data``, which the command gets as ``folder``."""


def supporter_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add ``--data`` (the command gets it as ``folder``) and ``--passphrase-fd``."""
    words = "Read the device's passphrase from this file descriptor."
    return device_option(click.option("--passphrase-fd", type=int, help=words)(command))
