"""Any window of the store is the merge of the seconds in it, whatever the clock did, whenever the daemon ended."""

from __future__ import annotations

import asyncio
import tempfile
from collections import defaultdict
from pathlib import Path
from typing import TYPE_CHECKING

from hypothesis import given, settings
from hypothesis import strategies as st

from .counted import NANOS, NOON_S, packed, store

if TYPE_CHECKING:
    from twoway.store import Store

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
