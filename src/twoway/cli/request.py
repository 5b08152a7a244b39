"""`twoway request`: start or stop the daemon's tests, or have it read its configuration again."""

from __future__ import annotations

import argparse
import json
import sys

from twoway.cli.api_client import Api, add_api_options
from twoway.cli.arguments import Parser, value_of
from twoway.config import units
from twoway.errors import ApiError, one_line

_DESCRIPTION = """\
Tell the daemon to do something, and hear what came of it.

  start     run the tests of control connections with `test-start: manual`
  stop      stop the tests of control connections
  reload    read the configuration again: all of it is taken over, or nothing
"""
_EPILOG = """\
Exit code: 0 if it was done, 1 if the daemon refused (the reason is printed), 2 if it cannot be asked.

examples:
  twoway request start --control-connection core-fra --repeat 10
  twoway request reload
"""
_REFUSED = 1
_CONFLICT = 409


class _Arguments(argparse.Namespace):
    """The options as parsed, with their types."""

    action: str
    control_connection: str | None
    repeat: int | None
    json: bool
    api: str | None
    token_file: str | None


def request_parser() -> Parser:
    parser = Parser("twoway request", "start|stop|reload", _DESCRIPTION, _EPILOG)
    parser.add_argument("action", choices=("start", "stop", "reload"), help="see above")
    add = parser.add_argument_group("which").add_argument
    add("--control-connection", metavar="NAME", help="of this control connection alone (all)")
    add("--repeat", type=value_of(units.parse_integer, 1, 65_535), metavar="N", help="tests to run (as configured)")
    parser.add_argument_group("output").add_argument("--json", action="store_true", help="the API's JSON document")
    add_api_options(parser)
    return parser


def run(arguments: list[str]) -> int:
    """The command. Returns its exit code."""
    parser = request_parser()
    options = parser.parse_args(_junos_words(arguments), _Arguments())
    body: dict[str, object] = {"control-connection": options.control_connection, "repeat": options.repeat}
    if options.action != "start" and options.repeat is not None:
        parser.error(f"--repeat is of start, not of {options.action}")
    if options.action == "reload" and options.control_connection is not None:
        parser.error("--control-connection is not of reload: a configuration is taken over as a whole")
    path = "/v1/reload" if options.action == "reload" else f"/v1/request/{options.action}"
    return act(Api.of(options.api, options.token_file), path, body, as_json=options.json, prog=parser.prog)


def act(api: Api, path: str, body: dict[str, object], *, as_json: bool, prog: str) -> int:
    """Send a request, print what came of it, and return the exit code."""
    try:
        answer = api.post(path, body)
    except ApiError as error:
        if error.status != _CONFLICT:
            raise
        for line in (f"{prog}: {error}", *(f"  {item}" for item in error.affected)):
            sys.stderr.write("".join(c if c.isprintable() else " " for c in line) + "\n")
        return _REFUSED
    if as_json:
        sys.stdout.write(json.dumps(answer, indent=2) + "\n")
        return 0
    affected = ", ".join(map(str, answer["affected"]))
    sys.stdout.write(one_line(f"{answer['message']}{': ' * bool(affected)}{affected}") + "\n")
    return 0


def _junos_words(arguments: list[str]) -> list[str]:
    """`control-connection X` and `repeat N` without dashes, as Junos has them."""
    words, value_next = [], False
    for argument in arguments:
        known = argument.removeprefix("--") in ("control-connection", "repeat")
        words.append(f"--{argument}" if known and not value_next and not argument.startswith("-") else argument)
        value_next = known and not value_next
    return words
