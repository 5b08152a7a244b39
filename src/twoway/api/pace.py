"""Long answers in turns: ten thousand test-sessions are gone through without holding up the loop that measures.

Theory of operation. An answer is made of many pieces, each some work. A turn makes pieces for `TURN_NS`, then the loop
runs everything else. All answers of the API share one turn at a time, first come, first served: however many ask, the
loop is held up by one turn, not by the sum of theirs.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable, Iterator

TURN_NS = 5_000_000
"""How long one turn of work may take; the work of one piece comes on top."""
CHUNK = 64 << 10
"""Octets that go to the connection at once."""

_Item = TypeVar("_Item")


class Pace:
    """The turns of one event loop."""

    def __init__(self) -> None:
        self._turn = asyncio.Lock()

    async def batches(self, items: Iterable[_Item]) -> AsyncIterator[list[_Item]]:
        """`items`, of which each may be work to make, as many at a time as a turn made; never an empty list."""
        remaining = iter(items)
        while True:
            async with self._turn:
                batch = _turn(remaining)
                await asyncio.sleep(0)  # within: a lock that is free is taken without one, by all in a row
            if not batch:
                return
            yield batch

    async def chunks(self, pieces: Iterable[bytes]) -> AsyncIterator[bytes]:
        """`pieces`, joined to chunks that are worth sending."""
        waiting: list[bytes] = []
        size = 0
        async for batch in self.batches(pieces):
            for piece in batch:
                waiting.append(piece)
                size += len(piece)
                if size >= CHUNK:
                    yield b"".join(waiting)
                    waiting.clear()
                    size = 0
        if size:
            yield b"".join(waiting)


def _turn(remaining: Iterator[_Item]) -> list[_Item]:
    began = time.monotonic_ns()
    batch = []
    for item in remaining:
        batch.append(item)
        if time.monotonic_ns() - began > TURN_NS:
            break
    return batch
