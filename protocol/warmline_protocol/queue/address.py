"""What a sender must know of a queue."""

from __future__ import annotations

from dataclasses import dataclass

from warmline_protocol.records.node import NodeAddress
from warmline_protocol.wire import Bytes16, Bytes32


@dataclass(frozen=True, slots=True)
class QueueAddress:
    """Where a queue is and the secret that lets one append; the node keeps only the secret's hash."""

    node: NodeAddress
    queue: Bytes16
    send_key: Bytes32
