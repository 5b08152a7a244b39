"""THE table of metrics: every name, unit and meaning that any output of a measurement has.

Theory of operation. `METRICS` has one row for each thing that a measurement can say. Text, JSON, its schema, conditions
and documents iterate the table, so a metric exists in all of them or in none. A row's name is one of the packet plane's
catalogue (a test compares both lists) unless the row is `derived`; a row with a `read` combines several, or knows a
reason why the value cannot be known.

Read first: RFC 2681, 6673, 7679 and 7680 (delay and loss), 5481 (delay variation), 3357 (loss patterns), 4737
(reordering), 5560 (duplication), 3550 section 6.4.1 (jitter), 2330 section 11.3 (percentiles).
"""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass
from enum import StrEnum
from functools import partial
from typing import TYPE_CHECKING

from twoway.analysis import reading
from twoway.analysis.reading import DUPLICATES, REJECTED, Spread, Unknown
from twoway.tlvs import SYNC_SOURCES

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from twoway.analysis.result import Summary


class Unit(StrEnum):
    """What a value counts."""

    PACKETS = "packets"
    NANOSECONDS = "ns"
    RATIO = "ratio"
    EVENTS = "events"
    STATE = "state"
    NUMBER = "number"
    TEXT = "text"


_TIMES = ((1_000_000_000, "s"), (1_000_000, "ms"), (1_000, "µs"))


def unit_for(value_ns: float) -> tuple[int, str]:
    """The unit in which a person reads a time: how many nanoseconds it is, and what it is called."""
    return next((unit for unit in _TIMES if abs(value_ns) >= unit[0]), (1, "ns"))


class Direction(StrEnum):
    """Which way a metric is about: `forward` is from the Session-Sender to the Session-Reflector."""

    NONE = "-"
    ROUND_TRIP = "round trip"
    FORWARD = "forward"
    BACKWARD = "backward"
    UNATTRIBUTED = "unattributed"


class Kind(StrEnum):
    """How values of adjoining spans combine: counters add, distributions and tallies merge."""

    COUNTER = "counter"
    DISTRIBUTION = "distribution"
    TALLY = "tally"
    FACT = "fact"
    RATIO = "ratio"


class Section(StrEnum):
    """Where a metric stands in the JSON document."""

    PACKETS = "packets"
    RATIOS = "ratios"
    DELAY = "delay"
    VARIATION = "variation"
    MARKS = "marks"
    CLOCK = "clock"
    TLVS = "tlvs"
    TOOL = "tool"


SECTIONS: Mapping[Section, str] = {
    Section.PACKETS: "What became of each packet: sent = received + late + lost + pending.",
    Section.RATIOS: "Counters in proportion to each other, 0 to 1.",
    Section.DELAY: "Delay of the packets received within the timeout: late and lost ones are in no percentile.",
    Section.VARIATION: "Differences of delays, which no offset between the two clocks disturbs.",
    Section.MARKS: "TTL (hop limit) and traffic class, as seen at the far end and on return: value and packets.",
    Section.CLOCK: "What both ends say about their clocks, and so about one-way delay.",
    Section.TLVS: "What came of the STAMP TLVs that were asked for: nothing of it is there unless it was.",
    Section.TOOL: "The measuring end's own faults and limits, never the network's.",
}

Value = int | float | str | dict[int, int] | Spread | Unknown


@dataclass(frozen=True, slots=True)
class Metric:
    """One row of the table."""

    name: str
    """Its key in JSON and everywhere else; in the packet plane's catalogue too, unless it is `derived`."""
    kind: Kind
    label: str
    """For the report: two or three words."""
    rfc: str
    """Where it is defined; `-` for our own."""
    description: str
    _: KW_ONLY
    section: Section
    unit: Unit = Unit.PACKETS
    direction: Direction = Direction.NONE
    derived: bool = False
    """Whether it comes from other names of the catalogue."""
    read: Callable[[Summary], Value] | None = None
    """How it is read, where that is more than a look-up of its name."""
    part_of: str | None = None
    """The metric of which it is a share."""
    always: bool = False
    """Whether a report shows it when it is 0."""
    shown: bool = True
    """Whether a report for people has it at all."""
    condition: str | None = None
    """Its name in a condition (`--fail-if`); a counter and its ratio may share one."""
    statistic: str = "mean"
    """Which statistic of a distribution a condition means that names none."""

    def value(self, summary: Summary) -> Value:
        """Its value in `summary`."""
        if self.read is not None:
            return self.read(summary)
        match self.kind:
            case Kind.COUNTER:
                return summary.counter(self.name)
            case Kind.FACT:
                fact = summary.fact(self.name)
                return Unknown(reading.no_value(summary)) if fact is None else fact
            case _:
                return reading.spread_of(self.name)(summary)

    def number(self, summary: Summary) -> int | float | Unknown:
        """The value of a counter, ratio, or fact that is a number."""
        value = self.value(summary)
        if isinstance(value, (int, float, Unknown)):
            return value
        raise TypeError(f"{self.name} is a {self.kind}")

    def spread(self, summary: Summary) -> Spread | Unknown:
        """The value of a distribution."""
        value = self.value(summary)
        if isinstance(value, (Spread, Unknown)):
            return value
        raise TypeError(f"{self.name} is a {self.kind}")

    def tally(self, summary: Summary) -> dict[int, int]:
        """The value of a tally: value -> how often."""
        value = self.value(summary)
        if isinstance(value, dict):
            return value
        raise TypeError(f"{self.name} is a {self.kind}")


# The table, a section at a time.

# Rows stand as a table, unformatted: name, kind, label, RFC; what it means; how it is read and shown.
# fmt: off
_row = partial(Metric, section=Section.PACKETS)
_PACKETS: tuple[Metric, ...] = (
    _row("sent", Kind.COUNTER, "sent", "RFC 8913 sent-packets",
        "Packets that left this host.",
        always=True),
    _row("received", Kind.COUNTER, "received", "RFC 6673 section 4",
        "Packets whose first reply came within the timeout.",
        always=True),
    _row("lost", Kind.COUNTER, "lost", "RFC 6673 section 4",
        "Packets without any reply until twice the timeout, or the end of the test-session. Of an interval: as far as "
        "that passed in it.",
        always=True, condition="lost"),
    _row("lost_forward", Kind.COUNTER, "forward", "RFC 7680",
        "Lost on the way to the reflector, by the reflector's own numbering. In the interval in which that became "
        "known.",
        direction=Direction.FORWARD, part_of="lost", condition="lost-forward"),
    _row("lost_backward", Kind.COUNTER, "backward", "RFC 7680",
        "Reflected, and lost on the way back, by the reflector's own numbering.",
        direction=Direction.BACKWARD, part_of="lost", condition="lost-backward"),
    _row("lost_unattributed", Kind.COUNTER, "direction unknown", "RFC 6673 section 4",
        "Lost, and nothing tells in which direction (no numbering by the reflector, or no reply after them).",
        direction=Direction.UNATTRIBUTED, part_of="lost"),
    _row("late", Kind.COUNTER, "late", "RFC 7680 section 2.4",
        "Packets whose first reply came after the timeout: in the loss ratio, but not in lost.",
        condition="late"),
    _row("pending", Kind.COUNTER, "pending", "RFC 7680 section 2.8.2",
        "Packets younger than their timeout when the summary was made: neither received nor lost."),
    _row("duplicates", Kind.COUNTER, "duplicates", "RFC 5560",
        "Replies to a packet that had one already.",
        derived=True, read=reading.total_of(*DUPLICATES), condition="duplicates"),
    _row("duplicates_forward", Kind.COUNTER, "forward", "RFC 5560",
        "Replies to a packet that had one already: duplicated on the way to the reflector.",
        direction=Direction.FORWARD, part_of="duplicates"),
    _row("duplicates_backward", Kind.COUNTER, "backward", "RFC 5560",
        "Replies to a packet that had one already: duplicated on the way back.",
        direction=Direction.BACKWARD, part_of="duplicates"),
    _row("duplicates_unattributed", Kind.COUNTER, "direction unknown", "RFC 5560",
        "Replies to a packet that had one already, in a direction that nothing tells.",
        direction=Direction.UNATTRIBUTED, part_of="duplicates"),
    _row("reordered_round_trip", Kind.COUNTER, "reordered", "RFC 4737 section 3.3",
        "First replies that came after one to a later packet.",
        direction=Direction.ROUND_TRIP, condition="reordered"),
    _row("reordered_forward", Kind.COUNTER, "forward", "RFC 4737 section 3.3",
        "Packets that reached the reflector after a later one.",
        direction=Direction.FORWARD, read=reading.by_direction("reordered_forward"),
        part_of="reordered_round_trip"),
    _row("reordered_backward", Kind.COUNTER, "backward", "RFC 4737 section 3.3",
        "Replies that came after one that the reflector had sent later.",
        direction=Direction.BACKWARD, read=reading.by_direction("reordered_backward"),
        part_of="reordered_round_trip"),
    _row("loss_bursts", Kind.TALLY, "loss bursts", "RFC 3357 section 6",
        "Runs of consecutive lost packets: length of the run in packets, and how many there were.",
        derived=True, read=lambda summary: summary.loss_bursts),
    _row("rejected", Kind.COUNTER, "rejected", "-",
        "Datagrams that came to our port and are no reply to any packet in flight.",
        derived=True, read=reading.total_of(*REJECTED)),
    _row("rejected_short", Kind.COUNTER, "too short", "-",
        "Too short for the reply expected.",
        part_of="rejected"),
    _row("rejected_hmac", Kind.COUNTER, "wrong HMAC", "RFC 8762 section 4.4",
        "Not authentic: wrong key, or changed on the way.",
        part_of="rejected"),
    _row("rejected_mismatch", Kind.COUNTER, "not ours", "-",
        "From the right address, but not an answer to what was sent: SSID, timestamp or shape.",
        part_of="rejected"),
    _row("rejected_micro_session", Kind.COUNTER, "other member link", "RFC 9534 section 3.2",
        "By another member link than its packet was sent by, or of a reflector whose identifier has changed.",
        part_of="rejected"),
    _row("rejected_unknown_sequence", Kind.COUNTER, "sequence never sent", "-",
        "With a sequence number that was never sent.",
        part_of="rejected"),
    _row("rejected_expired", Kind.COUNTER, "after the verdict", "-",
        "To a packet already counted as lost.",
        part_of="rejected"),
    _row("icmp_errors", Kind.COUNTER, "ICMP errors", "-",
        "ICMP or ICMPv6 errors that came back for our packets.",
        unit=Unit.EVENTS),
    _row("last_sequence", Kind.FACT, "last sequence", "RFC 8913 last-sent-seq",
        "Sequence number of the last packet sent.",
        unit=Unit.NUMBER, read=reading.fact_of("last_sequence", reading.not_sent), shown=False),
)

_row = partial(Metric, section=Section.RATIOS)
_RATIOS: tuple[Metric, ...] = (
    _row("loss_ratio", Kind.RATIO, "loss", "RFC 6673 section 6.1",
        "Packets not back within the timeout (lost and late) of those whose fate is known.",
        derived=True, unit=Unit.RATIO, direction=Direction.ROUND_TRIP,
        read=reading.share_of(("late", "lost"), ("received", "late", "lost")), condition="loss"),
    _row("loss_forward_ratio", Kind.RATIO, "loss forward", "RFC 7680 section 4.1",
        "Packets lost on the way to the reflector, of those whose direction of loss is known.",
        derived=True, unit=Unit.RATIO, direction=Direction.FORWARD,
        read=reading.loss_of("forward", "lost_forward", "lost_backward"), condition="loss-forward"),
    _row("loss_backward_ratio", Kind.RATIO, "loss backward", "RFC 6673 section 7",
        "Packets lost on the way back, of those that reached the reflector.",
        derived=True, unit=Unit.RATIO, direction=Direction.BACKWARD,
        read=reading.loss_of("backward", "lost_backward"), condition="loss-backward"),
    _row("late_ratio", Kind.RATIO, "late", "RFC 7680 section 2.4",
        "Packets whose first reply came after the timeout, of those whose fate is known.",
        derived=True, unit=Unit.RATIO, direction=Direction.ROUND_TRIP,
        read=reading.share_of(("late",), ("received", "late", "lost")), condition="late"),
    _row("duplicates_ratio", Kind.RATIO, "duplicates", "RFC 5560 section 5",
        "Duplicates in proportion to packets with at least one reply; may exceed 1.",
        derived=True, unit=Unit.RATIO, direction=Direction.ROUND_TRIP,
        read=reading.share_of(DUPLICATES, ("received", "late")), condition="duplicates"),
    _row("reordered_ratio", Kind.RATIO, "reordered", "RFC 4737 section 4.1",
        "Reordered packets of those received within the timeout.",
        derived=True, unit=Unit.RATIO, direction=Direction.ROUND_TRIP,
        read=reading.share_of(("reordered_round_trip",), ("received",)), condition="reordered"),
)

_row = partial(Metric, section=Section.DELAY)
_DELAY: tuple[Metric, ...] = (
    _row("round_trip", Kind.DISTRIBUTION, "round trip", "RFC 2681",
        "(T4 - T1) - (T3 - T2): the network's share, without the time inside the reflector.",
        unit=Unit.NANOSECONDS, direction=Direction.ROUND_TRIP, condition="rtt", statistic="mean"),
    _row("forward", Kind.DISTRIBUTION, "forward", "RFC 7679",
        "T2 - T1, where both clocks can carry it (see one_way_error_bound_ns).",
        unit=Unit.NANOSECONDS, direction=Direction.FORWARD, read=reading.one_way("forward"), condition="forward"),
    _row("backward", Kind.DISTRIBUTION, "backward", "RFC 7679",
        "T4 - T3, where both clocks can carry it (see one_way_error_bound_ns).",
        unit=Unit.NANOSECONDS, direction=Direction.BACKWARD, read=reading.one_way("backward"),
        condition="backward"),
    _row("forward_with_offset", Kind.DISTRIBUTION, "forward with offset", "RFC 7679 section 3.7.1",
        "T2 - T1 as read from both clocks: includes their unknown offset, and may be negative.",
        derived=True, unit=Unit.NANOSECONDS, direction=Direction.FORWARD, shown=False,
        read=reading.spread_of("forward")),
    _row("backward_with_offset", Kind.DISTRIBUTION, "backward with offset", "RFC 7679 section 3.7.1",
        "T4 - T3 as read from both clocks: includes their unknown offset, and may be negative.",
        derived=True, unit=Unit.NANOSECONDS, direction=Direction.BACKWARD, shown=False,
        read=reading.spread_of("backward")),
    _row("residence", Kind.DISTRIBUTION, "in reflector", "RFC 6673 section 4.4",
        "T3 - T2: from arrival to departure at the reflector, by its own clock.",
        unit=Unit.NANOSECONDS, direction=Direction.NONE, condition="residence"),
)

_row = partial(Metric, section=Section.VARIATION)
_VARIATION: tuple[Metric, ...] = (
    _row("pdv_round_trip", Kind.DISTRIBUTION, "PDV round trip", "RFC 5481 section 4.2",
        "Round trip delay above the smallest of the same span; relative_error is of the delay itself.",
        derived=True, unit=Unit.NANOSECONDS, direction=Direction.ROUND_TRIP,
        read=reading.above_minimum("round_trip"), condition="pdv", statistic="p99"),
    _row("pdv_forward", Kind.DISTRIBUTION, "PDV forward", "RFC 5481 section 4.2",
        "Forward delay above the smallest of the same span; relative_error is of the delay itself.",
        derived=True, unit=Unit.NANOSECONDS, direction=Direction.FORWARD, read=reading.above_minimum("forward"),
        condition="pdv-forward", statistic="p99"),
    _row("pdv_backward", Kind.DISTRIBUTION, "PDV backward", "RFC 5481 section 4.2",
        "Backward delay above the smallest of the same span; relative_error is of the delay itself.",
        derived=True, unit=Unit.NANOSECONDS, direction=Direction.BACKWARD, read=reading.above_minimum("backward"),
        condition="pdv-backward", statistic="p99"),
    _row("ipdv_round_trip", Kind.DISTRIBUTION, "IPDV round trip", "RFC 5481 section 4.1",
        "Difference of round trip delay to the packet sent just before; signed.",
        unit=Unit.NANOSECONDS, direction=Direction.ROUND_TRIP, condition="ipdv", statistic="p99"),
    _row("ipdv_forward", Kind.DISTRIBUTION, "IPDV forward", "RFC 5481 section 4.1",
        "Difference of forward delay to the packet sent just before; signed.",
        unit=Unit.NANOSECONDS, direction=Direction.FORWARD, condition="ipdv-forward", statistic="p99"),
    _row("ipdv_backward", Kind.DISTRIBUTION, "IPDV backward", "RFC 5481 section 4.1",
        "Difference of backward delay to the packet sent just before; signed.",
        unit=Unit.NANOSECONDS, direction=Direction.BACKWARD, condition="ipdv-backward", statistic="p99"),
    _row("jitter_round_trip_ns", Kind.FACT, "jitter round trip", "RFC 3550 section 6.4.1",
        "Smoothed interarrival jitter of round trip delay at the end of the span.",
        unit=Unit.NANOSECONDS, direction=Direction.ROUND_TRIP, condition="jitter"),
    _row("jitter_forward_ns", Kind.FACT, "jitter forward", "RFC 3550 section 6.4.1",
        "Smoothed interarrival jitter of forward delay at the end of the span.",
        unit=Unit.NANOSECONDS, direction=Direction.FORWARD, condition="jitter-forward"),
    _row("jitter_backward_ns", Kind.FACT, "jitter backward", "RFC 3550 section 6.4.1",
        "Smoothed interarrival jitter of backward delay at the end of the span.",
        unit=Unit.NANOSECONDS, direction=Direction.BACKWARD, condition="jitter-backward"),
)

_row = partial(Metric, section=Section.MARKS)
_MARKS: tuple[Metric, ...] = (
    _row("far_ttl", Kind.TALLY, "TTL at the far end", "RFC 8762 section 4.3",
        "TTL or hop limit of our packets as the reflector saw it.",
        derived=True, unit=Unit.NUMBER, direction=Direction.FORWARD,
        read=lambda summary: summary.ttls.get("far", {})),
    _row("returned_ttl", Kind.TALLY, "TTL on return", "-",
        "TTL or hop limit of the replies as they came here.",
        derived=True, unit=Unit.NUMBER, direction=Direction.BACKWARD,
        read=lambda summary: summary.ttls.get("returned", {})),
    _row("far_dscp_ecn", Kind.TALLY, "DSCP/ECN at the far end", "RFC 7750",
        "Traffic class octet (DSCP and ECN) of our packets as the reflector saw it (monitoring, or Class of Service).",
        derived=True, unit=Unit.NUMBER, direction=Direction.FORWARD,
        read=lambda summary: summary.dscp_ecns.get("far", {})),
    _row("returned_dscp_ecn", Kind.TALLY, "DSCP/ECN on return", "-",
        "Traffic class octet (DSCP and ECN) of the replies as they came here.",
        derived=True, unit=Unit.NUMBER, direction=Direction.BACKWARD,
        read=lambda summary: summary.dscp_ecns.get("returned", {})),
)

_row = partial(Metric, section=Section.CLOCK)
_CLOCK: tuple[Metric, ...] = (
    _row("local_synchronized", Kind.FACT, "local clock", "RFC 4656 section 4.1.2",
        "Whether the kernel says that the clock here is synchronised to UTC (its S bit).",
        unit=Unit.STATE, read=reading.fact_of("local_synchronized", lambda _: "the kernel does not say")),
    _row("far_synchronized", Kind.FACT, "far clock", "RFC 4656 section 4.1.2",
        "Whether every reply said that the reflector's clock is synchronised to UTC (its S bit).",
        unit=Unit.STATE),
    _row("local_error_ns", Kind.FACT, "local error", "RFC 4656 section 4.1.2",
        "Largest error of the clock here, by the kernel.",
        unit=Unit.NANOSECONDS, read=reading.fact_of("local_error_ns", lambda _: "the kernel does not say")),
    _row("far_error_ns", Kind.FACT, "far error", "RFC 4656 section 4.1.2",
        "Largest Error Estimate in the replies: how wrong the reflector says T2 and T3 may be.",
        unit=Unit.NANOSECONDS, read=reading.fact_of("far_error_ns", reading.far_error)),
    _row("one_way_error_bound_ns", Kind.FACT, "one-way error", "RFC 7679 section 3.7.1",
        "local_error_ns + far_error_ns: bound of the error of each one-way delay; only between "
        "synchronised clocks.",
        unit=Unit.NANOSECONDS, read=reading.error_bound),
    _row("reflector_stateful", Kind.FACT, "reflector numbers replies", "RFC 8762 section 4.3",
        "Whether the reflector numbers its replies itself, which is what attributes loss to a direction.",
        unit=Unit.STATE, read=reading.fact_of("reflector_stateful", reading.no_numbering)),
    _row("clock_steps", Kind.COUNTER, "clock steps", "-",
        "Times that the clock here was stepped while measuring.",
        unit=Unit.EVENTS),
    _row("clock_step_affected", Kind.COUNTER, "affected by clock steps", "-",
        "Packets in flight during a step: their one-way delays are marked."),
    _row("far_unsynchronized", Kind.COUNTER, "far clock unsynchronised", "RFC 4656 section 4.1.2",
        "Replies that said the reflector's clock is not synchronised."),
    _row("far_error_estimate_invalid", Kind.COUNTER, "far Error Estimate invalid", "RFC 4656 section 4.1.2",
        "Replies with an Error Estimate of multiplier 0, which says nothing."),
    _row("far_timestamps_unusable", Kind.COUNTER, "far timestamps unusable", "RFC 8762 section 4.2.1",
        "Replies whose T2 or T3 cannot be a time: they are received, and none of their delays is known."),
)

_SYNC_SOURCES = dict(enumerate(SYNC_SOURCES, 1))
_TIMESTAMPING = dict(enumerate(("hardware-assist", "software-local", "control-plane"), 1))
_row = partial(Metric, section=Section.TLVS)
_TLVS: tuple[Metric, ...] = (
    _row("followed_up", Kind.COUNTER, "T3 followed up", "RFC 8972 section 4.7",
        "Replies whose T3 is the reflector's own transmit stamp, told by the reply after them (Follow-Up Telemetry)."),
    _row("not_followed_up", Kind.COUNTER, "T3 not followed up", "RFC 8972 section 4.7",
        "Replies that keep the T3 they came with, because no later one told when they left in time."),
    _row("follow_up_correction", Kind.DISTRIBUTION, "T3 corrected by", "RFC 8972 section 4.7",
        "What Follow-Up Telemetry moved T3 by: how wrong the T3 in the replies was.",
        unit=Unit.NANOSECONDS, direction=Direction.BACKWARD, read=reading.asked_spread("follow_up_correction")),
    _row("direct_sent", Kind.COUNTER, "counted sent", "RFC 8972 section 4.5",
        "Test packets sent from the first reply with Direct Measurement to the last, by this end's count.",
        direction=Direction.FORWARD),
    _row("direct_received", Kind.COUNTER, "counted received there", "RFC 8972 section 4.5",
        "Of direct_sent, those that the reflector counted as received.",
        direction=Direction.FORWARD),
    _row("direct_reflected", Kind.COUNTER, "counted sent there", "RFC 8972 section 4.5",
        "Replies that the reflector counted as sent in the same time.",
        direction=Direction.BACKWARD),
    _row("direct_returned", Kind.COUNTER, "counted received", "RFC 8972 section 4.5",
        "Of direct_reflected, those received here.",
        direction=Direction.BACKWARD),
    _row("direct_loss_forward_ratio", Kind.RATIO, "counted loss forward", "RFC 8972 section 4.5",
        "Loss on the way to the reflector by the counters of both ends: 1 - direct_received / direct_sent.",
        derived=True, unit=Unit.RATIO, direction=Direction.FORWARD,
        read=reading.missing_of("direct_received", "direct_sent"), condition="direct-loss-forward"),
    _row("direct_loss_backward_ratio", Kind.RATIO, "counted loss backward", "RFC 8972 section 4.5",
        "Loss on the way back by the counters of both ends: 1 - direct_returned / direct_reflected.",
        derived=True, unit=Unit.RATIO, direction=Direction.BACKWARD,
        read=reading.missing_of("direct_returned", "direct_reflected"), condition="direct-loss-backward"),
    _row("remarked_forward", Kind.COUNTER, "remarked forward", "RFC 8972 section 4.4",
        "Replies that say that our packet came with another DSCP than it was sent with (Class of Service).",
        direction=Direction.FORWARD, condition="remarked-forward"),
    _row("remarked_backward", Kind.COUNTER, "remarked backward", "RFC 8972 section 4.4",
        "Replies that came with another DSCP than the reflector sent them with (Class of Service).",
        direction=Direction.BACKWARD, condition="remarked-backward"),
    _row("dscp_refused", Kind.COUNTER, "DSCP refused", "RFC 8972 section 4.4",
        "Replies whose DSCP the reflector's policy did not let us choose: nothing tells of the way back."),
    _row("location_source", Kind.FACT, "seen there from", "RFC 8972 section 4.2",
        "Source address of our packets as the reflector last saw it: another than ours is a NAT's.",
        derived=True, unit=Unit.TEXT, direction=Direction.FORWARD, read=reading.location_of("source")),
    _row("location_source_port", Kind.FACT, "from port", "RFC 8972 section 4.2",
        "UDP source port of our packets as the reflector last saw it.",
        derived=True, unit=Unit.NUMBER, direction=Direction.FORWARD, read=reading.location_of("source_port")),
    _row("location_destination", Kind.FACT, "to", "RFC 8972 section 4.2",
        "Destination address of our packets as the reflector last saw it: another than the target is behind a NAT.",
        derived=True, unit=Unit.TEXT, direction=Direction.FORWARD, read=reading.location_of("destination")),
    _row("location_destination_port", Kind.FACT, "to port", "RFC 8972 section 4.2",
        "UDP destination port of our packets as the reflector last saw it.",
        derived=True, unit=Unit.NUMBER, direction=Direction.FORWARD, read=reading.location_of("destination_port")),
    _row("location_source_mac", Kind.FACT, "last hop", "RFC 8972 section 4.2",
        "MAC address that our packets last reached the reflector from: another one is another way.",
        derived=True, unit=Unit.TEXT, direction=Direction.FORWARD, read=reading.location_of("source_mac")),
    _row("location_changes", Kind.COUNTER, "location changes", "RFC 8972 section 4.2",
        "Times that a reply told another Location than the one before: the way or a NAT's mapping has changed.",
        unit=Unit.EVENTS, direction=Direction.FORWARD, condition="location-changes"),
    _row("far_sync_source_in", Kind.FACT, "T2 clock", "RFC 8972 section 5.4",
        "What the clock follows that the reflector takes T2 from.",
        unit=Unit.TEXT, read=reading.name_of("far_sync_source_in", _SYNC_SOURCES)),
    _row("far_timestamp_in", Kind.FACT, "T2 taken", "RFC 8972 section 5.5",
        "How the reflector takes T2.",
        unit=Unit.TEXT, read=reading.name_of("far_timestamp_in", _TIMESTAMPING)),
    _row("far_sync_source_out", Kind.FACT, "T3 clock", "RFC 8972 section 5.4",
        "What the clock follows that the reflector takes T3 from.",
        unit=Unit.TEXT, read=reading.name_of("far_sync_source_out", _SYNC_SOURCES)),
    _row("far_timestamp_out", Kind.FACT, "T3 taken", "RFC 8972 section 5.5",
        "How the reflector takes T3.",
        unit=Unit.TEXT, read=reading.name_of("far_timestamp_out", _TIMESTAMPING)),
    _row("access_reports_sent", Kind.COUNTER, "access reports", "RFC 8972 section 4.6",
        "Access Reports sent, each time they were.",
        unit=Unit.EVENTS),
    _row("access_reports_acknowledged", Kind.COUNTER, "acknowledged", "RFC 8972 section 4.6",
        "Access Reports that the reflector acknowledged.",
        unit=Unit.EVENTS, part_of="access_reports_sent"),
    _row("access_reports_abandoned", Kind.COUNTER, "given up", "RFC 8972 section 4.6",
        "Access Reports given up because no retransmission was acknowledged.",
        unit=Unit.EVENTS, part_of="access_reports_sent"),
    _row("return_path_refused", Kind.COUNTER, "return path refused", "RFC 9503 section 4",
        "Replies that took the ordinary way instead of the one asked for."),
    _row("other_node", Kind.COUNTER, "another node", "RFC 9503 section 3",
        "Replies of another node than the one whose address was asked for."),
    _row("further_expected", Kind.COUNTER, "further replies expected", "RFC 10052 section 3",
        "Replies beyond the first that the reflector said to send for a packet.",
        direction=Direction.BACKWARD),
    _row("further_replies", Kind.COUNTER, "further replies", "RFC 10052 section 3",
        "Replies beyond the first that came.",
        direction=Direction.BACKWARD),
    _row("further_loss_ratio", Kind.RATIO, "loss of further replies", "RFC 10052 section 3",
        "Further replies that did not come: 1 - further_replies / further_expected.",
        derived=True, unit=Unit.RATIO, direction=Direction.BACKWARD,
        read=reading.missing_of("further_replies", "further_expected"), condition="further-loss"),
    _row("further_backward", Kind.DISTRIBUTION, "further backward", "RFC 10052 section 3",
        "T4 - T3 of the replies beyond the first, with the offset between both clocks.",
        unit=Unit.NANOSECONDS, direction=Direction.BACKWARD, read=reading.asked_spread("further_backward")),
    _row("control_refused", Kind.COUNTER, "control refused", "RFC 10052 section 3",
        "Replies that are not as many, as long or as far apart as they were asked for."),
    _row("headers_reflected", Kind.COUNTER, "headers reflected", "draft-ietf-ippm-stamp-ext-hdr",
        "IP headers of our packets that came back as they arrived at the reflector."),
    _row("headers_refused", Kind.COUNTER, "headers not reflected", "draft-ietf-ippm-stamp-ext-hdr",
        "IP headers of our packets that the reflector could not give back."),
)

_row = partial(Metric, section=Section.TOOL)
_TOOL: tuple[Metric, ...] = (
    _row("t1_hardware", Kind.COUNTER, "T1 hardware", "-",
        "Packets answered whose departure (T1) was stamped by the network card."),
    _row("t1_kernel", Kind.COUNTER, "T1 kernel", "-",
        "Packets answered whose departure (T1) was stamped by the kernel."),
    _row("t1_user", Kind.COUNTER, "T1 user", "-",
        "Packets answered whose departure (T1) was stamped by user space, when this process got to run."),
    _row("t4_hardware", Kind.COUNTER, "T4 hardware", "-",
        "Packets answered whose arrival (T4) was stamped by the network card."),
    _row("t4_kernel", Kind.COUNTER, "T4 kernel", "-",
        "Packets answered whose arrival (T4) was stamped by the kernel."),
    _row("t4_user", Kind.COUNTER, "T4 user", "-",
        "Packets answered whose arrival (T4) was stamped by user space, when this process got to run."),
    _row("send_lateness", Kind.DISTRIBUTION, "send lateness", "-",
        "Departure after the scheduled moment.",
        unit=Unit.NANOSECONDS, direction=Direction.NONE, read=reading.spread_of("send_lateness", reading.not_sent),
        statistic="p99", condition="send-lateness"),
    _row("not_sent", Kind.COUNTER, "not sent", "-",
        "Packets due that did not leave: missed_slots and send_errors.",
        condition="not-sent"),
    _row("missed_slots", Kind.COUNTER, "missed slots", "-",
        "Packets not sent because their moment had passed before this process got to run.",
        part_of="not_sent"),
    _row("send_errors", Kind.COUNTER, "send errors", "-",
        "Packets that the kernel refused to send.",
        part_of="not_sent"),
    _row("socket_drops", Kind.COUNTER, "socket drops", "-",
        "Replies that the kernel dropped because our socket's buffer was full: they look like loss.",
        always=True, condition="socket-drops"),
    _row("samples_dropped", Kind.COUNTER, "samples dropped", "-",
        "Per-packet rows not kept because nobody took them in time; counters and distributions have them all."),
    _row("ssid_zero", Kind.COUNTER, "replies without SSID", "RFC 8972 section 3",
        "Replies with SSID 0 although one was sent: the reflector knows RFC 8762 only."),
    _row("tlv_unrecognized", Kind.COUNTER, "TLVs unrecognised", "RFC 8972 section 4",
        "Replies with a TLV that the reflector does not know (U flag)."),
    _row("tlv_malformed", Kind.COUNTER, "TLVs malformed", "RFC 8972 section 4",
        "Replies with a TLV that is malformed, or said to be (M flag)."),
    _row("tlv_integrity_failed", Kind.COUNTER, "TLVs not authentic", "RFC 8972 section 4.8",
        "Replies whose TLVs failed the integrity check, there (I flag) or here: none of them was used."),
    _row("padding_changed", Kind.COUNTER, "padding not reflected", "RFC 6038 section 4.2",
        "Replies without the octets of padding that were negotiated to come back, or with others."),
)
# fmt: on

METRICS: tuple[Metric, ...] = (*_PACKETS, *_RATIOS, *_DELAY, *_VARIATION, *_MARKS, *_CLOCK, *_TLVS, *_TOOL)
"""The table. Order is the order of every output."""

BY_NAME: Mapping[str, Metric] = {metric.name: metric for metric in METRICS}


def in_section(section: Section) -> tuple[Metric, ...]:
    """The rows of one section, in order."""
    return tuple(metric for metric in METRICS if metric.section is section)


def parts(name: str) -> tuple[Metric, ...]:
    """The rows that are shares of metric `name`."""
    return tuple(metric for metric in METRICS if metric.part_of == name)
