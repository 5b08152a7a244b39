"""What the host does to its own measurements is seen, told and bounded in time."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING

from twoway.daemon.bulletin import Bulletin
from twoway.daemon.own_faults import CpuTimes, LoopLag, OwnFaults, Spans, cpu_times, resident_octets
from twoway.daemon.seams import NoStore, NoTeller

if TYPE_CHECKING:
    from pathlib import Path

    import pytest

SECOND = 1_000_000_000
HOUR = 3600 * SECOND


@dataclass
class MadeClocks:
    """Time that passes when a test says so."""

    wall: int = 1_800_000_000 * SECOND
    monotonic: int = 5 * SECOND

    def wall_ns(self) -> int:
        return self.wall

    def monotonic_ns(self) -> int:
        return self.monotonic

    def pass_(self, ns: int = SECOND, *, step_ns: int = 0) -> None:
        self.wall += ns + step_ns
        self.monotonic += ns


def watching(path: Path, *, stat: str = "cpu 10 0 10 80 0 0 0 0\n") -> tuple[OwnFaults, MadeClocks, Bulletin]:
    (path / "stat").write_text(stat)
    clocks, bulletin = MadeClocks(), Bulletin(NoStore(), NoTeller())
    return OwnFaults(bulletin, clocks, path / "stat"), clocks, bulletin


def test_a_quiet_second_pollutes_nothing(tmp_path: Path) -> None:
    faults, clocks, bulletin = watching(tmp_path)
    clocks.pass_()
    start_ns, end_ns = faults.look()
    assert (end_ns - start_ns, end_ns) == (SECOND, clocks.wall)
    assert not faults.host.overlap(0, 2 * clocks.wall)
    assert bulletin.counts == {}


def test_a_clock_that_is_set_pollutes_the_second_by_both_its_times(tmp_path: Path) -> None:
    for step_ns in (HOUR, -HOUR):
        faults, clocks, bulletin = watching(tmp_path)
        before = clocks.wall
        clocks.pass_(step_ns=step_ns)
        start_ns, end_ns = faults.look()
        assert (start_ns, end_ns) == (before + step_ns, before + step_ns + SECOND)
        assert faults.host.overlap(before, before + 1)
        assert faults.host.overlap(end_ns - 1, end_ns)
        # What lies between the two was not measured in this second.
        assert not faults.host.overlap(before + step_ns // 2, before + step_ns // 2 + 1)
        assert faults.counts == {"clock_steps": 1}
        (notice,) = bulletin.newest(None, 10)
        assert (
            notice.message
            == f"this host disturbs its measurements: the clock was stepped: by {step_ns / SECOND:+.3f} s"
        )


def test_stolen_time_is_a_share_of_all_processors(tmp_path: Path) -> None:
    faults, clocks, _ = watching(tmp_path)
    (tmp_path / "stat").write_text("cpu 60 0 10 110 0 0 0 20\ncpu0 1 2 3\n")
    clocks.pass_()
    faults.look()
    assert faults.steal_ratio == 0.2
    assert faults.counts == {"cpu_steal": 1}
    assert faults.host.overlap(clocks.wall - SECOND, clocks.wall)
    (tmp_path / "stat").write_text("cpu 150 0 10 110 0 0 0 21\n")
    clocks.pass_()
    faults.look()
    assert faults.counts == {"cpu_steal": 1}


def test_a_kernel_that_tells_nothing_of_stolen_time_is_believed() -> None:
    assert cpu_times("cpu 1 2 3 4 5 6 7 8 9 10\ncpu0 0\n") == CpuTimes(36, 8)
    assert cpu_times("cpu 1 2 3\n") is None
    assert cpu_times("") is None


def test_what_the_packet_plane_saw_is_counted_by_session_and_told_once_until_it_is_calm(tmp_path: Path) -> None:
    faults, clocks, bulletin = watching(tmp_path)
    faults.of_sessions({"socket_drops": 3})
    faults.of_sessions({"late_departures": 1})
    assert faults.counts == {"socket_drops": 3, "late_departures": 1}
    for _ in range(59):
        clocks.pass_()
        faults.look()
    assert bulletin.counts == {("own-fault", "raised"): 1}
    clocks.pass_()
    faults.look()
    assert bulletin.counts == {("own-fault", "raised"): 1, ("own-fault", "cleared"): 1}
    assert not faults.host.overlap(0, 2 * clocks.wall)


def test_adjoining_spans_are_one_and_the_oldest_are_forgotten() -> None:
    spans = Spans(most=2)
    spans.add(10, 20)
    spans.add(20, 30)
    spans.add(50, 60)
    assert spans.overlap(29, 30)
    assert not spans.overlap(31, 49)
    spans.add(80, 90)
    assert not spans.overlap(10, 30)
    assert spans.overlap(55, 56)


async def test_a_loop_that_is_held_up_is_late(tmp_path: Path) -> None:
    faults, clocks, _ = watching(tmp_path)
    lag = LoopLag()
    lag.start()
    loop = asyncio.get_running_loop()
    held_until = loop.time() + 0.3
    while loop.time() < held_until:  # this is the fault: nothing else runs meanwhile
        pass
    seen = 0
    while not seen:
        await asyncio.sleep(0)
        seen = lag.take()
    lag.stop()
    assert 100_000_000 <= seen < 60 * SECOND
    assert lag.last_minute_ns == seen
    del faults, clocks


def test_resident_memory_is_that_of_a_process() -> None:
    assert 1 << 20 < resident_octets() < 1 << 36


async def test_a_glance_sees_what_there_was_of_the_second_and_counts_nothing(tmp_path: Path) -> None:
    faults, clocks, bulletin = watching(tmp_path)
    began = clocks.wall
    clocks.pass_(SECOND // 2)
    assert faults.glance() == began
    assert not faults.host.overlap(began, clocks.wall)
    (tmp_path / "stat").write_text("cpu 60 0 10 110 0 0 0 20\n")
    assert faults.glance() == began
    assert faults.host.overlap(began, clocks.wall)
    assert (faults.counts, bulletin.counts) == ({}, {})
    clocks.pass_(SECOND // 2)
    faults.look()
    assert faults.counts == {"cpu_steal": 1}, "the whole of it is judged as ever"


async def test_a_glance_needs_some_ticks_to_speak_of_stolen_time(tmp_path: Path) -> None:
    faults, clocks, _ = watching(tmp_path)
    clocks.pass_(SECOND // 10)
    (tmp_path / "stat").write_text("cpu 10 0 10 80 0 0 0 1\n")
    faults.glance()
    assert not faults.host.overlap(0, 2 * clocks.wall)


async def test_a_glance_sees_a_step_and_a_loop_that_stands_still(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    faults, clocks, _ = watching(tmp_path)
    before = clocks.wall
    clocks.pass_(SECOND // 10, step_ns=-HOUR)
    assert faults.glance() == before - HOUR
    assert faults.host.overlap(before - HOUR, clocks.wall)
    assert faults.host.overlap(before, before + 1)
    faults, clocks, _ = watching(tmp_path)
    loop = asyncio.get_running_loop()
    faults.lag.start()
    at = loop.time()
    monkeypatch.setattr(loop, "time", lambda: at + 5.0)
    clocks.pass_(5 * SECOND)
    faults.glance()
    assert faults.host.overlap(clocks.wall - SECOND, clocks.wall), "the beat that is due has not run yet"
    faults.lag.stop()
    assert faults.lag.now(loop) == 0
