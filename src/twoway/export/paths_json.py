"""Several paths measured at once, as one JSON document. `twoway.export.schema.paths_schema` describes it."""

from __future__ import annotations

from itertools import chain
from typing import TYPE_CHECKING

from twoway.export import fields
from twoway.export.fields import JsonValue, document_of
from twoway.export.json_result import outcome, sample_objects, session_object

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from twoway.analysis.comparison import Difference, PathSetResult
    from twoway.analysis.samples import Batch


def document(measured: PathSetResult, samples: Mapping[str, Iterable[Batch]] | None = None) -> dict[str, JsonValue]:
    """The results of all paths and their differences; with `samples`, one object for each row of them too."""
    paths: list[JsonValue] = []
    for name, result in measured.results.items():
        body: dict[str, JsonValue] = {
            "name": name,
            "session": session_object(result.session),
            **outcome(result, buckets=True),
        }
        if samples is not None:
            body["samples"] = list(chain.from_iterable(map(sample_objects, samples[name])))
        paths.append(body)
    return {
        "type": "paths",
        "schema": fields.SCHEMA_VERSION,
        "paths": paths,
        "differences": [difference_object(difference) for difference in measured.differences],
        "unpaired": measured.unpaired,
    }


def difference_object(difference: Difference) -> dict[str, JsonValue]:
    """How one path differs from the first in one respect."""
    return document_of(fields.DIFFERENCE, difference)
