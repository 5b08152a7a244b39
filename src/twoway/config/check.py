"""A configuration file, looked at as a whole: everything that is wrong with it, what is doubtful, and its plan.

Theory of operation. A file with twenty mistakes gets twenty messages. So nothing stops at the first: the reader finds
all doubled names; the model finds everything that is wrong with single values, and what it refused is taken out of the
data until the rest is valid; the planner looks at that rest and refuses what does not go together. A statement is
spoken of once: what was taken out would only be missed by what comes later. Pure but for reading files.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from twoway.config import doubts
from twoway.config.document import MAX_OCTETS, ConfigurationError, Document, Problem, read_document
from twoway.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable

    from twoway.config.document import Path as Place
    from twoway.config.plan import ConnectionPlan, Plan, SessionPlan
    from twoway.config.reflection import Reflection


class Rehearsal(Protocol):
    """Builds what a plan needs of the packet plane, and starts nothing. Raises `ConfigError`."""

    def session(self, connection: ConnectionPlan, session: SessionPlan) -> None: ...

    def reflection(self, reflection: Reflection) -> None: ...


@dataclass(frozen=True, slots=True)
class Checked:
    """What became of a file."""

    source: str
    plan: Plan | None
    """None if there are errors."""
    errors: tuple[Problem, ...]
    """In the order of their lines."""
    warnings: tuple[Problem, ...]


def load(path: str | os.PathLike[str], rehearsal: Rehearsal | None = None) -> Plan:
    """The plan of a file. Raises `ConfigurationError`, which has all that is wrong with it."""
    checked = check(path, rehearsal)
    if checked.plan is None:
        raise ConfigurationError(checked.errors)
    return checked.plan


def check(path: str | os.PathLike[str], rehearsal: Rehearsal | None = None) -> Checked:
    """Look at a file. What it cannot be read for is an error like the others."""
    source = os.fspath(path)
    try:
        with Path(source).open("rb") as file:
            # One octet more than is allowed tells that there is more.
            text = file.read(MAX_OCTETS + 1)
    except OSError as error:
        return _unreadable(source, os.strerror(error.errno) if error.errno else str(error))
    except ValueError:
        return _unreadable(source, "is no name of a file")
    credentials = os.environ.get("CREDENTIALS_DIRECTORY")
    return check_text(
        text, source, Path(source).absolute().parent, Path(credentials) if credentials else None, rehearsal
    )


def _unreadable(source: str, message: str) -> Checked:
    return Checked(source, None, (Problem(source, None, (), message),), ())


def check_text(
    text: str | bytes,
    source: str,
    directory: Path,
    credentials: Path | None = None,
    rehearsal: Rehearsal | None = None,
) -> Checked:
    """Look at a text; relative paths in it begin at `directory`, credentials are in `credentials`."""
    try:
        document = read_document(text, source)
    except ConfigurationError as error:
        return Checked(source, None, error.problems, ())
    try:  # pydantic is of an extra
        from twoway.config.messages import validated
        from twoway.config.planner import Surroundings
        from twoway.config.planning import planned
    except ImportError as error:
        return _unreadable(source, f"{error.name} is not installed: `pip install 'twoway[daemon]'`")
    findings = _Findings(document)
    for problem in document.problems:
        findings.note(problem.path, problem.message, problem.line)
    configuration = validated(document.data, findings.note)
    plan = planned(configuration, Surroundings(directory, credentials), findings.refuse, findings.refused)
    if rehearsal is not None:
        _rehearse(plan, rehearsal, findings)
    doubts.doubt(configuration, plan, findings.warn)
    errors = _in_order(findings.errors)
    return Checked(source, None if errors else plan, errors, _in_order(findings.warnings))


def _in_order(problems: list[Problem]) -> tuple[Problem, ...]:
    return tuple(sorted(problems, key=lambda problem: problem.line or 0))


class _Findings:
    """Errors and warnings as they come, each statement once."""

    def __init__(self, document: Document) -> None:
        self._document = document
        self.errors: list[Problem] = []
        self.warnings: list[Problem] = []
        self._refused: set[Place] = set()
        """What was refused, and everything around it."""

    def refused(self, place: Place) -> bool:
        """Whether this statement or one within it was refused."""
        return place in self._refused

    def refuse(self, place: Place, message: str) -> None:
        """An error, unless this statement or one within it was refused before."""
        if not self.refused(place):
            self.note(place, message)

    def note(self, place: Place, message: str, line: int | None = None) -> None:
        """An error, in any case."""
        self.errors.append(Problem(self._document.source, line or self._document.line(place), place, message))
        self._refused.update(place[:length] for length in range(1, len(place) + 1))

    def warn(self, place: Place, message: str) -> None:
        """Something that works, but hardly as meant."""
        if place not in self._refused:
            self.warnings.append(Problem(self._document.source, self._document.line(place), place, message))


def _rehearse(plan: Plan, rehearsal: Rehearsal, findings: _Findings) -> None:
    for connection in plan.connections:
        for session in connection.sessions:
            _attempt(session.place, findings, partial(rehearsal.session, connection, session))
    for reflection in plan.reflections:
        _attempt(("server", "light"), findings, partial(rehearsal.reflection, reflection))


def _attempt(place: Place, findings: _Findings, build: Callable[[], None]) -> None:
    from twoway.config.planner import reason_of, statement_of  # here, as above

    try:
        build()
    except ConfigError as error:
        findings.refuse((*place, statement_of(error)), reason_of(error))
