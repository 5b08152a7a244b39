"""One measurement over several paths at once: a Session-Sender for each, on one schedule, staggered within an interval.

The senders share a worker, so that their packets leave in turn and none waits for another's thread. Path k of n sends
k/n of an interval after the first; a Poisson schedule has the same gaps on every path. What the paths have in common at
a moment, such as the load of the far end, is then in all of them, and drops out of their differences.
"""

from __future__ import annotations

import os
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Self, Unpack

from twoway.analysis.comparison import Difference, PathSetResult
from twoway.config import defaults
from twoway.config.path import MOST_PATHS, along, lag_paths, parse_path
from twoway.drivers.native import _native
from twoway.drivers.plane import RunningMeasurement, measurement_of, resolve_target
from twoway.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from types import TracebackType

    from twoway.analysis.result import Event
    from twoway.config.measurement import Measurement
    from twoway.config.options import MeasurementOptions
    from twoway.drivers.plane import SampleBatch
    from twoway.drivers.resolve import Address
    from twoway.path import ForwardPath

_READY_NS = 1_000_000
"""From opening the last socket to the first packet: for all starts to have reached the worker."""


def lag_members(interface: str, netns: str | None = None) -> list[str]:
    """The interfaces that are members of this one. Raises `PlaneError`."""
    return _native.lag_members(interface, netns=netns)


class RunningPathSet:
    """Several measurements of one target with their sockets open. A context manager; leaving it stops everything.

    The rhythm is that of `RunningMeasurement`; `take` gives each path's samples.
    """

    def __init__(self, measurements: Mapping[str, Measurement], address: Address) -> None:
        """Open the sockets. The measurements differ in their paths alone. Raises `ConfigError` or `PlaneError`."""
        first = next(iter(measurements.values()))
        if first.source_port and len(measurements) > 1:
            raise ConfigError("source_port", "several paths need a port each: leave it to the kernel")
        self._plane = _native.Plane(workers=1, busy_poll=first.busy_poll)
        self._comparison = _native.PathComparison(paths=len(measurements))
        seed = int.from_bytes(os.urandom(8), "big") if first.seed is None else first.seed
        self.paths: dict[str, RunningMeasurement] = {}
        try:
            for name, measurement in measurements.items():
                self.paths[name] = RunningMeasurement(replace(measurement, seed=seed), address, self._plane)
        except BaseException:
            self._plane.close()
            raise
        self._interval_ns = first.interval_ns

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def start(self) -> None:
        """Send the first packets, one path after the other within the first interval."""
        begin_ns = time.monotonic_ns() + _READY_NS
        for place, running in enumerate(self.paths.values()):
            running.start(begin_ns + place * self._interval_ns // len(self.paths))

    def stop(self) -> None:
        """Send no more, and go on waiting for replies as long as they may be in time."""
        for running in self.paths.values():
            running.stop()

    def abort(self) -> None:
        """Stop at once: packets still awaited become pending, not lost."""
        for running in self.paths.values():
            running.abort()

    def close(self) -> None:
        """Stop the worker and close the sockets."""
        self._plane.close()

    @property
    def finished(self) -> bool:
        """Whether the last `take` was the last one of each path."""
        return all(running.finished for running in self.paths.values())

    def fileno(self) -> int:
        """Readable when there are samples or events, or a path has finished; `take` clears it."""
        return self._plane.fileno()

    def remaining_ns(self) -> int | None:
        """How long `duration_ns` still lasts where only `take` can end it, else None."""
        left = [ns for running in self.paths.values() if (ns := running.remaining_ns()) is not None]
        return min(left, default=None)

    def take(self) -> list[tuple[str, SampleBatch]]:
        """The samples of each path since the last call, which are compared too."""
        batches = []
        for place, (name, running) in enumerate(self.paths.items()):
            batch = running.take()
            self._comparison.add(place, batch)
            batches.append((name, batch))
        return batches

    def take_events(self) -> list[tuple[str, Event]]:
        """The events of each path since the last call. The results hold all of them."""
        return [(name, event) for name, running in self.paths.items() for event in running.take_events()]

    def wait(self, timeout_ns: int | None = None) -> None:
        """Sleep until `take` has something to do, at most `timeout_ns`."""
        next(iter(self.paths.values())).wait(timeout_ns)

    def settle(self) -> None:
        """After `abort`: wait until the worker has seen it, at most a moment."""
        for running in self.paths.values():
            running.settle()

    @property
    def coalesce_ns(self) -> int:
        """How long to let samples gather before the next `take`."""
        return next(iter(self.paths.values())).coalesce_ns

    def result(self, *, interrupted: bool = False) -> PathSetResult:
        """The results so far, and how the paths differ; final once `finished`."""
        names = list(self.paths)
        differences = []
        for path, compared, pairs, stretches, estimate, interval, _, adjusted in self._comparison.differences():
            low, high = interval or (None, None)
            differences.append(
                Difference(names[path], names[0], compared, pairs, stretches, estimate, low, high, adjusted)
            )
        results = {name: running.result(interrupted=interrupted) for name, running in self.paths.items()}
        return PathSetResult(results, tuple(differences), self._comparison.unpaired)


def measure_paths(
    target: str,
    paths: Mapping[str, str | ForwardPath],
    *,
    on_samples: Callable[[str, SampleBatch], None] | None = None,
    **options: Unpack[MeasurementOptions],
) -> PathSetResult:
    """Measure several paths to a target at once: `measure_paths("2001:db8::1", {"a": "srv6:fd00::1", "b": "plain"})`.

    The options are those of `measure`, and true of each path; the first path is what the others are compared with.
    `on_samples` gets the name of a path and its columns as they come.

    Raises `ConfigError` (an option out of its range, a path that cannot be), `ResolveError` and `PlaneError`.
    """
    if not 2 <= len(paths) <= MOST_PATHS:
        raise ConfigError("path", f"{len(paths)} paths are not from 2 to {MOST_PATHS}")
    base = _base(target, options)
    measurements = {
        name: replace(base, path=parse_path(path) if isinstance(path, str) else path) for name, path in paths.items()
    }
    return _measured(measurements, base, on_samples)


def measure_lag(
    target: str,
    lag: str,
    *,
    on_samples: Callable[[str, SampleBatch], None] | None = None,
    **options: Unpack[MeasurementOptions],
) -> PathSetResult:
    """Measure every member link of a LAG at once (RFC 9534): `measure_lag("192.0.2.1", "bond0")`, or of those named,
    `"eth1=1,eth2=2"`, with the numbers by which the Session-Reflector knows them.

    Raises and returns what `measure_paths` does; the paths are named as their interfaces.
    """
    base = _base(target, options)
    ways = lag_paths(lag, lambda interface: lag_members(interface, base.netns))
    return _measured({str(way.name): along(base, way) for way in ways}, base, on_samples)


def _base(target: str, options: MeasurementOptions) -> Measurement:
    if "path" in options:
        raise ConfigError("path", "each path has its own")
    return measurement_of(target, options, count=defaults.API_COUNT)


def _measured(
    measurements: Mapping[str, Measurement],
    base: Measurement,
    on_samples: Callable[[str, SampleBatch], None] | None,
) -> PathSetResult:
    with RunningPathSet(measurements, resolve_target(base)) as running:
        running.start()
        while True:
            for name, batch in running.take():
                if on_samples is not None and len(batch):
                    on_samples(name, batch)
            if running.finished:
                return running.result()
            if running.coalesce_ns:
                time.sleep(running.coalesce_ns / defaults.NANOS)
            running.wait(running.remaining_ns())
