"""From when on ages are counted, and how a file becomes smaller."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from hypothesis import given
from hypothesis import strategies as st

from twoway.store import schema
from twoway.store.retention import Horizon, give_back, size

if TYPE_CHECKING:
    from pathlib import Path

MINUTE = 60 * 10**9
HOUR = 60 * MINUTE
WALL = 1_767_355_200 * 10**9


def test_it_is_the_wall_clock_while_that_is_steady() -> None:
    horizon = Horizon(None)
    assert [horizon.at(WALL + n * MINUTE, n * MINUTE) for n in range(100)] == [WALL + n * MINUTE for n in range(100)]


def test_a_leap_ahead_counts_once_it_has_lasted_an_hour() -> None:
    horizon = Horizon(None)
    horizon.at(WALL, 0)
    leaps = [horizon.at(WALL + 24 * HOUR + n * MINUTE, n * MINUTE) for n in range(1, 62)]
    assert leaps[:60] == [WALL + n * MINUTE for n in range(1, 61)]
    assert leaps[60] == WALL + 24 * HOUR + 61 * MINUTE


def test_a_clock_set_back_counts_at_once() -> None:
    horizon = Horizon(None)
    horizon.at(WALL, 0)
    assert horizon.at(WALL - HOUR, MINUTE) == WALL - HOUR


def test_in_the_first_hour_nothing_is_older_than_the_newest_of_the_store_says() -> None:
    horizon = Horizon(WALL - 100 * HOUR)
    assert horizon.at(WALL, 0) == WALL - 100 * HOUR
    assert horizon.at(WALL + MINUTE, MINUTE) == WALL - 100 * HOUR + MINUTE
    assert horizon.at(WALL + 61 * MINUTE, 61 * MINUTE) == WALL + 61 * MINUTE


@given(st.lists(st.tuples(st.integers(1, 30 * MINUTE), st.integers(-HOUR, HOUR)), max_size=50))
def test_it_is_the_least_offset_of_the_last_hour(steps: list[tuple[int, int]]) -> None:
    horizon, monotonic, offset = Horizon(None), 0, WALL
    seen: list[tuple[int, int]] = []
    for pause, step in steps:
        monotonic, offset = monotonic + pause, offset + step
        seen.append((monotonic, offset))
        least = min(o for at, o in seen if at >= monotonic - HOUR)
        assert horizon.at(monotonic + offset, monotonic) == monotonic + least


def test_all_the_pages_that_are_asked_for_are_given_back_at_once(tmp_path: Path) -> None:
    with contextlib.closing(schema.connect(tmp_path / "store.db")) as connection:
        schema.migrate(connection)
        event = (0, "started", "x" * 3 * schema.PAGE_OCTETS)
        connection.executemany("INSERT INTO event (at_ns, name, data) VALUES (?, ?, ?)", [event] * 100)
        connection.execute("DELETE FROM event")
        before = size(connection)
        assert before.file - before.used >= 300 * schema.PAGE_OCTETS
        give_back(connection, 256)
        assert size(connection).file == before.file - 256 * schema.PAGE_OCTETS
        give_back(connection, 256)
        assert size(connection).file == size(connection).used
