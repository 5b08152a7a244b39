"""`twoway top`: all test-sessions as they are now, in the terminal; without one, the table once.

The daemon sorts, filters and cuts: a page is all that travels, however many test-sessions there are.
"""

from __future__ import annotations

import argparse
import os
import select
import sys
import termios
import time
import tty
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from twoway.analysis.views import GlanceView
from twoway.cli.api_client import Api, add_api_options, view
from twoway.cli.arguments import Parser, value_of
from twoway.config import units
from twoway.errors import ApiError, OutputError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from twoway.export.top_table import Page

_DESCRIPTION = """\
All test-sessions of the daemon as they are now: the last test of each, its alarms, and the
round-trip times of its latest probes. Where standard output is no terminal, the table once.

  s, S     sort by the next column, the one before     r        reverse the order
  /        filter by part of a name or target          Esc      no filter
  arrows, PgUp, PgDn, g, G                             page through
  q        quit
"""
_EPILOG = """\
Exit code: 0; 2 if the daemon cannot be asked.

examples:
  twoway top
  twoway top --sort loss --filter core- | head
"""
SORTS = ("name", "rtt", "max", "jitter", "loss", "alarms")
_RECENT = 24
_SNAPSHOT_ROWS = 1000
_UNBOUNDED = 100_000
"""Columns: rich wants a number."""


class _Arguments(argparse.Namespace):
    """The options as parsed, with their types."""

    sort: str
    reverse: bool
    filter: str | None
    interval_ns: int
    api: str | None
    token_file: str | None


def top_parser() -> Parser:
    parser = Parser("twoway top", "", _DESCRIPTION, _EPILOG)
    add = parser.add_argument_group("which").add_argument
    add("--sort", choices=SORTS, default="name", help="column to begin with (name); all but names begin at the worst")
    add("--reverse", action="store_true", help="the other way round")
    add("--filter", metavar="TEXT", help="only those with this in connection, session or target")
    add(
        "--interval",
        dest="interval_ns",
        type=value_of(units.parse_positive_duration_ns),
        default=1_000_000_000,
        metavar="TIME",
        help="time between two looks (1s)",
    )
    add_api_options(parser)
    return parser


@dataclass(frozen=True, slots=True)
class Look:
    """What is looked at: the state of the screen."""

    sort: str
    reverse: bool
    filter: str
    offset: int
    height: int
    """Rows that fit."""
    typing: str | None = None
    """A filter as it is typed."""

    def after(self, key: str, total: int) -> Look:
        """The state after a key, for so many rows in all."""
        if self.typing is not None:
            return self._typed(key)
        page, last = max(1, self.height), max(0, total - self.height)
        match key:
            case "s" | "S":
                step = 1 if key == "s" else -1
                return replace(self, sort=SORTS[(SORTS.index(self.sort) + step) % len(SORTS)], offset=0)
            case "r":
                return replace(self, reverse=not self.reverse, offset=0)
            case "/":
                return replace(self, typing=self.filter)
            case "escape":
                return replace(self, filter="", offset=0)
            case "up" | "down" | "pageup" | "pagedown" | "home" | "end":
                step = {"up": -1, "down": 1, "pageup": -page, "pagedown": page, "home": -total, "end": total}[key]
                return replace(self, offset=max(0, min(last, self.offset + step)))
        return self

    def _typed(self, key: str) -> Look:
        typed = self.typing or ""
        match key:
            case "enter":
                return replace(self, filter=typed, typing=None, offset=0)
            case "escape":
                return replace(self, typing=None)
            case "backspace":
                return replace(self, typing=typed[:-1])
        return replace(self, typing=(typed + key)[:100]) if len(key) == 1 and key.isprintable() else self

    def parameters(self) -> dict[str, object]:
        """What the daemon is asked."""
        worst_first = self.sort != "name"
        return {
            "sort": self.sort,
            "reverse": str(worst_first != self.reverse).lower(),
            "filter": self.filter or None,
            "offset": self.offset,
            "limit": max(1, min(1000, self.height)),
            "recent": _RECENT,
        }


_KEYS = {
    "\x1b[A": "up",
    "\x1b[B": "down",
    "\x1b[5~": "pageup",
    "\x1b[6~": "pagedown",
    "\x1b[H": "home",
    "\x1b[F": "end",
    "\x1b[1~": "home",
    "\x1b[4~": "end",
    "\x1b": "escape",
    "\r": "enter",
    "\n": "enter",
    "\x7f": "backspace",
    "\x08": "backspace",
    " ": "pagedown",
    "g": "home",
    "G": "end",
    "k": "up",
    "j": "down",
}


def codes_of(text: str) -> Iterator[str]:
    """What a terminal sent, which may be several keys at once, key by key."""
    while text:
        code = next((code for code in _KEYS if len(code) > 1 and text.startswith(code)), text[0])
        yield code
        text = text[len(code) :]


def key_of(code: str, *, typing: bool) -> str:
    """The name of a key; while a filter is typed, letters are letters."""
    return code if typing and code.isprintable() else _KEYS.get(code, code)


def run(arguments: list[str]) -> int:
    """The command. Returns its exit code."""
    options = top_parser().parse_args(arguments, _Arguments())
    api = Api.of(options.api, options.token_file)
    look = Look(options.sort, options.reverse, options.filter or "", 0, _SNAPSHOT_ROWS)
    try:
        from rich.console import Console
    except ImportError:
        raise OutputError("the table", "rich is not installed: `pip install 'twoway[daemon]'`") from None
    from twoway.export import top_table

    page = _ask(api, look)  # before anything is drawn: who cannot ask gets one line
    console = Console(highlight=False)
    if not (console.is_terminal and sys.stdin.isatty()):
        if console.is_terminal:
            console.print(top_table.table(page, look.sort, console.width))
        else:  # for programs, and for files: as wide as it is
            Console(highlight=False, width=_UNBOUNDED).print(top_table.table(page, look.sort, None))
        if page.total > len(page.rows):
            console.print(f"{page.total - len(page.rows)} more: narrow it with --filter")
        return 0
    return _live(console.height, api, look, options.interval_ns)


def _ask(api: Api, look: Look) -> Page:
    from twoway.export.top_table import Page, Row

    body = api.get("/v1/client/sessions", look.parameters())
    rows = [Row(view(GlanceView, row["glance"]), tuple(row["recent_rtt_ns"])) for row in body["rows"]]
    return Page(body["total"], body["failing"], body["alarms"], rows)


def _live(height: int, api: Api, look: Look, interval_ns: int) -> int:
    """The table until it is left; a daemon that goes meanwhile is said, and waited for."""
    from rich.console import Console
    from rich.live import Live

    from twoway.export import top_table

    console = Console(highlight=False)
    terminal = sys.stdin.fileno()
    before = termios.tcgetattr(terminal)
    look = replace(look, height=top_table.rows_that_fit(height))
    page, trouble = _ask(api, look), ""
    try:
        tty.setcbreak(terminal)
        with Live(console=console, screen=True, auto_refresh=False) as live:
            due_ns = time.monotonic_ns() + interval_ns
            while True:
                look = replace(look, height=top_table.rows_that_fit(console.height))
                live.update(top_table.screen(page, look.sort, console.width, look, trouble), refresh=True)
                text = _typed(terminal, due_ns - time.monotonic_ns())
                asked = look
                for code in codes_of(text):
                    key = key_of(code, typing=look.typing is not None)
                    if key == "q" and look.typing is None:
                        return 0
                    look = look.after(key, page.total)
                if time.monotonic_ns() < due_ns and look == asked:
                    continue
                try:
                    page, trouble = _ask(api, look), ""
                except ApiError as error:
                    trouble = str(error)
                due_ns = time.monotonic_ns() + interval_ns
    except KeyboardInterrupt:
        return 0
    finally:
        termios.tcsetattr(terminal, termios.TCSADRAIN, before)


def _typed(terminal: int, wait_ns: int) -> str:
    """What is typed until the next look is due."""
    ready, _, _ = select.select([terminal], [], [], max(0, wait_ns) / 1e9)
    if not ready:
        return ""
    octets = os.read(terminal, 1024)
    if not octets:
        raise KeyboardInterrupt  # nobody will type anything any more
    return octets.decode(errors="replace")
