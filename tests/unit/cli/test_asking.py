"""The commands that ask, and a daemon that measures: each as a process of its own."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any

import pytest

from ports import free_port

from .service import PATIENCE_S, configuration, running
from .terminal import terminal

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


class Operator:
    """Somebody at the command line."""

    def __init__(self, folder: Path) -> None:
        self.api = folder / "api.sock"

    def run(self, *words: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "twoway", *words, "--api", str(self.api)]
        return subprocess.run(command, capture_output=True, text=True, check=False, timeout=PATIENCE_S)

    def told(self, *words: str) -> str:
        """What a command that succeeds prints."""
        done = self.run(*words)
        assert (done.returncode, done.stderr) == (0, ""), done.stderr
        return done.stdout

    def told_in_time(self, text: str, *words: str) -> str:
        """The same, once it has this: a test that a busy machine disturbed fails, and the next may pass."""
        deadline = time.monotonic() + PATIENCE_S
        while text not in (told := self.told(*words)):
            assert time.monotonic() < deadline, told
        return told

    def document(self, *words: str) -> dict[str, Any]:
        return dict(json.loads(self.told(*words, "--json")))


@pytest.fixture
def operator(tmp_path: Path) -> Iterator[Operator]:
    """Of a daemon that has run a few tests."""
    file = configuration(tmp_path, free_port(), "    off: {control-type: light, test-start: manual, test-session: {}}")
    file.write_text(file.read_text().replace("test-session: {}", "test-session: {idle: {target: 127.0.0.1}}"))
    with running(file) as service:
        service.hears("READY=1")
        asked = Operator(tmp_path)
        service.eventually(lambda: asked.document("show", "client", "probe-results")["results"][0]["tests_passed"] >= 2)
        yield asked


def test_everything_that_can_be_shown_is(operator: Operator) -> None:
    near, off = operator.told("show", "client", "control-info").splitlines()[1:]
    assert near.split()[4:6] == ["testing", "none"]
    assert off.split()[4] == "idle"
    assert "STAMP" in operator.told("show", "client", "test-info")
    text = operator.told_in_time("  Result: PASS\n", "show", "client", "probe-results", "--control-connection", "near")
    assert "0% loss" in text
    assert "Round trip time" in text
    assert "response received" in operator.told("show", "client", "history-results", "limit", "100")
    assert "kernel/kernel" in operator.told("show", "client", "history-results", "detail", "limit", "100")
    assert operator.told("show", "server", "control-info") == "No control connections.\n"
    assert "receive stamps" in operator.told("show", "capabilities")
    assert " started " in operator.told("show", "events")
    assert "Alarms:         none" in operator.told("show", "health")
    row = operator.told_in_time("PASS", "top").splitlines()[2]
    assert row.split()[:4] == ["near", "probe", "127.0.0.1", "PASS"]
    window = ("show", "client", "window", "control-connection", "near", "test-session", "probe", "since", "1min")
    deadline = time.monotonic() + PATIENCE_S
    while "round trip" not in (text := operator.run(*window).stdout):  # the store has it a second later
        assert time.monotonic() < deadline, text


def test_what_is_requested_is_done(operator: Operator) -> None:
    assert operator.told("request", "stop", "--control-connection", "near") == "stopped: near\n"
    assert "stopped on request" in operator.told("show", "client", "test-info", "--control-connection", "near")
    refused = operator.run("request", "stop", "control-connection", "near")
    assert (refused.returncode, refused.stderr) == (1, "twoway request: near does not run\n")
    assert operator.told("clear", "results", "near") == "results cleared: near probe\n"
    cleared = operator.document("show", "client", "probe-results", "control-connection", "near")["results"][0]
    assert (cleared["verdict"], cleared["tests_run"]) == ("unknown", 0)
    assert operator.told("clear", "history", "near") == "history cleared: near probe\n"
    assert operator.told("show", "client", "history-results") == "No probes in the history.\n"
    assert operator.told("request", "start", "control-connection", "near", "repeat", "1") == "started: near\n"
    assert operator.told("request", "reload") == "no test-session differs\n"
    assert operator.told("clear", "events").startswith("forgot ")
    refused = operator.run("clear", "server-control")
    assert (refused.returncode, refused.stdout) == (1, "")
    assert "the server has no control connection to close" in refused.stderr


def test_top_lives_in_a_terminal(operator: Operator) -> None:
    with terminal(["top", "--interval", "100ms"], 100, {"TWOWAY_API": str(operator.api)}) as opened:
        opened.until("2 test-sessions, none failing, 0 alarms")
        opened.until("by name")
        opened.type("q")
        assert opened.end() == 0
