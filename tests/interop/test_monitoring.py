"""What monitoring/ asks for, asked of a real Prometheus that scrapes a real daemon: every expression gives data."""

from __future__ import annotations

import json
import math
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from ruamel.yaml import YAML

from .scraping import eventually

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .scraping import Prometheus, Scraped

MONITORING = Path(__file__).resolve().parents[2] / "monitoring"
DASHBOARD: dict[str, Any] = json.loads((MONITORING / "dashboard.json").read_text(encoding="utf-8"))
VARIABLES = {"$__rate_interval": "5m", "$__range": "1h", "$instance": ".*", "$connection": "near", "$session": "voice"}
QUICK = "twoway"
"""The group of rules that are evaluated each second here."""


@pytest.fixture(params=["text", "native"])
def prometheus(request: pytest.FixtureRequest, watched: Scraped) -> Prometheus:
    return watched.text if request.param == "text" else watched.native


def expressions() -> Iterator[Any]:
    """Each of the dashboard, with the panel's title."""
    for panel in DASHBOARD["panels"]:
        for target in panel.get("targets", ()):
            yield pytest.param(target["expr"], id=f"{panel['title']} {target['refId']}")


def filled_in(expression: str) -> str:
    """As Grafana sends it."""
    for name, value in VARIABLES.items():
        expression = expression.replace(name, value)
    assert "$" not in expression
    return expression


def unknown_here(watched: Scraped, expression: str) -> bool:
    """Whether it is about what this host cannot know, such as the error of a clock that nobody synchronises."""
    exposed = {dict(labels)["__name__"] for labels in watched.daemon.exposed()}
    names = set(re.findall(r"\btwoway_\w+", expression))
    return bool(names) and all(not any(found.startswith(name) for found in exposed) for name in names)


@pytest.mark.parametrize("expression", list(expressions()))
def test_a_panel_has_data(watched: Scraped, prometheus: Prometheus, expression: str) -> None:
    asked = filled_in(expression)
    if "twoway_clock_error_seconds" in asked and unknown_here(watched, asked):
        assert prometheus.query(asked) == []
        return
    eventually(lambda: prometheus.query(asked) != [], lambda: asked)
    assert any(not math.isnan(each.value) for each in prometheus.query(asked)), asked


def test_variables_have_values(prometheus: Prometheus) -> None:
    for variable in DASHBOARD["templating"]["list"]:
        if variable["type"] == "query":
            match = re.fullmatch(r"label_values\((.*), (\w+)\)", variable["query"]["query"])
            assert match is not None
            found = prometheus.ask(f"label/{match[2]}/values", **{"match[]": filled_in(match[1])})
            assert {"instance": 1, "connection": 4, "session": 2}[variable["name"]] == len(found)


def test_percentiles_on_the_dashboard_are_those_of_the_daemon(watched: Scraped) -> None:
    """With native histograms, over all of the test-session, of which Prometheus saw the beginning."""
    (panel,) = [each for each in DASHBOARD["panels"] if each["title"] == "Round trip"]
    rtt = watched.daemon.collection("near", "voice")["measurements"][0]
    for target in panel["targets"]:
        if target["legendFormat"] in ("p50", "p95"):
            found = watched.native.one(filled_in(target["expr"]))
            exact = rtt["percentiles"][target["legendFormat"]] / 1e9
            # The first scrape may have come after a few of the packets.
            assert exact / 3 < found < exact * 3


def test_every_rule_is_evaluated_without_an_error(prometheus: Prometheus) -> None:
    def rules() -> list[dict[str, Any]]:
        return [rule for group in prometheus.ask("rules")["groups"] for rule in group["rules"]]

    wanted = [
        rule
        for file in MONITORING.glob("*.rules.yml")
        for group in YAML(typ="safe").load(file)["groups"]
        for rule in group["rules"]
        if "interval" not in group
    ]
    assert len(rules()) > len(wanted) - 1

    def evaluated() -> bool:
        return len([rule for rule in rules() if rule["health"] == "ok"]) >= len(wanted)

    eventually(evaluated, lambda: str([rule for rule in rules() if rule["health"] != "ok"]))
    assert {rule["health"] for rule in rules()} <= {"ok", "unknown"}  # the slow group waits for its turn


def test_recorded_series_say_what_became_of_the_packets(prometheus: Prometheus) -> None:
    loss = 'session:twoway_loss:ratio_rate5m{connection="near"}'
    eventually(lambda: len(prometheus.query(loss)) == 2, lambda: str(prometheus.query(loss)))
    found = {each.labels["session"]: each.value for each in prometheus.query(loss)}
    assert found == {"voice": pytest.approx(0), "gone": pytest.approx(1)}
    delay = 'session_direction:twoway_delay_seconds:p99_5m{session="voice"}'
    assert {each.labels["direction"] for each in prometheus.query(delay)} >= {"roundtrip"}


def test_an_alarm_of_the_daemon_is_an_alert(prometheus: Prometheus) -> None:
    def alerts() -> set[tuple[str, ...]]:
        names = ("alertname", "session", "name")
        return {
            tuple(each["labels"].get(name, "") for name in names)
            for each in prometheus.ask("alerts")["alerts"]
            if each["state"] == "firing"
        }

    eventually(lambda: ("TwowayAlarm", "slow", "rtt-exceeded") in alerts(), lambda: str(alerts()))
    assert ("TwowayAlarm", "gone", "test-failure") in alerts()
    pending = {each["labels"]["alertname"] for each in prometheus.ask("alerts")["alerts"]}
    assert "TwowayControlConnectionDown" in pending  # the connection `away`, in five minutes
    assert not {"TwowayDown", "TwowayStoreDegraded", "TwowayReceiverDown", "TwowayConfigurationRefused"} & pending
