"""The runner behind `make lint`, `make check` and `make test`: nothing fails or is skipped in silence."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from types import ModuleType

PATH = Path(__file__).resolve().parents[2] / ".ci" / "parts.py"


@pytest.fixture
def parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The runner, which is no package, with its files in a place of its own."""
    spec = importlib.util.spec_from_file_location("parts", PATH)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "parts", module)  # dataclasses look there
    spec.loader.exec_module(module)
    monkeypatch.setattr(module, "LOGS", tmp_path)
    monkeypatch.setattr(module, "JUNIT", tmp_path / "pytest.xml")
    return module


def run(parts: ModuleType, *steps: object) -> int:
    """`main` with these parts."""
    parts.TARGETS["lint"] = steps
    code = parts.main("lint")
    assert isinstance(code, int)
    return code


def test_all_parts_run_although_one_fails(parts: ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
    code = run(parts, parts.Part("first", ("false",)), parts.Part("second", ("echo", "here")))
    shown = capsys.readouterr().out
    assert code == 1
    assert "\nhere\n" in shown
    assert [line.split()[:2] for line in shown.splitlines()[-3:-1]] == [["first", "FAILED"], ["second", "ok"]]
    assert "make lint: FAILED: first in " in shown


def test_a_quiet_part_shows_its_output_only_when_it_fails(
    parts: ModuleType, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(parts, parts.Part("good", ("echo", "unseen"), quiet=True)) == 0
    assert "unseen" not in capsys.readouterr().out
    assert run(parts, parts.Part("bad", ("sh", "-c", "echo why; exit 3"), quiet=True)) == 1
    assert "\nwhy\n" in capsys.readouterr().out


def test_what_a_part_needs_and_has_not_is_named(parts: ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
    needs = ((("no-such-tool", "--version"), "install it"),)
    assert run(parts, parts.Part("lint of it", ("true",), needs=needs)) == 0
    assert "skipped: lint of it: no-such-tool --version is missing: install it" in capsys.readouterr().out


def test_nothing_runs_after_a_part_that_all_others_need(parts: ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
    code = run(parts, parts.Part("build", ("false",), required=True), parts.Part("tests", ("echo", "here")))
    shown = capsys.readouterr().out
    assert code == 1
    assert "here" not in shown
    assert "not run: tests" in shown


def test_a_part_that_hangs_is_stopped_with_all_its_children(
    parts: ModuleType, capsys: pytest.CaptureFixture[str]
) -> None:
    # The child keeps the pipe open: only the end of the whole group lets this return.
    assert run(parts, parts.Part("stuck", ("sh", "-c", "sleep 60 & sleep 60"), timeout_s=1)) == 1
    assert "stopped after 1 s" in capsys.readouterr().out


def test_skipped_tests_are_found_in_what_tools_print(parts: ModuleType) -> None:
    parts.JUNIT.write_text(
        '<testsuites><testsuite><testcase classname="tests.netns.test_ping" name="test_it">'
        '<skipped message="network namespaces need root"/></testcase>'
        '<testcase classname="tests.unit" name="test_that"/></testsuite></testsuites>'
    )
    assert parts.skipped_by_pytest("") == ["tests.netns.test_ping::test_it: network namespaces need root"]
    assert parts.skipped_by_cargo("test a::b ... ok\ntest a::c ... ignored, needs a card\n") == [
        "cargo test a::c: ignored, needs a card"
    ]
    assert parts.skipped_by_benchmarks("x\nskipped: reflector: irtt is not installed\n") == [
        "benchmarks: reflector: irtt is not installed"
    ]


def test_counts_are_found_in_what_tools_print(parts: ModuleType) -> None:
    cargo = "test result: ok. 12 passed; 0 failed; 1 ignored;\ntest result: ok. 30 passed; 0 failed;\n"
    assert parts.counted_by_cargo(cargo) == "42 passed"
    assert parts.counted_by_pytest("...\n=== 2 failed, 40 passed, 1 skipped in 3.2s ===\n") == (
        "2 failed, 40 passed, 1 skipped"
    )


def test_debian_packages_that_may_not_be_installed_are_named(
    parts: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    packages = tmp_path / "packages.txt"
    packages.write_text("# comment\nno-such-package-anywhere  # why\n")
    monkeypatch.setattr(parts, "PACKAGE_LISTS", (packages,))
    monkeypatch.setattr(parts.os, "geteuid", lambda: 1000)
    monkeypatch.setattr(parts.shutil, "which", lambda *_, **__: "/bin/true")
    outcome = parts.install_debian_packages()
    assert outcome.ok is None
    assert "no-such-package-anywhere" in outcome.skipped[0]
