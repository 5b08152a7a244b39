"""Durations, sizes, rates and lists of percentiles."""

from __future__ import annotations

from decimal import ROUND_HALF_UP, Decimal
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from twoway.config import units
from twoway.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable


def refusal(parse: Callable[[str], object], text: str) -> str:
    """What is said against `text`, empty if nothing."""
    try:
        parse(text)
    except ConfigError as error:
        return str(error)
    return ""


@pytest.mark.parametrize(
    ("text", "duration_ns"),
    [
        ("1", 1_000_000_000),
        ("0.2", 200_000_000),
        (".5", 500_000_000),
        ("1s", 1_000_000_000),
        ("20ms", 20_000_000),
        ("20 ms", 20_000_000),
        ("500us", 500_000),
        ("500\u00b5s", 500_000),
        ("500\u03bcs", 500_000),
        ("7ns", 7),
        ("1.5ms", 1_500_000),
        ("0.1us", 100),
        ("2m", 120_000_000_000),
        ("2min", 120_000_000_000),
        ("1h", 3_600_000_000_000),
        ("1.5S", 1_500_000_000),
        ("0.0000000005", 1),
        ("0.0000000004", 0),
        ("0", 0),
    ],
)
def test_durations(text: str, duration_ns: int) -> None:
    assert units.parse_duration_ns(text) == duration_ns


BAD_DURATIONS = ["", " ", "ms", "-1", "+1", "1x", "1.", "1e3", "1_000", "nan", "inf", "1 2", "0x10", "\u0661", "1s1"]


@pytest.mark.parametrize("text", BAD_DURATIONS)
def test_what_is_no_duration(text: str) -> None:
    with pytest.raises(ConfigError) as caught:
        units.parse_duration_ns(text, "interval")
    assert str(caught.value) == f"interval: {text!r} is not a duration such as 20ms, 1s or 0.5 (seconds)"


def test_durations_end_somewhere() -> None:
    with pytest.raises(ConfigError, match="longer than a century"):
        units.parse_duration_ns("9999999999")
    with pytest.raises(ConfigError, match="'0ms' is not more than 0"):
        units.parse_positive_duration_ns("0ms")


@given(
    st.integers(0, 10**6),
    st.integers(0, 10**9 - 1),
    st.sampled_from([("ns", 1), ("us", 10**3), ("ms", 10**6), ("s", 10**9)]),
)
def test_durations_are_exact(whole: int, fraction: int, unit: tuple[str, int]) -> None:
    text = f"{whole}.{fraction:09d}"
    exact = (Decimal(text) * unit[1]).to_integral_value(ROUND_HALF_UP)
    assert units.parse_duration_ns(text + unit[0]) == exact


@given(st.integers(0, units.MAX_NS))
def test_a_duration_reads_back(duration_ns: int) -> None:
    assert units.parse_duration_ns(units.duration_text(duration_ns)) == duration_ns


@given(st.integers(0, 2**40))
def test_a_size_reads_back(octets: int) -> None:
    assert units.parse_octets(units.octets_text(octets)) == octets


@given(st.text())
def test_any_text_is_a_duration_or_one_line(text: str) -> None:
    for parse in (units.parse_duration_ns, units.parse_octets, units.parse_rate, units.parse_percentiles):
        assert refusal(parse, text).isprintable()


@pytest.mark.parametrize(
    ("parse", "text", "value"),
    [
        (units.parse_octets, "1400", 1400),
        (units.parse_octets, "64k", 65536),
        (units.parse_octets, "1.5k", 1536),
        (units.parse_octets, "4M", 4 << 20),
        (units.parse_octets, "1GiB", 1 << 30),
        (units.parse_rate, "500", 500),
        (units.parse_rate, "10k", 10_000),
        (units.parse_rate, "1.5M/s", 1_500_000),
        (units.parse_rate, "0", 0),
        (units.parse_percentiles, "50,95,99.9", (50.0, 95.0, 99.9)),
        (units.parse_percentiles, "99,50,99", (50.0, 99.0)),
    ],
)
def test_other_quantities(parse: Callable[[str], object], text: str, value: object) -> None:
    assert parse(text) == value


@pytest.mark.parametrize("text", ["", "50,", "101", "-1", "a", "nan", "inf"])
def test_what_is_no_list_of_percentiles(text: str) -> None:
    with pytest.raises(ConfigError, match=r"is not a list of percentiles such as 50,95,99\.9"):
        units.parse_percentiles(text)


@pytest.mark.parametrize(("text", "value"), [("1", 1), ("255", 255), ("0xff", 255)])
def test_numbers(text: str, value: int) -> None:
    assert units.parse_integer(text, "ttl", 1, 255) == value


@pytest.mark.parametrize("text", ["0", "256", "x", "", "1.0"])
def test_numbers_out_of_range(text: str) -> None:
    with pytest.raises(ConfigError) as caught:
        units.parse_integer(text, "ttl", 1, 255)
    assert str(caught.value) == f"ttl: {text!r} is not a number from 1 to 255"
