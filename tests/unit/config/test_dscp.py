"""Names of code points, as their RFCs number them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from twoway.config.dscp import DSCP, dscp_name, parse_dscp
from twoway.errors import ConfigError

RFC_VALUES = {
    "cs0": 0b000000, "cs1": 0b001000, "cs2": 0b010000, "cs3": 0b011000,
    "cs4": 0b100000, "cs5": 0b101000, "cs6": 0b110000, "cs7": 0b111000,
    "af11": 0b001010, "af12": 0b001100, "af13": 0b001110,
    "af21": 0b010010, "af22": 0b010100, "af23": 0b010110,
    "af31": 0b011010, "af32": 0b011100, "af33": 0b011110,
    "af41": 0b100010, "af42": 0b100100, "af43": 0b100110,
    "ef": 0b101110, "va": 0b101100, "le": 0b000001, "be": 0b000000,
}  # fmt: skip
"""RFC 2474 section 4.2.2, RFC 2597 section 6, RFC 3246 section 2.7, RFC 5865 section 4, RFC 8622 section 2."""


def test_the_table_is_the_rfcs() -> None:
    assert DSCP == RFC_VALUES


@pytest.mark.parametrize(
    ("text", "value"),
    [("EF", 46), (" af41 ", 34), ("default", 0), ("df", 0), ("voice-admit", 44), ("46", 46), ("0x2e", 46), ("63", 63)],
)
def test_names_and_numbers(text: str, value: int) -> None:
    assert parse_dscp(text) == value


@pytest.mark.parametrize("text", ["", "64", "-1", "af44", "cs8", "ef1", "1.5"])
def test_what_is_no_dscp(text: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_dscp(text)
    assert str(caught.value) == (
        f"dscp: {text!r} is no DSCP: use ef, af11 to af43, cs0 to cs7, va, le, be or a number from 0 to 63"
    )


@given(st.integers(0, 63))
def test_a_name_reads_back(value: int) -> None:
    assert parse_dscp(dscp_name(value)) == value


def test_code_point_0_is_best_effort() -> None:
    assert dscp_name(0) == "be"
