"""The tables of the store, how a connection is set up, and how an older file becomes a newer one.

    session         a test-session's name <-> the small number by which everything else knows it
    *_journal       for each tier, units that are not in blocks yet: a row has one unit of up to 256 test-sessions
    *_block         for each tier, blocks: a row has up to 60 (24) units of one test-session
    tier            since when a tier holds everything: what is older was deleted
    collections     the state of a test-session's collections and history, as it last was
    history         per-probe rows of the test-sessions that keep them; `first` is the number of the first of its probes
    numbered        for each of those the number that its next probe gets: none is given twice
    event           notices
    condition       what was raised and has not been cleared, so that a start does not raise it again

`PRAGMA user_version` counts migrations; `MIGRATIONS[n]` makes version n + 1 of version n. Each runs in a transaction of
its own with the new version.
"""

from __future__ import annotations

import contextlib
import sqlite3
from typing import TYPE_CHECKING

from twoway.store.tiers import TIERS

if TYPE_CHECKING:
    from pathlib import Path

PAGE_OCTETS = 8192
SESSION_BITS = 24
"""Bits of a block's key for the test-session: below them, so that what is written together lies together."""
CHUNK_BITS = 8
"""Test-sessions that share these upper bits of their numbers share the rows of the journals."""
WAL_OCTETS = 16 << 20
"""Size to which the write-ahead log is cut back once it is in the file."""


def block_key(group: int, session: int) -> int:
    """The key of a block: `group` counts spans of the tier's `block_s` since 1970."""
    return group << SESSION_BITS | session


def _tier_tables(word: str) -> str:
    return f"""
        CREATE TABLE {word}_journal (
            id INTEGER PRIMARY KEY, unit INTEGER NOT NULL, chunk INTEGER NOT NULL, data BLOB NOT NULL);
        CREATE INDEX {word}_journal_unit ON {word}_journal (chunk, unit);
        CREATE TABLE {word}_block (key INTEGER PRIMARY KEY, data BLOB NOT NULL);
    """


MIGRATIONS = (
    f"""
    CREATE TABLE session (
        id INTEGER PRIMARY KEY, connection TEXT NOT NULL, name TEXT NOT NULL, created_s INTEGER NOT NULL,
        UNIQUE (connection, name));
    CREATE TABLE tier (level INTEGER PRIMARY KEY, kept_since_s INTEGER NOT NULL);
    INSERT INTO tier VALUES {", ".join(f"({tier.level}, 0)" for tier in TIERS)};
    {"".join(_tier_tables(tier.word) for tier in TIERS)}
    CREATE TABLE collections (session INTEGER PRIMARY KEY, saved_s INTEGER NOT NULL, data BLOB NOT NULL);
    CREATE TABLE history (
        id INTEGER PRIMARY KEY, session INTEGER NOT NULL, start_ns INTEGER NOT NULL, end_ns INTEGER NOT NULL,
        probes INTEGER NOT NULL, data BLOB NOT NULL);
    CREATE INDEX history_start ON history (session, start_ns);
    CREATE TABLE event (id INTEGER PRIMARY KEY, at_ns INTEGER NOT NULL, name TEXT NOT NULL, data TEXT NOT NULL);
    CREATE INDEX event_at ON event (at_ns);
    """,
    """
    CREATE TABLE condition (
        id INTEGER PRIMARY KEY, about TEXT NOT NULL UNIQUE, raised_ns INTEGER NOT NULL);
    """,
    """
    CREATE TABLE numbered (session INTEGER PRIMARY KEY, next INTEGER NOT NULL);
    INSERT INTO numbered SELECT session, sum(probes) FROM history GROUP BY session;
    ALTER TABLE history ADD COLUMN first INTEGER NOT NULL DEFAULT 0;
    CREATE TEMP TABLE numbers (id INTEGER PRIMARY KEY, first INTEGER NOT NULL);
    INSERT INTO numbers
        SELECT id, sum(probes) OVER (PARTITION BY session ORDER BY start_ns, id) - probes FROM history;
    UPDATE history SET first = (SELECT numbers.first FROM numbers WHERE numbers.id = history.id);
    DROP TABLE numbers;
    DROP INDEX history_start;
    CREATE INDEX history_first ON history (session, first);
    """,
)

VERSION = len(MIGRATIONS)

SMALL = (
    *("sqlite_schema", "session", "tier", "collections", "event", "condition", "numbered"),
    *(f"{tier.word}_journal" for tier in TIERS),
)
"""Tables that are quick to check. Those not here have their rows checked as they are read."""


class NewerError(Exception):
    """A file of a later version of twoway. Its argument is the file's version."""


def connect(path: Path) -> sqlite3.Connection:
    """Open the file for writing, made if it is not there. Raises `sqlite3.Error`."""
    connection = _connect(path.absolute().as_uri())
    try:
        # The page size and the vacuum can only be chosen for a file that has no page yet.
        connection.execute(f"PRAGMA page_size = {PAGE_OCTETS}")
        connection.execute("PRAGMA auto_vacuum = INCREMENTAL")
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute(f"PRAGMA journal_size_limit = {WAL_OCTETS}")
        connection.execute("PRAGMA secure_delete = OFF")  # Debian's SQLite overwrites what is deleted otherwise
        connection.execute("PRAGMA temp_store = MEMORY")
        connection.execute("PRAGMA cache_size = -8192")
    except BaseException:
        connection.close()
        raise
    return connection


def connect_read_only(path: Path) -> sqlite3.Connection:
    """Open the file for reading beside whoever writes it. Raises `sqlite3.Error`."""
    uri = f"{path.absolute().as_uri()}?mode=ro"
    connection = _connect(uri)
    try:
        connection.execute("PRAGMA query_only = ON")
        connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()
    except sqlite3.OperationalError:
        connection.close()
        if path.with_name(f"{path.name}-wal").exists() or not path.exists():
            raise
        # Nobody writes it, and we may not make the files beside it that WAL wants: then nothing can change under us.
        return _connect(f"{uri}&immutable=1")
    except BaseException:
        connection.close()
        raise
    return connection


def _connect(uri: str) -> sqlite3.Connection:
    connection = sqlite3.connect(uri, uri=True, timeout=1.0, isolation_level=None, check_same_thread=False)
    connection.execute("PRAGMA trusted_schema = OFF")  # a file from elsewhere runs no function of SQLite's
    connection.text_factory = lambda octets: octets.decode("utf-8", "replace")  # a damaged name is no reason to fail
    return connection


def version_of(connection: sqlite3.Connection) -> int:
    """How many migrations the file has seen."""
    return int(connection.execute("PRAGMA user_version").fetchone()[0])


def migrate(connection: sqlite3.Connection) -> None:
    """Bring the file up to `VERSION`. Raises `NewerError` and `sqlite3.Error`, the file then as it was."""
    version = version_of(connection)
    if version > VERSION:
        raise NewerError(version)
    for number, script in enumerate(MIGRATIONS[version:], version + 1):
        try:
            connection.executescript(f"BEGIN IMMEDIATE; {script} PRAGMA user_version = {number}; COMMIT;")
        except BaseException:
            if connection.in_transaction:
                connection.rollback()
            raise


def damage(connection: sqlite3.Connection) -> str | None:
    """What is wrong with the schema or, as SQLite finds, with the small tables; None if nothing."""
    with contextlib.closing(sqlite3.connect(":memory:", isolation_level=None)) as pristine:
        migrate(pristine)
        ours = _statements(pristine)
    if _statements(connection) != ours:
        return "its schema is not ours"
    for table in SMALL:
        (found,) = connection.execute(f"PRAGMA quick_check({table})").fetchone()
        if found != "ok":
            return f"{table}: {found}"
    return None


def _statements(connection: sqlite3.Connection) -> list[tuple[str, str]]:
    return connection.execute("SELECT name, sql FROM sqlite_schema WHERE sql IS NOT NULL ORDER BY name").fetchall()
