"""A measurement as a stream of records, one JSON object on a line.

First comes session, then packet, event and interval, at the end summary. Each record has its `type` and the `schema`
number; `twoway.export.schema.record_schema` describes them. A packet record comes when the packet's fate is known,
which is not the order of sending.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from twoway.export import fields
from twoway.export.fields import JsonValue, document_of
from twoway.export.json_result import measurements, outcome, sample_objects, session_object
from twoway.export.paths_json import difference_object

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from twoway.analysis.comparison import Difference
    from twoway.analysis.result import Event, Result, SessionDescription, Summary
    from twoway.analysis.samples import Batch

Record = dict[str, JsonValue]


def session(description: SessionDescription) -> Record:
    """The first record: what is measured, requested and obtained."""
    return {**_marker("session"), **session_object(description)}


def packets(batch: Batch) -> Iterator[Record]:
    """A record for each row of `batch`."""
    for sample in sample_objects(batch):
        yield {**_marker("packet"), **sample}


def event(happened: Event) -> Record:
    """A record of something that happened while measuring."""
    return {**_marker("event"), **document_of(fields.EVENT, happened)}


def interval(description: SessionDescription, summary: Summary, percentiles: Sequence[float]) -> Record:
    """A record of what came since the last one. Without buckets: the summary at the end has them."""
    span = document_of(fields.SPAN, summary)
    return {**_marker("interval"), **span, **measurements(description, summary, percentiles, buckets=False)}


def summary(result: Result) -> Record:
    """The last record: all of the result but the session."""
    return {**_marker("summary"), **outcome(result, buckets=True)}


def difference(found: Difference) -> Record:
    """A record of how one of several paths differs from the first."""
    return {**_marker("difference"), **difference_object(found)}


def on_path(name: str, record: Record) -> Record:
    """The record, of one of several paths."""
    return {**record, "path": name}


def line(record: Mapping[str, JsonValue]) -> str:
    """The record as one line, without newline."""
    return json.dumps(record, allow_nan=False, separators=(",", ":"))


def _marker(kind: str) -> Record:
    return {"type": kind, "schema": fields.SCHEMA_VERSION}
