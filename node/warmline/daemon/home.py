"""A node's directory: its key, its configuration, its store, and the socket that status commands ask.

key          32 random bytes, readable by the operator only: the node's identity
config.toml  see warmline.daemon.config
node.db      queues, records, checkpoints; node.db.mark beside it tells an older copy, and holds room for a full disk
control.sock answers `warmline node status|mesh|doctor` while the node runs
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from warmline.daemon import config
from warmline.env import Rng
from warmline_protocol.errors import ConfigError, DiskFullError
from warmline_protocol.keys import SigningKey


@dataclass(frozen=True, slots=True)
class Home:
    """Paths of one node."""

    folder: Path

    @property
    def key_file(self) -> Path:
        return self.folder / "key"

    @property
    def store_file(self) -> Path:
        return self.folder / "node.db"

    @property
    def socket(self) -> Path:
        return self.folder / "control.sock"

    def exists(self) -> bool:
        return self.key_file.exists() and (self.folder / config.FILE_NAME).exists()

    def create(self, rng: Rng, overrides: dict[str, dict[str, Any]]) -> None:
        """Make key and configuration; :class:`ConfigError` when a node is here already (nothing is overwritten)."""
        if self.key_file.exists() or (self.folder / config.FILE_NAME).exists():
            raise ConfigError(
                f"there is a node in {self.folder} already",
                hint="Run it with `warmline node run`, or name another directory with --data.",
            )
        text = config.render(overrides)
        try:
            self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            write_private(self.key_file, rng.bytes(32))
            (self.folder / config.FILE_NAME).write_text(text, "utf-8")
        except OSError as error:
            raise DiskFullError(f"{self.folder} cannot be written: {error.strerror}") from None

    def key(self) -> SigningKey:
        """The node's identity; a damaged key file is an error, never silently replaced."""
        try:
            seed = self.key_file.read_bytes()
        except OSError as error:
            raise ConfigError(
                f"the node's key {self.key_file} cannot be read: {error.strerror}",
                hint="Restore it from a backup, or create a new node in another directory.",
            ) from None
        if len(seed) != 32:
            raise ConfigError(
                f"the node's key {self.key_file} is damaged: {len(seed)} bytes instead of 32",
                hint="Restore it from a backup; removing it makes a node with a new identity.",
            )
        return SigningKey(seed)


def write_private(path: Path, data: bytes) -> None:
    """Write a new file that only its owner can read, on the disk before this returns."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
