"""The command that is run when a route changes in the kernel's table.

One runs at a time, in the order of the changes, so that the last that it hears is what is true. What waits is bounded,
and so is the time that it may take; what finds no room, fails or is killed is counted and told. There is no shell: the
words of the configuration are the program and its arguments, and what happened is in the environment alone.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from twoway.config.route_plan import HookPlan

ENVIRONMENT: Mapping[str, str] = {
    "TWOWAY_EVENT": "`changed`, or `unavailable` if the kernel has no next hop any more",
    "TWOWAY_PREFIX": "Destination of the route",
    "TWOWAY_INSTANCE": "Routing-instance, empty for the main one",
    "TWOWAY_TABLE": "Routing table, as `twoway show routes` names it",
    "TWOWAY_NEXT_HOPS": "Next hops that the kernel has now, with blanks between them; empty for none",
    "TWOWAY_PREVIOUS_NEXT_HOPS": "Those that it had before",
    "TWOWAY_METRIC": "The kernel's metric",
    "TWOWAY_TAG": "Tag of the route",
    "TWOWAY_REASON": "Why, in words",
    "TWOWAY_TIME": "When, in seconds since the epoch",
}
"""Variable -> what it says."""
_INHERITED = ("PATH", "LANG", "LC_ALL", "TZ", "HOME")
_KILL_S = 1.0
"""From SIGTERM to SIGKILL."""


@dataclass(frozen=True, slots=True)
class Change:
    """What a run is told."""

    variables: Mapping[str, str]
    """The values of `ENVIRONMENT`."""
    what: str
    """For whoever hears that it failed."""


class Hook:
    """Runs the command. `failed` is called with what went wrong."""

    def __init__(self, plan: HookPlan, failed: Callable[[str], None]) -> None:
        self._plan = plan
        self._failed = failed
        self._queue: asyncio.Queue[Change] = asyncio.Queue(plan.queue)
        self._under_way: Change | None = None
        self._lingering: set[asyncio.Task[int]] = set()
        """Waits for programs that run on although their time is over."""
        self.runs = self.failures = self.dropped = 0
        self._task = asyncio.get_running_loop().create_task(self._run())

    def post(self, change: Change) -> None:
        """Something has changed. Never waits."""
        try:
            self._queue.put_nowait(change)
        except asyncio.QueueFull:
            self.dropped += 1
            if self.dropped % self._plan.queue == 1 % self._plan.queue:
                waiting = f"{self._plan.queue} changes wait already"
                self._failed(f"left out for {change.what}: {waiting}, {self.dropped} were left out so far")

    async def _run(self) -> None:
        while True:
            change = await self._queue.get()
            self.runs += 1
            self._under_way = change
            try:
                reason = await self._once(change)
            except Exception as error:  # noqa: BLE001  (one run that fails must not end those after it)
                reason = f"internal error: {type(error).__name__}: {error}"
            self._under_way = None
            if reason is not None:
                self.failures += 1
                self._failed(f"{self._plan.command[0]} for {change.what}: {reason}")
            self._queue.task_done()

    async def _once(self, change: Change) -> str | None:
        """Run it; why it failed, None if it did not."""
        inherited = {name: value for name in _INHERITED if (value := os.environ.get(name)) is not None}
        try:
            process = await asyncio.create_subprocess_exec(
                *self._plan.command,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.DEVNULL,
                stderr=asyncio.subprocess.DEVNULL,
                env={**inherited, **change.variables},
                start_new_session=True,
            )
        except (OSError, ValueError) as error:
            return os.strerror(error.errno) if isinstance(error, OSError) and error.errno else str(error)
        try:
            async with asyncio.timeout(self._plan.timeout_ns / 1e9):
                code = await process.wait()
        except TimeoutError:
            after = f"after {self._plan.timeout_ns / 1e9:g} s"
            if await _end(process):
                return f"killed {after}"
            lingering = asyncio.get_running_loop().create_task(process.wait())
            self._lingering.add(lingering)
            lingering.add_done_callback(self._lingering.discard)
            return f"still running {after}, and it may not be killed"
        except asyncio.CancelledError:
            await _end(process)
            raise
        if code < 0:
            return f"ended by signal {-code} ({signal.strsignal(-code) or 'unnamed'})"
        return None if code == 0 else f"exit code {code}"

    async def close(self, patience_s: float = 5.0) -> None:
        """Let what waits be run, for so long at most. Idempotent."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(patience_s):
                await self._queue.join()
        self._task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._task
        if self._lingering:
            await asyncio.wait(self._lingering, timeout=_KILL_S)
        for lingering in self._lingering:
            lingering.cancel()
        cut_off, self._under_way = self._under_way, None
        if cut_off is not None:
            self.failures += 1
            self._failed(f"{self._plan.command[0]} for {cut_off.what}: the end came first")
        left = self._queue.qsize()
        if left:
            self.dropped += left
            self._failed(f"left out for the last {left} change{'s' * (left != 1)}: the end came first")
            while not self._queue.empty():
                self._queue.get_nowait()


async def _end(process: asyncio.subprocess.Process) -> bool:
    """End the program and what it started: they are a session of their own. False: they may not be signalled."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(process.pid, number)
        except ProcessLookupError:
            pass
        except PermissionError:  # all of it has become another user's
            return False
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_KILL_S):
                await process.wait()
                break
    return True
