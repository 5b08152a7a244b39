"""The rules of monitoring/: promtool's opinion, what they come to, and that there is all that they ask for."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from .expressions import MONITORING, OF_SCRAPE, check, recorded, rules

TESTS = Path(__file__).with_name("rules.test.yml")
FILES = ("recording.rules.yml", "alerting.rules.yml")
ALERTS = [rule["alert"] for rule in rules("alerting.rules.yml")]


def promtool(*arguments: str) -> str:
    """What it says, having succeeded."""
    program = shutil.which("promtool")
    if program is None:
        pytest.skip("the program promtool is not installed (Debian package prometheus)")
    done = subprocess.run([program, *arguments], capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.parametrize("file", FILES)
def test_promtool_takes_the_rules(file: str) -> None:
    said = promtool("check", "rules", str(MONITORING / file))
    assert f"SUCCESS: {len(list(rules(file)))} rules found" in said


def test_promtool_takes_the_example_of_a_configuration() -> None:
    said = promtool("check", "config", str(MONITORING / "prometheus.yml"))
    assert "2 rule files found" in said


def test_rules_come_to_what_they_should() -> None:
    assert "SUCCESS" in promtool("test", "rules", str(TESTS))


def test_every_alert_and_every_recorded_series_is_tested() -> None:
    document = YAML(typ="safe").load(TESTS)
    judged = [each for test in document["tests"] for each in test.get("alert_rule_test", ())]
    for alert in ALERTS:
        assert any(each["exp_alerts"] for each in judged if each["alertname"] == alert), f"{alert} fires in no test"
        assert any(not each["exp_alerts"] for each in judged if each["alertname"] == alert), f"{alert} always fires"
    asked = " ".join(each["expr"] for test in document["tests"] for each in test.get("promql_expr_test", ()))
    assert set(recorded()) <= set(re.findall(r"[\w]+(?::\w+)+", asked))


@pytest.mark.parametrize("file", FILES)
def test_what_rules_ask_for_is_there(file: str) -> None:
    for rule in rules(file):
        check(rule["expr"])


@pytest.mark.parametrize("rule", list(rules("alerting.rules.yml")), ids=ALERTS)
def test_an_alert_says_what_and_what_to_do(rule: dict[str, object]) -> None:
    assert re.fullmatch(r"Twoway([A-Z][a-z]+)+", str(rule["alert"]))
    assert dict(rule["labels"])["severity"] in ("critical", "warning", "info")  # type: ignore[call-overload]  # a mapping
    annotations = dict(rule["annotations"])  # type: ignore[call-overload]  # a mapping
    assert set(annotations) == {"summary", "description"}
    assert annotations["description"].rstrip().endswith(".")
    names = ("connection", "session", "name", "receiver", "reflector", "event", "prefix", "routing_instance")
    labels = OF_SCRAPE | {*names}
    assert set(re.findall(r"\$labels\.(\w+)", " ".join(annotations.values()))) <= labels
