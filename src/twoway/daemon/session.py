"""One test-session of the client as the daemon keeps it: its tests, verdicts and alarms, whoever sends its probes.

Theory of operation. A session outlives its Session-Senders: a target that is resolved anew, a control connection that
was lost and a `request stop` each end one, and the next goes on with the same collections, alarms and summary. Probes
go into the collections natively; here only tests that have ended and probes that met a limit are looked at, once a
second. What survives a restart is the collections' own state with the session's few counters before it.
"""

from __future__ import annotations

import errno
import json
import struct
from typing import TYPE_CHECKING

from twoway.analysis.notices import Condition, Figures, Notice, State
from twoway.analysis.thresholds import Alarms, Judge, judge_of
from twoway.config import defaults
from twoway.config.defaults import NANOS
from twoway.daemon import probes
from twoway.daemon.own_faults import LATE_NS, Spans
from twoway.drivers.session_plane import collections, unpack_summary
from twoway.errors import WireError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from twoway.analysis.thresholds import Transition
    from twoway.config.plan import SessionKey, SessionPlan
    from twoway.daemon.bulletin import Bulletin
    from twoway.daemon.own_faults import Clocks
    from twoway.daemon.seams import Follower
    from twoway.drivers.session_plane import Collection, IntervalSummary, PlaneSession, SampleBatch

_STATE_VERSION = 1
_STATE_HEAD = struct.Struct("<BI")
"""Version, octets of the JSON that follows; the collections' own state is the rest."""
_DISTURBED = ("missed_slots", "late_departures", "clock_steps")
"""Counters of a test that say that this host disturbed it."""
NETWORK_ERRNOS = (
    errno.ENETUNREACH,
    errno.EHOSTUNREACH,
    errno.ENETDOWN,
    errno.ENODEV,
    errno.EADDRNOTAVAIL,
    errno.EINVAL,
)
"""The kernel has no way for a packet: an interface, an address or a route is gone."""
_SILENT_RUN = 3
"""Losses in a row after which the way to the target is looked at again."""
_SPANS = 64
"""Polluted spans of one session that are remembered: more than tests that wait for their verdict."""

_SAMPLES_S = 10
"""So long the event loop may be held up before samples are lost."""
_LEAST_SAMPLES = 256


def samples_kept(interval_ns: int) -> int:
    """Room for the samples of a session until they are taken."""
    return min(defaults.SAMPLE_CAPACITY, max(_LEAST_SAMPLES, _SAMPLES_S * NANOS // interval_ns))


class WatchedSession:
    """A test-session of the client. Times are ns."""

    __slots__ = (
        "_bulletin",
        "_carried",
        "_clocks",
        "_follower",
        "_judge",
        "_last_event",
        "_last_packed",
        "_polluted",
        "_rows_dropped",
        "alarms",
        "collections",
        "dirty",
        "last_disturbed",
        "last_reasons",
        "last_verdict",
        "plan",
        "reason",
        "sender",
        "silent",
        "since_ns",
        "status",
        "target_address",
        "tests_disturbed",
        "tests_failed",
        "tests_forgotten",
        "tests_passed",
        "unnegotiated",
    )

    def __init__(self, plan: SessionPlan, bulletin: Bulletin, clocks: Clocks, follower: Follower) -> None:
        self.plan = plan
        self._bulletin = bulletin
        self._clocks = clocks
        self._follower = follower
        self.collections = collections(
            probe_count=plan.probe_count,
            moving_average_size=plan.moving_average_size,
            history_size=plan.history_size,
        )
        self.alarms = Alarms()
        self.sender: PlaneSession | None = None
        """Who sends its probes now."""
        self.target_address: tuple[str, int] | None = None
        """Numeric address and port that are or were measured."""
        self.status = "idle"
        self.reason: str | None = None
        """Why it is not testing."""
        self.since_ns = clocks.wall_ns()
        self.tests_passed = self.tests_failed = self.tests_disturbed = 0
        self.tests_forgotten = (0, 0, 0)
        self.unnegotiated = 0
        """Tests that could not be negotiated: they are among the failed ones."""
        self.last_verdict = "unknown"
        self.last_reasons: tuple[str, ...] = ()
        self.last_disturbed = False
        """Whether this host disturbed the test that was judged last."""
        self.dirty = False
        """Whether it waits to be saved."""
        self.silent = False
        """Whether so many probes in a row were lost that the way to the target should be looked at."""
        self._carried: IntervalSummary | None = None
        self._last_packed: bytes | None = None
        self._last_event: tuple[str, int] | None = None
        self._polluted = Spans(_SPANS)
        self._rows_dropped = 0
        self._judge: Judge
        self._take_thresholds()
        self._keep_rows()

    @property
    def _failure(self) -> Condition:
        return Condition("session-failed", *self.plan.key)

    @property
    def key(self) -> SessionKey:
        """What it is known by."""
        return self.plan.key

    def adjust(self, plan: SessionPlan) -> None:
        """Go on under a plan that measures the same."""
        sizes = (plan.moving_average_size, plan.history_size)
        if sizes != (self.plan.moving_average_size, self.plan.history_size):
            self.collections.resize(moving_average_size=sizes[0], history_size=sizes[1])
        self.plan = plan
        self._take_thresholds()
        self._keep_rows()
        self._tell(self.alarms.forget(self._judge.notices), "its threshold is off now")

    def _take_thresholds(self) -> None:
        self._judge = judge_of(self.plan.thresholds)
        rtt_ns, egress_ns, ingress_ns, loss_run = self._judge.probe_limits
        self.collections.watch(
            rtt_ns=rtt_ns,
            egress_ns=egress_ns,
            ingress_ns=ingress_ns,
            loss_run=min(loss_run, _SILENT_RUN) if loss_run else _SILENT_RUN,
            late_ns=LATE_NS,
        )

    def _keep_rows(self) -> None:
        spec = self.plan.light or self.plan.managed
        self.collections.keep_rows(samples_kept(spec.interval_ns) if self.plan.raw and spec is not None else 0)

    def take_rows(self) -> SampleBatch | None:
        """The probes that came since the last call, None if they are not kept one by one or there is none."""
        rows = self.collections.take_rows() if self.plan.raw else None
        return rows if rows is not None and len(rows) else None

    def missed_rows(self) -> int:
        """How many probes found no room to wait in since the last call: the event loop was held up for too long."""
        before, self._rows_dropped = self._rows_dropped, self.collections.rows_dropped
        return self._rows_dropped - before

    # Its Session-Senders.

    def begin(self, sender: PlaneSession, address: tuple[str, int]) -> None:
        """Another Session-Sender sends its probes from now on."""
        self.sender = sender
        self.target_address = address
        self.silent = False
        self._follower.begins(self.key, sender)
        self.be("testing")

    def end(self, everything: bytes | None) -> None:
        """It has no Session-Sender any more; what the one it had saw, packed, is carried on (None: it never began)."""
        sender, self.sender = self.sender, None
        if sender is None:
            return
        sender.collect()
        self._follower.ends(self.key)
        self.collections.interrupt()
        if everything is not None:
            summary = unpack_summary(everything)
            self._carried = summary if self._carried is None else self._carried.merge(summary)

    def be(self, status: str, reason: str | None = None) -> None:
        """Note what it does, and why if that is not testing."""
        if status != self.status:
            self.since_ns = self._clocks.wall_ns()
        self.status, self.reason = status, reason

    def summary(self) -> IntervalSummary | None:
        """Everything since the daemon started, None before the first packet."""
        if self.sender is None:
            return self._carried
        summary = self.sender.summary()
        return summary if self._carried is None else self._carried.merge(summary)

    # Once a second.

    def saw(self, packed: bytes) -> None:
        """What it saw in the last second."""
        if len(packed) >= probes.PACKED_WITH_REPLIES:
            self._last_packed = packed

    @property
    def last_packed(self) -> bytes | None:
        """The last second that had replies, packed."""
        return self._last_packed

    def pollute(self, start_ns: int, end_ns: int) -> None:
        """This host disturbed it in this span."""
        self._polluted.add(start_ns, end_ns)

    def take_tests(self, host: Spans) -> int:
        """Judge the tests that have ended; how many they were."""
        finished = self.collections.take_finished()
        for test in finished:
            self._finish(test, host)
        return len(finished)

    def _finish(self, test: Collection, host: Spans) -> None:
        if not test.complete:
            return  # its Session-Sender was ended: it has no verdict
        met = self._judge.test(test)
        self.last_verdict = "fail" if met else "pass"
        self.last_reasons = tuple(crossing.reason for crossing in met)
        if met:
            self.tests_failed += 1
        else:
            self.tests_passed += 1
        self.last_disturbed = self._disturbed(test, host)
        if self.last_disturbed:
            self.tests_disturbed += 1
            if not self._judge.own_faults:
                if met:
                    self.last_reasons += ("this host disturbed the test, so it raised nothing",)
                self._follower.verdict(self.key, None, f"test {test.test} was disturbed by this host")
                self._completed(test)
                return
        words = f"failed: {'; '.join(self.last_reasons)}" if met else "passed"
        self._follower.verdict(self.key, not met, f"test {test.test} {words}")
        unknown = self._judge.unknown(test) if self.alarms.raised else frozenset()
        changes = self.alarms.test_finished(test.test, met, unknown)
        if changes:
            self._tell(changes, None, test)
        self._completed(test)

    def _disturbed(self, test: Collection, host: Spans) -> bool:
        if any(test.counter(name) for name in _DISTURBED):
            return True
        start_ns, end_ns = test.start_ns, test.end_ns
        if start_ns is None or end_ns is None:
            return False
        return host.overlap(start_ns, end_ns) or self._polluted.overlap(start_ns, end_ns)

    def _completed(self, test: Collection) -> None:
        if "test-completion" in self.plan.traps:
            verdict = "passed" if self.last_verdict == "pass" else f"failed: {'; '.join(self.last_reasons)}"
            self._post("test-completion", State.ONCE, f"test {test.test} {verdict}", test)

    def look_at_probes(self, host: Spans) -> None:
        """Judge single probes: the packet plane says that one met a limit."""
        seen = self.collections.probes()
        self.silent = seen.loss_run >= _SILENT_RUN
        if seen.since_ns is None:
            return
        # A loss is known some timeouts after the departure: a reply may have been dropped here at any time until now.
        span = sorted((seen.since_ns, self._clocks.wall_ns()))
        disturbed = seen.disturbed or host.overlap(*span) or self._polluted.overlap(*span)
        if disturbed and not self._judge.own_faults:
            self.collections.forget_run()  # else an outage that began in a disturbed second would never be told
            return
        met = self._judge.probes(seen)
        if met:
            current = self.collections.collection("current-test")
            newest = self.collections.tests if current is None else current.test
            self._tell(self.alarms.probes_seen(newest, met), "", current)

    def not_negotiated(self, why: str) -> None:
        """A whole test-interval went by in which it could not be negotiated."""
        met = self._judge.not_negotiated(why)
        if met is None:
            return
        self.unnegotiated += 1
        self.tests_failed += 1
        self.last_verdict, self.last_reasons, self.last_disturbed = "fail", (met.reason,), False
        self._follower.unreachable(self.key, met.reason)
        self._tell(self.alarms.not_negotiated(self.collections.tests, met), "")

    def take_events(self) -> None:
        """Note what befell its Session-Sender."""
        if self.sender is not None:
            for event in self.sender.take_events():
                self._last_event = (event.name, event.errno)

    @property
    def last_errno(self) -> int:
        """Of the last event of its Session-Sender, 0 for none."""
        return 0 if self._last_event is None else self._last_event[1]

    @property
    def last_status(self) -> str | None:
        """Of the last probe, a name of `notices.STATUS`; None before there is one."""
        last = self.collections.last_probe()
        return probes.status(last.status.tolist()[0], self.last_errno) if len(last) else None

    # Notices.

    def close(self, why: str) -> None:
        """It is no longer watched: nothing of it stays raised."""
        self._tell(self.alarms.forget(), why)
        self.recovered(why)

    def failed(self, reason: str, *, by_network: bool = False) -> None:
        """It could not be started; told once until it is. `by_network`: as no packet could leave."""
        if by_network:
            self._follower.unreachable(self.key, reason)
        if not self._bulletin.is_raised(self._failure):
            self._post("session-failed", State.RAISED, reason)
        self.be("failed", reason)

    def recovered(self, how: str = "it runs") -> None:
        """It could be started after `failed`, or it need not be any more."""
        if self._bulletin.is_raised(self._failure):
            self._post("session-failed", State.CLEARED, how)

    def take_up(self, notices: Iterable[str]) -> None:
        """These alarms were raised before the daemon started, and nobody has been told of their end."""
        self.alarms.take_up(notices, self.collections.tests)
        self._tell(self.alarms.forget(self._judge.notices), "its threshold is off now")

    def _tell(self, changes: Iterable[Transition], cleared: str | None, test: Collection | None = None) -> None:
        """`cleared`: why alarms end; None where this test ends them, which says what it has of each."""
        number = "" if test is None else f"test {test.test}: "
        for change in changes:
            crossing, state = change.crossing, State.RAISED
            if crossing is None:
                if cleared is not None or test is None:
                    self._post(change.notice, State.CLEARED, cleared or "", test)
                    continue
                crossing, state = self._judge.not_met(change.notice, test), State.CLEARED
            self._post(
                change.notice,
                state,
                f"{number}{crossing.reason}",
                test,
                threshold_ns=crossing.limit_ns,
                value_ns=crossing.value_ns,
                count=crossing.count,
            )

    def _post(
        self,
        name: str,
        state: State,
        message: str,
        test: Collection | None = None,
        *,
        threshold_ns: int | None = None,
        value_ns: int | None = None,
        count: int | None = None,
    ) -> None:
        self._bulletin.post(
            Notice(
                at_ns=self._clocks.wall_ns(),
                name=name,
                state=state,
                message=f"{self.plan.connection} {self.plan.name} to {self.plan.target}: {message}",
                connection=self.plan.connection,
                session=self.plan.name,
                threshold_ns=threshold_ns,
                value_ns=value_ns,
                count=count,
                figures=self.figures(test),
                trap=name in self.plan.traps,
            )
        )

    def figures(self, test: Collection | None = None) -> Figures:
        """Its current numbers: of this test, or of the current one."""
        test = test or self.collections.collection("current-test") or self.collections.collection("last-test")
        return probes.figures(
            test,
            self.collections.last_probe(),
            target=self.plan.target,
            address=None if self.target_address is None else self.target_address[0],
            last_errno=self.last_errno,
            unresolved=self.status == "failed" and self.target_address is None,
        )

    # What survives a restart.

    def pack(self) -> bytes:
        """Its state for the store."""
        head = json.dumps(
            {
                "measures": self._fingerprint(),
                "passed": self.tests_passed,
                "failed": self.tests_failed,
                "disturbed": self.tests_disturbed,
                "unnegotiated": self.unnegotiated,
                "verdict": self.last_verdict,
                "reasons": self.last_reasons,
            }
        ).encode()
        return _STATE_HEAD.pack(_STATE_VERSION, len(head)) + head + self.collections.pack()

    def restore(self, octets: bytes) -> bool:
        """Take up what `pack` made, before the first probe, unless it was of another measurement; False if it cannot be
        read."""
        try:
            version, length = _STATE_HEAD.unpack_from(octets)
            head = json.loads(octets[_STATE_HEAD.size : _STATE_HEAD.size + length])
            if version != _STATE_VERSION:
                return False
            if head["measures"] != self._fingerprint():
                return True
            counters = [int(head[name]) for name in ("passed", "failed", "disturbed", "unnegotiated")]
            verdict, reasons = str(head["verdict"]), tuple(map(str, head["reasons"]))
            self.collections.restore(octets[_STATE_HEAD.size + length :])
        except (struct.error, ValueError, KeyError, TypeError, WireError):
            return False
        self.tests_passed, self.tests_failed, self.tests_disturbed, self.unnegotiated = counters
        self.last_verdict, self.last_reasons = verdict, reasons
        return True

    def _fingerprint(self) -> str:
        """What makes old results and new ones results of the same thing."""
        protocol = "managed" if self.plan.light is None else self.plan.light.protocol
        return f"{protocol} {self.plan.target} {self.plan.probe_count}"

    def clear(self, what: str) -> None:
        """Forget `results` or `history`."""
        self.collections.clear(what)
        if what == "results":
            tests = (self.tests_passed, self.tests_failed, self.tests_disturbed)
            passed, failed, disturbed = (old + new for old, new in zip(self.tests_forgotten, tests, strict=True))
            self.tests_forgotten = (passed, failed, disturbed)
            self.tests_passed = self.tests_failed = self.tests_disturbed = self.unnegotiated = 0
            self.last_verdict, self.last_reasons, self.last_disturbed = "unknown", (), False

    @property
    def no_packet_leaves(self) -> bool:
        """Whether the kernel refuses its packets: an interface or a route is gone, perhaps for a new one."""
        return self.last_errno in NETWORK_ERRNOS
