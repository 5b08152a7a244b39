"""CSV."""

import csv

from twoway.analysis.samples import COLUMNS
from twoway.export import csv_rows

from ..measured import Rows


def test_a_csv_reader_gets_the_samples_back() -> None:
    batch = Rows({"sequence": 3, "forward_ns": -7, "flags": 3, "t4_source": 2}, {"sequence": 4, "status": 2})
    rows = list(csv.DictReader([csv_rows.header(), *csv_rows.rows(batch)], strict=True))
    assert list(rows[0]) == [column.name for column in COLUMNS]
    assert {name: cell for name, cell in rows[0].items() if cell} == {
        "sequence": "3",
        "status": "received",
        "flags": "clock_step|reordered",
        "forward_ns": "-7",
        "t1_source": "none",
        "t3_source": "none",
        "t4_source": "kernel",
    }
    assert (rows[1]["status"], rows[1]["forward_ns"], rows[1]["flags"]) == ("lost_forward", "", "")
