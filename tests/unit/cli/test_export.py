"""`twoway export` of a real store: what was measured, in every format."""

from __future__ import annotations

import asyncio
import csv
import io
import json
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

import duckdb
import pytest
from hypothesis import given
from hypothesis import strategies as st

from twoway import Reflector, measure
from twoway._native import IntervalSummary
from twoway.analysis.notices import Notice, State
from twoway.api.service import ManagementApi
from twoway.cli import export, export_api
from twoway.cli.main import main
from twoway.config.plan import ApiPlan, StorePlan
from twoway.daemon.kept import DaemonStore
from twoway.drivers.summaries import PackedSummaries
from twoway.store import Store

from ..api.asking import served
from ..store.counted import batch
from ..watched import FakeDaemon

if TYPE_CHECKING:
    from collections.abc import Iterator
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


@contextmanager
def daemon_of(path: Path, folder: Path) -> Iterator[Path]:
    """The socket of a management API that has the store."""
    store = Store(StorePlan(path), PackedSummaries(), lambda _: None)
    plan = ApiPlan(folder / "api.sock")
    with served(plan, lambda plan: ManagementApi(plan, FakeDaemon(), DaemonStore(store), dict)) as api:
        api.run(store.open())
        try:
            yield plan.socket
        finally:
            api.run(store.close())


@pytest.mark.parametrize("form", ["csv", "ndjson"])
@pytest.mark.parametrize("what", [["--resolution", "1s"], ["--resolution", "1h", "core"], ["--what", "events"]])
def test_a_daemon_gives_what_its_file_gives(
    kept: tuple[Path, IntervalSummary], capsys: pytest.CaptureFixture[str], tmp_path: Path, form: str, what: list[str]
) -> None:
    command = ["export", "--since", "1h", "--format", form, *what]
    assert main([*command, "--store", str(kept[0])]) == 0
    of_the_file = capsys.readouterr().out
    with daemon_of(kept[0], tmp_path) as socket:
        assert main([*command, "--api", str(socket)]) == 0
    assert capsys.readouterr().out == of_the_file
    assert of_the_file.count("\n") == (2 if form == "csv" else 1)


@pytest.mark.parametrize("size", [1, 3, 5000])
def test_single_probes_are_exported_each_once_from_the_daemon_and_from_its_file(
    kept: tuple[Path, IntervalSummary],
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    size: int,
) -> None:
    async def fill() -> None:
        store = Store(StorePlan(kept[0]), PackedSummaries(), lambda _: None)
        await store.open()
        now_ns = time.time_ns()
        for second in range(5):
            at_ns = now_ns - (10 - second) * 10**9
            store.put_history([(KEY, batch(*((at_ns + probe, 0, 10 * second + probe) for probe in range(10))))], 0)
        store.put_history([(KEY, batch((now_ns - 2 * 3600 * 10**9, 0, 99)))], 0)  # too long ago
        await store.close()

    asyncio.run(fill())
    for module, name in ((export, "PROBES"), (export_api, "PROBES")):
        monkeypatch.setattr(module, name, size)
    for what in (["--what", "history"], ["--resolution", "raw"]):
        command = ["export", "--since", "1h", *what, "core/voice"]
        assert main([*command, "--store", str(kept[0])]) == 0
        of_the_file = capsys.readouterr().out
        with daemon_of(kept[0], tmp_path) as socket:
            assert main([*command, "--api", str(socket)]) == 0
        assert capsys.readouterr().out == of_the_file
        found = list(csv.DictReader(io.StringIO(of_the_file)))
        assert [int(row["number"]) for row in found] == list(range(50))
        assert [int(row["round_trip_ns"]) for row in found] == list(range(50))
        assert found[0]["status"] == "received"


def test_what_a_daemon_does_not_have_is_one_line(
    kept: tuple[Path, IntervalSummary], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    with daemon_of(kept[0], tmp_path) as socket:
        assert main(["export", "--api", str(socket), "core/video"]) == 2
        assert "has no test-session core/video" in capsys.readouterr().err
    assert main(["export", "--api", str(socket)]) == 2
    assert "nobody is there" in capsys.readouterr().err
    assert main(["export", "--api", str(socket), "--store", str(kept[0])]) == 2
    assert "comes from one of them" in capsys.readouterr().err


class Paged:
    """An API whose notices come in pages; several are of one moment."""

    where = "there"

    def __init__(self, moments: list[int]) -> None:
        self._events = [
            {
                "number": n,
                "at_ns": at,
                "name": str(n),
                "state": None,
                "connection": None,
                "session": None,
                "message": "",
            }
            for n, at in enumerate(moments)
        ]
        self.questions = 0

    def get(self, _path: str, asked: dict[str, int]) -> dict[str, object]:
        self.questions += 1
        found = [e for e in self._events if asked["since"] <= int(str(e["at_ns"])) < asked["until"]]
        return {"events": found[-asked["limit"] :]}


@given(st.lists(st.integers(0, 30), max_size=40).map(sorted), st.integers(1, 12))
def test_pages_of_notices_are_joined_without_loss_or_repetition(moments: list[int], size: int) -> None:
    size = max([size, *(moments.count(at) + 1 for at in moments)])  # a moment fits on a page
    api = Paged(moments)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(export_api, "_EVENTS", size)
        rows = list(export_api.KeptByDaemon(api).events(0, 31))  # type: ignore[arg-type]  # what it needs of one
    assert [row[1] for row in rows] == [str(number) for number in range(len(moments))]
    assert api.questions <= len(moments) + 2


def test_what_is_not_there_is_one_line(
    kept: tuple[Path, IntervalSummary], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert main(["export", "--store", str(kept[0]), "core/video"]) == 2
    assert "has no test-session core/video" in capsys.readouterr().err
    assert main(["export", "--store", str(tmp_path / "none.db")]) == 2
    assert capsys.readouterr().err.count("\n") == 1
