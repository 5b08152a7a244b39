"""Conditions: what they accept, when they are violated, what they say."""

import pytest

from twoway.analysis.conditions import SUBJECTS, parse
from twoway.analysis.metrics import METRICS, Kind
from twoway.errors import ConfigError

from ..measured import Span, clean, impaired, result, unanswered


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("loss>1%", "loss>1%: loss is 4%"),
        ("loss > 3.99 %", "loss > 3.99 %: loss is 4%"),
        ("loss>4%", None),
        ("loss>=4%", "loss>=4%: loss is 4%"),
        ("loss<4%", None),
        ("loss<=4%", "loss<=4%: loss is 4%"),
        ("lost>2", "lost>2: lost is 3"),
        ("loss-forward>1%", "loss-forward>1%: loss forward is 2%"),
        ("loss-backward>5%", None),
        ("p99>2ms", "p99>2ms: round trip p99 is 2.5 ms"),
        ("rtt-max>2ms", "rtt-max>2ms: round trip max is 2.5 ms"),
        ("max<=2500us", "max<=2500us: round trip max is 2.5 ms"),
        ("rtt>1ms", None),
        ("RTT-P50>=259us", "RTT-P50>=259us: round trip p50 is 259 µs"),
        ("forward-max>1ms", "forward-max>1ms: forward max is 2.3 ms"),
        ("jitter>=1us", "jitter>=1us: jitter round trip is 1 µs"),
        ("ipdv>0.5us", "ipdv>0.5us: IPDV round trip p99 is 1 µs"),
        ("pdv-backward>80us", "pdv-backward>80us: PDV backward p99 is 89 µs"),
        ("duplicates>0", "duplicates>0: duplicates is 2"),
        ("duplicates>3%", None),
        ("late>0.5%", "late>0.5%: late is 1%"),
        ("late>1", None),
        ("reordered>0", "reordered>0: reordered is 1"),
        ("ipdv-min<-500ns", "ipdv-min<-500ns: IPDV round trip min is -1 µs"),
    ],
)
def test_a_condition_is_violated_when_it_holds(text: str, reason: str | None) -> None:
    assert parse(text).violated(result(impaired())) == reason


@pytest.mark.parametrize(
    ("text", "summary", "reason"),
    [
        ("rtt>1s", unanswered(), "rtt>1s cannot be evaluated: no replies"),
        ("loss-forward>1%", unanswered(), "loss-forward>1% cannot be evaluated: no replies"),
        ("forward>1s", clean(), "forward>1s cannot be evaluated: offset unknown: far clock is not synchronised"),
        ("loss>1%", Span(), "loss>1% cannot be evaluated: nothing sent"),
    ],
)
def test_what_cannot_be_known_counts_as_violated(text: str, summary: Span, reason: str) -> None:
    assert parse(text).violated(result(summary)) == reason


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("loss", "is not a comparison such as 'loss>1%'"),
        ("loss>", "is not a comparison"),
        ("loss=1%", "is not a comparison"),
        ("", "is not a comparison"),
        ("loss>3", "loss is compared with a percentage, such as 1%, not with '3'"),
        ("lost>1%", "lost is compared with a number of packets"),
        ("rtt>20", "rtt is compared with a time with its unit, such as 20ms, not with '20'"),
        ("rtt>20miles", "rtt is compared with a time"),
        ("rtt>nan", "rtt is compared with a time"),
        ("loss>nan%", "loss is compared with a percentage"),
        ("mos<4", "'mos' is none of"),
        ("rtt-p101>1ms", "'rtt-p101' is none of"),
        ("loss-max>1%", "'loss-max' is none of"),
        ("late>soon", "a number of packets or a percentage"),
    ],
)
def test_what_is_no_condition_is_refused_with_what_it_could_be(text: str, complaint: str) -> None:
    with pytest.raises(ConfigError) as refused:
        parse(text)
    assert complaint in str(refused.value)


def test_every_subject_is_accepted() -> None:
    for subject in SUBJECTS:
        kinds = {metric.kind for metric in METRICS if metric.condition == subject}
        value = "1ms" if kinds & {Kind.DISTRIBUTION, Kind.FACT} else "1%" if Kind.RATIO in kinds else "1"
        assert str(parse(f"{subject}>{value}")) == f"{subject}>{value}"
