"""What a deployment consists of: which contracts, in which order, wired how. Data only; `deployer` carries it out.

A plan is a list of transactions of one account in a row. Their order fixes every address beforehand (yellow paper,
section 7), so contracts can name each other in their constructors, nobody has to be trusted with a setter, and a
deployment that was cut off is taken up where it was: the next transaction is the next nonce.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from eth_abi.abi import encode
from eth_hash.auto import keccak

from warmline.chain.artefact import artefact

_JsonAbi = Sequence[Mapping[str, Any]]


@dataclass(frozen=True, slots=True)
class At:
    """The address of a contract of the plan."""

    contract: str


SENDER = At("")
"""The account that carries the plan out."""


@dataclass(frozen=True, slots=True)
class Create:
    """Deploy `contract`. `values` are its constructor's arguments; an `At` anywhere in them becomes the address."""

    contract: str
    values: tuple[Any, ...] = ()


@dataclass(frozen=True, slots=True)
class Act:
    """Call a function of a contract of the plan."""

    contract: str
    function: str
    values: tuple[Any, ...] = ()


@dataclass(frozen=True, slots=True)
class Expect:
    """What a view must answer once all is done; `At` becomes the address. Part of the plan, checked on the chain."""

    contract: str
    view: str
    values: tuple[Any, ...]
    answer: Any


Step = Create | Act


@dataclass(frozen=True, slots=True)
class Sending:
    """One transaction. `to` is None for a creation; then `address` is where the contract will be."""

    step: Step
    nonce: int
    to: bytes | None
    data: bytes
    address: bytes | None

    @property
    def says(self) -> str:
        if isinstance(self.step, Create):
            return f"create {self.step.contract}"
        return f"{self.step.contract}.{self.step.function}"


def sendings(steps: Sequence[Step], sender: bytes, first_nonce: int) -> list[Sending]:
    """The transactions that carry out `steps`, in order."""
    places = addresses(steps, sender, first_nonce) | {SENDER.contract: sender}
    made = []
    for nonce, step in enumerate(steps, first_nonce):
        if isinstance(step, Create):
            built = artefact(step.contract)
            data = built.bytecode + _encode(_inputs(built.abi, "constructor", None), step.values, places)
            made.append(Sending(step, nonce, None, data, places[step.contract]))
        else:
            data = call_data(step.contract, step.function, step.values, places)
            made.append(Sending(step, nonce, places[step.contract], data, None))
    return made


def addresses(steps: Sequence[Step], sender: bytes, first_nonce: int) -> dict[str, bytes]:
    """Where each contract of the plan will be."""
    return {
        step.contract: created(sender, nonce)
        for nonce, step in enumerate(steps, first_nonce)
        if isinstance(step, Create)
    }


def created(sender: bytes, nonce: int) -> bytes:
    """The address of the contract that `sender`'s transaction `nonce` creates (yellow paper, section 7)."""
    import rlp  # type: ignore[import-untyped]

    return bytes(keccak(rlp.encode([sender, nonce])))[12:]


def call_data(contract: str, function: str, values: Sequence[Any], places: Mapping[str, bytes]) -> bytes:
    """The call of a function that has no second one of its name."""
    inputs = _inputs(artefact(contract).abi, "function", function)
    return selector(contract, function) + _encode(inputs, values, places)


def selector(contract: str, function: str) -> bytes:
    inputs = _inputs(artefact(contract).abi, "function", function)
    signature = f"{function}({','.join(_canonical(one) for one in inputs)})"
    return bytes(keccak(signature.encode()))[:4]


def answer_types(contract: str, view: str) -> list[str]:
    entry = _entry(artefact(contract).abi, "function", view)
    return [_canonical(one) for one in entry["outputs"]]


def resolve(value: Any, places: Mapping[str, bytes]) -> Any:
    """`value` with each `At` replaced by the address, and addresses as eth-abi wants and gives them."""
    if isinstance(value, At):
        return "0x" + places[value.contract].hex()
    if isinstance(value, bytes) and len(value) == 20:
        return "0x" + value.hex()
    if isinstance(value, (tuple, list)):
        return tuple(resolve(one, places) for one in value)
    return value


def same_code(contract: str, code: bytes) -> bool:
    """Whether this is our compiled contract, whatever its constructor wrote into its immutables."""
    built = artefact(contract)
    if len(code) != len(built.deployed):
        return False
    blank = bytearray(code)
    for start, length in built.immutables:
        blank[start : start + length] = bytes(length)
    return bytes(blank) == built.deployed


def _encode(inputs: _JsonAbi, values: Sequence[Any], places: Mapping[str, bytes]) -> bytes:
    return bytes(encode([_canonical(one) for one in inputs], [resolve(value, places) for value in values]))


def _inputs(abi: _JsonAbi, kind: str, name: str | None) -> _JsonAbi:
    found: _JsonAbi = _entry(abi, kind, name).get("inputs", [])
    return found


def _entry(abi: _JsonAbi, kind: str, name: str | None) -> Mapping[str, Any]:
    found = [one for one in abi if one["type"] == kind and one.get("name") == name]
    if kind == "constructor" and not found:
        return {}
    (entry,) = found
    return entry


def _canonical(field: Mapping[str, Any]) -> str:
    """The type as signatures write it: a struct is the list of its fields."""
    kind: str = field["type"]
    if not kind.startswith("tuple"):
        return kind
    return f"({','.join(_canonical(one) for one in field['components'])}){kind.removeprefix('tuple')}"
