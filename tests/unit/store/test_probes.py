"""Per-probe rows as octets."""

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from twoway.analysis import samples
from twoway.store import probes
from twoway.store.blocks import UnreadableError

from .counted import batch

ROUND_TRIPS = st.none() | st.integers(-(2**62), 2**62)
ROWS = st.lists(st.tuples(st.integers(0, 2**62), st.integers(0, 9), ROUND_TRIPS), max_size=40)


def test_every_column_of_a_sample_is_kept() -> None:
    assert set(probes.COLUMNS[max(probes.COLUMNS)]) == {column.name for column in samples.COLUMNS}


@given(ROWS)
def test_what_goes_in_comes_out(rows: list[tuple[int, int, int | None]]) -> None:
    before = batch(*rows)
    again = probes.unpack(probes.pack(before))
    assert len(again) == len(before)
    assert list(samples.rows(again)) == list(samples.rows(before))


@given(ROWS, st.data())
def test_octets_cut_short_are_unreadable(rows: list[tuple[int, int, int | None]], data: st.DataObject) -> None:
    whole = probes.pack(batch(*rows))
    with pytest.raises(UnreadableError):
        probes.unpack(whole[: data.draw(st.integers(0, len(whole) - 1))])


@given(st.binary(max_size=100), st.sampled_from([b"", b"\x01\x02\x00\x00\x00"]))
def test_any_octets_are_rows_or_unreadable(octets: bytes, head: bytes) -> None:
    with contextlib.suppress(UnreadableError):
        probes.unpack(head + octets)
