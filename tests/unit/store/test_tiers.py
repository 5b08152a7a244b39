"""Which units a window is made of."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from twoway.store.tiers import TIERS, Piece, cover, tier_for

ALL = (0, 0, 0, 0)
SECONDS = st.integers(0, 40 * 86400)


def spans(pieces: list[Piece]) -> list[tuple[str, int, int]]:
    return [(piece.tier.name, piece.start_s, piece.end_s) for piece in pieces]


def test_whole_hours_come_from_hours_and_the_rest_from_what_is_finer() -> None:
    assert spans(list(cover(3600 - 61, 2 * 3600 + 3661, ALL))) == [
        ("1s", 3539, 3540),
        ("1min", 3540, 3600),
        ("1h", 3600, 10800),
        ("1min", 10800, 10860),
        ("1s", 10860, 10861),
    ]


def test_a_window_across_one_boundary_has_no_whole_hour() -> None:
    assert spans(list(cover(3590, 3610, ALL))) == [("1s", 3590, 3610)]


def test_where_seconds_are_gone_the_whole_minute_is_taken() -> None:
    assert spans(list(cover(3590, 7261, (7200, 0, 0, 0)))) == [
        ("1min", 3540, 3600),
        ("1h", 3600, 7200),
        ("1min", 7200, 7260),
        ("1s", 7260, 7261),
    ]


def test_where_minutes_are_gone_too_the_whole_hour_is_taken() -> None:
    assert spans(list(cover(3590, 7210, (9000, 9000, 0, 0)))) == [
        ("1h", 0, 3600),
        ("1h", 3600, 7200),
        ("1h", 7200, 10800),
    ]


def test_an_empty_window_has_no_units() -> None:
    assert list(cover(5, 5, ALL)) == list(cover(7, 3, ALL)) == []


@given(SECONDS, SECONDS, st.tuples(SECONDS, SECONDS))
def test_units_adjoin_and_hold_the_window(one: int, other: int, since: tuple[int, int]) -> None:
    start, end = sorted((one, other))
    pieces = list(cover(start, end, (max(since), min(since), 0, 0)))
    assert all(before.end_s == after.start_s for before, after in pairwise(pieces))
    if start < end:
        assert pieces[0].start_s <= start
        assert pieces[-1].end_s >= end
        assert start - pieces[0].start_s < 3600
        assert pieces[-1].end_s - end < 3600
    if not any(since):
        assert not pieces or (pieces[0].start_s, pieces[-1].end_s) == (start, end)


@pytest.mark.parametrize(
    ("resolution_s", "name"), [(1, "1s"), (90, "1s"), (300, "1min"), (86400 // 2, "1h"), (86400, "1d")]
)
def test_steps_are_made_of_the_coarsest_units_that_fit(resolution_s: int, name: str) -> None:
    assert tier_for(resolution_s).name == name


def test_a_block_is_a_unit_of_the_next_tier() -> None:
    assert [tier.block_s for tier in TIERS[:-1]] == [tier.unit_s for tier in TIERS[1:]]
