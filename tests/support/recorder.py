"""Records the packets of one interface into a pcap file: ``python -m support.recorder <interface> <file>``.

Says ``up`` when it records, and ends at the first line on its input with the numbers of packets written and lost.
"""

from __future__ import annotations

import select
import socket
import struct
import sys
import time

ALL_PROTOCOLS = 0x0003
SO_RCVBUFFORCE = 33
SOL_PACKET = 263
PACKET_STATISTICS = 6
LONGEST = 1 << 18
ROOM = 64 << 20
LINKTYPE_ETHERNET = 1


def main(interface: str, path: str) -> None:
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ALL_PROTOCOLS)) as wire, open(path, "wb") as out:
        try:
            wire.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, ROOM)
        except OSError:  # a user namespace has no say over the machine's memory
            wire.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, ROOM)
        wire.bind((interface, 0))
        out.write(struct.pack("=IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, LONGEST, LINKTYPE_ETHERNET))
        print("up", flush=True)
        written, ending = 0, False
        while True:
            ready, _, _ = select.select([wire, *([] if ending else [sys.stdin])], [], [], 0.2 if ending else None)
            if wire in ready:
                packet = wire.recv(LONGEST)
                now = time.time_ns() // 1000
                out.write(struct.pack("=IIII", now // 10**6, now % 10**6, len(packet), len(packet)) + packet)
                written += 1
            elif ending:
                break
            if sys.stdin in ready:
                ending = True
        _, lost = struct.unpack("=II", wire.getsockopt(SOL_PACKET, PACKET_STATISTICS, 8))
    print(written, lost, flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
