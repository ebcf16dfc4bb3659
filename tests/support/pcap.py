"""Reads what a recorder wrote: who sent to whom, and the bytes of each TCP connection in their order."""

from __future__ import annotations

import ipaddress
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

TCP, UDP = 6, 17
WRAP = 1 << 32


class Way(NamedTuple):
    """One direction of a connection."""

    source: str
    source_port: int
    target: str
    target_port: int


@dataclass(frozen=True, slots=True)
class Packet:
    """One IPv4 packet; ``payload`` is that of TCP or UDP."""

    at: float
    way: Way
    kind: int
    seq: int
    payload: bytes


@dataclass(frozen=True, slots=True)
class Capture:
    """Everything that passed at one place. ``raw`` holds every frame whole, also those that are no IPv4."""

    name: str
    packets: tuple[Packet, ...]
    raw: bytes

    @classmethod
    def read(cls, name: str, path: Path) -> Capture:
        frames = list(_frames(path.read_bytes()))
        packets = tuple(packet for at, frame in frames if (packet := _packet(at, frame)) is not None)
        return cls(name, packets, b"\0".join(frame for _, frame in frames))

    def hosts(self) -> set[str]:
        """Every IPv4 address that a packet came from or went to."""
        return {end for packet in self.packets for end in (packet.way.source, packet.way.target)}

    def streams(self) -> dict[Way, bytes]:
        """What each direction of each TCP connection said, in order, whatever was sent again."""
        pieces: dict[Way, list[Packet]] = {}
        for packet in self.packets:
            if packet.kind == TCP and packet.payload:
                pieces.setdefault(packet.way, []).append(packet)
        return {way: _joined(found) for way, found in pieces.items()}

    def finds(self, *needles: bytes) -> set[bytes]:
        """Which of ``needles`` passed here: in a frame, or in a connection across any number of packets."""
        wanted = {needle for needle in needles if needle in self.raw}
        for stream in self.streams().values():
            wanted |= {needle for needle in needles if needle in stream}
        return wanted


def _frames(data: bytes) -> Iterator[tuple[float, bytes]]:
    at = 24
    while at + 16 <= len(data):
        seconds, micros, kept, _ = struct.unpack_from("=IIII", data, at)
        yield seconds + micros / 1e6, data[at + 16 : at + 16 + kept]
        at += 16 + kept


def _packet(at: float, frame: bytes) -> Packet | None:
    if len(frame) < 34 or frame[12:14] != b"\x08\x00":
        return None
    header = (frame[14] & 15) * 4
    total = int.from_bytes(frame[16:18], "big") or len(frame) - 14
    kind, body = frame[23], frame[14 + header : 14 + total]
    source, target = (str(ipaddress.ip_address(frame[start : start + 4])) for start in (26, 30))
    if kind not in (TCP, UDP) or len(body) < 8:
        return Packet(at, Way(source, 0, target, 0), kind, 0, body)
    near, far = struct.unpack_from("!HH", body)
    if kind == UDP:
        return Packet(at, Way(source, near, target, far), kind, 0, body[8:])
    return Packet(
        at, Way(source, near, target, far), kind, int.from_bytes(body[4:8], "big"), body[(body[12] >> 4) * 4 :]
    )


def _joined(packets: list[Packet]) -> bytes:
    first = packets[0].seq
    joined = bytearray()
    for packet in sorted(packets, key=lambda one: _ahead(one.seq, first)):
        offset = _ahead(packet.seq, first)
        if offset > len(joined):
            joined += bytes(offset - len(joined))  # lost to the recorder; its count of losses says so
        joined[offset : offset + len(packet.payload)] = packet.payload
    return bytes(joined)


def _ahead(seq: int, first: int) -> int:
    """How far ``seq`` is past ``first``; a segment sent before the first one seen counts as none."""
    ahead = (seq - first) % WRAP
    return ahead if ahead < WRAP // 2 else 0
