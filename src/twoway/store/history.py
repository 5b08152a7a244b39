"""Per-probe rows in the file: written each second, so that a crash costs no more, and joined to larger rows later.

A row of one second is mostly overhead; sixty-four joined take a tenth of their room. Joining is one transaction, as any
chore of the writer is. The probes of a test-session are numbered as they come, and keep their numbers when rows are
joined: who reads them piece by piece knows by the number where to go on.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from twoway.store import probes
from twoway.store.blocks import UnreadableError

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Sequence

    from twoway.store.probes import Probes
    from twoway.store.queued import History

MANY = 64
"""Rows of a test-session that are joined."""
LARGE = 10_000
"""Probes of a row that is large enough as it is."""
_INSERT = "INSERT INTO history (session, start_ns, end_ns, probes, data, first) VALUES (?, ?, ?, ?, ?, ?)"


def write(connection: sqlite3.Connection, session: int, item: History) -> int | None:
    """Insert a row. Returns its number if it is to be joined with others."""
    statement = """INSERT INTO numbered (session, next) VALUES (?, ?)
        ON CONFLICT (session) DO UPDATE SET next = next + excluded.next RETURNING next"""
    (following,) = connection.execute(statement, (session, item.probes)).fetchone()
    start_ns, end_ns, data = item.packed()
    row = (session, start_ns, end_ns, item.probes, data, following - item.probes)
    (number,) = connection.execute(f"{_INSERT} RETURNING id", row).fetchone()
    return int(number) if item.probes < LARGE else None


def join(connection: sqlite3.Connection, session: int, numbers: Sequence[int]) -> int:
    """Make one row of these, as far as they are still there: one for each run of numbers without a gap.

    Returns how many could not be read, and are gone.
    """
    these = f"session = ? AND id IN ({', '.join('?' * len(numbers))})"
    query = f"SELECT start_ns, end_ns, first, data FROM history WHERE {these} ORDER BY first"
    rows = connection.execute(query, (session, *numbers)).fetchall()
    runs: list[list[tuple[int, int, int, Probes]]] = []
    unreadable, following = 0, -1
    for start_ns, end_ns, first, data in rows:
        try:
            part = probes.unpack(data)
        except UnreadableError:
            unreadable += 1
            continue
        if first != following:
            runs.append([])
        runs[-1].append((start_ns, end_ns, first, part))
        following = first + len(part)
    connection.execute(f"DELETE FROM history WHERE {these}", (session, *numbers))
    for run in runs:
        parts = [part for *_, part in run]
        span_ns = min(start_ns for start_ns, *_ in run), max(end_ns for _, end_ns, *_ in run)
        connection.execute(_INSERT, (session, *span_ns, sum(map(len, parts)), probes.join(parts), run[0][2]))
    return unreadable
