"""A page of the documents as its reader meets it: what it has written down, section by section, and its commands run.

Commands that stay (`STAYING`) go on until they are ended; the others are run again until they print what is expected,
as a reader does who looks a second time. What stands in prose between backticks is a command, too. In a `console` block
a line with `$` is a command, and what stands below it is what it prints: word for word, but for what differs from one
run to the next (`alike`); a line with nothing but … stands for any lines.
"""

import contextlib
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Final, Self

from .programs import BOUND_S, Program, until
from .topology import Namespace

STAYING: Final = ("twoway reflector", "twoway run", "prometheus", "ip netns exec far twoway reflector")
_FENCED: Final = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_SECTION: Final = re.compile(r"^## (.*)$", re.MULTILINE)
_IN_PROSE: Final = re.compile(r"`((?:twoway|ip route) [a-z][^`]*)`")
_CONSOLE: Final = "console"
_ANY: Final = "…"
_VARIES: Final = re.compile(
    r"""(?P<kept>\d+\.\d+\.\d+\.\d+(?:/\d+)?)
    |(?P<time>\d{4}-\d\d-\d\d[ T]\d\d:\d\d:\d\d(?:\.\d+)?|\d\d:\d\d:\d\d)
    |(?P<amount>\b\d+(?:\.\d+)?(?:%|\s?(?:ns|µs|ms|s|min|changes?)\b)|(?<=(?:changes|equests|refused)\ )\d+)""",
    re.VERBOSE,
)


def alike(text: str) -> list[str]:
    """Lines without what differs from one run to the next: times, amounts that have a unit, and widths of columns."""

    def named(match: re.Match[str]) -> str:
        return match["kept"] or ("TIME" if match["time"] else "AMOUNT")

    return [" ".join(_VARIES.sub(named, line).split()) for line in text.splitlines()]


def prints(shown: str, printed: str) -> bool:
    """Whether a command has printed what a page shows of it."""
    lines = ("(?:.*\n)*" if line == _ANY else f"{re.escape(line)}\n" for line in alike(shown))
    return re.fullmatch("".join(lines), "".join(f"{line}\n" for line in alike(printed))) is not None


class Section:
    """What a page has written down between two headings."""

    def __init__(self, text: str) -> None:
        blocks = _FENCED.findall(text)
        self.files = [body for language, body in blocks if language not in ("", _CONSOLE)]
        self.shown: dict[str, str] = {}
        """Command -> what it prints, where that is shown."""
        lines: list[str] = []
        for language, body in blocks:
            if language == _CONSOLE:
                for command, _, printed in (part.partition("\n") for part in re.split(r"^\$ ", body, flags=re.M)[1:]):
                    lines.append(command)
                    if printed:
                        self.shown[command] = printed
            elif not language:
                lines += body.splitlines()
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

    def __init__(self, page: Mapping[str, Section], namespace: Namespace | None, folder: Path) -> None:
        self.folder = folder
        self.namespace = namespace
        """Where commands are run; None: where the test is."""
        self.elsewhere: dict[str, str] = {}
        """What a page says -> what it is called in this test."""
        self._page = page
        self._stack = contextlib.ExitStack()
        self.environment = {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}:/usr/sbin", "COLUMNS": "200"}

    def starts(self, command: str, ready: str) -> Program:
        """Run a command that stays, until another command succeeds."""
        words = self._words(command)
        program = Program(words, self.folder, re.sub(r"\W+", "-", command)[:40], self.environment)
        self._stack.enter_context(program)
        until(lambda: not program.running or self._run(ready).returncode == 0, f"{ready}, after {command}")
        assert program.running, program.stderr
        return program

    def follows(self, title: str, expected: Mapping[str, str]) -> None:
        """Run the commands of a section, in order: each has to succeed and to print what the page shows of it, or else
        what the expression finds."""
        section = self._page[title]
        self.environment.update(section.settings)
        for command in section.commands:
            if command.startswith(STAYING):
                continue
            if command in section.shown:
                self.sees_shown(command, section.shown[command])
            else:
                self.sees(command, expected[command])

    def sees(self, command: str, expected: str) -> str:
        """Run a command until it prints what the expression finds; what it printed."""
        return self._looks(
            command, lambda printed: re.search(expected, printed, re.MULTILINE) is not None, repr(expected)
        )

    def sees_shown(self, command: str, shown: str) -> str:
        """Run a command until it prints what the page shows of it; what it printed."""
        return self._looks(command, lambda printed: prints(shown, printed), f"what is shown\n{shown}")

    def _looks(self, command: str, wanted: Callable[[str], bool], what: str) -> str:
        done = self._run(command)

        def satisfied() -> bool:
            nonlocal done
            if done.returncode == 0 and wanted(done.stdout):
                return True
            done = self._run(command)
            return False

        try:
            until(satisfied, f"{what} from {command}", 2 * BOUND_S)
        except AssertionError as error:
            error.add_note(f"$ {command}\n{done.stdout[-3000:]}{done.stderr[-3000:]}exit code {done.returncode}")
            raise
        return done.stdout

    def _words(self, command: str) -> list[str]:
        for said, called in self.elsewhere.items():
            command = command.replace(said, called)
        inside = [] if self.namespace is None else ["ip", "netns", "exec", self.namespace.name]
        return [*inside, "setpriv", "--pdeathsig", "KILL", "env", "-C", str(self.folder), *shlex.split(command)]

    def _run(self, command: str) -> subprocess.CompletedProcess[str]:
        environment = {**os.environ, **self.environment}
        return subprocess.run(
            self._words(command), capture_output=True, text=True, check=False, timeout=BOUND_S, env=environment
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *details: object) -> None:
        self._stack.__exit__(*details)  # type: ignore[arg-type]  # handed through
