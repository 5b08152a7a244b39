"""The impairing forwarder: a two-port bridge that does to UDP packets what a scenario says, and records kernel stamps.

Theory of operation. The middle namespace has one veth end towards the client and one towards the server, without
addresses. On each port one packet socket receives every frame, incoming and outgoing, with the kernel's nanosecond
stamp (`SO_TIMESTAMPNS`), and a second one, bound to no protocol, sends. The kernel hands a frame that the second socket
sends to the first as PACKET_OUTGOING with the stamp of that moment, right before the driver runs. So for each packet
the forwarder knows by the same clock when it came and when it left: the delay that it really added, whatever it meant
to add. ARP, neighbour discovery and everything that is not unfragmented UDP pass unchanged and uncounted.

Run as a program: `python -m netns.forwarder CLIENT_PORT SERVER_PORT SCENARIO|- REPORT`. It writes the line "ready" when
frames flow, runs until SIGTERM, then writes the report, a JSON object with one array of packets for each direction.
"""

import heapq
import json
import os
import select
import signal
import socket
import struct
import sys
import time
from collections import deque
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Final

from .frame import UdpFrame
from .impairment import Departure, ImpairedDirection
from .scenario import DIRECTIONS, load_scenario

SO_TIMESTAMPNS: Final = 35  # asm-generic/socket.h SO_TIMESTAMPNS_OLD: two native longs on 64-bit machines
ETH_P_ALL: Final = 0x0003  # linux/if_ether.h
PACKET_OUTGOING: Final = 4  # linux/if_packet.h
_FRAME_MAX: Final = 65_600
_QUEUE_OCTETS: Final = 8 << 20


def tap_socket(interface: str) -> socket.socket:
    """A non-blocking packet socket that sees every frame of `interface` in both ways, with the kernel's stamps."""
    tap = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
    tap.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
    tap.setsockopt(socket.SOL_SOCKET, 33, _QUEUE_OCTETS)  # asm-generic/socket.h SO_RCVBUFFORCE
    tap.bind((interface, ETH_P_ALL))
    tap.setblocking(False)
    return tap


@dataclass(frozen=True, slots=True)
class TappedFrame:
    """One frame as a tap saw it."""

    octets: bytes
    stamp_ns: int
    """Wall clock, taken by the kernel."""
    outgoing: bool


def read_tap(tap: socket.socket) -> TappedFrame | None:
    """The next frame of a `tap_socket`, None when there is none."""
    try:
        octets, ancillary, _, address = tap.recvmsg(_FRAME_MAX, socket.CMSG_SPACE(16))
    except BlockingIOError:
        return None
    stamp_ns = 0
    for level, kind, value in ancillary:
        if level == socket.SOL_SOCKET and kind == SO_TIMESTAMPNS:
            seconds, nanoseconds = struct.unpack("@ll", value)
            stamp_ns = seconds * 1_000_000_000 + nanoseconds
    return TappedFrame(octets, stamp_ns, address[2] == PACKET_OUTGOING)


@dataclass(slots=True)
class ForwardedPacket:
    """What happened to one packet of one direction."""

    number: int
    in_ns: int
    """Kernel stamp of its arrival, wall clock."""
    out_ns: list[int] = field(default_factory=list)
    """Kernel stamp of each departure (several when duplicated, none when dropped or held for ever)."""


@dataclass(slots=True)
class _Port:
    """One veth end: frames that arrive here travel in `direction`."""

    direction: str
    interface: str
    tap: socket.socket
    sender: socket.socket
    state: ImpairedDirection
    packets: list[ForwardedPacket] = field(default_factory=list)
    sent: deque[ForwardedPacket] = field(default_factory=deque)
    """Packets sent *out of* this port whose departure stamp is still to come, in order."""


class Forwarder:
    """Both ports and the packets waiting for their time."""

    def __init__(self, client_port: str, server_port: str, scenario: str) -> None:
        impairments = () if scenario == "-" else load_scenario(Path(scenario)).impairments
        self.ports: list[_Port] = []
        for direction, interface in zip(DIRECTIONS, (client_port, server_port), strict=True):
            sender = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
            sender.bind((interface, 0))
            state = ImpairedDirection([each for each in impairments if each.direction == direction])
            self.ports.append(_Port(direction, interface, tap_socket(interface), sender, state))
        self._waiting: list[tuple[int, int, int, Departure]] = []
        self._order = 0
        self.send_errors = 0

    def run(self, stop: int) -> None:
        """Forward until `stop` becomes readable."""
        taps = [port.tap for port in self.ports]
        while True:
            timeout_s = None
            if self._waiting:
                timeout_s = max(0, self._waiting[0][0] - time.monotonic_ns()) / 1e9
            watched: list[int | socket.socket] = [stop, *taps]
            readable, _, _ = select.select(watched, [], [], timeout_s)
            self._send_due()
            if stop in readable:
                self._read_stamps()
                return
            for index, port in enumerate(self.ports):
                if port.tap in readable:
                    self._receive(index)

    def _receive(self, index: int) -> None:
        port = self.ports[index]
        while (tapped := self._read(port)) is not None:
            if tapped.outgoing:
                self._note_departure(port, tapped)
                continue
            udp = UdpFrame.parse(tapped.octets)
            if udp is None:
                self._send(self.ports[1 - index], tapped.octets)
                continue
            port.packets.append(ForwardedPacket(port.state.received, tapped.stamp_ns))
            for departure in port.state.arrive(udp, time.monotonic_ns()):
                heapq.heappush(self._waiting, (departure.due_ns, self._order, index, departure))
                self._order += 1
            self._send_due()

    def _send_due(self) -> None:
        while self._waiting and self._waiting[0][0] <= time.monotonic_ns():
            _, _, index, departure = heapq.heappop(self._waiting)
            towards = self.ports[1 - index]
            if self._send(towards, departure.octets):
                towards.sent.append(self.ports[index].packets[departure.number])

    def _send(self, port: _Port, octets: bytes) -> bool:
        try:
            port.sender.send(octets)
        except OSError:  # the test took the interface down: the frame is gone, as on a real wire
            self.send_errors += 1
            return False
        return True

    @staticmethod
    def _read(port: _Port) -> TappedFrame | None:
        while True:
            try:
                return read_tap(port.tap)
            except OSError:  # ENETDOWN is told once when an interface goes down; the socket stays usable
                continue

    def _read_stamps(self) -> None:
        """Take the departure stamps that are still queued."""
        for port in self.ports:
            while (tapped := self._read(port)) is not None:
                if tapped.outgoing:
                    self._note_departure(port, tapped)

    @staticmethod
    def _note_departure(port: _Port, tapped: TappedFrame) -> None:
        if port.sent and UdpFrame.parse(tapped.octets) is not None:
            port.sent.popleft().out_ns.append(tapped.stamp_ns)

    def report(self) -> dict[str, object]:
        """The packets of each direction, and the frames that could not be sent."""
        report: dict[str, object] = {port.direction: [asdict(packet) for packet in port.packets] for port in self.ports}
        report["send_errors"] = self.send_errors
        return report


def main() -> None:
    client_port, server_port, scenario, report = sys.argv[1:]
    stop_reader, stop_writer = os.pipe()
    os.set_blocking(stop_writer, False)
    signal.set_wakeup_fd(stop_writer)
    signal.signal(signal.SIGTERM, lambda *_: None)
    forwarder = Forwarder(client_port, server_port, scenario)
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    forwarder.run(stop_reader)
    Path(report).write_text(json.dumps(forwarder.report()), encoding="utf-8")


if __name__ == "__main__":
    main()
