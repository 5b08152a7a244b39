"""Work on thousands of test-sessions in turns: whoever does it lets the event loop run everything else in between.

All work of the daemon shares one turn at a time, so that the loop is held up by one turn however many take part.
"""

from __future__ import annotations

import asyncio
import time

TURN_S = 0.005
"""How long a turn may take; what is done in one step comes on top."""


class Pacing:
    """The turns of one event loop."""

    def __init__(self) -> None:
        self._turn = asyncio.Lock()
        self._ends_s = 0.0

    async def step(self) -> None:
        """Called before each piece of work: returns at once while the turn lasts."""
        async with self._turn:
            if time.monotonic() >= self._ends_s:
                await asyncio.sleep(0)
                self._ends_s = time.monotonic() + TURN_S
