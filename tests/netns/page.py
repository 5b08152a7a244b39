"""A page of the documents as its reader meets it: what it has written down, section by section, and its commands run.

Commands that stay (`STAYING`) go on until they are ended; the others are run again until they print what is expected,
as a reader does who looks a second time. What stands in prose between backticks is a command, too.
"""

import contextlib
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Final, Self

from .programs import BOUND_S, Program, until
from .topology import Namespace

STAYING: Final = ("twoway reflector", "twoway run", "prometheus")
_FENCED: Final = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_SECTION: Final = re.compile(r"^## (.*)$", re.MULTILINE)
_IN_PROSE: Final = re.compile(r"`(twoway [a-z][^`]*)`")


class Section:
    """What a page has written down between two headings."""

    def __init__(self, text: str) -> None:
        blocks = _FENCED.findall(text)
        self.files = [body for language, body in blocks if language]
        lines = [line for language, body in blocks if not language for line in body.splitlines()]
        self.settings = dict(line.removeprefix("export ").split("=", 1) for line in lines if line.startswith("export "))
        fenced = [line for line in lines if not line.startswith("export ")]
        self.commands = list(dict.fromkeys([*fenced, *_IN_PROSE.findall(_FENCED.sub("", text))]))


def replaced(text: str, instead: Mapping[str, str]) -> str:
    """The text with other addresses and names."""
    for written, meant in instead.items():
        text = text.replace(written, meant)
    return text


def sections(path: Path, instead: Mapping[str, str] = MappingProxyType({})) -> dict[str, Section]:
    """By heading, in order; what comes before the first has none. `instead`: the page's addresses and names -> those
    of the network at hand."""
    before, *rest = _SECTION.split(replaced(path.read_text(encoding="utf-8"), instead))
    return {"": Section(before), **{rest[i]: Section(rest[i + 1]) for i in range(0, len(rest), 2)}}


class Reader:
    """Somebody who follows a page in a folder, in a namespace. A context manager that ends what still runs."""

    def __init__(self, page: Mapping[str, Section], namespace: Namespace, folder: Path) -> None:
        self.folder = folder
        self._page = page
        self._namespace = namespace
        self._stack = contextlib.ExitStack()
        self._environment = {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}:/usr/sbin", "COLUMNS": "200"}

    def starts(self, command: str, ready: str) -> Program:
        """Run a command that stays, until another command succeeds."""
        words = self._words(command)
        program = Program(words, self.folder, re.sub(r"\W+", "-", command)[:40], self._environment)
        self._stack.enter_context(program)
        until(lambda: not program.running or self._run(ready).returncode == 0, f"{ready}, after {command}")
        assert program.running, program.stderr
        return program

    def follows(self, title: str, expected: Mapping[str, str]) -> None:
        """Run the commands of a section, in order: each has to succeed and to print what the expression finds."""
        section = self._page[title]
        self._environment.update(section.settings)
        for command in section.commands:
            if not command.startswith(STAYING):
                self.sees(command, expected[command])

    def sees(self, command: str, expected: str) -> str:
        """Run a command until it prints what the expression finds; what it printed."""
        done = self._run(command)

        def satisfied() -> bool:
            nonlocal done
            if done.returncode == 0 and re.search(expected, done.stdout, re.MULTILINE):
                return True
            done = self._run(command)
            return False

        try:
            until(satisfied, f"{expected!r} from {command}", 2 * BOUND_S)
        except AssertionError as error:
            error.add_note(f"$ {command}\n{done.stdout[-3000:]}{done.stderr[-3000:]}exit code {done.returncode}")
            raise
        return done.stdout

    def _words(self, command: str) -> list[str]:
        return [
            *("ip", "netns", "exec", self._namespace.name, "setpriv", "--pdeathsig", "KILL"),
            *("env", "-C", str(self.folder), *shlex.split(command)),
        ]

    def _run(self, command: str) -> subprocess.CompletedProcess[str]:
        environment = {**os.environ, **self._environment}
        return subprocess.run(
            self._words(command), capture_output=True, text=True, check=False, timeout=BOUND_S, env=environment
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *details: object) -> None:
        self._stack.__exit__(*details)  # type: ignore[arg-type]  # handed through
