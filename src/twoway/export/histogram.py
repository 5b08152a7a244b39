"""A distribution drawn in the terminal.

The packet plane's buckets are far finer than a terminal has lines. They are merged into rows between round numbers:
equal steps where the values lie close together, 1-2-5 steps where they span more than a factor of ten.
"""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

from twoway.export.quantities import scale_for

if TYPE_CHECKING:
    from collections.abc import Iterator

    from twoway.analysis.result import Distribution

MAX_ROWS = 16
_MIN_WIDTH = 40
_MIN_BAR = 8
_BLOCKS = " ▏▎▍▌▋▊▉█"
_WIDE = 10
"""From this ratio of largest to smallest value on, rows grow with the value."""


def draw(distribution: Distribution, width: int, title: str = "round trip") -> str:
    """`distribution` as horizontal bars, no line longer than `width` where bars have room. No final newline."""
    low, high = distribution.min_ns, distribution.max_ns
    if low is None or high is None:
        return f"{title}: nothing to draw"
    edges = _edges(low, high)
    counts = _merged(distribution, edges)
    scale = scale_for(max(abs(low), abs(high)) if low < 0 else (distribution.quantile(0.5) or high))
    digits = next((d for d in range(scale.decimals + 1) if _exact(edges, scale.ns, d)), scale.decimals)
    labels = [f"{edge / scale.ns:.{digits}f}" for edge in edges]
    label_width = max(map(len, labels))
    count_width = max(len(str(count)) for count in counts)
    room = max(max(width, _MIN_WIDTH) - 2 * label_width - count_width - len(" -     100.0%"), _MIN_BAR)
    most = max(counts)
    lines = [f"{title} ({scale.unit}, n={distribution.count})"]
    for (start, end), count in zip(pairwise(labels), counts, strict=True):
        share = f"{100 * count / distribution.count:.1f}%"
        bar = _bar(count / most, room).ljust(room)
        lines.append(f"{start:>{label_width}} - {end:>{label_width}}  {bar} {count:>{count_width}} {share:>6}".rstrip())
    return "\n".join(lines)


def _exact(edges: list[int], unit_ns: int, digits: int) -> bool:
    """Whether that many decimals show every edge as it is."""
    step = unit_ns // 10**digits
    return step > 0 and all(edge % step == 0 for edge in edges)


def _bar(share: float, room: int) -> str:
    """A bar of eighths of a column; whatever is not nothing is seen."""
    eighths = round(share * room * 8)
    if share > 0:
        eighths = max(1, eighths)
    full, rest = divmod(eighths, 8)
    return _BLOCKS[8] * full + (_BLOCKS[rest] if rest else "")


def _edges(low: int, high: int) -> list[int]:
    """Round numbers from at most `low` to more than `high`, at least two and at most `MAX_ROWS` + 1."""
    if low > 0 and high >= _WIDE * low:
        for per_decade in ((10, 15, 20, 30, 50, 70), (10, 20, 50), (10, 30), (10,)):
            edges = list(_growing(low, high, per_decade))
            if len(edges) <= MAX_ROWS + 1:
                return edges
    finest = 10 ** max(0, len(str(max(abs(low), abs(high)))) - 3)
    step = next(step for step in _steps(finest) if high // step - low // step < MAX_ROWS)
    return [index * step for index in range(low // step, high // step + 2)]


def _steps(decade: int) -> Iterator[int]:
    """1, 2 and 5 times `decade`, then of the decades above."""
    while True:
        yield from (decade, 2 * decade, 5 * decade)
        decade *= 10


def _growing(low: int, high: int, per_decade: tuple[int, ...]) -> Iterator[int]:
    """Edges at these tenths of each power of ten, from the last one at or below `low` to the first one above `high`."""
    decade = 10 ** (len(str(low)) - 1)
    edges: list[int] = []
    while not edges or edges[-1] <= high:
        edges += [max(1, decade * tenths // 10) for tenths in per_decade]
        decade *= 10
    first = max(index for index, edge in enumerate(edges) if edge <= low)
    last = min(index for index, edge in enumerate(edges) if edge > high)
    return iter(dict.fromkeys(edges[first : last + 1]))


def _merged(distribution: Distribution, edges: list[int]) -> list[int]:
    """Values between each two edges; a bucket counts where its middle is."""
    counts = [0] * (len(edges) - 1)
    row = 0
    for lower, upper, count in distribution.buckets():
        middle = min(max((lower + upper) / 2, edges[0]), edges[-1] - 1)
        while middle >= edges[row + 1]:
            row += 1
        counts[row] += count
    return counts
