"""The table of `twoway top`, for a terminal of any width: what does not fit goes, the least needed first."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from rich import box
from rich.console import Group
from rich.table import Table
from rich.text import Text

from twoway.export.quantities import duration, percent, plural

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from twoway.analysis.views import GlanceView

_BARS = "▁▂▃▄▅▆▇█"
_LOST = "x"
_FRAME = 4
"""Lines of the screen that are not rows: the state above, the head and its rule, the line below."""


class Shown(Protocol):
    """What the last line says of the screen's state."""

    @property
    def filter(self) -> str: ...
    @property
    def offset(self) -> int: ...
    @property
    def typing(self) -> str | None: ...
    @property
    def reverse(self) -> bool: ...


@dataclass(frozen=True, slots=True)
class Row:
    """One test-session."""

    glance: GlanceView
    recent_rtt_ns: tuple[int | None, ...]


@dataclass(frozen=True, slots=True)
class Page:
    """A part of all test-sessions."""

    total: int
    failing: int
    alarms: int
    rows: Sequence[Row]


@dataclass(frozen=True, slots=True)
class Column:
    """One column; `sort` is what it is sorted by, `width` what it takes at most."""

    head: str
    width: int
    cell: Callable[[Row], str | Text]
    sort: str = ""
    right: bool = True
    need: int = 0
    """Those with the greatest go first where the terminal is narrow."""


def rows_that_fit(height: int) -> int:
    """Rows of the table on a screen of so many lines."""
    return max(1, height - _FRAME)


def sparkline(values: Sequence[int | None]) -> Text:
    """A bar for each value, from the least to the greatest of them; an x for one that is lost."""
    known = [value for value in values if value is not None]
    low, high = min(known, default=0), max(known, default=0)
    text = Text()
    for value in values:
        if value is None:
            text.append(_LOST, "red")
        else:
            text.append(_BARS[(value - low) * (len(_BARS) - 1) // (high - low) if high > low else 0])
    return text


def _time(value_ns: float | None) -> str:
    return "-" if value_ns is None else duration(value_ns)


def _result(row: Row) -> Text:
    if row.glance.status == "failed":  # it could not be started: no test will say so
        return Text("FAILED", "bold red")
    verdict = row.glance.verdict
    style = {"pass": "green", "fail": "bold red"}.get(verdict, "dim")
    return Text({"unknown": "-"}.get(verdict, verdict.upper()), style)


def _loss(row: Row) -> Text:
    ratio = row.glance.loss_ratio
    return Text("-" if ratio is None else percent(ratio, 3), "red" if ratio else "")


COLUMNS = (
    Column("Connection", 24, lambda row: row.glance.connection, "name", right=False),
    Column("Session", 20, lambda row: row.glance.session, right=False),
    Column("Target", 24, lambda row: row.glance.target, right=False, need=3),
    Column("Result", 6, _result, right=False),
    Column("RTT", 10, lambda row: _time(row.glance.rtt_mean_ns), "rtt"),
    Column("Max", 10, lambda row: _time(row.glance.rtt_max_ns), "max", need=4),
    Column("Jitter", 10, lambda row: _time(row.glance.rtt_jitter_ns), "jitter", need=2),
    Column("Egress", 10, lambda row: _time(row.glance.egress_mean_ns), need=6),
    Column("Ingress", 10, lambda row: _time(row.glance.ingress_mean_ns), need=6),
    Column("Loss", 6, _loss, "loss"),
    Column("Tests", 6, lambda row: str(row.glance.tests_run), need=7),
    Column("Latest", 24, lambda row: sparkline(row.recent_rtt_ns), right=False, need=5),
    Column("Alarms", 24, lambda row: Text(", ".join(row.glance.alarms), "red"), "alarms", right=False, need=1),
)
_GAP = 2


def columns_for(width: int | None, rows: Sequence[Row]) -> list[Column]:
    """Those that fit, at what these rows need of their width; None: all of them."""
    kept = list(COLUMNS)
    if width is None:
        return kept

    def needed(column: Column) -> int:
        return max(len(column.head) + 1, min(column.width, max((len(column.cell(row)) for row in rows), default=0)))

    while len(kept) > 1 and sum(needed(column) + _GAP for column in kept) > width:
        least = max(kept, key=lambda column: column.need)
        if least.need == 0:
            break
        kept.remove(least)
    return kept


def table(page: Page, sort: str, width: int | None) -> Table:
    """The rows, under a head in which the column sorted by is marked. `width`: None to leave nothing out."""
    shown = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, _GAP, 0, 0), header_style="bold")
    columns = columns_for(width, page.rows)
    for column in columns:
        head = f"{column.head}▾" if column.sort == sort else column.head
        shown.add_column(
            head,
            justify="right" if column.right else "left",
            no_wrap=True,
            overflow="ellipsis",
            max_width=None if width is None else column.width,
        )
    for row in page.rows:
        # As text, so that a name with brackets is no markup.
        cells = (column.cell(row) for column in columns)
        shown.add_row(*(_printable(cell) if isinstance(cell, str) else cell for cell in cells))
    return shown


def _printable(text: str) -> Text:
    return Text("".join(c if c.isprintable() else " " for c in text))


def screen(page: Page, sort: str, width: int, state: Shown, trouble: str) -> Group:
    """The whole screen."""
    failing = f"{page.failing} failing" if page.failing else "none failing"
    above = Text(f"{plural(page.total, 'test-session')}, {failing}, {plural(page.alarms, 'alarm')}", "bold")
    if trouble:
        above = Text(trouble, "bold red")
    above.truncate(width, overflow="ellipsis")
    if state.typing is not None:
        below = Text(f"filter: {state.typing}_  (Enter: take it, Esc: leave it)")
    else:
        last = state.offset + len(page.rows)
        which = f"{min(state.offset + 1, last)}-{last} of {page.total}"
        filtered = f", with {state.filter!r}" if state.filter else ""
        order = ", reversed" if state.reverse else ""
        below = Text(f"{which}{filtered}, by {sort}{order}   s sort  r reverse  / filter  arrows page  q quit", "dim")
    below.truncate(width, overflow="ellipsis")
    return Group(above, table(page, sort, width), below)
