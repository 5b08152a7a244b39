"""The dashboard of monitoring/, as far as it can be judged without Grafana, which no registry here has.

Grafana's own model of a dashboard is (`grafana-foundation-sdk`, which Grafana Labs generate from its schemas): what it
does not know, it forgets, so a dashboard that it has read and written again must still say everything. Every metric and
label is in the table, every variable is defined, and panels do not overlap. That each expression gives data, a real
Prometheus says in `tests/interop`. How it looks, nobody has seen but in the model.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.cog.plugins import register_default_plugins
from grafana_foundation_sdk.models.dashboard import Dashboard

from twoway.analysis.exposition import FAMILIES

from .expressions import MONITORING, check, rules

if TYPE_CHECKING:
    from collections.abc import Iterator

TEXT = (MONITORING / "dashboard.json").read_text(encoding="utf-8")
DASHBOARD: dict[str, Any] = json.loads(TEXT)
PANELS = [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]
EXPRESSIONS = [(panel["title"], target["expr"]) for panel in PANELS for target in panel["targets"]]
COLUMNS = 24


def lost(before: object, after: object, path: str = "") -> Iterator[str]:
    """Where `after` does not say what `before` said; more it may say."""
    if isinstance(before, dict) and isinstance(after, dict):
        for name, value in before.items():
            if name in after:
                yield from lost(value, after[name], f"{path}.{name}")
            elif value not in (None, [], {}):
                yield f"{path}.{name}"
    elif isinstance(before, list) and isinstance(after, list):
        if len(before) != len(after):
            yield f"{path}: {len(after)} of {len(before)}"
        for number, (one, other) in enumerate(zip(before, after, strict=False)):
            yield from lost(one, other, f"{path}[{number}]")
    elif before != after:
        yield f"{path}: {before!r} became {after!r}"


def test_grafanas_model_has_a_place_for_everything_in_it() -> None:
    register_default_plugins()
    again = json.loads(JSONEncoder().encode(Dashboard.from_json(json.loads(TEXT))))
    assert list(lost(DASHBOARD, again)) == []


def test_the_model_forgets_what_it_does_not_know() -> None:
    """Or the test above would say nothing."""
    register_default_plugins()
    wrong = json.loads(TEXT)
    panel = next(panel for panel in wrong["panels"] if panel["type"] == "timeseries")
    panel["descripton"] = "x"
    panel["options"]["legend"]["placment"] = "x"
    panel["fieldConfig"]["defaults"]["custom"]["lineWith"] = 7
    panel["targets"][0]["legend"] = "x"
    again = json.loads(JSONEncoder().encode(Dashboard.from_json(json.loads(json.dumps(wrong)))))
    assert len(list(lost(wrong, again))) == 4


@pytest.mark.parametrize(("title", "expression"), EXPRESSIONS)
def test_what_a_panel_asks_for_is_there(title: str, expression: str) -> None:
    check(expression)
    assert title


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.name)
def test_every_metric_is_shown_or_judged(family: Any) -> None:  # noqa: ANN401  (a row of the table)
    asked = [expression for _, expression in EXPRESSIONS]
    asked += [rule["expr"] for file in ("recording.rules.yml", "alerting.rules.yml") for rule in rules(file)]
    assert any(re.search(rf"\b{name}\b", each) for name in family.series_names for each in asked)


def test_a_legend_names_labels_that_are_left() -> None:
    for panel in PANELS:
        for target in panel["targets"]:
            labels = set(re.findall(r"\{\{(\w+)\}\}", target["legendFormat"]))
            if labels and "by (" in target["expr"]:
                grouped = re.findall(r"by \(([^)]*)\)", target["expr"])
                assert labels <= {label.strip() for group in grouped for label in group.split(",")}, panel["title"]


def test_every_variable_is_defined() -> None:
    defined = {variable["name"] for variable in DASHBOARD["templating"]["list"]}
    builtin = {"__rate_interval", "__range", "__dashboard", "__data", "__url_time_range"}
    for name in re.findall(r"\$\{?(\w+)", TEXT):
        assert name in defined | builtin or name == "__all", name
    assert defined == {"datasource", "instance", "connection", "session"}
    for variable in DASHBOARD["templating"]["list"]:
        if variable["type"] == "query":
            check(re.sub(r"label_values\((.*), \w+\)", r"\1", variable["query"]["query"]))


def test_panels_neither_overlap_nor_leave_the_page() -> None:
    taken: Counter[tuple[int, int]] = Counter()
    for panel in DASHBOARD["panels"]:
        where = panel["gridPos"]
        assert where["x"] + where["w"] <= COLUMNS, panel["title"]
        taken.update((where["x"] + dx, where["y"] + dy) for dx in range(where["w"]) for dy in range(where["h"]))
    assert max(taken.values()) == 1
    assert len({panel["id"] for panel in DASHBOARD["panels"]}) == len(DASHBOARD["panels"])


def test_panels_say_what_they_show() -> None:
    titles = Counter(panel["title"] for panel in PANELS)
    assert titles.pop("Alarms") == 2  # a number, and when
    assert max(titles.values()) == 1
    for panel in PANELS:
        assert panel["title"] == "Runs since" or panel["description"].endswith("."), panel["title"]
