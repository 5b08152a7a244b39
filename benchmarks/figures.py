"""Quantiles, medians over runs, and Markdown tables."""

from __future__ import annotations

import math
import statistics
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence


def quantile(values: Iterable[float], q: float) -> float:
    """Smallest x with F(x) >= q (RFC 2330 section 11.3); NaN when empty."""
    ordered = sorted(values)
    if not ordered:
        return float("nan")
    rank = -int(-q * len(ordered) // 1)
    return ordered[min(len(ordered), max(1, rank)) - 1]


def median(values: Iterable[float]) -> float:
    known = [value for value in values if not math.isnan(value)]
    return statistics.median(known) if known else float("nan")


def median_rows(rows: Sequence[Sequence[float]]) -> list[float]:
    """Column by column over runs."""
    return [median(column) for column in zip(*rows, strict=True)]


def show(value: float | str | None) -> str:
    """Three significant digits, as a reader wants them; a dash for what is not known."""
    if value is None:
        return "-"
    if isinstance(value, str):
        return value
    if math.isnan(value):
        return "-"
    magnitude = abs(value)
    if magnitude >= 1000:
        return f"{value:,.0f}"
    if magnitude >= 100:
        return f"{value:.0f}"
    if magnitude >= 10:
        return f"{value:.1f}"
    return f"{value:.2f}"


@dataclass(slots=True)
class Table:
    """A titled Markdown table."""

    title: str
    columns: Sequence[str]
    rows: list[Sequence[float | str | None]] = field(default_factory=list)
    note: str = ""

    def add(self, *cells: float | str | None) -> None:
        self.rows.append(cells)

    def markdown(self) -> str:
        lines = [f"**{self.title}**", ""]
        lines.append("| " + " | ".join(self.columns) + " |")
        lines.append("|" + "---|" * len(self.columns))
        lines.extend("| " + " | ".join(show(cell) for cell in row) + " |" for row in self.rows)
        if self.note:
            lines += ["", self.note]
        return "\n".join(lines) + "\n"


@dataclass(slots=True)
class Findings:
    """What one benchmark found: how it was done, its tables, goals with verdicts, and what was left out by name."""

    name: str
    method: str
    tables: list[Table] = field(default_factory=list)
    goals: list[tuple[str, str, bool | None]] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)

    def goal(self, text: str, measured: str, *, met: bool | None) -> None:
        self.goals.append((text, measured, met))

    def markdown(self) -> str:
        parts = [self.method, ""]
        parts += [table.markdown() for table in self.tables]
        if self.goals:
            verdicts = Table("Goals", ("goal", "measured", "verdict"))
            for text, measured, met in self.goals:
                verdicts.add(text, measured, "not measured" if met is None else "met" if met else "**not met**")
            parts.append(verdicts.markdown())
        if self.skipped:
            parts.append("Left out: " + "; ".join(self.skipped) + ".\n")
        return "\n".join(parts)
