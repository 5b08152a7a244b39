"""Measurements on an asyncio loop, never blocking it: names resolve aside, the plane's descriptor wakes the loop."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Self, Unpack

from twoway.config import defaults
from twoway.config.endpoint import parse_endpoint
from twoway.drivers.plane import RunningMeasurement, measurement_of
from twoway.drivers.resolve import resolve_async

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from types import TracebackType

    from twoway.analysis.result import Event, Result
    from twoway.config.measurement import Measurement
    from twoway.config.options import MeasurementOptions
    from twoway.drivers.plane import IntervalSummary, SampleBatch


@dataclass(frozen=True, slots=True)
class Interval:
    """What a long measurement saw in one span of time."""

    summary: IntervalSummary
    """Merges exactly with the spans beside it."""
    samples: tuple[SampleBatch, ...]
    """Per-packet columns, readable by NumPy without a copy, in order of arrival."""
    events: tuple[Event, ...]


async def _readable(descriptor: int, timeout_ns: int | None) -> None:
    """Wait until `descriptor` is readable, at most `timeout_ns`."""
    loop = asyncio.get_running_loop()
    news = asyncio.Event()
    loop.add_reader(descriptor, news.set)
    try:
        async with asyncio.timeout(None if timeout_ns is None else timeout_ns / defaults.NANOS):
            await news.wait()
    except TimeoutError:
        pass
    finally:
        loop.remove_reader(descriptor)


class MeasurementStream:
    """A long measurement as an asynchronous iterator of `Interval`; leaving it (or `aclose`) stops the measurement."""

    def __init__(self, measurement: Measurement, report_interval_ns: int) -> None:
        self._measurement = measurement
        self._report_interval_ns = report_interval_ns
        self._running: RunningMeasurement | None = None
        self._result: Result | None = None

    async def _open(self) -> RunningMeasurement:
        if self._running is None:
            endpoint = parse_endpoint(self._measurement.target)
            address = await resolve_async(endpoint, defaults.PORT, self._measurement.family)
            self._running = RunningMeasurement(self._measurement, address)
            self._running.start()
        return self._running

    async def __aenter__(self) -> Self:
        await self._open()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Stop at once. `result` still gives what was measured."""
        running, self._running = self._running, None
        if running is not None:
            if self._result is None:
                running.abort()
                self._result = running.result(interrupted=True)
            running.close()

    def result(self) -> Result:
        """The whole measurement so far, final once the iteration has ended. `RuntimeError` before it has begun."""
        if self._result is not None:
            return self._result
        if self._running is None:
            raise RuntimeError("the measurement has not begun: iterate over it first")
        return self._running.result(interrupted=not self._running.finished)

    async def __aiter__(self) -> AsyncIterator[Interval]:
        running = await self._open()
        loop = asyncio.get_running_loop()
        due = loop.time()
        try:
            while not running.finished:
                due += self._report_interval_ns / defaults.NANOS
                batches: list[SampleBatch] = []
                events: list[Event] = []
                while True:
                    batch = running.take()
                    if len(batch):
                        batches.append(batch)
                    events.extend(running.take_events())
                    remaining_ns = round((due - loop.time()) * defaults.NANOS)
                    if running.finished or remaining_ns <= 0:
                        break
                    if running.coalesce_ns:
                        await asyncio.sleep(min(running.coalesce_ns, remaining_ns) / defaults.NANOS)
                    deadline_ns = running.remaining_ns()
                    await _readable(
                        running.fileno(), remaining_ns if deadline_ns is None else min(remaining_ns, deadline_ns)
                    )
                if running.finished:
                    self._result = running.result()
                yield Interval(running.take_interval(), tuple(batches), tuple(events))
        finally:
            self.close()


def stream(
    target: str | Measurement,
    *,
    report_interval_ns: int = defaults.REPORT_INTERVAL_NS,
    **options: Unpack[MeasurementOptions],
) -> MeasurementStream:
    """A long measurement: `async for interval in stream("192.0.2.1", interval_ns=10_000_000): …`.

    Each `Interval` covers about `report_interval_ns`; without `count` and `duration_ns` it goes on until it is left.
    Use `async with stream(…) as measurement` where the iteration may end early and `measurement.result()` is wanted.
    The options are the fields of `Measurement`. Raises what `measure` raises, from the first step.
    """
    return MeasurementStream(measurement_of(target, options, count=None), report_interval_ns)


async def measure_async(
    target: str | Measurement,
    *,
    on_samples: Callable[[SampleBatch], None] | None = None,
    **options: Unpack[MeasurementOptions],
) -> Result:
    """As `twoway.measure`, on an event loop. Cancelling it stops the measurement at once."""
    measurement = measurement_of(target, options, count=defaults.API_COUNT)
    if on_samples is None:
        measurement = replace(measurement, sample_capacity=0)
    async with MeasurementStream(measurement, defaults.REPORT_INTERVAL_NS) as running:
        async for interval in running:
            if on_samples is not None:
                for batch in interval.samples:
                    on_samples(batch)
        return running.result()
