"""ts-mls, the engine of the browser, as an :class:`E2EEProvider` over the stdio of a node process.

It proves that sessions depend on the seam and on nothing of mls-rs: the same machines run over either engine. What the
seam asks of an engine and ts-mls leaves to its caller (who is in a key package, which member may commit) is done here
and in ``tests/interop/mls.mjs``.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import threading
import weakref
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from warmline_protocol.codec import decode, encode
from warmline_protocol.errors import MalformedError, StoreError, UsageError
from warmline_protocol.session.mls import Commit, Member, Opened, Roster
from warmline_protocol.session.mlswire import IDENTITY_SIZE, check_key_packages, is_application, members_of_tree

INTEROP = Path(__file__).parent.parent / "interop"


def node_path() -> str:
    """Where to look for node: this environment before the machine."""
    return os.pathsep.join((str(Path(sys.executable).parent), os.environ.get("PATH", "")))


class Peer:
    """The node process. Calls are answered one by one; ``PeerError`` is what the other side threw."""

    def __init__(self, program: str | None = None) -> None:
        program = program or shutil.which("node", path=node_path())
        assert program is not None, "node is not installed"
        flags = ("--no-warnings", "--import", str(INTEROP / "polyfill.mjs"))
        self._process = subprocess.Popen(
            [program, *flags, str(INTEROP / "mls_peer.mjs")], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        self.dropped: list[int] = []
        self._alone = threading.RLock()

    def call(self, name: str, **fields: Any) -> dict[str, Any]:
        """One call, for example ``call("engine.seal", handle=3, data="00")``; from any thread, one after another."""
        with self._alone:
            return self._call(name, fields)

    def _call(self, name: str, fields: dict[str, Any]) -> dict[str, Any]:
        if len(self.dropped) >= 64:
            gone, self.dropped = self.dropped, []
            self.call("engine.drop", handles=gone)
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.write(json.dumps({"call": name, **fields}).encode() + b"\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        assert line, "the node process ended"
        answer: dict[str, Any] = json.loads(line)
        if "error" in answer:
            raise PeerError(answer["error"])
        return answer

    def close(self) -> None:
        """End the process and wait for it."""
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait(timeout=30)
        self._process.stdout.close()


class PeerError(Exception):
    """What ts-mls said no with."""


class TsMlsProvider:
    """Makes groups in the node process; ``draw`` brings the random credentials."""

    def __init__(self, peer: Peer, draw: Callable[[int], bytes]) -> None:
        self.peer = peer
        self._draw = draw

    def create(self, group_id: bytes) -> TsMlsGroup:
        made = self.peer.call("engine.create", id=self._draw(IDENTITY_SIZE).hex(), group=group_id.hex())
        return TsMlsGroup(self.peer, made)

    def candidate(self, **spoilt: Any) -> _Candidate:
        """``spoilt``: another suite (``cipher``), ``notBefore`` or ``notAfter`` in seconds, for hostile tests."""
        return _Candidate(self.peer, self.peer.call("engine.candidate", id=self._draw(IDENTITY_SIZE).hex(), **spoilt))

    def restore(self, snapshot: bytes) -> TsMlsGroup:
        fields = decode(snapshot, max_size=8 << 20)
        if not isinstance(fields, dict) or not isinstance(fields.get("ts-mls"), bytes):
            raise StoreError("a saved group that is not one")
        return TsMlsGroup(self.peer, self.peer.call("engine.restore", state=fields["ts-mls"].hex()))


class _Candidate:
    def __init__(self, peer: Peer, made: dict[str, Any]) -> None:
        self._peer = peer
        self._handle = made["handle"]
        self.key_package = bytes.fromhex(made["package"])

    def join(self, welcome: bytes) -> TsMlsGroup:
        try:
            return TsMlsGroup(self._peer, self._peer.call("engine.join", candidate=self._handle, welcome=welcome.hex()))
        except PeerError as error:
            raise MalformedError(f"a Welcome that does not open: {error}") from None


class TsMlsGroup:
    """:class:`warmline_protocol.session.mls.Group` over a state in the node process."""

    def __init__(self, peer: Peer, facts: dict[str, Any]) -> None:
        self._peer = peer
        self._handle: int = facts["handle"]
        self.group_id = bytes.fromhex(facts["group"])
        self.me = _member(facts["me"])
        self._roster: Roster = ()
        self._saved: bytes | None = None
        self._take(facts)
        weakref.finalize(self, peer.dropped.append, self._handle)

    def _take(self, facts: dict[str, Any]) -> None:
        self._roster = members_of_tree(bytes.fromhex(facts["tree"]))
        self._saved = None

    def _call(self, name: str, **fields: Any) -> dict[str, Any]:
        self._saved = None
        return self._peer.call(f"engine.{name}", handle=self._handle, **fields)

    def _theirs(self, what: str, name: str, **fields: Any) -> dict[str, Any]:
        try:
            return self._call(name, **fields)
        except PeerError as error:
            raise MalformedError(f"{what}: {error}") from None

    def roster(self) -> Roster:
        return self._roster

    def export(self, label: bytes, context: bytes, size: int) -> bytes:
        fields = {"label": label.hex(), "context": context.hex(), "size": size}
        return bytes.fromhex(self._peer.call("engine.export", handle=self._handle, **fields)["secret"])

    def seal(self, plaintext: bytes) -> bytes:
        return bytes.fromhex(self._call("seal", data=plaintext.hex())["message"])

    def open(self, message: bytes) -> Opened:
        if not is_application(message):
            raise MalformedError("an MLS message that is not an application message")
        opened = self._theirs("a message that does not decrypt", "open", message=message.hex())
        return Opened(_member(opened["sender"]), bytes.fromhex(opened["data"]))

    def add(self, key_packages: Sequence[bytes]) -> Commit:
        check_key_packages(key_packages, self._roster)
        packages = [each.hex() for each in key_packages]
        return self._made(self._theirs("a key package that the engine refuses", "add", packages=packages))

    def remove(self, members: Sequence[Member]) -> Commit:
        if any(member not in self._roster for member in members):
            raise UsageError("cannot remove someone who is not a member")
        return self._made(self._call("remove", members=[_named(each) for each in members]))

    def refresh(self) -> Commit:
        return self._made(self._call("refresh"))

    def _made(self, made: dict[str, Any]) -> Commit:
        self._take(made)
        return Commit(bytes.fromhex(made["commit"]), bytes.fromhex(made["welcome"]))

    def process(self, commit: bytes, committer: Member) -> Roster:
        fields = {"commit": commit.hex(), "committer": _named(committer)}
        done = self._theirs("a commit that does not apply", "process", **fields)
        if done["removed"]:
            self._roster = ()
            return ()
        self._take(done)
        return self._roster

    def forget_previous(self) -> None:
        self._call("forget")

    def snapshot(self) -> bytes:
        if self._saved is None:
            state = self._peer.call("engine.snapshot", handle=self._handle)["state"]
            self._saved = encode({"ts-mls": bytes.fromhex(state)})
        return self._saved


def _member(fields: dict[str, str]) -> Member:
    return Member(bytes.fromhex(fields["id"]), bytes.fromhex(fields["key"]))


def _named(member: Member) -> dict[str, str]:
    return {"id": member.id.hex(), "key": member.key.hex()}
