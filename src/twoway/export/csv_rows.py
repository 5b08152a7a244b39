"""Per-packet results as CSV (RFC 4180): a header, then a row for each sample. Unknown is an empty cell.

Names of codes contain no comma, quote or line break, so no cell is ever quoted.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from twoway.analysis import samples

if TYPE_CHECKING:
    from collections.abc import Iterator

    from twoway.analysis.samples import Batch, Cell


def header(*, paths: bool = False) -> str:
    """The names of the columns; of several `paths`, which one comes first. No line end."""
    return ",".join([*(["path"] if paths else []), *(column.name for column in samples.COLUMNS)])


def rows(batch: Batch, path: str | None = None) -> Iterator[str]:
    """A line for each row of `batch`, of one of several paths by its name. No line end."""
    of = [] if path is None else [path]
    for row in samples.rows(batch):
        yield ",".join([*of, *map(_cell, row)])


def _cell(cell: Cell) -> str:
    if cell is None:
        return ""
    return "|".join(cell) if isinstance(cell, tuple) else str(cell)
