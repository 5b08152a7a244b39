"""Per-probe rows in the file: written each second, so that a crash costs no more, and joined to larger rows later.

A row of one second is mostly overhead; sixty-four joined take a tenth of their room. Joining is one transaction, as any
chore of the writer is.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from twoway.store import probes
from twoway.store.blocks import UnreadableError

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Sequence

    from twoway.store.queued import History

MANY = 64
"""Rows of a test-session that are joined."""
LARGE = 10_000
"""Probes of a row that is large enough as it is."""


def write(connection: sqlite3.Connection, session: int, item: History) -> int | None:
    """Insert a row. Returns its number if it is to be joined with others."""
    statement = "INSERT INTO history (session, start_ns, end_ns, probes, data) VALUES (?, ?, ?, ?, ?) RETURNING id"
    row = (session, item.start_ns, item.end_ns, item.probes, item.data())
    (number,) = connection.execute(statement, row).fetchone()
    return int(number) if item.probes < LARGE else None


def join(connection: sqlite3.Connection, session: int, numbers: Sequence[int]) -> int:
    """Make one row of these, as far as they are still there. Returns how many could not be read, and are gone."""
    these = f"session = ? AND id IN ({', '.join('?' * len(numbers))})"
    query = f"SELECT start_ns, end_ns, data FROM history WHERE {these} ORDER BY start_ns, id"
    rows = connection.execute(query, (session, *numbers)).fetchall()
    parts, unreadable = [], 0
    for _, _, data in rows:
        try:
            parts.append(probes.unpack(data))
        except UnreadableError:
            unreadable += 1
    connection.execute(f"DELETE FROM history WHERE {these}", (session, *numbers))
    if parts:
        start_ns, end_ns = min(row[0] for row in rows), max(row[1] for row in rows)
        statement = "INSERT INTO history (session, start_ns, end_ns, probes, data) VALUES (?, ?, ?, ?, ?)"
        row = (session, start_ns, end_ns, sum(map(len, parts)), probes.join(parts))
        connection.execute(statement, row)
    return unreadable
