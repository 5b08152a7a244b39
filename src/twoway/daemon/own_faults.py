"""What this host does to its own measurements: what the network is not to be blamed for.

Theory of operation. Once a second the host is looked at: how late the event loop ran, how much processor time the
hypervisor took (steal), whether the wall clock stepped against the monotonic one. The packet plane adds, session by
session, what it has seen: replies that the kernel dropped for want of buffer (SO_RXQ_OVFL), departures that were late,
slots that were missed, samples that nobody took in time. A second with any of it is *polluted*: tests that overlap a
polluted second raise and clear nothing (`analysis.thresholds`), unless a session's `own_faults` says so.

A fault of the host pollutes every session, one that the packet plane saw its session alone. The notice `own-fault` is
raised with the first polluted second and cleared after a minute without one.
"""

from __future__ import annotations

import asyncio
import os
import sys
import time
import traceback
from collections import Counter, deque
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from twoway.analysis.notices import State
from twoway.config.defaults import NANOS
from twoway.drivers.session_plane import OwnFault

if TYPE_CHECKING:
    from collections.abc import Mapping

    from twoway.daemon.bulletin import Bulletin

LATE_NS = 50_000_000
"""A departure this late was not sent when it was asked for. Stamps are the kernel's, so less of it spoils nothing."""
LAG_NS = NANOS
"""So late, the event loop holds up what it should take; samples wait in the packet plane meanwhile."""
STEAL_RATIO = 0.1
"""Of one second of all processors: so much of it pauses test packets where no stamp shows it."""
STEP_NS = 10_000_000
"""A wall clock that is off by more than this against the monotonic one was set; slewing is slower."""
_ENOUGH_NS = NANOS // 5
"""So much of a second says how much of it was stolen: ticks are 10 ms."""
_CALM_NS = 60 * NANOS
_HEARTBEAT_S = 0.1
_MOST_FAILURES = 100
"""Failures of the daemon itself that are told one by one."""
_SPANS = 3600
"""Polluted spans remembered: an hour of nothing else, longer than any test waits for its verdict."""

WORDS: Mapping[str, str] = {
    "missed_slots": "probes were left out, as their moment had passed",
    "late_departures": "probes left late",
    "socket_drops": "the kernel dropped replies for want of buffer",
    "samples_dropped": "samples were dropped, as nobody took them in time",
    "clock_steps": "the clock was stepped",
    "loop_lag": "the event loop was held up",
    "cpu_steal": "the hypervisor took processor time",
}
"""Own fault -> in words."""
NOTICED_NS = 2 * NANOS
"""What befell a session is noticed when its worker wakes, which may be in the second after."""
DISTURBING = OwnFault.MISSED_SLOTS | OwnFault.LATE_DEPARTURES | OwnFault.SOCKET_DROPS
DISTURBING |= OwnFault.SAMPLES_DROPPED | OwnFault.CLOCK_STEPS
"""A send error is the network's, as far as it is known here: it is among the losses."""
FAULTS = (*WORDS, "internal_errors", "states_lost")
"""All that are counted."""
SESSION_FAULTS = ("missed_slots", "late_departures", "socket_drops", "samples_dropped", "clock_steps")
"""Those that the packet plane sees, session by session."""


class Clocks(Protocol):
    """The time, which tests make."""

    def wall_ns(self) -> int: ...
    def monotonic_ns(self) -> int: ...


class SystemClocks:
    """The system's."""

    def wall_ns(self) -> int:
        """CLOCK_REALTIME."""
        return time.time_ns()

    def monotonic_ns(self) -> int:
        """CLOCK_MONOTONIC."""
        return time.monotonic_ns()


@dataclass(frozen=True, slots=True)
class CpuTimes:
    """Processor time since the system started, in ticks."""

    total: int
    steal: int


def cpu_times(stat: str) -> CpuTimes | None:
    """The first line of /proc/stat: user nice system idle iowait irq softirq steal, of all processors (proc(5))."""
    fields = stat.partition("\n")[0].split()
    if len(fields) < 9 or fields[0] != "cpu":
        return None
    return CpuTimes(sum(map(int, fields[1:9])), int(fields[8]))


class Spans:
    """Polluted spans of wall time, the newest last; adjoining ones are one."""

    __slots__ = ("_most", "_spans")

    def __init__(self, most: int = _SPANS) -> None:
        # A list, since an empty deque takes 760 octets, and ten thousand test-sessions have one of these each.
        self._spans: list[tuple[int, int]] = []
        self._most = most

    def add(self, start_ns: int, end_ns: int) -> None:
        """This span was polluted."""
        if self._spans and self._spans[-1][0] <= start_ns <= self._spans[-1][1]:
            start_ns, end_ns = self._spans[-1][0], max(end_ns, self._spans[-1][1])
            self._spans.pop()
        self._spans.append((start_ns, end_ns))
        if len(self._spans) > self._most:
            del self._spans[0]

    def overlap(self, start_ns: int, end_ns: int) -> bool:
        """Whether any of this span was polluted. The clock may have stepped, so that they are in no order."""
        return any(start_ns <= end and begin <= end_ns for begin, end in self._spans)


class LoopLag:
    """How late the event loop runs what is due."""

    def __init__(self) -> None:
        self._worst_ns = 0
        self._minute: deque[int] = deque(maxlen=60)
        self._handle: asyncio.TimerHandle | None = None
        self._due: float | None = None

    def start(self) -> None:
        """Look, on the running loop, ten times a second from now on."""
        self._await(asyncio.get_running_loop())

    def _await(self, loop: asyncio.AbstractEventLoop) -> None:
        self._due = loop.time() + _HEARTBEAT_S
        self._handle = loop.call_later(_HEARTBEAT_S, self._beat, loop)

    def _beat(self, loop: asyncio.AbstractEventLoop) -> None:
        self._worst_ns = self.now(loop)
        self._await(loop)

    def now(self, loop: asyncio.AbstractEventLoop) -> int:
        """The greatest lag since the last `take`, what is due and has not run yet included."""
        late_s = 0.0 if self._due is None else loop.time() - self._due
        return max(self._worst_ns, round(late_s * NANOS))

    def take(self) -> int:
        """The greatest lag since the last call."""
        worst, self._worst_ns = self._worst_ns, 0
        self._minute.append(worst)
        return worst

    @property
    def last_minute_ns(self) -> int:
        """The greatest lag of the last sixty calls of `take`."""
        return max(self._minute, default=0)

    def stop(self) -> None:
        """Look no more."""
        if self._handle is not None:
            self._handle.cancel()
            self._due = None


class OwnFaults:
    """All that this host did to its measurements."""

    def __init__(self, bulletin: Bulletin, clocks: Clocks, stat: Path = Path("/proc/stat")) -> None:
        self._bulletin = bulletin
        self._clocks = clocks
        self._stat = stat
        self.counts: Counter[str] = Counter()
        """Own fault -> seconds (of a session, where the packet plane saw it) since the daemon started."""
        self.host = Spans()
        """Seconds that were polluted for every session."""
        self.lag = LoopLag()
        self.steal_ratio: float | None = None
        """Of the last second; None where the kernel does not tell."""
        self._times = self._read()
        self._wall_ns, self._monotonic_ns = clocks.wall_ns(), clocks.monotonic_ns()
        self._last_fault_ns: int | None = None
        self._failures: set[object] = set()

    def look(self) -> tuple[int, int]:
        """Once a second: judge the second that is over, and return it as (start, end) of wall time."""
        wall_ns, monotonic_ns = self._clocks.wall_ns(), self._clocks.monotonic_ns()
        start_ns, passed_ns = self._wall_ns, monotonic_ns - self._monotonic_ns
        found = []
        lag_ns = self.lag.take()
        if lag_ns >= LAG_NS:
            found.append(("loop_lag", f"{lag_ns / NANOS:.1f} s"))
        self._steal()
        if self.steal_ratio is not None and self.steal_ratio >= STEAL_RATIO:
            found.append(("cpu_steal", f"{self.steal_ratio:.0%}"))
        step_ns = wall_ns - start_ns - passed_ns
        if abs(step_ns) >= STEP_NS:
            found.append(("clock_steps", f"by {step_ns / NANOS:+.3f} s"))
        self._wall_ns, self._monotonic_ns = wall_ns, monotonic_ns
        # Of a second in which the clock was stepped there are two: by the old time and by the new.
        by_new = wall_ns - passed_ns, wall_ns
        if found:
            self.host.add(start_ns, start_ns + passed_ns)
            self.host.add(*by_new)
            for name, amount in found:
                self.counts[name] += 1
                self._raise(f"{WORDS[name]}: {amount}")
        elif self._last_fault_ns is not None and monotonic_ns - self._last_fault_ns >= _CALM_NS:
            self._last_fault_ns = None
            self._bulletin.say("own-fault", "this host has disturbed nothing for a minute", State.CLEARED)
        return by_new

    def take_up(self) -> None:
        """That this host disturbs its measurements was told before the daemon started: a calm minute ends it."""
        self._last_fault_ns = self._clocks.monotonic_ns()

    def glance(self) -> int:
        """Within a second: if what there was of it is polluted already, `host` says so. When it began, by wall time.

        `look` judges the whole of it later, and counts."""
        wall_ns, passed_ns = self._clocks.wall_ns(), self._clocks.monotonic_ns() - self._monotonic_ns
        polluted = self.lag.now(asyncio.get_running_loop()) >= LAG_NS
        polluted |= abs(wall_ns - self._wall_ns - passed_ns) >= STEP_NS
        if passed_ns >= _ENOUGH_NS and not polluted:
            ratio = _steal_ratio(self._times, self._read())
            polluted = ratio is not None and ratio >= STEAL_RATIO
        if polluted:
            self.host.add(self._wall_ns, self._wall_ns + passed_ns)
            self.host.add(wall_ns - passed_ns, wall_ns)
        return wall_ns - passed_ns

    def of_sessions(self, faults: Mapping[str, int]) -> None:
        """The packet plane saw these in so many sessions, in the second that was looked at last."""
        for name, sessions in faults.items():
            self.counts[name] += sessions
            self._raise(f"{WORDS[name]}, in {sessions} test-session{'s' * (sessions != 1)}")

    def state_lost(self, what: str, count: int = 1) -> None:
        """Something that was saved could not be read."""
        self.counts["states_lost"] += count
        self._bulletin.say("state-lost", what)

    def internal(self, error: Exception, *, written: bool = False) -> bool:
        """The daemon itself failed in one of its seconds. Each failure is told once, also amid other faults, and
        written to standard error with where it was, unless `written` says that the caller does that: nobody can mend
        what is only counted. Returns whether it is the first of its kind."""
        self.counts["internal_errors"] += 1
        message = f"internal error: {type(error).__name__}: {error}"
        where = error.__traceback__
        while where is not None and where.tb_next is not None:
            where = where.tb_next
        failure = type(error).__name__, where and (where.tb_frame.f_code.co_filename, where.tb_lineno)
        first = failure not in self._failures and len(self._failures) < _MOST_FAILURES
        if first:
            self._failures.add(failure)
            if not written:
                traceback.print_exception(error, file=sys.stderr)
            self._last_fault_ns = None
        self._raise(message)
        return first

    def _raise(self, message: str) -> None:
        if self._last_fault_ns is None:
            self._bulletin.say("own-fault", f"this host disturbs its measurements: {message}", State.RAISED)
        self._last_fault_ns = self._clocks.monotonic_ns()

    def _steal(self) -> None:
        before, self._times = self._times, self._read()
        self.steal_ratio = _steal_ratio(before, self._times)

    def _read(self) -> CpuTimes | None:
        try:
            return cpu_times(self._stat.read_text())
        except (OSError, ValueError):
            return None


def _steal_ratio(before: CpuTimes | None, after: CpuTimes | None) -> float | None:
    if before is None or after is None or after.total <= before.total:
        return None
    return (after.steal - before.steal) / (after.total - before.total)


def resident_octets() -> int:
    """Memory that this process has resident (proc(5), statm)."""
    try:
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError, IndexError):
        return 0
