"""Calls that may hang (a resolver, a file on a network disk), in threads that hold up neither the loop nor the end.

The event loop's own threads are few, everything shares them, and the loop waits for them when it ends, as the
interpreter does for those of an executor. A call that hangs for minutes must cost none of that.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from typing import TYPE_CHECKING, ParamSpec, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

_Given = ParamSpec("_Given")
_Answer = TypeVar("_Answer")


class Aside:
    """At most `most` calls at a time; further ones wait for their turn."""

    def __init__(self, name: str, most: int = 1) -> None:
        self._name = name
        self._room = asyncio.Semaphore(most)

    async def run(self, call: Callable[_Given, _Answer], *given: _Given.args, **named: _Given.kwargs) -> _Answer:
        """What `call` returns or raises. If the wait is cancelled the call goes on, and keeps its room."""
        await self._room.acquire()
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[_Answer] = loop.create_future()

        def done(result: Callable[[], None]) -> None:
            self._room.release()
            if not answer.done():
                result()

        def work() -> None:
            try:
                value = call(*given, **named)
            except BaseException as error:  # noqa: BLE001  (it is raised where the answer is waited for)
                failure = error
                result = lambda: answer.set_exception(failure)  # noqa: E731  (one or the other)
            else:
                result = lambda: answer.set_result(value)  # noqa: E731
            with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits any more
                loop.call_soon_threadsafe(done, result)

        try:
            threading.Thread(target=work, name=self._name, daemon=True).start()
        except BaseException:
            self._room.release()
            raise
        return await answer


async def before(event: asyncio.Event | None, work: Coroutine[None, None, _Answer]) -> _Answer | None:
    """What `work` comes to, None if the event is set before; then nobody waits for it any more."""
    if event is None:
        return await work
    working, waiting = asyncio.create_task(work), asyncio.create_task(event.wait())
    try:
        await asyncio.wait((working, waiting), return_when=asyncio.FIRST_COMPLETED)
        return working.result() if working.done() else None
    finally:
        working.cancel()
        waiting.cancel()
