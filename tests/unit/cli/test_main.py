"""Choosing a command, and the promise that a person sees one line and never a traceback."""

from __future__ import annotations

import errno
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from twoway.cli import ping
from twoway.cli.main import main
from twoway.errors import ConfigError, PlaneError

if TYPE_CHECKING:
    from conftest import FakeNative


def test_the_version_is_the_packet_planes(native: FakeNative, capsys: pytest.CaptureFixture[str]) -> None:
    native.__version__ = "1.2.3"
    assert main(["--version"]) == 0
    assert capsys.readouterr() == ("twoway 1.2.3\n", "")


@pytest.mark.parametrize("arguments", [["--help"], ["-h"], ["help"]])
def test_help(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments) == 0
    out, err = capsys.readouterr()
    assert out.startswith("usage: twoway COMMAND")
    assert not err
    assert max(map(len, out.splitlines())) <= 110


@pytest.mark.parametrize("command", ["ping", "reflector", "server", "run", "capabilities", "schema"])
def test_help_of_a_command(command: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "100")
    assert main([command, "--help"]) == 0
    out, err = capsys.readouterr()
    assert out.startswith(f"usage: twoway {command} ")
    assert "examples:\n  twoway " in out
    assert not err
    assert max(map(len, out.splitlines())) <= 110


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["pong"], "twoway: no command 'pong': `twoway --help` lists those there are"),
        (["--quick"], "twoway: no command '--quick': `twoway --help` lists those there are"),
        (["a\nb"], "twoway: no command 'a b': `twoway --help` lists those there are"),
        (
            ["schema", "x"],
            (
                "twoway schema: argument NAME: invalid choice: 'x' (choose from 'result', 'paths', 'record', "
                "'reflector', 'config', 'server') (see twoway schema --help)"
            ),
        ),
    ],
)
def test_usage(arguments: list[str], line: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments) == 2
    assert capsys.readouterr() == ("", line + "\n")


def test_no_command_shows_what_there_is(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 2
    assert capsys.readouterr().err.startswith("usage: twoway COMMAND")


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (ConfigError("ttl", "too\nmuch"), "twoway ping: ttl: too much"),
        (
            PlaneError("bind", "0.0.0.0:862", errno.EADDRINUSE),
            (
                "twoway ping: bind 0.0.0.0:862: Address already in use: another program has this port: "
                "`ss -ulpn sport = :862` shows which"
            ),
        ),
        (FileNotFoundError(errno.ENOENT, "No such file", "x.png"), "twoway ping: x.png: No such file"),
        (
            ZeroDivisionError("division by zero"),
            (
                "twoway ping: internal error: ZeroDivisionError: division by zero: "
                "please report this, with what it prints under TWOWAY_DEBUG=1"
            ),
        ),
        (
            AssertionError(),
            (
                "twoway ping: internal error: AssertionError: "
                "please report this, with what it prints under TWOWAY_DEBUG=1"
            ),
        ),
    ],
)
def test_every_failure_is_one_line(
    error: Exception, line: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(_: list[str]) -> int:
        raise error

    monkeypatch.setattr(ping, "run", fail)
    assert main(["ping", "host"]) == 2
    assert capsys.readouterr() == ("", line + "\n")


def test_a_traceback_for_who_asks(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def fail(_: list[str]) -> int:
        raise ZeroDivisionError

    monkeypatch.setattr(ping, "run", fail)
    monkeypatch.setenv("TWOWAY_DEBUG", "1")
    assert main(["ping", "host"]) == 2
    err = capsys.readouterr().err
    assert err.startswith("Traceback")
    assert err.endswith("under TWOWAY_DEBUG=1\n")


def test_ctrl_c_before_there_is_anything_to_report(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(_: list[str]) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr(ping, "run", interrupted)
    assert main(["ping", "host"]) == 130
    assert capsys.readouterr() == ("", "")


def run_python(script: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """A fresh interpreter that sees what this one sees."""
    paths = ":".join(path for path in sys.path if path)
    return subprocess.run(
        [sys.executable, "-c", script],
        env={"PYTHONPATH": paths, **environment},
        capture_output=True,
        text=True,
        encoding="latin-1",
        check=False,
    )


def test_a_full_disk_is_one_line() -> None:
    script = "import os, sys\nos.dup2(os.open('/dev/full', os.O_WRONLY), 1)\nfrom twoway.cli.main import main\n"
    done = run_python(script + "sys.exit(main(['--help']))")
    assert (done.returncode, done.stdout, done.stderr) == (2, "", "twoway: No space left on device\n")


def test_no_standard_output_is_no_failure() -> None:
    script = "import os, sys\nsys.stdout = None\nfrom twoway.cli.main import main\nsys.exit(main(['--help']))"
    done = run_python(script)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_a_terminal_without_all_letters() -> None:
    script = (
        "import sys\nfrom twoway.cli import main, ping\n"
        "ping.run = lambda _: sys.stdout.write('5 \\u00b5s \\u2588\\n') and 0\nsys.exit(main.main(['ping', 'h']))"
    )
    done = run_python(script, PYTHONIOENCODING="latin-1")
    assert (done.returncode, done.stdout, done.stderr) == (0, "5 \u00b5s ?\n", "")


HEAVY = ("asyncio", "pydantic", "rich", "importlib.metadata", "numpy", "matplotlib", "shutil", "ipaddress", "json")


def test_what_starting_costs() -> None:
    script = (
        "import sys\nfrom twoway.cli import main, ping, ping_arguments, live\nping_arguments.ping_parser()\n"
        "import twoway.drivers.resolve, twoway.drivers.signals, twoway.session, twoway.analysis.result\n"
        f"print([name for name in {HEAVY} if name in sys.modules])"
    )
    environment = {"PYTHONPATH": ":".join(sys.path)}
    done = subprocess.run(
        [sys.executable, "-S", "-c", script], env=environment, capture_output=True, text=True, check=True
    )
    assert done.stdout == "[]\n"
