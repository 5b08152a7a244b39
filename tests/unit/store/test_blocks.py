"""Blobs of packed summaries."""

import contextlib
import sqlite3
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from twoway.store import blocks

ENTRIES = st.lists(st.tuples(st.integers(0, 2**32 - 1), st.binary(max_size=100)), max_size=70)


@contextlib.contextmanager
def stored(octets: bytes) -> Iterator[sqlite3.Blob]:
    """In a row of a table."""
    with contextlib.closing(sqlite3.connect(":memory:")) as connection:
        connection.execute("CREATE TABLE journal (id INTEGER PRIMARY KEY, data BLOB)")
        connection.execute("INSERT INTO journal VALUES (1, ?)", (octets,))
        with connection.blobopen("journal", "data", 1, readonly=True) as row:
            yield row


@given(ENTRIES)
def test_what_goes_in_comes_out(entries: list[tuple[int, bytes]]) -> None:
    plain = blocks.pack(entries)
    assert blocks.unpack(plain) == blocks.unpack(blocks.deflate(plain)) == entries


@given(st.lists(st.tuples(st.integers(0, 9), st.binary(max_size=100)), max_size=70))
def test_one_number_is_found_as_often_as_it_is_there(entries: list[tuple[int, bytes]]) -> None:
    with stored(blocks.pack(entries)) as row:
        for number in range(10):
            assert blocks.find(row, number) == [packed for n, packed in entries if n == number]


def test_what_repeats_is_stored_once() -> None:
    plain = blocks.pack([(minute, b"the same twelve" * 4) for minute in range(60)])
    assert len(blocks.deflate(plain)) < len(plain) / 4


@given(st.binary(max_size=200))
def test_any_octets_are_entries_or_unreadable(octets: bytes) -> None:
    with contextlib.suppress(blocks.UnreadableError):
        assert blocks.pack(blocks.unpack(octets))
    with contextlib.suppress(blocks.UnreadableError), stored(octets) as row:
        assert sum(map(len, blocks.find(row, 0))) <= len(octets)


@given(ENTRIES, st.data())
def test_a_block_cut_short_is_unreadable(entries: list[tuple[int, bytes]], data: st.DataObject) -> None:
    for whole in (blocks.pack(entries), blocks.deflate(blocks.pack(entries))):
        with pytest.raises(blocks.UnreadableError):
            blocks.unpack(whole[: data.draw(st.integers(0, len(whole) - 1))])
    row = blocks.pack(entries)
    with stored(row[: data.draw(st.integers(0, len(row) - 1))]) as short, pytest.raises(blocks.UnreadableError):
        blocks.find(short, 1)


def test_a_block_that_would_inflate_without_end_is_unreadable() -> None:
    bomb = blocks.deflate(bytes((1,)) + bytes(1 << 27))
    assert len(bomb) < 1 << 20
    with pytest.raises(blocks.UnreadableError):
        blocks.unpack(bomb)
