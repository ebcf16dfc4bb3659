"""A person's Ethereum wallet: an encrypted keystore file (Web3 Secret Storage v3) and what it signs.

The passphrase is never an argument of a command, because every process of this machine can read those. It comes from
a prompt or from a file descriptor that the caller opened.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from warmline.chain.strict_json import loads
from warmline_protocol.errors import ConfigError, DiskFullError, PassphraseError, UsageError

PASSPHRASE_MAX = 1024
KEYSTORE_MAX = 1 << 16
SCRYPT_ROUNDS = 2**17
"""The cost of one guess: 128 MiB and about 0.4 s here. eth-account's own default is twice that."""


class Wallet:
    """One unlocked key. Obtained from `open_keystore`, `create_keystore` or `dev_wallet`."""

    def __init__(self, key: bytes) -> None:
        from eth_account import Account

        self._account = Account.from_key(key)
        self.address = bytes.fromhex(self._account.address[2:])
        #: EIP-55.
        self.shown = str(self._account.address)

    def __repr__(self) -> str:
        return f"Wallet({self.shown})"

    def sign_typed(self, document: Mapping[str, Any]) -> bytes:
        """Sign an EIP-712 document (`types`, `primaryType`, `domain`, `message`): 65 bytes r, s, v with v 27 or 28."""
        return bytes(self._account.sign_typed_data(full_message=dict(document)).signature)

    def sign_transaction(self, transaction: Mapping[str, Any]) -> bytes:
        """The raw bytes of a signed EIP-1559 transaction."""
        return bytes(self._account.sign_transaction(dict(transaction)).raw_transaction)


def dev_wallet(index: int) -> Wallet:
    """Well-known account `index` of the dev chain; its key is public."""
    from warmline.chain.accounts import DEV_ACCOUNTS, dev_key

    if not 0 <= index < DEV_ACCOUNTS:
        raise UsageError(f"the dev chain has accounts 0 to {DEV_ACCOUNTS - 1}")
    return Wallet(dev_key(index))


def create_keystore(path: Path, passphrase: str, key: bytes, *, rounds: int = SCRYPT_ROUNDS) -> Wallet:
    """Encrypt the 32-byte `key` into a new file that only its owner may read. Blocking. Raises UsageError if it exists.

    On the disk when this returns: a key that is used and then lost takes its bond along.
    """
    from eth_account import Account

    if not passphrase:
        raise UsageError("an empty passphrase protects nothing", hint="Choose one of several words.")
    wallet = Wallet(key)
    content = json.dumps(Account.encrypt(key, passphrase, kdf="scrypt", iterations=rounds))
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        draft = path.with_name(path.name + ".new")
        draft.unlink(missing_ok=True)
        with open(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.link(draft, path)  # unlike a rename, this never replaces a wallet that is there
        draft.unlink()
    except FileExistsError as error:
        raise UsageError(f"there is a wallet at {path} already", hint="Use it, or name another --wallet.") from error
    except OSError as error:
        raise DiskFullError(f"cannot write {path}: {error.strerror}") from error
    return wallet


def open_keystore(path: Path, passphrase: str) -> Wallet:
    """Decrypt. Blocking, about half a second. Raises PassphraseError, ConfigError."""
    from eth_account import Account

    content = _read_keystore(path)
    try:
        return Wallet(bytes(Account.decrypt(content, passphrase)))
    except ValueError as error:
        if "MAC mismatch" in str(error):
            raise PassphraseError(f"the passphrase does not open {path}") from error
        raise _damaged(path) from error
    except (KeyError, TypeError, NotImplementedError, AttributeError) as error:
        raise _damaged(path) from error


def keystore_address(path: Path) -> bytes:
    """The address that the file names, without its passphrase."""
    try:
        return bytes.fromhex(str(_read_keystore(path)["address"]).removeprefix("0x"))
    except (KeyError, ValueError) as error:
        raise _damaged(path) from error


def _read_keystore(path: Path) -> dict[str, Any]:
    try:
        with path.open("rb") as file:
            content = loads(file.read(KEYSTORE_MAX))
    except FileNotFoundError as error:
        raise ConfigError(
            f"there is no wallet at {path}", hint="`warmline supporter register` makes one, or name another --wallet."
        ) from error
    except OSError as error:
        raise ConfigError(f"cannot read {path}: {error.strerror}", hint="Check its owner and mode.") from error
    except ValueError as error:
        raise _damaged(path) from error
    if not isinstance(content, dict):
        raise _damaged(path)
    return content


def _damaged(path: Path) -> ConfigError:
    return ConfigError(f"{path} is not a wallet file", hint="Restore it from your copy; it cannot be repaired.")


def passphrase_from_fd(fd: int) -> str:
    """The first line that the file descriptor holds. Blocking; closes it. Raises UsageError."""
    try:
        with os.fdopen(fd, "rb") as file:
            line = file.readline(PASSPHRASE_MAX + 2)
    except OSError as error:
        raise UsageError(
            f"cannot read the passphrase from file descriptor {fd}: {error.strerror}",
            hint="Open it in the shell, for example: --passphrase-fd 3 3<passphrase-file",
        ) from error
    try:
        text = line.rstrip(b"\r\n").decode()
    except UnicodeDecodeError as error:
        raise UsageError("the passphrase is not UTF-8") from error
    if not text or len(line) > PASSPHRASE_MAX:
        raise UsageError(f"a passphrase has 1 to {PASSPHRASE_MAX} bytes, on one line")
    return text
