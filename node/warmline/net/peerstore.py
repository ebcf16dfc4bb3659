"""A peerstore with a size, and identify messages with one.

The library's peerstore (peer/peerstore.py, 0.8.1) evicts entries without addresses first when it learns of its
1,001st peer, and a host's own key is such an entry: from then on the host cannot sign, nor say who it is. Until then
and beside it, identify (identity/update.py) stores up to 1,000 addresses and any number of protocols of each peer, so
that a stranger with many keys fills a node's memory at a megabyte a key.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from libp2p.peer.id import ID
from libp2p.peer.peerdata import PeerData
from libp2p.peer.peerstore import PeerStore

PEERS_MAX: Final = 4096
"""Peers of which anything is kept."""
ADDRS_MAX: Final = 16
"""Addresses of one peer that identify may tell."""
PROTOCOLS_MAX: Final = 64
"""Protocols of one peer that identify may tell."""
TEXT_MAX: Final = 256
"""Bytes of one address or one protocol id."""
RECORD_MAX: Final = 4096
"""Bytes of a signed peer record."""


class BoundedPeerStore(PeerStore):
    """Forgets the peer it has known longest when there are too many; never itself or who is connected."""

    def __init__(self, peers_max: int = PEERS_MAX) -> None:
        super().__init__(max_peers=1 << 31)  # the library's own eviction must never run
        self.in_use: Callable[[ID], bool] = lambda _peer: False
        """Whether a peer must be kept; the host says so once it exists."""
        self.peer_data_map = _Bounded(peers_max, self._forget_one)

    def forget(self, peer: ID) -> None:
        """Drop everything known of ``peer``."""
        self.peer_data_map.pop(peer, None)
        self.peer_record_map.pop(peer, None)

    def _forget_one(self) -> None:
        for peer, data in self.peer_data_map.items():
            if data.privkey is None and not self.in_use(peer):
                self.forget(peer)
                return


class _Bounded(dict[ID, PeerData]):
    """Every way of the library to a new entry is ``setdefault``."""

    def __init__(self, size: int, make_room: Callable[[], None]) -> None:
        super().__init__()
        self._size, self._make_room = size, make_room

    def setdefault(self, peer: ID, data: PeerData) -> PeerData:
        if peer not in self and len(self) >= self._size:
            self._make_room()
        return super().setdefault(peer, data)


def trim_identify(message: Any) -> None:
    """Cut an ``Identify`` message down to what an honest node tells of itself."""
    addrs = [addr for addr in message.listen_addrs[:ADDRS_MAX] if len(addr) <= TEXT_MAX]
    protocols = [name for name in message.protocols[:PROTOCOLS_MAX] if len(name) <= TEXT_MAX]
    del message.listen_addrs[:]
    del message.protocols[:]
    message.listen_addrs.extend(addrs)
    message.protocols.extend(protocols)
    if len(message.signedPeerRecord) > RECORD_MAX:
        message.ClearField("signedPeerRecord")
