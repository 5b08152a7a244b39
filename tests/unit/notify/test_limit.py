"""Which notices one receiver gets, over made time."""

from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from twoway.analysis.notices import State
from twoway.notify.limit import MINUTE_NS, RateLimit, summary_text

from .made import notice

SECOND_NS = 10**9


def test_as_many_in_a_minute_as_the_limit_says() -> None:
    limit = RateLimit(2)
    once = notice("test-completion", State.ONCE)
    assert [limit.admit(once, at * SECOND_NS) for at in (0, 1, 2, 59)] == [True, True, False, False]
    assert [limit.admit(once, at * SECOND_NS) for at in (60, 61, 62)] == [True, True, False]
    assert limit.suppressed == 3


def test_no_limit_admits_everything_and_remembers_no_times() -> None:
    limit = RateLimit(0)
    assert all(limit.admit(notice(state=State.ONCE), 0) for _ in range(1000))
    assert limit.summary_due_ns() is None


def test_the_end_of_what_was_told_is_told_even_over_the_limit() -> None:
    limit = RateLimit(1)
    assert limit.admit(notice(), 0)
    assert limit.admit(notice(state=State.CLEARED), 1)
    assert not limit.admit(notice("test-completion", State.ONCE), 2)


def test_the_end_of_what_an_earlier_run_may_have_told_is_told_even_over_the_limit() -> None:
    limit = RateLimit(1)
    limit.owe([notice().condition])
    assert limit.admit(notice("test-completion", State.ONCE), 0)
    assert limit.admit(notice(state=State.CLEARED), 1)
    assert not limit.admit(notice(state=State.CLEARED), 2)


def test_the_end_of_what_was_not_told_is_not_told() -> None:
    limit = RateLimit(1)
    assert limit.admit(notice("test-completion", State.ONCE), 0)
    assert not limit.admit(notice(), 1)
    assert not limit.admit(notice(state=State.CLEARED), 2 * MINUTE_NS)
    assert limit.admit(notice(), 2 * MINUTE_NS)


def test_an_end_is_owed_once() -> None:
    limit = RateLimit(1)
    assert limit.admit(notice(), 0)
    assert limit.admit(notice(state=State.CLEARED), 1)
    assert not limit.admit(notice(state=State.CLEARED), 2)


def test_conditions_of_other_sessions_are_other_conditions() -> None:
    limit = RateLimit(1)
    assert limit.admit(notice(session="voice"), 0)
    assert not limit.admit(notice(state=State.CLEARED, session="video"), 1)
    assert limit.admit(notice(state=State.CLEARED, session="voice"), 2)


def test_an_end_is_not_owed_for_a_beginning_that_was_lost_on_its_way() -> None:
    limit = RateLimit(1)
    assert limit.admit(notice(), 0)
    limit.lost(notice())
    assert not limit.admit(notice(state=State.CLEARED), 1)


def test_one_summary_a_minute_after_the_first_that_was_left_out() -> None:
    limit = RateLimit(1)
    limit.admit(notice(state=State.ONCE), 0)
    limit.admit(notice(state=State.ONCE), 10)
    limit.admit(notice("test-failure", State.ONCE), 20)
    limit.admit(notice("test-failure", State.ONCE), 30)
    assert limit.summary_due_ns() == 10 + MINUTE_NS
    assert limit.take_summary(9 + MINUTE_NS) is None
    left_out = limit.take_summary(10 + MINUTE_NS)
    assert left_out == {"rtt-exceeded": 1, "test-failure": 2}
    assert summary_text(left_out) == (
        "3 notices were over the rate limit and not sent here in the last minute: 1 rtt-exceeded, 2 test-failure"
    )
    assert limit.take_summary(10 * MINUTE_NS) is None


STEPS = st.lists(
    st.tuples(
        st.integers(0, 40 * SECOND_NS),
        st.sampled_from(["rtt-exceeded", "test-failure"]),
        st.sampled_from(list(State)),
        st.sampled_from(["a", "b"]),
    ),
    max_size=60,
)


@given(STEPS, st.integers(1, 4))
def test_whatever_happens_the_limit_holds_pairs_stay_pairs_and_everything_is_counted(
    steps: list[tuple[int, str, State, str]], per_minute: int
) -> None:
    limit = RateLimit(per_minute)
    now_ns, summarised = 0, 0
    told: Counter[tuple[str, str]] = Counter()
    through: list[tuple[int, bool]] = []
    for pause_ns, name, state, session in steps:
        now_ns += pause_ns
        condition = (name, session)
        owed = state is State.CLEARED and told[condition] > 0
        admitted = limit.admit(notice(name, state, session), now_ns)
        assert admitted or not owed
        if admitted:
            through.append((now_ns, owed))
            told[condition] = 1 if state is State.RAISED else 0
        in_a_minute = [free for at_ns, free in through if at_ns > now_ns - MINUTE_NS]
        assert in_a_minute.count(False) <= per_minute
        summarised += sum((limit.take_summary(now_ns) or {}).values())
    summarised += sum((limit.take_summary(now_ns + MINUTE_NS) or {}).values())
    assert len(through) + limit.suppressed == len(steps)
    assert summarised == limit.suppressed
