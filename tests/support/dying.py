"""`warmline`, killed (SIGKILL, as by a power cut) at a chosen step of its persistence.

``python -m support.dying N WHEN …``: ``WHEN`` is ``before`` the N-th write to a vault, ``during`` it or ``after`` it;
the other words are warmline's.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Sequence
from typing import Any

from warmline.client import vault
from warmline.client.vault import FileVault, Kept


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def main() -> None:
    step, when = int(sys.argv[1]), sys.argv[2]
    sys.argv[1:] = sys.argv[3:]
    put_all, count = FileVault.put_all, 0

    def put_and_die(self: FileVault, kept: Sequence[Kept]) -> None:
        nonlocal count
        count += 1
        if count != step:
            put_all(self, kept)
        elif when == "before":
            die()
        elif when == "during":
            threading.Timer(0.0005, die).start()
            put_all(self, kept)
            threading.Event().wait()
        else:
            put_all(self, kept)
            die()

    patched: Any = put_and_die
    vault.FileVault.put_all = patched  # type: ignore[method-assign]
    from warmline.cli.root import main as warmline

    warmline()


if __name__ == "__main__":
    main()
