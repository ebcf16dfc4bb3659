"""The compiled contracts that ship with the package: ABI and bytecode, checked against the sources in CI."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any


@dataclass(frozen=True, slots=True, eq=False)
class Artefact:
    """`abi` in JSON form, `bytecode` without constructor arguments."""

    name: str
    abi: list[dict[str, Any]]
    bytecode: bytes


@cache
def artefact(name: str) -> Artefact:
    file = resources.files("warmline.chain") / "artefacts" / f"{name}.json"
    content = json.loads(file.read_text())
    return Artefact(name, content["abi"], bytes.fromhex(content["bytecode"].removeprefix("0x")))
