"""The other process: ``python -m support.child FILE FUNCTION JSON`` runs one coroutine function until stdin closes.

The function gets ``ready`` (call it once, with what the parent needs to know) and the JSON as keyword arguments.
"""

from __future__ import annotations

import importlib.util
import json
import os
import sys
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

import trio


def _load(path: str, name: str) -> Callable[..., Awaitable[None]]:
    spec = importlib.util.spec_from_file_location("support_child_target", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    function: Callable[..., Awaitable[None]] = getattr(module, name)
    return function


def _ready(facts: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(facts) + "\n")
    sys.stdout.flush()


async def _run(function: Callable[..., Awaitable[None]], options: dict[str, Any]) -> None:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(partial(function, _ready, **options))
        stdin = trio.lowlevel.FdStream(os.dup(0))
        while await stdin.receive_some(4096):  # the parent closes it, or dies
            pass
        nursery.cancel_scope.cancel()


if __name__ == "__main__":
    trio.run(_run, _load(sys.argv[1], sys.argv[2]), json.loads(sys.argv[3]))
