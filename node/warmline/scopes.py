"""Scopes of handles: what happens inside them is their own affair."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import trio

from warmline_protocol.errors import RefusedError, WarmlineError


@contextmanager
def sole_error() -> Iterator[None]:
    """Raise what went wrong inside nested exception groups as one error: the nursery of a handle is its own affair.

    Of several failures that each were foreseen (two channels of one lost connection) one is told, a refusal first,
    since it says most. Where the scope was cancelled meanwhile, they are nobody's concern any more. Everything else,
    several errors of which one is a defect, stays the group that it is.
    """
    instead: BaseException | None = None
    try:
        yield
    except BaseExceptionGroup as group:
        instead = _instead_of(group)
        if instead is None:
            raise
    if instead is not None:
        raise instead


def _instead_of(group: BaseExceptionGroup[BaseException]) -> BaseException | None:
    cancelled, failed = group.split(trio.Cancelled)
    failures = [] if failed is None else list(_leaves(failed))
    if not all(isinstance(each, WarmlineError) for each in failures):
        return failures[0] if len(failures) == 1 and cancelled is None else None
    return cancelled or min(failures, key=lambda each: not isinstance(each, RefusedError))


def _leaves(error: BaseException) -> Iterator[BaseException]:
    if isinstance(error, BaseExceptionGroup):
        for each in error.exceptions:
            yield from _leaves(each)
    else:
        yield error
