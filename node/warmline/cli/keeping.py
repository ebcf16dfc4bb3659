"""What a seeker keeps on this device, on the command line: where it lies, its passphrase, and how it is erased."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from warmline.client.threads import Thread
    from warmline.client.vault import Erased, FileVault

FILE = "kept.db"
GIVE_BACK = 10.0
"""Seconds that closing the vault may take."""
ASKED = "Passphrase for what you keep on this device"

Ask = Callable[[str], Awaitable[str]]
"""Asks for something that is not shown while it is typed."""


kept_option = click.option(
    "--data",
    "folder",
    envvar="WARMLINE_TALK",
    type=click.Path(path_type=Path),
    default=lambda: Path(click.get_app_dir("warmline")) / "talk",
    show_default="in your application directory",
    help="Directory of what you choose to keep. Nothing is there unless you do.",
)
"""``--data``, which the command gets as ``folder``."""


def keeping_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add ``--data`` (the command gets it as ``folder``) and ``--passphrase-fd``."""
    words = "Read the passphrase of what you keep from this file descriptor."
    return kept_option(click.option("--passphrase-fd", type=int, help=words)(command))


class Cupboard:
    """The vault of a device, opened when something is to be kept in it, and not before."""

    def __init__(self, folder: Path, passphrase: str = "") -> None:
        self.path = folder / FILE
        self.vault: FileVault | None = None
        self._passphrase = passphrase
        self._opened: AbstractContextManager[FileVault] | None = None

    @property
    def exists(self) -> bool:
        return self.path.exists()

    async def open(self, ask: Ask) -> FileVault:
        """The vault; made, with a key in the keyring or a passphrase typed twice, where it is not there."""
        from warmline.client.vault import needs_passphrase, open_vault
        from warmline.env import SystemClock, SystemRng, run_in_thread

        if self.vault is not None:
            return self.vault
        text = ""
        if await run_in_thread(partial(needs_passphrase, self.path)):
            text = self._passphrase or await self._ask(ask)
        opened = open_vault(
            self.path, rng=SystemRng(), clock=SystemClock(), passphrase=(lambda: text) if text else None
        )
        self.vault = await run_in_thread(opened.__enter__)
        self._opened = opened
        return self.vault

    async def _ask(self, ask: Ask) -> str:
        from warmline_protocol.errors import UsageError

        if self.exists:
            return await ask(ASKED)
        text = await ask(f"A new {ASKED[0].lower()}{ASKED[1:]} (8 characters or more)")
        if await ask("The same again") != text:
            raise UsageError("these were two different passphrases", hint="Try again; nothing was written.")
        return text

    async def close(self) -> None:
        """Give it back; another program may open it now."""
        from warmline.env import run_in_thread

        opened, self._opened, self.vault = self._opened, None, None
        if opened is not None:
            await run_in_thread(partial(opened.__exit__, None, None, None))

    def erase(self) -> Erased:
        """Panic. Blocks, and does not wait for anything."""
        from warmline.client.vault import erase

        return erase(self.path)


async def ask_before(words: str) -> str:  # noqa: ASYNC124 - one of two ways to ask
    """For questions before the terminal is taken over."""
    text: str = click.prompt(words, hide_input=True, err=True)
    return text


def passphrase_of(fd: int | None) -> str:
    """The passphrase that a program hands over; empty where a person is asked for it."""
    if fd is None:
        return ""
    from warmline.chain.wallet import passphrase_from_fd

    return passphrase_from_fd(fd)


async def which_kept(cupboard: Cupboard, wanted: str) -> tuple[bytes, str]:
    """The one kept conversation that is meant, by its id and the other side's name. UsageError where none is."""
    from warmline.client.session_keep import kept_sessions
    from warmline.env import run_in_thread
    from warmline_protocol.errors import UsageError

    if not cupboard.exists:
        raise UsageError("no conversation is kept on this device", hint="/keep keeps one, for a day.")
    vault = await cupboard.open(ask_before)
    kept = await run_in_thread(lambda: kept_sessions(vault))
    found = [each for each in kept if not wanted or each[1] == wanted]
    if not found:
        raise UsageError(
            "no such conversation is kept any more",
            hint="They are kept for a day from their last word; what was not confirmed by then may not have arrived.",
        )
    if len(found) > 1:
        names = ", ".join(sorted({name for _, name in found}))
        raise UsageError("several conversations are kept", hint=f"Say which by --with NAME: {names}.")
    return found[0]


async def kept_thread(cupboard: Cupboard, name: str) -> Thread:
    """The thread that is kept under this name."""
    from warmline.client.threads import thread_named
    from warmline.env import run_in_thread
    from warmline_protocol.errors import UsageError

    if not cupboard.exists:
        raise UsageError("no thread is kept on this device", hint="/thread NAME in a conversation begins one.")
    vault = await cupboard.open(ask_before)
    return await run_in_thread(lambda: thread_named(vault, name))
