"""The protobuf exposition: length-delimited messages `io.prometheus.client.MetricFamily`, the few that are needed.

Encoded by hand (https://protobuf.dev/programming-guides/encoding): a field is its number and wire type, then a varint,
eight octets, or a length and octets. Field numbers are those of Prometheus' `client_model`. A histogram of times has
its native buckets and its classic ones, of which the scraper takes what it is set to.

A family of more than 1,000 series goes in several messages of the same name, since a message begins with its length and
would have to be whole before its first octet can be sent.
"""

from __future__ import annotations

import struct
from functools import lru_cache
from typing import TYPE_CHECKING

from twoway.analysis.exposition import Delays, Family, Tally, Type
from twoway.export.prometheus_buckets import ZERO_THRESHOLD, Side, at_bounds, count_and_sum, native

if TYPE_CHECKING:
    from collections.abc import Sequence

    from twoway.analysis.exposition import Value

_SERIES = 1000
"""Most series of one message."""
_TYPES = {Type.COUNTER: 0, Type.GAUGE: 1, Type.INFO: 1, Type.HISTOGRAM: 4}
_VARINT, _DOUBLE, _OCTETS = 0, 1, 2


def varint(value: int) -> bytes:
    """An unsigned number, seven bits an octet, the lowest first."""
    octets = bytearray()
    while value > 0x7F:
        octets.append(value & 0x7F | 0x80)
        value >>= 7
    octets.append(value)
    return bytes(octets)


_SMALL = [varint(value) for value in range(1 << 12)]
"""A scrape of ten thousand test-sessions has a hundred million of them, most of them small."""


def _varint(value: int) -> bytes:
    return _SMALL[value] if value < len(_SMALL) else varint(value)


def zigzag(value: int) -> bytes:
    """A signed number of 64 bits (sint32, sint64)."""
    return _varint(value << 1 if value >= 0 else (-value << 1) - 1)


def _tag(field: int, wire: int) -> bytes:
    return varint(field << 3 | wire)


def _number(field: int, value: int) -> bytes:
    return _tag(field, _VARINT) + varint(value)


def _double(field: int, value: float) -> bytes:
    return _tag(field, _DOUBLE) + struct.pack("<d", value)


def _octets(field: int, content: bytes) -> bytes:
    return _tag(field, _OCTETS) + varint(len(content)) + content


def _text(field: int, content: str) -> bytes:
    return _octets(field, content.encode())


@lru_cache(maxsize=4096)
def _label(name: str, text: str) -> bytes:
    return _octets(1, _text(1, name) + _text(2, text))


@lru_cache(maxsize=4096)
def _span(field: int, skip: int, length: int) -> bytes:
    return _octets(field, _tag(1, _VARINT) + zigzag(skip) + _number(2, length))


class ProtobufRenderer:
    """`Renderer` of this format."""

    def __init__(self) -> None:
        self._family: Family | None = None
        self._head = b""
        self._bounds: list[bytes] = []
        self._metrics: list[bytes] = []

    def begin(self, family: Family) -> bytes:
        self._family = family
        self._head = _text(1, family.sample_name) + _text(2, family.meaning) + _number(3, _TYPES[family.type])
        self._bounds = [_double(2, bound) for bound in family.bounds]
        return b""

    def sample(self, labels: Sequence[tuple[str, str]], value: Value) -> bytes:
        metric = b"".join(_label(name, text) for name, text in labels)
        if isinstance(value, (Delays, Tally)):
            metric += _octets(7, self._histogram(value))
        elif self._family is not None and self._family.type is Type.COUNTER:
            metric += _octets(3, _double(1, value))
        else:
            metric += _octets(2, _double(1, value))
        self._metrics.append(_octets(4, metric))
        return self.end() if len(self._metrics) >= _SERIES else b""

    def _histogram(self, value: Delays | Tally) -> bytes:
        count, total = count_and_sum(value)
        body = [_number(1, count), _double(2, total)]
        bounds = () if self._family is None else self._family.bounds
        for number, bound in zip(at_bounds(value, bounds), self._bounds, strict=True):
            octets = _varint(number)
            body += (_BUCKET, _SMALL[len(_COUNT) + len(octets) + len(bound)], _COUNT, octets, bound)
        if isinstance(value, Delays):
            buckets = native(value.distribution)
            body += (_SCHEMA, zigzag(buckets.schema), _double(6, ZERO_THRESHOLD), _number(7, buckets.zero_count))
            body += (_side(9, 10, buckets.negative), _side(12, 13, buckets.positive))
        return b"".join(body)

    def end(self) -> bytes:
        if not self._metrics:
            return b""
        message = self._head + b"".join(self._metrics)
        self._metrics.clear()
        return varint(len(message)) + message

    def close(self) -> bytes:
        return b""


_BUCKET, _COUNT, _SCHEMA = _tag(3, _OCTETS), _tag(1, _VARINT), _tag(5, _VARINT)


def _side(span_field: int, delta_field: int, side: Side) -> bytes:
    spans = b"".join([_span(span_field, skip, length) for skip, length in side.spans])
    return spans + (_octets(delta_field, b"".join(map(zigzag, side.deltas))) if side.deltas else b"")
