"""Which timestamps were asked for, and how many packets had to do with lesser ones."""

from __future__ import annotations

from typing import TYPE_CHECKING

from twoway.analysis.reading import total

if TYPE_CHECKING:
    from twoway.analysis.result import Summary

SOURCES = ("hardware", "kernel", "user")
"""Who takes a timestamp, best first."""
STAMPS = {"t1": "departure", "t4": "arrival"}
"""The timestamps taken at this end. T2 and T3 are the reflector's."""


def fell_back(asked: str, summary: Summary, stamp: str) -> int:
    """Packets whose `t1` or `t4` came from a lesser source than the one asked for."""
    return total(summary, *(f"{stamp}_{source}" for source in SOURCES[SOURCES.index(asked) + 1 :]))
