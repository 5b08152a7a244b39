"""The store: a year of 500 test-sessions really written, what it takes on disk, and how long the p99 of a day takes.

The real writer and its roll-up write packed summaries that a real ledger made of synthetic probes, one a second and
session, with delays that jitter, peaks by day and some loss. The clock is compressed by putting what is old as coarse
as it would be by now: days first, then hours, then minutes, seconds at the end. What is rolled up is the same in either
case, as summaries merge exactly. Of each tier more is put than the bound of 2 GiB leaves, which deletes the finest
first: so what is left is what would be left of a year of seconds, and that is checked.

Questions are asked of a reader as `twoway export` opens it: once with nothing of the file in the page cache, once more
with what the first left there. Every answer is compared with the merge of what was put.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import os
import random
import tempfile
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from figures import Findings, Table, median, quantile
from laboratory import NS_PER_S

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from laboratory import Laboratory

    from twoway.analysis.result import Summary
    from twoway.config.plan import SessionKey, StorePlan
    from twoway.store.store import Store
    from twoway.store.tiers import Tier

MIB = 1 << 20
GOAL_OCTETS, GOAL_MS = 2 << 30, 100.0
_DAY_S = 86400
_MOST_SPANS, _MOST_SHARE = 200, 256
"""What may wait in the writer before more is put: spans in journals, and in its queue this part of the bound."""
_ASKED = 40
"""Test-sessions that each question is asked of."""
_PATIENCE_S = 300.0


@dataclass(frozen=True)
class Scale:
    """How much is written."""

    sessions: int
    days: int
    hours_s: int
    """So long ago hours begin."""
    minutes_s: int
    seconds_s: int
    paths: int
    """Different series of delays; sessions share them."""
    max_octets: int


FULL = Scale(500, 365, 240 * _DAY_S, 2 * _DAY_S, 6 * 3600, 5, GOAL_OCTETS)
QUICK = Scale(10, 90, 60 * _DAY_S, 6 * 3600, 600, 2, 12 * MIB)


class Paths:
    """What probes see: for each path round trips of a quiet and of a busy day, which each day mixes otherwise."""

    def __init__(self, count: int) -> None:
        chance = random.Random(4)  # noqa: S311  (the same each time)
        self._kinds: list[tuple[list[int | None], list[int | None]]] = []
        self._forward_ns: list[int] = []
        for number in range(count):
            base_ns = 2_000_000 * 2**number
            self._kinds.append((self._made(chance, base_ns, base_ns / 50), self._made(chance, base_ns, base_ns / 20)))
            self._forward_ns.append(base_ns // 2)

    @staticmethod
    def _made(chance: random.Random, base_ns: int, jitter_ns: float) -> list[int | None]:
        day: list[int | None] = []
        for second in range(_DAY_S):
            busy = 1 + 2 * max(0.0, math.sin(2 * math.pi * second / _DAY_S)) ** 4
            lost = chance.random() < 0.001 * busy
            day.append(None if lost else base_ns + int(chance.expovariate(1 / (jitter_ns * busy))))
        return day

    def _day(self, path: int, number: int) -> list[int | None]:
        quiet, busy = self._kinds[path]
        turn = random.Random(number * len(self._kinds) + path).randrange(_DAY_S)  # noqa: S311  (as above)
        return quiet[:turn] + busy[turn:]

    def packed(self, start_s: int, step_s: int, count: int) -> list[list[bytes]]:
        """For each path, `count` summaries of `step_s` seconds each, within one day."""
        from twoway._native import IntervalSummary

        first = start_s % _DAY_S
        if first + count * step_s > _DAY_S:
            raise ValueError("it reaches into the next day")
        return [
            IntervalSummary.made(
                start_ns=start_s * NS_PER_S,
                interval_ns=NS_PER_S,
                round_trips_ns=self._day(path, start_s // _DAY_S)[first : first + count * step_s],
                forward_ns=forward_ns,
                per_summary=step_s,
            )
            for path, forward_ns in enumerate(self._forward_ns)
        ]

    def whole(self, path: int, start_s: int, end_s: int) -> Summary:
        """Everything that a path saw in a window."""
        from twoway._native import IntervalSummary

        parts = []
        for day_s in range(start_s - start_s % _DAY_S, end_s, _DAY_S):
            first, end = max(start_s, day_s), min(end_s, day_s + _DAY_S)
            parts += self.packed(first, end - first, 1)[path]
        return IntervalSummary.merge_packed(parts)


def _key(session: int) -> SessionKey:
    return (f"site-{session // 10}", f"path-{session % 10}")


def _spans(start_s: int, end_s: int, step_s: int) -> Iterator[tuple[int, int]]:
    """(start, steps) of what is made at once: within a day, and no more than a thousand steps."""
    while start_s < end_s:
        day_end_s = start_s - start_s % _DAY_S + _DAY_S
        count = min(1000, (min(end_s, day_end_s) - start_s) // step_s)
        yield start_s, count
        start_s += count * step_s


async def _fill(plan: StorePlan, paths: Paths, scale: Scale, start_s: int, end_s: int, step_s: int) -> int:
    """Put one summary for each step and session. Returns how many were put."""
    from twoway._native import IntervalSummary
    from twoway.drivers.summaries import PackedSummaries
    from twoway.store.schema import CHUNK_BITS
    from twoway.store.store import Store
    from twoway.store.tiers import TIERS, tier_for

    most = tier_for(step_s).max_buckets
    keys = [_key(session) for session in range(scale.sessions)]
    store = Store(plan, PackedSummaries(), lambda _: None)
    await store.open()
    put = 0
    try:
        for first_s, count in _spans(start_s, end_s, step_s):
            made = paths.packed(first_s, step_s, count)
            if most is not None:  # the roll-up does that: so less has to go through journals
                made = [[IntervalSummary.unpack(one).coarsened(most).pack() for one in path] for path in made]
            for step in range(count):
                await _room(store, scale, _MOST_SPANS)
                now = [(key, made[session % scale.paths][step]) for session, key in enumerate(keys)]
                if not store.put_second(first_s + step * step_s, now):
                    raise ValueError("the store refused a second")
                put += len(now)
        await store.flush()
        await _room(store, scale, len(TIERS) * (1 + (scale.sessions >> CHUNK_BITS)))
    finally:
        await store.close(_PATIENCE_S)
    state = store.state()
    lost = {name: count for name, count in state.items() if name.startswith("lost_") and count}
    if lost:
        raise ValueError(f"the store lost something: {lost}")
    return put


async def _room(store: Store, scale: Scale, spans: int) -> None:
    """Until so little is left to be rolled up and written."""
    deadline = time.monotonic() + _PATIENCE_S
    while True:
        state = store.state()
        if int(state["pending_spans"]) <= spans and int(state["queue_octets"]) <= scale.max_octets // _MOST_SHARE:
            return
        if state["state"] != "ok" or time.monotonic() > deadline:
            raise ValueError(f"the store does not keep up: {state}")
        await asyncio.sleep(0.01)


@dataclass(frozen=True)
class Question:
    """A window of which the p99 is asked."""

    name: str
    start_s: int
    end_s: int


def _ask(path: Path, question: Question, paths: Paths, scale: Scale) -> tuple[list[float], list[float], float, bool]:
    """Milliseconds with a cold and a warm page cache, greatest error of the p99, and if each window was exact."""
    from twoway.drivers.summaries import PackedSummaries
    from twoway.store import Reader, schema

    cold, warm = list[float](), list[float]()
    error, exact = 0.0, True
    step = max(1, scale.sessions // _ASKED)
    expected = [paths.whole(number, question.start_s, question.end_s) for number in range(scale.paths)]
    for session in range(0, scale.sessions, step):
        for times, drop in ((cold, True), (warm, False)):
            if drop:
                _forget(path)
            begun = time.perf_counter()
            with contextlib.closing(Reader(schema.connect_read_only(path), PackedSummaries())) as reader:
                found = reader.summary(_key(session), question.start_s * NS_PER_S, question.end_s * NS_PER_S)
                p99 = None if found.summary is None else found.summary.distribution("round_trip").quantile(0.99)
            times.append((time.perf_counter() - begun) * 1000)
        ours = expected[session % scale.paths]
        true = ours.distribution("round_trip").quantile(0.99)
        if found.summary is None or p99 is None or true is None:
            raise ValueError(f"{question.name}: nothing is kept of it")
        if found.exact and found.summary.counter("sent") != ours.counter("sent"):
            raise ValueError(f"{question.name}: {found.summary.counter('sent')} sent, not {ours.counter('sent')}")
        exact &= found.exact
        error = max(error, abs(p99 - true) / true)
    return cold, warm, error, exact


def _forget(path: Path) -> None:
    """Nothing of the file is in the page cache from now on; all of it is on the disk already."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
    finally:
        os.close(descriptor)


def _tiers(path: Path, scale: Scale, now_s: int) -> list[tuple[Tier, float, float, float]]:
    """Of each tier: days that it reaches back, octets that it takes, octets of a unit of one session."""
    from twoway.store import schema
    from twoway.store.tiers import TIERS

    found = []
    with contextlib.closing(schema.connect_read_only(path)) as connection:
        for tier in TIERS:
            octets, oldest_s = 0.0, now_s
            for table, start_s in (
                (f"{tier.word}_block", f"(min(key) >> {schema.SESSION_BITS}) * {tier.block_s}"),
                (f"{tier.word}_journal", f"min(unit) * {tier.unit_s}"),
            ):
                query = f"SELECT {start_s}, sum(length(data)) FROM {table}"  # noqa: S608  (names are from the tiers)
                since_s, size = connection.execute(query).fetchone()
                if since_s is not None:
                    octets, oldest_s = octets + size, min(oldest_s, since_s)
            oldest_s = max(oldest_s, now_s - now_s % _DAY_S - scale.days * _DAY_S)
            units = max(1.0, (now_s - oldest_s) / tier.unit_s)
            found.append((tier, (now_s - oldest_s) / _DAY_S, octets, octets / scale.sessions / units))
    return found


def _write(path: Path, paths: Paths, scale: Scale, now_s: int) -> Iterator[tuple[str, int, float]]:
    """The year, in four parts: (what, summaries put, seconds it took)."""
    from twoway.config.plan import StorePlan

    starts_s = (
        now_s - now_s % _DAY_S - scale.days * _DAY_S,
        now_s - now_s % _DAY_S - scale.hours_s,
        now_s - now_s % 3600 - scale.minutes_s,
        now_s - now_s % 60 - scale.seconds_s,
        now_s,
    )
    whole = StorePlan(path, scale.max_octets)
    hours = replace(whole, seconds_age_s=0, minutes_age_s=0)
    plans = (replace(hours, hours_age_s=0), hours, replace(whole, seconds_age_s=0), whole)
    names, steps = ("days", "hours", "minutes", "seconds"), (_DAY_S, 3600, 60, 1)
    parts = zip(names, plans, starts_s, starts_s[1:], steps, strict=False)
    for what, plan, start_s, end_s, step_s in parts:
        begun = time.monotonic()
        put = asyncio.run(_fill(plan, paths, scale, start_s, end_s, step_s))
        yield what, put, time.monotonic() - begun


def _questions(scale: Scale, now_s: int) -> Sequence[Question]:
    today_s = now_s - now_s % _DAY_S
    long_ago = (100, 300) if scale is FULL else (10, 80)
    return (
        Question("the last 24 hours", now_s - _DAY_S, now_s),
        Question("yesterday", today_s - _DAY_S, today_s),
        *(Question(f"the day {n} days ago", today_s - n * _DAY_S, today_s - (n - 1) * _DAY_S) for n in long_ago),
    )


def benchmark(lab: Laboratory, *, quick: bool) -> Findings:
    """The section "store" of docs/performance.md."""
    scale = QUICK if quick else FULL
    findings = Findings(
        "store",
        f"{scale.days} days of {scale.sessions} test-sessions, a probe a second each, put as days, as hours from "
        f"{scale.hours_s / _DAY_S:g} days ago, as minutes from {scale.minutes_s / 3600:g} hours ago, as seconds from "
        f"{scale.seconds_s / 60:g} minutes ago; the default ages, and {scale.max_octets // MIB:,} MiB. The p99 of "
        "the round trip of one session over a day, by a "
        f"reader that opens the file for it; {min(_ASKED, scale.sessions)} sessions, all answers compared with what "
        "was put.",
    )
    lab.company.wait_for_quiet()
    paths, now_s = Paths(scale.paths), int(time.time())
    written = Table("Writing", ("put as", "summaries", "s", "µs/summary"))
    kept = Table("What is kept", ("tier", "days back", "MiB", "octets of one session's unit"))
    asked = Table(
        "The p99 of one day",
        ("day", "cold p50, ms", "cold max, ms", "warm p50, ms", "warm max, ms", "error of the p99, %", "whole window"),
    )
    findings.tables += [written, kept, asked]
    with tempfile.TemporaryDirectory(prefix="twoway-bench-") as name:
        path = Path(name) / "store.db"
        for what, put, seconds in _write(path, paths, scale, now_s):
            written.add(what, f"{put:,}", seconds, seconds / put * 1e6)
        octets = sum(file.stat().st_size for file in Path(name).glob("store.db*"))
        tiers = _tiers(path, scale, now_s)
        for (tier, days, *_), put_s in zip(tiers, (scale.seconds_s, scale.minutes_s, scale.hours_s), strict=False):
            if days * _DAY_S > put_s and not quick:
                raise ValueError(f"of {tier.name} all is kept that was put, {days:.2f} days: of more, more would be")
        for tier, days, size, unit in tiers:
            kept.add(tier.name, days, size / MIB, unit)
        worst = 0.0
        for question in _questions(scale, now_s):
            cold, warm, error, exact = _ask(path, question, paths, scale)
            worst = max(worst, *cold, *warm)
            times = (median(cold), quantile(cold, 1), median(warm), quantile(warm, 1))
            asked.add(question.name, *times, 100 * error, "exact" if exact else "widened")
    findings.goal(
        f"{scale.days} days of {scale.sessions} test-sessions below {scale.max_octets // MIB:,} MiB",
        f"{octets / MIB:,.0f} MiB; of all {scale.days} days there are days, hours of the last {tiers[2][1]:.0f}",
        met=octets <= scale.max_octets and tiers[3][1] >= scale.days,
    )
    findings.goal(f"p99 of one day below {GOAL_MS:g} ms", f"{worst:.1f} ms at most", met=worst < GOAL_MS)
    return findings
