"""`twoway schema`: the JSON Schemas of what twoway writes."""

from __future__ import annotations

import argparse
import json
import sys

from twoway.cli.arguments import Parser

_DESCRIPTION = "Print the JSON Schema of an output: `result` is that of `twoway ping --json`."
_EPILOG = """\
examples:
  twoway schema result > result.schema.json
"""


class _Arguments(argparse.Namespace):
    """The options as parsed, with their types."""

    name: str


def run(arguments: list[str]) -> int:
    """The command. Returns its exit code."""
    from twoway.export import schema

    parser = Parser("twoway schema", _DESCRIPTION, _EPILOG)
    parser.add_argument("name", metavar="NAME", choices=sorted(schema.SCHEMAS), help=", ".join(sorted(schema.SCHEMAS)))
    options = parser.parse_args(arguments, _Arguments())
    sys.stdout.write(json.dumps(schema.SCHEMAS[options.name](), indent=2) + "\n")
    return 0
