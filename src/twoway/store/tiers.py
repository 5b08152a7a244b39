"""The tiers of time, and which of their units a window is made of. Pure: nothing here knows of SQLite.

Times are whole seconds of the wall clock since 1970-01-01 00:00 UTC. A tier's *unit* number n covers the seconds from
n * unit_s up to (n + 1) * unit_s; a *block* holds so many consecutive units of one test-session.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

NANOS = 1_000_000_000
MAX_SECOND = 9_000_000_000
"""In the year 2255: in nanoseconds it still is a number of 64 bits."""


@dataclass(frozen=True, slots=True)
class Tier:
    """One resolution."""

    level: int
    name: str
    """As an operator writes it."""
    word: str
    """What its tables begin with."""
    unit_s: int
    units: int
    """Units in a block."""
    max_buckets: int | None
    """Buckets of each sign that its histograms are cut to, None for all: what is kept for long is kept coarser."""

    @property
    def block_s(self) -> int:
        """Seconds that a block covers."""
        return self.unit_s * self.units


TIERS = (
    Tier(0, "1s", "second", 1, 60, None),
    Tier(1, "1min", "minute", 60, 60, None),
    Tier(2, "1h", "hour", 3600, 24, 64),
    Tier(3, "1d", "day", 86400, 32, 64),
)
"""Finest first. A block of one tier is a unit of the next."""

BY_NAME = {tier.name: tier for tier in TIERS}


@dataclass(frozen=True, slots=True)
class Piece:
    """Consecutive units of one tier."""

    tier: Tier
    first: int
    end: int
    """The unit after the last."""

    @property
    def start_s(self) -> int:
        """Where it begins."""
        return self.first * self.tier.unit_s

    @property
    def end_s(self) -> int:
        """Where it ends."""
        return self.end * self.tier.unit_s


def cover(start_s: int, end_s: int, kept_since_s: Sequence[int], coarsest: int = len(TIERS) - 1) -> Iterator[Piece]:
    """The fewest units that make up the window from `start_s` up to `end_s`, in order, none twice.

    Whole units of the tier `coarsest` come from it, the rest at either end from finer ones. `kept_since_s` has, for
    each tier, the second from which on it still holds everything: where the finer tier no longer does, the unit at the
    edge is taken whole, and the pieces reach beyond the window.
    """
    if start_s < end_s:
        yield from _cover(TIERS[coarsest], start_s, end_s, kept_since_s)


def _cover(tier: Tier, start_s: int, end_s: int, kept_since_s: Sequence[int]) -> Iterator[Piece]:
    first, end = -(-start_s // tier.unit_s), end_s // tier.unit_s
    if first >= end:
        yield from _edge(tier, start_s, end_s, kept_since_s)
        return
    yield from _edge(tier, start_s, first * tier.unit_s, kept_since_s)
    yield Piece(tier, first, end)
    yield from _edge(tier, end * tier.unit_s, end_s, kept_since_s)


def _edge(tier: Tier, start_s: int, end_s: int, kept_since_s: Sequence[int]) -> Iterator[Piece]:
    """What is less than a unit at either side (or across one boundary)."""
    if start_s >= end_s:
        return
    finer = TIERS[tier.level - 1]  # a second has no edge, so this is never asked of the finest
    if start_s >= kept_since_s[finer.level]:
        yield from _cover(finer, start_s, end_s, kept_since_s)
    else:
        yield Piece(tier, start_s // tier.unit_s, -(-end_s // tier.unit_s))


def tier_for(resolution_s: int) -> Tier:
    """The coarsest tier whose units make up `resolution_s` evenly."""
    return next(tier for tier in reversed(TIERS) if resolution_s % tier.unit_s == 0)
