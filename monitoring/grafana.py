"""What Grafana's JSON model wants around a panel: schema 39, of Grafana 10.4 or later.

A panel is a kind, a title, what it means and queries, of which each is an expression and a legend; how it looks is
settled here, for all alike. Panels are placed from left to right, and a line below where one does not fit any more.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

Json = dict[str, Any]
SOURCE: Json = {"type": "prometheus", "uid": "${datasource}"}
GREEN, RED, ORANGE, BLUE = "green", "red", "orange", "blue"
_COLUMNS = 24


@dataclass(frozen=True)
class Query:
    """An expression and the name of what it gives."""

    expression: str
    legend: str = ""
    instant: bool = False
    format: str = "time_series"


@dataclass(frozen=True)
class Panel:
    """One panel: what Grafana calls it, and how large it is."""

    kind: str
    title: str
    meaning: str
    queries: Sequence[Query]
    width: int
    height: int = 8
    unit: str = "short"
    options: Json = field(default_factory=dict)
    custom: Json = field(default_factory=dict)
    """How a series is drawn."""
    defaults: Json = field(default_factory=dict)
    """Further settings of all fields: thresholds, mappings, bounds."""
    overrides: Sequence[Json] = ()
    transformations: Sequence[Json] = ()


# How panels look.

LINE = {
    "drawStyle": "line",
    "lineInterpolation": "linear",
    "lineWidth": 1,
    "fillOpacity": 8,
    "showPoints": "never",
    "spanNulls": False,
    "stacking": {"mode": "none", "group": "A"},
}
STACKED = {**LINE, "fillOpacity": 40, "stacking": {"mode": "normal", "group": "A"}}
BARS = {**STACKED, "drawStyle": "bars", "fillOpacity": 80}
_TOOLTIP = {"mode": "multi", "sort": "desc"}
LEGEND = {"showLegend": True, "displayMode": "list", "placement": "bottom", "calcs": []}
_LAST: Json = {"calcs": ["lastNotNull"], "fields": "", "values": False}


def graph(title: str, meaning: str, unit: str, *queries: Query, width: int = 12, **more: Any) -> Panel:  # noqa: ANN401  (fields of a panel)
    settings: Json = {"options": {"legend": LEGEND, "tooltip": _TOOLTIP}, "custom": LINE, **more}
    return Panel("timeseries", title, meaning, queries, width, unit=unit, **settings)


def steps(*steps: tuple[float | None, str]) -> Json:
    """Colours from a value on; the first has none and begins below everything."""
    return {"thresholds": {"mode": "absolute", "steps": [{"value": value, "color": color} for value, color in steps]}}


def words(*words: tuple[float, str, str]) -> Json:
    """Value, word and colour."""
    options = {f"{value:g}": {"text": text, "color": color, "index": n} for n, (value, text, color) in enumerate(words)}
    return {"mappings": [{"type": "value", "options": options}]}


def stat(title: str, meaning: str, unit: str, query: Query, width: int = 4, **more: Any) -> Panel:  # noqa: ANN401  (as above)
    options = {
        "reduceOptions": _LAST,
        "colorMode": "value",
        "graphMode": "none",
        "justifyMode": "auto",
        "orientation": "auto",
        "textMode": "auto",
        **more.pop("options", {}),
    }
    return Panel("stat", title, meaning, (query,), width, height=4, unit=unit, options=options, **more)


def by_name(name: str, **properties: Any) -> Json:  # noqa: ANN401  (JSON)
    return {
        "matcher": {"id": "byName", "options": name},
        "properties": [{"id": key.replace("_", "."), "value": value} for key, value in properties.items()],
    }


TIMELINE: Json = {
    "mergeValues": True,
    "showValue": "never",
    "alignValue": "left",
    "rowHeight": 0.9,
    "legend": {**LEGEND, "showLegend": False},
    "tooltip": {"mode": "single", "sort": "none"},
}
BANDS = {"fillOpacity": 80, "lineWidth": 0}
GOOD_BELOW_ONE = steps((None, GREEN), (1, RED))
LOSS_STEPS = steps((None, GREEN), (0.001, ORANGE), (0.01, RED))
VERDICT = words((0, "FAIL", RED), (1, "pass", GREEN))
ANSWERED = words((0, "no answer", RED), (1, "answered", GREEN))


# Grafana's JSON around it.


def _target(query: Query, number: int) -> Json:
    return {
        "refId": chr(ord("A") + number),
        "datasource": SOURCE,
        "editorMode": "code",
        "expr": query.expression,
        "format": query.format,
        "instant": query.instant,
        "range": not query.instant,
        "legendFormat": query.legend or "__auto",
    }


def _panel(panel: Panel, number: int, x: int, y: int) -> Json:
    defaults = {"unit": panel.unit, "custom": panel.custom, "color": {"mode": "palette-classic"}, **panel.defaults}
    if panel.kind in ("stat", "table") and "color" not in panel.defaults:
        defaults["color"] = {"mode": "thresholds"}
    if "thresholds" not in defaults:
        defaults |= steps((None, BLUE if panel.kind == "stat" else GREEN))
    body: Json = {
        "id": number,
        "type": panel.kind,
        "title": panel.title,
        "datasource": SOURCE,
        "gridPos": {"x": x, "y": y, "w": panel.width, "h": panel.height},
        "targets": [_target(query, n) for n, query in enumerate(panel.queries)],
        "fieldConfig": {"defaults": defaults, "overrides": list(panel.overrides)},
        "options": panel.options,
    }
    if panel.meaning:
        body["description"] = panel.meaning
    if panel.transformations:
        body["transformations"] = list(panel.transformations)
    return body


def placed(rows: Mapping[str, Callable[[], Iterable[Panel]]]) -> Iterator[Json]:
    """Rows with their panels from left to right, and a line below where one does not fit beside the last."""
    number = y = 0
    for title, panels in rows.items():
        number += 1
        position = {"x": 0, "y": y, "w": _COLUMNS, "h": 1}
        yield {"id": number, "type": "row", "title": title, "collapsed": False, "gridPos": position, "panels": []}
        y += 1
        x = height = 0
        for panel in panels():
            if x + panel.width > _COLUMNS:
                x, y, height = 0, y + height, 0
            number += 1
            yield _panel(panel, number, x, y)
            x += panel.width
            height = max(height, panel.height)
        y += height


def variable(name: str, label: str, query: str, *, several: bool = False) -> Json:
    body: Json = {
        "name": name,
        "label": label,
        "type": "query",
        "datasource": SOURCE,
        "query": {"query": query, "refId": f"variable-{name}"},
        "refresh": 2,
        "sort": 1,
        "hide": 0,
        "skipUrlSync": False,
        "multi": several,
        "includeAll": several,
        "options": [],
        "regex": "",
    }
    if several:
        body |= {"allValue": ".*", "current": {"selected": True, "text": ["All"], "value": ["$__all"]}}
    return body
