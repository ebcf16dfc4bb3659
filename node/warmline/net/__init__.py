"""Carriage: a safe libp2p host, framed channels, liveness; gossip, DHT and relay stand on it.

Services and clients import :mod:`warmline.net.api` and :mod:`warmline.net.rpc` only. Nothing here knows what a
listing or a session is.

Three defects of py-libp2p 0.8.1 take effect at import, so their cures stand here, where they run before anything of
``libp2p``.
"""

import os
import sys
from types import ModuleType

# libp2p/stream_muxer/yamux: by default every read sends a window update (39,900 updates for 25,900 writes).
os.environ["PY_YAMUX_RELEASE_ON_READ"] = "0"
# libp2p/utils/logging: this variable opens a log file with peers' addresses in the temporary directory.
os.environ.pop("LIBP2P_DEBUG", None)


def _leave_out(module: str, *names: str) -> None:
    """Put an empty ``module`` in the place of one that we never use; each name is a class that does nothing."""
    absent = ModuleType(module)
    for name in names:
        setattr(absent, name, type(name, (), {}))
    sys.modules.setdefault(module, absent)


# libp2p/host/basic_host: every import loads two HTTP clients (for AutoTLS) and mDNS, which nobody here turns on: a
# sixth of a cold start and 11 MiB of every process.
if "libp2p.host.basic_host" not in sys.modules:
    _leave_out("libp2p.security.tls.autotls.acme", "ACMEClient", "compute_b36_peer_id")
    _leave_out("libp2p.security.tls.autotls.broker", "BrokerClient")
    _leave_out("libp2p.discovery.mdns.mdns", "MDNSDiscovery", "create_mdns_discovery")
