"""``python ahead.py CLOCK PYTHON -c CODE WORDS…``: what stands behind CLOCK, in this process and by that clock.

Put before a command, it makes `warmline` as shipped believe another date; CLOCK is the file of a ``ShiftedClock``.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from warmline.env import SystemClock


def prefix(clock: Path) -> tuple[str, ...]:
    """What to put before a command."""
    return sys.executable, __file__, str(clock)


def main(clock: Path, python: str, option: str, code: str, *words: str) -> None:
    from chaos.clocks import ShiftedClock
    from warmline import env

    shifted = ShiftedClock(clock)

    def utc_ms(_: SystemClock) -> int:
        return shifted.utc_ms()

    env.SystemClock.utc_ms = utc_ms  # type: ignore[method-assign]
    sys.argv = [option, *words]
    exec(compile(code, python, "exec"), {"__name__": "__main__"})


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
    main(Path(sys.argv[1]), *sys.argv[2:])
