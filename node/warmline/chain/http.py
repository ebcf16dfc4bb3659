"""A small HTTP/1.1 server on Trio for the dev chain's loopback port: POST a body, get a body.

A web page that a browser on this machine has open must not reach the chain, so the Host must be this machine
(DNS rebinding), a request with an Origin is refused, and the content type must be JSON (which a page cannot send
across origins without asking first). Every connection has its own deadline and size caps, and what it does wrong
ends that connection only.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

import h11
import trio

log = logging.getLogger(__name__)

Answer = Callable[[bytes], Awaitable[bytes]]
LOCAL_HOSTS = ("127.0.0.1", "localhost", "[::1]")


@dataclass(frozen=True, slots=True)
class HttpLimits:
    """`idle_s` between requests, `request_s` from its first byte to its last, `answer_s` for working and sending."""

    body_max: int = 1 << 20
    connections: int = 128
    idle_s: float = 120.0
    request_s: float = 10.0
    answer_s: float = 60.0


class _Refused(Exception):
    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status, self.reason = status, reason


async def serve_http(
    listeners: Sequence[trio.SocketListener],
    answer: Answer,
    limits: HttpLimits,
    nursery: trio.Nursery,
) -> None:
    """Serve in `nursery` until that is cancelled; returns when connections are taken."""
    open_now = 0

    async def handle(stream: trio.SocketStream) -> None:
        nonlocal open_now
        if open_now >= limits.connections:
            await trio.aclose_forcefully(stream)
            return
        open_now += 1
        try:
            await _Connection(stream, answer, limits).run()
        except (trio.BrokenResourceError, trio.ClosedResourceError, trio.TooSlowError, h11.ProtocolError) as error:
            log.debug("a connection ended early: %s", type(error).__name__)
        except Exception:  # supervised: one request must not stop the chain for everybody else
            log.exception("a request failed in an unforeseen way")
        finally:
            open_now -= 1
            await trio.aclose_forcefully(stream)

    await nursery.start(trio.serve_listeners, handle, list(listeners))


class _Connection:
    def __init__(self, stream: trio.SocketStream, answer: Answer, limits: HttpLimits) -> None:
        self._stream = stream
        self._answer = answer
        self._limits = limits
        self._http = h11.Connection(h11.SERVER, max_incomplete_event_size=16 << 10)

    async def run(self) -> None:
        while True:
            try:
                body = await self._read()
                if body is None:
                    return
                with trio.fail_after(self._limits.answer_s):
                    await self._send(200, await self._answer(body))
            except _Refused as refused:
                await self._refuse(refused.status, refused.reason)
                return
            except h11.RemoteProtocolError as error:
                await self._refuse(error.error_status_hint, "this is not HTTP/1.1 as the chain reads it")
                return
            if self._http.our_state is not h11.DONE or self._http.their_state is not h11.DONE:
                return
            self._http.start_next_cycle()

    async def _read(self) -> bytes | None:
        """The body of the next request; None when the client is done."""
        with trio.fail_after(self._limits.idle_s):
            first = await self._event()
        if not isinstance(first, h11.Request):
            return None
        self._check(first)
        body = bytearray()
        with trio.fail_after(self._limits.request_s):
            while True:
                event = await self._event()
                if isinstance(event, h11.EndOfMessage):
                    return bytes(body)
                if isinstance(event, h11.ConnectionClosed):
                    return None
                assert isinstance(event, h11.Data)
                body += event.data
                if len(body) > self._limits.body_max:
                    raise _Refused(413, f"a request may hold {self._limits.body_max} bytes")

    def _check(self, request: h11.Request) -> None:
        headers = {bytes(name): bytes(value).decode("latin-1") for name, value in request.headers}
        host = headers.get(b"host", "").lower()
        name = host.rpartition(":")[0] if host.rpartition(":")[2].isdigit() else host
        if name not in LOCAL_HOSTS:
            raise _Refused(403, "only this machine may ask: the Host must be 127.0.0.1, localhost or [::1]")
        if b"origin" in headers:
            raise _Refused(403, "web pages may not ask")
        if request.method != b"POST":
            raise _Refused(405, "this is a JSON-RPC endpoint: POST a request")
        if headers.get(b"content-type", "").partition(";")[0].strip().lower() != "application/json":
            raise _Refused(415, "the content type must be application/json")

    async def _event(self) -> object:
        while True:
            event = self._http.next_event()
            if event is h11.NEED_DATA:
                if self._http.they_are_waiting_for_100_continue:
                    await self._stream.send_all(
                        self._http.send(h11.InformationalResponse(status_code=100, headers=[])) or b""
                    )
                self._http.receive_data(await self._stream.receive_some(65536))
                continue
            return event

    async def _refuse(self, status: int, reason: str) -> None:
        if self._http.our_state in (h11.IDLE, h11.SEND_RESPONSE):
            with trio.fail_after(self._limits.request_s):
                await self._send(status, reason.encode() + b"\n", content_type=b"text/plain", close=True)

    async def _send(
        self, status: int, body: bytes, *, content_type: bytes = b"application/json", close: bool = False
    ) -> None:
        headers = [(b"content-type", content_type), (b"content-length", b"%d" % len(body))]
        if close:
            headers.append((b"connection", b"close"))
        await self._stream.send_all(
            (self._http.send(h11.Response(status_code=status, headers=headers)) or b"")
            + (self._http.send(h11.Data(data=body)) or b"")
            + (self._http.send(h11.EndOfMessage()) or b"")
        )
