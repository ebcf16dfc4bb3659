"""The door's memory on the disk: one small file under a key that follows from the device's.

It is opened with the identity, so no second passphrase is asked, and it is written without Argon2id, because it changes
with every conversation. Who has the disk and not the passphrase reads nothing and can change nothing unnoticed.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from warmline.client.door_policy import PeopleBook
from warmline.client.identity import Identity
from warmline.env import Rng
from warmline.files import write_private
from warmline_protocol.codec import decode, encode
from warmline_protocol.errors import ConfigError, RemoteError
from warmline_protocol.wire import pack, unpack

FILE: Final = "people.box"
_MAX: Final = 1 << 20
_LABEL: Final = b"warmline/1/people"


class PeopleFile:
    """Methods block."""

    def __init__(self, folder: Path, identity: Identity, rng: Rng) -> None:
        self.path = folder / FILE
        key = HKDF(algorithm=SHA256(), length=32, salt=None, info=_LABEL).derive(identity.key.seed)
        self._box = ChaCha20Poly1305(key)
        self._rng = rng

    def load(self) -> PeopleBook:
        """What was saved; an empty book before the first time. ConfigError for a file that is damaged or another's."""
        if not self.path.exists():
            return PeopleBook()
        try:
            data = self.path.read_bytes()
            fields = decode(self._box.decrypt(data[:12], data[12:], _LABEL), max_size=_MAX)
            if isinstance(fields, dict):
                return unpack(PeopleBook, fields)
        except (InvalidTag, RemoteError, OSError, ValueError):
            pass
        raise ConfigError(
            f"{self.path.name} does not open with this device's key",
            hint="Restore it from a backup, or remove it: whom you know and whom you blocked is then forgotten.",
        )

    def save(self, book: PeopleBook) -> None:
        """In the place of what was there; on the disk before this returns."""
        nonce = self._rng.bytes(12)
        write_private(self.path, nonce + self._box.encrypt(nonce, encode(pack(book)), _LABEL))
