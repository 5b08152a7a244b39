"""Packed summaries for the store, which puts them together and must not know the packet plane."""

from __future__ import annotations

from typing import TYPE_CHECKING

from twoway.drivers.native import _native

if TYPE_CHECKING:
    from collections.abc import Sequence

    from twoway._native import IntervalSummary


class PackedSummaries:
    """What `store.Summaries` asks for. Octets that are no packed summary raise `WireError`."""

    def pack_merged(self, packed: Sequence[bytes], max_buckets: int | None, /) -> bytes:
        """All of them as one, its histograms cut to `max_buckets` of each sign."""
        merged = _native.IntervalSummary.merge_packed(packed)
        return (merged if max_buckets is None else merged.coarsened(max_buckets)).pack()

    def merged(self, packed: Sequence[bytes], /) -> IntervalSummary:
        """All of them as one."""
        return _native.IntervalSummary.merge_packed(packed)
