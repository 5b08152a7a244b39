"""Alarms beside a naive model: what is raised follows from the list of all that happened."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hypothesis import given
from hypothesis import strategies as st

from twoway.analysis.thresholds import Alarms, Crossing

if TYPE_CHECKING:
    from collections.abc import Sequence

NAMES = ("rtt-exceeded", "probe-failure", "test-failure")
Happening = tuple[str, int, frozenset[str]]
"""`probe` or `test`, how many tests later than the one before, and what was met."""

happenings = st.lists(
    st.tuples(st.sampled_from(["probe", "test"]), st.integers(0, 3), st.frozensets(st.sampled_from(NAMES))),
    max_size=30,
)


def expected(history: Sequence[tuple[str, int, frozenset[str]]], notice: str) -> bool:
    """Raised, if something met it and no test after the last of those (in number and in time) was without it."""
    crossed: int | None = None
    for kind, number, met in history:
        if notice in met:
            crossed = number if crossed is None else max(crossed, number)
        elif kind == "test" and crossed is not None and number > crossed:
            crossed = None
    return crossed is not None


@given(happenings)
def test_what_is_raised_follows_from_what_happened(steps: list[Happening]) -> None:
    alarms = Alarms()
    history: list[tuple[str, int, frozenset[str]]] = []
    raised: set[str] = set()
    number = 1
    for kind, later, met in steps:
        number += later
        history.append((kind, number, met))
        crossings = [Crossing(name, name, name) for name in sorted(met)]
        if kind == "probe":
            changes = alarms.probes_seen(number, crossings)
        else:
            changes = alarms.test_finished(number, tuple(crossings))
        for notice, crossing in changes:
            # Each change is one: nothing is raised twice, and nothing cleared that was not raised.
            assert (notice in raised) == (crossing is None)
            (raised.discard if crossing is None else raised.add)(notice)
        assert raised == set(alarms.raised) == {name for name in NAMES if expected(history, name)}
