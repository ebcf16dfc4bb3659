"""Committed bytes of everything that is said: what holds two implementations, and two versions, to one wire.

Each file is a JSON list of rows. A row of a message names its class and carries its fields and its bytes::

    {"name": "queue.append", "type": "warmline_protocol.queue.messages:Append",
     "fields": {"queue": {"hex": "00…"}}, "bytes": "86a1…"}

``fields`` is the map that the wire carries (without its tag), byte strings as ``{"hex": …}``. Other files hold rows of
their own shape, described by their first row's ``about``. From 1.0 on committed bytes never change: a message that must
change gets a new tag or a new protocol id.
"""

from __future__ import annotations

import importlib
import json
import pkgutil
from collections.abc import Iterator, Mapping
from importlib import resources
from typing import Any

import warmline_protocol
from warmline_protocol.wire import pack, to_wire


def names() -> tuple[str, ...]:
    """The vector files, without ``.json``."""
    files = resources.files(__name__).iterdir()
    return tuple(sorted(each.name.removesuffix(".json") for each in files if each.name.endswith(".json")))


def load(name: str) -> list[dict[str, Any]]:
    """The rows of one file."""
    rows: list[dict[str, Any]] = json.loads(resources.files(__name__).joinpath(f"{name}.json").read_text("utf-8"))
    return rows


def message_types() -> dict[str, type[Any]]:
    """Every tagged message class of the protocol by ``module:Class``."""
    found: dict[str, type[Any]] = {}
    for module in _modules():
        for cls in vars(module).values():
            if isinstance(cls, type) and cls.__module__ == module.__name__ and "__wire_tag__" in vars(cls):
                found[f"{cls.__module__}:{cls.__name__}"] = cls
    return dict(sorted(found.items()))


def type_of(name: str) -> type[Any]:
    """The class that a row's ``type`` names."""
    module, _, cls = name.partition(":")
    found: type[Any] = getattr(importlib.import_module(module), cls)
    return found


def message_row(name: str, message: object) -> dict[str, Any]:
    """The row of a message as it is now."""
    cls = type(message)
    return {
        "name": name,
        "type": f"{cls.__module__}:{cls.__name__}",
        "fields": as_json(pack(message)),
        "bytes": to_wire(message).hex(),
    }


def as_json(value: object) -> Any:
    """A wire value with its byte strings written as ``{"hex": …}``."""
    if isinstance(value, bytes):
        return {"hex": value.hex()}
    if isinstance(value, Mapping):
        return {key: as_json(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [as_json(each) for each in value]
    return value


def from_json(value: Any) -> Any:
    """The inverse of :func:`as_json`."""
    if isinstance(value, dict):
        if set(value) == {"hex"}:
            return bytes.fromhex(value["hex"])
        return {key: from_json(each) for key, each in value.items()}
    if isinstance(value, list):
        return [from_json(each) for each in value]
    return value


def _modules() -> Iterator[Any]:
    for found in pkgutil.walk_packages(warmline_protocol.__path__, "warmline_protocol."):
        yield importlib.import_module(found.name)
