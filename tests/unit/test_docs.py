"""What the documents say can be done: links lead somewhere, options exist, examples are valid."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from twoway.analysis.notices import NOTICES, Severity
from twoway.cli.parsers import parsers
from twoway.config.keyfile import parse_keys

ROOT = Path(__file__).resolve().parents[2]
DOCUMENTS = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
SYNOPSES = parsers()
_EXAMPLE = re.compile(r"^```python\n(.*?)^```$", re.DOTALL | re.MULTILINE)
_LINK = re.compile(r"\]\((?!https?:)([^)#]*)(#[^)]*)?\)")
_COMMAND = re.compile(rf"twoway ({'|'.join(SYNOPSES)})\b((?:[^\n|>`#]|\\\n)*)")
_OPTION = re.compile(r"(?<![\w-])--?[A-Za-z46][\w-]*")


def name(path: Path) -> str:
    """For the test's id."""
    return str(path.relative_to(ROOT))


def anchors(text: str) -> set[str]:
    """What a heading can be linked by."""
    headings = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    return {"#" + re.sub(r"[^\w\- ]", "", heading).strip().lower().replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("path", DOCUMENTS, ids=name)
def test_links_lead_somewhere(path: Path) -> None:
    for target, anchor in _LINK.findall(path.read_text()):
        linked = (path.parent / target).resolve() if target else path
        assert linked.exists(), f"{target} of {name(path)}"
        if anchor and linked.suffix == ".md":
            assert anchor in anchors(linked.read_text()), f"{target}{anchor} of {name(path)}"


@pytest.mark.parametrize("path", DOCUMENTS, ids=name)
def test_options_of_commands_exist(path: Path) -> None:
    for command, arguments in _COMMAND.findall(path.read_text()):
        known = SYNOPSES[command]._option_string_actions  # noqa: SLF001  (argparse has no public list)
        for option in _OPTION.findall(re.sub(r"'[^']*'", "", arguments)):
            assert option in known, f"twoway {command} {option} in {name(path)}"


@pytest.mark.parametrize("path", DOCUMENTS, ids=name)
def test_long_options_in_prose_exist(path: Path) -> None:
    known = {option for parser in SYNOPSES.values() for option in parser._option_string_actions}  # noqa: SLF001  (as above)
    known |= {"--version", "--check", "--quick", "--enable-feature"}  # the last is Prometheus'
    prose = re.sub(r"<!--.*?-->", "", path.read_text())
    for option in re.findall(r"`(--[a-z][a-z0-9-]*)[^`]*`", prose):
        assert option in known, f"{option} in {name(path)}"


@pytest.mark.parametrize("path", DOCUMENTS, ids=name)
def test_every_make_target_exists(path: Path) -> None:
    targets = re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    for target in re.findall(r"(?:`|^    )make ([a-z]+)", path.read_text(), re.MULTILINE):
        assert target in targets, f"make {target} in {name(path)}"


EXAMPLES = [(path, match[1]) for path in DOCUMENTS for match in _EXAMPLE.finditer(path.read_text())]


@pytest.mark.parametrize(
    ("path", "example"), EXAMPLES, ids=[f"{name(path)}-{i}" for i, (path, _) in enumerate(EXAMPLES)]
)
def test_examples_run(path: Path, example: str) -> None:
    done = subprocess.run([sys.executable, "-W", "error", "-c", example], capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{name(path)}:\n{example}\n{done.stderr}"
    assert done.stdout


@pytest.mark.parametrize("path", DOCUMENTS, ids=name)
def test_tests_that_are_named_exist(path: Path) -> None:
    named = set(re.findall(r"`(test_\w+)`", path.read_text()))
    if not named:
        return
    source = "".join(file.read_text() for file in (ROOT / "tests").rglob("test_*.py"))
    assert {one for one in named if f"def {one}(" not in source} == set()


@pytest.mark.parametrize("path", DOCUMENTS, ids=name)
def test_tests_of_the_packet_plane_that_are_named_exist(path: Path) -> None:
    for file, test in re.findall(r"`([a-z_]+)::([a-z_0-9]+)`", path.read_text()):
        source = (ROOT / "rust" / "plane" / "tests" / f"{file}.rs").read_text()
        assert re.search(rf"\bfn {test}\(", source), f"{file}::{test}"


def test_every_decision_is_listed() -> None:
    folder = ROOT / "docs" / "decisions"
    index = (folder / "README.md").read_text()
    for record in folder.glob("[0-9]*.md"):
        title = record.read_text().splitlines()[0].removeprefix("# ")
        number, _, words = title.partition(": ")
        assert record.name.startswith(f"{number}-")
        assert f"[{number}]({record.name}) | {words} |" in index


def test_what_to_do_is_said_of_each_notice_that_is_a_warning_or_worse() -> None:
    _, _, remedies = (ROOT / "docs" / "operations.md").read_text().partition("| Notice |")
    firsts = [row.split("|")[1] for row in remedies.splitlines() if row.startswith("|")]
    said = {notice for first in firsts for notice in re.findall(r"`([a-z-]+)`", first)}
    assert said == {kind.name for kind in NOTICES.values() if kind.severity <= Severity.WARNING}


def test_the_example_key_file_can_be_read() -> None:
    path = ROOT / "docs" / "examples" / "keys"
    keys = parse_keys(path.read_text(), str(path))
    assert [(key.key_id, key.ssid, len(key.octets)) for key in keys] == [("site-a", None, 32), ("site-b", 17, 32)]


def test_the_unit_file_keeps_the_state_of_the_clock_readable() -> None:
    lines = (ROOT / "docs" / "examples" / "twoway-reflector.service").read_text().splitlines()
    settings = [line for line in lines if line and not line.startswith("#")]
    assert not any(line.startswith("ProtectClock=") for line in settings)
    assert "SystemCallFilter=@system-service adjtimex clock_adjtime" in settings
    command = next(line for line in settings if line.startswith("ExecStart="))
    SYNOPSES["reflector"].parse_args(command.split()[2:])
