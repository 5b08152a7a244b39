"""When a test has failed, and when an alarm is raised and cleared."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from itertools import pairwise
from typing import TYPE_CHECKING

import pytest

from twoway.analysis.notices import NOTICES
from twoway.analysis.thresholds import Alarms, Judge, judge_of
from twoway.config.plan import Limit, Thresholds

from ..measured import Numbers

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

QUIET = Thresholds(successive_loss=0, total_loss=0, control_failure=False)
"""Everything off."""
US = 1000


def only(limits: Mapping[str, Limit], beside: Thresholds = QUIET) -> Thresholds:
    """These thresholds, given by their fields."""
    known = {field.name: getattr(beside, field.name) for field in fields(Thresholds)}
    return Thresholds(**{**known, **limits})


class Finished:
    """A finished test: round-trip, egress and ingress times in µs, and losses."""

    def __init__(
        self,
        number: int = 1,
        lost: int = 0,
        burst: int = 0,
        times: Mapping[str, Sequence[int]] | None = None,
        unsent: int = 0,
        late: int = 0,
        refused: int = 0,
    ) -> None:
        self.test = number
        self._counters = {"lost": lost, "late": late, "longest_burst": burst}
        self._counters |= {"not_sent": max(unsent, refused), "longest_refused": refused}
        self._values: dict[str, list[int]] = {}
        for name, values in (times or {}).items():
            self._values[name] = [value * US for value in values]
            self._values[f"{name}_jitter"] = [abs(b - a) * US for a, b in pairwise(values)]

    def counter(self, name: str, /) -> int:
        return self._counters[name]

    def distribution(self, name: str, /) -> Numbers:
        return Numbers(self._values.get(name, []))


@dataclass
class Seen:
    """What single probes were like."""

    max_rtt_ns: int | None = None
    max_egress_ns: int | None = None
    max_ingress_ns: int | None = None
    longest_loss_run: int = 0


TIMES: Mapping[str, tuple[str, str, int, int]] = {
    # field -> (notice, of which times, the value of RTTS in µs by maximum, by average)
    "rtt": ("rtt-exceeded", "rtt", 130, 110),
    "max_rtt": ("max-rtt-exceeded", "rtt", 130, 130),
    "egress_time": ("egress-time-exceeded", "egress", 130, 110),
    "ingress_time": ("ingress-time-exceeded", "ingress", 130, 110),
    "jitter_rtt": ("jitter-exceeded", "rtt", 30, 15),
    "jitter_egress": ("egress-jitter-exceeded", "egress", 30, 15),
    "jitter_ingress": ("ingress-jitter-exceeded", "ingress", 30, 15),
    "std_dev_rtt": ("std-dev-exceeded", "rtt", 12, 12),
    "std_dev_egress": ("egress-std-dev-exceeded", "egress", 12, 12),
    "std_dev_ingress": ("ingress-std-dev-exceeded", "ingress", 12, 12),
}
VALUES = (100, 130, 100, 110)
"""Mean 110, deviation 12.247, peak to peak 30, neighbours 30, 30 and 10 apart: 23.3 in the mean."""


def test_the_table_of_checks_has_every_time_of_the_plan_and_every_notice_of_a_threshold() -> None:
    limits = {field.name for field in fields(Thresholds) if isinstance(getattr(Thresholds(), field.name), Limit)}
    assert limits == set(TIMES)
    everything = only(dict.fromkeys(limits, Limit(1)), Thresholds())
    exceeded = {name for name in NOTICES if name.endswith("-exceeded")}
    assert Judge(everything).notices == exceeded | {"probe-failure", "test-failure"}


@pytest.mark.parametrize("field", TIMES)
def test_a_time_that_meets_its_limit_is_a_crossing_and_one_below_is_none(field: str) -> None:
    notice, of, greatest, _ = TIMES[field]
    finished = Finished(times={of: VALUES})
    (met,) = Judge(only({field: Limit(greatest * US)})).test(finished)
    assert (met.notice, met.threshold, met.limit_ns) == (notice, field.replace("_", "-"), greatest * US)
    assert met.value_ns is not None
    assert met.value_ns // US == greatest
    above = Judge(only({field: Limit((greatest + 1) * US)}))
    assert above.test(finished) == ()


@pytest.mark.parametrize(("field", "mean"), [("rtt", 110_000), ("egress_time", 110_000), ("ingress_time", 110_000)])
def test_an_average_is_compared_with_the_mean_of_the_test(field: str, mean: int) -> None:
    finished = Finished(times={TIMES[field][1]: VALUES})
    assert len(Judge(only({field: Limit(mean, average=True)})).test(finished)) == 1
    assert Judge(only({field: Limit(mean + 1, average=True)})).test(finished) == ()


@pytest.mark.parametrize("field", ["jitter_rtt", "jitter_egress", "jitter_ingress"])
def test_both_jitters_are_kept_apart_by_name(field: str) -> None:
    finished = Finished(times={TIMES[field][1]: VALUES})
    (peak,) = Judge(only({field: Limit(30 * US)})).test(finished)
    (mean,) = Judge(only({field: Limit(23 * US, average=True)})).test(finished)
    assert peak.reason.startswith("peak-to-peak jitter")
    assert mean.reason.startswith("mean jitter")
    assert (peak.value_ns, mean.value_ns) == (30_000, 23_333)
    assert Judge(only({field: Limit(24 * US, average=True)})).test(finished) == ()


def test_a_time_that_nothing_is_known_of_meets_nothing() -> None:
    thresholds = only({field: Limit(1) for field in TIMES})
    assert Judge(thresholds).test(Finished()) == ()


def test_losses_meet_both_thresholds_by_default() -> None:
    met = Judge(Thresholds()).test(Finished(lost=3, burst=2))
    assert [crossing.notice for crossing in met] == ["probe-failure", "test-failure"]
    assert met[0].reason == "2 probes lost in a row, successive-loss is 1"
    assert met[1].reason == "3 probes lost in the test, total-loss is 1"
    assert [crossing.count for crossing in met] == [2, 3]


def test_a_probe_that_could_not_be_sent_is_lost_too() -> None:
    (met,) = Judge(replace(QUIET, total_loss=3)).test(Finished(lost=1, burst=1, unsent=2))
    assert met.count == 3
    assert met.reason == "3 probes lost in the test, total-loss is 3 (2 could not be sent)"


def test_a_late_probe_is_lost_to_the_test_and_in_no_run_of_losses() -> None:
    (met,) = Judge(Thresholds()).test(Finished(late=2, unsent=1))
    assert (met.notice, met.count) == ("test-failure", 3)
    assert met.reason == "3 probes lost in the test, total-loss is 1 (2 came late, 1 could not be sent)"


def test_probes_that_the_kernel_refuses_in_a_row_are_a_probe_failure() -> None:
    refused = Finished(refused=3)
    assert [each.notice for each in Judge(Thresholds()).test(refused)] == ["probe-failure", "test-failure"]
    assert Judge(replace(QUIET, successive_loss=4)).test(refused) == ()


@pytest.mark.parametrize("way", ["egress", "ingress"])
def test_an_offset_that_is_not_known_is_no_delay_and_disturbs_no_difference(way: str) -> None:
    times = only({f"{way}_time": Limit(1), f"jitter_{way}": Limit(30 * US), f"std_dev_{way}": Limit(12 * US)})
    adrift = [value - 3_600_000_000 for value in VALUES], [value + 3_600_000_000 for value in VALUES]
    for delays in adrift:
        met = Judge(times).test(Finished(times={f"{way}_with_offset": delays}))
        assert [each.threshold for each in met] == [f"jitter-{way}", f"std-dev-{way}"]
    # Where the offset became known in the test, what is before and after it must not be compared.
    met = Judge(times).test(Finished(times={f"{way}_with_offset": adrift[0], way: [100]}))
    assert [each.threshold for each in met] == [f"{way}-time"]


def test_losses_below_their_thresholds_or_with_thresholds_off_are_a_pass() -> None:
    lossy = Finished(lost=3, burst=2)
    assert Judge(replace(QUIET, successive_loss=3, total_loss=4)).test(lossy) == ()
    assert Judge(QUIET).test(lossy) == ()


def test_a_test_that_could_not_be_negotiated_has_failed_unless_that_is_off() -> None:
    met = Judge(Thresholds()).not_negotiated("connection refused")
    assert met is not None
    assert (met.notice, met.threshold) == ("test-failure", "control-failure")
    assert Judge(QUIET).not_negotiated("connection refused") is None


def test_a_probe_raises_at_once_and_its_own_test_cannot_clear() -> None:
    judge, alarms = Judge(replace(QUIET, rtt=Limit(100 * US))), Alarms()
    raised = alarms.probes_seen(7, judge.probes(Seen(max_rtt_ns=100 * US)))
    assert [change.notice for change in raised] == ["rtt-exceeded"]
    assert raised[0].crossing is not None
    assert raised[0].crossing.reason == "round-trip time 100 µs, threshold rtt is 100 µs"
    # The test before it ends after it; and its own ends with it.
    assert alarms.test_finished(6, ()) == []
    assert alarms.test_finished(7, judge.test(Finished(7, times={"rtt": [100]}))) == []
    assert list(alarms.raised) == ["rtt-exceeded"]
    assert [change.crossing for change in alarms.test_finished(8, ())] == [None]
    assert not alarms.raised


def test_an_average_is_not_judged_at_a_probe() -> None:
    judge = Judge(replace(QUIET, rtt=Limit(1, average=True)))
    assert judge.probes(Seen(max_rtt_ns=100)) == []
    assert judge.probe_limits == (0, 0, 0, 0)


def test_losses_in_a_row_over_the_end_of_a_test_are_a_probe_failure() -> None:
    judge = Judge(replace(QUIET, successive_loss=4))
    assert judge.test(Finished(1, lost=2, burst=2)) == ()
    (met,) = judge.probes(Seen(longest_loss_run=4))
    assert (met.notice, met.count) == ("probe-failure", 4)


def test_an_alarm_is_raised_once_and_cleared_once() -> None:
    judge, alarms = Judge(Thresholds()), Alarms()
    bad = judge.test(Finished(1, lost=1, burst=1))
    assert {change.notice for change in alarms.test_finished(1, bad)} == {"probe-failure", "test-failure"}
    assert alarms.test_finished(2, bad) == []
    cleared = alarms.test_finished(3, ())
    assert {change.notice: change.crossing for change in cleared} == {"probe-failure": None, "test-failure": None}
    assert alarms.test_finished(4, ()) == []


def test_a_test_without_a_reply_ends_no_alarm_of_a_delay() -> None:
    judge, alarms = Judge(replace(QUIET, rtt=Limit(100 * US), total_loss=1)), Alarms()
    alarms.test_finished(1, judge.test(Finished(1, times={"rtt": [100]})))
    outage = Finished(2, lost=5, burst=5)
    assert judge.unknown(outage) == {"rtt-exceeded"}
    raised = alarms.test_finished(2, judge.test(outage), judge.unknown(outage))
    assert [change.notice for change in raised] == ["test-failure"]
    assert alarms.raised == ("rtt-exceeded", "test-failure")
    good = Finished(3, times={"rtt": [99]})
    cleared = alarms.test_finished(3, judge.test(good), judge.unknown(good))
    assert sorted(change.notice for change in cleared) == ["rtt-exceeded", "test-failure"]


@pytest.mark.parametrize(
    ("value_ns", "said"),
    [
        (100 * US, "100 µs"),
        (100_500, "100.5 µs"),
        (999_999, "999.999 µs"),
        (50_000_000, "50 ms"),
        (152_341_123, "152.341 ms"),
        (2_500_000_000, "2.5 s"),
    ],
)
def test_times_are_said_in_the_unit_that_suits_them(value_ns: int, said: str) -> None:
    judge = Judge(replace(QUIET, rtt=Limit(value_ns)))
    (met,) = judge.probes(Seen(max_rtt_ns=value_ns))
    assert met.reason == f"round-trip time {said}, threshold rtt is {said}"


def test_what_a_test_does_not_meet_is_said_as_what_it_meets() -> None:
    judge = Judge(replace(QUIET, rtt=Limit(100 * US), std_dev_rtt=Limit(50 * US), successive_loss=3, total_loss=4))
    test = Finished(2, times={"rtt": [80, 90]}, lost=2, burst=1)
    assert judge.test(test) == ()
    said = {name: judge.not_met(name, test) for name in sorted(judge.notices)}
    assert {name: crossing.reason for name, crossing in said.items()} == {
        "probe-failure": "1 probe lost in a row, successive-loss is 3",
        "rtt-exceeded": "greatest round-trip time 90 µs, threshold rtt is 100 µs",
        "std-dev-exceeded": "standard deviation of round-trip time 5 µs, threshold std-dev-rtt is 50 µs",
        "test-failure": "2 probes lost in the test, total-loss is 4",
    }
    assert (said["rtt-exceeded"].limit_ns, said["rtt-exceeded"].value_ns) == (100 * US, 90 * US)
    assert said["test-failure"].count == 2
    negotiated = Judge(replace(QUIET, control_failure=True)).not_met("test-failure", test)
    assert negotiated.reason == "it was negotiated"


def test_an_alarm_for_want_of_negotiation_is_cleared_by_the_next_good_test() -> None:
    judge, alarms = Judge(Thresholds()), Alarms()
    met = judge.not_negotiated("no answer")
    assert met is not None
    assert len(alarms.not_negotiated(4, met)) == 1
    assert alarms.not_negotiated(4, met) == []
    assert len(alarms.test_finished(5, ())) == 1


def test_what_can_no_longer_be_raised_is_cleared() -> None:
    alarms = Alarms()
    alarms.test_finished(1, Judge(Thresholds()).test(Finished(1, lost=1, burst=1)))
    kept = alarms.forget(Judge(replace(QUIET, total_loss=1)).notices)
    assert [change.notice for change in kept] == ["probe-failure"]
    assert alarms.raised == ("test-failure",)
    assert [change.notice for change in alarms.forget()] == ["test-failure"]


def test_equal_thresholds_share_a_judge() -> None:
    assert judge_of(Thresholds(rtt=Limit(5))) is judge_of(Thresholds(rtt=Limit(5)))
