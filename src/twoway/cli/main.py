"""Choosing a command, and the last resort: whatever happens, a person sees one line and never a traceback.

Only the chosen command's module is loaded, which is most of what keeps the first packet early.
"""

from __future__ import annotations

import importlib
import io
import os
import sys
from typing import Protocol, cast

from twoway.errors import EXIT_ERROR, TwowayError, one_line

_INTERRUPTED = 130
"""What a shell reports for a command that ended by SIGINT before it had anything to report."""


class _Command(Protocol):
    """What the module of a command has."""

    def run(self, arguments: list[str], /) -> int: ...


COMMANDS = {
    # Command as it is shown -> its module, and one line of help. Its first word is its name.
    "ping TARGET": ("ping", "measure the path to a Session-Reflector, or to a Server"),
    "reflector": ("reflector", "be a Session-Reflector"),
    "server": ("server", "be a Server of TWAMP and OWAMP"),
    "run CONFIG": ("run", "run the daemon that a configuration asks for"),
    "show WHAT": ("show", "show what the daemon measures and how it is"),
    "top": ("top", "show all its test-sessions as they are now"),
    "request ACTION": ("request", "start or stop its tests, or have it read its configuration again"),
    "clear WHAT [NAME]": ("clear", "make it forget results, histories or events"),
    "export [SESSION]...": ("export", "write what the store kept as CSV, NDJSON or Parquet"),
    "capabilities [IFACE]": (
        "capabilities",
        "show what this machine can measure with, and what to do about what it cannot",
    ),
    "check FILE": ("check", "say all that is wrong with a configuration, or print a sample of one"),
    "unit CONFIG": ("unit", "print the systemd unit that a configuration needs"),
    "import junos FILE": ("import_", "turn a Junos configuration into ours, and list what has no equivalent"),
    "schema NAME": ("schema", "print the JSON Schema of an output, or of the configuration"),
}
"""Each module has `run(arguments) -> exit code`."""
_MODULES = {shown.partition(" ")[0]: module for shown, (module, _) in COMMANDS.items()}

USAGE = f"""\
usage: twoway COMMAND [OPTION]... [ARGUMENT]...

Measures network paths in both directions with STAMP (RFC 8762), TWAMP (RFC 5357) and OWAMP (RFC 4656).

commands:
{"".join(f"  {shown:<24}{line}{chr(10)}" for shown, (_, line) in COMMANDS.items())}
options:
  -h, --help              show this text; `twoway COMMAND --help` shows a command's
  --version               show the version

examples:
  twoway reflector --listen 127.0.0.1:8620
  twoway ping -c 10 -i 20ms 127.0.0.1:8620
"""


def main(argv: list[str] | None = None) -> int:
    """Run one command line. Returns the exit code."""
    arguments = sys.argv[1:] if argv is None else argv
    _prepare_output()
    try:
        code = _dispatch(arguments)
        sys.stdout.flush()
    except TwowayError as error:
        code = _report(arguments, error, str(error), error.exit_code)
    except BrokenPipeError:
        from twoway.cli.arguments import abandon_output

        abandon_output()  # whoever read us has had enough
        code = EXIT_ERROR
    except KeyboardInterrupt:
        code = _INTERRUPTED
    except OSError as error:
        code = _report(arguments, error, _os_error(error), EXIT_ERROR)
    except Exception as error:  # noqa: BLE001  (the last resort: no traceback reaches a user)
        what = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
        hint = "please report this, with what it prints under TWOWAY_DEBUG=1"
        code = _report(arguments, error, f"internal error: {what}: {hint}", EXIT_ERROR)
    return code


def _prepare_output() -> None:
    """Whatever standard output is, writing to it must not fail for a letter that it does not have, or for not being."""
    if sys.stdout is None:
        sys.stdout = os.fdopen(os.open(os.devnull, os.O_WRONLY), "w")
    elif isinstance(sys.stdout, io.TextIOWrapper) and sys.stdout.encoding.lower() != "utf-8":
        sys.stdout.reconfigure(errors="replace")


def _dispatch(arguments: list[str]) -> int:
    command, rest = (arguments[0], arguments[1:]) if arguments else ("", [])
    try:
        if command in _MODULES:
            module = cast("_Command", importlib.import_module(f"twoway.cli.{_MODULES[command]}"))
            return module.run(rest)
    except SystemExit as error:
        # argparse ends this way, having printed help or one line.
        return error.code if isinstance(error.code, int) else EXIT_ERROR
    if command in ("-h", "--help", "help"):
        sys.stdout.write(USAGE)
        return 0
    if command in ("-V", "--version"):
        from twoway.drivers.plane import version

        sys.stdout.write(f"twoway {version()}\n")
        return 0
    if not command:
        sys.stderr.write(USAGE)
        return EXIT_ERROR
    sys.stderr.write(f"twoway: no command {one_line(command)!r}: `twoway --help` lists those there are\n")
    return EXIT_ERROR


def _os_error(error: OSError) -> str:
    """An operating-system error in our order: what it was about, then why."""
    reason = error.strerror or str(error)
    return f"{error.filename}: {reason}" if error.filename else reason


def _report(arguments: list[str], error: Exception, message: str, code: int) -> int:
    command = arguments[0] if arguments and arguments[0] in _MODULES else ""
    if os.environ.get("TWOWAY_DEBUG"):
        import traceback

        traceback.print_exception(error)
    try:
        sys.stdout.flush()
    except OSError:
        from twoway.cli.arguments import abandon_output

        abandon_output()  # a full disk, say: it must not fail once more when Python ends
    if sys.stderr is not None:
        sys.stderr.write(f"twoway{' ' * bool(command)}{command}: {one_line(message)}\n")
    return code
