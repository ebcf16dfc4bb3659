"""Keeps a node's services running: the one place where any exception is caught on purpose.

A service that fails is started again after a growing pause, so that one bad record, peer or disk hiccup never takes
the node down; what happened is counted and shown by ``warmline node status``. Cancellation passes through.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

import trio

from warmline_protocol.errors import LocalError

log = logging.getLogger("warmline.daemon")

FIRST_PAUSE = 1.0
LONGEST_PAUSE = 60.0


@dataclass(slots=True)
class Supervisor:
    """Restarts of each service since the start, and why the last one was."""

    restarts: dict[str, int] = field(default_factory=dict)
    last_error: dict[str, str] = field(default_factory=dict)

    async def keep(self, name: str, service: Callable[[], Awaitable[None]], *, proven: Callable[[], bool]) -> None:
        """Run ``service`` until it returns, again after each failure.

        What fails before ``proven`` says that it has worked once, or by a mistake of the operator's, is raised: it
        would only fail again.
        """
        pause = FIRST_PAUSE
        while True:
            started = trio.current_time()
            try:
                await service()
                return
            except Exception as error:  # whatever it was, the node must outlive it: this is the supervisor
                if not proven() or _operators_mistake(error):
                    raise
                self._note(name, error)
            if trio.current_time() - started > LONGEST_PAUSE:
                pause = FIRST_PAUSE
            await trio.sleep(pause)
            pause = min(2 * pause, LONGEST_PAUSE)

    def _note(self, name: str, error: BaseException) -> None:
        self.restarts[name] = self.restarts.get(name, 0) + 1
        # The type only: a message could hold a peer's address.
        self.last_error[name] = type(error).__name__
        log.warning("%s failed (%s) and is started again", name, type(error).__name__)
        log.debug("%s failed", name, exc_info=error)


def _operators_mistake(error: Exception) -> bool:
    """A taken port or a bad value does not go away by trying again; Trio's nurseries may have wrapped it."""
    if isinstance(error, ExceptionGroup):
        return any(isinstance(each, Exception) and _operators_mistake(each) for each in error.exceptions)
    return isinstance(error, LocalError)
