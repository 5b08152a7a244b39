"""Any window of the store is the merge of the seconds in it, whatever the clock did, whenever the daemon ended."""

from __future__ import annotations

import asyncio
import random
import tempfile
from collections import defaultdict
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from twoway._native import IntervalSummary
from twoway.config.plan import StorePlan
from twoway.drivers.summaries import PackedSummaries
from twoway.store import Store

from .counted import FOREVER, NANOS, NOON_S, packed, store

KEYS = (("core-fra", "voice"), ("core-fra", "video"))
SPAN_S = 3 * 86400
Put = tuple[int, int, int]
"""A second after noon, which test-session, and its round-trip time."""

# Mostly close together, as in minutes that fill up; sometimes far apart or back, as when the clock is set.
_RUNS = st.lists(
    st.tuples(st.integers(0, SPAN_S), st.integers(1, 40), st.sampled_from([1, 7, 61, 3600])), min_size=1, max_size=6
)
_EDGE = st.integers(-90, SPAN_S + 90) | st.sampled_from([0, 60, 3600, 86400 // 2, 86400, SPAN_S])
_WINDOWS = st.lists(st.tuples(_EDGE, _EDGE), min_size=1, max_size=8)


def seconds_of(runs: list[tuple[int, int, int]]) -> list[Put]:
    return [(start + n * step, (start + n) % 2, start * 1000 + n) for start, count, step in runs for n in range(count)]


class Oracle:
    """A plain list of everything."""

    def __init__(self) -> None:
        self._puts: list[Put] = []

    def put(self, put: Put) -> None:
        self._puts.append(put)

    def values(self, key: int, start_s: int, end_s: int) -> list[int]:
        return sorted(value for second, k, value in self._puts if k == key and start_s <= second < end_s)

    def steps(self, key: int, start_s: int, end_s: int, step_s: int) -> dict[int, list[int]]:
        """In whole steps, counted from 1970."""
        first, last = (NOON_S + start_s) // step_s, -(-(NOON_S + end_s) // step_s)
        found: defaultdict[int, list[int]] = defaultdict(list)
        for second, k, value in self._puts:
            step = (NOON_S + second) // step_s
            if k == key and first <= step < last:
                found[step * step_s].append(value)
        return {start: sorted(values) for start, values in found.items()}


async def live(path: Path, puts: list[Put], oracle: Oracle, *, thorough: bool) -> None:
    """One life of the daemon, which ends with what it was doing half done or all done."""
    kept = store(path)
    await kept.open()
    for put in puts:
        oracle.put(put)
        assert kept.put_second(NOON_S + put[0], [(KEYS[put[1]], packed(put[2]))])
    await kept.flush()
    if thorough:
        async with asyncio.timeout(20):
            while int(kept.state()["pending_spans"]) > 4:  # noqa: ASYNC110  (another thread's doing: no event)
                await asyncio.sleep(0.002)
    await kept.close()


async def check(kept: Store, oracle: Oracle, windows: list[tuple[int, int]]) -> None:
    for one, other in windows:
        start_s, end_s = sorted((one, other))
        for number, key in enumerate(KEYS):
            bounds = ((NOON_S + start_s) * NANOS, (NOON_S + end_s) * NANOS)
            window = await kept.summary(key, *bounds)
            expected = oracle.values(number, start_s, end_s)
            found = [] if window.summary is None else window.summary.distribution("round_trip").values  # type: ignore[attr-defined]  # of tests.unit.measured
            assert found == expected
            assert window.exact
            for step_s in (1, 300, 3600, 86400) if start_s < end_s else ():
                points = await kept.window(key, *bounds, step_s * NANOS)
                values = {p.start_ns // NANOS: p.summary.distribution("round_trip").values for p in points}  # type: ignore[attr-defined]  # as above
                assert values == oracle.steps(number, start_s, end_s, step_s)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(_RUNS, st.booleans()), min_size=1, max_size=3), _WINDOWS)
def test_any_window_is_the_merge_of_its_seconds(
    lives: list[tuple[list[tuple[int, int, int]], bool]], windows: list[tuple[int, int]]
) -> None:
    async def run() -> None:
        oracle = Oracle()
        with tempfile.TemporaryDirectory() as directory:
            path = Path(directory) / "store.db"
            for runs, thorough in lives:
                await live(path, seconds_of(runs), oracle, thorough=thorough)
            kept = store(path)
            await kept.open()
            await check(kept, oracle, windows)  # while it rolls up what the last life left
            await kept.close()

    asyncio.run(run())


async def test_windows_of_native_summaries_are_their_merge_in_every_tier_and_over_a_restart(tmp_path: Path) -> None:
    """A probe a second for 50 hours, put a minute at a time."""
    path, minutes = tmp_path / "store.db", 50 * 60
    chance = random.Random(4)  # noqa: S311  (the same each time)
    round_trips = [20_000_000 + int(chance.expovariate(1 / 300_000)) for _ in range(minutes * 60)]
    made = IntervalSummary.made(
        start_ns=NOON_S * NANOS, interval_ns=NANOS, round_trips_ns=round_trips, forward_ns=9_000_000, per_summary=60
    )
    for part in range(0, minutes, 1000):
        kept = Store(StorePlan(path, **FOREVER), PackedSummaries(), lambda _: None)
        await kept.open()
        for minute in range(part, min(part + 1000, minutes)):
            kept.put_second(NOON_S + 60 * minute, [(KEYS[0], made[minute])])
        await kept.close()
    kept = Store(StorePlan(path, **FOREVER), PackedSummaries(), lambda _: None)
    await kept.open()
    for start, end in ((0, 1), (7, 1400), (59, 61), (990, 1010), (1500, 2999), (0, 3000), (12, 2900), (60, 1620)):
        window = await kept.summary(KEYS[0], (NOON_S + 60 * start) * NANOS, (NOON_S + 60 * end) * NANOS)
        assert window.exact
        assert isinstance(window.summary, IntervalSummary)
        whole = IntervalSummary.merge_packed(made[start:end])
        if end - start <= 1500:
            assert window.summary.pack() == whole.pack()
        else:  # made of hours or days, whose histograms are coarser; all else is exact
            assert window.summary.coarsened(64).pack() == whole.coarsened(64).pack()
            p99 = whole.distribution("round_trip").quantile(0.99) or 0
            assert window.summary.distribution("round_trip").quantile(0.99) == pytest.approx(p99, rel=0.02)
    await kept.close()
