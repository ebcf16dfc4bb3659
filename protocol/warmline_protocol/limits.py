"""Every limit that both sides of the wire must agree on, once. Times say their unit in the name."""

from __future__ import annotations

from typing import Final

# --- codec -------------------------------------------------------------------------------------------------------
MESSAGE_MAX: Final = 1 << 20
"""Bytes of one encoded message; each protocol sets a smaller cap of its own."""
DEPTH_MAX: Final = 8
"""Nesting of lists and maps."""
ITEMS_MAX: Final = 4096
"""Entries of one list or map."""
VARINT_MAX: Final = 4
"""Bytes of a frame's length prefix: 256 MiB, far above any cap."""
CLOCK_SKEW_MS: Final = 5 * 60_000
"""How far a signed time may lie in a receiver's future."""
REFUSAL_TEXT_MAX: Final = 300
"""Characters of the reason and of the hint in a refusal."""
