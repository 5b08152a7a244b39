"""`twoway check`: everything that is wrong with a configuration, before anything runs with it."""

from __future__ import annotations

import argparse
import json
import sys
from typing import TYPE_CHECKING

from twoway.cli.arguments import Parser
from twoway.errors import EXIT_ERROR, ConfigError

if TYPE_CHECKING:
    from twoway.config.check import Checked
    from twoway.config.document import Problem

_DESCRIPTION = """\
Read a configuration, build everything in it and start nothing. Each error is a line on standard error,
`FILE:LINE: STATEMENT: what is wrong`, and so is each warning. Ends with 0 if there is no error, else 2.
"""
_EPILOG = """\
examples:
  twoway check /etc/twoway/twoway.yaml
  twoway check --sample > twoway.yaml
"""


class _Arguments(argparse.Namespace):
    """The options as parsed, with their types."""

    file: str | None
    sample: bool
    json: bool
    strict: bool


def check_parser() -> Parser:
    """All options of the command."""
    parser = Parser("twoway check", "FILE", _DESCRIPTION, _EPILOG)
    parser.add_argument("file", metavar="FILE", nargs="?", help="configuration: TOML if its name ends so, else YAML")
    parser.add_argument("--strict", action="store_true", help="take warnings for errors")
    parser.add_argument("--json", action="store_true", help="a JSON document on standard output instead")
    parser.add_argument("--sample", action="store_true", help="print a commented sample of a configuration instead")
    return parser


def run(arguments: list[str]) -> int:
    """The command. Returns its exit code."""
    parser = check_parser()
    options = parser.parse_args(arguments, _Arguments())
    if options.sample == (options.file is not None):
        parser.error("name one FILE, or ask for the --sample")
    if options.file is None:
        try:  # pydantic is of an extra
            from twoway.config.sample import sample
        except ImportError as error:
            raise ConfigError("--sample", f"{error.name} is not installed: `pip install 'twoway[daemon]'`") from None
        sys.stdout.write(sample())
        return 0

    from twoway.config.check import check
    from twoway.drivers.rehearsal import NativeRehearsal

    checked = check(options.file, NativeRehearsal())
    failed = bool(checked.errors or (options.strict and checked.warnings))
    if options.json:
        sys.stdout.write(json.dumps(_document(checked), ensure_ascii=False) + "\n")
    else:
        sys.stderr.write("".join(f"{problem}\n" for problem in checked.errors))
        sys.stderr.write("".join(f"{_warning(problem)}\n" for problem in checked.warnings))
        sys.stdout.write(f"{_outcome(checked)}\n")
    return EXIT_ERROR if failed else 0


def _warning(problem: Problem) -> str:
    place, colon, rest = str(problem).partition(": ")
    return f"{place}: warning{colon}{rest}"


def _outcome(checked: Checked) -> str:
    """What is in it, or how much is wrong with it."""
    plan = checked.plan
    if plan is None:
        return f"{checked.source}: {_counted(len(checked.errors), 'error')}"
    parts = [
        _counted(len(plan.connections), "control-connection"),
        _counted(sum(len(connection.sessions) for connection in plan.connections), "test-session"),
    ]
    parts += ["a Server"] if plan.server is not None else []
    parts += ["a light Session-Reflector"] if plan.reflections else []
    parts += [] if plan.routes is None else [_counted(len(plan.routes.routes), "tracked route")]
    return f"{checked.source}: good: {', '.join(parts)}"


def _counted(count: int, what: str) -> str:
    return f"{count} {what}" + ("" if count == 1 else "s")


def _document(checked: Checked) -> dict[str, object]:
    return {
        "source": checked.source,
        "ok": checked.plan is not None,
        "errors": [_entry(problem) for problem in checked.errors],
        "warnings": [_entry(problem) for problem in checked.warnings],
    }


def _entry(problem: Problem) -> dict[str, object]:
    return {"line": problem.line, "path": list(problem.path), "message": problem.message}
