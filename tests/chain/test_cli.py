"""The commands as a person runs them: real processes, a passphrase on a file descriptor, words and JSON."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from support.chain import NEVER_S, devchain, warmline
from support.persons import PASSPHRASE, Person
from warmline.chain.supporter import SupporterFiles
from warmline.chain.wallet import create_keystore
from warmline_protocol.limits import DEV_CHAIN_ID


@pytest.fixture
async def person(tmp_path: Path) -> Any:
    async with devchain(tmp_path / "chain", period_s=NEVER_S) as running:
        yield Person(running, tmp_path / "me")


async def test_from_nothing_to_a_bonded_credentialed_supporter_and_back(person: Person) -> None:
    registered = (await person.json("supporter", "register"))["state"]
    wallet = registered["wallet"]
    files = SupporterFiles(person.folder)
    assert files.device_key().public.hex() == registered["key"]
    assert files.delegation().chain_id == DEV_CHAIN_ID
    files.delegation().check()
    for secret in ("wallet.json", "device.key"):
        assert (person.folder / secret).stat().st_mode & 0o077 == 0
    await person.json("chain", "fund", wallet, passphrase=None)

    assert "no bond of yours yet" in await person.fails("supporter", "top-up", "0.1", "--yes")
    bonded = await person.json("supporter", "bond", "0.3")
    assert bonded["state"]["bond_wei"] == 3 * 10**17
    await person.json("supporter", "top-up", "0.1")
    sponsored = await person.json("supporter", "sponsor", wallet, "0.1", "--dev-account", "2", passphrase=None)
    assert (sponsored["state"]["supporter"], sponsored["state"]["bond_wei"]) == (wallet, 5 * 10**17)
    assert bonded["transactions"][0]["function"] == "bond"
    issuer = ("--dev-account", "1")
    assert (await person.json("issuer", "register", "--type", "peer", *issuer, passphrase=None))["state"]["admitted"]
    issued = await person.json("issuer", "issue", wallet, "peer", "--days", "90", *issuer, passphrase=None)
    assert issued["state"]["valid"]
    listed = (await person.json("supporter", "credential", "list", passphrase=None))["state"]["credentials"]
    assert [(row["type"], row["valid"]) for row in listed] == [("peer", True)]

    revoked = await person.json("issuer", "revoke", wallet, "peer", *issuer, passphrase=None)
    assert not revoked["state"]["valid"]
    left = await person.json("supporter", "exit", "0.2")
    assert (left["state"]["bond_wei"], left["state"]["exiting_wei"]) == (3 * 10**17, 2 * 10**17)
    assert left["state"]["exits"][0]["exit_id"] == 1
    assert "can be claimed from" in await person.fails("supporter", "claim", "1", "--yes")
    lost = await person.json("supporter", "lost-device")
    assert lost["state"]["revoked_before_s"] > files.delegation().not_before_s
    await person.json("supporter", "register")
    assert files.delegation().not_before_s >= lost["state"]["revoked_before_s"]


async def test_a_dry_run_says_all_and_does_nothing(person: Person) -> None:
    said = await person.run("supporter", "bond", "1", "--dev-account", "3", "--dry-run", passphrase=None)
    assert said.returncode == 0
    assert b"You sign as 0x90F79bf6EB2c4f870365E785982E1f101E93b906: put 1 coin down" in said.stdout
    assert b"It may cost up to 1.000" in said.stdout
    planned = await person.json("supporter", "bond", "1", "--dev-account", "3", "--dry-run", passphrase=None)
    assert planned["dry_run"]
    assert planned["state"]["bond_wei"] == 0
    await person.json("supporter", "register", "--dry-run", passphrase=None)
    await person.json("issuer", "register", "--type", "peer", "--dev-account", "1", "--dry-run", passphrase=None)
    assert not person.folder.exists()


async def test_what_goes_wrong_is_said_with_a_remedy(person: Person) -> None:
    key = bytes(31) + b"\x07"
    create_keystore(person.folder / "wallet.json", PASSPHRASE, key, rounds=2)
    assert "holds 0 coin" in await person.fails("supporter", "bond", "1", "--yes")
    await person.json("chain", "fund", "0x" + wallet_address(person).hex(), passphrase=None)
    assert "passphrase does not open" in await person.fails("supporter", "bond", "1", "--yes", passphrase="wrong")
    assert "no terminal" in await person.fails("supporter", "bond", "1", "--yes", passphrase=None)
    assert "is not an amount" in await person.fails("supporter", "bond", "lots", "--yes", passphrase=None)
    issue = ("issuer", "issue", "0x" + "11" * 20, "peer", "--dev-account", "2", "--yes", "--days")
    assert "is not an admitted issuer" in await person.fails(*issue, "9", passphrase=None)
    await person.json("issuer", "register", "--type", "peer", "--dev-account", "2", passphrase=None)
    assert "must lie in the future and not after" in await person.fails(*issue, "99999", passphrase=None)
    admit = ("issuer", "admit", "0x" + "11" * 20, "--yes", "--dev-account", "5")
    assert "is not governance" in await person.fails(*admit, passphrase=None)
    assert "--dev-account" not in (await person.fails("supporter", "exit", "5", "--yes"))
    assert "cannot reach the chain endpoint" in await person.fails(
        "supporter", "bond", "1", "--chain", "http://127.0.0.1:1", passphrase=None
    )
    assert "needs --manifest" in await person.fails(
        "supporter", "bond", "1", "--chain", "http://chain.example", passphrase=None
    )


def wallet_address(person: Person) -> bytes:
    from warmline.chain.wallet import keystore_address

    return keystore_address(person.folder / "wallet.json")


async def test_another_chain_s_manifest_is_refused(person: Person, tmp_path: Path) -> None:
    wrong = json.loads(person.chain.manifest.to_json())
    wrong["contracts"]["SupporterBond"]["code_hash"] = "0x" + "00" * 32
    (tmp_path / "wrong.json").write_text(json.dumps(wrong))
    arguments = ("supporter", "bond", "1", "--dev-account", "3", "--manifest", str(tmp_path / "wrong.json"))
    assert "SupporterBond is not at the address" in await person.fails(*arguments, passphrase=None)


def test_asking_for_help_imports_nothing_heavy() -> None:
    code = (
        "import sys; from warmline.cli import supporter, issuer, chain;"
        "print([m for m in ('web3', 'trio', 'httpx', 'eth', 'eth_account', 'eth_abi', 'libp2p') if m in sys.modules])"
    )
    command = warmline()
    assert subprocess.check_output([command[0], "-c", code]).strip() == b"[]"
