"""The OpenAPI document."""

from __future__ import annotations

import jsonschema  # type: ignore[import-untyped]  # it has none
from pydantic import TypeAdapter

from twoway.analysis import views
from twoway.analysis.views import GlanceView, HealthView, ResultsView
from twoway.api import answers
from twoway.api.openapi import document, field_meanings

from ..watched import FakeDaemon


def test_every_view_that_is_answered_is_described_with_the_meaning_of_its_fields() -> None:
    schemas = document()["components"]["schemas"]
    for name, meanings in field_meanings().items():
        if name not in schemas:
            continue
        for field, meaning in meanings.items():
            assert meaning in schemas[name]["properties"][field]["description"]
    described = schemas["CollectionView"]["properties"]["lost_egress"]["description"]
    assert described.endswith("null where the Session-Reflector does not number its replies.")


def test_every_view_is_answered_somewhere() -> None:
    schemas = document()["components"]["schemas"]
    assert {name for name in vars(views) if name.endswith("View")} <= set(schemas)
    assert "ProblemView" in schemas


def test_every_request_has_one_sort_of_error() -> None:
    body = document()
    for path, operations in body["paths"].items():
        for operation in operations.values():
            assert "422" not in operation["responses"]
            assert path == "/metrics" or "400" in operation["responses"]


def test_answers_are_as_described() -> None:
    body = document()
    daemon = FakeDaemon()
    key = daemon.keys()[0]
    values: list[tuple[type[object], object]] = [
        (ResultsView, daemon.results(key)),
        (GlanceView, daemon.glance(key)),
        (HealthView, daemon.health()),
        (answers.ControlInfo, answers.ControlInfo(daemon.client_connections())),
        (answers.TestInfo, answers.TestInfo(daemon.client_tests())),
    ]
    for kind, value in values:
        schema = {"$ref": f"#/components/schemas/{kind.__name__}", "components": body["components"]}
        jsonschema.validate(TypeAdapter(kind).dump_python(value, mode="json"), schema)
