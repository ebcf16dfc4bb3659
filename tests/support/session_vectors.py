"""Makes the vectors of first contact and evidence: ``python -m support.session_vectors`` (in tests/).

HPKE draws its own randomness, so these bytes cannot be made twice: files that exist are left alone, and the test opens
what they hold. MLS bytes in them come from a real group, and are opaque here; no private half of a leaf is committed.
"""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import warmline_protocol.vectors as vectors
from warmline.client.engine_mlsrs import MlsRsProvider
from warmline.env import SeededRng
from warmline_protocol.keys import SigningKey
from warmline_protocol.session.evidence import START, Signer, pair_chain
from warmline_protocol.session.hello import (
    Declined,
    Hello,
    LogStart,
    Welcome,
    make_welcome,
    seal_answer,
    seal_hello,
    welcome_answer,
)
from warmline_protocol.session.keyschedule import EXPORTER_LABEL, EpochKey, first_key, next_key
from warmline_protocol.session.messages import Text, pack_body
from warmline_protocol.session.signals import GESTURES, MOODS, SignalKeys, State, seal
from warmline_protocol.session.xwing import SealingKey
from warmline_protocol.wire import to_wire

FOLDER = Path(vectors.__file__).parent


def first_contact(*, room: bool) -> dict[str, Any]:
    """Everything that travels between a Hello and the first word."""
    rng = SeededRng(f"first contact {room}")
    contact_seed, kem_seed, delegated = rng.bytes(32), rng.bytes(32), SigningKey(rng.bytes(32))
    provider = MlsRsProvider(rng.bytes)
    hello = Hello(
        attempt=rng.bytes(16),
        key_package=provider.candidate().key_package,
        kem=SealingKey(kem_seed).public,
        nonce=rng.bytes(32),
        reply_secret=rng.bytes(32),
        replies=(b"a queue address", b"another one"),
        name="River",
        avatar=rng.bytes(16),
        line="a rough week",
        listing=rng.bytes(32) if room else b"",
    )
    group = provider.create(rng.bytes(16))
    random = rng.bytes(32)
    mls_welcome = group.add([hello.key_package]).welcome
    exporter = group.export(EXPORTER_LABEL, b"", 32)
    key = next_key(first_key(hello.reply_secret, random), exporter)
    log = LogStart(b"the log's address", rng.bytes(16), 7, rng.bytes(32)) if room else None
    chain = rng.bytes(32) if room else pair_chain(hello.nonce, group.group_id)
    welcome = make_welcome(
        hello,
        key=delegated,
        group=group,
        epoch=EpochKey(1, key),
        mls_welcome=mls_welcome,
        chain=chain,
        name="Ada",
        avatar=rng.bytes(16),
        queues=() if room else (b"where to answer", b"and also here"),
        log=log,
    )
    accepted = welcome_answer(hello, welcome)
    return {
        "name": "a room" if room else "one to one",
        "contact_seed": contact_seed.hex(),
        "hello": to_wire(hello).hex(),
        "hello_cell": seal_hello(hello, SealingKey(contact_seed).public).hex(),
        "kem_seed": kem_seed.hex(),
        "first_key_random": random.hex(),
        "exporter": exporter.hex(),
        "welcome": to_wire(welcome).hex(),
        "accepted": to_wire(accepted).hex(),
        "answer_cells": [cell.hex() for cell in seal_answer(accepted, hello.reply_secret, rng.bytes)],
        "declined_cells": [
            cell.hex() for cell in seal_answer(Declined(hello.attempt, "busy"), hello.reply_secret, rng.bytes)
        ],
        "supporter_seed": delegated.seed.hex(),
        "statement": _statement(hello, welcome, group.group_id, group.me.key),
    }


def _statement(hello: Hello, welcome: Welcome, group_id: bytes, leaf_key: bytes) -> dict[str, str]:
    return {
        "key_package": hello.key_package.hex(),
        "group_id": group_id.hex(),
        "leaf_key": leaf_key.hex(),
        "nonce": hello.nonce.hex(),
        "chain": welcome.chain.hex(),
        "signature": welcome.statement.hex(),
    }


def evidence() -> dict[str, Any]:
    """A chain of four: two words, something unnumbered, and a word after a commit that used a number."""
    rng = SeededRng("evidence")
    signer = Signer(SigningKey(rng.bytes(32)), rng.bytes(32))
    links = []
    for counter in (1, 2, 0, 4):
        body, salt = pack_body(Text(f"word {counter}")), rng.bytes(16)
        made = signer.sign(counter, body, salt)
        links.append(
            {
                "counter": counter,
                "body": body.hex(),
                "salt": salt.hex(),
                "previous": made.previous.hex(),
                "signature": made.signature.hex(),
                "head": signer.head.hex(),
            }
        )
    return {
        "name": "a chain of four",
        "seed": signer.key.seed.hex(),
        "nonce": signer.nonce.hex(),
        "start": START.hex(),
        "links": links,
    }


def signal(name: str, state: State) -> dict[str, Any]:
    """One signal, from the epoch's keys to its 128 bytes."""
    rng = SeededRng(f"signal {name}")
    outer, exporter, sender, salt = rng.bytes(32), rng.bytes(32), rng.bytes(16), rng.bytes(32)
    keys, counter = SignalKeys.of(outer, exporter), 1_800_000_000_000
    return {
        "name": name,
        "outer": outer.hex(),
        "exporter": exporter.hex(),
        "secret": keys.secret.hex(),
        "channel": keys.channel.hex(),
        "sender": sender.hex(),
        "counter": counter,
        "salt": salt.hex(),
        "state": dataclasses.asdict(state),
        "frame": seal(keys, sender, counter, state, lambda size: salt).hex(),
    }


def main() -> None:
    """Write the files that are missing."""
    rows = {
        "session.contact": [first_contact(room=False), first_contact(room=True)],
        "session.evidence": [evidence()],
        "session.signals": [
            signal("here", State()),
            signal("everything", State("away", True, 50, MOODS[-1], GESTURES[-1], 255)),
            signal("gone", State("gone")),
        ],
    }
    for name, made in rows.items():
        path = FOLDER / f"{name}.json"
        if not path.exists():
            path.write_text("[\n" + ",\n".join(json.dumps(row) for row in made) + "\n]\n", "utf-8")
            print(f"{path.name}: {len(made)} rows")


if __name__ == "__main__":
    main()
