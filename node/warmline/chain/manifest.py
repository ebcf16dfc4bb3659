"""Which contracts a node follows, on which chain, from which block: the manifest, a small JSON file.

    {"chain_id": 1, "start_block": 7, "contracts": {"SupporterBond": {"address": "0x..", "code_hash": "0x.."}, ...}}

`code_hash` is keccak-256 of the deployed code, so a node never reads standing from a contract it was not meant to.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from warmline.chain.errors import ManifestError
from warmline.chain.events import unhex
from warmline.chain.strict_json import loads

CONTRACTS = ("CredentialRegistry", "DelegateRegistry", "ReportPanel", "SupporterBond")
"""What a manifest must name: a node that reads one less would miss bad news."""
MANIFEST_MAX = 1 << 20


@dataclass(frozen=True, slots=True)
class Deployed:
    """Address 20 bytes, code hash 32 bytes."""

    address: bytes
    code_hash: bytes


@dataclass(frozen=True, slots=True)
class Manifest:
    chain_id: int
    start_block: int
    contracts: Mapping[str, Deployed]

    def address(self, contract: str) -> bytes:
        return self.contracts[contract].address

    def names(self) -> dict[bytes, str]:
        """Contract names by address."""
        return {deployed.address: name for name, deployed in self.contracts.items()}

    def to_json(self) -> str:
        contracts = {
            name: {"address": "0x" + at.address.hex(), "code_hash": "0x" + at.code_hash.hex()}
            for name, at in sorted(self.contracts.items())
        }
        content = {"chain_id": self.chain_id, "start_block": self.start_block, "contracts": contracts}
        return json.dumps(content, indent=2) + "\n"


def parse_manifest(content: Any, where: str) -> Manifest:
    """A manifest from decoded JSON. Raises ManifestError that names the field; `where` is the file or endpoint."""
    if not isinstance(content, dict):
        raise ManifestError(f"{where}: a manifest is a JSON object")
    contracts = content.get("contracts")
    if not isinstance(contracts, dict):
        raise ManifestError(f"{where}: `contracts` is missing")
    missing = [name for name in CONTRACTS if name not in contracts]
    if missing:
        raise ManifestError(f"{where}: `contracts` does not name {', '.join(missing)}")
    return Manifest(
        _natural(content, "chain_id", where),
        _natural(content, "start_block", where),
        {name: _deployed(name, entry, where) for name, entry in sorted(contracts.items())},
    )


def read_manifest(path: Path) -> Manifest:
    """Blocking. Raises ManifestError."""
    try:
        with path.open("rb") as file:
            data = file.read(MANIFEST_MAX)
    except OSError as error:
        raise ManifestError(f"cannot read the manifest {path}: {error.strerror}") from error
    try:
        content = loads(data)
    except ValueError as error:
        raise ManifestError(f"{path} is not JSON: {error}") from error
    return parse_manifest(content, str(path))


def _natural(content: Mapping[str, Any], name: str, where: str) -> int:
    value = content.get(name)
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise ManifestError(f"{where}: `{name}` must be a number, zero or more")
    return value


def _deployed(name: str, entry: Any, where: str) -> Deployed:
    if not isinstance(entry, dict):
        raise ManifestError(f"{where}: `contracts.{name}` must be an object")
    return Deployed(_hex(entry, name, "address", 20, where), _hex(entry, name, "code_hash", 32, where))


def _hex(entry: Mapping[str, Any], name: str, field: str, size: int, where: str) -> bytes:
    try:
        value = unhex(entry.get(field))
    except ValueError:
        value = b""
    if len(value) != size:
        raise ManifestError(f"{where}: `contracts.{name}.{field}` must be 0x and {size * 2} hex digits")
    return value
