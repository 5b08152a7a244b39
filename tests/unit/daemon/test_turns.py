"""When the paths of one test-session send: in turn within each interval, and together again after a fault."""

from __future__ import annotations

from dataclasses import replace

import pytest

from twoway.config.plan import Lane
from twoway.daemon.connection import Turns

from .plans import MS, light

SECOND = 1000 * MS
BEGINS = 7 * SECOND + 123
_INTERVAL_NS = 30 * MS


def starts(turns: Turns, now_ns: int, probe_count: int = 5, test_interval_ns: int = 30 * MS) -> list[int]:
    """When each of three paths is to begin, with probes 30 ms apart."""
    plan = light(interval_ns=_INTERVAL_NS, probe_count=probe_count, test_interval_ns=test_interval_ns)
    lanes = [Lane("v", str(place), place, 3) for place in range(3)]
    return [turns.start_ns(replace(plan, lane=lane), _INTERVAL_NS, now_ns) for lane in lanes]


def test_paths_take_turns_within_an_interval() -> None:
    assert starts(Turns(BEGINS), BEGINS - 50 * MS) == [BEGINS, BEGINS + 10 * MS, BEGINS + 20 * MS]


def test_who_comes_later_joins_at_the_next_test() -> None:
    """Tests of ten probes at 30 ms, a pause of 1 s between the last of one and the first of the next."""
    cycle_ns = 9 * 30 * MS + SECOND
    found = starts(Turns(BEGINS), BEGINS + 3 * cycle_ns + 1, probe_count=10, test_interval_ns=SECOND)
    assert found == [BEGINS + 4 * cycle_ns, BEGINS + 3 * cycle_ns + 10 * MS, BEGINS + 3 * cycle_ns + 20 * MS]


@pytest.mark.parametrize(("probe_count", "pause_ns"), [(0, SECOND), (10, 3600 * SECOND)])
def test_who_comes_later_joins_at_the_next_interval_where_no_test_begins_soon(probe_count: int, pause_ns: int) -> None:
    now_ns = BEGINS + 60 * MS * 1000 + 15 * MS
    assert starts(Turns(BEGINS), now_ns, probe_count, pause_ns) == [
        now_ns + 15 * MS,
        now_ns + 25 * MS,
        now_ns + 5 * MS,
    ]


def test_random_departures_are_those_of_all() -> None:
    assert Turns(0).seed != Turns(0).seed


def test_a_session_with_one_path_takes_no_turns() -> None:
    with pytest.raises(ValueError, match="one path"):
        Turns(0).start_ns(light(), MS, 0)
