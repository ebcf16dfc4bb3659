"""The committed artefacts are what the sources compile to.

Without node the hashes of our own sources are compared, which shows a source that changed after the export; with
node everything is compiled again and compared byte for byte. Where CI is set nothing is skipped.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
CONTRACTS = ROOT / "contracts"
ARTEFACTS = ROOT / "node/warmline/chain/artefacts"
NAMES = (
    "AccessManager",
    "ConductEpochs",
    "CredentialRegistry",
    "DelegateRegistry",
    "ReportPanel",
    "SupporterBond",
    "TimelockController",
)
IN_CI = os.environ.get("CI", "").lower() == "true"
COMPILE_DEADLINE_S = 300

FUNCTIONS = {
    "ConductEpochs": {
        "grantVouchers(uint64,uint32,bytes32)",
        "post(uint64,bytes32,bytes32,uint64,address[],bytes[])",
        "veto(uint64,bytes32)",
        "standing()",
        "pending()",
        "setCollectors(address[],uint8)",
    },
    "CredentialRegistry": {
        "admitIssuer(address,bytes32)",
        "removeIssuer(address)",
        "sunsetIssuer(address)",
        "resign()",
        "suspendIssuer(address,uint64)",
        "pauseIntake(uint64)",
        "supersede(address)",
        "mayIssue(address)",
        "registerType(bytes32,bytes32)",
        "recognise(bytes32,address)",
        "withdrawRecognition(bytes32,address)",
        "issue(address,bytes32,uint64)",
        "issueBatch(address[],bytes32,uint64)",
        "issueBySignature(address,address,bytes32,uint64,uint64,bytes)",
        "revoke(address,bytes32,uint8)",
        "renounce(address,bytes32)",
        "isValid(address,bytes32)",
        "credentialOf(address,address,bytes32)",
    },
    "DelegateRegistry": {
        "setDelegate(bytes32,uint64)",
        "revokeBefore(uint64)",
        "delegateUntil(address,bytes32)",
        "revokedBefore(address)",
    },
    "SupporterBond": {
        "bond()",
        "bondFor(address)",
        "queueExit(uint128)",
        "queueSponsoredExit(address,address,uint128)",
        "claim(uint256)",
        "claimTo(uint256,address)",
        "bondOf(address)",
        "exitingOf(address)",
    },
}
EVENTS = {
    "ConductEpochs": {
        "CollectorsSet(address[],uint8)",
        "VouchersGranted(address indexed,uint64 indexed,uint32,bytes32)",
        "EpochPosted(uint64 indexed,bytes32,bytes32,bytes32,uint64,uint64)",
        "EpochVetoed(uint64 indexed,bytes32,address indexed)",
    },
    "CredentialRegistry": {
        "IssuerAdmitted(address indexed,bytes32)",
        "IssuerRemoved(address indexed)",
        "IssuerSunset(address indexed,uint64)",
        "IssuerSuspended(address indexed,uint64)",
        "TypeRegistered(address indexed,bytes32 indexed,bytes32)",
        "IssuerRecognised(bytes32 indexed,address indexed)",
        "RecognitionWithdrawn(bytes32 indexed,address indexed)",
        "CredentialIssued(address indexed,bytes32 indexed,address indexed,uint64)",
        "CredentialRevoked(address indexed,bytes32 indexed,address indexed,uint8)",
        "CredentialRenounced(address indexed,bytes32 indexed,address indexed)",
    },
    "DelegateRegistry": {
        "DelegateSet(address indexed,bytes32 indexed,uint64)",
        "DelegatesRevokedBefore(address indexed,uint64)",
    },
    "SupporterBond": {
        "Bonded(address indexed,address indexed,uint256)",
        "ExitQueued(address indexed,uint256 indexed,address,uint256,uint64)",
        "ExitClaimed(address indexed,uint256 indexed,uint256)",
        "BondLocked(address indexed,uint64,uint32,uint32)",
        "BondReleased(address indexed,uint32,uint32)",
        "Slashed(address indexed,bytes32 indexed,uint256,uint256,uint256)",
        "Swept(address indexed,uint256)",
    },
}


def load(name: str) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((ARTEFACTS / f"{name}.json").read_text())
    return content


def signatures(abi: list[dict[str, Any]], kind: str) -> Iterator[str]:
    for item in abi:
        if item["type"] == kind:
            fields = (each["type"] + (" indexed" if each.get("indexed") else "") for each in item["inputs"])
            yield f"{item['name']}({','.join(fields)})"


def test_every_artefact_is_there_and_no_other() -> None:
    assert sorted(path.stem for path in ARTEFACTS.glob("*.json")) == sorted(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_artefact_agrees_with_itself(name: str) -> None:
    it = load(name)
    assert it["contract"] == name
    assert it["evm_version"] == "prague"  # the embedded chain knows no later fork
    deployed = bytes.fromhex(it["deployed_bytecode"].removeprefix("0x"))  # fails where a library is unlinked
    assert hashlib.sha256(deployed).hexdigest() == it["deployed_sha256"]
    assert len(deployed) <= 24_576  # EIP-170
    assert all(deployed[at : at + size] == bytes(size) for at, size in it["immutables"])
    assert deployed.hex() in it["bytecode"]


@pytest.mark.parametrize("name", sorted(FUNCTIONS))
def test_artefact_has_the_abi_that_the_node_reads(name: str) -> None:
    abi = load(name)["abi"]
    assert FUNCTIONS[name] <= set(signatures(abi, "function"))
    # Equal, not more: an event that the followers do not know would be a fact that they miss.
    inherited = {
        "AuthorityUpdated(address)",
        "EIP712DomainChanged()",
        "IntakePaused(uint64)",
        "SuccessorAnnounced(address indexed,uint64)",
    }
    assert set(signatures(abi, "event")) - inherited == EVENTS[name]


@pytest.mark.parametrize("name", NAMES)
def test_artefact_is_not_older_than_our_sources(name: str) -> None:
    ours = {path: digest for path, digest in load(name)["sources"].items() if path.startswith("src/")}
    assert ours or name in ("AccessManager", "TimelockController")
    for path, digest in ours.items():
        found = hashlib.sha256((CONTRACTS / path).read_bytes()).hexdigest()
        assert found == digest, f"{path} changed: run contracts/check --update and commit the artefacts"


def compiler() -> str:
    """The path of forge, installed from the lock where that is possible; skips or fails where it is not."""
    forge = CONTRACTS / "node_modules/.bin/forge"
    if IN_CI and not forge.exists() and shutil.which("npm"):
        subprocess.run(["npm", "ci", "--no-progress"], cwd=CONTRACTS, check=True, timeout=COMPILE_DEADLINE_S)
    if forge.exists() and shutil.which("node"):
        return str(forge)
    missing = "node or the packages of contracts/ are missing: run npm ci there"
    if IN_CI:
        pytest.fail(missing)
    pytest.skip(missing)


def test_artefacts_are_what_the_sources_compile_to(tmp_path: Path) -> None:
    environment = os.environ | {
        "FOUNDRY_OUT": str(tmp_path / "out"),
        "FOUNDRY_CACHE_PATH": str(tmp_path / "cache"),
    }
    for command in ([compiler(), "build", "--force", "--skip", "test/**"], ["node", "tools/export", "--check"]):
        done = subprocess.run(
            command,
            cwd=CONTRACTS,
            env=environment,
            capture_output=True,
            text=True,
            timeout=COMPILE_DEADLINE_S,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
