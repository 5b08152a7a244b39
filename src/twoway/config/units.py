"""Quantities as people write them: durations, rates and sizes, into integers. Pure."""

from __future__ import annotations

import re

from twoway.errors import ConfigError

_SECOND = 1_000_000_000
_NANOS = {
    "": _SECOND,
    "ns": 1,
    "us": 1_000,
    "\u00b5s": 1_000,
    "\u03bcs": 1_000,
    "ms": 1_000_000,
    "s": _SECOND,
    "m": 60 * _SECOND,
    "min": 60 * _SECOND,
    "h": 3_600 * _SECOND,
    "d": 86_400 * _SECOND,
}
_OCTETS = {"": 1, "b": 1, "k": 1 << 10, "kib": 1 << 10, "m": 1 << 20, "mib": 1 << 20, "g": 1 << 30, "gib": 1 << 30}
_PER_SECOND = {"": 1, "k": 1_000, "m": 1_000_000}
_QUANTITY = re.compile(r"([0-9]{1,20})?(?:\.([0-9]{1,20}))?\s*([a-z\u00b5\u03bc]*)", re.IGNORECASE)

MAX_NS = 2**62
"""Longest duration, over a century: sums of two fit into 64 bits."""


def _scaled(text: str, units: dict[str, int], field: str, expected: str) -> int:
    """`text` as an integer of the smallest unit, rounded to nearest; exact, no float on the way."""
    match = _QUANTITY.fullmatch(text.strip())
    if match is None or (match[1] is None and match[2] is None) or match[3].lower() not in units:
        raise ConfigError(field, f"{text!r} is not {expected}")
    scale = units[match[3].lower()]
    fraction = match[2] or ""
    denominator = int("1" + "0" * len(fraction))
    return int(match[1] or "0") * scale + (2 * int(fraction or "0") * scale + denominator) // (2 * denominator)


def parse_duration_ns(text: str, field: str = "duration") -> int:
    """`20ms`, `1.5s`, `500us`, `100ns`, `2m`, `1h`, `14d`; a bare number is seconds. Nanoseconds, at least 0.

    Raises `ConfigError`.
    """
    value = _scaled(text, _NANOS, field, "a duration such as 20ms, 1s or 0.5 (seconds)")
    if value > MAX_NS:
        raise ConfigError(field, f"{text!r} is longer than a century")
    return value


def parse_positive_duration_ns(text: str, field: str = "duration") -> int:
    """As `parse_duration_ns`, but more than 0."""
    value = parse_duration_ns(text, field)
    if value == 0:
        raise ConfigError(field, f"{text!r} is not more than 0")
    return value


def parse_octets(text: str, field: str = "size") -> int:
    """`1400`, `64k`, `4M`, `1GiB`: octets, multiples of 1024. Raises `ConfigError`."""
    return _scaled(text, _OCTETS, field, "a size such as 1400, 64k or 4M (octets)")


def duration_text(duration_ns: int) -> str:
    """The shortest way to write a duration that `parse_duration_ns` reads back exactly."""
    for unit in ("s", "ms", "us"):
        if duration_ns % _NANOS[unit] == 0:
            return f"{duration_ns // _NANOS[unit]}{unit}"
    return f"{duration_ns}ns"


def octets_text(octets: int) -> str:
    """The shortest way to write a size that `parse_octets` reads back exactly."""
    for unit in ("G", "M", "k"):
        if octets and octets % _OCTETS[unit.lower()] == 0:
            return f"{octets // _OCTETS[unit.lower()]}{unit}"
    return str(octets)


def parse_rate(text: str, field: str = "rate") -> int:
    """`500`, `10k`, `1M`, with or without `/s`: packets a second, multiples of 1000. Raises `ConfigError`."""
    bare = text.strip()
    bare = bare[: -len("/s")] if bare.lower().endswith("/s") else bare
    return _scaled(bare, _PER_SECOND, field, "a rate such as 500, 10k or 1M (packets a second)")


def parse_integer(text: str, field: str, low: int, high: int) -> int:
    """A decimal or 0x number from `low` to `high`. Raises `ConfigError`."""
    try:
        value = int(text, 0)
    except ValueError:
        value = low - 1
    if not low <= value <= high:
        raise ConfigError(field, f"{text!r} is not a number from {low} to {high}")
    return value


def parse_percentiles(text: str, field: str = "percentiles") -> tuple[float, ...]:
    """`50,95,99.9`: percentiles from 0 to 100, ascending and each once. Raises `ConfigError`."""
    try:
        values = tuple(sorted({float(part) for part in text.split(",")}))
    except ValueError:
        values = ()
    if not values or not all(0 <= value <= 100 for value in values):
        raise ConfigError(field, f"{text!r} is not a list of percentiles such as 50,95,99.9")
    return values
