"""Logs of the contracts to ledger events, and back to rows of the store.

Every event here but one has only static one-word fields, so decoding is cutting 32-byte words: no ABI library, which
keeps a node's start short. `tests/chain` holds this table against the committed artefacts and against web3's decoder.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, cast

from eth_hash.auto import keccak

from warmline.chain.errors import RpcGarbageError
from warmline_protocol.codec import decode, encode
from warmline_protocol.records import standing_events as said
from warmline_protocol.records.conduct import CollectorsSet, VouchersGranted
from warmline_protocol.records.standing_events import Event


@dataclass(frozen=True, slots=True)
class Layout:
    """One event: its contract, canonical signature, how many fields are indexed, and each field's reader.

    ``make`` gets the fields that were read; without readers, all words as they are.
    """

    contract: str
    signature: str
    indexed: int
    fields: tuple[Callable[[bytes], Any], ...]
    make: Callable[..., Event]

    @property
    def topic(self) -> bytes:
        return bytes(keccak(self.signature.encode()))


def _address(word: bytes) -> bytes:
    if any(word[:12]):
        raise ValueError("an address word has bits above the address")
    return word[12:]


def _number(word: bytes) -> int:
    return int.from_bytes(word, "big")


def _bytes32(word: bytes) -> bytes:
    return word


def _admitted(issuer: bytes, _metadata: bytes) -> Event:
    return said.IssuerAdmitted(issuer)


def _registered(issuer: bytes, type_id: bytes, _document: bytes) -> Event:
    return said.TypeRegistered(issuer, type_id)


def _collectors(*words: bytes) -> Event:
    """(address[], uint8): offset of the array, threshold, length, then the addresses."""
    offset, threshold, length, *addresses = words
    if _number(offset) != 64 or _number(length) != len(addresses):
        raise ValueError("collectors that are laid out in another way")
    return CollectorsSet(b"".join(map(_address, addresses)), _number(threshold))


LAYOUTS: tuple[Layout, ...] = (
    Layout("CredentialRegistry", "IssuerAdmitted(address,bytes32)", 1, (_address, _bytes32), _admitted),
    Layout("CredentialRegistry", "IssuerRemoved(address)", 1, (_address,), said.IssuerRemoved),
    Layout("CredentialRegistry", "IssuerSunset(address,uint64)", 1, (_address, _number), said.IssuerSunset),
    Layout("CredentialRegistry", "IssuerSuspended(address,uint64)", 1, (_address, _number), said.IssuerSuspended),
    Layout(
        "CredentialRegistry",
        "TypeRegistered(address,bytes32,bytes32)",
        2,
        (_address, _bytes32, _bytes32),
        _registered,
    ),
    Layout(
        "CredentialRegistry",
        "IssuerRecognised(bytes32,address)",
        2,
        (_bytes32, _address),
        said.IssuerRecognised,
    ),
    Layout(
        "CredentialRegistry",
        "RecognitionWithdrawn(bytes32,address)",
        2,
        (_bytes32, _address),
        said.RecognitionWithdrawn,
    ),
    Layout(
        "CredentialRegistry",
        "CredentialIssued(address,bytes32,address,uint64)",
        3,
        (_address, _bytes32, _address, _number),
        said.CredentialIssued,
    ),
    Layout(
        "CredentialRegistry",
        "CredentialRevoked(address,bytes32,address,uint8)",
        3,
        (_address, _bytes32, _address, _number),
        said.CredentialRevoked,
    ),
    Layout(
        "CredentialRegistry",
        "CredentialRenounced(address,bytes32,address)",
        3,
        (_address, _bytes32, _address),
        said.CredentialRenounced,
    ),
    Layout(
        "DelegateRegistry",
        "DelegateSet(address,bytes32,uint64)",
        2,
        (_address, _bytes32, _number),
        said.DelegateSet,
    ),
    Layout(
        "DelegateRegistry",
        "DelegatesRevokedBefore(address,uint64)",
        1,
        (_address, _number),
        said.DelegatesRevokedBefore,
    ),
    Layout(
        "SupporterBond",
        "Bonded(address,address,uint256)",
        2,
        (_address, _address, _number),
        said.Bonded,
    ),
    Layout(
        "SupporterBond",
        "ExitQueued(address,uint256,address,uint256,uint64)",
        2,
        (_address, _number, _address, _number, _number),
        said.ExitQueued,
    ),
    Layout(
        "SupporterBond",
        "ExitClaimed(address,uint256,uint256)",
        2,
        (_address, _number, _number),
        said.ExitClaimed,
    ),
    Layout(
        "SupporterBond",
        "Slashed(address,bytes32,uint256,uint256,uint256)",
        2,
        (_address, _bytes32, _number, _number, _number),
        said.Slashed,
    ),
    Layout("ReportPanel", "SuspensionChanged(address,uint64)", 1, (_address, _number), said.SuspensionChanged),
    Layout(
        "ConductEpochs",
        "VouchersGranted(address,uint64,uint32,bytes32)",
        2,
        (_address, _number, _number, _bytes32),
        VouchersGranted,
    ),
    Layout("ConductEpochs", "CollectorsSet(address[],uint8)", 0, (), _collectors),
)

_BY_TOPIC: dict[tuple[str, bytes], Layout] = {(layout.contract, layout.topic): layout for layout in LAYOUTS}


def topics() -> list[str]:
    """Every topic we read, as hex, for the filter of eth_getLogs."""
    return sorted({"0x" + layout.topic.hex() for layout in LAYOUTS})


def decode_log(log: Mapping[str, Any], contracts: Mapping[bytes, str]) -> Event | None:
    """The event of one JSON-RPC log; None for one that is not ours. `contracts`: address to contract name.

    Raises RpcGarbageError for a log that claims to be ours and is not shaped like it.
    """
    try:
        contract = contracts.get(unhex(log["address"]))
        words = [unhex(topic) for topic in log["topics"]]
        layout = _BY_TOPIC.get((contract or "", words[0])) if words else None
        return None if layout is None else _build(layout, words[1:], unhex(log["data"]))
    except (KeyError, TypeError, ValueError) as error:
        raise RpcGarbageError(f"the chain endpoint sent a log that cannot be read: {error}") from error


def _build(layout: Layout, words: list[bytes], data: bytes) -> Event:
    words = words + [data[at : at + 32] for at in range(0, len(data), 32)]
    if any(len(word) != 32 for word in words) or (layout.fields and len(words) != len(layout.fields)):
        raise ValueError(f"{layout.signature} with {len(words)} words")
    if not layout.fields:
        return layout.make(*words)
    return layout.make(*(read(word) for read, word in zip(layout.fields, words, strict=True)))


def unhex(text: Any) -> bytes:
    if not isinstance(text, str) or not text.startswith("0x"):
        raise ValueError("expected 0x-prefixed hex")
    return bytes.fromhex(text[2:])


_KINDS: dict[str, type[Any]] = {
    cls.__name__: cls
    for cls in (
        said.IssuerAdmitted,
        said.IssuerRemoved,
        said.IssuerSunset,
        said.IssuerSuspended,
        said.TypeRegistered,
        said.IssuerRecognised,
        said.RecognitionWithdrawn,
        said.CredentialIssued,
        said.CredentialRevoked,
        said.CredentialRenounced,
        said.DelegateSet,
        said.DelegatesRevokedBefore,
        said.Bonded,
        said.ExitQueued,
        said.ExitClaimed,
        said.Slashed,
        said.SuspensionChanged,
        VouchersGranted,
        CollectorsSet,
    )
}


def to_row(event: Event) -> bytes:
    """The event as bytes for the store. Amounts pass 64 bits, so every number is 32 bytes."""
    values = [getattr(event, field.name) for field in dataclasses.fields(event)]
    words = [value.to_bytes(32, "big") if isinstance(value, int) else value for value in values]
    return encode([type(event).__name__, *words])


def from_row(row: bytes) -> Event:
    name, *words = cast("list[Any]", decode(row))
    cls = _KINDS[name]
    # `from __future__ annotations`: the declared types are strings.
    return cls(  # type: ignore[no-any-return]
        *(
            int.from_bytes(word, "big") if field.type == "int" else word
            for field, word in zip(dataclasses.fields(cls), words, strict=True)
        )
    )
