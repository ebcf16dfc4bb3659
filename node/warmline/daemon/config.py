"""What an operator can set: every field once, with its meaning, its unit and its default.

A configuration is a TOML file in the node's directory. Unknown sections and fields are errors, since a misspelt
limit that silently does nothing is worse than no limit.
"""

from __future__ import annotations

import tomllib
import types
import typing
from dataclasses import MISSING, Field, dataclass, field, fields
from pathlib import Path
from typing import Any

from warmline_protocol.errors import ConfigError

FILE_NAME = "config.toml"


def _set(default: Any, meaning: str, *, low: float | None = None) -> Any:
    bounds = {"doc": meaning, "low": low}
    if isinstance(default, tuple):
        return field(default_factory=lambda: default, metadata=bounds)
    return field(default=default, metadata=bounds)


@dataclass(frozen=True, slots=True)
class NodeSection:
    """Who runs this node."""

    operator: str = _set("", "A name for who runs this node; people choose nodes of different operators by it.")
    store_mb: int = _set(1024, "Disk that queues and records may use, in MiB.", low=16)
    peers_min: int = _set(4, "Connections to other nodes that this node keeps up.", low=1)


@dataclass(frozen=True, slots=True)
class NetSection:
    """Where this node listens and whom it asks first."""

    listen: tuple[str, ...] = _set(
        ("/ip4/0.0.0.0/tcp/7400", "/ip4/0.0.0.0/tcp/7401/ws"),
        "Multiaddrs to listen on: TCP, and WebSocket for browsers.",
    )
    announce: tuple[str, ...] = _set(
        (), "Public multiaddrs to publish instead, for a node behind a proxy or NAT (without /p2p/...)."
    )
    bootstrap: tuple[str, ...] = _set((), "Full multiaddrs, with /p2p/<peer id>, of nodes to join by.")
    connections_max: int = _set(400, "Connections at once, both directions.", low=8)
    connections_per_subnet: int = _set(64, "Inbound connections from one /24 (IPv4) or /48 (IPv6).", low=1)


@dataclass(frozen=True, slots=True)
class RelaySection:
    """What this node carries between people and other nodes. It cannot read any of it."""

    enabled: bool = _set(True, "Carry circuits towards nodes with a valid node record (and to nobody else).")
    circuits_max: int = _set(1024, "Circuits at once.", low=1)
    circuits_per_subnet: int = _set(128, "Circuits at once from one /24 (IPv4) or /48 (IPv6).", low=1)
    duration_s: int = _set(3600, "Seconds after which a circuit ends.", low=60)
    data_mb: int = _set(64, "MiB that one circuit may carry in each direction.", low=1)
    reservations: bool = _set(False, "Let nodes behind NAT reserve a place here and be reached through this node.")


@dataclass(frozen=True, slots=True)
class QueuesSection:
    """The encrypted queues that this node keeps for people."""

    enabled: bool = _set(True, "Keep queues, doors and room logs.")


@dataclass(frozen=True, slots=True)
class ChainSection:
    """Where supporters' standing is read from. Empty: everything works and records show as unverified."""

    url: str = _set("", "JSON-RPC address of an Ethereum node, or of `warmline chain dev`.")
    also: tuple[str, ...] = _set(
        (), "More JSON-RPC addresses of the same chain, run by others: what is believed must be agreed on by two."
    )
    manifest: str = _set("", "Path of the manifest with the contracts' addresses, relative to this file.")
    confirmations: int = _set(
        0,
        "Blocks on top of good news before it counts, its own included; 0 lets the chain decide (its finalized block). "
        "Bad news acts at once.",
        low=0,
    )


@dataclass(frozen=True, slots=True)
class FeedbackSection:
    """For issuers and collectors: whether people would come back, without a word on who they are."""

    keys: str = _set(
        "", "Directory, relative to this file, into which `warmline issuer vouchers` writes keys; empty: none served."
    )
    collector: str = _set(
        "", "Directory, relative to this file, that `warmline collector run` lays out for others; empty: none served."
    )


@dataclass(frozen=True, slots=True)
class Config:
    """A whole configuration; ``folder`` is the directory that relative paths start from."""

    folder: Path
    node: NodeSection = field(default_factory=NodeSection)
    net: NetSection = field(default_factory=NetSection)
    relay: RelaySection = field(default_factory=RelaySection)
    queues: QueuesSection = field(default_factory=QueuesSection)
    chain: ChainSection = field(default_factory=ChainSection)
    feedback: FeedbackSection = field(default_factory=FeedbackSection)


SECTIONS: dict[str, type[Any]] = {
    "node": NodeSection,
    "net": NetSection,
    "relay": RelaySection,
    "queues": QueuesSection,
    "chain": ChainSection,
    "feedback": FeedbackSection,
}


def load(folder: Path) -> Config:
    """Read ``folder/config.toml``; :class:`ConfigError` names file, section, field and remedy."""
    path = folder / FILE_NAME
    try:
        text = path.read_text("utf-8")
    except FileNotFoundError:
        raise ConfigError(
            f"there is no node in {folder}", hint=f"Create one with `warmline node init --data {folder}`."
        ) from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} cannot be read: {error}") from None
    try:
        tables = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{path} is not TOML: {error}", hint="Correct that line; strings need quotes.") from None
    return parse(tables, folder, str(path))


def parse(tables: dict[str, Any], folder: Path, source: str) -> Config:
    """A :class:`Config` from parsed TOML."""
    for name, table in tables.items():
        if name not in SECTIONS or not isinstance(table, dict):
            raise ConfigError(f"{source}: there is no section [{name}]", hint=_known("Sections", SECTIONS))
    config = Config(folder, **{name: _section(SECTIONS[name], name, tables[name], source) for name in tables})
    for addr in config.net.announce:
        _check_address(addr, f"{source}: [net] announce", peer=False)
    for addr in config.net.bootstrap:
        _check_address(addr, f"{source}: [net] bootstrap", peer=True)
    return config


def _check_address(text: str, where: str, *, peer: bool) -> None:
    from multiaddr import Multiaddr  # half a tenth of a second that `warmline config` need not wait for

    try:
        names = [protocol.name for protocol in Multiaddr(text).protocols()]
    except Exception as error:  # noqa: BLE001 - multiaddr raises a class per protocol
        raise ConfigError(
            f"{where}: {text!r} is not a multiaddr ({error})", hint="Write it like /dns4/node.example.org/tcp/7400."
        ) from None
    if peer and "p2p" not in names:
        raise ConfigError(
            f"{where}: {text} does not say which node is meant",
            hint="It must end in /p2p/<peer id>, as the other node prints it when it starts.",
        )
    if not peer and "p2p" in names:
        raise ConfigError(f"{where}: {text} names a peer id", hint="Leave out /p2p/...: this node adds its own.")


def _section(cls: type[Any], name: str, table: dict[str, Any], source: str) -> Any:
    known = {each.name: each for each in fields(cls)}
    hints = typing.get_type_hints(cls)
    values = {}
    for key, value in table.items():
        if key not in known:
            raise ConfigError(f"{source}: [{name}] has no field {key!r}", hint=_known("Fields", known))
        values[key] = _checked(value, hints[key], known[key], f"{source}: [{name}] {key}")
    return cls(**values)


def _known(what: str, names: typing.Iterable[str]) -> str:
    return f"{what}: {', '.join(names)}. `warmline config` explains each."


def _checked(value: Any, kind: Any, spec: Field[Any], where: str) -> Any:
    hint = str(spec.metadata["doc"])
    if isinstance(kind, types.GenericAlias):
        if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
            raise ConfigError(f"{where} must be a list of strings", hint=hint)
        return tuple(value)
    if type(value) is not kind:
        raise ConfigError(f"{where} must be {_in_words(kind)}, not {value!r}", hint=hint)
    low = spec.metadata["low"]
    if low is not None and value < low:
        raise ConfigError(f"{where} must be at least {low}", hint=hint)
    return value


def _in_words(kind: type[Any]) -> str:
    return {str: "a string in quotes", int: "a whole number", bool: "true or false"}[kind]


def render(overrides: dict[str, dict[str, Any]] | None = None) -> str:
    """The TOML text of a configuration, every field with its meaning; defaults are commented out."""
    lines = ["# warmline node configuration. Fields that are commented out show their default.", ""]
    for name, cls in SECTIONS.items():
        chosen = (overrides or {}).get(name, {})
        lines += [f"[{name}]  # {cls.__doc__}"]
        for spec in fields(cls):
            value = chosen.get(spec.name, _default(spec))
            mark = "" if spec.name in chosen else "# "
            lines += [f"# {spec.metadata['doc']}", f"{mark}{spec.name} = {_toml(value)}"]
        lines.append("")
    return "\n".join(lines)


def _default(spec: Field[Any]) -> Any:
    return spec.default_factory() if spec.default_factory is not MISSING else spec.default


def _toml(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, tuple | list):
        return f"[{', '.join(map(_toml, value))}]"
    if isinstance(value, str):
        escaped = value.replace("\\", "\\\\").replace('"', '\\"')
        return '"' + "".join(c if c.isprintable() else f"\\u{ord(c):04x}" for c in escaped) + '"'
    return str(value)
