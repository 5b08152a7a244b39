"""The options of `twping` and `owping`, as perfSONAR's programs take them.

Theory of operation. Their letters follow getopt: they may be joined (`-QR`), their values glued (`-c10`) or not, and
`-v` takes a number only if it is glued, which argparse cannot express. So letters are taken apart here first, where one
that is not known or not supported is refused by name; argparse then checks the values and knows the help.
"""

from __future__ import annotations

import argparse
import math
from typing import TYPE_CHECKING, NamedTuple, NoReturn, TypeVar

from twoway.cli.arguments import HelpFormatter
from twoway.config.dscp import parse_dscp
from twoway.errors import ConfigError, one_line

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

EXIT_FAILED = 1
"""Exit code of the originals whenever they could not measure."""
MAX_PADDING = 65_000
"""More padding than this is cut to it, as the originals do."""
DEFAULT_PORTS = (8760, 9960)
"""UDP ports of our end."""

_NANOS = 1_000_000_000
_Value = TypeVar("_Value")

_FLAGS = {"twping": "46MQRUZh", "owping": "46MQRUfth"}
_WITH_VALUE = "ABDELNPSabciknsuz"
_UNSUPPORTED = {
    "F": "no session files are written: use -R for all records",
    "T": "no session files are written: use -R for all records",
    "d": "no files are written: redirect the output",
    "p": "no files are written: redirect the output",
    "w": "it is for debugging the original",
}
_ONLY = {"Z": "twping", "f": "owping", "t": "owping", "T": "owping"}

_DESCRIPTIONS = {
    "twping": "Measure the way to TESTADDR and back with TWAMP: options and output are those of perfSONAR's twping.",
    "owping": "Measure the ways to and from TESTADDR with OWAMP: options and output are those of perfSONAR's owping.",
}
_EPILOG = """\
TESTADDR is what to measure to, SERVADDR the server that arranges it, if that is another; both are
written as host, host:port, [2001:db8::1]:port. Ctrl-C ends with what was measured until then.
Exit code: 0 measured, whatever was lost; 1 not measured; 2 interrupted before there was a result.
"""


class Slot(NamedTuple):
    """One step of a send schedule (RFC 4656 section 3.6)."""

    kind: str
    """`fixed` or `exponential`."""
    interval_ns: int
    """The step, or the mean of it."""


class PerfsonarArguments(argparse.Namespace):
    """The options as parsed, with their types."""

    test_address: str
    server_address: str | None
    count: int
    slots: tuple[Slot, ...]
    padding: int | None
    timeout_s: float
    start_delay_s: float
    end_delay_s: float
    dscp: int
    ports: tuple[int, int]
    forward: bool
    backward: bool
    modes: str | None
    key_file: str | None
    identity: str | None
    source: str | None
    interface: str | None
    zero_addresses: bool
    ip4: bool
    ip6: bool
    percentiles: list[tuple[float, ...]]
    bucket_width_s: float
    unit: str
    part_packets: int
    packets: int | None
    """Lines of packets that are printed at most, 0 for all of them; None: none are."""
    machine: bool
    raw: bool
    quiet: bool
    unix: bool


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        """Print one line on standard error and exit as the originals do."""
        self.exit(EXIT_FAILED, f"{self.prog}: {one_line(message)} (see {self.prog} -h)\n")


def parse(program: str, arguments: list[str]) -> PerfsonarArguments:
    """The options and operands of `twping` or `owping`; ends the process with one line for what cannot be used."""
    parser = perfsonar_parser(program)
    parsed = parser.parse_args(_taken_apart(parser, arguments), PerfsonarArguments())
    if parsed.ip4 and parsed.ip6:
        parser.error("-4 and -6 go not together")
    if 0 < parsed.timeout_s < parsed.bucket_width_s:
        parser.error("-L is less than -b")
    if parsed.identity is None and parsed.modes is not None and "O" not in parsed.modes.upper():
        parser.error(f"-A {parsed.modes} needs a user: -u USER, with a passphrase from -k FILE or the terminal")
    if program == "owping" and parsed.modes is not None and "M" in parsed.modes.upper():
        parser.error("-A M: OWAMP has no mixed mode (RFC 5618 section 3.1)")
    return parsed


def _taken_apart(parser: _Parser, arguments: list[str]) -> list[str]:
    """Each option by itself, with the value that getopt would give it, then the operands."""
    options: list[str] = []
    operands: list[str] = []
    rest = iter(arguments)
    for argument in rest:
        if argument == "--":
            operands += rest
        elif argument.startswith("--"):
            if argument != "--help":
                parser.error(f"no option {argument}")
            options.append("-h")
        elif not argument.startswith("-") or argument == "-":
            operands.append(argument)
        else:
            options += _letters(parser, argument[1:], rest)
    return [*options, "--", *operands]


def _letters(parser: _Parser, letters: str, rest: Iterator[str]) -> list[str]:
    """The options of one argument; the value of the last may be the next of `rest`."""
    options: list[str] = []
    for position, letter in enumerate(letters):
        glued = letters[position + 1 :]
        if letter in _FLAGS[parser.prog]:
            options.append(f"-{letter}")
        elif letter == "v":
            return [*options, f"-v{glued or '0'}"]
        elif letter in _WITH_VALUE:
            value = glued or next(rest, None)
            if value is None:
                parser.error(f"-{letter} needs a value")
            return [*options, f"-{letter}{value}"]
        elif letter in _UNSUPPORTED and _ONLY.get(letter, parser.prog) == parser.prog:
            parser.error(f"-{letter} is not supported: {_UNSUPPORTED[letter]}")
        else:
            other = f": it is {_ONLY[letter]}'s" if letter in _ONLY else ""
            parser.error(f"no option -{letter}{other}")
    return options


def perfsonar_parser(program: str) -> _Parser:
    """All options of `twping` or `owping`."""
    parser = _Parser(
        prog=program,
        usage=f"{program} [OPTION]... TESTADDR [SERVADDR]",
        description=_DESCRIPTIONS[program],
        epilog=_EPILOG,
        formatter_class=HelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("test_address", metavar="TESTADDR", help="what to measure to")
    parser.add_argument("server_address", metavar="SERVADDR", nargs="?", help="its server, if that is another")
    _add_test_options(parser, program)
    _add_connection_options(parser, program)
    _add_output_options(parser)
    return parser


def _add_test_options(parser: _Parser, program: str) -> None:
    add = parser.add_argument_group("test").add_argument
    add("-c", dest="count", type=_value(_integer, 1, 2**32 - 1), default=100, metavar="N", help="packets (100)")
    add(
        "-i",
        dest="slots",
        type=_value(_schedule),
        default=(Slot("exponential", _NANOS // 10),),
        metavar="TIMES",
        help="seconds between packets, e or nothing after each for a mean, f for fixed, separated by commas (0.1e)",
    )
    add("-s", dest="padding", type=_value(_padding), metavar="N", help="octets of padding in each packet")
    add(
        "-L",
        dest="timeout_s",
        type=_value(_seconds),
        default=0.0,
        metavar="TIME",
        help="seconds after which a packet is lost (2 and a round trip)",
    )
    add(
        "-z",
        dest="start_delay_s",
        type=_value(_seconds),
        default=0.0,
        metavar="TIME",
        help="seconds to wait before the first packet (as few as the protocol needs)",
    )
    add(
        "-E",
        dest="end_delay_s",
        type=_value(_seconds),
        default=0.0,
        metavar="TIME",
        help="seconds to wait after the last packet's timeout before the session is stopped (0)",
    )
    add(
        "-D", dest="dscp", type=_value(_dscp), default=0, metavar="DSCP", help="code point of the packets: 46, EF, AF41"
    )
    add(
        "-P",
        dest="ports",
        type=_value(_ports),
        default=DEFAULT_PORTS,
        metavar="LOW-HIGH",
        help="UDP ports to use here, 0 for any (8760-9960)",
    )
    if program == "owping":
        add("-f", dest="backward", action="store_true", help="from TESTADDR only, unless -t is there too")
        add("-t", dest="forward", action="store_true", help="to TESTADDR only, unless -f is there too")
    else:
        parser.set_defaults(forward=False, backward=False)


def _add_connection_options(parser: _Parser, program: str) -> None:
    add = parser.add_argument_group("connection").add_argument
    mixed = ", Mixed" if program == "twping" else ""
    add(
        "-A",
        dest="modes",
        type=_value(_modes),
        metavar="LETTERS",
        help=f"modes to accept: Authenticated, Encrypted{mixed}, Open (O; with -u all of them), the strictest is taken",
    )
    add("-k", dest="key_file", metavar="FILE", help="passphrases, as pfstore writes them (mode 0600)")
    add("-u", dest="identity", metavar="USER", help="whose passphrase to use, from -k or the terminal")
    add("-S", dest="source", metavar="ADDR", help="address of ours, or interface, to use")
    add("-B", dest="interface", metavar="IFACE", help="interface to use")
    if program == "twping":
        add("-Z", dest="zero_addresses", action="store_true", help="name no address to the server, for NAT between")
    else:
        parser.set_defaults(zero_addresses=False)
    add("-4", dest="ip4", action="store_true", help="IPv4 only")
    add("-6", dest="ip6", action="store_true", help="IPv6 only")


def _add_output_options(parser: _Parser) -> None:
    add = parser.add_argument_group("output").add_argument
    add(
        "-a",
        dest="percentiles",
        type=_value(_percentiles),
        action="append",
        default=[],
        metavar="LIST",
        help="percentiles to report, separated by commas; repeatable",
    )
    add(
        "-b",
        dest="bucket_width_s",
        type=_value(_width),
        default=0.0001,
        metavar="WIDTH",
        help="seconds that a bucket of the histogram is wide, which all percentiles are multiples of (0.0001)",
    )
    add("-n", dest="unit", type=_value(_unit), default="m", metavar="UNIT", help="n, u, m or s: unit of times (m)")
    add(
        "-N",
        dest="part_packets",
        type=_value(_integer, 0, 2**32 - 1),
        default=0,
        metavar="N",
        help="report each N packets by themselves",
    )
    add(
        "-v",
        dest="packets",
        type=_value(_integer, 0, 2**32 - 1),
        metavar="[N]",
        help="a line for each packet, with N (glued: -v5) for the first N only",
    )
    add("-M", dest="machine", action="store_true", help="keys and values for programs")
    add("-R", dest="raw", action="store_true", help="a line of columns for each packet, for programs")
    add("-Q", dest="quiet", action="store_true", help="measure and print nothing")
    add("-U", dest="unix", action="store_true", help="Unix times beside packets and in -M")


def _value(convert: Callable[..., _Value], *arguments: int) -> Callable[[str], _Value]:
    """An argparse type that says what is wrong with a value in the words of `convert`."""

    def checked(text: str) -> _Value:
        try:
            return convert(text, *arguments)
        except ConfigError as error:
            raise argparse.ArgumentTypeError(error.reason) from None
        except ValueError as error:
            raise argparse.ArgumentTypeError(str(error)) from None

    return checked


def _integer(text: str, low: int, high: int) -> int:
    if not (text.isascii() and text.isdigit() and low <= int(text) <= high):
        raise ValueError(f"{text!r} is not a number from {low} to {high}")
    return int(text)


def _padding(text: str) -> int:
    return min(_integer(text, 0, 2**32 - 1), MAX_PADDING)


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not 0 <= seconds < 2**31:
        raise ValueError(f"{text!r} is not a number of seconds")
    return seconds


def _width(text: str) -> float:
    if not (seconds := _seconds(text)):
        raise ValueError(f"{text!r} is not more than 0")
    return seconds


def _schedule(text: str) -> tuple[Slot, ...]:
    kinds = {"f": "fixed", "e": "exponential"}
    slots = []
    for word in text.split(","):
        kind = kinds.get(word[-1:].lower())
        slots.append(Slot(kind or "exponential", round(_seconds(word[:-1] if kind else word) * _NANOS)))
    if not any(slot.interval_ns for slot in slots):
        raise ValueError(f"{text!r} takes no time")
    return tuple(slots)


def _dscp(text: str) -> int:
    name = text.strip()
    if name.lower() == "none":
        return 0
    octal = len(name) > 1 and name.startswith("0") and name.isascii() and name.isdigit()
    return parse_dscp(f"0o{name}" if octal else name)


def _ports(text: str) -> tuple[int, int]:
    low, dash, high = text.partition("-")
    ports = (_integer(low, 0, 65535), _integer(high if dash else low, 0, 65535))
    if ports[0] > ports[1] or (ports[0] == 0 and dash):
        raise ValueError(f"{text!r} is not a range of ports such as 8760-9960")
    return ports


def _modes(text: str) -> str:
    if not text or set(text.upper()) - set("AEMO"):
        raise ValueError(f"{text!r} is not made of the letters A, E, M and O")
    return text


def _percentiles(text: str) -> tuple[float, ...]:
    percentiles = tuple(_seconds(word) for word in text.split(","))
    if max(percentiles) > 100:
        raise ValueError(f"{text!r} has more than 100")
    return percentiles


def _unit(text: str) -> str:
    letter = text[:1].lower()
    if letter not in ("n", "u", "m", "s"):
        raise ValueError(f"{text!r} is none of n, u, m and s")
    return letter
