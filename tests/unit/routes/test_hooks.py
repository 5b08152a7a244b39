"""The command at a change: one at a time, in order, bounded in number and time, and without a shell."""

from __future__ import annotations

import os
import re
import signal
import sys
from typing import TYPE_CHECKING

import pytest

from twoway.config.model.description import statements_of
from twoway.config.model.routes import Hook as HookStatements
from twoway.config.route_plan import HookPlan
from twoway.routes import hooks
from twoway.routes.hooks import ENVIRONMENT, Change, Hook

from ..drivers.serving import eventually

if TYPE_CHECKING:
    from pathlib import Path

S = 1_000_000_000


def change(**variables: str) -> Change:
    return Change({**dict.fromkeys(ENVIRONMENT, ""), **variables}, "203.0.113.0/24")


def program(path: Path, body: str) -> str:
    """A program of its own."""
    file = path / "hook"
    file.write_text(f"#!{sys.executable}\nimport os, sys, time\n{body}\n")
    file.chmod(0o755)
    return str(file)


class Failed(list[str]):
    def __call__(self, what: str) -> None:
        self.append(what)


def test_the_configuration_names_every_variable() -> None:
    (command,) = (one for one in statements_of(HookStatements) if one.name == "command")
    assert set(re.findall(r"TWOWAY_\w+", command.meaning)) == set(ENVIRONMENT)


async def test_it_is_told_everything_in_order_and_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TWOWAY_API_TOKEN_FILE", "/secret")
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", "/run/credentials/twoway")
    out = tmp_path / "out"
    body = f"""
with open({str(out)!r}, "a") as file:
    file.write(repr((sys.argv[1:], os.environ["TWOWAY_NEXT_HOPS"], sorted(os.environ))) + "\\n")
"""
    failed = Failed()
    hook = Hook(HookPlan((program(tmp_path, body), "$(id)", "; a b"), S * 10, 8), failed)
    for hops in ("192.0.2.1", "192.0.2.1 198.51.100.1", "`reboot`"):
        hook.post(change(TWOWAY_NEXT_HOPS=hops))
    await hook.close()
    rows = [eval(line) for line in out.read_text().splitlines()]  # noqa: S307  (our own repr)
    assert [row[:2] for row in rows] == [
        (["$(id)", "; a b"], hops) for hops in ("192.0.2.1", "192.0.2.1 198.51.100.1", "`reboot`")
    ]
    known = {*ENVIRONMENT, "PATH", "LANG", "LC_ALL", "TZ", "HOME", "LC_CTYPE"}
    assert set(rows[0][2]) <= known
    assert set(ENVIRONMENT) <= set(rows[0][2])
    assert (hook.runs, hook.failures, hook.dropped, failed) == (3, 0, 0, [])


async def test_what_takes_too_long_is_ended_with_all_that_it_started(tmp_path: Path) -> None:
    pid = tmp_path / "pid"
    body = f"""
import signal, subprocess
signal.signal(signal.SIGTERM, signal.SIG_IGN)
ignoring = "import signal, time; signal.signal(15, signal.SIG_IGN); time.sleep(60)"
child = subprocess.Popen([sys.executable, "-c", ignoring])
open({str(pid)!r}, "w").write(str(child.pid))
time.sleep(60)
"""
    failed = Failed()
    command = program(tmp_path, body)
    hook = Hook(HookPlan((command,), S * 2, 4), failed)
    hook.post(change())
    await eventually(lambda: bool(failed))
    assert failed == [f"{command} for 203.0.113.0/24: killed after 2 s"]
    await eventually(lambda: not _runs(int(pid.read_text())))
    await hook.close()


def _runs(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/stat") as file:  # noqa: PTH123  (a line of proc)
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ("sys.exit(3)", "exit code 3"),
        (f"os.kill(os.getpid(), {int(signal.SIGKILL)})", r"ended by signal 9 \(Killed\)"),
        (f"os.kill(os.getpid(), {int(signal.SIGRTMIN) + 1})", r"ended by signal \d+ \(Real-time signal \d+\)"),
    ],
)
async def test_what_fails_is_told(tmp_path: Path, body: str, reason: str) -> None:
    failed = Failed()
    hook = Hook(HookPlan((program(tmp_path, body),), S * 10, 4), failed)
    hook.post(change())
    await hook.close()
    assert hook.failures == 1
    assert re.fullmatch(rf".*/hook for 203\.0\.113\.0/24: {reason}", failed[0])


@pytest.mark.parametrize("command", ["/nowhere/at/all", "not\0a path"])
async def test_what_cannot_be_started_is_told(command: str) -> None:
    failed = Failed()
    hook = Hook(HookPlan((command,), S, 4), failed)
    hook.post(change())
    hook.post(change())
    await hook.close()
    assert (hook.runs, hook.failures, len(failed)) == (2, 2, 2)


async def test_what_finds_no_room_is_left_out_and_told_now_and_then(tmp_path: Path) -> None:
    failed = Failed()
    hook = Hook(HookPlan((program(tmp_path, "time.sleep(60)"),), S * 60, 3), failed)
    hook.post(change())
    await eventually(lambda: hook.runs == 1)
    for _ in range(3 + 7):
        hook.post(change())
    assert hook.dropped == 7
    assert failed == [
        f"left out for 203.0.113.0/24: 3 changes wait already, {count} were left out so far" for count in (1, 4, 7)
    ]
    await hook.close(patience_s=0.01)


async def test_what_may_not_be_killed_holds_up_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A program that has become another user."""

    def refuse(_group: int, _number: int) -> None:
        raise PermissionError

    pid = tmp_path / "pid"
    body = f"""
if os.environ["TWOWAY_TAG"] == "1":
    open({str(pid)!r}, "w").write(str(os.getpid()))
    time.sleep(60)
"""
    failed = Failed()
    command = program(tmp_path, body)
    hook = Hook(HookPlan((command,), S * 2, 3), failed)
    with monkeypatch.context() as refusing:
        refusing.setattr(os, "killpg", refuse)
        hook.post(change(TWOWAY_TAG="1"))
        hook.post(change(TWOWAY_TAG="2"))
        await eventually(lambda: bool(failed))
    try:
        await eventually(lambda: hook.runs == 2)
    finally:
        os.kill(int(pid.read_text()), signal.SIGKILL)
        await hook.close()
    assert failed == [f"{command} for 203.0.113.0/24: still running after 2 s, and it may not be killed"]
    assert (hook.runs, hook.failures, hook.dropped) == (2, 1, 0)


async def test_what_still_waits_at_the_end_is_counted_and_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hooks, "_KILL_S", 0.05)
    failed = Failed()
    command = program(tmp_path, "time.sleep(60)")
    hook = Hook(HookPlan((command,), S * 60, 3), failed)
    for _ in range(3):
        hook.post(change())
    await eventually(lambda: hook.runs == 1)
    await hook.close(patience_s=0.01)
    assert (hook.runs, hook.failures, hook.dropped) == (1, 1, 2)
    assert failed == [
        f"{command} for 203.0.113.0/24: the end came first",
        "left out for the last 2 changes: the end came first",
    ]


async def test_the_end_does_not_wait_for_ever(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hooks, "_KILL_S", 0.05)
    pid = tmp_path / "pid"
    body = f'open({str(pid)!r}, "w").write(str(os.getpid())); time.sleep(60)'
    hook = Hook(HookPlan((program(tmp_path, body),), S * 60, 3), Failed())
    hook.post(change())
    await eventually(lambda: pid.exists() and bool(pid.read_text()))
    await hook.close(patience_s=0.01)
    assert not _runs(int(pid.read_text()))
    assert os.getpid() > 0
