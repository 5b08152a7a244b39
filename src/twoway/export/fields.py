"""What JSON says beside the metrics: tables of fields, from which the document, its schema and the docs are made.

A field names its JSON type, its unit and how it is read. Integers are exact; times are nanoseconds, wall times since
1970-01-01 00:00 UTC. What cannot be known is null.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Generic, TypeAlias, TypeVar

from twoway.analysis.comparison import COMPARED
from twoway.analysis.timestamps import SOURCES, STAMPS, fell_back

if TYPE_CHECKING:
    from twoway.analysis.comparison import Difference
    from twoway.analysis.reading import Spread
    from twoway.analysis.result import Event, Outage, Result, SessionDescription, Summary

JsonValue: TypeAlias = "bool | int | float | str | Sequence[JsonValue] | Mapping[str, JsonValue] | None"
"""What `json.dumps` takes."""

SCHEMA_VERSION = 1
"""Number of the result's and the records' schema; it changes when a name goes or changes its meaning."""

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Field(Generic[T]):
    """One property of an object."""

    name: str
    type: str
    """A JSON type: `integer`, `number`, `string`, `boolean` or `array`."""
    unit: str
    description: str
    read: Callable[[T], JsonValue]
    optional: bool = False
    """Whether it may be null."""
    values: tuple[str, ...] = ()
    """All values there are, if they are few."""
    bounds: tuple[int | None, int | None] = (None, None)
    items: str = ""
    """The JSON type of the items of an array."""


def document_of(fields: Sequence[Field[T]], subject: T) -> dict[str, JsonValue]:
    """The object that `fields` describe."""
    return {field.name: field.read(subject) for field in fields}


_OCTET = (0, 255)
_PORT = (0, 65535)
_COUNT = (0, None)
_PROTOCOLS = ("stamp", "light", "twamp", "owamp")
_FORMATS = ("stamp", "stamp-authenticated", "twamp", "twamp-authenticated", "twamp-encrypted")

ENDS: tuple[Field[SessionDescription], ...] = (
    Field("protocol", "string", "name", "Test protocol.", lambda s: s.protocol, values=_PROTOCOLS),
    Field("target", "string", "name", "What was asked for: a name or an address.", lambda s: s.target),
    Field("address", "string", "address", "Numeric address measured.", lambda s: s.address),
    Field("port", "integer", "number", "UDP port measured.", lambda s: s.port, bounds=_PORT),
    Field("local_address", "string", "address", "Numeric address of this end.", lambda s: s.local_address),
    Field("local_port", "integer", "number", "UDP port of this end.", lambda s: s.local_port, bounds=_PORT),
)
"""Between which ends."""

REQUESTED: tuple[Field[SessionDescription], ...] = (
    Field("format", "string", "name", "Format of the test packets.", lambda s: s.format, values=_FORMATS),
    Field(
        "ssid",
        "integer",
        "number",
        "STAMP Session-Sender Identifier (RFC 8972 section 3), 0 for none.",
        lambda s: s.ssid,
        bounds=_PORT,
    ),
    Field(
        "dscp_ecn",
        "integer",
        "octet",
        "Traffic class sent: DSCP (upper six bits) and ECN.",
        lambda s: s.dscp_ecn,
        bounds=_OCTET,
    ),
    Field("ttl", "integer", "hops", "TTL or hop limit sent.", lambda s: s.ttl, bounds=_OCTET),
    Field(
        "payload_len", "integer", "octets", "UDP payload of each test packet.", lambda s: s.payload_len, bounds=_COUNT
    ),
    Field(
        "interval_ns",
        "integer",
        "ns",
        "Between departures; the mean of it in a Poisson schedule.",
        lambda s: s.interval_ns,
        bounds=_COUNT,
    ),
    Field(
        "schedule", "string", "name", "How departures are spaced.", lambda s: s.schedule, values=("periodic", "poisson")
    ),
    Field(
        "count",
        "integer",
        "packets",
        "Packets asked for; null: until stopped.",
        lambda s: s.count,
        optional=True,
        bounds=_COUNT,
    ),
    Field(
        "timeout_ns",
        "integer",
        "ns",
        "A packet without reply after this is late; lost after twice this.",
        lambda s: s.timeout_ns,
        bounds=_COUNT,
    ),
    Field("timestamps", "string", "name", "Who is to take T1 and T4.", lambda s: s.timestamps, values=SOURCES),
    Field(
        "reflector_mode",
        "string",
        "name",
        "Whether the reflector numbers its replies, as asked.",
        lambda s: s.reflector_mode,
        values=("auto", "stateless", "stateful"),
    ),
    Field(
        "tlvs",
        "array",
        "names",
        "STAMP TLVs asked for, by their registered names.",
        lambda s: list(s.tlvs),
        items="string",
    ),
    Field(
        "reply_dscp",
        "integer",
        "number",
        "DSCP that replies were asked to bear; null: that of what is sent.",
        lambda s: s.reply_dscp,
        optional=True,
        bounds=(0, 63),
    ),
    Field("path", "string", "name", "The way there: plain, or segments, labels or link.", lambda s: s.path),
    Field(
        "return_path",
        "string",
        "name",
        "The way back that the reflector is asked for; null: none.",
        lambda s: s.return_path,
        optional=True,
    ),
)
"""What was asked of the test-session."""

RUN: tuple[Field[Result], ...] = (
    Field("started_ns", "integer", "ns", "Wall time at which it began.", lambda r: r.started_ns),
    Field("ended_ns", "integer", "ns", "Wall time at which it ended.", lambda r: r.ended_ns),
    Field("interrupted", "boolean", "state", "Whether it ended before it was complete.", lambda r: r.interrupted),
)
"""When it was measured."""

SPAN: tuple[Field[Summary], ...] = (
    Field("started_ns", "integer", "ns", "Wall time at which the span began.", lambda s: s.start_ns),
    Field("ended_ns", "integer", "ns", "Wall time at which the span ended.", lambda s: s.end_ns),
)
"""Which part of a measurement an interval record is about."""

EVENT: tuple[Field[Event], ...] = (
    Field("at_ns", "integer", "ns", "Wall time.", lambda e: e.at_ns),
    Field("name", "string", "name", "What happened.", lambda e: e.name),
    Field(
        "errno",
        "integer",
        "number",
        "The kernel's error number; null where it gave none.",
        lambda e: e.errno or None,
        optional=True,
    ),
    Field("detail", "string", "text", "What the name cannot say; empty where it says all.", lambda e: e.detail),
)
"""One thing that happened while measuring."""

OUTAGE: tuple[Field[Outage], ...] = (
    Field("began_ns", "integer", "ns", "Wall time at which the control connection was lost.", lambda o: o.began_ns),
    Field(
        "ended_ns",
        "integer",
        "ns",
        "Wall time at which the sessions ran again; null if they did not.",
        lambda o: o.ended_ns,
        optional=True,
    ),
    Field("reason", "string", "text", "What ended the connection.", lambda o: o.reason),
)
"""A time without control connection."""

DIFFERENCE: tuple[Field[Difference], ...] = (
    Field("path", "string", "name", "Name of the path.", lambda d: d.path),
    Field(
        "reference", "string", "name", "Name of the path that it is compared with: the first.", lambda d: d.reference
    ),
    Field("compared", "string", "name", "What is compared.", lambda d: d.compared, values=tuple(COMPARED)),
    Field("pairs", "integer", "slots", "Slots in which both have the value.", lambda d: d.pairs, bounds=_COUNT),
    Field(
        "stretches",
        "integer",
        "parts",
        "Parts of the run that were judged, one say each.",
        lambda d: d.stretches,
        bounds=(0, 64),
    ),
    Field(
        "estimate",
        "number",
        "ns, or for loss a share",
        "Value of the path less the reference's: pseudomedian of the parts' means, of loss the share; null: no pairs.",
        lambda d: d.estimate,
        optional=True,
    ),
    Field(
        "low",
        "number",
        "as estimate",
        "Lower end of the 95 % interval; null: too few parts, or loss.",
        lambda d: d.low,
        True,
    ),
    Field("high", "number", "as estimate", "Upper end of it.", lambda d: d.high, True),
    Field(
        "p_value",
        "number",
        "ratio",
        "Probability of such a difference by chance: signed-rank test, exact, adjusted by Holm; null without pairs.",
        lambda d: d.p_value,
        optional=True,
    ),
    Field("significant", "boolean", "state", "Whether that is below 0.05.", lambda d: d.significant),
)
"""How one of several paths differs from the first."""

CLOCK_STEP: tuple[Field[tuple[int, int]], ...] = (
    Field("at_ns", "integer", "ns", "Wall time.", lambda step: step[0]),
    Field("step_ns", "integer", "ns", "How far the clock here was set; positive is forward.", lambda step: step[1]),
)
"""One step of the clock here."""

ClockState = Mapping[str, int | None]


def _of_clock(name: str) -> Callable[[ClockState], JsonValue]:
    return lambda clock: clock.get(name)


def _synchronized(clock: ClockState) -> JsonValue:
    value = clock.get("synchronized")
    return None if value is None else bool(value)


LOCAL_CLOCK: tuple[Field[ClockState], ...] = (
    Field(
        "synchronized", "boolean", "state", "Whether the kernel takes the clock for synchronised.", _synchronized, True
    ),
    Field("error_ns", "integer", "ns", "Maximum error, by the kernel.", _of_clock("error_ns"), True, bounds=_COUNT),
    Field(
        "estimated_error_ns",
        "integer",
        "ns",
        "Estimated error, by the kernel.",
        _of_clock("estimated_error_ns"),
        True,
        bounds=_COUNT,
    ),
    Field("offset_ns", "integer", "ns", "Offset that the kernel is still taking out.", _of_clock("offset_ns"), True),
    Field("frequency_ppb", "integer", "ppb", "Correction of the clock's rate.", _of_clock("frequency_ppb"), True),
    Field("tai_offset_s", "integer", "s", "TAI - UTC, by the kernel.", _of_clock("tai_offset_s"), True),
)
"""The clock here at the end, by `adjtimex`."""


def _fell_back(stamp: str) -> Callable[[tuple[str, Summary]], JsonValue]:
    return lambda asked: fell_back(asked[0], asked[1], stamp)


FALLBACK: tuple[Field[tuple[str, Summary]], ...] = tuple(
    Field(
        f"{stamp}_fell_back",
        "integer",
        "packets",
        f"Packets answered whose {what} ({stamp.upper()}) was stamped by a lesser source than the one requested.",
        _fell_back(stamp),
        bounds=_COUNT,
    )
    for stamp, what in STAMPS.items()
)
"""Beside the metrics of section `tool`: (timestamps requested, summary)."""

STATISTICS: tuple[Field[Spread], ...] = (
    Field(
        "count",
        "integer",
        "packets",
        "Packets that have the value: the n of its percentiles.",
        lambda s: s.count,
        bounds=_COUNT,
    ),
    Field("min_ns", "integer", "ns", "Smallest value.", lambda s: s.statistic("min")),
    Field("mean_ns", "integer", "ns", "Mean, rounded.", lambda s: s.statistic("mean")),
    Field("median_ns", "integer", "ns", "50th percentile.", lambda s: s.statistic("median")),
    Field("max_ns", "integer", "ns", "Largest value.", lambda s: s.statistic("max")),
    Field(
        "stddev_ns",
        "integer",
        "ns",
        "Standard deviation of the population, rounded.",
        lambda s: s.statistic("stddev"),
        bounds=_COUNT,
    ),
    Field(
        "relative_error",
        "number",
        "ratio",
        "Largest error of median, percentiles and buckets in proportion to the value.",
        lambda s: s.distribution.relative_error,
        bounds=_COUNT,
    ),
)
"""Of one distribution."""
