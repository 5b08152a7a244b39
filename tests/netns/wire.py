"""A wire that somebody degrades while it is in use: every IP packet, whatever it carries.

Theory of operation. A bridge between two devices of a namespace without addresses. Frames are taken and given with
their `virtio_net_hdr` (packet(7), PACKET_VNET_HDR), so that what the kernel left to a device that does not exist, a
checksum or the cutting of a large segment, is left to the next one, and TCP goes through as it is. ARP and neighbour
discovery pass unharmed: the wire is bad, not cut.

Conditions come as lines of JSON on standard input, one object each: direction -> condition. A condition is `loss` (a
share, drawn for each packet from a seeded generator), `delay_s`, `dscp` (with which IPv4 packets go on), or nothing.
Each is answered by `ok`.

Run as a program: `python -m netns.wire DEVICE DEVICE`. It writes the line "ready" when frames flow, and runs until its
input ends or it is told to end.
"""

import heapq
import json
import random
import select
import socket
import struct
import sys
import time
from dataclasses import dataclass
from typing import Final

PACKET_OUTGOING: Final = 4  # linux/if_packet.h
PACKET_VNET_HDR: Final = 15
SOL_PACKET: Final = 263
SO_RCVBUFFORCE: Final = 33  # asm-generic/socket.h
ETH_P_ALL: Final = 0x0003
DIRECTIONS: Final = ("forward", "backward")
VNET_LEN: Final = 10
_ETHERTYPE_AT: Final = VNET_LEN + 12
_IPV4, _IPV6 = 0x0800, 0x86DD
_ICMPV6: Final = 58
_NEIGHBOURS: Final = range(133, 138)
"""Types of router and neighbour discovery (RFC 4861)."""
_FRAME_MAX: Final = 70_000


@dataclass(frozen=True, slots=True)
class Condition:
    """What happens to packets of one direction."""

    loss: float = 0.0
    delay_s: float = 0.0
    dscp: int | None = None


def is_traffic(frame: bytes) -> bool:
    """Whether it is an IP packet that is not part of finding neighbours; `frame` begins with a virtio_net_hdr."""
    if len(frame) < _ETHERTYPE_AT + 2:
        return False
    (ethertype,) = struct.unpack_from("!H", frame, _ETHERTYPE_AT)
    if ethertype == _IPV4:
        return True
    at = _ETHERTYPE_AT + 2
    if ethertype != _IPV6 or len(frame) < at + 41:
        return False
    return not (frame[at + 6] == _ICMPV6 and frame[at + 40] in _NEIGHBOURS)


def remarked(frame: bytes, dscp: int) -> bytes:
    """The same with another DSCP, if it is an IPv4 packet; the checksum of its header is mended (RFC 1624)."""
    at = _ETHERTYPE_AT + 2
    if struct.unpack_from("!H", frame, _ETHERTYPE_AT)[0] != _IPV4:
        return frame
    changed = bytearray(frame)
    before, checksum = struct.unpack_from("!H", frame, at)[0], struct.unpack_from("!H", frame, at + 10)[0]
    changed[at + 1] = dscp << 2 | changed[at + 1] & 3
    total = (~checksum & 0xFFFF) + (~before & 0xFFFF) + struct.unpack_from("!H", changed, at)[0]
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    struct.pack_into("!H", changed, at + 10, ~total & 0xFFFF)
    return bytes(changed)


class Wire:
    """Both ends, their conditions, and packets that wait for their time."""

    def __init__(self, first: str, second: str) -> None:
        self._ends = [_opened(first), _opened(second)]
        self._conditions = {direction: Condition() for direction in DIRECTIONS}
        self._random = {direction: random.Random(direction) for direction in DIRECTIONS}  # noqa: S311  (it draws fates)
        self._waiting: list[tuple[float, int, int, bytes]] = []
        self._order = 0

    def run(self) -> None:
        """Forward until the input ends."""
        while True:
            timeout_s = max(0.0, self._waiting[0][0] - time.monotonic()) if self._waiting else None
            readable, _, _ = select.select([sys.stdin, *self._ends], [], [], timeout_s)
            self._send_due()
            for number, end in enumerate(self._ends):
                if end in readable:
                    self._receive(number)
            if sys.stdin in readable and not self._command():
                return

    def _command(self) -> bool:
        line = sys.stdin.readline()
        if not line:
            return False
        for direction, condition in json.loads(line).items():
            self._conditions[direction] = Condition(**condition)
        sys.stdout.write("ok\n")
        sys.stdout.flush()
        return True

    def _receive(self, number: int) -> None:
        direction = DIRECTIONS[number]
        condition, draw = self._conditions[direction], self._random[direction]
        while True:
            try:
                frame, address = self._ends[number].recvfrom(_FRAME_MAX)
            except BlockingIOError:
                return
            except OSError:  # ENETDOWN is told once when an interface goes down; the socket stays usable
                continue
            if address[2] == PACKET_OUTGOING:
                continue
            if not is_traffic(frame) or condition == Condition():
                self._send(1 - number, frame)
            elif draw.random() >= condition.loss:
                if condition.dscp is not None:
                    frame = remarked(frame, condition.dscp)
                due = time.monotonic() + condition.delay_s
                heapq.heappush(self._waiting, (due, self._order, 1 - number, frame))
                self._order += 1

    def _send_due(self) -> None:
        while self._waiting and self._waiting[0][0] <= time.monotonic():
            _, _, number, frame = heapq.heappop(self._waiting)
            self._send(number, frame)

    def _send(self, number: int, frame: bytes) -> None:
        try:
            self._ends[number].send(frame)
        except OSError:  # the interface is down, or its queue is full: the frame is gone, as on a real wire
            return


def _opened(device: str) -> socket.socket:
    end = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
    end.setsockopt(SOL_PACKET, PACKET_VNET_HDR, 1)
    end.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, 8 << 20)
    end.bind((device, ETH_P_ALL))
    end.setblocking(False)
    return end


def main() -> None:
    wire = Wire(*sys.argv[1:])
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    wire.run()


if __name__ == "__main__":
    main()
