"""Measurements on an event loop."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

import twoway
from twoway.errors import ResolveError

if TYPE_CHECKING:
    from conftest import FakeNative


async def test_one_call_measures(native: FakeNative) -> None:
    rows: list[int] = []
    result = await twoway.measure_async("192.0.2.1", count=3, on_samples=lambda b: rows.extend(b.sequence.tolist()))
    assert result.summary.counter("received") == 3
    assert rows == [0, 1, 2]
    assert not result.interrupted
    assert native.planes[0].closed


@pytest.mark.usefixtures("native")
async def test_a_stream_gives_intervals() -> None:
    sequences: list[int] = []
    async for interval in twoway.stream("192.0.2.1", report_interval_ns=1_000_000):
        assert interval.summary.counter("sent") >= 1
        sequences += [value for batch in interval.samples for value in batch.sequence.tolist()]
        if len(sequences) >= 5:
            break
    assert sequences == list(range(len(sequences)))


async def test_leaving_a_stream_keeps_the_result(native: FakeNative) -> None:
    async with twoway.stream("192.0.2.1", report_interval_ns=1_000_000) as measurement:
        async for _ in measurement:
            break
    assert measurement.result().interrupted
    assert native.senders[0].aborted
    assert native.planes[0].closed


async def test_a_finished_stream_has_a_complete_result(native: FakeNative) -> None:
    measurement = twoway.stream("192.0.2.1", count=2)
    assert [interval.summary.counter("sent") async for interval in measurement] == [2]
    assert not measurement.result().interrupted
    assert native.planes[0].closed


@pytest.mark.usefixtures("native")
async def test_a_result_before_the_beginning() -> None:
    with pytest.raises(RuntimeError, match="the measurement has not begun"):
        twoway.stream("192.0.2.1").result()


async def test_cancelling_stops_at_once(native: FakeNative) -> None:
    begun = asyncio.Event()
    task = asyncio.create_task(
        twoway.measure_async("192.0.2.1", count=None, on_samples=lambda _: begun.set(), interval_ns=10**9)
    )
    await begun.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert native.planes[0].closed


@pytest.mark.usefixtures("native")
async def test_a_name_that_does_not_resolve() -> None:
    with pytest.raises(ResolveError, match=r"resolve nowhere\.invalid: "):
        await twoway.measure_async("nowhere.invalid")
