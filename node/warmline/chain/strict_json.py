"""JSON from strangers. `json.loads` guards itself against deep nesting by Python's recursion limit, but importing
py_ecc (which eth-account does) lifts that limit to 100,000, and py-evm does the like: then 100 kB of brackets end the
whole process with a segmentation fault. So where the limit is lifted, the depth is measured first.
"""

from __future__ import annotations

import json
import re
import sys
from typing import Any

DEPTH_MAX = 64
SANE_LIMIT = 2000
"""A recursion limit up to which json's own guard holds in any thread."""
_TOKENS = re.compile(rb'\\.|["\[\]{}]', re.DOTALL)


def loads(data: bytes) -> Any:
    """Raises ValueError for anything that is not JSON, or nested deeper than `DEPTH_MAX`."""
    if sys.getrecursionlimit() > SANE_LIMIT:
        _check_depth(data)
    try:
        return json.loads(data)
    except RecursionError as error:
        raise ValueError("nested too deeply") from error


def _check_depth(data: bytes) -> None:
    depth, inside = 0, False
    for found in _TOKENS.finditer(data):
        token = found[0]
        if token == b'"':
            inside = not inside
        elif not inside and token in b"[{":
            depth += 1
            if depth > DEPTH_MAX:
                raise ValueError("nested too deeply")
        elif not inside and token in b"]}":
            depth -= 1
