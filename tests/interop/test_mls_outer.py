"""The outer layer in JavaScript, written from ``protocol/sessions.md``: it repeats every committed vector, and a whole
seeker made of it and ts-mls speaks with our supporter's machine through cells."""

from __future__ import annotations

import hashlib
from itertools import count
from typing import Any

import pytest

from support import sessions
from support.sessions import START_MS
from support.tsmls import Peer, PeerError
from warmline.client.engine_mlsrs import MlsRsProvider
from warmline.env import SeededRng
from warmline_protocol import vectors
from warmline_protocol.keys import SigningKey
from warmline_protocol.session import xwing
from warmline_protocol.session.events import Append, Closed, MessageState, TextReceived
from warmline_protocol.session.hello import open_hello
from warmline_protocol.session.messages import Ack, Text, unpack_body
from warmline_protocol.session.pair import Pair
from warmline_protocol.session.xwing import SealingKey

NUMBERS = count()


def rows(name: str) -> Any:
    return pytest.mark.parametrize("row", vectors.load(f"session.{name}"), ids=lambda row: row["name"])


@rows("cells")
def test_cells_are_as_committed(peer: Peer, row: dict[str, Any]) -> None:
    names = ("kind", "epoch", "counter", "bundle", "payload", "key", "label", "salts")
    cells = peer.call("outer.seal", **{name: row[name] for name in names})["cells"]
    assert [hashlib.sha256(bytes.fromhex(cell)).hexdigest() for cell in cells] == row["cells_sha256"]
    for order in (cells, cells[::-1], cells + cells):
        (bundle,) = peer.call("outer.open", cells=order, key=row["key"], label=row["label"])["bundles"]
        assert bundle == {name: row[name] for name in ("kind", "epoch", "counter", "payload")}
    assert peer.call("outer.open", cells=cells, key=row["key"], label="elsewhere")["bundles"] == []
    bent = cells[0][:-2] + ("00" if cells[0][-2:] != "00" else "01")
    assert peer.call("outer.open", cells=[bent, *cells[1:]], key=row["key"], label=row["label"])["bundles"] == []


@rows("keys")
def test_the_key_schedule_is_as_committed(peer: Peer, row: dict[str, Any]) -> None:
    keys = [peer.call("outer.first", secret=row["reply_secret"], random=row["random"])["key"]]
    for exporter in row["exporters"]:
        keys.append(peer.call("outer.next", key=keys[-1], exporter=exporter)["key"])
    assert keys == row["keys"]
    purposes = {"digest": ("outer digest", 16), "log_send": ("log send", 32), "log_read": ("log read", 32)}
    for name, (purpose, size) in purposes.items():
        assert peer.call("outer.derive", key=keys[-1], purpose=purpose, size=size)["key"] == row[name]


@rows("xwing")
def test_x_wing_opens_as_committed_and_both_ways(peer: Peer, row: dict[str, Any]) -> None:
    fields = {"seed": row["seed"], "sealed": row["sealed"], "purpose": row["purpose"]}
    assert bytes.fromhex(peer.call("outer.openWith", **fields)["data"]).decode() == row["plaintext"]
    key = SealingKey(bytes.fromhex(row["seed"]))
    assert key.public.hex() == row["public"]
    there = peer.call("outer.sealTo", key=row["public"], data=b"there".hex(), purpose="welcome")["sealed"]
    assert key.open(bytes.fromhex(there), "welcome") == b"there"
    back = xwing.seal(key.public, b"back", "welcome").hex()
    assert peer.call("outer.openWith", seed=row["seed"], sealed=back, purpose="welcome")["data"] == b"back".hex()
    with pytest.raises(PeerError):
        peer.call("outer.openWith", seed=row["seed"], sealed=back, purpose="hello")


@rows("contact")
def test_first_contact_is_as_committed(peer: Peer, row: dict[str, Any]) -> None:
    opened = peer.call("outer.hello", cell=row["hello_cell"], seed=row["contact_seed"])
    assert opened["hello"] == row["hello"]
    for name in ("hello", "welcome", "accepted"):
        assert peer.call("outer.again", data=row[name])["data"] == row[name]
    said = row["statement"]
    fields = {"hello": row["hello"], "welcome": row["welcome"], "group": said["group_id"], "leafKey": said["leaf_key"]}
    assert peer.call("outer.statement", **fields)["good"]
    assert not peer.call("outer.statement", **{**fields, "leafKey": "00" * 32})["good"]


@rows("evidence")
def test_evidence_is_as_committed(peer: Peer, row: dict[str, Any]) -> None:
    supporter = SigningKey(bytes.fromhex(row["seed"])).public.hex()
    names = ("counter", "body", "salt", "previous", "signature")
    for link in row["links"]:
        fields = {"supporter": supporter, "chain": row["nonce"], **{name: link[name] for name in names}}
        assert peer.call("outer.evidence", **fields)["good"]
        assert not peer.call("outer.evidence", **{**fields, "counter": link["counter"] + 1})["good"]


class Conversation:
    """Our supporter's machine, and a seeker in JavaScript."""

    def __init__(self, peer: Peer, seed: int) -> None:
        self.peer, self.name, self.now = peer, f"seeker {next(NUMBERS)}", START_MS
        rng = SeededRng(seed)
        self.key, contact = SigningKey(rng.bytes(32)), SealingKey(rng.bytes(32))
        fields = {"contact": contact.public.hex(), "replies": [b"g0".hex()], "id": rng.bytes(16).hex()}
        cell = bytes.fromhex(self.call("hello", **fields)["cell"])
        self.hello, _ = open_hello(cell, [contact])
        self.host = Pair.accept(
            self.hello,
            MlsRsProvider(rng.bytes),
            rng.bytes,
            self.now,
            key=self.key,
            name="Ada",
            avatar=b"a" * 16,
            queues=(b"h0",),
        )
        self.events: list[Any] = []
        self.arrived = 1
        self.answer = self.outgoing()

    def call(self, name: str, **fields: Any) -> dict[str, Any]:
        return self.peer.call(f"seeker.{name}", who=self.name, **fields)

    def outgoing(self) -> list[str]:
        """The cells that the supporter's machine wants to append; each is receipted."""
        cells: list[str] = []
        while True:
            outputs, events = self.host.take()
            self.events += events
            if not outputs:
                return cells
            for output in outputs:
                assert isinstance(output, Append)
                cells += [cell.hex() for cell in output.cells]
                self.host.receipted(output.token, "g0", b"i" * 16, self.now)

    def hear(self) -> list[dict[str, Any]]:
        """What the seeker makes of everything new."""
        heard: list[dict[str, Any]] = self.call("read", cells=self.outgoing())["heard"]
        for each in heard:
            if each["counter"] > 0:
                self.arrived = max(self.arrived, each["counter"])
        return heard

    def say(self, body: dict[str, Any], *, numbered: bool = True) -> None:
        """A message of the seeker's to the supporter."""
        cells = self.call("say", body=body, numbered=numbered, now=self.now)["cells"]
        self.host.receive([bytes.fromhex(cell) for cell in cells], self.now)

    def acknowledge(self) -> None:
        self.say({"t": "ack", "upto": self.arrived, "beyond": []}, numbered=False)

    def texts(self) -> list[str]:
        self.hear()
        return [each.text for each in self.events if isinstance(each, TextReceived)]


def test_a_seeker_without_our_code_talks_with_a_supporter(peer: Peer) -> None:
    talk = Conversation(peer, 1)
    assert talk.hello.name == "River" and talk.hello.line == "hi"
    joined = talk.call("welcome", cells=talk.answer, supporter=talk.key.public.hex())
    assert joined == {"name": "Ada", "queues": [b"h0".hex()]}

    talk.say({"t": "text", "text": "I cannot sleep"})
    assert talk.texts() == ["I cannot sleep"]
    message = talk.host.send("I am here. What is keeping you up?" * 150, talk.now)
    (said,) = [each for each in talk.hear() if isinstance(unpack_body(bytes.fromhex(each["body"])), Text)]
    assert unpack_body(bytes.fromhex(said["body"])) == Text("I am here. What is keeping you up?" * 150)
    talk.acknowledge()
    talk.hear()
    assert [each.state for each in talk.events if isinstance(each, MessageState) and each.id == message][
        -1
    ] == "delivered"

    for number in range(3):
        talk.host.renew(talk.now)
        heard = talk.hear()
        (commit,) = [each for each in heard if each["kind"] == "commit"]
        assert commit["digest"] == talk.host.schedule.current.digest.hex()
        talk.acknowledge()
        talk.say({"t": "text", "text": f"still here {number}"})
        assert talk.texts()[-1] == f"still here {number}"
    assert talk.host.schedule.current.number == 4
    talk.say({"t": "leave", "why": "left"})
    talk.hear()
    assert any(isinstance(each, Closed) for each in talk.events)


def test_what_the_supporter_says_is_acknowledged_in_a_form_that_it_reads(peer: Peer) -> None:
    talk = Conversation(peer, 2)
    talk.call("welcome", cells=talk.answer, supporter=talk.key.public.hex())
    talk.say({"t": "text", "text": "hello"})
    bodies = [unpack_body(bytes.fromhex(each["body"])) for each in talk.hear()]
    assert Ack(1, ()) in bodies


def test_a_seeker_answered_by_somebody_else_stays_away(peer: Peer) -> None:
    talk = Conversation(peer, 3)
    with pytest.raises(PeerError, match="not the person on the card"):
        talk.call("welcome", cells=talk.answer, supporter=SigningKey(bytes(32)).public.hex())
    other = Conversation(peer, 4)
    with pytest.raises(PeerError):
        talk.call("welcome", cells=other.answer, supporter=talk.key.public.hex())


def test_python_reads_what_the_other_seam_says() -> None:
    """The same conversation between two of our own, so that a failure above is the other side's."""
    parties = sessions.meet(5, routes=1)
    parties.guest.send("hello", START_MS)
    outputs, _ = parties.guest.take()
    for output in outputs:
        assert isinstance(output, Append)
        parties.host.receive(output.cells, START_MS)
    assert [each.text for each in parties.host.take()[1] if isinstance(each, TextReceived)] == ["hello"]
