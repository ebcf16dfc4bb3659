"""What comes out of the scope of a handle when several of its tasks fail at the same moment."""

from __future__ import annotations

import pytest
import trio

from warmline.scopes import sole_error
from warmline_protocol.errors import RefusedError, UnreachableError

GONE = UnreachableError("the stream is gone")
FULL = RefusedError("full", "no room")


async def _fail(error: BaseException) -> None:
    raise error


async def _fail_together(*errors: BaseException) -> None:
    with sole_error():
        async with trio.open_nursery() as nursery, trio.open_nursery() as inner:
            nursery.start_soon(_fail, errors[0])
            for error in errors[1:]:
                inner.start_soon(_fail, error)


async def test_one_error_comes_out_as_itself() -> None:
    with pytest.raises(ZeroDivisionError):
        await _fail_together(ZeroDivisionError())


async def test_of_foreseen_failures_one_is_told_and_a_refusal_first() -> None:
    for errors in ((GONE, UnreachableError("and this one"), FULL), (FULL, GONE)):
        with pytest.raises(RefusedError):
            await _fail_together(*errors)
    with pytest.raises(UnreachableError):
        await _fail_together(GONE, UnreachableError("and this one"))


async def test_a_defect_beside_a_failure_is_not_hidden() -> None:
    with pytest.RaisesGroup(UnreachableError, ZeroDivisionError, flatten_subgroups=True):
        await _fail_together(GONE, ZeroDivisionError())


async def test_a_failure_while_it_is_cancelled_is_nobodys_concern() -> None:
    async def closing() -> None:
        try:
            await trio.sleep_forever()
        finally:
            raise GONE

    with trio.CancelScope() as scope, sole_error():
        async with trio.open_nursery() as nursery:
            nursery.start_soon(closing)
            nursery.start_soon(trio.sleep_forever)
            await trio.lowlevel.checkpoint()
            scope.cancel()
    assert scope.cancelled_caught
