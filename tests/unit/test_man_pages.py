"""Man pages: that they are man pages, and have all that the commands and the configuration have."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from twoway.cli.main import COMMANDS
from twoway.cli.parsers import parsers
from twoway.config.model import Configuration
from twoway.config.model.description import statements_of

if TYPE_CHECKING:
    from twoway.config.model.statements import Statements

FOLDER = Path(__file__).resolve().parents[2] / "packaging" / "wheel" / "data" / "share" / "man"
PAGES = sorted(FOLDER.glob("man[15]/*.[15]"))


def shown(page: Path) -> str:
    """Its text as a terminal shows it, without what makes it bold; words that were parted at a line's end are one."""
    command = ["mandoc", "-T", "utf8", str(page)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return re.sub(r"(?<=\w-)\n\s+", "", re.sub(r".\x08", "", done.stdout))


@pytest.fixture(autouse=True)
def mandoc() -> None:
    if shutil.which("mandoc") is None:
        pytest.skip("the program mandoc is not installed (Debian package mandoc)")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_mandoc_finds_nothing_wrong(page: Path) -> None:
    command = ["mandoc", "-T", "lint", "-W", "warning", str(page)]
    found = subprocess.run(command, capture_output=True, text=True, check=False).stdout.splitlines()
    # A page has no date: it would be that of the last build, or a lie.
    assert [line for line in found if "missing date" not in line] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_groff_finds_nothing_wrong(page: Path) -> None:
    if shutil.which("groff") is None:
        pytest.skip("the program groff is not installed (Debian package groff-base)")
    command = ["groff", "-man", "-Tutf8", "-ww", "-z", str(page)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


def test_every_command_has_a_page_and_the_first_page_names_it() -> None:
    names = {page.name for page in PAGES}
    overview = shown(FOLDER / "man1" / "twoway.1")
    for name in parsers():
        assert f"twoway-{name}.1" in names
        assert f"twoway-{name}(1)" in overview
    assert names == {f"twoway-{name}.1" for name in parsers()} | {"twoway.1", "twping.1", "owping.1", "twoway.yaml.5"}


@pytest.mark.parametrize("name", [shown.partition(" ")[0] for shown in COMMANDS])
def test_a_page_has_every_option_and_example(name: str) -> None:
    text = shown(FOLDER / "man1" / f"twoway-{name}.1")
    parser = parsers()[name]
    for option in parser._option_string_actions:  # noqa: SLF001  (argparse has no public list)
        assert re.search(rf"(?<![\w-]){re.escape(option)}(?![\w-])", text), option
    examples = (parser.epilog or "").partition("examples:\n")[2].splitlines()
    assert examples
    for example in examples:
        assert example.strip() in text


def test_the_page_of_the_configuration_has_every_statement() -> None:
    lines = {line.strip().split(" ")[0] for line in shown(FOLDER / "man5" / "twoway.yaml.5").splitlines()}
    wanted: list[type[Statements]] = [Configuration]
    seen: set[type[Statements]] = set()
    while wanted:
        model = wanted.pop()
        seen.add(model)
        for statement in statements_of(model):
            assert statement.name in lines
            if statement.model is not None and statement.model not in seen:
                wanted.append(statement.model)
    assert len(seen) > 20
