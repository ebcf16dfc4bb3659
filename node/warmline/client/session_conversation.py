"""What sessions and rooms share: one machine, one lock, timers, events, lanes. See ``session`` for the interface."""

from __future__ import annotations

import math
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial
from typing import Any, TypeVar

import trio

from warmline.client.session_client import Client
from warmline.client.session_events import QueueLost, SessionEvent
from warmline.client.session_lanes import Inlet
from warmline.client.session_outlets import Outlet
from warmline.client.session_transcript import Transcript
from warmline.scopes import sole_error
from warmline_protocol.errors import RefusedError, UsageError
from warmline_protocol.records.node import NodeAddress
from warmline_protocol.session import events as said
from warmline_protocol.session.events import Closed, Event, MessageState, is_lasting
from warmline_protocol.session.evidence import Chapter
from warmline_protocol.session.machine import Machine

T = TypeVar("T")
KEPT = "kept"


class Events:
    """What the person is told, in order, for one reader. Asking for the next one says that the last one was shown."""

    def __init__(self, news: trio.MemoryReceiveChannel[SessionEvent], shown: Callable[[SessionEvent], None]) -> None:
        self._news = news
        self._shown = shown
        self._last: SessionEvent | None = None

    def __aiter__(self) -> Events:
        return self

    async def __anext__(self) -> SessionEvent:
        last, self._last = self._last, None
        if last is not None:
            self._shown(last)
        try:
            self._last = await self._news.receive()
        except trio.EndOfChannel:
            raise StopAsyncIteration from None
        return self._last


class Conversation:
    """What sessions and rooms share: one machine, one lock, timers, events. Obtained, not built."""

    def __init__(self, client: Client, nursery: trio.Nursery) -> None:
        self.client = client
        self.closed = ""
        self.goodbye = ""
        """What this side left with: ``left``, ``closed`` or ``blocked``."""
        self.outgoing: dict[bytes, str] = {}
        self.peer_name = ""
        self._nursery = nursery
        self._machine: Any = None
        self._lock = trio.Lock()
        self._changed = trio.Event()
        self._established = trio.Event()
        self._ended = trio.Event()
        self._over = trio.Event()
        self.transcript = Transcript()
        self._news, receive = trio.open_memory_channel[SessionEvent](math.inf)
        self.events = Events(receive, self._was_shown)
        self._shown = 0
        self._shown_more = trio.Event()
        self._inlets: list[Inlet] = []
        self._outlets: dict[str, Outlet] = {}
        self._due_ms: int | None = None
        self._farewell_sent = False
        self._quiet = True
        self._detaching = False

    # -- for the person

    @property
    def established(self) -> bool:
        """Whether there is somebody to talk to."""
        return self._established.is_set() and not self.closed

    async def wait_established(self) -> None:
        """Return when messages can be sent; :class:`RefusedError` (code: why it closed) when they never will."""
        await self._established.wait()
        if self._machine is None:
            raise RefusedError(self.closed, f"the session did not come about: {self.closed}")

    async def wait_closed(self) -> str:
        """Why it ended, once it has."""
        await self._ended.wait()
        return self.closed

    async def wait_change(self) -> None:
        """Return after something has happened to the machine, or the conversation has ended."""
        if not self._ended.is_set():
            await self._changed.wait()

    @property
    def machine(self) -> Any:
        """What runs this conversation, or None before there is somebody: for a look at what cannot change halfway."""
        return self._machine

    async def look(self, what: Callable[[Any], T]) -> T:
        """Ask the machine something that changes nothing, while nobody else is at work on it."""
        async with self._lock:
            return await self.client.run_blocking(lambda: what(self._machine))

    def signal_node(self) -> NodeAddress | None:
        """Where everybody in this conversation signals; None while that is not known."""
        return None

    async def send(self, text: str) -> bytes:
        """Say something; the id under which :class:`MessageState` tells what becomes of it."""
        if self._machine is None or self.closed:
            raise UsageError("there is nobody to say this to", hint="Wait until the session is established.")

        def say(machine: Any, now: int) -> bytes:
            message: bytes = machine.send(text, now)
            self.transcript.said(message, self._my_name, text, now)
            return message

        return await self._do(say, asked=True)

    @property
    def _my_name(self) -> str:
        return "You"

    @property
    def weaknesses(self) -> tuple[str, ...]:
        """What is less private about the paths in use than it should be."""
        lanes: list[Inlet | Outlet] = [*self._inlets, *self._outlets.values()]
        return tuple(dict.fromkeys(lane.weakness for lane in lanes if lane.weakness))

    @property
    def evidence(self) -> tuple[Chapter, ...]:
        """The supporter's last texts with what proves them; empty at the supporter's own side."""
        verifier = None if self._machine is None else self._machine.verifier
        return () if verifier is None else tuple(verifier.chapters)

    async def aclose(self, why: str = "left") -> None:
        """Say goodbye, best effort, and end."""
        if self._over.is_set():
            return
        self.goodbye = self.goodbye or why
        with trio.CancelScope(shield=True):
            if self._detaching:
                await self._over.wait()
                return
            if self._machine is not None and not self.closed:
                await self._goodbye(why)
            self._end(why)
            await self._close_lanes()
            await self._all_told()
            await self._forget()
            self._over.set()

    async def _forget(self) -> None:
        """Ended for good: nothing of it is kept."""

    async def _all_told(self) -> None:
        """Who died now would come back to what was not shown yet; a moment later there is nothing to come back to."""
        if self._machine is not None and self._machine.journal:
            with trio.move_on_after(self.client.settings.goodbye):
                while self._machine.untold:
                    await self._next_change()

    def detach(self) -> None:
        """End here without a goodbye, to go on later from the vault."""
        self._detaching = True
        if not self._lock.locked():  # else what the machine is just hearing is told first: it is saved as shown
            self._put_away()

    def _put_away(self) -> None:
        self._end(KEPT)
        self._over.set()

    async def _goodbye(self, why: str) -> None:
        await self._do(lambda machine, now: machine.leave(now, why))
        with trio.move_on_after(self.client.settings.goodbye):
            while not self._farewell_sent and not self.closed:
                await self._next_change()
        await self._do(lambda machine, now: machine.finish())
        self._farewell()

    def _farewell(self) -> None:
        """No node may have taken the goodbye: whoever lives longer can try again."""

    async def _next_change(self) -> None:
        await self._changed.wait()

    def _change(self) -> None:
        changed, self._changed = self._changed, trio.Event()
        changed.set()

    async def _close_lanes(self) -> None:
        async with trio.open_nursery() as nursery:
            for inlet in self._inlets:
                nursery.start_soon(inlet.close)

    def _end(self, why: str) -> None:
        if self._ended.is_set():
            return
        if not self.closed:
            self.closed = why
            self._news.send_nowait(Closed(why))
        self._ended.set()
        self._established.set()
        self._change()
        self._news.close()

    # -- the machine

    async def _do(self, work: Callable[[Any, int], T], *, asked: bool = False) -> T:
        """Call the machine, save what it became, then do and tell what it says. ``asked``: the person waits for it."""
        async with self._lock:
            if self.closed == KEPT:
                if asked:
                    raise UsageError("this session was put away", hint="Go on with it, then say this.")
                await trio.sleep_forever()  # whoever comes back must find it as it was saved
            now = self.client.clock.utc_ms()
            machine = self._machine

            def step() -> tuple[T, list[said.Output], list[Event]]:
                result = work(machine, now)
                outputs, news = machine.take()
                self.transcript.hear(news)
                self._save(machine, outputs)
                # Nothing else may look into the machine: another thread may be at work on it.
                self._due_ms, self._farewell_sent = machine.next_timer(), machine.farewell_sent
                self._quiet = machine.quiet
                return result, outputs, news

            try:
                if self._in_place:
                    await trio.lowlevel.checkpoint_if_cancelled()
                    result, outputs, news = step()
                else:
                    result, outputs, news = await self.client.run_blocking(step)
                for output in outputs:
                    self._dispatch(output)
                for event in news:
                    self._tell(event)
                self._change()
            finally:
                if self._detaching:
                    self._put_away()
        return result

    @property
    def _in_place(self) -> bool:
        """Whether a step of the machine is short and touches no disk: then the way to a thread costs more than it."""
        return False

    def _save(self, machine: Machine, outputs: list[said.Output]) -> None:
        """Called before anything leaves the machine, in the worker thread where there is one."""

    async def _answered_by(self, machine: Machine, work: Callable[[Any, int], None]) -> None:
        """A queue's answer to ``machine``: after a fresh Hello its tokens mean nothing to the one in its place."""
        await self._do(lambda current, now: work(current, now) if current is machine else None)

    def _dispatch(self, output: said.Output) -> None:
        raise NotImplementedError

    def _tell(self, event: SessionEvent) -> None:
        if self._ended.is_set():
            return
        if isinstance(event, MessageState):
            if event.last:
                self.outgoing.pop(event.id, None)
            else:
                self.outgoing[event.id] = event.state
        if isinstance(event, Closed):
            self.closed = self.closed or event.why
        self._news.send_nowait(event)

    async def _adopt(self, machine: Machine) -> None:
        """From now on there is somebody to talk to."""
        async with self._lock:  # nothing is said to the old machine after the new one took over from it
            old, self._machine = self._machine, machine
            first = old is None
            await self.client.run_blocking(lambda: self._take_over(old, machine))
        await self._do(lambda machine, now: machine.tick(now))
        self._established.set()
        if first:
            self._start(self._keep_time)
            self._start(self._confirm_shown)

    def _take_over(self, old: Any, machine: Any) -> None:
        """A machine takes its place, or after a fresh Hello that of another."""

    async def _keep_time(self) -> None:
        while not self._ended.is_set():
            if self.closed:
                await self._linger()
                return
            due = self._due_ms
            wait = math.inf if due is None else max(0.01, (due - self.client.clock.utc_ms()) / 1000)
            with trio.move_on_after(wait):
                await self._next_change()
                continue
            await self._do(lambda machine, now: machine.tick(now))

    async def _linger(self) -> None:
        """The machine has closed: let the last ack out, then end."""
        with trio.move_on_after(self.client.settings.goodbye):
            while not self._quiet:
                await self._next_change()
        await self.aclose(self.closed)

    # -- what was shown

    def _was_shown(self, event: SessionEvent) -> None:
        if is_lasting(event):
            self._shown += 1
            self._shown_more.set()

    async def _confirm_shown(self) -> None:
        """Save that what the person has seen need not be told again after a restart."""
        while True:
            await self._shown_more.wait()
            self._shown_more = trio.Event()
            async with self._lock:
                count, self._shown, machine = self._shown, 0, self._machine
                try:
                    if machine.journal:
                        await self.client.run_blocking(partial(self._save_shown, machine, count))
                finally:
                    if self._detaching:
                        self._put_away()
            self._change()

    def _save_shown(self, machine: Any, count: int) -> None:
        machine.told(count)
        self._save(machine, [])

    # -- lanes

    def _outlet(self, node: NodeAddress) -> Outlet:
        outlet = self._outlets.get(node.peer_id)
        if outlet is None:
            outlet = self._outlets[node.peer_id] = Outlet(self.client, node)
            self._start(outlet.run)
        return outlet

    def _start(self, work: Callable[..., Awaitable[None]], *arguments: Any) -> None:
        """In this conversation's nursery, which takes nothing any more once it is over: whoever asks may be a task of
        somebody else, a door that hears the same Hello again, and would fail for a conversation that has ended."""
        if not self._over.is_set():
            self._nursery.start_soon(work, *arguments)

    def _lost(self, inlet: Inlet) -> None:
        """A queue of one's own is gone, or its node has been out of reach for long."""
        if inlet.gone:
            self._tell(QueueLost(inlet.own.node.peer_id))


@asynccontextmanager
async def conversing() -> AsyncIterator[trio.Nursery]:
    """A nursery for lanes and timers that ends with its block, and raises what the block raised, unwrapped."""
    with sole_error():
        async with trio.open_nursery() as nursery:
            yield nursery
            nursery.cancel_scope.cancel()
