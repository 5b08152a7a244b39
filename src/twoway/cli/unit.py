"""`twoway unit`: the systemd unit that a configuration needs."""

from __future__ import annotations

import argparse
import shutil
import stat
import sys
from pathlib import Path, PurePath
from typing import TYPE_CHECKING

from twoway.cli.arguments import Parser
from twoway.errors import EXIT_ERROR, ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterator

_DESCRIPTION = """\
Print a hardened systemd unit for `twoway run`, with the privileges that a configuration needs and no
other. What will not work under it is said on standard error, a line each. Key files are not read.
"""
_EPILOG = """\
Exit code: 0; 2 if the configuration has errors (a line each).

examples:
  twoway unit /etc/twoway/twoway.yaml > /etc/systemd/system/twoway.service
  systemctl daemon-reload && systemctl enable --now twoway
"""


class _Arguments(argparse.Namespace):
    """The options as parsed, with their types."""

    configuration: str
    executable: str | None


def unit_parser() -> Parser:
    """All options of the command."""
    parser = Parser("twoway unit", "CONFIG", _DESCRIPTION, _EPILOG)
    parser.add_argument("configuration", metavar="CONFIG", help="configuration file, YAML or TOML")
    parser.add_argument("--executable", metavar="PATH", help="the command that the unit starts (this one)")
    return parser


def run(arguments: list[str]) -> int:
    """The command. Returns its exit code."""
    options = unit_parser().parse_args(arguments, _Arguments())
    try:  # pydantic is of an extra
        from twoway.config.document import ConfigurationError
        from twoway.config.unit import EXECUTABLE, read_model, unit
    except ImportError as error:
        raise ConfigError("unit", f"{error.name} is not installed: `pip install 'twoway[daemon]'`") from None
    try:
        configuration = read_model(options.configuration)
    except ConfigurationError as error:
        sys.stderr.write("".join(f"{problem}\n" for problem in error.problems))
        return EXIT_ERROR
    executable = options.executable or shutil.which(sys.argv[0]) or str(EXECUTABLE)
    path = Path(options.configuration).absolute()
    made = unit(configuration, PurePath(path), PurePath(Path(executable).absolute()))
    unreadable = _unreadable(path, grouped=configuration.api.group is not None)
    sys.stdout.write(made.text)
    sys.stderr.write("".join(f"twoway unit: warning: {line}\n" for line in (*made.warnings, *unreadable)))
    return 0


def _unreadable(path: Path, *, grouped: bool) -> Iterator[str]:
    """The service's user is none that there is now: it reads what all may read, or its supplementary group."""
    if not path.stat().st_mode & (stat.S_IROTH | (stat.S_IRGRP if grouped else 0)):
        yield f"the configuration: {path}: the service's user cannot read it: `chmod a+r {path}`; secrets are not in it"
