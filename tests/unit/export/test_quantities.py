"""Numbers for people."""

import pytest

from twoway.export.quantities import MILLISECONDS, duration, endpoint, moment, percent, setting, traffic_class


@pytest.mark.parametrize(
    ("value_ns", "text"),
    [
        (0, "0 ns"),
        (999, "999 ns"),
        (1_000, "1.0 µs"),
        (212_449, "212.4 µs"),
        (1_000_000, "1.000 ms"),
        (-2_500_000, "-2.500 ms"),
        (9_999_999_999, "10000.000 ms"),
        (12_345_678_901, "12.346 s"),
    ],
)
def test_a_duration_has_a_fitting_unit(value_ns: int, text: str) -> None:
    assert duration(value_ns) == text


@pytest.mark.parametrize(
    ("value_ns", "text"),
    [(20_000_000, "20 ms"), (1_500_000_000, "1.5 s"), (500, "500 ns"), (333_333_333, "333.333 ms"), (0, "0 ns")],
)
def test_a_setting_has_no_digits_that_say_nothing(value_ns: int, text: str) -> None:
    assert setting(value_ns) == text


def test_what_rounds_to_nothing_has_no_sign() -> None:
    assert MILLISECONDS.number(-1) == "0.000"


@pytest.mark.parametrize(
    ("ratio", "text"),
    [(0.0, "0%"), (1.0, "100%"), (1 / 3, "33.3333%"), (0.0001, "0.01%"), (0.99999999, "99.999999%"), (1.5, "150%")],
)
def test_a_percentage_is_as_ping_writes_it(ratio: float, text: str) -> None:
    assert percent(ratio) == text


def test_names_of_traffic_classes() -> None:
    assert [traffic_class(octet) for octet in (0, 46 << 2, 34 << 2 | 2, 7 << 2 | 3)] == [
        "be",
        "ef",
        "af41 ECT(0)",
        "7 CE",
    ]


def test_moments_and_endpoints() -> None:
    assert moment(1_767_323_045_999_999_999) == "2026-01-02 03:04:05 UTC"
    assert endpoint("192.0.2.1", 862) == "192.0.2.1:862"
    assert endpoint("2001:db8::1", 862) == "[2001:db8::1]:862"
