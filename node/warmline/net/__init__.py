"""Carriage: a safe libp2p host, framed channels, liveness; gossip, DHT and relay stand on it.

Services and clients import :mod:`warmline.net.api` and :mod:`warmline.net.rpc` only. Nothing here knows what a
listing or a session is.

Two defects of py-libp2p 0.8.1 are switched by the environment and read at import, so the cure stands here, where it
runs before anything of ``libp2p``.
"""

import os

# libp2p/stream_muxer/yamux: by default every read sends a window update (39,900 updates for 25,900 writes).
os.environ["PY_YAMUX_RELEASE_ON_READ"] = "0"
# libp2p/utils/logging: this variable opens a log file with peers' addresses in the temporary directory.
os.environ.pop("LIBP2P_DEBUG", None)
