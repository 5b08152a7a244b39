"""A small decoder of `io.prometheus.client.MetricFamily`, written from its .proto and nothing of ours."""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, cast

if TYPE_CHECKING:
    from collections.abc import Iterator

VARINT, DOUBLE, OCTETS = 0, 1, 2
COUNTER, GAUGE, HISTOGRAM = 0, 1, 4


@dataclass
class DecodedHistogram:
    """Classic buckets by bound, native ones by index and sign."""

    count: int = 0
    sum: float = 0.0
    classic: dict[float, int] = field(default_factory=dict)
    schema: int | None = None
    zero_threshold: float = 0.0
    zero_count: int = 0
    negative: dict[int, int] = field(default_factory=dict)
    positive: dict[int, int] = field(default_factory=dict)


@dataclass
class DecodedMetric:
    """One series."""

    labels: dict[str, str]
    value: float | DecodedHistogram


@dataclass
class DecodedFamily:
    """One message."""

    name: str
    meaning: str
    type: int
    metrics: list[DecodedMetric]


def families(octets: bytes) -> list[DecodedFamily]:
    """All messages, each preceded by its length."""
    found = []
    while octets:
        length, octets = _varint(octets)
        assert length <= len(octets), "cut off"
        found.append(_family(octets[:length]))
        octets = octets[length:]
    return found


def _varint(octets: bytes) -> tuple[int, bytes]:
    value = 0
    for position, octet in enumerate(octets[:10]):
        value |= (octet & 0x7F) << 7 * position
        if octet < 0x80:
            return value, octets[position + 1 :]
    raise AssertionError("no varint")


def _signed(value: int) -> int:
    return value >> 1 ^ -(value & 1)


def _fields(octets: bytes) -> Iterator[tuple[int, int | float | bytes]]:
    while octets:
        tag, octets = _varint(octets)
        match tag & 7:
            case 0:
                number, octets = _varint(octets)
                yield tag >> 3, number
            case 1:
                yield tag >> 3, struct.unpack("<d", octets[:8])[0]
                octets = octets[8:]
            case 2:
                length, octets = _varint(octets)
                assert length <= len(octets), "cut off"
                yield tag >> 3, octets[:length]
                octets = octets[length:]
            case wire:
                raise AssertionError(f"wire type {wire}")


def _family(octets: bytes) -> DecodedFamily:
    name, meaning, kind, metrics = "", "", COUNTER, []
    for number, value in _fields(octets):
        match number, value:
            case 1, bytes():
                name = value.decode()
            case 2, bytes():
                meaning = value.decode()
            case 3, int():
                kind = value
            case 4, bytes():
                metrics.append(_metric(value, kind))
            case _:
                raise AssertionError(f"MetricFamily has no field {number} of this type")
    return DecodedFamily(name, meaning, kind, metrics)


def _metric(octets: bytes, kind: int) -> DecodedMetric:
    labels: dict[str, str] = {}
    found: float | DecodedHistogram | None = None
    for number, value in _fields(octets):
        assert isinstance(value, bytes)
        if number == 1:
            pair = cast("dict[int, bytes]", dict(_fields(value)))
            labels[pair[1].decode()] = pair[2].decode()
            continue
        assert number == {GAUGE: 2, COUNTER: 3, HISTOGRAM: 7}[kind]
        found = _histogram(value) if kind == HISTOGRAM else cast("float", dict(_fields(value))[1])
    assert found is not None, labels
    return DecodedMetric(labels, found)


def _histogram(octets: bytes) -> DecodedHistogram:
    histogram = DecodedHistogram()
    spans: dict[int, list[tuple[int, int]]] = {9: [], 12: []}
    deltas: dict[int, list[int]] = {10: [], 13: []}
    for number, value in _fields(octets):
        match number, value:
            case 1, int():
                histogram.count = value
            case 2, float():
                histogram.sum = value
            case 3, bytes():
                bucket = dict(_fields(value))
                histogram.classic[cast("float", bucket[2])] = cast("int", bucket[1])
            case 5, int():
                histogram.schema = _signed(value)
            case 6, float():
                histogram.zero_threshold = value
            case 7, int():
                histogram.zero_count = value
            case 9 | 12, bytes():
                span = cast("dict[int, int]", dict(_fields(value)))
                spans[number].append((_signed(span[1]), span[2]))
            case 10 | 13, bytes():
                while value:
                    delta, value = _varint(value)
                    deltas[number].append(_signed(delta))
            case _:
                raise AssertionError(f"Histogram has no field {number} of this type")
    histogram.negative = _buckets(spans[9], deltas[10])
    histogram.positive = _buckets(spans[12], deltas[13])
    return histogram


def _buckets(spans: list[tuple[int, int]], deltas: list[int]) -> dict[int, int]:
    """Index -> count."""
    indices: list[int] = []
    following = 0
    for skipped, length in spans:
        indices += range(following + skipped, following + skipped + length)
        following += skipped + length
    counts, last = [], 0
    for delta in deltas:
        last += delta
        counts.append(last)
    return dict(zip(indices, counts, strict=True))
