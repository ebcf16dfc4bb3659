"""The vault: nothing readable on the disk, nothing kept past its date, no second owner."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from support.queues import HandClock
from warmline.client import vault as vaults
from warmline.client.vault import FileVault, Kept, MemoryVault, Vault, erase, needs_passphrase, open_vault
from warmline.env import SeededRng
from warmline.store.errors import StoreLockedError
from warmline_protocol.errors import ConfigError, PassphraseError, StoreError, UsageError

PASSPHRASE = "four quiet winter rivers"
SECRET = b"I have not slept for three days"


@contextmanager
def a_vault(path: Path, clock: HandClock | None = None, passphrase: str = PASSPHRASE) -> Iterator[FileVault]:
    with open_vault(
        path / "v.db", rng=SeededRng(str(path)), clock=clock or HandClock(), passphrase=lambda: passphrase
    ) as vault:
        yield vault


@pytest.fixture(params=["memory", "file"])
def kept(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[Vault, HandClock]]:
    clock = HandClock()
    if request.param == "memory":
        yield MemoryVault(clock), clock
    else:
        with a_vault(tmp_path, clock) as vault:
            yield vault, clock


def test_put_get_delete_and_dates(kept: tuple[Vault, HandClock]) -> None:
    vault, clock = kept
    now = clock.utc_ms()
    vault.put("session", b"1", b"one", now + 10)
    vault.put("session", b"2", b"two", now + 20)
    vault.put("other", b"1", b"else", now + 10)
    vault.put("session", b"1", b"one again", now + 10)
    assert vault.ids("session") == [b"1", b"2"] and vault.get("session", b"1") == b"one again"
    clock.now_ms += 10
    assert vault.get("session", b"1") is None and vault.ids("session") == [b"2"]
    vault.delete("session", b"2")
    assert vault.ids("session") == [] and vault.get("session", b"2") is None


def test_it_outlives_the_process_and_shows_nothing(tmp_path: Path) -> None:
    with a_vault(tmp_path) as vault:
        vault.put("session", b"1" * 16, SECRET, 2**50)
    for path in tmp_path.iterdir():
        data = path.read_bytes()
        assert SECRET not in data and b"session" not in data and not data.startswith(b"SQLite format 3")
        assert path.stat().st_mode & 0o077 == 0
    with pytest.raises(sqlite3.DatabaseError):
        sqlite3.connect(tmp_path / "v.db").execute("SELECT * FROM kept")
    with a_vault(tmp_path) as vault:
        assert vault.get("session", b"1" * 16) == SECRET


def test_the_wrong_passphrase_changes_nothing(tmp_path: Path) -> None:
    with a_vault(tmp_path) as vault:
        vault.put("session", b"1", SECRET, 2**50)
    with pytest.raises(PassphraseError), a_vault(tmp_path, passphrase="four loud summer rivers"):
        pass
    with a_vault(tmp_path) as vault:
        assert vault.get("session", b"1") == SECRET


def test_a_short_passphrase_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError), a_vault(tmp_path, passphrase="short"):
        pass


def test_one_process_owns_it(tmp_path: Path) -> None:
    with a_vault(tmp_path), pytest.raises(StoreLockedError), a_vault(tmp_path):
        pass
    with a_vault(tmp_path):
        pass


def test_a_replaced_file_or_key_is_said(tmp_path: Path) -> None:
    with a_vault(tmp_path) as vault:
        vault.put("session", b"1", SECRET, 2**50)
    (tmp_path / "other").mkdir()
    with a_vault(tmp_path / "other"):
        pass
    key = tmp_path / "v.db.key"
    kept = key.read_bytes()
    key.write_bytes((tmp_path / "other" / "v.db.key").read_bytes())
    with pytest.raises(StoreError), a_vault(tmp_path):
        pass
    key.unlink()
    with pytest.raises(UsageError), a_vault(tmp_path):
        pass
    key.write_bytes(kept)
    with a_vault(tmp_path) as vault:
        assert vault.get("session", b"1") == SECRET


def test_destroying_it(tmp_path: Path) -> None:
    with a_vault(tmp_path) as vault:
        vault.put("session", b"1", SECRET, 2**50)
        vault.destroy()
    assert {path.name for path in tmp_path.iterdir()} <= {"v.db.lock"}


def test_all_or_none_of_several(kept: tuple[Vault, HandClock]) -> None:
    vault, clock = kept
    until = clock.utc_ms() + 10
    vault.put_all(
        [Kept("line", b"a" + bytes([n]), b"text", until) for n in range(3)] + [Kept("line", b"b", b"", until)]
    )
    assert len(vault.ids("line")) == 4
    vault.delete_under("line", b"a")
    assert vault.ids("line") == [b"b"]
    vault.delete("line", b"")
    assert vault.ids("line") == [b"b"]


def left(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_a_panic_takes_everything_whatever_state_it_is_in(tmp_path: Path) -> None:
    assert erase(tmp_path / "v.db").files == ()
    with a_vault(tmp_path) as vault:
        vault.put("session", b"1", SECRET, 2**50)
    assert {"v.db", "v.db.key"} <= set(erase(tmp_path / "v.db").files)
    assert left(tmp_path) == set()
    for name in ("v.db.key", "v.db.key.new", "v.db", "v.db-wal", "v.db.lock"):  # as a crash may have left them
        (tmp_path / name).write_bytes(b"half")
    erase(tmp_path / "v.db")
    assert left(tmp_path) == set()


def test_a_panic_in_the_process_that_has_it_open(tmp_path: Path) -> None:
    with a_vault(tmp_path) as vault:
        vault.put("session", b"1", SECRET, 2**50)
        assert erase(tmp_path / "v.db").ended == 0
        assert left(tmp_path) == set()
        with pytest.raises(StoreError, match="erased"):
            vault.put("session", b"2", SECRET, 2**50)
        assert left(tmp_path) == set()


def test_a_panic_overwrites_the_key_before_it_goes(tmp_path: Path) -> None:
    with a_vault(tmp_path) as vault:
        vault.put("session", b"1", SECRET, 2**50)
    os.link(tmp_path / "v.db.key", tmp_path / "copy of the blocks")
    erase(tmp_path / "v.db")
    assert not any((tmp_path / "copy of the blocks").read_bytes())


def test_the_owner_is_named_to_the_second(tmp_path: Path) -> None:
    with a_vault(tmp_path), pytest.raises(StoreLockedError, match=f"process {os.getpid()}") as told, a_vault(tmp_path):
        pass
    assert "talk erase" in str(told.value.hint)


class FakeKeyring:
    """What a desktop's keyring does; none runs here."""

    def __init__(self) -> None:
        self.kept: dict[tuple[str, str], str] = {}

    def get_password(self, service: str, name: str) -> str | None:
        return self.kept.get((service, name))

    def set_password(self, service: str, name: str, password: str) -> None:
        self.kept[service, name] = password

    def delete_password(self, service: str, name: str) -> None:
        del self.kept[service, name]


def by_keyring(path: Path) -> Any:
    return open_vault(path / "v.db", rng=SeededRng(1), clock=HandClock())


def test_the_keyring_way(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ring = FakeKeyring()
    monkeypatch.setattr(vaults, "_keyring", lambda: ring)
    with by_keyring(tmp_path) as vault:
        vault.put("session", b"1", SECRET, 2**50)
    assert not (tmp_path / "v.db.key").exists()
    with by_keyring(tmp_path) as vault:
        assert vault.get("session", b"1") == SECRET
    assert not needs_passphrase(tmp_path / "v.db")
    before = dict(ring.kept)
    ring.kept.clear()
    with pytest.raises(ConfigError), by_keyring(tmp_path):
        pass
    ring.kept.update(before)
    assert erase(tmp_path / "v.db").key_in_keyring
    assert ring.kept == {} and left(tmp_path) == set()


def test_a_keyring_that_does_not_let_go_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ring = FakeKeyring()
    monkeypatch.setattr(vaults, "_keyring", lambda: ring)
    with by_keyring(tmp_path):
        pass
    monkeypatch.setattr(ring, "delete_password", lambda service, name: None)
    with pytest.raises(StoreError, match="keyring still holds"):
        erase(tmp_path / "v.db")
    assert left(tmp_path) == set()


def test_a_keyring_that_fails_keeps_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ring = FakeKeyring()
    monkeypatch.setattr(vaults, "_keyring", lambda: ring)
    with by_keyring(tmp_path) as vault:
        vault.put("session", b"1", SECRET, 2**50)

    def locked(service: str, name: str) -> None:
        raise RuntimeError("locked")

    monkeypatch.setattr(ring, "delete_password", locked)
    with pytest.raises(StoreError, match="did not give the key up: locked"):
        erase(tmp_path / "v.db")
    assert left(tmp_path) == set()


def test_a_file_that_stays_does_not_keep_the_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with a_vault(tmp_path) as vault:
        vault.put("session", b"1", SECRET, 2**50)
    unlink = Path.unlink

    def refused(path: Path, missing_ok: bool = False) -> None:
        if path.name == "v.db.key":
            raise PermissionError
        unlink(path, missing_ok=missing_ok)

    monkeypatch.setattr(Path, "unlink", refused)
    with pytest.raises(StoreError, match=r"still there: v\.db\.key"):
        erase(tmp_path / "v.db")
    assert left(tmp_path) == {"v.db.key"}
    assert not any((tmp_path / "v.db.key").read_bytes())


def test_no_keyring_is_said_before_anything_is_written(tmp_path: Path) -> None:
    import keyring
    from keyring.backends import fail

    if not isinstance(keyring.get_keyring(), fail.Keyring):
        pytest.skip("this machine has a keyring")
    with pytest.raises(ConfigError), by_keyring(tmp_path):
        pass
    assert not (tmp_path / "v.db").exists()
