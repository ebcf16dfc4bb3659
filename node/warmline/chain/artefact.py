"""The compiled contracts that ship with the package: ABI and bytecode, checked against the sources in CI."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any


@dataclass(frozen=True, slots=True, eq=False)
class Artefact:
    """`abi` in JSON form, `bytecode` without constructor arguments.

    `deployed` is the code on the chain, with zeros at each (start, length) of `immutables`.
    """

    name: str
    abi: list[dict[str, Any]]
    bytecode: bytes
    deployed: bytes
    immutables: tuple[tuple[int, int], ...]


@cache
def artefact(name: str) -> Artefact:
    file = resources.files("warmline.chain") / "artefacts" / f"{name}.json"
    content = json.loads(file.read_text())
    return Artefact(
        name,
        content["abi"],
        _unhex(content["bytecode"]),
        _unhex(content["deployed_bytecode"]),
        tuple((start, length) for start, length in content["immutables"]),
    )


def _unhex(text: str) -> bytes:
    return bytes.fromhex(text.removeprefix("0x"))
