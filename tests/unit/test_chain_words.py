"""Small conversions between people and the chain, manifests, and the journal."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from eth_abi.abi import encode
from eth_hash.auto import keccak
from hypothesis import given
from hypothesis import strategies as st

from warmline.chain.contracts import address_of, coins, shown, type_id_of, type_name_of
from warmline.chain.errors import JournalError, ManifestError, RevertError, RpcError
from warmline.chain.journal import Journal
from warmline.chain.manifest import CONTRACTS, Deployed, Manifest, parse_manifest, read_manifest
from warmline.chain.reverts import explain_revert
from warmline.cli.ethereum import wei_of
from warmline_protocol.errors import ConfigError, UsageError

MANIFEST = Manifest(
    7,
    1,
    {name: Deployed(b"\x01" * 20, b"\x02" * 32) for name in CONTRACTS},
)


@given(st.integers(1, (1 << 96) - 1))
def test_amounts_are_exact_both_ways(wei: int) -> None:
    assert wei_of(coins(wei)) == wei


@pytest.mark.parametrize(
    "text", ["", "0", "-1", "1e-19", "abc", "nan", "inf", "0.0000000000000000001", "1e30", "1e999999999"]
)
def test_impossible_amounts_are_refused(text: str) -> None:
    with pytest.raises(UsageError):
        wei_of(text)


@pytest.mark.parametrize("name", ["peer-supporter", "pår", "x" * 31])
def test_type_names_come_back(name: str) -> None:
    assert type_name_of(type_id_of(name)) == name


def test_type_ids_in_hex_are_taken_as_they_are() -> None:
    raw = keccak(b"something")
    assert type_id_of("0x" + raw.hex()) == raw
    assert type_name_of(raw) == "0x" + raw.hex()


@pytest.mark.parametrize("name", ["", "x" * 32, "0x12", "0x" + "zz" * 32])
def test_impossible_type_names_are_refused(name: str) -> None:
    with pytest.raises(UsageError):
        type_id_of(name)


def test_an_address_with_a_wrong_checksum_is_refused() -> None:
    good = "0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266"
    assert shown(address_of(good)) == good
    assert address_of(good.lower()) == address_of(good)
    for bad in (good.replace("f39F", "F39F"), good[:-1], "warm.eth", ""):
        with pytest.raises(UsageError):
            address_of(bad)


# -- manifests


def test_a_manifest_comes_back(tmp_path: Path) -> None:
    (tmp_path / "m.json").write_text(MANIFEST.to_json())
    assert read_manifest(tmp_path / "m.json") == MANIFEST


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"chain_id": "7"}, "chain_id"),
        ({"chain_id": True}, "chain_id"),
        ({"start_block": -1}, "start_block"),
        ({"contracts": []}, "contracts"),
        ({"contracts": {}}, "CredentialRegistry"),
        ({"contracts": json.loads(MANIFEST.to_json())["contracts"] | {"SupporterBond": 7}}, "SupporterBond"),
        (
            {"contracts": json.loads(MANIFEST.to_json())["contracts"] | {"SupporterBond": {"address": "0x12"}}},
            "SupporterBond.address",
        ),
    ],
)
def test_a_bad_manifest_names_the_field(change: dict[str, Any], named: str) -> None:
    with pytest.raises(ManifestError, match=named):
        parse_manifest(json.loads(MANIFEST.to_json()) | change, "m.json")


@pytest.mark.parametrize("text", ["", "{", "[]", "[" * 100_000])
def test_a_manifest_that_is_no_object_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "m.json").write_text(text)
    with pytest.raises(ManifestError):
        read_manifest(tmp_path / "m.json")


def test_a_missing_manifest_says_where_it_comes_from(tmp_path: Path) -> None:
    with pytest.raises(ManifestError) as caught:
        read_manifest(tmp_path / "none.json")
    assert "dev chain" in caught.value.hint


# -- reverts


def reverted(signature: str, types: list[str], values: list[Any]) -> RpcError:
    data = keccak(signature.encode())[:4] + encode(types, values)
    return RpcError(3, "execution reverted", data="0x" + data.hex())


def test_a_contract_s_own_error_is_told_in_words() -> None:
    who = "0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266"
    error = explain_revert(reverted("NotAdmitted(address)", ["address"], [who]))
    assert isinstance(error, RevertError)
    assert error.name == "NotAdmitted"
    assert str(error) == f"{who} is not an admitted issuer"
    assert "issuer register" in error.hint


@pytest.mark.parametrize(
    ("error", "name"),
    [
        (reverted("Error(string)", ["string"], ["too bad"]), "Error"),
        (reverted("Strange(uint256)", ["uint256"], [1]), None),
        (RpcError(3, "execution reverted", data="0x"), None),
        (RpcError(3, "execution reverted", data="0x" + keccak(b"NotAdmitted(address)")[:4].hex()), None),
    ],
)
def test_a_revert_is_always_explained_somehow(error: RpcError, name: str | None) -> None:
    explained = explain_revert(error)
    assert isinstance(explained, RevertError)
    assert explained.name == name


def test_what_is_no_revert_stays_as_it_was() -> None:
    error = RpcError(-32000, "nonce too low")
    assert explain_revert(error) is error


def test_every_named_error_of_the_contracts_has_words() -> None:
    from warmline.chain.artefact import artefact
    from warmline.chain.reverts import _WORDS

    of_operators = {"NotSteward", "RecognitionUnchanged", "BatchOutOfRange", "OfferExpired", "BadSignature"}
    of_operators |= {"DelayOutOfRange", "NotParty", "NotBeneficiary"}
    of_operators |= {"PausedTooRecently", "PauseOutOfRange", "NotASuccessor", "LockOutOfRange", "NotPanel"}
    of_operators |= {"SafeERC20FailedOperation", "WrongAmount"}
    for contract in ("CredentialRegistry", "DelegateRegistry", "SupporterBond"):
        named = {one["name"] for one in artefact(contract).abi if one["type"] == "error" and one["inputs"]}
        library = {name for name in named if name.startswith(("AccessManaged", "SafeCast", "Invalid", "String"))}
        assert named - library - of_operators - {"InsufficientBalance"} <= set(_WORDS)


# -- the journal


def journal_of(path: Path, *records: dict[str, Any]) -> bytes:
    with Journal(path) as journal:
        list(journal.recover())
        for record in records:
            journal.append(record)
    return path.read_bytes()


def read_back(path: Path) -> list[dict[str, Any]]:
    with Journal(path) as journal:
        return list(journal.recover())


def test_a_journal_torn_anywhere_in_its_last_line_loses_that_line_only(tmp_path: Path) -> None:
    path = tmp_path / "j"
    one = len(journal_of(path, {"a": 1}))
    whole = journal_of(path, {"b": 2})
    for cut in range(one, len(whole)):
        path.write_bytes(whole[:cut])
        assert read_back(path) in ([{"a": 1}], [{"a": 1}, {"b": 2}])
        assert journal_of(path, {"c": 3}).endswith(b'{"c":3}\n')
        assert read_back(path)[-1] == {"c": 3}


def test_damage_in_the_middle_is_not_repaired_by_forgetting(tmp_path: Path) -> None:
    path = tmp_path / "j"
    whole = bytearray(journal_of(path, {"a": 1}, {"b": 2}))
    whole[12] ^= 1
    path.write_bytes(whole)
    with pytest.raises(JournalError, match="line 1"):
        read_back(path)
    assert path.read_bytes() == whole


def test_two_chains_cannot_write_one_journal(tmp_path: Path) -> None:
    with Journal(tmp_path / "j"), pytest.raises(JournalError, match="another dev chain"):
        Journal(tmp_path / "j")


# -- passphrases and wallets


def test_a_wallet_opens_with_its_passphrase_only(tmp_path: Path) -> None:
    from warmline.chain.wallet import create_keystore, keystore_address, open_keystore
    from warmline_protocol.errors import PassphraseError

    path = tmp_path / "new" / "wallet.json"
    made = create_keystore(path, "correct horse", b"\x07" * 32, rounds=2)
    assert path.stat().st_mode & 0o777 == 0o600
    assert open_keystore(path, "correct horse").address == made.address == keystore_address(path)
    assert "07" * 32 not in path.read_text()
    with pytest.raises(PassphraseError) as caught:
        open_keystore(path, "wrong horse")
    assert caught.value.hint
    with pytest.raises(UsageError, match="already"):
        create_keystore(path, "other", b"\x08" * 32, rounds=2)
    assert open_keystore(path, "correct horse").address == made.address


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"crypto": {}, "version": 3}', '{"version": 9}', "\xff", "[" * 9999])
def test_a_damaged_wallet_is_named(tmp_path: Path, text: str) -> None:
    from warmline.chain.wallet import open_keystore

    (tmp_path / "w").write_text(text)
    with pytest.raises(ConfigError, match="not a wallet file"):
        open_keystore(tmp_path / "w", "x")


def test_a_passphrase_comes_from_a_file_descriptor() -> None:
    import os

    from warmline.chain.wallet import passphrase_from_fd

    def given_by(data: bytes) -> str:
        reading, writing = os.pipe()
        os.write(writing, data)
        os.close(writing)
        return passphrase_from_fd(reading)

    assert given_by(b"correct horse\nrest") == "correct horse"
    assert given_by("schön".encode()) == "schön"
    for bad in (b"", b"\n", b"\xff\n", b"x" * 1025):
        with pytest.raises(UsageError):
            given_by(bad)
    with pytest.raises(UsageError, match="file descriptor"):
        passphrase_from_fd(999_999)


def test_a_delegation_signed_by_a_wallet_is_the_protocol_s() -> None:
    from warmline.chain.wallet import dev_wallet
    from warmline_protocol.records.delegation import SUPPORTER, Delegation, with_signature

    wallet = dev_wallet(3)
    unsigned = Delegation(wallet.address, b"\x05" * 32, SUPPORTER, 1000, 2000, 7, b"\x09" * 20)
    assert with_signature(unsigned, wallet.sign_typed(unsigned.typed_data())).signature


# -- JSON from strangers


@pytest.mark.parametrize("deep", [b"[" * 100_000, b'{"a":' * 100_000, b'["\\"",' + b"[" * 100_000])
def test_deep_json_is_refused_where_the_recursion_limit_is_lifted(deep: bytes) -> None:
    import sys

    import eth_account  # noqa: F401 - it lifts the limit

    from warmline.chain.strict_json import loads

    assert sys.getrecursionlimit() > 2000, "eth-account no longer lifts the limit: strict_json can go"
    with pytest.raises(ValueError, match="deep"):
        loads(deep)


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    )
)
def test_other_json_comes_through(value: Any) -> None:
    from warmline.chain.strict_json import loads

    assert loads(json.dumps(value).encode()) == value
    assert loads(json.dumps(value, ensure_ascii=False).encode()) == value
