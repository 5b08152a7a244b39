"""Several paths: the report letter by letter, and documents that keep to their schema."""

from __future__ import annotations

import json

import jsonschema  # type: ignore[import-untyped]  # it has no types, and only tests use it
import pytest

from twoway.analysis.comparison import COMPARED, Difference, PathSetResult
from twoway.export import csv_rows, ndjson, paths_json, schema
from twoway.export.paths_text import heading, report, status_line

from ..measured import MS, Rows, clean, result, session, unanswered

GOLD = """\
STAMP to probe.example.net (192.0.2.1:862) on 2 paths
2026-01-02 03:04:05 UTC, 4 s: 44 octets every 100 ms on each path, timeout 1 s

Paths
  plain  plain             from 192.0.2.7:49152
  north  mpls:16001,24005  from 192.0.2.7:49153

Packets     plain  north
  sent         10      3
  received     10      0
  lost          0      3
  loss         0%   100%

Delay                  plain  north
  round trip min     40.1 µs      -
  round trip median  40.5 µs      -
  round trip p99     41.0 µs      -
  round trip max     41.0 µs      -

Difference from plain
                       95 % between       p  pairs
  north  loss  +100 %             -  <0.001     10  more than chance"""


def _difference(**changes: object) -> Difference:
    values: dict[str, object] = {
        "path": "north",
        "reference": "plain",
        "compared": "loss",
        "pairs": 10,
        "stretches": 10,
        "estimate": 1.0,
        "low": None,
        "high": None,
        "p_value": 2 / 1024 / 2,
    }
    return Difference(**{**values, **changes})  # type: ignore[arg-type]  # tests name fields of known types


def _measured(*differences: Difference, unpaired: int = 0) -> PathSetResult:
    results = {
        "plain": result(clean(), path="plain"),
        "north": result(unanswered(), path="mpls:16001,24005", local_port=49153),
    }
    return PathSetResult(results, differences, unpaired)


def test_paths_are_reported_side_by_side() -> None:
    none = _difference(compared="round_trip", pairs=0, stretches=0, estimate=None, low=None, high=None, p_value=None)
    assert report(_measured(_difference(), none), (99.0,)) == GOLD


def test_a_difference_has_one_unit_and_says_whether_it_is_more_than_chance() -> None:
    small = _difference(compared="forward", estimate=1234.5, low=-400.0, high=2900.0, p_value=0.051)
    few = _difference(compared="backward", estimate=-2 * MS, low=None, high=None, p_value=0.5)
    lines = report(_measured(small, few, unpaired=3)).splitlines()[-3:]
    assert lines == [
        "  north  forward     +1.2 µs  -0.4 µs and +2.9 µs  0.051     10  may be chance",
        "  north  backward  -2.000 ms              too few  0.500     10  may be chance",
        "  3 slots could not be compared",
    ]


def test_without_a_common_moment_nothing_is_compared() -> None:
    none = _difference(pairs=0, estimate=None, low=None, high=None, p_value=None)
    assert report(_measured(none)).endswith("Difference from plain: no packets of the same moment")
    assert not none.significant


def test_the_status_line_has_a_word_for_each_path() -> None:
    assert status_line({"a": clean(), "b": unanswered()}) == "a 10/10 40.5 µs, b 0/3"
    assert heading(session(), 2).startswith("STAMP to probe.example.net (192.0.2.1:862) on 2 paths: 44 octets")


@pytest.mark.parametrize("with_samples", [True, False])
def test_the_document_keeps_to_its_schema(with_samples: bool) -> None:
    difference = _difference(compared="round_trip", estimate=12.5, low=None, high=None)
    rows = Rows({"sequence": 0, "status": 0, "flags": 0, "round_trip_ns": 5})
    samples = {"plain": [rows], "north": []} if with_samples else None
    document = json.loads(
        json.dumps(paths_json.document(_measured(_difference(), difference), samples), allow_nan=False)
    )
    described = json.loads(json.dumps(schema.paths_schema()))
    jsonschema.Draft202012Validator.check_schema(described)
    jsonschema.validate(document, described)
    assert [path["name"] for path in document["paths"]] == ["plain", "north"]


def test_records_of_a_path_keep_to_their_schema() -> None:
    described = json.loads(json.dumps(schema.record_schema()))
    measured = _measured(_difference())
    records = [
        ndjson.on_path("north", ndjson.session(measured.results["north"].session)),
        ndjson.on_path("north", ndjson.summary(measured.results["north"])),
        *map(ndjson.difference, measured.differences),
    ]
    validator = jsonschema.Draft202012Validator(described)
    for record in records:
        validator.validate(record)
    assert [record["path"] for record in records] == ["north"] * 3


def test_rows_name_their_path_first() -> None:
    assert csv_rows.header(paths=True) == "path," + csv_rows.header()


def test_what_is_compared_has_a_label() -> None:
    native = pytest.importorskip("twoway._native", reason="the extension module is not built")
    assert tuple(COMPARED) == tuple(native.catalogue()["compared"])
