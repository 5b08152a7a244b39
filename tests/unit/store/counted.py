"""Summaries without a packet plane: a packed one is a list of round-trip times, so that what merges can be counted."""

from __future__ import annotations

import struct
from array import array
from dataclasses import replace
from typing import TYPE_CHECKING

from twoway.analysis import samples
from twoway.analysis.notices import Notice
from twoway.config.plan import StorePlan
from twoway.errors import WireError
from twoway.store import Probes, Store, Summaries

from ..measured import Span

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

KEY = ("core-fra", "voice")
NANOS = 1_000_000_000
NOON_S = 1_767_355_200
"""2026-01-02 12:00:00 UTC: where a minute, an hour and (in 12 hours) a day begin."""


def packed(*round_trips_ns: int) -> bytes:
    return b"C" + struct.pack(f"<{len(round_trips_ns)}q", *round_trips_ns)


def values(octets: bytes) -> list[int]:
    if octets[:1] != b"C" or len(octets) % 8 != 1:
        raise WireError("no counted summary")
    return list(struct.unpack(f"<{len(octets) // 8}q", octets[1:]))


class Counted:
    """`Summaries` of these."""

    def pack_merged(self, many: Sequence[bytes], _max_buckets: int | None, /) -> bytes:
        return packed(*sorted(value for one in many for value in values(one)))

    def merged(self, many: Sequence[bytes], /) -> Span:
        round_trips = sorted(value for one in many for value in values(one))
        return Span({"sent": len(round_trips)}, {"round_trip": round_trips})


SUMMARIES: Summaries = Counted()


def batch(*rows: tuple[int, int, int | None]) -> Probes:
    """Samples of (when it left, status, round trip), all else unknown."""
    columns = {}
    for column in samples.COLUMNS:
        code = "q" if column.unit == "ns" else "B" if column.names or column.bits else "I"
        unknown = Probes.MISSING if column.unit == "ns" else 0 if code == "B" else Probes.UNKNOWN
        columns[column.name] = array(code, [unknown] * len(rows))
    columns["sequence"] = array("I", range(len(rows)))
    columns["t1_ns"] = array("q", [row[0] for row in rows])
    columns["status"] = array("B", [row[1] for row in rows])
    columns["round_trip_ns"] = array("q", [Probes.MISSING if row[2] is None else row[2] for row in rows])
    return Probes(columns, len(rows))


LONG_S = 10**10
FOREVER = dict.fromkeys(
    ("seconds_age_s", "minutes_age_s", "hours_age_s", "days_age_s", "events_age_s", "history_age_s"), LONG_S
)
"""The times in these tests are long past: what is not about ages must not meet them."""


def plan(path: Path, **changes: int) -> StorePlan:
    return replace(StorePlan(path), **(FOREVER | changes))  # type: ignore[arg-type]  # tests name fields that are integers


class Told(list[Notice]):
    """The notices of a store."""

    @property
    def states(self) -> list[str]:
        return [str(notice.state) for notice in self]


def store(path: Path, told: Callable[[Notice], None] | None = None, queue_octets: int = 0, **changes: int) -> Store:
    return Store(plan(path, **changes), SUMMARIES, told or Told().append, queue_octets=queue_octets)
