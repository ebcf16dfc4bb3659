"""Our event table against the committed artefacts and against web3's decoder, and rows of the store."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
from eth_abi.abi import encode
from eth_hash.auto import keccak
from hypothesis import given
from hypothesis import strategies as st

from warmline.chain.artefact import artefact
from warmline.chain.errors import RpcGarbageError
from warmline.chain.events import LAYOUTS, Layout, decode_log, from_row, to_row
from warmline_protocol.records.conduct import CollectorsSet
from warmline_protocol.records.standing_events import Bonded, CredentialIssued, Event, ExitQueued

ADDRESS = b"\x11" * 20
HOLDER, ISSUER, TYPE = b"\x22" * 20, b"\x33" * 20, b"\x44" * 32
EXAMPLES = {
    "address": HOLDER,
    "bytes32": TYPE,
    "uint64": 1_800_000_000,
    "uint32": 77,
    "uint8": 9,
    "uint256": 7 * 10**18,
}
DYNAMIC = [layout for layout in LAYOUTS if not layout.fields]
NOT_STANDING = {
    "IntakePaused(uint64)",
    "SuccessorAnnounced(address,uint64)",
    "BondLocked(address,uint64,uint32,uint32)",
    "BondReleased(address,uint32,uint32)",
    "Swept(address,uint256)",
}
"""Events of the contracts that no standing depends on."""


def abi_events(contract: str) -> dict[str, dict[str, Any]]:
    return {
        f"{one['name']}({','.join(field['type'] for field in one['inputs'])})": one
        for one in artefact(contract).abi
        if one["type"] == "event"
    }


def log_of(layout: Layout, inputs: list[dict[str, Any]]) -> dict[str, Any]:
    values = [EXAMPLES[field["type"]] for field in inputs]
    words = [encode([field["type"]], [value]) for field, value in zip(inputs, values, strict=True)]
    indexed = [word for field, word in zip(inputs, words, strict=True) if field["indexed"]]
    data = [word for field, word in zip(inputs, words, strict=True) if not field["indexed"]]
    return {
        "address": "0x" + ADDRESS.hex(),
        "topics": ["0x" + word.hex() for word in [layout.topic, *indexed]],
        "data": "0x" + b"".join(data).hex(),
    }


@pytest.mark.parametrize("layout", [each for each in LAYOUTS if each.fields], ids=lambda layout: layout.signature)
def test_each_layout_is_the_contract_s(layout: Layout) -> None:
    inputs = abi_events(layout.contract)[layout.signature]["inputs"]
    flags = [field["indexed"] for field in inputs]
    assert flags == [True] * layout.indexed + [False] * (len(flags) - layout.indexed)
    event = decode_log(log_of(layout, inputs), {ADDRESS: layout.contract})
    assert event is not None
    values = [EXAMPLES[field["type"]] for field in inputs]
    assert [getattr(event, field.name) for field in dataclasses.fields(event)] == values[
        : len(dataclasses.fields(event))
    ]


@pytest.mark.parametrize("count", [0, 1, 3])
def test_a_list_of_collectors_is_read_whole(count: int) -> None:
    (layout,) = DYNAMIC
    assert layout.signature in abi_events(layout.contract)
    named = [bytes([number]) * 20 for number in range(1, count + 1)]
    data = encode(["address[]", "uint8"], [named, 2])
    log = {"address": "0x" + ADDRESS.hex(), "topics": ["0x" + layout.topic.hex()], "data": "0x" + data.hex()}
    event = decode_log(log, {ADDRESS: "ConductEpochs"})
    assert event == CollectorsSet(b"".join(named), 2)
    assert event is not None
    assert from_row(to_row(event)) == event
    for broken in (data[:-1], data[:64], data + bytes(32), b"", data[:32] + b"\xff" * 32 + data[64:95]):
        with pytest.raises(RpcGarbageError):
            decode_log(log | {"data": "0x" + broken.hex()}, {ADDRESS: "ConductEpochs"})


@pytest.mark.parametrize("contract", ["CredentialRegistry", "DelegateRegistry", "SupporterBond"])
def test_no_event_of_the_contracts_is_overlooked(contract: str) -> None:
    ours = {layout.signature for layout in LAYOUTS if layout.contract == contract}
    inherited = {"AuthorityUpdated(address)", "EIP712DomainChanged()"}
    assert set(abi_events(contract)) - inherited - NOT_STANDING == ours


def issued() -> dict[str, Any]:
    layout = next(one for one in LAYOUTS if one.signature.startswith("CredentialIssued"))
    return log_of(layout, abi_events("CredentialRegistry")[layout.signature]["inputs"])


def test_logs_of_others_are_not_ours() -> None:
    assert decode_log(issued(), {}) is None
    assert decode_log(issued(), {ADDRESS: "SupporterBond"}) is None
    assert decode_log(issued() | {"topics": []}, {ADDRESS: "CredentialRegistry"}) is None
    strange = ["0x" + keccak(b"Strange()").hex()]
    assert decode_log(issued() | {"topics": strange}, {ADDRESS: "CredentialRegistry"}) is None


@pytest.mark.parametrize(
    "change",
    [
        {"data": "0x"},
        {"data": "0x00"},
        {"data": "0x" + "00" * 64},
        {"data": 7},
        {"data": "zz"},
        {"topics": None},
        {"topics": [issued()["topics"][0]]},
        {"topics": [issued()["topics"][0], "0x" + "ff" * 32, *issued()["topics"][2:]]},
        {"address": None},
    ],
)
def test_a_log_that_cannot_be_read_is_the_endpoint_s_fault(change: dict[str, Any]) -> None:
    with pytest.raises(RpcGarbageError):
        decode_log(issued() | change, {ADDRESS: "CredentialRegistry"})


EVENTS: st.SearchStrategy[Event] = st.one_of(
    st.builds(
        CredentialIssued,
        st.just(HOLDER),
        st.binary(min_size=32, max_size=32),
        st.just(ISSUER),
        st.integers(0, 2**64 - 1),
    ),
    st.builds(Bonded, st.just(HOLDER), st.just(ISSUER), st.integers(0, 2**256 - 1)),
    st.builds(
        ExitQueued, st.just(HOLDER), st.integers(0, 2**256 - 1), st.just(HOLDER), st.integers(0, 2**128), st.just(1)
    ),
)


@given(EVENTS)
def test_rows_of_the_store_come_back(event: Event) -> None:
    assert from_row(to_row(event)) == event
