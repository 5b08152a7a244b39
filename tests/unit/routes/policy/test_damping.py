"""Penalties: what flapping costs, how it is forgiven, and the bounds of both."""

from __future__ import annotations

import pytest

from twoway.config.route_plan import DampingPlan
from twoway.routes.policy.damping import COST, Penalty, ceiling

from ..made import S

PLAN = DampingPlan(half_life_ns=60 * S, reuse=750, suppress=2500, max_suppress_ns=240 * S)


def test_half_is_left_after_each_half_life() -> None:
    penalty = Penalty(PLAN)
    penalty.charge(0)
    assert [round(penalty.value(t * S)) for t in (0, 60, 120)] == [COST, COST // 2, COST // 4]


def test_it_is_suppressed_above_the_threshold_and_not_at_it() -> None:
    penalty = Penalty(PLAN)
    penalty.charge(0)
    penalty.charge(0)
    assert not penalty.suppressed
    penalty.charge(0)
    assert penalty.suppressed


def test_it_is_released_when_the_penalty_has_sunk_to_reuse() -> None:
    penalty = Penalty(PLAN)
    for _ in range(3):
        penalty.charge(0)
    assert penalty.release_ns == 120 * S  # 3000 to 750 are two half-lives
    penalty.advance(120 * S - 1)
    assert penalty.suppressed
    penalty.advance(120 * S)
    assert not penalty.suppressed
    assert penalty.value(120 * S) == pytest.approx(PLAN.reuse)


def test_a_suppressed_one_that_goes_down_again_is_suppressed_for_longer() -> None:
    penalty = Penalty(PLAN)
    for _ in range(3):
        penalty.charge(0)
    penalty.charge(100 * S)
    assert penalty.release_ns is not None
    assert penalty.release_ns > 120 * S


def test_no_penalty_exceeds_the_ceiling_and_no_suppression_the_longest() -> None:
    penalty = Penalty(PLAN)
    for number in range(1000):
        penalty.charge(number * S)
        assert penalty.value(number * S) <= ceiling(PLAN)
        assert penalty.release_ns is None or penalty.release_ns <= number * S + PLAN.max_suppress_ns
    assert ceiling(PLAN) == 750 * 2**4


def test_what_is_forgiven_is_forgotten() -> None:
    penalty = Penalty(PLAN)
    for _ in range(5):
        penalty.charge(0)
    penalty.forgive()
    assert (penalty.value(0), penalty.suppressed) == (0, False)


def test_another_plan_goes_on_with_what_is_left() -> None:
    penalty, stricter = Penalty(PLAN), Penalty(DampingPlan(60 * S, 500, 1000, 120 * S))
    for _ in range(3):
        penalty.charge(0)
    stricter.inherit(penalty, 60 * S)
    assert stricter.value(60 * S) == pytest.approx(1500)
    assert stricter.release_ns is not None
    assert 60 * S < stricter.release_ns <= 180 * S
