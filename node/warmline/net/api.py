"""What services and clients may know of the network: a host that opens and serves channels.

Peer ids are base58 strings, addresses are multiaddr strings that end in ``/p2p/<peer id>``, deadlines are seconds.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Protocol

from warmline.net.streams import Channel, ChannelClosed

Handler = Callable[[Channel], Awaitable[None]]
"""Serves one inbound channel; it is closed when the handler returns and reset when it raises."""
PeerChange = Callable[[str, bool], None]
"""Called with a peer id and whether it is connected now; must return at once."""

__all__ = ["Channel", "ChannelClosed", "Handler", "Host", "PeerChange"]


class Host(Protocol):
    """A libp2p host as services see it."""

    @property
    def peer_id(self) -> str: ...

    def addrs(self) -> tuple[str, ...]:
        """Where others can dial this host; empty for a client."""
        ...

    async def connect(self, addr: str, *, deadline: float | None = None) -> str:
        """Make sure there is a connection to the peer at ``addr``; its peer id."""
        ...

    async def open_channel(
        self, peer: str, protocol: str, *, deadline: float | None = None, max_frame: int | None = None
    ) -> Channel:
        """A new channel to a connected peer (or, except for a private host, one whose address is known)."""
        ...

    def serve(self, protocol: str, handler: Handler, *, max_frame: int, max_channels_per_peer: int) -> None:
        """Answer ``protocol``: frames up to ``max_frame`` bytes, channels beyond the limit are reset."""
        ...

    def unserve(self, protocol: str) -> None:
        """Stop answering ``protocol``; open channels go on."""
        ...

    def peers(self) -> tuple[str, ...]:
        """Connected peers, sorted."""
        ...

    async def disconnect(self, peer: str) -> None:
        """Close every connection to ``peer``."""
        ...

    def on_peer_change(self, callback: PeerChange) -> None:
        """Call back at a peer's first connection and after its last."""
        ...
