"""A label-switching router: a program that swaps and pops MPLS labels, for kernels that have no MPLS forwarding.

Run as `python -m netns.label_switch TABLE REPORT`. TABLE is JSON: the devices to listen on, and for each label an
`Entry`. A frame whose top label is in the table goes on with that label swapped, or popped where `swap` is null; what a
popped stack leaves behind, another label or the IP packet, goes to the same next hop.
TTLs follow the uniform model of RFC 3443: the outgoing TTL is the incoming one less one, also in what a pop uncovers.
What the table does not know is dropped and counted, as a router drops it (RFC 3031 section 3.18). It writes the line
"ready" when frames flow, runs until SIGTERM, then writes the report: {"switched": {label: frames}, "unknown": {…}}.
"""

import json
import os
import select
import signal
import socket
import struct
import sys
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from .frame import ETHERNET_LEN, ETHERTYPE_IPV4, ETHERTYPE_IPV6, ETHERTYPE_MPLS, internet_checksum

_FRAME_MAX: Final = 65_600


@dataclass(frozen=True, slots=True)
class Entry:
    """What becomes of a label."""

    swap: int | None
    """The label in its place; None: it is popped."""
    out: str
    mac: str
    """Of the next hop, in hexadecimal."""
    own: str
    """Of the device `out`."""


def switched(frame: bytes, entry: Entry) -> bytes | None:
    """The frame as it goes on; None if its time is over."""
    (word,) = struct.unpack_from("!I", frame, ETHERNET_LEN)
    ttl, bottom = (word & 0xFF) - 1, bool(word & 0x100)
    if ttl <= 0:
        return None
    ethertype, rest = ETHERTYPE_MPLS, bytearray(frame[ETHERNET_LEN + 4 :])
    if entry.swap is not None:
        rest = bytearray(struct.pack("!I", entry.swap << 12 | word & 0xF00 | ttl)) + rest
    elif not bottom:
        rest[3] = ttl
    elif rest[0] >> 4 == 4:
        ethertype, rest[8], rest[10:12] = ETHERTYPE_IPV4, ttl, b"\0\0"
        rest[10:12] = internet_checksum(bytes(rest[:20])).to_bytes(2)
    else:
        ethertype, rest[7] = ETHERTYPE_IPV6, ttl
    return bytes.fromhex(entry.mac) + bytes.fromhex(entry.own) + ethertype.to_bytes(2) + bytes(rest)


def main() -> None:
    table_path, report_path = sys.argv[1:]
    raw = json.loads(Path(table_path).read_text(encoding="utf-8"))
    table = {int(label): Entry(**entry) for label, entry in raw["labels"].items()}
    stop, stop_writer = os.pipe()
    os.set_blocking(stop_writer, False)
    signal.set_wakeup_fd(stop_writer)
    signal.signal(signal.SIGTERM, lambda *_: None)
    taps: dict[str, socket.socket] = {}
    for device in raw["devices"]:
        taps[device] = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
        taps[device].bind((device, ETHERTYPE_MPLS))
        taps[device].setblocking(False)
    counted: Counter[int] = Counter()
    unknown: Counter[int] = Counter()
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    while True:
        watched: list[int | socket.socket] = [stop, *taps.values()]
        readable, _, _ = select.select(watched, [], [])
        if stop in readable:
            break
        for tap in readable:
            if isinstance(tap, int):
                continue
            try:
                frame, address = tap.recvfrom(_FRAME_MAX)
            except BlockingIOError:
                continue
            if address[2] == socket.PACKET_OUTGOING:
                continue
            label = struct.unpack_from("!I", frame, ETHERNET_LEN)[0] >> 12
            entry = table.get(label)
            onward = None if entry is None else switched(frame, entry)
            if entry is None or onward is None:
                unknown[label] += 1
                continue
            counted[label] += 1
            taps[entry.out].send(onward)
    Path(report_path).write_text(json.dumps({"switched": counted, "unknown": unknown}), encoding="utf-8")


if __name__ == "__main__":
    main()
