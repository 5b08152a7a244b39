"""`twoway schema`: the JSON Schemas of what twoway writes."""

from __future__ import annotations

import argparse
import json
import sys

from twoway.cli.arguments import Parser

_DESCRIPTION = "Print the JSON Schema of an output."
_EPILOG = """\
examples:
  twoway schema result > result.schema.json
"""
_NAMES = {
    "result": "the document of `twoway ping --json`",
    "record": "one line of `twoway ping --ndjson`",
    "reflector": "one line of `twoway reflector --json`",
    "server": "one line of `twoway server --json` about it; with --light also what `reflector` describes",
}


class _Arguments(argparse.Namespace):
    """The options as parsed, with their types."""

    name: str


def run(arguments: list[str]) -> int:
    """The command. Returns its exit code."""
    parser = Parser("twoway schema", "NAME", _DESCRIPTION, _EPILOG)
    named = "; ".join(f"{name}: {what}" for name, what in _NAMES.items())
    parser.add_argument("name", metavar="NAME", choices=tuple(_NAMES), help=named)
    options = parser.parse_args(arguments, _Arguments())

    from twoway.export import schema

    schemas = {
        "result": schema.result_schema,
        "record": schema.record_schema,
        "reflector": schema.reflector_schema,
        "server": schema.server_schema,
    }
    sys.stdout.write(json.dumps(schemas[options.name](), indent=2) + "\n")
    return 0
