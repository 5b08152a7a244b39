"""Numbers for people: durations with a fitting unit, percentages, moments and names of traffic classes."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

from twoway.config.dscp import dscp_name

NANOS = 1_000_000_000
ECN_NAMES = ("", "ECT(1)", "ECT(0)", "CE")
"""RFC 3168 section 5, by code point; Not-ECT is not worth a word."""


@dataclass(frozen=True, slots=True)
class Scale:
    """A unit of time in which the numbers of one row are shown."""

    unit: str
    ns: int
    decimals: int

    def number(self, value_ns: float) -> str:
        """The number without its unit."""
        text = f"{value_ns / self.ns:.{self.decimals}f}"
        return text[1:] if text.startswith("-") and not text.strip("-0.") else text

    def show(self, value_ns: float) -> str:
        """The number with its unit."""
        return f"{self.number(value_ns)} {self.unit}"


SECONDS = Scale("s", NANOS, 3)
MILLISECONDS = Scale("ms", 1_000_000, 3)
MICROSECONDS = Scale("µs", 1_000, 1)
NANOSECONDS = Scale("ns", 1, 0)


def scale_for(typical_ns: float) -> Scale:
    """The unit in which a value of this size has a readable number of digits; milliseconds up to 10 s, as ping."""
    size = abs(typical_ns)
    if size >= 10 * NANOS:
        return SECONDS
    if size >= MILLISECONDS.ns:
        return MILLISECONDS
    return MICROSECONDS if size >= MICROSECONDS.ns else NANOSECONDS


def duration(value_ns: float) -> str:
    """A measured time with its unit: `212.4 µs`."""
    return scale_for(value_ns).show(value_ns)


def setting(value_ns: int) -> str:
    """A time as somebody sets it: `20 ms`, `1.5 s`, without digits that say nothing."""
    size = abs(value_ns)
    scale = next((scale for scale in (SECONDS, MILLISECONDS, MICROSECONDS) if size >= scale.ns), NANOSECONDS)
    return f"{value_ns / scale.ns:.6g} {scale.unit}"


def percent(ratio: float, digits: int = 6) -> str:
    """A ratio with at most so many digits (ping shows 6): `0.5%`. Never 100 by rounding alone."""
    text = f"{ratio * 100:.{digits}g}"
    return f"{ratio * 100:.12g}%" if text == "100" and ratio < 1 else f"{text}%"


def moment(at_ns: int) -> str:
    """A wall time: `2026-01-02 03:04:05 UTC`."""
    return datetime.fromtimestamp(at_ns // NANOS, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def traffic_class(octet: int) -> str:
    """DSCP and ECN: `ef`, `af41 ECT(0)`."""
    return f"{dscp_name(octet >> 2)} {ECN_NAMES[octet & 3]}".rstrip()


def plural(count: int, word: str) -> str:
    """`1 packet`, `2 packets`."""
    return f"{count} {word}" if count == 1 else f"{count} {word}s"


def endpoint(address: str, port: int) -> str:
    """`192.0.2.1:862`, `[2001:db8::1]:862`."""
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"
