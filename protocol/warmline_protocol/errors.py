"""Errors that say whose fault it is and what to do next.

Three families, after h11 and Trio: *yours* (``LocalError``: how this program was used or set up), *theirs*
(``RemoteError``: a peer broke the protocol or refused) and *the world's* (``WorldError``: disk, clock, network).
A caller that scores peers may only ever hold a ``RemoteError`` against one.

Every class has a default ``hint``: one sentence, in the second person, that a command line prints under the message.
"""

from __future__ import annotations

from typing import ClassVar


class WarmlineError(Exception):
    """Base of everything warmline raises on purpose; raise one of the three families instead."""

    default_hint: ClassVar[str] = "This is a defect in warmline: please report it with the lines above."

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint if hint is not None else self.default_hint

    def __str__(self) -> str:
        return self.message


class LocalError(WarmlineError):
    """This side used or configured something wrongly."""

    default_hint = "Check the command or the configuration and try again."


class ConfigError(LocalError):
    """A configuration value or file cannot be used."""

    default_hint = "Correct the named field; `warmline config` prints every field with its meaning."


class UsageError(LocalError):
    """An operation was asked for that makes no sense in this state."""

    default_hint = "See the command's --help for what it expects."


class PassphraseError(LocalError):
    """The passphrase does not open this file."""

    default_hint = "Type the passphrase again; nothing was changed. There is no way to recover a lost one."


class RemoteError(WarmlineError):
    """The other side broke the protocol, or refused."""

    default_hint = "The other side is at fault; another node will usually do."


class MalformedError(RemoteError):
    """Bytes that are not what the protocol allows: wrong shape, type, order or encoding."""

    default_hint = "The sender's software is broken, hostile or much newer; update warmline or use another node."


class OversizeError(RemoteError):
    """More bytes, items or depth than the protocol allows."""

    default_hint = "The sender ignores the protocol's limits; use another node."


class BadSignatureError(RemoteError):
    """A signature does not verify under the key that claims it."""

    default_hint = "Do not trust this record; fetch it again from another node."


class ChannelClosed(RemoteError):
    """The other side closed the channel, cleanly, where more was possible."""

    default_hint = "Open the channel again; the other side may be restarting."


class RefusedError(RemoteError):
    """The other side understood the request and said no; ``code`` is stable, ``message`` is for people."""

    default_hint = "Read the reason; trying the same again unchanged will be refused again."

    def __init__(self, code: str, message: str, *, hint: str | None = None) -> None:
        super().__init__(message, hint=hint)
        self.code = code


class WorldError(WarmlineError):
    """Neither side's fault: network, disk, clock."""

    default_hint = "Try again in a moment; `warmline node doctor` looks for the cause."


class DeadlineError(WorldError):
    """Something did not happen in the time that the configuration gives it."""

    default_hint = "The other side is slow or gone; try again or use another node."


class UnreachableError(WorldError):
    """No connection to where this must go."""

    default_hint = "Check that this machine is online and that the address is right; `warmline node doctor` tests both."


class DiskFullError(WorldError):
    """The disk, or the share of it that the configuration grants, is full; nothing that was receipted is lost."""

    default_hint = "Free some space or raise the disk budget in the configuration, then try again."


class ClockError(WorldError):
    """This machine's clock disagrees with its peers by more than signed records allow."""

    default_hint = "Set the clock by NTP (for example `timedatectl set-ntp true`) and start again."


class StoreError(WorldError):
    """The database file cannot be used: damaged, locked, or written by a newer version."""

    default_hint = "Stop other warmline processes on this directory, or restore the last backup."
