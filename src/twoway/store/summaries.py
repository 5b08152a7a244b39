"""What the store asks of summaries: to be put together. The packet plane knows how; the store sees octets."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, TypeVar

from twoway.errors import TwowayError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from twoway.analysis.result import Summary

_Merged = TypeVar("_Merged")


class Summaries(Protocol):
    """Packed summaries, as `drivers.summaries` handles them. Both raise `TwowayError` for octets that are none."""

    def pack_merged(self, packed: Sequence[bytes], max_buckets: int | None, /) -> bytes:
        """One packed summary with everything in `packed`, which is not empty, its histograms cut to `max_buckets` of
        each sign."""

    def merged(self, packed: Sequence[bytes], /) -> Summary:
        """The same, to be read."""


def pack_readable(packed: Sequence[bytes], max_buckets: int | None, summaries: Summaries) -> tuple[bytes | None, int]:
    """Everything that can be read as one packed summary, None if nothing can; and how many could not."""
    if len(packed) == 1 and max_buckets is None:
        return packed[0], 0
    return _readable(packed, lambda good: summaries.pack_merged(good, max_buckets), summaries)


def merge_readable(packed: Sequence[bytes], summaries: Summaries) -> tuple[Summary | None, int]:
    """Everything that can be read as one summary, None if nothing can; and how many could not."""
    return _readable(packed, summaries.merged, summaries)


def _readable(
    packed: Sequence[bytes], merge: Callable[[Sequence[bytes]], _Merged], summaries: Summaries
) -> tuple[_Merged | None, int]:
    if not packed:
        return None, 0
    try:
        return merge(packed), 0
    except TwowayError:  # of thousands one may be damaged: find it
        good = [one for one in packed if _is_readable(one, summaries)]
    return (merge(good) if good else None), len(packed) - len(good)


def _is_readable(packed: bytes, summaries: Summaries) -> bool:
    try:
        summaries.merged([packed])
    except TwowayError:
        return False
    return True
