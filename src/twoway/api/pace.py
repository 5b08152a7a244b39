"""Long answers in turns: ten thousand test-sessions are gone through without holding up the loop that measures."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable

TURN_NS = 5_000_000
"""How long one turn of work may take; the work of one piece comes on top."""
CHUNK = 64 << 10
"""Octets that go to the connection at once."""

_Item = TypeVar("_Item")


async def chunks(pieces: Iterable[bytes]) -> AsyncIterator[bytes]:
    """`pieces`, joined to chunks that are worth sending; others run after each turn."""
    waiting: list[bytes] = []
    size = 0
    async for piece in turns(pieces):
        if piece:
            waiting.append(piece)
            size += len(piece)
        if size >= CHUNK:
            yield b"".join(waiting)
            waiting.clear()
            size = 0
    if waiting:
        yield b"".join(waiting)


async def turns(items: Iterable[_Item]) -> AsyncIterator[_Item]:
    """`items`, of which each may be work to make; others run after each turn."""
    began = time.monotonic_ns()
    for item in items:
        yield item
        if time.monotonic_ns() - began > TURN_NS:
            await asyncio.sleep(0)
            began = time.monotonic_ns()
