"""What lets a device speak as a supporter, and how it lies on the disk.

The signing key signs cards, listings and sessions; the delegation is the wallet's word for it; contact secrets open
first messages until a day after their card's end. They lie together in one box under a passphrase: whoever finds the
device must not be able to speak for the supporter or read who wrote to them. The wallet is not in here.

The box: Argon2id (RFC 9106, 64 MiB, 3 passes, 1 lane) to a ChaCha20-Poly1305 (RFC 8439) key, with everything but the
ciphertext as associated data. Its parameters are written in the box and bounded when it is opened.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from cryptography.hazmat.primitives.kdf.argon2 import Argon2id

from warmline.chain.supporter import SupporterFiles
from warmline.env import Rng
from warmline.files import write_private
from warmline_protocol.codec import decode, encode
from warmline_protocol.errors import (
    ConfigError,
    MalformedError,
    OversizeError,
    PassphraseError,
    UsageError,
)
from warmline_protocol.keys import SigningKey
from warmline_protocol.records.card import ContactKey
from warmline_protocol.records.delegation import Delegation
from warmline_protocol.records.envelope import CARD, OpenedRecord, open_record, record_id
from warmline_protocol.session.xwing import SealingKey
from warmline_protocol.wire import U53, Bytes16, Bytes32, Range, Size, pack, unpack

BOX_FILE: Final = "identity.box"
CARD_FILE: Final = "card.record"
CONTACT_GRACE_MS: Final = 24 * 3_600_000
BOX_MAX: Final = 1 << 20
_PASSPHRASE_MIN: Final = 8


@dataclass(frozen=True, slots=True)
class ContactSecret:
    """The private half of a card's contact key: a 32-byte X-Wing seed."""

    id: Bytes16
    seed: Bytes32
    not_after: U53

    @classmethod
    def new(cls, rng: Rng, not_after: int) -> ContactSecret:
        return cls(rng.bytes(16), rng.bytes(32), not_after)

    def sealing_key(self) -> SealingKey:
        return SealingKey(self.seed)

    def public(self) -> ContactKey:
        """The half that stands on the card."""
        return ContactKey(self.id, self.sealing_key().public, self.not_after)


@dataclass(frozen=True, slots=True)
class _Stored:
    seed: Bytes32
    contacts: Annotated[tuple[ContactSecret, ...], Size(0, 16)]
    delegation: Delegation | None = None


@dataclass(frozen=True, slots=True)
class Identity:
    """A supporter's device."""

    key: SigningKey
    delegation: Delegation | None = None
    contacts: tuple[ContactSecret, ...] = ()

    @property
    def owner(self) -> bytes:
        """Whose records this device signs: the wallet's where there is a delegation, else the key's own."""
        return self.delegation.wallet if self.delegation else self.key.public

    @property
    def wallet(self) -> bytes | None:
        return self.delegation.wallet if self.delegation else None

    @property
    def card_id(self) -> bytes:
        return record_id(CARD, self.owner)

    def contact(self, contact_id: bytes) -> ContactSecret | None:
        """The secret that a first message is sealed to, while it lives."""
        return next((secret for secret in self.contacts if secret.id == contact_id), None)

    def with_contact(self, secret: ContactSecret, now_ms: int) -> Identity:
        """With a new contact secret, and without those that ended more than a day ago."""
        living = tuple(old for old in self.contacts if old.not_after + CONTACT_GRACE_MS > now_ms)
        return replace(self, contacts=(*living, secret))


class IdentityFiles:
    """An identity's files in the supporter's directory. All methods block."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def load(self, passphrase: Callable[[], str]) -> Identity:
        """The identity: from its box, else from the device key of ``warmline supporter register``.

        ``passphrase`` is called only where there is a box.
        """
        box = self.folder / BOX_FILE
        files = SupporterFiles(self.folder)
        delegated = (self.folder / "delegation").exists()  # without a wallet, records are unverified
        registered = files.delegation() if delegated else None
        if box.exists():
            return _renewed(_unstore(open_box(_read(box), passphrase())), registered)
        return Identity(files.device_key(), registered)

    def save(self, identity: Identity, passphrase: str, rng: Rng) -> None:
        """Write the box in the place of the old one, which stays until the new one is on the disk.

        Afterwards the device's private key is in the box only.
        """
        stored = _Stored(identity.key.seed, identity.contacts, identity.delegation)
        write_private(self.folder / BOX_FILE, seal_box(encode(pack(stored)), passphrase, rng))
        SupporterFiles(self.folder).keep_public_only(identity.key.public)

    def card(self) -> OpenedRecord | None:
        """The card that was signed last on this device, if any."""
        path = self.folder / CARD_FILE
        return open_record(_read(path)) if path.exists() else None

    def keep_card(self, data: bytes) -> None:
        write_private(self.folder / CARD_FILE, data)


# --- the box -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Head:
    """How the key is made. The bounds keep a hostile file from taking the machine's memory."""

    version: Annotated[int, Range(1, 1)]
    salt: Bytes16
    nonce: Annotated[bytes, Size(12, 12)]
    memory_kib: Annotated[int, Range(8 * 1024, 1 << 20)]
    passes: Annotated[int, Range(1, 16)]


def seal_box(data: bytes, passphrase: str, rng: Rng, *, memory_kib: int = 64 * 1024, passes: int = 3) -> bytes:
    """``data`` under a passphrase of at least 8 characters. Takes a fifth of a second, on purpose."""
    if len(passphrase) < _PASSPHRASE_MIN:
        raise UsageError(
            f"a passphrase of fewer than {_PASSPHRASE_MIN} characters",
            hint="Use a few unrelated words; you cannot be locked out by guessing, but nobody can reset it either.",
        )
    head = _Head(1, rng.bytes(16), rng.bytes(12), memory_kib, passes)
    packed = encode(pack(head))
    box = ChaCha20Poly1305(_derive(head, passphrase)).encrypt(head.nonce, data, packed)
    return encode({"head": packed, "box": box})


def open_box(sealed: bytes, passphrase: str) -> bytes:
    """What was sealed; :class:`PassphraseError` for the wrong passphrase, :class:`ConfigError` for a damaged file."""
    try:
        outer = _mapping(decode(sealed, max_size=BOX_MAX))
        packed, box = outer.get("head"), outer.get("box")
        if not isinstance(packed, bytes) or not isinstance(box, bytes):
            raise MalformedError("not a box")
        head = unpack(_Head, _mapping(decode(packed)))
    except (MalformedError, OversizeError) as error:
        raise ConfigError(
            f"the key file is damaged: {error}", hint="Restore it from a backup; it is not a wrong passphrase."
        ) from None
    try:
        return ChaCha20Poly1305(_derive(head, passphrase)).decrypt(head.nonce, box, packed)
    except InvalidTag:
        raise PassphraseError("this passphrase does not open the key file") from None


def _derive(head: _Head, passphrase: str) -> bytes:
    kdf = Argon2id(salt=head.salt, length=32, iterations=head.passes, lanes=1, memory_cost=head.memory_kib)
    return kdf.derive(passphrase.encode())


def _unstore(data: bytes) -> Identity:
    stored = unpack(_Stored, _mapping(decode(data, max_size=BOX_MAX)))
    return Identity(SigningKey(stored.seed), stored.delegation, stored.contacts)


def _renewed(identity: Identity, registered: Delegation | None) -> Identity:
    """`register` keeps the wallet's new word beside the box, which it cannot open: the later word counts."""
    if registered is None or registered.key != identity.key.public:
        return identity
    if identity.delegation is not None and registered.not_before_s <= identity.delegation.not_before_s:
        return identity
    return replace(identity, delegation=registered)


def _mapping(value: object) -> dict[str, object]:
    if not isinstance(value, Mapping):
        raise MalformedError("not a map")
    return dict(value)


# --- files -------------------------------------------------------------------------------------------------------


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ConfigError(
            f"cannot read {path}: {error.strerror}", hint="Check who owns the file, or restore it from a backup."
        ) from error
