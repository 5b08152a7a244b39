"""`twoway clear`: make the daemon forget results, histories or events, or drop control connections of its Server."""

from __future__ import annotations

import argparse

from twoway.cli.api_client import Api, add_api_options
from twoway.cli.arguments import Parser
from twoway.cli.request import act

_DESCRIPTION = """\
Make the daemon forget, and hear what came of it.

  results [CONNECTION]           collections and verdicts of test-sessions; histories stay
  history [CONNECTION]           their single probes
  events                         notices kept for `show events`
  server-control [NUMBER]        drop control connections of the Server, as `show server control-info` numbers them
"""
_EPILOG = """\
Exit code: 0 if it was done, 1 if the daemon refused (the reason is printed), 2 if it cannot be asked.

examples:
  twoway clear results core-fra
  twoway clear server-control 7
"""


class _Arguments(argparse.Namespace):
    """The options as parsed, with their types."""

    what: str
    name: str | None
    json: bool
    api: str | None
    token_file: str | None


def clear_parser() -> Parser:
    parser = Parser("twoway clear", "WHAT [NAME]", _DESCRIPTION, _EPILOG)
    things = ("results", "history", "events", "server-control")
    parser.add_argument("what", metavar="WHAT", choices=things, help=f"{', '.join(things[:-1])} or {things[-1]}")
    parser.add_argument("name", nargs="?", metavar="NAME", help="of this control connection alone (all)")
    parser.add_argument_group("output").add_argument("--json", action="store_true", help="the API's JSON document")
    add_api_options(parser)
    return parser


def run(arguments: list[str]) -> int:
    """The command. Returns its exit code."""
    parser = clear_parser()
    options = parser.parse_args(arguments, _Arguments())
    if options.what == "events" and options.name is not None:
        parser.error("events are of the whole daemon: there is no NAME")
    api = Api.of(options.api, options.token_file)
    return act(api, f"/v1/clear/{options.what}", {"name": options.name}, as_json=options.json, prog=parser.prog)
