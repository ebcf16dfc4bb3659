"""The real daemon with a clock that can be set: ``python node_process.py FOLDER CLOCK``. All else is as shipped."""

from __future__ import annotations

import logging
import os
import sys
import threading
from pathlib import Path

import trio

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from chaos.clocks import ShiftedClock
from warmline.daemon.run import run_node


def _die_with_parent() -> None:
    sys.stdin.buffer.read()  # it ends when the driver does, however that ended
    os._exit(3)


def main(folder: Path, clock: Path) -> None:
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s", stream=sys.stderr)
    threading.Thread(target=_die_with_parent, daemon=True).start()
    trio.run(lambda: run_node(folder, lambda node: print("ready", flush=True), clock=ShiftedClock(clock)))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
