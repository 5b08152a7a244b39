"""Plain Python objects with the shape of the packet plane's, for tests that need no packets."""

import math
from array import array
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from twoway.analysis.result import Event, Result, SessionDescription

MS = 1_000_000
START_NS = 1_767_323_045 * 1_000_000_000
"""2026-01-02 03:04:05 UTC."""


class Numbers:
    """A distribution that keeps its values: exact quantiles (RFC 2330 section 11.3), one bucket for each value."""

    relative_error = 0.0
    scale = 7

    def __init__(self, values: Sequence[int] = ()) -> None:
        self.values = sorted(values)

    @property
    def count(self) -> int:
        return len(self.values)

    @property
    def min_ns(self) -> int | None:
        return self.values[0] if self.values else None

    @property
    def max_ns(self) -> int | None:
        return self.values[-1] if self.values else None

    @property
    def mean_ns(self) -> float | None:
        return sum(self.values) / len(self.values) if self.values else None

    @property
    def stddev_ns(self) -> float | None:
        mean = self.mean_ns
        return None if mean is None else math.sqrt(sum((v - mean) ** 2 for v in self.values) / len(self.values))

    @property
    def zero_count(self) -> int:
        return self.values.count(0)

    def quantile(self, q: float, /) -> int | None:
        return self.values[max(1, math.ceil(q * len(self.values))) - 1] if self.values else None

    def buckets(self) -> list[tuple[float, float, int]]:
        return [(float(value), float(value), count) for value, count in sorted(Counter(self.values).items())]


@dataclass
class Span:
    """A summary whose every number is given."""

    counters: Mapping[str, int] = field(default_factory=dict)
    distributions: Mapping[str, Sequence[int]] = field(default_factory=dict)
    facts: Mapping[str, int | None] = field(default_factory=dict)
    loss_bursts: dict[int, int] = field(default_factory=dict)
    ttls: dict[str, dict[int, int]] = field(default_factory=dict)
    dscp_ecns: dict[str, dict[int, int]] = field(default_factory=dict)
    clock_steps: list[tuple[int, int]] = field(default_factory=list)
    location: dict[str, int | str] = field(default_factory=dict)
    start_ns: int = START_NS
    end_ns: int = START_NS + 9_900 * MS

    def counter(self, name: str, /) -> int:
        """Losses are the sum of their directions where nothing else is said."""
        if name == "lost" and name not in self.counters:
            return sum(self.counters.get(f"lost_{way}", 0) for way in ("forward", "backward", "unattributed"))
        return self.counters.get(name, 0)

    def distribution(self, name: str, /) -> Numbers:
        return Numbers(self.distributions.get(name, ()))

    def fact(self, name: str, /) -> int | None:
        return self.facts.get(name)


def session(**changes: object) -> SessionDescription:
    values: dict[str, object] = {
        "protocol": "stamp",
        "target": "probe.example.net",
        "address": "192.0.2.1",
        "port": 862,
        "local_address": "192.0.2.7",
        "local_port": 49152,
        "ssid": 0,
        "format": "stamp",
        "dscp_ecn": 46 << 2,
        "ttl": 255,
        "payload_len": 44,
        "interval_ns": 100 * MS,
        "schedule": "periodic",
        "count": 100,
        "timeout_ns": 1000 * MS,
        "timestamps": "kernel",
        "reflector_mode": "auto",
        "tlvs": (),
        "reply_dscp": None,
        "path": "plain",
        "return_path": None,
        "obtained": {},
    }
    return SessionDescription(**{**values, **changes})  # type: ignore[arg-type]  # tests name fields of known types


def result(
    summary: Span,
    *,
    clock: Mapping[str, int | None] | None = None,
    events: Sequence[Event] = (),
    interrupted: bool = False,
    percentiles: Sequence[float] = (95.0, 99.0, 99.9),
    **changes: object,
) -> Result:
    known = {
        "synchronized": 1,
        "error_ns": 500_000,
        "estimated_error_ns": 80_000,
        "offset_ns": -1200,
        "frequency_ppb": 12_345,
        "tai_offset_s": 37,
    }
    return Result(
        session=session(**changes),
        summary=summary,
        clock=known if clock is None else clock,
        events=events,
        started_ns=summary.start_ns,
        ended_ns=summary.end_ns,
        interrupted=interrupted,
        percentiles=percentiles,
    )


def impaired() -> Span:
    """A measurement in which something of everything happened, between synchronised clocks."""
    return Span(
        counters={
            "sent": 100,
            "received": 96,
            "late": 1,
            "lost_forward": 2,
            "lost_backward": 1,
            "duplicates_forward": 1,
            "duplicates_backward": 1,
            "reordered_round_trip": 1,
            "reordered_forward": 1,
            "rejected_hmac": 2,
            "t1_kernel": 97,
            "t4_kernel": 95,
            "t4_user": 2,
        },
        distributions={
            "round_trip": [212_000 + 1_000 * i for i in range(95)] + [2_500_000],
            "forward": [101_000 + 500 * i for i in range(95)] + [2_300_000],
            "backward": [111_000 + 500 * i for i in range(95)] + [200_000],
            "residence": [4_000 + 10 * i for i in range(96)],
            "ipdv_round_trip": [1_000] * 47 + [-1_000] * 47,
            "ipdv_forward": [500] * 47 + [-500] * 47,
            "ipdv_backward": [500] * 47 + [-700] * 47,
            "send_lateness": [12_000] * 90 + [90_000] * 10,
        },
        facts={
            "jitter_round_trip_ns": 1_000,
            "jitter_forward_ns": 500,
            "jitter_backward_ns": 600,
            "local_synchronized": 1,
            "far_synchronized": 1,
            "local_error_ns": 20_000,
            "far_error_ns": 30_000,
            "one_way_error_bound_ns": 50_000,
            "reflector_stateful": 1,
            "last_sequence": 99,
        },
        loss_bursts={1: 1, 2: 1},
        ttls={"far": {253: 97}, "returned": {252: 95, 251: 2}},
        dscp_ecns={"far": {}, "returned": {0: 97}},
    )


def clean() -> Span:
    """Ten packets, ten replies, from a reflector that says nothing about its clock and copies our numbers."""
    return Span(
        counters={"sent": 10, "received": 10, "t1_kernel": 10, "t4_kernel": 10, "far_unsynchronized": 10},
        distributions={
            "round_trip": [40_100 + 100 * i for i in range(10)],
            "forward": [-3_000_000 + 50 * i for i in range(10)],
            "backward": [3_040_100 + 50 * i for i in range(10)],
            "residence": [5_000] * 10,
            "ipdv_round_trip": [100] * 9,
            "ipdv_forward": [50] * 9,
            "ipdv_backward": [50] * 9,
            "send_lateness": [20_000] * 10,
        },
        facts={
            "jitter_round_trip_ns": 40,
            "jitter_forward_ns": 20,
            "jitter_backward_ns": 20,
            "local_synchronized": 1,
            "local_error_ns": 20_000,
            "far_synchronized": 0,
            "last_sequence": 9,
        },
        ttls={"far": {255: 10}, "returned": {255: 10}},
        dscp_ecns={"far": {}, "returned": {184: 10}},
        end_ns=START_NS + 900 * MS,
    )


def unanswered() -> Span:
    """Three packets and no reply."""
    return Span(
        counters={"sent": 3, "lost_unattributed": 3},
        distributions={"send_lateness": [20_000] * 3},
        facts={"local_synchronized": 0, "last_sequence": 2},
        loss_bursts={3: 1},
        end_ns=START_NS + 4_000 * MS,
    )


MISSING = -(2**63)
UNKNOWN = 0xFFFFFFFF


class Rows:
    """A batch of samples made of rows; what a row does not name cannot be known."""

    MISSING = MISSING
    UNKNOWN = UNKNOWN

    def __init__(self, *rows: Mapping[str, int]) -> None:
        self._rows = rows

    def __len__(self) -> int:
        return len(self._rows)

    def _column(self, name: str) -> "array[int]":
        code, unknown = ("q", MISSING) if name.endswith("_ns") else ("I", UNKNOWN)
        if name in ("status", "flags", "t1_source", "t3_source", "t4_source"):
            code, unknown = "B", 0
        return array(code, [row.get(name, unknown) for row in self._rows])

    @property
    def sequence(self) -> "array[int]":
        return self._column("sequence")

    @property
    def status(self) -> "array[int]":
        return self._column("status")

    @property
    def flags(self) -> "array[int]":
        return self._column("flags")

    @property
    def t1_ns(self) -> "array[int]":
        return self._column("t1_ns")

    @property
    def t2_ns(self) -> "array[int]":
        return self._column("t2_ns")

    @property
    def t3_ns(self) -> "array[int]":
        return self._column("t3_ns")

    @property
    def t4_ns(self) -> "array[int]":
        return self._column("t4_ns")

    @property
    def round_trip_ns(self) -> "array[int]":
        return self._column("round_trip_ns")

    @property
    def forward_ns(self) -> "array[int]":
        return self._column("forward_ns")

    @property
    def backward_ns(self) -> "array[int]":
        return self._column("backward_ns")

    @property
    def residence_ns(self) -> "array[int]":
        return self._column("residence_ns")

    @property
    def send_lateness_ns(self) -> "array[int]":
        return self._column("send_lateness_ns")

    @property
    def reflector_sequence(self) -> "array[int]":
        return self._column("reflector_sequence")

    @property
    def t1_source(self) -> "array[int]":
        return self._column("t1_source")

    @property
    def t3_source(self) -> "array[int]":
        return self._column("t3_source")

    @property
    def t4_source(self) -> "array[int]":
        return self._column("t4_source")

    @property
    def sender_ttl(self) -> "array[int]":
        return self._column("sender_ttl")

    @property
    def returned_ttl(self) -> "array[int]":
        return self._column("returned_ttl")

    @property
    def far_dscp_ecn(self) -> "array[int]":
        return self._column("far_dscp_ecn")

    @property
    def returned_dscp_ecn(self) -> "array[int]":
        return self._column("returned_dscp_ecn")
