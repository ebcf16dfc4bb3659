"""Wire messages as frozen dataclasses whose annotations are the grammar.

A message class says its bounds where it says its types::

    @message("append")
    @dataclass(frozen=True, slots=True)
    class Append:
        queue: Annotated[bytes, Size(16, 16)]
        cells: Annotated[tuple[Cell, ...], Size(1, 16)]

``to_wire`` and ``from_wire`` check them in both directions: a local mistake is a ``UsageError`` before it leaves,
a remote one a ``MalformedError`` before anybody sees it. Unknown keys are refused, since a signed byte that nobody
understands is a place to hide things. ``None`` means that the key is absent.
"""

from __future__ import annotations

import dataclasses
import types
import typing
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, TypeAlias, TypeVar

from warmline_protocol import limits
from warmline_protocol.codec import Value, decode, encode
from warmline_protocol.errors import MalformedError, UsageError

T = TypeVar("T")
TAG = "t"
Reader: TypeAlias = "Callable[[Any], Any]"
Writer: TypeAlias = "Callable[[Any], Value]"


@dataclass(frozen=True, slots=True)
class Size:
    """Bounds of a length: bytes of ``bytes`` and ``str`` (UTF-8), items of a tuple. Inclusive."""

    low: int
    high: int


@dataclass(frozen=True, slots=True)
class Range:
    """Bounds of an integer. Inclusive."""

    low: int
    high: int


@dataclass(frozen=True, slots=True)
class OneOf:
    """The only strings allowed."""

    choices: tuple[str, ...]

    def __init__(self, *choices: str) -> None:
        object.__setattr__(self, "choices", choices)


U53 = Annotated[int, Range(0, 2**53 - 1)]
"""An unsigned integer that every JavaScript number holds exactly: counters, milliseconds."""
Bytes32 = Annotated[bytes, Size(32, 32)]
Bytes16 = Annotated[bytes, Size(16, 16)]


def message(tag: str) -> Callable[[type[T]], type[T]]:
    """Mark a dataclass as a wire message whose map carries ``{"t": tag}``."""

    def mark(cls: type[T]) -> type[T]:
        cls.__wire_tag__ = tag  # type: ignore[attr-defined]  # read back by tag_of, nowhere else
        return cls

    return mark


def tag_of(cls: type[object]) -> str:
    """The tag that ``@message`` gave a class."""
    tag: str = cls.__wire_tag__  # type: ignore[attr-defined]  # set by message()
    return tag


def to_wire(msg: object) -> bytes:
    """Canonical bytes of a tagged message; :class:`UsageError` when a field is out of bounds."""
    return encode({TAG: tag_of(type(msg)), **pack(msg)})


def from_wire(data: bytes, one_of: tuple[type[T], ...], *, max_size: int = limits.MESSAGE_MAX) -> T:
    """The message in ``data``, which must be one of the given classes; RemoteError otherwise."""
    fields = decode(data, max_size=max_size)
    if not isinstance(fields, dict):
        raise MalformedError("a message that is not a map")
    tag = fields.pop(TAG, None)
    for cls in one_of:
        if tag_of(cls) == tag:
            return unpack(cls, fields)
    raise MalformedError(f"message {tag!r:.40} where one of {', '.join(tag_of(c) for c in one_of)} was expected")


def pack(obj: object) -> dict[str, Value]:
    """A dataclass as a plain map, checked; nested dataclasses become nested maps."""
    out: dict[str, Value] = {}
    for name, write, optional in _writers_of(type(obj)):
        value = getattr(obj, name)
        if value is None and optional:
            continue
        try:
            out[name] = write(value)
        except MalformedError as error:
            raise UsageError(f"{type(obj).__name__}.{name}: {error}") from None
    return out


def unpack(cls: type[T], fields: Mapping[str, Any]) -> T:
    """The inverse of :func:`pack`; :class:`MalformedError` names the field that is wrong."""
    readers = _readers_of(cls)
    values: dict[str, Any] = {}
    present = 0
    for name, read, optional in readers:
        if name not in fields:
            if not optional:
                raise MalformedError(_unknown(cls, fields) or f"{cls.__name__} without {name}")
            values[name] = None
            continue
        present += 1
        try:
            values[name] = read(fields[name])
        except MalformedError as error:
            raise MalformedError(_unknown(cls, fields) or f"{cls.__name__}.{name}: {error}") from None
    if present != len(fields):
        raise MalformedError(_unknown(cls, fields) or f"{cls.__name__} with a field twice")
    try:
        return cls(**values)
    except UsageError as error:  # a __post_init__ that checks fields against each other
        raise MalformedError(f"{cls.__name__}: {error}") from None


def _unknown(cls: type[object], fields: Mapping[str, Any]) -> str | None:
    unknown = sorted(set(fields) - set(_grammar(cls)))
    return f"{cls.__name__} has no field {unknown[0]!r:.40}" if unknown else None


_grammars: dict[type[object], dict[str, Any]] = {}
_readers: dict[type[object], tuple[tuple[str, Reader, bool], ...]] = {}
_writers: dict[type[object], tuple[tuple[str, Writer, bool], ...]] = {}


def _readers_of(cls: type[object]) -> tuple[tuple[str, Reader, bool], ...]:
    known = _readers.get(cls)
    if known is None:
        grammar = _grammar(cls)
        known = _readers[cls] = tuple((name, _reader(kind), _optional(kind)) for name, kind in grammar.items())
    return known


def _writers_of(cls: type[object]) -> tuple[tuple[str, Writer, bool], ...]:
    known = _writers.get(cls)
    if known is None:
        grammar = _grammar(cls)
        known = _writers[cls] = tuple((name, _writer(kind), _optional(kind)) for name, kind in grammar.items())
    return known


def _grammar(cls: type[object]) -> dict[str, Any]:
    known = _grammars.get(cls)
    if known is None:
        if not dataclasses.is_dataclass(cls):
            raise UsageError(f"{cls.__name__} is not a wire type")
        hints = typing.get_type_hints(cls, include_extras=True)
        known = _grammars[cls] = {field.name: hints[field.name] for field in dataclasses.fields(cls)}
    return known


def _optional(kind: Any) -> bool:
    return _is_union(kind) and type(None) in typing.get_args(kind)


def _is_union(kind: Any) -> bool:
    return typing.get_origin(kind) in (typing.Union, types.UnionType)


def _split(kind: Any) -> tuple[Any, tuple[object, ...]]:
    """A bare type and the rules annotated on it."""
    if _optional(kind):
        (kind,) = (arg for arg in typing.get_args(kind) if arg is not type(None))
    if typing.get_origin(kind) is Annotated:
        base, *rules = typing.get_args(kind)
        inner, more = _split(base)
        return inner, (*more, *rules)
    return kind, ()


def _writer(kind: Any) -> Writer:
    """What turns a field of type ``kind`` into a plain value: :func:`_reader`'s inverse, built once likewise."""
    base, rules = _split(kind)
    if typing.get_origin(base) is tuple:
        return _tuple_writer(_writer(typing.get_args(base)[0]), [_rule(rule) for rule in rules])
    if dataclasses.is_dataclass(base):
        return _class_writer(typing.cast("type[Any]", base))
    return _reader(kind)  # a plain value is the same on both sides


def _tuple_writer(item: Writer, checks: Sequence[Reader]) -> Writer:
    def write(value: Any) -> Value:
        if not isinstance(value, tuple):
            raise MalformedError("not a tuple")
        for check in checks:
            check(value)
        return [item(each) for each in value]

    return write


def _class_writer(cls: type[Any]) -> Writer:
    def write(value: Any) -> Value:
        if not isinstance(value, cls):
            raise MalformedError(f"not a {cls}")
        return pack(value)

    return write


def _reader(kind: Any) -> Reader:
    """What turns a decoded value into one of type ``kind``, or raises :class:`MalformedError`.

    Built once for each type: a node opens thousands of records a second, and taking annotations apart anew for each
    of their fields cost more than the signatures did.
    """
    base, rules = _split(kind)
    checks = [_rule(rule) for rule in rules]
    if typing.get_origin(base) is tuple:
        return _tuple_reader(_reader(typing.get_args(base)[0]), checks)
    if dataclasses.is_dataclass(base):
        return _class_reader(typing.cast("type[Any]", base))

    def read(value: Any) -> Any:
        if type(value) is not base:
            _check_type(value, base)
        for check in checks:
            check(value)
        return value

    return read


def _tuple_reader(item: Reader, checks: Sequence[Reader]) -> Reader:
    def read(value: Any) -> Any:
        if type(value) is not list:
            raise MalformedError("not a list")
        for check in checks:
            check(value)
        return tuple([item(each) for each in value])

    return read


def _class_reader(cls: type[Any]) -> Reader:
    def read(value: Any) -> Any:
        if type(value) is not dict:
            raise MalformedError("not a map")
        return unpack(cls, value)

    return read


def _rule(rule: object) -> Reader:
    def size(value: Any) -> None:
        length = len(value.encode()) if type(value) is str else len(value)
        if not low <= length <= high:
            _check(value, (rule,))

    def span(value: Any) -> None:
        if not low <= value <= high:
            _check(value, (rule,))

    if isinstance(rule, Size | Range):
        low, high = rule.low, rule.high
        return size if isinstance(rule, Size) else span
    return lambda value: _check(value, (rule,))


def _check_type(value: Any, base: Any) -> None:
    # bool is an int to Python and must not be one on the wire.
    if type(value) is not base:
        raise MalformedError(f"{type(value).__name__} where {getattr(base, '__name__', base)} is expected")


def _check(value: Any, rules: tuple[object, ...]) -> None:
    for rule in rules:
        match rule:
            case Size(low, high):
                length = len(value.encode()) if isinstance(value, str) else len(value)
                if length > high:
                    raise MalformedError(f"length {length} is above {high}")
                if length < low:
                    raise MalformedError(f"length {length} is below {low}")
            case Range(low, high):
                if not low <= value <= high:
                    raise MalformedError(f"{value} is outside {low}..{high}")
            case OneOf(choices=choices):
                if value not in choices:
                    raise MalformedError(f"{value!r:.40} is not one of {', '.join(choices)}")
            case _:
                raise UsageError(f"no such rule: {rule!r}")


@message("refused")
@dataclass(frozen=True, slots=True)
class Refused:
    """The answer of any service that understood a request and says no."""

    code: Annotated[str, Size(1, 40)]
    why: Annotated[str, Size(0, limits.REFUSAL_TEXT_MAX)]
    hint: Annotated[str, Size(0, limits.REFUSAL_TEXT_MAX)]
