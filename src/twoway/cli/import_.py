"""`twoway import junos`: a router's TWAMP and tracked routes in our words, and a list of what has no equivalent."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from twoway.cli.arguments import Parser
from twoway.config.document import MAX_OCTETS
from twoway.errors import EXIT_ERROR, ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from twoway.config.check import Checked
    from twoway.config.junos.outcome import Imported

_DESCRIPTION = """\
Read `services monitoring twamp` or `services rpm twamp` of a Junos configuration, and the routes of
`routing-options sla-tracking`, `rpm-tracking` and `services ip-monitoring`, as `set` lines or in
braces, and write our configuration to standard output. What has no equivalent is listed on standard
error, each statement with its line and the reason; so is what is still to be done by you.
"""
_EPILOG = """\
Lines are where `edit` went; what is deleted, deactivated or inactive is left out, and listed. Groups
are not applied: save the configuration with `show configuration | display inheritance`, or with
`| display set` behind that. Secrets are not taken over: write them into a file of mode 0600. RPM
tests to which routes are bound are measured by STAMP instead, and their routes come with `dry-run`.

examples:
  twoway import junos router.conf > twoway.yaml
  ssh router 'show configuration | display inheritance | display set' | twoway import junos -
"""


class _Arguments(argparse.Namespace):
    """The options as parsed, with their types."""

    kind: str
    file: str
    strict: bool


def import_parser() -> Parser:
    """All options of the command."""
    parser = Parser("twoway import", "junos FILE", _DESCRIPTION, _EPILOG)
    parser.add_argument("kind", metavar="junos", choices=("junos",), help="whose configuration it is")
    parser.add_argument("file", metavar="FILE", help="its file, - for standard input")
    parser.add_argument("--strict", action="store_true", help="end with 2 if anything has no exact equivalent")
    return parser


def run(arguments: list[str]) -> int:
    """The command. Returns its exit code."""
    options = import_parser().parse_args(arguments, _Arguments())
    source = "standard input" if options.file == "-" else options.file
    text = _text(options.file, source)
    try:  # pydantic is of an extra
        from twoway.config.junos.conversion import convert
    except ImportError as error:
        raise ConfigError("import", f"{error.name} is not installed: `pip install 'twoway[daemon]'`") from None
    from twoway.config.check import check_text
    from twoway.config.yaml_text import block

    imported = convert(text, source)
    ours = "".join(f"{line}\n" for line in block(imported.data))
    checked = check_text(ours, "imported", Path.cwd())
    sys.stderr.write("".join(f"{line}\n" for line in _report(imported, checked, source)))
    sys.stdout.write(ours or "{}\n")
    inexact = imported.to_do or any(one.ours and one.in_force for one in imported.unused)
    return EXIT_ERROR if options.strict and inexact else 0


def _text(name: str, source: str) -> str:
    if name == "-":
        octets = sys.stdin.buffer.read(MAX_OCTETS + 1)
    else:
        with Path(name).open("rb") as file:
            octets = file.read(MAX_OCTETS + 1)
    try:
        return octets.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = octets.count(b"\n", 0, error.start) + 1
        raise ConfigError(source, f"line {line} is not UTF-8") from None


def _report(imported: Imported, checked: Checked, source: str) -> Iterator[str]:
    """What was not taken over, what our own loader says of the outcome, and the sums."""
    elsewhere: dict[str, int] = {}
    for one in imported.unused:
        if one.ours:
            yield f"{source}:{one.statement.line}: not used: {one.statement}: {one.reason}"
        else:
            top = one.statement.words[0] if one.statement.words else ""
            elsewhere[top] = elsewhere.get(top, 0) + 1
    for top, count in elsewhere.items():
        yield f"{source}: not used: {count} of {top}: not about TWAMP"
    for task in imported.to_do:
        yield f"to be done: {task}"
    for problem in checked.errors:
        yield f"to be mended: {str(problem).partition(': ')[2]}"
    yield f"{source}: {len(imported.used)} statements used, {len(imported.unused)} not"
