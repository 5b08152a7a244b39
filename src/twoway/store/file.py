"""The file itself: that only one daemon has it, that it opens, and what becomes of it when it is damaged."""

from __future__ import annotations

import contextlib
import fcntl
import os
import sqlite3
import stat
import time
from typing import TYPE_CHECKING

from twoway.errors import StoreError
from twoway.store import schema
from twoway.store.tiers import TIERS

if TYPE_CHECKING:
    from pathlib import Path

_MODE = 0o640
_SALVAGED = ("session", "numbered", "collections", "event", "condition", *(f"{tier.word}_journal" for tier in TIERS))
"""What is small, and worth most: blocks and per-probe rows stay in the file that was set aside."""


class Lock:
    """This process alone writes the store, as long as it holds this: a lock of the kernel's, which no crash leaves."""

    def __init__(self, path: Path) -> None:
        """Take it. Raises `StoreError` if another process has it, `OSError` if it cannot be made."""
        name = path.with_name(f"{path.name}-lock")
        # No link is followed: what it led to would be cut to nothing.
        self._descriptor = os.open(name, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, _MODE)
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            owner = os.pread(self._descriptor, 32, 0).decode("ascii", "replace").strip()
            os.close(self._descriptor)
            if not isinstance(error, BlockingIOError):
                raise
            reason = f"process {owner or 'unknown'} writes it already: one daemon for each store"
            raise StoreError(str(path), reason) from None
        with contextlib.suppress(OSError):  # a full disk: then nobody learns who has it, but it is held
            os.ftruncate(self._descriptor, 0)
            os.pwrite(self._descriptor, f"{os.getpid()}\n".encode(), 0)

    def release(self) -> None:
        """Let others have it. The file stays: removing it would let two hold locks of two files of one name."""
        os.close(self._descriptor)


def open_checked(path: Path) -> sqlite3.Connection:
    """Open the store, made or brought up to date where needed, its small tables checked.

    Raises `sqlite3.Error` (`is_damage` tells a damaged file), `OSError`, and `StoreError` for a later version's file
    and for one that somebody else put there.
    """
    path.parent.mkdir(mode=0o750, parents=True, exist_ok=True)
    with contextlib.suppress(FileExistsError):  # SQLite would make it for all to read
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, _MODE))
    _check_owner(path)
    try:
        connection = schema.connect(path)
    except UnicodeDecodeError as error:  # in what SQLite says of the schema
        raise DamagedError(str(error)) from None
    try:
        schema.migrate(connection)
        _check(connection)
    except schema.NewerError as error:
        connection.close()
        reason = f"a newer twoway wrote it (schema {error.args[0]}, this one knows {schema.VERSION}): upgrade, or "
        raise StoreError(str(path), f"{reason}give another path") from None
    except BaseException:
        connection.close()
        raise
    return connection


def _check_owner(path: Path) -> None:
    status = path.stat()
    if not stat.S_ISREG(status.st_mode):
        raise StoreError(str(path), "there is something that is no file: give another path")
    if status.st_uid not in (os.geteuid(), 0):
        raise StoreError(str(path), f"belongs to user {status.st_uid}: it must be yours or root's")


def _check(connection: sqlite3.Connection) -> None:
    found = schema.damage(connection)
    if found is not None:
        raise DamagedError(found)


class DamagedError(sqlite3.DatabaseError):
    """SQLite's own check found something. Its argument says what."""


def is_damage(error: Exception) -> bool:
    """Whether the file is damaged or no database at all, so that trying again is of no use."""
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    return isinstance(error, (DamagedError, UnicodeDecodeError)) or code in (
        sqlite3.SQLITE_CORRUPT,
        sqlite3.SQLITE_NOTADB,
    )


def set_aside(path: Path) -> Path:
    """Rename a damaged store and its log out of the way. Returns its new name. Raises `OSError`."""
    stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
    aside = path.with_name(f"{path.name}.corrupt-{stamp}")
    number = 1
    while aside.exists():
        number += 1
        aside = path.with_name(f"{path.name}.corrupt-{stamp}-{number}")
    path.rename(aside)
    for suffix in ("-wal", "-shm"):
        with contextlib.suppress(FileNotFoundError):
            path.with_name(path.name + suffix).rename(aside.with_name(aside.name + suffix))
    return aside


def salvage(aside: Path, connection: sqlite3.Connection) -> int:
    """Copy what can still be read of the small tables into a new store. Returns how many rows came over."""
    rescued = 0
    with (
        contextlib.suppress(sqlite3.Error, UnicodeDecodeError),
        contextlib.closing(schema.connect_read_only(aside)) as damaged,
    ):
        for table in _SALVAGED:
            columns = len(connection.execute(f"SELECT * FROM {table} LIMIT 0").description)
            insert = f"INSERT OR IGNORE INTO {table} VALUES ({', '.join('?' * columns)})"
            for order in ("ASC", "DESC"):  # from both ends, up to the damage
                connection.execute("BEGIN")
                try:
                    query = f"SELECT * FROM {table} ORDER BY rowid {order}"
                    for row in damaged.execute(query):
                        rescued += connection.execute(insert, row).rowcount
                except (sqlite3.DatabaseError, UnicodeDecodeError):
                    pass  # here it ends: what came before it is kept
                finally:
                    connection.commit()
    return rescued
