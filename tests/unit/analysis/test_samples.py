"""Rows of a batch as cells."""

from twoway.analysis.samples import BY_NAME, COLUMNS, rows

from ..measured import Rows


def test_a_cell_that_cannot_be_known_is_none() -> None:
    (row,) = rows(Rows({"sequence": 7, "status": 3}))
    known = {column.name: cell for column, cell in zip(COLUMNS, row, strict=True) if cell is not None}
    sources = {"t1_source": "none", "t3_source": "none", "t4_source": "none"}
    assert known == {"sequence": 7, "status": "lost_backward", "flags": (), **sources}


def test_codes_become_names() -> None:
    batch = Rows({"flags": 0b1000_0010, "t1_source": 2, "t4_source": 3})
    assert BY_NAME["flags"].cells(batch) == [("reordered", "far_timestamps_unusable")]
    assert BY_NAME["t1_source"].cells(batch) == ["kernel"]
    assert BY_NAME["t4_source"].cells(batch) == ["hardware"]


def test_a_code_of_a_newer_packet_plane_is_shown_as_its_number() -> None:
    assert BY_NAME["status"].cells(Rows({"status": 77})) == ["77"]


def test_the_largest_values_are_values() -> None:
    (row,) = rows(Rows({"sequence": 0xFFFFFFFF, "forward_ns": -1, "sender_ttl": 255}))
    cells = {column.name: cell for column, cell in zip(COLUMNS, row, strict=True)}
    assert (cells["sequence"], cells["forward_ns"], cells["sender_ttl"]) == (0xFFFFFFFF, -1, 255)
