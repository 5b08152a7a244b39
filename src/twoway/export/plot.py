"""A picture of a measurement for a report: delay over time with losses marked, its distribution beside it.

Below it both directions, where there is something to say: one-way delay between clocks that can carry it, otherwise
each direction's delay above its smallest, which no clock offset disturbs. matplotlib and NumPy (the `plot` extra) are
loaded only here, and only when a picture is made; the Agg and SVG backends need no display.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from twoway.analysis.metrics import BY_NAME
from twoway.analysis.reading import Spread, Unknown
from twoway.analysis.samples import LOST, Status
from twoway.errors import OutputError
from twoway.export.quantities import NANOS, duration, endpoint, moment, percent, scale_for, setting
from twoway.export.text import PROTOCOLS

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    import numpy as np
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

    from twoway.analysis.result import Result
    from twoway.analysis.samples import Batch
    from twoway.export.quantities import Scale

SUFFIXES = (".png", ".svg")
_MAX_POINTS = 4_000
"""With more, a point each would be a smear and a huge file: time is cut into bins, and each drawn as a band."""
_BINS = 400
_FLAT = 8
"""A largest delay this many times the usual ones would flatten them."""
_MANY_LOSSES = 60
_LABEL_HEIGHT = 0.045
"""Of a label beside the distribution, as a share of the panel."""

_DELAY = "#1f5a93"
_FORWARD = "#2a7f62"
_BACKWARD = "#a8601c"
_LOST = "#c1121f"
_LATE = "#7b2d8b"
_GREY = "#555555"
_HEAD = 0.93
"""Share of the height below the title."""


@dataclass(frozen=True, slots=True)
class _Series:
    """The samples of a whole measurement. Times in seconds from its start, delays in ns, NaN where unknown."""

    sent_s: NDArray[np.float64]
    status: NDArray[np.uint8]
    round_trip: NDArray[np.float64]
    forward: NDArray[np.float64]
    backward: NDArray[np.float64]


def save(result: Result, batches: Iterable[Batch], path: str | Path) -> None:
    """Draw `result` with its samples into `path`, PNG or SVG by its suffix.

    Raises `OutputError` if the suffix is neither, matplotlib is not installed, or the file cannot be written.
    """
    suffix = Path(path).suffix.lower()
    if suffix not in SUFFIXES:
        raise OutputError(str(path), "a picture ends in .png or .svg")
    try:
        import matplotlib as mpl
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
        from matplotlib.layout_engine import ConstrainedLayoutEngine
    except ImportError:
        raise OutputError(str(path), "matplotlib is not installed: `pip install 'twoway[plot]'`") from None
    with mpl.rc_context(
        {
            "font.family": "DejaVu Sans",
            "font.size": 9.0,
            "axes.spines.top": False,
            "axes.spines.right": False,
            "axes.edgecolor": _GREY,
            "axes.titlesize": 9.5,
            "axes.titleweight": "bold",
            "axes.titlelocation": "left",
            "axes.grid": True,
            "grid.color": "#e3e3e3",
            "grid.linewidth": 0.6,
            "svg.hashsalt": "twoway",
        }
    ):
        layout = ConstrainedLayoutEngine(rect=(0.0, 0.0, 1.0, _HEAD))
        figure = Figure(figsize=(10.0, 6.4), dpi=150, layout=layout)
        FigureCanvasAgg(figure)
        _draw(figure, result, _series(result, batches))
        try:
            # Without the date, the same measurement gives the same file.
            figure.savefig(path, format=suffix[1:], metadata={"Date": None} if suffix == ".svg" else None)
        except OSError as error:
            raise OutputError(str(path), error.strerror or str(error)) from None


def _series(result: Result, batches: Iterable[Batch]) -> _Series:
    """All samples as arrays; a packet without T1 stands where the schedule had it."""
    import numpy as np

    def column(batch: Batch, name: str) -> NDArray[np.float64]:
        raw = np.asarray(memoryview(getattr(batch, name)))
        return np.where(raw == batch.MISSING, np.nan, raw.astype(np.float64))

    parts = [batch for batch in batches if len(batch)]
    empty = np.zeros(0)
    sent = [np.asarray(memoryview(batch.t1_ns)) for batch in parts]
    scheduled = [
        np.asarray(memoryview(batch.sequence)).astype(np.float64) * result.session.interval_ns for batch in parts
    ]
    seconds = [
        np.where(t1 == batch.MISSING, late, (t1 - result.started_ns).astype(np.float64)) / NANOS
        for batch, t1, late in zip(parts, sent, scheduled, strict=True)
    ]
    delays = {
        name: np.concatenate([empty, *(column(batch, f"{name}_ns") for batch in parts)])
        for name in ("round_trip", "forward", "backward")
    }
    status = [np.asarray(memoryview(batch.status)).astype(np.uint8) for batch in parts]
    return _Series(
        sent_s=np.concatenate([empty, *seconds]),
        status=np.concatenate([np.zeros(0, dtype=np.uint8), *status]),
        **delays,
    )


def _draw(figure: Figure, result: Result, series: _Series) -> None:
    import numpy as np

    received = series.status == Status.RECEIVED
    directions = _directions(result, series, received)
    rows = 2 if directions else 1
    heights = [1.7, 1.0] if directions else [1.0]
    axes = figure.subplots(rows, 2, width_ratios=[3.2, 1.0], height_ratios=heights, sharey="row", squeeze=False)
    late = series.status == Status.LATE
    lost = np.isin(series.status, [int(status) for status in LOST])

    over_time, beside = axes[0]
    values = series.round_trip[received]
    scale = _scale(values)
    _points(over_time, series.sent_s[received], values / scale.ns, _DELAY, "received")
    _limits(over_time, values / scale.ns)
    _losses(over_time, series.sent_s[lost])
    _late(over_time, series.sent_s[late])
    over_time.set_title("Round-trip delay")
    over_time.set_ylabel(f"delay ({scale.unit})")
    if lost.any() or late.any():
        over_time.legend(loc="upper right", frameon=True, framealpha=0.9, edgecolor="none", fontsize=8)
    _distribution(beside, result, values / scale.ns, scale)

    if directions:
        title, pairs = directions
        below, below_beside = axes[1]
        scale = _scale(np.concatenate([delays for _, delays, _ in pairs]))
        for name, delays, color in pairs:
            _points(below, series.sent_s[received], delays / scale.ns, color, name)
        _limits(below, np.concatenate([delays for _, delays, _ in pairs]) / scale.ns)
        below.set_title(title)
        below.set_ylabel(f"delay ({scale.unit})")
        below.legend(
            loc="upper right", frameon=True, framealpha=0.9, edgecolor="none", fontsize=8, ncols=2, markerscale=2
        )
        _bars(below_beside, [(delays / scale.ns, color) for _, delays, color in pairs])
        below_beside.set_xlabel("packets")
    else:
        beside.set_xlabel("packets")
    axes[-1][0].set_xlabel(f"seconds since {moment(result.started_ns)}")
    span = max((result.ended_ns - result.started_ns) / NANOS, float(np.nanmax(series.sent_s, initial=0.0)), 1e-3)
    for row in axes:
        row[0].set_xlim(-0.01 * span, 1.01 * span)
        row[1].tick_params(labelleft=False)
    _titles(figure, result)


def _titles(figure: Figure, result: Result) -> None:
    session, summary = result.session, result.summary
    target = endpoint(session.address, session.port)
    named = target if session.target in (session.address, target) else f"{session.target} ({target})"
    loss = BY_NAME["loss_ratio"].number(summary)
    facts = [
        f"{moment(result.started_ns)} to {moment(result.ended_ns)[11:]}",
        f"{summary.counter('sent')} packets of {session.payload_len} octets every {setting(session.interval_ns)}",
        *([] if isinstance(loss, Unknown) else [f"loss {percent(loss, 3)}"]),
        *_bound(result),
    ]
    figure.suptitle(
        f"{PROTOCOLS.get(session.protocol, session.protocol)} to {named}",
        x=0.012,
        ha="left",
        fontsize=13,
        fontweight="bold",
    )
    figure.text(0.012, 0.945, "   ·   ".join(facts), fontsize=8.5, color=_GREY, va="top")


def _bound(result: Result) -> list[str]:
    bound = BY_NAME["one_way_error_bound_ns"].number(result.summary)
    return [] if isinstance(bound, Unknown) else [f"one-way error ±{duration(bound)}"]


def _directions(
    result: Result, series: _Series, received: NDArray[np.bool_]
) -> tuple[str, list[tuple[str, NDArray[np.float64], str]]] | None:
    """Title and the two directions' delays, None where there is nothing known of them."""
    import numpy as np

    forward, backward = series.forward[received], series.backward[received]
    if np.isnan(forward).all() or np.isnan(backward).all():
        return None
    if isinstance(BY_NAME["forward"].spread(result.summary), Spread):
        return "One-way delay", [("forward", forward, _FORWARD), ("backward", backward, _BACKWARD)]
    title = "One-way delay above its smallest (offset between the clocks unknown)"
    return title, [
        ("forward", forward - np.nanmin(forward), _FORWARD),
        ("backward", backward - np.nanmin(backward), _BACKWARD),
    ]


def _scale(values: NDArray[np.float64]) -> Scale:
    import numpy as np

    known = np.abs(values[~np.isnan(values)])
    return scale_for(float(np.percentile(known, 90)) if known.size else 1e6)


def _points(axes: Axes, times: NDArray[np.float64], values: NDArray[np.float64], color: str, label: str) -> None:
    """A point for each packet; with too many, the median and the band from p1 to p99 of each bin of time."""
    import numpy as np

    known = ~np.isnan(values)
    times, values = times[known], values[known]
    if len(values) <= _MAX_POINTS:
        size = 22 if len(values) <= 100 else 9 if len(values) <= 500 else 4
        if values.size:
            axes.scatter(times, values, s=size, color=color, alpha=0.75, linewidths=0, label=label, zorder=3)
        return
    order = np.argsort(times, kind="stable")
    bins = [part for part in np.array_split(order, _BINS) if part.size]
    centres = np.array([times[part].mean() for part in bins])
    low, middle, high = (np.array([np.percentile(values[part], q) for part in bins]) for q in (1, 50, 99))
    axes.fill_between(centres, low, high, color=color, alpha=0.25, linewidth=0, zorder=2)
    axes.plot(centres, middle, color=color, linewidth=1.0, label=f"{label} (median, p1 to p99)", zorder=3)
    peaks = np.array([part[np.argmax(values[part])] for part in bins])
    axes.scatter(times[peaks], values[peaks], s=3, color=color, alpha=0.5, linewidths=0, zorder=3)


def _limits(axes: Axes, values: NDArray[np.float64]) -> None:
    """Scale the axis so that the usual delays can be told apart: from 0 where that costs little, logarithmic where the
    largest would flatten the others; where that cannot be (values of 0), cut off, and how many are beyond is said."""
    import numpy as np
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    known = values[~np.isnan(values)]
    if not known.size:
        axes.set_ylim(0.0, 1.0)
        return
    low, high, median = float(known.min()), float(known.max()), float(np.median(known))
    if low > 0 and high > _FLAT * median:
        axes.set_yscale("log")
        axes.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axes.yaxis.set_minor_formatter(NullFormatter())
        axes.set_ylim(low / 1.25, high * 1.25)
        return
    usual = 2 * float(np.percentile(known, 99))
    if low <= 0 and high > _FLAT * usual / 2 > 0:
        beyond = f"{int((known > usual).sum())} beyond, up to {high:.5g}"
        axes.annotate(beyond, (0.005, 0.97), xycoords="axes fraction", va="top", fontsize=7.5, bbox=_PAPER, zorder=6)
        high = usual
    margin = 0.06 * max(high - low, abs(high) * 0.02, 1e-9)
    axes.set_ylim(0.0 if 0 <= low < 0.6 * high else low - margin, high + margin)


_PAPER = {"facecolor": "white", "alpha": 0.75, "edgecolor": "none", "pad": 0.8}
"""Behind words that may stand on bars."""


def _losses(axes: Axes, times: NDArray[np.float64]) -> None:
    """A cross at the foot for each lost packet and a line above it; with many, short lines only."""
    if not times.size:
        return
    foot, label = axes.get_xaxis_transform(), f"lost ({times.size})"
    if times.size > _MANY_LOSSES:
        axes.vlines(times, 0.0, 0.045, transform=foot, color=_LOST, linewidth=1.0, label=label, zorder=5)
        return
    axes.vlines(times, 0.0, 1.0, transform=foot, color=_LOST, linewidth=0.7, alpha=0.35, zorder=1)
    axes.scatter(
        times,
        [0.015] * len(times),
        transform=foot,
        s=22,
        marker="x",
        color=_LOST,
        linewidths=1.2,
        label=label,
        clip_on=False,
        zorder=5,
    )


def _late(axes: Axes, times: NDArray[np.float64]) -> None:
    """A triangle at the top for each late packet: its delay is the timeout at least."""
    if not times.size:
        return
    axes.scatter(
        times,
        [0.975] * len(times),
        transform=axes.get_xaxis_transform(),
        s=26,
        marker="^",
        color=_LATE,
        label=f"late ({times.size})",
        clip_on=False,
        zorder=5,
    )


def _distribution(axes: Axes, result: Result, values: NDArray[np.float64], scale: Scale) -> None:
    _bars(axes, [(values, _DELAY)])
    axes.set_title("Distribution")
    spread = BY_NAME["round_trip"].spread(result.summary)
    if isinstance(spread, Unknown):
        return
    named: dict[int, list[str]] = {}
    for name in ("median", "p95", "p99", "max"):
        value_ns = spread.statistic(name)
        if value_ns is not None:
            named.setdefault(value_ns, []).append(name)
    place = axes.transData + axes.transAxes.inverted()
    taken: list[float] = []
    for value_ns, names in named.items():
        at = value_ns / scale.ns
        height = float(place.transform((1.0, at))[1])
        if not 0 <= height <= 1:
            continue
        axes.axhline(at, color=_GREY, linewidth=0.7, linestyle=(0, (4, 3)), zorder=4)
        if all(abs(height - other) > _LABEL_HEIGHT for other in taken):
            label, where = f"{', '.join(names)} {scale.show(value_ns)}", axes.get_yaxis_transform()
            axes.text(0.99, at, label, transform=where, ha="right", va="bottom", fontsize=7.5, bbox=_PAPER, zorder=6)
            taken.append(height)


def _bars(axes: Axes, groups: Sequence[tuple[NDArray[np.float64], str]]) -> None:
    """Horizontal histograms over the same bins."""
    import numpy as np
    from matplotlib.ticker import MaxNLocator

    low, high = axes.get_ylim()
    known = [values[~np.isnan(values)] for values, _ in groups]
    count = int(min(60, max(12, 2 * sum(map(len, known)) ** 0.5)))
    bins = (np.geomspace if axes.get_yscale() == "log" else np.linspace)(low, high, count + 1)
    for values, (_, color) in zip(known, groups, strict=True):
        alpha = 0.85 if len(groups) == 1 else 0.6
        axes.hist(values, bins=bins.tolist(), orientation="horizontal", color=color, alpha=alpha, zorder=3)
    axes.grid(visible=False, axis="x")
    axes.xaxis.set_major_locator(MaxNLocator(nbins=3, integer=True))
    axes.set_xlim(left=0, right=None if any(map(len, known)) else 1)
