"""The table of `twoway top` at any width, and the screen around it."""

from __future__ import annotations

import io
import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from rich.console import Console

from twoway.export.top_table import COLUMNS, Page, Row, columns_for, rows_that_fit, screen, sparkline, table

from ..watched import FakeDaemon

if TYPE_CHECKING:
    from rich.console import RenderableType

GOLDEN = Path(__file__).parent / "top_golden"
LOSS = {("core-par", "bulk"): 0.2}
RECENT = (200_000, 210_000, None, 300_000, 205_000)


@dataclass(frozen=True)
class State:
    """Of a screen."""

    filter: str = ""
    offset: int = 0
    typing: str | None = None
    reverse: bool = False


def page(**changes: object) -> Page:
    """Four test-sessions, of which one fails."""
    daemon = FakeDaemon(loss=LOSS)
    rows = [Row(replace(daemon.glance(key), **changes), RECENT) for key in daemon.keys()]  # type: ignore[arg-type]  # fields  # noqa: SIM118  (a method of ours)
    return Page(4, 1, 1, rows)


def drawn(what: RenderableType, width: int) -> list[str]:
    """Lines as they are in a terminal without colours."""
    out = io.StringIO()
    Console(file=out, width=width, highlight=False, force_terminal=False).print(what)
    return [line.rstrip() for line in out.getvalue().splitlines()]


def heads(width: int | None) -> list[str]:
    return [column.head for column in columns_for(width, page().rows)]


@pytest.mark.parametrize("width", [None, 100, 80, 60])
def test_the_table_is_what_it_was(width: int | None) -> None:
    """Against files that a person looked at; `TWOWAY_GOLDEN=write pytest` writes them anew."""
    text = "".join(f"{line}\n" for line in drawn(table(page(), "loss", width), width or 200))
    path = GOLDEN / f"{width or 'whole'}.txt"
    if os.environ.get("TWOWAY_GOLDEN") == "write":
        path.parent.mkdir(exist_ok=True)
        path.write_text(text, encoding="utf-8")
    assert text == path.read_text(encoding="utf-8")


@pytest.mark.parametrize("width", range(20, 200, 3))
def test_every_width_has_the_columns_that_fit_and_no_line_that_does_not(width: int) -> None:
    shown = heads(width)
    assert [head for head in [column.head for column in COLUMNS] if head in shown] == shown  # in their order
    assert {"Connection", "Session", "Result", "RTT", "Loss"} <= set(shown)
    assert all(len(line) <= width for line in drawn(table(page(), "name", width), width))


def test_what_is_needed_least_goes_first() -> None:
    widths = [heads(width) for width in range(200, 40, -1)]
    gone = list(dict.fromkeys(head for shown in widths for head in heads(None) if head not in shown))
    assert gone == ["Tests", "Egress", "Ingress", "Latest", "Max", "Target", "Jitter", "Alarms"]


def test_a_long_name_is_cut_in_a_terminal_and_whole_elsewhere() -> None:
    name = "connection-" + "x" * 53
    wide = drawn(table(page(connection=name), "name", 200), 200)
    assert wide[2].split()[0] == name[:23] + "…"
    assert drawn(table(page(connection=name), "name", None), 1000)[2].split()[0] == name


def test_what_a_name_holds_is_no_markup_and_moves_no_cursor() -> None:
    lines = drawn(table(page(session="[bold]x[/]\x1b[2J"), "name", 200), 200)
    assert "[bold]x[/] [2J" in lines[2]


def test_what_is_not_known_yet_is_a_dash() -> None:
    unknown = {
        "rtt_mean_ns": None,
        "rtt_max_ns": None,
        "rtt_jitter_ns": None,
        "egress_mean_ns": None,
        "ingress_mean_ns": None,
        "loss_ratio": None,
        "verdict": "unknown",
    }
    assert drawn(table(page(**unknown), "name", 200), 200)[2].split()[3:10] == ["-"] * 7


def test_what_could_not_be_started_has_failed_though_no_test_says_so() -> None:
    lines = drawn(table(page(status="failed", verdict="unknown"), "name", 200), 200)
    assert "FAILED" in lines[2]


def test_the_screen_says_what_is_seen_and_which_keys_there_are() -> None:
    above, *rows, below = drawn(screen(page(), "loss", 120, State(offset=8, reverse=True, filter="core"), ""), 120)
    assert above == "4 test-sessions, 1 failing, 1 alarm"
    assert len(rows) == 6
    assert below == "9-12 of 4, with 'core', by loss, reversed   s sort  r reverse  / filter  arrows page  q quit"
    empty = Page(0, 0, 0, ())
    above, *_, below = drawn(screen(empty, "name", 120, State(), ""), 120)
    assert (above, below.split(",")[0]) == ("0 test-sessions, none failing, 0 alarms", "0-0 of 0")


def test_the_screen_says_what_is_typed_and_what_is_wrong() -> None:
    lines = drawn(screen(page(), "name", 120, State(typing="core-[x]"), "nobody is there"), 120)
    assert lines[0] == "nobody is there"
    assert lines[-1] == "filter: core-[x]_  (Enter: take it, Esc: leave it)"


@pytest.mark.parametrize("width", [20, 40, 79])
def test_the_screen_of_a_narrow_terminal_has_no_line_too_many(width: int) -> None:
    lines = drawn(screen(page(), "name", width, State(), "ask the daemon at /run/x: nobody is there: start it"), width)
    assert len(lines) == 1 + 2 + 4 + 1
    assert max(map(len, lines)) <= width


@pytest.mark.parametrize(("height", "rows"), [(24, 20), (5, 1), (1, 1), (60, 56)])
def test_rows_that_fit(height: int, rows: int) -> None:
    assert rows_that_fit(height) == rows


@pytest.mark.parametrize(
    ("values", "bars"),
    [
        ([], ""),
        ([5], "▁"),
        ([5, 5, 5], "▁▁▁"),
        ([0, 7], "▁█"),
        (list(range(8)), "▁▂▃▄▅▆▇█"),
        ([None, 3, None, -4], "x█x▁"),
        ([None, None], "xx"),
    ],
)
def test_sparklines(values: list[int | None], bars: str) -> None:
    assert sparkline(values).plain == bars
