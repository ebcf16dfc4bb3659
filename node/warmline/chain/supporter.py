"""What a supporter keeps on a device: the wallet file, the device key, and the wallet's word for that key.

    wallet.json   encrypted keystore; opened for minutes, to delegate, bond or exit
    device.key    32-byte Ed25519 seed, readable by its owner only; signs cards and listings without the wallet.
                  Moves into the box under the device's passphrase with the first card; from then on there is only
    device.pub    its public half, which is all that a wallet needs to delegate to it again
    delegation    the signed `Delegation` that joins the two, canonical encoding; without a signature where the wallet
                  is a contract, and the chain says it

A lost device costs the device key, never the wallet: `revokeBefore` ends the delegation.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from warmline_protocol.codec import decode, encode
from warmline_protocol.errors import ConfigError, DiskFullError
from warmline_protocol.keys import SigningKey
from warmline_protocol.records.delegation import Delegation
from warmline_protocol.wire import pack, unpack


@dataclass(frozen=True, slots=True)
class SupporterFiles:
    """The files in one directory. All methods block."""

    folder: Path

    @property
    def wallet(self) -> Path:
        return self.folder / "wallet.json"

    def device_key(self) -> SigningKey:
        """Raises ConfigError where there is none, or a damaged one."""
        path = self.folder / "device.key"
        try:
            seed = path.read_bytes()
        except OSError as error:
            raise ConfigError(
                f"cannot read the device key {path}: {error.strerror}", hint="`warmline supporter register` makes one."
            ) from error
        if len(seed) != 32:
            raise ConfigError(f"{path} is not a device key", hint="Move it away and register again.")
        return SigningKey(seed)

    def make_device_key(self, seed: bytes) -> SigningKey:
        """The key that is there, or a new one from the 32-byte `seed`."""
        if not (self.folder / "device.key").exists():
            self._write("device.key", seed)
        return self.device_key()

    def device_public(self, seed: bytes) -> bytes:
        """The public half of the device's key, wherever the private one lies; of a new one where there is none."""
        try:
            return (self.folder / "device.pub").read_bytes()
        except FileNotFoundError:
            return self.make_device_key(seed).public

    def keep_public_only(self, public: bytes) -> None:
        """The private key has gone under the passphrase: keep what delegating needs, and nothing in clear."""
        self._write("device.pub", public)
        (self.folder / "device.key").unlink(missing_ok=True)

    def delegation(self) -> Delegation:
        """Raises ConfigError where there is none."""
        return self._read("delegation", "`warmline supporter register` makes one.")

    def keep_delegation(self, delegation: Delegation) -> None:
        self._write("delegation", encode(pack(delegation)))
        (self.folder / "delegation.asked").unlink(missing_ok=True)

    def asked(self) -> Delegation:
        """What a wallet elsewhere was asked for last. Raises ConfigError where it was asked for nothing."""
        return self._read("delegation.asked", "Begin with `warmline supporter delegate --for ADDRESS`.")

    def keep_asked(self, delegation: Delegation) -> None:
        self._write("delegation.asked", encode(pack(delegation)))

    def _read(self, name: str, hint: str) -> Delegation:
        path = self.folder / name
        try:
            return unpack(Delegation, decode(path.read_bytes()))  # type: ignore[arg-type]
        except OSError as error:
            raise ConfigError(f"cannot read {path}: {error.strerror}", hint=hint) from error

    def _write(self, name: str, data: bytes) -> None:
        draft = self.folder / f"{name}.new"
        try:
            self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            draft.unlink(missing_ok=True)
            with open(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            draft.replace(self.folder / name)
        except OSError as error:
            raise DiskFullError(f"cannot write {self.folder / name}: {error.strerror}") from error
