"""Threads that a seeker keeps: how to find one supporter again, under the name of before.

A thread is a word of ``warmline_protocol.session.known`` and the id of a card. Whoever has neither the vault nor the
word written down finds nothing, and the supporter can forget it on their side at any time.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, Final

from warmline.client.session_seeking import Persona
from warmline.client.vault import Vault
from warmline_protocol import limits
from warmline_protocol.codec import decode, encode
from warmline_protocol.errors import StoreError, UsageError
from warmline_protocol.wire import U53, Bytes16, Bytes32, Size, pack, unpack

KIND: Final = "thread"
KEPT_MS: Final = 365 * 24 * 3_600_000
"""A thread that nobody used for so long is forgotten, as it is at the supporter's side."""


@dataclass(frozen=True, slots=True)
class Thread:
    """``name`` is what the person calls it; ``card`` the record id of the supporter's card."""

    name: Annotated[str, Size(1, 64)]
    word: Bytes16
    card: Bytes32
    supporter: Annotated[str, Size(1, limits.NAME_MAX)]
    my_name: Annotated[str, Size(1, limits.NAME_MAX)]
    my_avatar: Annotated[bytes, Size(limits.AVATAR_SIZE, limits.AVATAR_SIZE)]
    since_ms: U53

    @property
    def me(self) -> Persona:
        return Persona(self.my_name, self.my_avatar)


def keep_thread(vault: Vault, thread: Thread, now_ms: int) -> None:
    """In place of one of the same name. Blocks."""
    vault.put(KIND, thread.name.encode(), encode(pack(thread)), now_ms + KEPT_MS)


def threads(vault: Vault) -> list[Thread]:
    """All that are kept, by name. Blocks."""
    return [_read(data) for each in vault.ids(KIND) if (data := vault.get(KIND, each)) is not None]


def thread_named(vault: Vault, name: str) -> Thread:
    """:class:`UsageError` where there is none."""
    data = vault.get(KIND, name.encode())
    if data is None:
        kept = ", ".join(each.name for each in threads(vault)) or "none"
        raise UsageError(f"no thread is called {name!r}", hint=f"Kept on this device: {kept}.")
    return _read(data)


def forget_thread(vault: Vault, name: str) -> None:
    """It cannot be found again from this device."""
    thread_named(vault, name)
    vault.delete(KIND, name.encode())


def _read(data: bytes) -> Thread:
    fields: Any = decode(data)
    if not isinstance(fields, dict):
        raise StoreError("a kept thread that is not one")
    return unpack(Thread, fields)
