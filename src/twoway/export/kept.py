"""What the store kept, as flat rows: CSV, NDJSON and Parquet have the same columns.

A column is a metric's name, or a distribution's with a statistic and its unit, as in `round_trip_p99_ns`. What cannot
be known is empty (null).
"""

from __future__ import annotations

import csv
import json
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from twoway.analysis import samples
from twoway.analysis.metrics import METRICS, Kind, Unit
from twoway.analysis.reading import Spread, Unknown
from twoway.errors import OutputError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from typing import TextIO

    from twoway.analysis.metrics import Metric
    from twoway.analysis.result import Summary

Cell = int | float | str | bool | None
STATISTICS = ("min", "mean", "stddev", "p50", "p95", "p99", "p99.9", "max")


def _names(metric: Metric) -> list[str]:
    if metric.kind is Kind.DISTRIBUTION:
        return [f"{metric.name}_count", *(f"{metric.name}_{s.replace('.', '_')}_ns" for s in STATISTICS)]
    return [metric.name]


_FLAT = tuple(metric for metric in METRICS if metric.kind is not Kind.TALLY)
SUMMARY_COLUMNS = tuple(name for metric in _FLAT for name in _names(metric))
"""Of each summary: every metric but the tallies, which are no single value."""


PROBE_COLUMNS = ("number", *(column.name for column in samples.COLUMNS))
"""Of each probe: the number that the store gave it, and what a sample has."""


def probe_cells(number: int, cells: Sequence[samples.Cell]) -> list[Cell]:
    """The values of `PROBE_COLUMNS`; several names in one cell as `a|b`."""
    return [number, *("|".join(cell) if isinstance(cell, tuple) else cell for cell in cells)]


def summary_cells(summary: Summary) -> Iterator[Cell]:
    """The values of `SUMMARY_COLUMNS`."""
    for metric in _FLAT:
        value = metric.value(summary)
        if metric.kind is Kind.DISTRIBUTION:
            if isinstance(value, Spread):
                yield value.count
                yield from (value.statistic(name) for name in STATISTICS)
            else:
                yield 0
                yield from (None for _ in STATISTICS)
        elif isinstance(value, (int, float, str)):
            yield bool(value) if metric.unit is Unit.STATE else value
        elif isinstance(value, Unknown):
            yield None


def write_csv(columns: Sequence[str], rows: Iterable[Sequence[Cell]], out: TextIO) -> None:
    """RFC 4180, with a header."""
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows(rows)


def write_ndjson(columns: Sequence[str], rows: Iterable[Sequence[Cell]], out: TextIO) -> None:
    """An object on each line."""
    for row in rows:
        out.write(json.dumps(dict(zip(columns, row, strict=True)), allow_nan=False, separators=(",", ":")) + "\n")


def write_parquet(columns: Sequence[str], rows: Iterable[Sequence[Cell]], path: Path) -> None:
    """Through DuckDB. Raises `OutputError` if that is not installed, or cannot write."""
    try:
        import duckdb
    except ImportError:
        raise OutputError(str(path), "Parquet needs DuckDB: `pip install 'twoway[analytics]'`") from None
    with tempfile.TemporaryDirectory() as directory:
        plain = Path(directory) / "rows.csv"
        with plain.open("w", encoding="utf-8", newline="") as out:
            write_csv(columns, rows, out)
        try:
            duckdb.read_csv(str(plain), header=True, sample_size=-1).write_parquet(str(path))
        except duckdb.Error as error:
            raise OutputError(str(path), str(error).partition("\n")[0]) from error
