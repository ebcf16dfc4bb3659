"""The node's control socket: the operator's commands ask, the running node answers in JSON.

A Unix socket in the node's directory, open to its owner only. One line there, one line back:
``{"ask": "status"}`` → ``{...}``. Nothing that is asked here changes the node, except ``stop``.
"""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import trio

from warmline_protocol.errors import ConfigError, UnreachableError, WarmlineError

LINE_MAX = 4 << 20
DEADLINE = 5.0
Answers = Mapping[str, Callable[[], Awaitable[Any]]]


def bind(path: Path) -> trio.SocketListener:
    """Listen on ``path``; a socket left over from a node that was killed is replaced."""
    if len(os.fsencode(path)) > 100:
        raise ConfigError(
            f"the path of the control socket is too long: {path}",
            hint="Unix sockets allow about 100 bytes: use a shorter --data directory.",
        )
    with suppress(FileNotFoundError):
        path.unlink()
    sock = trio.socket.from_stdlib_socket(_bound(path))
    return trio.SocketListener(sock)


def _bound(path: Path) -> socket.socket:
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    mask = os.umask(0o177)
    try:
        sock.bind(str(path))
        sock.listen(8)
    except OSError as error:
        sock.close()
        raise ConfigError(f"no control socket at {path}: {error.strerror}") from None
    finally:
        os.umask(mask)
    return sock


async def serve(listener: trio.SocketListener, answers: Answers) -> None:
    """Answer until cancelled."""

    async def one(stream: trio.SocketStream) -> None:
        with trio.move_on_after(DEADLINE), suppress(trio.BrokenResourceError, trio.ClosedResourceError):
            async with stream:
                line = await _read_line(stream)
                await stream.send_all(json.dumps(await _answer(line, answers)).encode() + b"\n")

    await trio.serve_listeners(one, [listener])


async def _answer(line: bytes, answers: Answers) -> Any:
    try:
        question = json.loads(line)["ask"]
        answer = answers[question]
    except (ValueError, KeyError, TypeError):
        return {"error": f"ask one of {', '.join(sorted(answers))}"}
    try:
        return await answer()
    except WarmlineError as error:
        return {"error": f"{error.message}. {error.hint}"}


async def ask(path: Path, question: str) -> Any:
    """The running node's answer; :class:`UnreachableError` when none runs in that directory."""
    try:
        with trio.fail_after(DEADLINE):
            async with await trio.open_unix_socket(str(path)) as stream:
                await stream.send_all(json.dumps({"ask": question}).encode() + b"\n")
                answer = json.loads(await _read_line(stream))
    except (OSError, trio.TooSlowError, trio.BrokenResourceError, ValueError) as error:
        raise UnreachableError(
            f"no node answers in {path.parent} ({type(error).__name__})",
            hint=f"Start it with `warmline node run --data {path.parent}`.",
        ) from None
    if isinstance(answer, dict) and set(answer) == {"error"}:
        raise UnreachableError(str(answer["error"]))
    return answer


async def _read_line(stream: trio.SocketStream) -> bytes:
    buffer = bytearray()
    while b"\n" not in buffer and len(buffer) <= LINE_MAX:
        chunk = await stream.receive_some(65536)
        if not chunk:
            break
        buffer += chunk
    return bytes(buffer.split(b"\n", 1)[0])
