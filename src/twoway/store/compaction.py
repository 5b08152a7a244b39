"""Rolling up: the journal's rows of one span become a block for each test-session, and a unit of the next tier.

A step does this for one span and one chunk of test-sessions in one transaction, so that it happened or did not: an end
at any moment counts nothing twice. Nothing decides for good that a span is complete. What comes for it later (the clock
was set back) goes through the journal again and is merged into the block and the coarser units that are there already.
"""

from __future__ import annotations

from collections import defaultdict
from itertools import chain
from typing import TYPE_CHECKING

from twoway.store import blocks
from twoway.store.schema import CHUNK_BITS, block_key
from twoway.store.summaries import pack_readable
from twoway.store.tiers import TIERS

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterable

    from twoway.store.summaries import Summaries
    from twoway.store.tiers import Tier

Units = dict[int, list[bytes]]
"""Number of a unit -> the packed summaries that make it up."""


def write_journal(
    connection: sqlite3.Connection, tier: Tier, unit: int, summaries: Iterable[tuple[int, bytes]]
) -> None:
    """Put the packed summaries of one unit, by number of the test-session, into a tier's journal."""
    chunks: defaultdict[int, list[tuple[int, bytes]]] = defaultdict(list)
    for session, packed in summaries:
        chunks[session >> CHUNK_BITS].append((session, packed))
    connection.executemany(
        f"INSERT INTO {tier.word}_journal (unit, chunk, data) VALUES (?, ?, ?)",
        [(unit, chunk, blocks.pack(entries)) for chunk, entries in chunks.items()],
    )


def pending(connection: sqlite3.Connection, tier: Tier) -> list[tuple[int, int]]:
    """(span, chunk) of everything that is in a tier's journal."""
    query = f"SELECT DISTINCT unit / {tier.units}, chunk FROM {tier.word}_journal"
    return [(int(group), int(chunk)) for group, chunk in connection.execute(query)]


def roll_up(
    connection: sqlite3.Connection, tier: Tier, group: int, chunk: int, summaries: Summaries, *, keep: bool
) -> int:
    """One step, within the caller's transaction. `keep`: whether the tier's own blocks are kept.

    Returns how many summaries could not be read, and are gone.
    """
    first = group * tier.units
    fresh, unreadable = _journal(connection, tier, range(first, first + tier.units), chunk)
    # First, so that what follows is written into the pages that this sets free.
    connection.execute(
        f"DELETE FROM {tier.word}_journal WHERE chunk = ? AND unit BETWEEN ? AND ?",
        (chunk, first, first + tier.units - 1),
    )
    if not keep:
        connection.execute(
            "UPDATE tier SET kept_since_s = max(kept_since_s, ?) WHERE level = ?",
            ((group + 1) * tier.block_s, tier.level),
        )
    coarser = TIERS[tier.level + 1] if tier.level + 1 < len(TIERS) else None
    rows, rolled = [], []
    there = _blocks(connection, tier, group, chunk) if keep else {}
    for session, units in fresh.items():
        if coarser is not None:
            merged, lost = pack_readable(list(chain.from_iterable(units.values())), coarser.max_buckets, summaries)
            unreadable += lost
            if merged is not None:
                rolled.append((session, merged))
        if keep:
            key = block_key(group, session)
            if key in there:
                unreadable += _add_block(units, there[key], first)
            entries = []
            for unit in sorted(units):
                one, _ = (
                    (units[unit][0], 0)
                    if len(units[unit]) == 1
                    else pack_readable(units[unit], tier.max_buckets, summaries)
                )
                if one is not None:
                    entries.append((unit - first, one))
            rows.append((key, blocks.deflate(blocks.pack(entries))))
    if rows:
        statement = f"INSERT OR REPLACE INTO {tier.word}_block (key, data) VALUES (?, ?)"
        connection.executemany(statement, rows)
    if coarser is not None:
        write_journal(connection, coarser, group, rolled)
    return unreadable


def _journal(connection: sqlite3.Connection, tier: Tier, units: range, chunk: int) -> tuple[dict[int, Units], int]:
    """Test-session -> its units, and how many rows could not be read."""
    found: dict[int, Units] = {}
    unreadable = 0
    query = f"SELECT unit, data FROM {tier.word}_journal WHERE chunk = ? AND unit BETWEEN ? AND ?"
    for unit, data in connection.execute(query, (chunk, units.start, units.stop - 1)):
        try:
            entries = blocks.unpack(data)
        except blocks.UnreadableError:
            unreadable += 1
            continue
        for session, packed in entries:
            found.setdefault(session, {}).setdefault(unit, []).append(packed)
    return found, unreadable


def _blocks(connection: sqlite3.Connection, tier: Tier, group: int, chunk: int) -> dict[int, bytes]:
    """The blocks that are there already for a span and a chunk: none, unless the clock was set back."""
    first = block_key(group, chunk << CHUNK_BITS)
    query = f"SELECT key, data FROM {tier.word}_block WHERE key BETWEEN ? AND ?"
    return dict(connection.execute(query, (first, first + (1 << CHUNK_BITS) - 1)))


def _add_block(units: Units, data: bytes, first: int) -> int:
    """Put what a block has into `units`. Returns 1 if it cannot be read."""
    try:
        entries = blocks.unpack(data)
    except blocks.UnreadableError:
        return 1
    for offset, packed in entries:
        units.setdefault(first + offset, []).append(packed)
    return 0
