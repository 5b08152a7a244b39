"""Distributions drawn in the terminal."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from twoway.export.histogram import MAX_ROWS, draw

from ..measured import Numbers

ROW = re.compile(r"\s*-?[0-9.]+ - \s*-?[0-9.]+  [ ▏▎▍▌▋▊▉█]*\s+(?P<count>[0-9]+)\s+[0-9.]+%")


def test_values_close_together_have_equal_steps() -> None:
    values = [205_000] * 6 + [225_000] * 3 + [285_000]
    assert draw(Numbers(values), 60, "round trip") == (
        "round trip (µs, n=10)\n"
        "200 - 210  ████████████████████████████████████████ 6  60.0%\n"
        "210 - 220                                           0   0.0%\n"
        "220 - 230  ████████████████████                     3  30.0%\n"
        "230 - 240                                           0   0.0%\n"
        "240 - 250                                           0   0.0%\n"
        "250 - 260                                           0   0.0%\n"
        "260 - 270                                           0   0.0%\n"
        "270 - 280                                           0   0.0%\n"
        "280 - 290  ██████▋                                  1  10.0%"
    )


def test_a_long_tail_has_growing_steps() -> None:
    rows = draw(Numbers([150_000] * 90 + [1_500_000] * 9 + [150_000_000]), 60, "delay").splitlines()
    assert [row.split()[:3] for row in rows[1:3]] == [["100", "-", "200"], ["200", "-", "500"]]
    assert rows[-1].startswith("100000 - 200000  ▍ ")


def test_nothing_is_said_to_be_nothing() -> None:
    assert draw(Numbers(), 80, "round trip") == "round trip: nothing to draw"


@given(
    values=st.lists(st.integers(-(10**12), 10**12), min_size=1, max_size=40),
    width=st.integers(0, 200),
)
def test_every_value_is_in_one_row_and_no_line_is_too_long(values: list[int], width: int) -> None:
    lines = draw(Numbers(values), width, "x").splitlines()
    matches = [ROW.fullmatch(line) for line in lines[1:]]
    assert all(matches), lines
    assert sum(int(match["count"]) for match in matches if match) == len(values)
    assert len(matches) <= MAX_ROWS
    assert max(map(len, lines[1:])) <= max(width, 60)


@pytest.mark.parametrize("width", [40, 72, 80, 132, 200])
def test_the_longest_bar_fills_the_width(width: int) -> None:
    lines = draw(Numbers([1_000_000, 2_000_000, 2_000_000]), width, "x").splitlines()
    assert max(map(len, lines[1:])) == width
