"""Asks for a device's passphrase: at a prompt or from a file descriptor, never on the command line."""

from __future__ import annotations

import click


def device_passphrase(fd: int | None, *, new: bool = False) -> str:
    """The passphrase; a ``new`` one is typed twice."""
    if fd is not None:
        from warmline.chain.wallet import passphrase_from_fd

        return passphrase_from_fd(fd)
    words = "A passphrase for this device (8 characters or more)" if new else "Passphrase"
    text: str = click.prompt(words, hide_input=True, confirmation_prompt=new, err=True)
    return text
