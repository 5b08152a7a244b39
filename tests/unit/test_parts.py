"""The runner behind `make lint`, `make check` and `make test`: nothing fails or is skipped in silence."""

from __future__ import annotations

import importlib.util
import os
import re
import select
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

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
    """`main` with these parts, one after another."""
    return run_lanes(parts, parts.Lane(steps))


def run_lanes(parts: ModuleType, *lanes: object) -> int:
    """`main` with these lanes."""
    parts.TARGETS["lint"] = lanes
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


def test_a_part_that_cannot_be_started_fails(parts: ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(parts, parts.Part("lint of it", ("no-such-tool",)), parts.Part("next", ("echo", "here"))) == 1
    shown = capsys.readouterr().out
    assert re.search(r"^lint of it +FAILED .* could not be started: .*no-such-tool", shown, re.M)
    assert "\nhere\n" in shown


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


def test_lanes_run_side_by_side(parts: ModuleType, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "meeting")
    # Each of them waits until the other has opened the pipe, too.
    comes = parts.Part("comes", ("sh", "-c", f"echo here >{tmp_path}/meeting"), timeout_s=30)
    waits = parts.Part("waits", ("grep", "here", f"{tmp_path}/meeting"), timeout_s=30)
    assert run_lanes(parts, parts.Lane((waits,)), parts.Lane((comes,))) == 0


def test_a_part_waits_for_those_of_other_lanes_that_it_comes_after(
    parts: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    os.mkfifo(tmp_path / "go")
    first = parts.Part("first", ("sh", "-c", f"read -r word <{tmp_path}/go; touch {tmp_path}/done; false"))
    begins = parts.Part("begins", ("sh", "-c", f"echo go >{tmp_path}/go"))
    then = parts.Part("then", ("ls", f"{tmp_path}/done"), after=("first", "of another target"))
    assert run_lanes(parts, parts.Lane((first,)), parts.Lane((begins, then))) == 1
    assert re.search(r"^then +ok ", capsys.readouterr().out, re.M)


def test_an_idle_lane_takes_only_what_the_others_leave(parts: ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
    policy = (sys.executable, "-c", "import os; print('policy', os.sched_getscheduler(0))")
    behind = parts.Lane((parts.Part("behind", policy),), idle=True)
    before = parts.Lane((parts.Part("before", policy, after=("behind",)),))
    assert run_lanes(parts, behind, before) == 0
    policies = re.findall(r"^policy (\d+)$", capsys.readouterr().out, re.M)
    assert [int(each) for each in policies] == [os.SCHED_IDLE, os.sched_getscheduler(0)]


@pytest.mark.parametrize("target", ["lint", "check", "test"])
def test_every_target_comes_to_its_end(parts: ModuleType, monkeypatch: pytest.MonkeyPatch, target: str) -> None:
    performed = []

    def perform(part: Any) -> object:  # noqa: ANN401  (of a module that is loaded here)
        performed.append(part.name)
        return parts.Outcome(ok=True)

    monkeypatch.setattr(parts, "perform", perform)
    assert parts.main(target) == 0
    named = [part.name for lane in parts.TARGETS[target] for part in lane.parts]
    assert sorted(performed) == sorted(named)
    if target == "test":
        assert performed[-2:] == ["short soak", "benchmarks"], "what measures is alone"
        assert all(set(part.after) <= set(named) for lane in parts.TARGETS[target] for part in lane.parts)


def test_no_lane_goes_on_when_a_part_that_all_need_fails(parts: ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
    build = parts.Part("build", ("false",), required=True)
    tests = parts.Part("tests", ("echo", "here"), after=("build",))
    assert run_lanes(parts, parts.Lane((tests,)), parts.Lane((build,))) == 1
    shown = capsys.readouterr().out
    assert "here" not in shown
    assert "not run: tests" in shown


def test_a_fault_of_the_runner_itself_ends_all_lanes(parts: ModuleType) -> None:
    def fault() -> None:
        raise ZeroDivisionError

    waits = parts.Part("waits", ("true",), after=("faulty",))
    with pytest.raises(ZeroDivisionError):
        run_lanes(parts, parts.Lane((waits,)), parts.Lane((parts.Part("faulty", fault),)))


def test_an_interrupt_reaches_the_parts_of_all_lanes(tmp_path: Path) -> None:
    script = f"""
import importlib.util, pathlib, signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)
spec = importlib.util.spec_from_file_location("parts", {str(PATH)!r})
parts = sys.modules["parts"] = importlib.util.module_from_spec(spec)
spec.loader.exec_module(parts)
parts.LOGS = pathlib.Path({str(tmp_path)!r})
parts.JUNIT = parts.LOGS / "pytest.xml"
stuck = lambda name: parts.Part(name, ("sh", "-c", "echo ready; exec sleep 120"))
parts.TARGETS["lint"] = (parts.Lane((stuck("one"), stuck("never"))), parts.Lane((stuck("two"),), idle=True))
parts.main("lint")
"""
    with subprocess.Popen((sys.executable, "-c", script), stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
        assert process.stdout is not None
        shown = b""
        while shown.count(b"ready\n") < 2:
            assert select.select([process.stdout], [], [], 60)[0], shown
            shown += os.read(process.stdout.fileno(), 4096)
        process.send_signal(signal.SIGINT)
        # It ends only when both have: it reads what they print to the end.
        assert b"never" not in process.communicate(timeout=60)[0]
    assert process.returncode == -signal.SIGINT


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
