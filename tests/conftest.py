"""A packet plane without packets, so that everything above it can be tested without sockets, privileges or waiting.

`FakeNative` stands in for the module `twoway._native`: same names, same contract (`_native.pyi`), but the packets of a
Session-Sender all have the fate that the test writes down, the moment they are asked for.
"""

from __future__ import annotations

import importlib.util
import math
import os
import sys
from array import array
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import hypothesis
import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

# How long an example takes says how busy the machine is, and nothing about twoway.
hypothesis.settings.register_profile("patient", deadline=None)
hypothesis.settings.load_profile("patient")

MISSING = -(2**63)
UNKNOWN = 0xFFFFFFFF
START_NS = 1_800_000_000_000_000_000
RECEIVED, LOST = 0, 4


class FakeDistribution:
    """The statistics of a plain list."""

    def __init__(self, values: Sequence[int]) -> None:
        self.values = sorted(values)
        self.relative_error = 0.005
        self.scale = 7
        self.zero_count = self.values.count(0)

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
        return None if mean is None else (sum((v - mean) ** 2 for v in self.values) / len(self.values)) ** 0.5

    def quantile(self, q: float, /) -> int | None:
        if not self.values:
            return None
        rank = math.ceil(q * len(self.values))
        return self.values[max(0, rank - 1)]

    def buckets(self) -> list[tuple[float, float, int]]:
        return [(value * 0.99, value * 1.01, self.values.count(value)) for value in sorted(set(self.values))]


@dataclass
class FakeSummary:
    """Counters and distributions as written down; whatever is not named is 0, empty or unknown."""

    counters: dict[str, int]
    distributions: dict[str, FakeDistribution] = field(default_factory=dict)
    facts: dict[str, int | None] = field(default_factory=dict)
    start_ns: int = START_NS
    end_ns: int = START_NS + 1_000_000_000
    loss_bursts: dict[int, int] = field(default_factory=dict)
    ttls: dict[str, dict[int, int]] = field(default_factory=lambda: {"far": {}, "returned": {}})
    dscp_ecns: dict[str, dict[int, int]] = field(default_factory=lambda: {"far": {}, "returned": {}})
    clock_steps: list[tuple[int, int]] = field(default_factory=list)
    location: dict[str, int | str] = field(default_factory=dict)

    def counter(self, name: str, /) -> int:
        if name == "lost":
            return sum(self.counters.get(f"lost_{way}", 0) for way in ("forward", "backward", "unattributed"))
        return self.counters.get(name, 0)

    def distribution(self, name: str, /) -> FakeDistribution:
        return self.distributions.get(name, FakeDistribution([]))

    def fact(self, name: str, /) -> int | None:
        return self.facts.get(name)


class FakeBatch:
    """Rows of (sequence, status, round trip or None)."""

    MISSING = MISSING
    UNKNOWN = UNKNOWN

    def __init__(self, rows: Sequence[tuple[int, int, int | None]]) -> None:
        count = len(rows)
        nothing, unknown = array("q", [MISSING] * count), array("I", [UNKNOWN] * count)
        zeros = array("B", [0] * count)
        self.sequence = array("I", [row[0] for row in rows])
        self.status = array("B", [row[1] for row in rows])
        self.flags = self.t1_source = self.t3_source = self.t4_source = zeros
        self.round_trip_ns = array("q", [MISSING if row[2] is None else row[2] for row in rows])
        self.t1_ns = self.t2_ns = self.t3_ns = self.t4_ns = nothing
        self.forward_ns = self.backward_ns = self.residence_ns = self.send_lateness_ns = nothing
        self.reflector_sequence = unknown
        self.sender_ttl = self.returned_ttl = self.far_dscp_ecn = self.returned_dscp_ecn = unknown

    def __len__(self) -> int:
        return len(self.sequence)


class FakeSpec:
    """A native specification: its keyword arguments as attributes."""

    def __init__(self, **fields: object) -> None:
        self.__dict__.update(fields)

    def requiring_ssid(self) -> FakeSpec:
        return FakeSpec(**self.__dict__, require_ssid=True)

    def with_tlvs(self, **fields: object) -> FakeSpec:
        return FakeSpec(**self.__dict__, tlvs=fields)


class FakeSender:
    """Sends `count` packets when started, each with the next fate; endless ones send one per `drain`."""

    def __init__(self, native: FakeNative, spec: FakeSpec, wake: int) -> None:
        self.id = 0
        self.local_address = ("127.0.0.1", 40000)
        self.obtained = dict(native.obtained)
        self.spec = spec
        self._native = native
        self._wake = wake
        self._rows: list[tuple[int, int, int | None]] = []
        self._taken = 0
        self.started = self.stopped = self.aborted = self.finished = False

    def _send(self, count: int) -> None:
        for _ in range(count):
            sequence = len(self._rows)
            round_trip = self._native.fates[sequence % len(self._native.fates)]
            self._rows.append((sequence, LOST if round_trip is None else RECEIVED, round_trip))
        os.eventfd_write(self._wake, 1)

    def start(self) -> None:
        self.started = True
        count = self.spec.__dict__["count"]
        self._send(1 if count is None else count)
        self.finished = count is not None

    def stop(self) -> None:
        self.stopped = self.finished = True
        os.eventfd_write(self._wake, 1)

    def abort(self) -> None:
        self.aborted = True
        self.stop()

    def drain(self) -> FakeBatch:
        kept = self.spec.__dict__["sample_capacity"] > 0
        rows, self._taken = (self._rows[self._taken :] if kept else []), len(self._rows)
        if not self.finished:
            self._send(1)
        return FakeBatch(rows)

    def summary(self) -> FakeSummary:
        round_trips = [row[2] for row in self._rows if row[2] is not None]
        counters = {
            "sent": len(self._rows),
            "received": len(round_trips),
            "lost_unattributed": len(self._rows) - len(round_trips),
        }
        return FakeSummary(counters, {"round_trip": FakeDistribution(round_trips)})

    def take_interval(self) -> FakeSummary:
        return self.summary()

    def take_events(self) -> list[tuple[int, str, int]]:
        events, self._native.events = self._native.events, []
        return events


class FakePlane:
    """One eventfd and the Session-Senders that write to it."""

    def __init__(self, native: FakeNative, *, workers: int, busy_poll: bool) -> None:
        self.workers, self.busy_poll = workers, busy_poll
        self._native = native
        self._wake = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self.closed = False
        native.planes.append(self)

    def open_sender(self, spec: FakeSpec, /) -> FakeSender:
        if self._native.open_error is not None:
            raise self._native.open_error
        sender = FakeSender(self._native, spec, self._wake)
        self._native.senders.append(sender)
        return sender

    def fileno(self) -> int:
        return self._wake

    def acknowledge(self) -> list[int]:
        try:
            os.eventfd_read(self._wake)
        except BlockingIOError:
            return []
        return [0]

    def close(self) -> None:
        if not self.closed:
            os.close(self._wake)
        self.closed = True


class FakeReflector:
    """Counts nothing of its own: its counters are what the test says."""

    def __init__(self, native: FakeNative, spec: FakeSpec, /) -> None:
        if native.reflector_errors:
            raise native.reflector_errors.pop(0)
        self.spec = spec
        self.local_addresses = [(address, port) for address, port, _ in spec.__dict__["listen"]]
        self.obtained = dict(native.obtained)
        self.started = False
        self.drained_ns: int | None = None
        native.reflectors.append(self)

    def start(self) -> None:
        self.started = True

    def counters(self) -> dict[str, int]:
        return {"test_packet:reflected": 3, "too_short:dropped": 1}

    def own_counters(self) -> dict[str, int]:
        return {"socket_drops": 0, "send_errors": 0}

    def distribution(self, _name: str, /) -> FakeDistribution:
        return FakeDistribution([10, 20, 30])

    def stop(self, drain_ns: int, /) -> None:
        self.drained_ns = drain_ns


class FakeNative:
    """What stands in for the module."""

    __version__ = "0.0.1"
    SenderSpec = ReflectorSpec = FakeSpec

    def __init__(self) -> None:
        self.fates: list[int | None] = [200_000]
        self.obtained: dict[str, str] = {}
        self.features: dict[str, tuple[bool, str]] = {}
        self.events: list[tuple[int, str, int]] = []
        self.open_error: Exception | None = None
        self.reflector_errors: list[Exception] = []
        self.planes: list[FakePlane] = []
        self.senders: list[FakeSender] = []
        self.reflectors: list[FakeReflector] = []

    def Plane(self, *, workers: int, busy_poll: bool) -> FakePlane:  # noqa: N802  (a class in the module)
        return FakePlane(self, workers=workers, busy_poll=busy_poll)

    def Reflector(self, spec: FakeSpec, /) -> FakeReflector:  # noqa: N802  (a class in the module)
        return FakeReflector(self, spec)

    def clock_state(self) -> dict[str, int | None]:
        return {"synchronized": 0, "error_ns": None, "estimated_error_ns": None, "offset_ns": 0}

    def capabilities(self, _interface: str | None, /) -> dict[str, tuple[bool, str]]:
        return self.features


@pytest.fixture
def native(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeNative]:
    """The fake in the place of the extension module, for `twoway.drivers.plane`, `reflector` and all that use them."""
    fake = FakeNative()
    if importlib.util.find_spec("twoway._native") is None:
        monkeypatch.setitem(sys.modules, "twoway._native", fake)
    from twoway.drivers import plane, reflector

    for module in (plane, reflector):
        monkeypatch.setattr(module, "_native", fake)
    yield fake
    for opened in fake.planes:
        opened.close()
