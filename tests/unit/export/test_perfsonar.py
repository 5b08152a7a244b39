"""perfSONAR's formats, against what its own programs print of the same packets.

`perfsonar_golden/NAME.json` has packet records and options, `NAME-KEY.txt` what owstats of perfSONAR owamp 5.2.3
printed of a session file with these records, at UTC. Their timestamps are such that its arithmetic, which loses the
last 11 bits of each, gives exact differences as ours does.
"""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest

from twoway.export.perfsonar import Style, report_lines
from twoway.export.perfsonar_records import OneWayRecord, RecordedSession, TwoWayRecord, stamp_of
from twoway.export.perfsonar_text import UNITS

GOLDEN = Path(__file__).parent / "perfsonar_golden"
CASES = sorted(path.stem for path in GOLDEN.glob("*.txt"))


def _session(meta: dict[str, Any]) -> RecordedSession:
    return RecordedSession(
        twoway=meta["twoway"],
        sid=bytes.fromhex(meta["sid"]),
        from_host="localhost",
        from_address="127.0.0.1",
        from_port=meta["from_port"],
        to_host="localhost",
        to_address="127.0.0.1",
        to_port=meta["to_port"],
        dscp=0,
        timeout=meta["timeout"],
        padding_octets=meta["padding"],
        packets=meta["packets"],
        packets_per_s=50.0,
        started=0,
        finished=True,
    )


def _twoway(row: list[int]) -> TwoWayRecord:
    number, local, far, sent, reached, ttl, reply, far_back, local_back, reflected, returned, back, scheduled = row
    return TwoWayRecord(
        number,
        stamp_of(sent, local),
        stamp_of(reached, far),
        ttl,
        reply,
        stamp_of(reflected, far_back),
        stamp_of(returned, local_back),
        back,
        scheduled,
    )


def _oneway(row: list[int]) -> OneWayRecord:
    number, send_error, receive_error, sent, received, ttl, scheduled = row
    return OneWayRecord(number, stamp_of(sent, send_error), stamp_of(received, receive_error), ttl, scheduled)


def _style(arguments: list[str]) -> Style:
    values = dict(zip(arguments, [*arguments, ""][1:], strict=True))
    return Style(
        machine="-M" in values,
        packets="-v" in values,
        unix="-U" in values,
        unit=UNITS[values.get("-n", "m")],
        percentiles=tuple(float(text) for text in values["-a"].split(",")) if "-a" in values else (),
        bucket_width_s=float(values.get("-b", "0.0001")),
        part_packets=int(values.get("-N", "0")),
    )


@pytest.fixture(autouse=True)
def _utc(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()


def _buckets_in_order(text: str) -> str:
    """The same with the rows of each histogram of delays in order: perfSONAR's come from a hash table."""
    pieces = text.split("<BUCKETS>\n")
    for index, piece in enumerate(pieces[1:], start=1):
        rows, end, rest = piece.partition("</BUCKETS>\n")
        in_order = sorted(rows.splitlines(keepends=True), key=lambda row: int(row.split()[0]))
        pieces[index] = "".join(in_order) + end + rest
    return "<BUCKETS>\n".join(pieces)


@pytest.mark.parametrize("case", CASES)
def test_prints_what_perfsonar_prints(case: str) -> None:
    name, _, key = case.rpartition("-")
    meta = json.loads((GOLDEN / f"{name}.json").read_text())
    records: list[TwoWayRecord] | list[OneWayRecord]
    records = [_twoway(row) for row in meta["rows"]] if meta["twoway"] else [_oneway(row) for row in meta["rows"]]
    printed = "".join(f"{line}\n" for line in report_lines(_session(meta), records, _style(meta["args"][key])))
    assert printed == _buckets_in_order((GOLDEN / f"{case}.txt").read_text())
