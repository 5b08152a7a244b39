"""What leaves the forwarder for each packet that enters it: pure decisions, no sockets and no clock.

Impairments of one packet are applied in the order of the scenario file. Changes of octets accumulate, delays add up,
and a drop wins over everything. A reordered packet is held until the given number of later packets of its direction has
left; one that nobody overtakes is never sent (the scenario is at fault, and its counters will show it).
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

from .frame import UdpFrame
from .scenario import Impairment


@dataclass(frozen=True, slots=True)
class Departure:
    """One frame to send."""

    number: int
    """Of the packet in its direction."""
    copy: int
    """0 for the packet itself, 1.. for duplicates."""
    due_ns: int
    """Monotonic time at which it leaves."""
    octets: bytes


@dataclass(slots=True)
class _Held:
    departures: list[Departure]
    behind: int


@dataclass(slots=True)
class ImpairedDirection:
    """The state of one direction: its packet counter and the packets held for reordering."""

    impairments: Sequence[Impairment]
    received: int = 0
    dropped: list[int] = field(default_factory=list)
    _held: list[_Held] = field(default_factory=list)

    def arrive(self, frame: UdpFrame, now_ns: int) -> list[Departure]:
        """Number the packet and say what leaves, in order of leaving."""
        number = self.received
        self.received += 1
        due_ns, copies, behind, dropped = now_ns, 0, 0, False
        for impairment in self.impairments:
            if number not in impairment.packets:
                continue
            match impairment.action:
                case "drop":
                    dropped = True
                case "delay":
                    due_ns += impairment.delay_ns
                case "duplicate":
                    copies += impairment.copies
                case "reorder":
                    behind = impairment.behind
                case "remark":
                    frame.traffic_class = impairment.value
                case "set_ttl":
                    frame.ttl = impairment.value
                case "decrement_ttl":
                    frame.ttl -= impairment.value
                case "corrupt":
                    frame.octets[frame.payload_offset + impairment.offset] ^= impairment.xor
        if dropped:
            self.dropped.append(number)
            return []
        frame.write_checksums()
        octets = bytes(frame.octets)
        leaving = [Departure(number, copy, due_ns, octets) for copy in range(copies + 1)]
        if behind:
            self._held.append(_Held(leaving, behind))
            return []
        return leaving + self._overtaken(now_ns)

    def _overtaken(self, now_ns: int) -> list[Departure]:
        """The held packets which the packet that leaves now was the last to overtake."""
        leaving: list[Departure] = []
        for held in self._held:
            held.behind -= 1
            if held.behind == 0:
                leaving += [Departure(each.number, each.copy, now_ns, each.octets) for each in held.departures]
        self._held = [held for held in self._held if held.behind]
        return leaving
