"""Pictures: valid, of both kinds, with losses in them, whatever there was to draw."""

import xml.etree.ElementTree as ET
from pathlib import Path

import numpy as np
import pytest
from matplotlib import image

from twoway.analysis.result import Result
from twoway.errors import OutputError
from twoway.export import plot

from ..measured import MS, START_NS, Rows, Span, clean, result, unanswered

LOST_RED = (0xC1, 0x12, 0x1F)


def measured(packets: int, lost: int, *, offset_ns: int = 0, outlier_ns: int = 0) -> tuple[Result, list[Rows]]:
    """A measurement every 10 ms of which the `lost` first packets of its second half got lost."""
    rows = []
    for sequence in range(packets):
        row = {"sequence": sequence, "status": 2, "t1_ns": START_NS + sequence * 10 * MS}
        if not packets // 2 <= sequence < packets // 2 + lost:
            forward, backward = 100_000 + 500 * (sequence % 17), 90_000 + 300 * (sequence % 11)
            forward += outlier_ns if sequence == 3 else 0
            row |= {"status": 0, "forward_ns": forward + offset_ns, "backward_ns": backward - offset_ns}
            row |= {"round_trip_ns": forward + backward}
        rows.append(row)
    names = ("round_trip", "forward", "backward")
    values = {name: [row[f"{name}_ns"] for row in rows if f"{name}_ns" in row] for name in names}
    facts = {} if offset_ns else {"one_way_error_bound_ns": 50_000}
    counters = {"sent": packets, "received": packets - lost, "lost_forward": lost}
    summary = Span(counters, values, facts, end_ns=START_NS + packets * 10 * MS)
    half = packets // 2
    return result(summary, interval_ns=10 * MS), [Rows(*rows[:half]), Rows(), Rows(*rows[half:])]


def reds(path: Path) -> int:
    """Pixels in the colour of losses, or nearly."""
    pixels = np.round(image.imread(path)[:, :, :3] * 255).astype(int)
    return int((np.abs(pixels - LOST_RED).max(axis=2) < 40).sum())


@pytest.mark.parametrize(
    ("packets", "lost", "offset_ns"),
    [(1, 0, 0), (1, 1, 0), (5, 1, -3_000_000), (300, 7, 0), (300, 100, -3_000_000), (9000, 40, 0)],
)
def test_losses_are_in_the_picture(tmp_path: Path, packets: int, lost: int, offset_ns: int) -> None:
    path = tmp_path / "picture.png"
    plot.save(*measured(packets, lost, offset_ns=offset_ns), path)
    assert path.read_bytes().startswith(b"\x89PNG\r\n\x1a\n")
    assert image.imread(path).shape[:2] == (960, 1500)
    assert (reds(path) > 20) == (lost > 0)


def test_a_svg_is_well_formed_and_the_same_each_time(tmp_path: Path) -> None:
    paths = [tmp_path / "one.svg", tmp_path / "two.SVG"]
    for path in paths:
        plot.save(*measured(50, 2, outlier_ns=900 * MS), path)
    assert paths[0].read_bytes() == paths[1].read_bytes()
    assert ET.parse(paths[0]).getroot().tag == "{http://www.w3.org/2000/svg}svg"  # noqa: S314  (our own file)


@pytest.mark.parametrize("summary", [clean(), unanswered(), Span()], ids=["clean", "unanswered", "nothing"])
def test_a_picture_needs_no_samples(tmp_path: Path, summary: Span) -> None:
    plot.save(result(summary), [], tmp_path / "empty.png")
    assert (tmp_path / "empty.png").stat().st_size > 10_000


def test_what_cannot_be_written_is_said_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match=r"ends in \.png or \.svg"):
        plot.save(result(clean()), [], tmp_path / "picture.gif")
    with pytest.raises(OutputError, match=r"nowhere/picture\.png: No such file or directory"):
        plot.save(result(clean()), [], tmp_path / "nowhere" / "picture.png")
