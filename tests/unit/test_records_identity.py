"""A supporter's keys on the disk, and the commands that use them."""

from __future__ import annotations

import re
import stat
from pathlib import Path

import pytest
from click.testing import CliRunner

from support import records as make
from warmline.chain.supporter import SupporterFiles
from warmline.cli import groups
from warmline.client.identity import (
    BOX_FILE,
    ContactSecret,
    Identity,
    IdentityFiles,
    open_box,
    seal_box,
)
from warmline.env import SeededRng
from warmline_protocol.codec import decode, encode
from warmline_protocol.errors import ConfigError, PassphraseError, UsageError
from warmline_protocol.records.envelope import open_record
from warmline_protocol.records.listing_file import ListingFileError
from warmline_protocol.session.xwing import seal

EXAMPLE = Path(__file__).parents[2] / "deploy" / "examples" / "weekly_programme.toml"
WORDS = "four unrelated words"
QUICK = {"memory_kib": 8 * 1024, "passes": 1}


def test_an_identity_comes_back_from_its_box(tmp_path: Path) -> None:
    rng = SeededRng(1)
    secret = ContactSecret.new(rng, make.NOW + 1000)
    identity = Identity(make.key("ana"), make.delegation(), ()).with_contact(secret, make.NOW)
    files = IdentityFiles(tmp_path / "supporter")
    files.save(identity, "four unrelated words", rng)
    read = files.load(lambda: "four unrelated words")
    assert (read.key.seed, read.delegation, read.contacts) == (
        identity.key.seed,
        identity.delegation,
        identity.contacts,
    )
    assert read.owner == make.wallet_of("ana")
    path = tmp_path / "supporter" / BOX_FILE
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert identity.key.seed not in path.read_bytes()
    with pytest.raises(PassphraseError):
        files.load(lambda: "four unrelated worms")


def test_without_a_box_the_registered_device_key_speaks(tmp_path: Path) -> None:
    registered = SupporterFiles(tmp_path)
    registered.make_device_key(make.key("ana").seed)
    registered.keep_delegation(make.delegation())

    def never() -> str:
        raise AssertionError("no passphrase is needed here")

    assert IdentityFiles(tmp_path).load(never).owner == make.wallet_of("ana")


def test_a_registration_renewed_after_the_box_was_made_counts(tmp_path: Path) -> None:
    files, registered = IdentityFiles(tmp_path), SupporterFiles(tmp_path)
    files.save(Identity(make.key("ana"), make.delegation()), "four unrelated words", SeededRng(1))
    later = make.delegation(at_ms=make.NOW + 86_400_000)
    registered.keep_delegation(later)
    assert files.load(lambda: "four unrelated words").delegation == later
    for ignored in (make.delegation(at_ms=make.NOW - 86_400_000), make.delegation("bo", at_ms=make.NOW + 1000)):
        registered.keep_delegation(ignored)
        assert files.load(lambda: "four unrelated words").delegation == make.delegation()


def test_a_damaged_box_is_not_called_a_wrong_passphrase() -> None:
    sealed = seal_box(b"secret", "four unrelated words", SeededRng(2), **QUICK)
    assert open_box(sealed, "four unrelated words") == b"secret"
    for broken in (b"", sealed[:-1], b"junk", encode({"head": b"x", "box": b"y"})):
        with pytest.raises(ConfigError):
            open_box(broken, "four unrelated words")
    bent = bytearray(sealed)
    bent[6] ^= 1  # inside the ciphertext: cannot be told from a wrong passphrase
    with pytest.raises((PassphraseError, ConfigError)):
        open_box(bytes(bent), "four unrelated words")


def test_a_hostile_box_cannot_ask_for_all_the_memory() -> None:
    sealed = seal_box(b"secret", "four unrelated words", SeededRng(2), **QUICK)
    outer = decode(sealed)
    assert isinstance(outer, dict)
    assert isinstance(outer["head"], bytes)
    head = decode(outer["head"])
    assert isinstance(head, dict)
    with pytest.raises(ConfigError):
        open_box(encode({**outer, "head": encode({**head, "memory_kib": 1 << 30})}), "four unrelated words")


def test_short_passphrases_are_refused() -> None:
    with pytest.raises(UsageError, match="passphrase"):
        seal_box(b"secret", "short", SeededRng(3), **QUICK)


def test_a_contact_secret_opens_what_its_card_invites_and_dies_a_day_after() -> None:
    secret = ContactSecret.new(SeededRng(4), make.NOW)
    assert secret.sealing_key().open(seal(secret.public().public, b"hello", "hello"), "hello") == b"hello"
    identity = Identity(make.key("ana")).with_contact(secret, make.NOW)
    assert identity.contact(secret.id) == secret
    later = ContactSecret.new(SeededRng(5), make.NOW + 10**9)
    assert identity.with_contact(later, make.NOW + 86_400_000 - 1).contact(secret.id) == secret
    assert identity.with_contact(later, make.NOW + 86_400_000).contact(secret.id) is None


def test_a_kept_card_is_the_signed_record(tmp_path: Path) -> None:
    files = IdentityFiles(tmp_path)
    assert files.card() is None
    files.keep_card(make.signed_card())
    assert files.card() == open_record(make.signed_card())


# --- commands ----------------------------------------------------------------------------------------------------


def test_check_reads_the_file_and_nothing_else(tmp_path: Path) -> None:
    result = CliRunner().invoke(groups.command, ["publish", str(EXAMPLE), "--check"], catch_exceptions=False)
    assert re.fullmatch(r"\d\d groups, all right.\n", result.output)


def test_a_file_with_an_error_publishes_nothing_and_asks_for_no_key(tmp_path: Path) -> None:
    wrong = tmp_path / "week.toml"
    wrong.write_text(EXAMPLE.read_text("utf-8").replace('"tue 19:00 60"', '"tue 25:00 60"', 1), "utf-8")
    result = CliRunner().invoke(groups.command, ["publish", str(wrong), "--data", str(tmp_path / "none")])
    assert isinstance(result.exception, ListingFileError)
    assert "when" in str(result.exception)


def test_publishing_without_a_card_says_to_make_one(tmp_path: Path) -> None:
    registered = SupporterFiles(tmp_path)
    registered.make_device_key(make.key("ana").seed)
    registered.keep_delegation(make.delegation())
    result = CliRunner().invoke(groups.command, ["publish", str(EXAMPLE), "--data", str(tmp_path)])
    assert isinstance(result.exception, ConfigError)
    assert "supporter card" in result.exception.hint


def test_search_words_are_checked_before_anybody_is_asked() -> None:
    result = CliRunner().invoke(groups.command, ["find", "--when", "whenever", "--entry", "/ip4/1.2.3.4"])
    assert isinstance(result.exception, UsageError)
    assert "tonight" in result.exception.hint
    zone = CliRunner().invoke(groups.command, ["find", "--zone", "Mars/Olympus", "--entry", "/ip4/1.2.3.4"])
    assert isinstance(zone.exception, ConfigError)


def test_no_entry_is_explained(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    monkeypatch.delenv("WARMLINE_ENTRIES", raising=False)
    result = CliRunner().invoke(groups.command, ["find", "--json"])
    assert isinstance(result.exception, ConfigError)
    assert "--entry" in result.exception.hint


def test_the_device_key_is_in_the_box_only_once_there_is_one(tmp_path: Path) -> None:
    files, registered = IdentityFiles(tmp_path), SupporterFiles(tmp_path)
    key = registered.make_device_key(make.key("ana").seed)
    registered.keep_delegation(make.delegation())
    files.save(files.load(str), WORDS, SeededRng(1))
    assert not (tmp_path / "device.key").exists()
    assert all(key.seed not in path.read_bytes() for path in tmp_path.iterdir())
    # Registering again delegates to the same key, without opening the box.
    assert registered.device_public(b"n" * 32) == key.public
    assert files.load(lambda: WORDS).key.seed == key.seed


def test_a_card_made_before_registering_keeps_its_key(tmp_path: Path) -> None:
    files = IdentityFiles(tmp_path)
    files.save(Identity(make.key("ana")), WORDS, SeededRng(1))
    assert SupporterFiles(tmp_path).device_public(b"n" * 32) == make.key("ana").public
