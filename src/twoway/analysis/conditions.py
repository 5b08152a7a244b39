"""Conditions on a result, for `--fail-if`: `loss>1%`, `rtt-p99>=20ms`, `forward-max>5ms`, `duplicates>0`.

    SUBJECT[-STATISTIC] OPERATOR VALUE

SUBJECT is a metric's `condition` name in `twoway.analysis.metrics`. STATISTIC (min, mean, median, max, stddev, pN) is
for distributions; without it the metric's own is meant: mean of delays, p99 of variation. A STATISTIC alone is of the
round trip. VALUE has a unit of time for times, % for ratios, nothing for counts; `late`, `duplicates` and `reordered`
are either. The condition is violated when the comparison holds, and also when the metric cannot be known: who asks
whether forward delay is below 5 ms must not be told that all is well by a clock that cannot say.
"""

from __future__ import annotations

import operator
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from twoway.analysis.metrics import METRICS, Kind, Metric, Unit, unit_for
from twoway.analysis.reading import Unknown, percentile_of
from twoway.config.units import parse_duration_ns
from twoway.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable

    from twoway.analysis.result import Result

FIELD = "condition"
"""What a `ConfigError` from here is about."""

_OPERATORS: dict[str, Callable[[float, float], bool]] = {
    ">": operator.gt,
    ">=": operator.ge,
    "<": operator.lt,
    "<=": operator.le,
}
_PARTS = re.compile(r"\s*([a-z0-9.-]+)\s*(>=|<=|>|<)\s*(\S.*?)\s*", re.IGNORECASE)
_NUMBER = re.compile(r"[0-9]+(\.[0-9]+)?")
_STATISTICS = ("min", "mean", "median", "max", "stddev")
_DEFAULT_SUBJECT = "rtt"

SUBJECTS = tuple(dict.fromkeys(metric.condition for metric in METRICS if metric.condition))
"""Everything a condition can be about."""


@dataclass(frozen=True, slots=True)
class Condition:
    """One condition. `str()` is what was written."""

    text: str
    metric: Metric
    statistic: str | None
    """Of a distribution, else None."""
    comparison: str
    limit: float
    """In the metric's unit: ns, ratio (0 to 1) or count."""

    def __str__(self) -> str:
        return self.text

    def violated(self, result: Result) -> str | None:
        """The reason in one line if it is violated or cannot be evaluated, else None."""
        value = self._value(result)
        if isinstance(value, Unknown):
            return f"{self.text} cannot be evaluated: {value.why}"
        if _OPERATORS[self.comparison](value, self.limit):
            return f"{self.text}: {self._name()} is {self._shown(value)}"
        return None

    def _value(self, result: Result) -> float | Unknown:
        if self.statistic is None:
            return self.metric.number(result.summary)
        spread = self.metric.spread(result.summary)
        if isinstance(spread, Unknown):
            return spread
        value = spread.statistic(self.statistic)
        return Unknown("too few replies") if value is None else value

    def _name(self) -> str:
        return self.metric.label + (f" {self.statistic}" if self.statistic else "")

    def _shown(self, value: float) -> str:
        match self.metric.unit:
            case Unit.NANOSECONDS:
                scale, unit = unit_for(value)
                return f"{value / scale:.6g} {unit}"
            case Unit.RATIO:
                return f"{value * 100:.6g}%"
            case _:
                return f"{value:g}"


def parse(text: str) -> Condition:
    """The condition that `text` says. Raises `ConfigError`, which names what it could be instead."""
    match = _PARTS.fullmatch(text)
    if match is None:
        raise ConfigError(FIELD, f"{text!r} is not a comparison such as 'loss>1%' or 'rtt-p99>20ms'")
    subject, comparison, written = match[1].lower(), match[2], match[3]
    metrics, statistic = _subject(subject)
    for metric in metrics:
        limit = _limit(metric, written)
        if limit is not None:
            of_metric = (statistic or metric.statistic) if metric.kind is Kind.DISTRIBUTION else None
            return Condition(text.strip(), metric, of_metric, comparison, limit)
    wanted = " or ".join(_EXPECTED[metric.unit] for metric in metrics)
    raise ConfigError(FIELD, f"{text!r}: {subject} is compared with {wanted}, not with {written!r}")


def _subject(name: str) -> tuple[list[Metric], str | None]:
    """The metrics that go by `name`, and the statistic in it."""
    if metrics := _called(name):
        return metrics, None
    subject, _, statistic = name.rpartition("-")
    if _is_statistic(statistic):
        metrics = [metric for metric in _called(subject or _DEFAULT_SUBJECT) if metric.kind is Kind.DISTRIBUTION]
        if metrics:
            return metrics, statistic
    raise ConfigError(FIELD, f"{name!r} is none of {', '.join(SUBJECTS)}; times also as rtt-p99, rtt-max, rtt-min")


def _called(name: str) -> list[Metric]:
    return [metric for metric in METRICS if metric.condition == name]


def _is_statistic(name: str) -> bool:
    if name in _STATISTICS:
        return True
    try:
        percentile_of(name)
    except ValueError:
        return False
    return True


_EXPECTED = {
    Unit.NANOSECONDS: "a time with its unit, such as 20ms",
    Unit.RATIO: "a percentage, such as 1%",
    Unit.PACKETS: "a number of packets",
    Unit.EVENTS: "a number",
    Unit.STATE: "0 or 1",
    Unit.NUMBER: "a number",
}


def _limit(metric: Metric, written: str) -> float | None:
    """`written` in the metric's unit, None if it is not of that unit."""
    match metric.unit:
        case Unit.NANOSECONDS:
            # A bare number would be seconds elsewhere; for delays nobody means that.
            sign = -1 if written.startswith("-") else 1
            bare = written.removeprefix("-")
            if _NUMBER.fullmatch(bare) and float(bare):
                return None
            try:
                return sign * parse_duration_ns(bare, FIELD)
            except ConfigError:
                return None
        case Unit.RATIO:
            number = written.removesuffix("%").rstrip()
            return float(number) / 100 if written.endswith("%") and _NUMBER.fullmatch(number) else None
        case _:
            return float(written) if _NUMBER.fullmatch(written) else None
