"""The names and labels that an expression of PromQL uses: enough of its grammar for expressions of ours."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ruamel.yaml import YAML

from twoway.analysis.exposition import SCOPES, Type

if TYPE_CHECKING:
    from collections.abc import Iterator

MONITORING = Path(__file__).resolve().parents[3] / "monitoring"
_SELECTOR = re.compile(r"(?P<name>[a-z_]+(?::[a-z0-9_]+)*)\s*(?:\{(?P<matchers>[^}]*)\})?")
_MATCHER = re.compile(r'(\w+)\s*(?:=~|!~|!=|=)\s*"[^"]*"')
_GROUPING = re.compile(r"\b(?:by|without|on|ignoring|group_left|group_right)\s*\(([^)]*)\)")
_TEXT = re.compile(r'"[^"]*"')
OF_SCRAPE = frozenset({"job", "instance"})
OF_PROMETHEUS = {"up": OF_SCRAPE, "scrape_duration_seconds": OF_SCRAPE}
"""Series that Prometheus makes itself."""


@dataclass
class Used:
    """What an expression uses."""

    selectors: dict[str, set[str]] = field(default_factory=dict)
    """Name of a series -> labels that it is selected by."""
    grouping: set[str] = field(default_factory=set)
    """Labels that are grouped or matched by."""


def used(expression: str) -> Used:
    """Of one expression."""
    found = Used()
    for labels in _GROUPING.findall(expression):
        found.grouping |= {label.strip() for label in labels.split(",") if label.strip()}
    for match in _SELECTOR.finditer(_GROUPING.sub(" ", expression)):
        name = match["name"]
        if name.startswith("twoway") or ":" in name or name in OF_PROMETHEUS:
            matchers = match["matchers"] or ""
            assert _MATCHER.sub("", matchers).strip(", ") == "", f"{matchers} of {expression}"
            found.selectors.setdefault(name, set()).update(_MATCHER.findall(matchers))
    return found


def exposed() -> dict[str, frozenset[str]]:
    """Name of each series that the daemon exposes -> its labels, with those of the scrape."""
    names: dict[str, frozenset[str]] = {}
    for own, families in SCOPES.values():
        for family in families:
            labels = OF_SCRAPE | {*own, *family.labels}
            for name in family.series_names:
                names[name] = labels | {"le"} if name.endswith("_bucket") and family.type is Type.HISTOGRAM else labels
    return names


def rules(file: str) -> Iterator[dict[str, Any]]:
    """The rules of a file of monitoring/."""
    for group in YAML(typ="safe").load(MONITORING / file)["groups"]:
        yield from group["rules"]


def recorded() -> dict[str, frozenset[str]]:
    """Name of each recorded series -> its labels."""
    levels = {
        "instance": OF_SCRAPE,
        "session": OF_SCRAPE | {"connection", "session"},
        "session_direction": OF_SCRAPE | {"connection", "session", "direction"},
    }
    return {rule["record"]: levels[rule["record"].split(":")[0]] for rule in rules("recording.rules.yml")}


def check(expression: str) -> Used:
    """What an expression uses, having asserted that there is all of it."""
    known = {**exposed(), **recorded(), **OF_PROMETHEUS}
    found = used(expression)
    assert found.selectors, f"nothing is selected by {expression}"
    labels: set[str] = set()
    for name, matched in found.selectors.items():
        assert name in known, f"there is no {name}, in {expression}"
        assert matched <= known[name], f"{name} has no label {matched - known[name]}, in {expression}"
        labels |= known[name]
    assert found.grouping <= labels, f"nothing has a label {found.grouping - labels}, in {expression}"
    return found
