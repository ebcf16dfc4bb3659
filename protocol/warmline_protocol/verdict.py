"""What a node decides about a record that reaches it."""

from __future__ import annotations

from enum import Enum


class Verdict(Enum):
    """The four answers of admission; only ``REJECT`` is held against whoever sent the record."""

    ACCEPT = "accept"
    """Keep it and pass it on."""
    IGNORE = "ignore"
    """Not wanted, nobody's fault (old, expired, over quota): drop it in silence."""
    REJECT = "reject"
    """Provably broken (signature, shape, size): drop it and score the forwarder."""
    DEFER = "defer"
    """Not decidable yet (the chain may know more soon): hold it, do not pass it on, ask again later."""
