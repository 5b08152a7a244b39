"""A result as one JSON document. `twoway.export.schema` describes it, from the same tables.

Integers are exact nanoseconds; what cannot be known is null, and `unknown` says why. Never a NaN, never an infinity.
"""

from __future__ import annotations

import json
import re
from itertools import chain
from math import ceil, floor
from typing import TYPE_CHECKING

from twoway.analysis import samples as sample_table
from twoway.analysis.metrics import Metric, Section, Unit, in_section
from twoway.analysis.reading import Spread, Unknown, percentile_name
from twoway.export import fields
from twoway.export.fields import JsonValue, document_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from twoway.analysis.result import Result, SessionDescription, Summary
    from twoway.analysis.samples import Batch


def document(result: Result, samples: Iterable[Batch] | None = None) -> dict[str, JsonValue]:
    """The whole result; with `samples`, one object for each row of them too."""
    body: dict[str, JsonValue] = {
        "type": "result",
        "schema": fields.SCHEMA_VERSION,
        "session": session_object(result.session),
        **outcome(result, buckets=True),
    }
    if samples is not None:
        body["samples"] = list(chain.from_iterable(map(sample_objects, samples)))
    return body


_BUCKET = re.compile(r"\[\n\s+(-?[0-9]+),\n\s+(-?[0-9]+),\n\s+([0-9]+)\n\s+\]")


def text(body: Mapping[str, JsonValue]) -> str:
    """`body` indented for people, each bucket of a histogram on one line. No newline at the end."""
    # A line break inside of a string would be escaped: the pattern meets arrays only.
    return _BUCKET.sub(r"[\1, \2, \3]", json.dumps(body, indent=2, allow_nan=False))


def session_object(session: SessionDescription) -> dict[str, JsonValue]:
    """Both ends, and what was requested beside what was obtained."""
    return {
        **document_of(fields.ENDS, session),
        "requested": document_of(fields.REQUESTED, session),
        "obtained": dict(session.obtained),
    }


def outcome(result: Result, *, buckets: bool) -> dict[str, JsonValue]:
    """Everything of a result but the session."""
    return {
        **document_of(fields.RUN, result),
        **measurements(result.session, result.summary, result.percentiles, buckets=buckets),
        "local_clock": document_of(fields.LOCAL_CLOCK, result.clock),
        "events": [document_of(fields.EVENT, event) for event in result.events],
        "outages": [document_of(fields.OUTAGE, outage) for outage in result.outages],
    }


def measurements(
    session: SessionDescription, summary: Summary, percentiles: Sequence[float], *, buckets: bool
) -> dict[str, JsonValue]:
    """Every metric of a summary, by section; `unknown` has the reasons for those that are null."""
    body = metrics(summary, percentiles, buckets=buckets)
    tool = body[Section.TOOL]
    if not isinstance(tool, dict):
        raise TypeError("a section is an object")
    tool |= document_of(fields.FALLBACK, (session.timestamps, summary))
    return body


def metrics(summary: Summary, percentiles: Sequence[float], *, buckets: bool) -> dict[str, JsonValue]:
    """What `measurements` has, but for what only a test-session's description can say."""
    unknown: dict[str, JsonValue] = {}
    body: dict[str, JsonValue] = {}
    for section in Section:
        values: dict[str, JsonValue] = {}
        for metric in in_section(section):
            value = metric.value(summary)
            if isinstance(value, Unknown):
                unknown[metric.name] = value.why
            values[metric.name] = _json(metric, value, percentiles, buckets=buckets)
        body[section] = values
    steps = [document_of(fields.CLOCK_STEP, step) for step in summary.clock_steps]
    return {**body, "clock_steps": steps, "unknown": unknown}


def value(metric: Metric, summary: Summary, percentiles: Sequence[float]) -> JsonValue:
    """One metric as `metrics` has it, without buckets."""
    return _json(metric, metric.value(summary), percentiles, buckets=False)


def sample_objects(batch: Batch) -> Iterable[dict[str, JsonValue]]:
    """One object for each row of `batch`."""
    names = [column.name for column in sample_table.COLUMNS]
    for row in sample_table.rows(batch):
        yield dict(zip(names, row, strict=True))


def _json(metric: Metric, value: object, percentiles: Sequence[float], *, buckets: bool) -> JsonValue:
    match value:
        case Unknown():
            return None
        case Spread():
            return _distribution(value, percentiles, buckets=buckets)
        case dict():
            return {str(number): count for number, count in sorted(value.items())}
        case int() if metric.unit is Unit.STATE:
            return bool(value)
        case int() | float() | str():
            return value
    raise TypeError(f"{metric.name} ({metric.kind}) has no JSON form")


def _distribution(spread: Spread, percentiles: Sequence[float], *, buckets: bool) -> dict[str, JsonValue]:
    body = document_of(fields.STATISTICS, spread)
    names = [percentile_name(percentile) for percentile in percentiles]
    body["percentiles_ns"] = {name: spread.statistic(name) for name in names}
    if buckets and spread.shift_ns == 0:  # moved buckets are no more than the others again
        body["buckets"] = [[floor(low), ceil(high), count] for low, high, count in spread.distribution.buckets()]
    return body
