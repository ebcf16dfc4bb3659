"""Who may do what to a queue.

*Owners* sign. A signature says (operation, queue, node, nonce of this channel), so that it is worth nothing on another
channel, node or queue; what the operation carries is covered by the Noise channel between the two. *Senders* and a
room's *readers* show a 32-byte key inside that channel; the node keeps SHA-256 of it, so that its disk opens nothing.
"""

from __future__ import annotations

import hashlib
import hmac

from warmline_protocol.codec import encode
from warmline_protocol.keys import SigningKey, verify

_DOMAIN = "queue"


def queue_id(owner: bytes) -> bytes:
    """The 16-byte id of the queue that was created by this public key."""
    return hashlib.sha256(b"warmline/1/queue-id\0" + owner).digest()[:16]


def key_hash(key: bytes) -> bytes:
    """What a node keeps of a send or read key."""
    return hashlib.sha256(key).digest()


def opens(key: bytes | None, kept: bytes) -> bool:
    """Whether ``key`` is the one that ``kept`` is the hash of."""
    return key is not None and hmac.compare_digest(key_hash(key), kept)


def prove(owner: SigningKey, op: str, queue: bytes, *, node: str, nonce: bytes) -> bytes:
    """The owner's signature for the operation with wire tag ``op`` at the node with that peer id."""
    return owner.sign(_DOMAIN, _payload(op, queue, node, nonce))


def check(owner: bytes, op: str, queue: bytes, signature: bytes, *, node: str, nonce: bytes) -> None:
    """Raise BadSignatureError unless the owner's key made ``signature`` for exactly this."""
    verify(owner, _DOMAIN, _payload(op, queue, node, nonce), signature)


def _payload(op: str, queue: bytes, node: str, nonce: bytes) -> bytes:
    return encode([op, queue, node, nonce])
