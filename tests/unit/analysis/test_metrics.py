"""The table of metrics: complete, consistent, and in agreement with the packet plane."""

import pytest

from twoway.analysis.metrics import BY_NAME, METRICS, SECTIONS, Kind, Section, Unit, parts
from twoway.analysis.reading import Spread, Unknown
from twoway.analysis.reflector import DISPOSITIONS
from twoway.analysis.samples import COLUMNS, FLAG_NAMES, SOURCE_NAMES, STATUS_NAMES

from ..measured import Span, clean, impaired, unanswered

CATALOGUE = {Kind.COUNTER: "summary_counters", Kind.DISTRIBUTION: "summary_distributions", Kind.FACT: "summary_facts"}


def test_every_name_is_there_once() -> None:
    assert len(BY_NAME) == len(METRICS)
    assert set(SECTIONS) == set(Section)


@pytest.mark.parametrize(("kind", "names"), CATALOGUE.items())
def test_names_are_those_of_the_packet_plane(kind: Kind, names: str) -> None:
    from twoway import _native

    ours = {metric.name for metric in METRICS if metric.kind is kind and not metric.derived}
    assert ours == set(_native.catalogue()[names])


def test_codes_are_those_of_the_packet_plane() -> None:
    from twoway import _native

    catalogue = _native.catalogue()
    assert _names(catalogue["sample_status"]) == STATUS_NAMES
    assert _names(catalogue["timestamp_source"]) == SOURCE_NAMES
    assert _names(catalogue["sample_flags"]) == FLAG_NAMES
    assert set(catalogue["dispositions"]) == set(DISPOSITIONS)
    assert all(hasattr(_native.SampleBatch, column.name) for column in COLUMNS)


def _names(codes: object) -> tuple[str, ...]:
    """Names in order of their codes, whether the catalogue lists or numbers them."""
    if isinstance(codes, dict):
        return tuple(sorted(codes, key=lambda name: codes[name]))
    assert isinstance(codes, (list, tuple))
    return tuple(codes)


@pytest.mark.parametrize("metric", METRICS, ids=lambda metric: metric.name)
def test_a_row_is_complete(metric: object) -> None:
    from twoway.analysis.metrics import Metric

    assert isinstance(metric, Metric)
    assert metric.description.endswith(".")
    assert metric.label
    assert metric.part_of is None or metric.part_of in BY_NAME
    assert metric.name.endswith("_ns") == (metric.unit is Unit.NANOSECONDS and metric.kind is Kind.FACT)
    assert (metric.kind is Kind.DISTRIBUTION) <= (metric.unit is Unit.NANOSECONDS)


@pytest.mark.parametrize(
    "summary", [impaired(), clean(), unanswered(), Span()], ids=["impaired", "clean", "none", "nil"]
)
def test_every_metric_has_a_value_or_a_reason(summary: Span) -> None:
    for metric in METRICS:
        value = metric.value(summary)
        if isinstance(value, Unknown):
            assert 0 < len(value.why) < 60
        elif isinstance(value, Spread):
            assert metric.kind is Kind.DISTRIBUTION
            assert value.count > 0


def test_shares_add_up() -> None:
    summary = impaired()
    for name in ("lost", "duplicates", "rejected"):
        shares = [part.number(summary) for part in parts(name)]
        assert BY_NAME[name].number(summary) == sum(share for share in shares if not isinstance(share, Unknown))


def test_kinds_are_not_mixed_up() -> None:
    with pytest.raises(TypeError, match="sent is a counter"):
        BY_NAME["sent"].spread(clean())
    with pytest.raises(TypeError, match="round_trip is a distribution"):
        BY_NAME["round_trip"].number(clean())
    with pytest.raises(TypeError, match="round_trip is a distribution"):
        BY_NAME["round_trip"].tally(clean())
