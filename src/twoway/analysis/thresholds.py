"""When a test has failed, and when an alarm is raised and cleared. Pure.

Theory of operation. A threshold is met or exceeded, or it is not; 0 turns it off. Each belongs to one notice, and to
one value of a test (`_CHECKS`): the greatest delay or, with `average`, the mean; for jitter the greatest less the least
delay (*peak to peak*, what the ping MIBs call jitter) or, with `average`, the *mean difference between neighbours*,
which is what jitter means everywhere else. A test passes when nothing is met; else what is met is why it failed.

Alarms have hysteresis of one test. An alarm is raised the moment its threshold is met: at a probe, for the thresholds
that are judged at each probe (delays that are no averages, losses in a row), else at the end of a test. It is cleared
by the first test that is *younger than the last crossing* and met nothing of its notice: the test in which the crossing
was can never clear it, so an alarm cannot flap within a test. While it is raised, it is not raised again.

A test that this host disturbed proves neither good nor bad: it has a verdict, but raises and clears nothing, unless
`own_faults` says so. The same holds for a probe in a disturbed second. A probe that the kernel refused to send, for
want of a route or an interface, is lost here like one that was lost on its way: nobody was reached. One whose reply
came after its timeout is lost, too, to total-loss: it is no answer, in the loss of every output.

One-way delays are compared with a threshold where both clocks can carry them. What their offset does not disturb,
jitter and deviation, is judged in any case.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple, Protocol

from twoway.analysis.metrics import unit_for

if TYPE_CHECKING:
    from collections.abc import Callable, Container, Iterable, Mapping

    from twoway.analysis.result import Distribution
    from twoway.config.plan import Limit, Thresholds


class FinishedTest(Protocol):
    """What of a finished test is judged, as `twoway._native.Collection` has it."""

    @property
    def test(self) -> int:
        """Its number, from 1."""

    def counter(self, name: str, /) -> int:
        """`lost`, `late`, `not_sent`, or most probes in a row that were lost (`longest_burst`) or that the kernel
        refused (`longest_refused`)."""

    def distribution(self, name: str, /) -> Distribution:
        """`rtt`, `egress`, `ingress`, and these with `_jitter`; `egress_with_offset` and `ingress_with_offset`."""


class ProbesSeen(Protocol):
    """What of the probes since the last look is judged, as `twoway._native.Probes` has it."""

    @property
    def max_rtt_ns(self) -> int | None: ...
    @property
    def max_egress_ns(self) -> int | None: ...
    @property
    def max_ingress_ns(self) -> int | None: ...
    @property
    def longest_loss_run(self) -> int:
        """Most probes lost in a row, also over the end of a test."""


@dataclass(frozen=True, slots=True)
class Crossing:
    """A threshold that was met or exceeded."""

    notice: str
    """A name of `analysis.notices.NOTICES`."""
    threshold: str
    """Its name in the configuration."""
    reason: str
    """In words, with both numbers."""
    limit_ns: int | None = None
    value_ns: int | None = None
    count: int | None = None
    """Lost probes."""


class Transition(NamedTuple):
    """An alarm that is raised, or (`crossing` None) cleared."""

    notice: str
    crossing: Crossing | None


def _greatest(name: str) -> Callable[[FinishedTest], float | None]:
    return lambda test: test.distribution(name).max_ns


def _mean(name: str) -> Callable[[FinishedTest], float | None]:
    return lambda test: test.distribution(name).mean_ns


def _spread_of(test: FinishedTest, name: str) -> Distribution | None:
    """The delays, also with an offset that is not known: the same in all, it is in no difference between them. None if
    some have it and some do not."""
    known = test.distribution(name)
    if name == "rtt":
        return known
    offset = test.distribution(f"{name}_with_offset")
    if not offset.count:
        return known
    return None if known.count else offset


def _deviation(name: str) -> Callable[[FinishedTest], float | None]:
    def read(test: FinishedTest) -> float | None:
        values = _spread_of(test, name)
        return None if values is None else values.stddev_ns

    return read


def _peak_to_peak(name: str) -> Callable[[FinishedTest], float | None]:
    def read(test: FinishedTest) -> float | None:
        values = _spread_of(test, name)
        least, greatest = (None, None) if values is None else (values.min_ns, values.max_ns)
        return None if least is None or greatest is None else greatest - least

    return read


class _Check(NamedTuple):
    """A time of a test, and what it is compared with."""

    threshold: str
    notice: str
    what: str
    read: Callable[[FinishedTest], float | None]
    average_what: str
    average: Callable[[FinishedTest], float | None]
    """Read where the threshold is of averages; the same where that means nothing."""


def _delay(threshold: str, notice: str, what: str, name: str) -> _Check:
    return _Check(threshold, notice, f"greatest {what}", _greatest(name), f"mean {what}", _mean(name))


def _jitter(threshold: str, notice: str, what: str, name: str) -> _Check:
    peak, mean = f"peak-to-peak jitter {what}", f"mean jitter {what}"
    return _Check(threshold, notice, peak, _peak_to_peak(name), mean, _mean(f"{name}_jitter"))


def _spread(threshold: str, notice: str, what: str, name: str) -> _Check:
    words = f"standard deviation {what}"
    return _Check(threshold, notice, words, _deviation(name), words, _deviation(name))


_RTT, _EGRESS, _INGRESS = "of round-trip time", "of egress time", "of ingress time"
_CHECKS = (
    _delay("rtt", "rtt-exceeded", "round-trip time", "rtt"),
    _Check(
        "max-rtt",
        "max-rtt-exceeded",
        "greatest round-trip time of the test",
        _greatest("rtt"),
        "greatest round-trip time of the test",
        _greatest("rtt"),
    ),
    _delay("egress-time", "egress-time-exceeded", "egress time", "egress"),
    _delay("ingress-time", "ingress-time-exceeded", "ingress time", "ingress"),
    _jitter("jitter-rtt", "jitter-exceeded", _RTT, "rtt"),
    _jitter("jitter-egress", "egress-jitter-exceeded", _EGRESS, "egress"),
    _jitter("jitter-ingress", "ingress-jitter-exceeded", _INGRESS, "ingress"),
    _spread("std-dev-rtt", "std-dev-exceeded", _RTT, "rtt"),
    _spread("std-dev-egress", "egress-std-dev-exceeded", _EGRESS, "egress"),
    _spread("std-dev-ingress", "ingress-std-dev-exceeded", _INGRESS, "ingress"),
)
PROBE_FAILURE = "probe-failure"
TEST_FAILURE = "test-failure"
_NOTICE_OF: Mapping[str, str] = {check.threshold: check.notice for check in _CHECKS}


class _Armed(NamedTuple):
    """A check whose threshold is not off."""

    threshold: str
    notice: str
    what: str
    read: Callable[[FinishedTest], float | None]
    limit_ns: int


def _limit(thresholds: Thresholds, name: str) -> Limit:
    limit: Limit = getattr(thresholds, name.replace("-", "_"))
    return limit


def _words(value_ns: float) -> str:
    """A time in the unit that suits it, to the nanosecond below a millisecond, else to the microsecond."""
    scale, unit = unit_for(value_ns)
    digits = 6 if unit == "s" else 3
    return f"{value_ns / scale:.{digits}f}".rstrip("0").rstrip(".") + f" {unit}"


class Judge:
    """What thresholds come to, made ready: sessions with the same thresholds share one (`judge_of`)."""

    __slots__ = ("_armed", "_probe_limits", "_successive_loss", "_total_loss", "control_failure", "own_faults")

    def __init__(self, thresholds: Thresholds) -> None:
        armed = []
        for check in _CHECKS:
            limit = _limit(thresholds, check.threshold)
            if limit.limit_ns:
                what = check.average_what if limit.average else check.what
                read = check.average if limit.average else check.read
                armed.append(_Armed(check.threshold, check.notice, what, read, limit.limit_ns))
        self._armed = tuple(armed)
        self._probe_limits = tuple(
            0 if limit.average else limit.limit_ns
            for limit in (thresholds.rtt, thresholds.egress_time, thresholds.ingress_time)
        )
        self._successive_loss = thresholds.successive_loss
        self._total_loss = thresholds.total_loss
        self.control_failure = thresholds.control_failure
        """Whether a test that could not be negotiated has failed."""
        self.own_faults = thresholds.own_faults
        """Whether what this host disturbed is judged too."""

    @property
    def probe_limits(self) -> tuple[int, int, int, int]:
        """What a single probe can meet: round-trip, egress, ingress time in ns, losses in a row; 0: off."""
        rtt, egress, ingress = self._probe_limits
        return rtt, egress, ingress, self._successive_loss

    @property
    def notices(self) -> frozenset[str]:
        """The alarms that these thresholds can raise."""
        loss = [name for name, on in ((PROBE_FAILURE, self._successive_loss), (TEST_FAILURE, self._total_loss)) if on]
        control = [TEST_FAILURE] if self.control_failure else []
        return frozenset([check.notice for check in self._armed] + loss + control)

    def test(self, test: FinishedTest) -> tuple[Crossing, ...]:
        """What a finished test met or exceeded; nothing: it has passed."""
        unsent, late = test.counter("not_sent"), test.counter("late")
        lost = _lost(test)
        if not lost and not self._armed:
            return ()
        met = []
        for check in self._armed:
            value = check.read(test)
            if value is not None and value >= check.limit_ns:
                met.append(_time(check.notice, check.threshold, check.what, value, check.limit_ns))
        if lost:
            burst = _longest_run(test)
            if 0 < self._successive_loss <= burst:
                met.append(_in_a_row(burst, self._successive_loss))
            if 0 < self._total_loss <= lost:
                met.append(_in_all(lost, self._total_loss, late, unsent))
        return tuple(met)

    def unknown(self, test: FinishedTest) -> frozenset[str]:
        """The alarms of which a finished test says nothing: of delays, one without a reply."""
        return frozenset(check.notice for check in self._armed if check.read(test) is None)

    def not_met(self, notice: str, test: FinishedTest) -> Crossing:
        """What a finished test has of what this alarm is about, which it does not meet, in the same words."""
        for check in self._armed:
            value = check.read(test)
            if check.notice == notice and value is not None:
                return _time(notice, check.threshold, check.what, value, check.limit_ns)
        if notice == PROBE_FAILURE:
            return _in_a_row(_longest_run(test), self._successive_loss)
        if notice == TEST_FAILURE and self._total_loss:
            return _in_all(_lost(test), self._total_loss)
        return Crossing(notice, "control-failure", "it was negotiated")

    def probes(self, seen: ProbesSeen) -> list[Crossing]:
        """What single probes met or exceeded."""
        met = []
        rtt, egress, ingress = self._probe_limits
        for threshold, what, limit_ns, value_ns in (
            ("rtt", "round-trip time", rtt, seen.max_rtt_ns),
            ("egress-time", "egress time", egress, seen.max_egress_ns),
            ("ingress-time", "ingress time", ingress, seen.max_ingress_ns),
        ):
            if limit_ns and value_ns is not None and value_ns >= limit_ns:
                met.append(_time(_NOTICE_OF[threshold], threshold, what, value_ns, limit_ns))
        if 0 < self._successive_loss <= seen.longest_loss_run:
            met.append(_in_a_row(seen.longest_loss_run, self._successive_loss))
        return met

    def not_negotiated(self, why: str) -> Crossing | None:
        """A test that could not be negotiated, if that is a failure."""
        if not self.control_failure:
            return None
        return Crossing(TEST_FAILURE, "control-failure", f"it could not be negotiated: {why}")


@lru_cache(maxsize=4096)
def judge_of(thresholds: Thresholds) -> Judge:
    """The judge for these thresholds: equal ones share it."""
    return Judge(thresholds)


def _time(notice: str, threshold: str, what: str, value_ns: float, limit_ns: int) -> Crossing:
    reason = f"{what} {_words(value_ns)}, threshold {threshold} is {_words(limit_ns)}"
    return Crossing(notice, threshold, reason, limit_ns=limit_ns, value_ns=round(value_ns))


def _in_a_row(lost: int, limit: int) -> Crossing:
    reason = f"{lost} {_probes(lost)} lost in a row, successive-loss is {limit}"
    return Crossing(PROBE_FAILURE, "successive-loss", reason, count=lost)


def _in_all(lost: int, limit: int, late: int = 0, unsent: int = 0) -> Crossing:
    reason = f"{lost} {_probes(lost)} lost in the test, total-loss is {limit}"
    of_them = ((late, "came late"), (unsent, "could not be sent"))
    if parts := ", ".join(f"{count} {what}" for count, what in of_them if count):
        reason += f" ({parts})"
    return Crossing(TEST_FAILURE, "total-loss", reason, count=lost)


def _lost(test: FinishedTest) -> int:
    """Probes of a test that nobody answered in time."""
    return sum(test.counter(name) for name in ("lost", "late", "not_sent"))


def _longest_run(test: FinishedTest) -> int:
    """Most probes in a row that reached nobody or were not answered at all."""
    return max(test.counter("longest_burst"), test.counter("longest_refused"))


def _probes(count: int) -> str:
    return "probe" if count == 1 else "probes"


class Alarms:
    """The alarms of one test-session: what is raised, and by which test."""

    __slots__ = ("_raised",)

    def __init__(self) -> None:
        self._raised: dict[str, int] = {}

    @property
    def raised(self) -> tuple[str, ...]:
        """Notices that are raised now, by name."""
        return tuple(sorted(self._raised))

    def take_up(self, notices: Iterable[str], last_test: int) -> None:
        """These were raised before the daemon started: the first test after this one that met none of it clears it."""
        self._raised.update(dict.fromkeys(notices, last_test))

    def probes_seen(self, newest_test: int, met: Iterable[Crossing]) -> list[Transition]:
        """Single undisturbed probes met these, in this test or in one before it."""
        return [change for crossing in met for change in self._met(crossing, newest_test)]

    def test_finished(self, number: int, met: tuple[Crossing, ...], unknown: Container[str] = ()) -> list[Transition]:
        """An undisturbed test met these and nothing else, and says nothing of what is `unknown`."""
        if not met and not self._raised:
            return []
        changes = [change for crossing in met for change in self._met(crossing, number)]
        notices = {crossing.notice for crossing in met}
        for notice, test in list(self._raised.items()):
            if notice not in notices and notice not in unknown and test < number:
                del self._raised[notice]
                changes.append(Transition(notice, None))
        return changes

    def not_negotiated(self, last_test: int, met: Crossing) -> list[Transition]:
        """A test that could not be negotiated, after this one: the next that is measured may clear it."""
        return list(self._met(met, last_test))

    def forget(self, keep: frozenset[str] = frozenset()) -> list[Transition]:
        """Clear every alarm that can no longer be raised, as its threshold is off or its test-session is gone."""
        gone = [notice for notice in self._raised if notice not in keep]
        for notice in gone:
            del self._raised[notice]
        return [Transition(notice, None) for notice in gone]

    def _met(self, crossing: Crossing, test: int) -> list[Transition]:
        known = self._raised.get(crossing.notice)
        self._raised[crossing.notice] = test if known is None else max(known, test)
        return [Transition(crossing.notice, crossing)] if known is None else []
