"""The guide to the daemon: what it writes down is a configuration, and its commands exist."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from twoway.cli.main import main

ROOT = Path(__file__).resolve().parents[2]
TEXT = (ROOT / "docs" / "monitor.md").read_text(encoding="utf-8")
_CONFIGURATIONS = re.findall(r"^```yaml\n(.*?)^```", TEXT, re.MULTILINE | re.DOTALL)
_COMMANDS = re.findall(r"^twoway ([a-z-]+)", TEXT, re.MULTILINE)


@pytest.mark.parametrize("number", range(len(_CONFIGURATIONS)))
def test_its_configurations_are_good(number: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "twoway.yaml"
    file.write_text(_CONFIGURATIONS[0] + (_CONFIGURATIONS[number] if number else ""))
    assert main(["check", str(file)]) == 0
    assert ": good: 1 control-connection, 1 test-session" in capsys.readouterr().out


@pytest.mark.parametrize("command", sorted(set(_COMMANDS)))
def test_its_commands_exist(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([command, "--help"]) == 0
    assert f"usage: twoway {command}" in capsys.readouterr().out


def test_it_has_both() -> None:
    assert len(_CONFIGURATIONS) == 2
    assert {"check", "run", "show", "top", "export", "reflector"} <= set(_COMMANDS)
