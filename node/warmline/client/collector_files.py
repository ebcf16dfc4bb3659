"""What a collector has on its disk, so that it can be killed at any moment and go on.

In ``held/``, for its owner alone: the answers that are not published yet, its own set of an epoch as it was at the
cut-off, and what it took from others. In ``served/``, for everybody: what its node hands out. Every file is replaced
whole, and is on the disk before anything is acknowledged or announced that rests on it. In ``proofs/``, for people:
two announcements of a collector that contradict each other. They are kept for good.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Final

from warmline.files import write_private, write_whole
from warmline_protocol.codec import FrameReader, frame
from warmline_protocol.errors import ConfigError, RemoteError
from warmline_protocol.feedback.messages import BatchRead, CollectorRead, Rating, SetAnnouncement
from warmline_protocol.feedback.serving import read_ratings, served_name, write_ratings
from warmline_protocol.records.node import NodeAddress
from warmline_protocol.wire import from_wire, to_wire

SERVED: Final = "served"
_HELD: Final = "held"
_MESSAGE_MAX: Final = 4096


class CollectorFiles:
    """All methods block."""

    def __init__(self, folder: Path, served: Path | None = None) -> None:
        """``served``, if the node cannot look into ``folder``: it may run as another user."""
        self._held = folder / _HELD
        self._proofs = folder / "proofs"
        self.served = served or folder / SERVED
        self._held.mkdir(parents=True, exist_ok=True, mode=0o700)
        self.served.mkdir(parents=True, exist_ok=True)

    # -- answers

    def load(self) -> tuple[Rating, ...]:
        """What is held; empty the first time."""
        return self._ratings("ratings") or ()

    def save(self, held: dict[bytes, Rating]) -> None:
        write_private(self._held / "ratings", write_ratings(held[serial] for serial in sorted(held)))

    def cut(self, epoch: int) -> tuple[Rating, ...] | None:
        """The set of an epoch, once it was fixed."""
        return self._ratings(f"{epoch}.cut")

    def keep_cut(self, epoch: int, own: tuple[Rating, ...]) -> None:
        write_private(self._held / f"{epoch}.cut", write_ratings(own))

    def taken(self, epoch: int, other: bytes) -> tuple[SetAnnouncement, tuple[Rating, ...]] | None:
        """What another collector announced and handed over."""
        data = self._read(self._held / _taken(epoch, other))
        if data is None:
            return None
        reader = FrameReader(_MESSAGE_MAX)
        reader.feed(data)
        first = reader.next() or b""
        said = from_wire(first, (SetAnnouncement,))
        return said, read_ratings(data[len(frame(first)) :])

    def keep_taken(self, said: SetAnnouncement, ratings: tuple[Rating, ...]) -> None:
        data = frame(to_wire(said)) + write_ratings(ratings)
        write_private(self._held / _taken(said.epoch, said.collector), data)

    def _ratings(self, name: str) -> tuple[Rating, ...] | None:
        data = self._read(self._held / name)
        try:
            return None if data is None else read_ratings(data)
        except RemoteError as error:
            raise ConfigError(
                f"{self._held / name} is damaged: {error}", hint="Move it away; the other collectors hold the rest."
            ) from None

    def keep_proof(self, epoch: int, collector: bytes, proof: bytes) -> Path | None:
        """That a collector announced two sets; where it lies now, or None if it lay there before."""
        path = self._proofs / f"{epoch}.{collector.hex()}.proof"
        if path.exists():
            return None
        write_private(path, proof)
        return path

    # -- drops

    def drops(self) -> dict[int, tuple[NodeAddress, ...]]:
        """For which epochs all drops are there, and at which nodes."""
        data = self._read(self._held / "drops.json")
        rows: dict[str, list[list[object]]] = {} if data is None else json.loads(data)
        return {
            int(epoch): tuple(NodeAddress(str(peer), tuple(addrs)) for peer, addrs in nodes)  # type: ignore[arg-type]
            for epoch, nodes in rows.items()
        }

    def keep_drops(self, drops: dict[int, tuple[NodeAddress, ...]]) -> None:
        rows = {str(epoch): [[node.peer_id, list(node.addrs)] for node in nodes] for epoch, nodes in drops.items()}
        write_private(self._held / "drops.json", json.dumps(rows).encode())

    # -- what the node hands out

    def lay_out(self, question: CollectorRead | BatchRead, data: bytes) -> None:
        """Answer the question with these bytes from now on."""
        write_whole(self.served / served_name(question), data)

    def laid_out(self, question: CollectorRead | BatchRead) -> bytes | None:
        """What is handed out, if anything is."""
        return self._read(self.served / served_name(question))

    def tidy(self, oldest_s: float, oldest_epoch: int) -> None:
        """Remove what was laid out before a time, and what was held for epochs that can count no more."""
        for path in sorted(self.served.iterdir()):
            if path.stat().st_mtime < oldest_s:
                path.unlink(missing_ok=True)
        for path in sorted(self._held.iterdir()):
            epoch = path.name.partition(".")[0]
            if epoch.isdigit() and int(epoch) < oldest_epoch:
                path.unlink(missing_ok=True)

    def _read(self, path: Path) -> bytes | None:
        try:
            return path.read_bytes()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise ConfigError(f"cannot read {path}: {error.strerror}", hint="Check who owns the file.") from error


def _taken(epoch: int, other: bytes) -> str:
    return f"{epoch}.from.{other.hex()}"
