"""Per-packet results as CSV (RFC 4180): a header, then a row for each sample. Unknown is an empty cell.

Names of codes contain no comma, quote or line break, so no cell is ever quoted.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from twoway.analysis import samples

if TYPE_CHECKING:
    from collections.abc import Iterator

    from twoway.analysis.samples import Batch, Cell


def header() -> str:
    """The names of the columns. No line end."""
    return ",".join(column.name for column in samples.COLUMNS)


def rows(batch: Batch) -> Iterator[str]:
    """A line for each row of `batch`. No line end."""
    for row in samples.rows(batch):
        yield ",".join(map(_cell, row))


def _cell(cell: Cell) -> str:
    if cell is None:
        return ""
    return "|".join(cell) if isinstance(cell, tuple) else str(cell)
