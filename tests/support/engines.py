"""Which MLS engine the session tests run over: mls-rs, or what ``WARMLINE_TEST_ENGINE`` names.

``tests/interop/test_mls_seam.py`` runs the suites of the state machines once more with ``ts-mls`` here.
"""

from __future__ import annotations

import atexit
import os
from collections.abc import Callable
from functools import cache

from support.tsmls import Peer, TsMlsProvider
from warmline.client.engine_mlsrs import MlsRsProvider
from warmline_protocol.session.mls import E2EEProvider

CHOICE = "WARMLINE_TEST_ENGINE"


@cache
def _peer() -> Peer:
    peer = Peer()
    atexit.register(peer.close)
    return peer


def provider(draw: Callable[[int], bytes]) -> E2EEProvider:
    """An engine with random credentials from ``draw``."""
    match os.environ.get(CHOICE, "mls-rs"):
        case "mls-rs":
            return MlsRsProvider(draw)
        case "ts-mls":
            return TsMlsProvider(_peer(), draw)
        case other:
            raise ValueError(f"{CHOICE}={other}: there are mls-rs and ts-mls")
