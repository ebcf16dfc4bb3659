"""Scopes of handles: what happens inside them is their own affair."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def sole_error() -> Iterator[None]:
    """Raise the one error inside nested exception groups as itself: the nursery of a handle is its own affair."""
    sole: BaseException | None = None
    try:
        yield
    except BaseExceptionGroup as group:
        sole = _sole(group)
        if sole is None:
            raise
    if sole is not None:
        raise sole


def _sole(error: BaseException) -> BaseException | None:
    while isinstance(error, BaseExceptionGroup):
        if len(error.exceptions) > 1:
            return None
        error = error.exceptions[0]
    return error
