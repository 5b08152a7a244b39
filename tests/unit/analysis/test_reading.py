"""Values that are more than a look-up, and the reasons why a value is not there."""

from collections.abc import Mapping

import pytest

from twoway.analysis.clock import offset_unknown
from twoway.analysis.metrics import BY_NAME
from twoway.analysis.reading import Spread, Unknown, percentile_name, percentile_of
from twoway.analysis.timestamps import fell_back

from ..measured import Numbers, Span, clean, impaired, unanswered


def ratio(name: str, summary: Span) -> float | Unknown:
    return BY_NAME[name].number(summary)


def test_percentiles_follow_rfc_2330_section_11_3() -> None:
    spread = Spread(Numbers([-5, -2, 4, 7, 7, 18]))
    assert [spread.statistic(name) for name in ("p50", "p25", "p100", "median")] == [4, -2, 18, 4]


def test_a_shift_moves_places_but_not_the_deviation() -> None:
    spread = Spread(Numbers([10, 20, 30]), -10)
    assert [spread.statistic(name) for name in ("min", "mean", "median", "max", "stddev")] == [0, 10, 10, 20, 8]


@pytest.mark.parametrize("name", ["p", "p101", "99", "pp9", "p-1", "p1.2.3", "pnan", "p٣x"])
def test_what_is_no_percentile_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="not a percentile"):
        percentile_of(name)


def test_names_of_percentiles() -> None:
    assert [percentile_name(p) for p in (50.0, 99.9, 100.0, 99.99)] == ["p50", "p99.9", "p100", "p99.99"]
    assert percentile_of("p99.9") == 99.9


def test_pdv_of_the_example_of_rfc_5481_section_4_2() -> None:
    """Delays 20, 10, 20, 25, 20 ms: PDV 10, 0, 10, 15, 10."""
    summary = Span(counters={"received": 5}, distributions={"forward": [20, 10, 20, 25, 20]})
    spread = BY_NAME["pdv_forward"].spread(summary)
    assert isinstance(spread, Spread)
    assert [spread.statistic(f"p{p}") for p in (20, 40, 60, 80, 100)] == [0, 10, 10, 10, 15]


def test_loss_includes_late_packets_but_not_pending_ones() -> None:
    summary = Span(counters={"sent": 100, "received": 80, "late": 5, "lost_forward": 5, "pending": 10})
    assert ratio("loss_ratio", summary) == 10 / 90
    assert ratio("late_ratio", summary) == 5 / 90


def test_backward_loss_is_of_the_packets_that_reached_the_reflector() -> None:
    summary = Span(
        counters={"sent": 100, "received": 80, "lost_forward": 10, "lost_backward": 10},
        facts={"reflector_stateful": 1},
    )
    assert ratio("loss_forward_ratio", summary) == 10 / 100
    assert ratio("loss_backward_ratio", summary) == 10 / 90


@pytest.mark.parametrize(
    ("stateful", "received", "why"),
    [
        (0, 9, "the reflector does not number its replies"),
        (None, 9, "the reflector may not number its replies"),
        (None, 0, "no replies"),
    ],
)
def test_direction_of_loss_needs_a_numbering_reflector(stateful: int | None, received: int, why: str) -> None:
    summary = Span(
        counters={"sent": 10, "received": received, "lost_unattributed": 10 - received},
        facts={"reflector_stateful": stateful},
    )
    assert ratio("loss_forward_ratio", summary) == Unknown(why)
    assert ratio("loss_backward_ratio", summary) == Unknown(why)
    assert ratio("reordered_forward", summary) == Unknown(why)


@pytest.mark.parametrize(("lost", "known"), [(4, 0), (0, 4), (4, 3)])
def test_directions_that_became_known_in_another_interval_make_no_ratio(lost: int, known: int) -> None:
    summary = Span(
        counters={"sent": 10, "received": 6, "lost": lost, "lost_backward": known}, facts={"reflector_stateful": 1}
    )
    assert ratio("loss_ratio", summary) == lost / (6 + lost)
    assert ratio("loss_forward_ratio", summary) == Unknown("directions became known in another interval")
    assert ratio("loss_backward_ratio", summary) == Unknown("directions became known in another interval")


def test_without_loss_each_direction_is_known_to_have_none() -> None:
    assert ratio("loss_forward_ratio", clean()) == 0
    assert ratio("loss_backward_ratio", clean()) == 0


def test_duplicates_are_in_proportion_to_packets_that_came_back() -> None:
    """RFC 5560 section 5: four packets, each arriving three times, are a fraction of 2."""
    assert ratio("duplicates_ratio", Span(counters={"sent": 4, "received": 4, "duplicates_backward": 8})) == 2


def test_nothing_sent_has_no_ratio() -> None:
    assert ratio("loss_ratio", Span()) == Unknown("nothing sent")


@pytest.mark.parametrize(
    ("facts", "why"),
    [
        ({"local_synchronized": 0, "far_synchronized": 0}, "offset unknown: neither clock is synchronised"),
        ({"local_synchronized": 0, "far_synchronized": 1}, "offset unknown: local clock is not synchronised"),
        ({"local_synchronized": 1, "far_synchronized": 0}, "offset unknown: far clock is not synchronised"),
        (
            {"local_synchronized": 1, "far_synchronized": None},
            "offset unknown: far clock does not say whether it is synchronised",
        ),
        (
            {"local_synchronized": 1, "far_synchronized": 1, "local_error_ns": 5},
            "offset unknown: far clock does not say how large its error may be",
        ),
        ({"one_way_error_bound_ns": 7}, None),
    ],
)
def test_one_way_delay_needs_two_clocks_that_can_carry_it(facts: Mapping[str, int | None], why: str | None) -> None:
    summary = Span(counters={"received": 1}, distributions={"forward": [5]}, facts=facts)
    assert offset_unknown(summary) == why
    forward = BY_NAME["forward"].spread(summary)
    assert isinstance(forward, Spread) if why is None else forward == Unknown(why)
    assert isinstance(BY_NAME["forward_with_offset"].spread(summary), Spread)
    assert isinstance(BY_NAME["pdv_forward"].spread(summary), Spread)


def test_negative_delay_is_kept() -> None:
    spread = BY_NAME["forward_with_offset"].spread(clean())
    assert isinstance(spread, Spread)
    assert spread.statistic("min") == -3_000_000


def test_reasons_without_values() -> None:
    assert BY_NAME["round_trip"].spread(unanswered()) == Unknown("no replies")
    assert BY_NAME["jitter_forward_ns"].number(unanswered()) == Unknown("no replies")
    assert BY_NAME["send_lateness"].spread(Span()) == Unknown("nothing sent")
    unusable = Span(counters={"received": 2, "far_timestamps_unusable": 2})
    assert BY_NAME["forward_with_offset"].spread(unusable) == Unknown("the reflector's timestamps are unusable")
    assert BY_NAME["ipdv_forward"].spread(Span(counters={"received": 1})) == Unknown("too few replies")


@pytest.mark.parametrize(("asked", "count"), [("hardware", 97), ("kernel", 2), ("user", 0)])
def test_fallen_back_timestamps_are_those_below_what_was_asked_for(asked: str, count: int) -> None:
    assert fell_back(asked, impaired(), "t4") == count
