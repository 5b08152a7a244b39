"""`twoway export` of a real store: what was measured, in every format."""

from __future__ import annotations

import asyncio
import csv
import io
import json
from typing import TYPE_CHECKING

import duckdb
import pytest

from twoway import Reflector, measure
from twoway._native import IntervalSummary
from twoway.analysis.notices import Notice, State
from twoway.cli.main import main
from twoway.config.plan import StorePlan
from twoway.drivers.summaries import PackedSummaries
from twoway.store import Store

if TYPE_CHECKING:
    from pathlib import Path

KEY = ("core", "voice")


@pytest.fixture
def kept(tmp_path: Path) -> tuple[Path, IntervalSummary]:
    """A store that has one second of a real measurement, and an event."""
    path = tmp_path / "store.db"
    with Reflector(listen=["127.0.0.1:0"]) as reflector:
        host, port = reflector.local_addresses[0]
        summary = measure(f"{host}:{port}", count=20, interval_ns=1_000_000).summary
    assert isinstance(summary, IntervalSummary)

    async def fill() -> None:
        store = Store(StorePlan(path), PackedSummaries(), lambda _: None)
        await store.open()
        store.put_second(summary.start_ns // 10**9, [(KEY, summary.pack())])
        store.put_notice(Notice(summary.start_ns, "started", State.ONCE, "the daemon runs"))
        await store.close()

    asyncio.run(fill())
    return path, summary


def test_results_are_those_that_were_measured(
    kept: tuple[Path, IntervalSummary], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    path, summary = kept
    command = ["export", "--store", str(path), "--since", "1h", "--resolution", "1s", "core/voice"]
    assert main(command) == 0
    (row,) = csv.DictReader(io.StringIO(capsys.readouterr().out))
    assert (row["connection"], row["session"], row["sent"]) == ("core", "voice", "20")
    assert int(row["round_trip_p99_ns"]) == summary.distribution("round_trip").quantile(0.99)
    assert main([*command, "--format", "ndjson"]) == 0
    record = json.loads(capsys.readouterr().out)
    assert record["sent"] == 20
    assert main([*command, "--format", "parquet", "-o", str(tmp_path / "out.parquet")]) == 0
    found = duckdb.read_parquet(str(tmp_path / "out.parquet")).fetchall()
    assert len(found) == 1
    assert found[0][list(record).index("sent")] == 20


def test_events_are_exported(kept: tuple[Path, IntervalSummary], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["export", "--store", str(kept[0]), "--what", "events", "--format", "ndjson"]) == 0
    assert json.loads(capsys.readouterr().out)["message"] == "the daemon runs"


def test_what_is_not_there_is_one_line(
    kept: tuple[Path, IntervalSummary], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert main(["export", "--store", str(kept[0]), "core/video"]) == 2
    assert "has no test-session core/video" in capsys.readouterr().err
    assert main(["export", "--store", str(tmp_path / "none.db")]) == 2
    assert capsys.readouterr().err.count("\n") == 1
