"""`twoway schema`: the JSON Schemas of what twoway writes, and of the configuration it reads."""

from __future__ import annotations

import argparse
import json
import sys
from typing import TYPE_CHECKING

from twoway.cli.arguments import Parser
from twoway.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Mapping

_DESCRIPTION = "Print the JSON Schema of an output, or of the configuration."
_EPILOG = """\
examples:
  twoway schema result > result.schema.json
  twoway schema config > twoway.schema.json
"""
_NAMES = {
    "result": "the document of `twoway ping --json`",
    "paths": "the document of `twoway ping --json` with several paths",
    "record": "one line of `twoway ping --ndjson`",
    "reflector": "one line of `twoway reflector --json`",
    "config": "the configuration of `twoway run`",
    "server": "one line of `twoway server --json` about it; with --light also what `reflector` describes",
}


class _Arguments(argparse.Namespace):
    """The options as parsed, with their types."""

    name: str


def schema_parser() -> Parser:
    """All options of the command."""
    parser = Parser("twoway schema", "NAME", _DESCRIPTION, _EPILOG)
    named = "; ".join(f"{name}: {what}" for name, what in _NAMES.items())
    parser.add_argument("name", metavar="NAME", choices=tuple(_NAMES), help=named)
    return parser


def run(arguments: list[str]) -> int:
    """The command. Returns its exit code."""
    options = schema_parser().parse_args(arguments, _Arguments())
    sys.stdout.write(json.dumps(_schema(options.name), indent=2) + "\n")
    return 0


def _schema(name: str) -> Mapping[str, object]:
    if name == "config":
        try:  # pydantic is of an extra
            from twoway.config.model.schema import configuration_schema
        except ImportError as error:
            raise ConfigError(name, f"{error.name} is not installed: `pip install 'twoway[daemon]'`") from None
        return configuration_schema()
    from twoway.export import schema

    schemas = {
        "result": schema.result_schema,
        "paths": schema.paths_schema,
        "record": schema.record_schema,
        "reflector": schema.reflector_schema,
        "server": schema.server_schema,
    }
    return schemas[name]()
