"""Many test-sessions on one plane, against our Session-Reflector on loopback."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

import twoway
from twoway.config.measurement import Measurement
from twoway.errors import ConfigError, WireError

pytest.importorskip("twoway._native", reason="the extension module is not built")

from twoway import _native
from twoway.drivers.plane import resolve_target, session_spec
from twoway.drivers.session_plane import (
    News,
    OwnFault,
    PlaneSession,
    SessionPlane,
    collections,
    merge_packed,
    unpack_summary,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from twoway.session import SessionSpec

MS = 1_000_000
BOUND_S = 20


@pytest.fixture
def reflector() -> Iterator[twoway.Reflector]:
    with twoway.Reflector(listen=["127.0.0.1:0"], workers=1, stateful=True) as running:
        yield running


@pytest.fixture
def plane() -> Iterator[SessionPlane]:
    opened = SessionPlane()
    yield opened
    opened.close()


def spec(reflector: twoway.Reflector, count: int | None, *, ssid: int = 0) -> SessionSpec:
    target = f"127.0.0.1:{reflector.local_addresses[0][1]}"
    measurement = Measurement(target, count=count, interval_ns=MS, timeout_ns=200 * MS, ssid=ssid)
    return session_spec(measurement, resolve_target(measurement))


async def gathered(plane: SessionPlane, until: Callable[[], bool]) -> dict[int, News]:
    """Collect until that is so; what was told of each session."""
    told: dict[int, News] = {}
    done = asyncio.Event()

    def news() -> None:
        for session, why in plane.collect():
            told[session.number] = told.get(session.number, News(0)) | why
        if until():
            done.set()

    plane.watch(news)
    async with asyncio.timeout(BOUND_S):
        await done.wait()
    return told


def test_the_names_of_the_bits_are_the_packet_planes() -> None:
    catalogue = _native.catalogue()
    for bits, names in ((News, catalogue["news"]), (OwnFault, catalogue["own_faults"])):
        assert [(bit.name or "").lower() for bit in bits] == names
        assert [bit.value for bit in bits] == [1 << number for number in range(len(names))]


async def test_tests_come_from_many_sessions(reflector: twoway.Reflector, plane: SessionPlane) -> None:
    results = [collections(probe_count=4, moving_average_size=3, history_size=5) for _ in range(5)]
    sessions: list[PlaneSession] = []
    for number, into in enumerate(results):
        session = plane.open(spec(reflector, 10, ssid=number + 1), group=(4, 5 * MS), into=into)
        session.start()
        sessions.append(session)
    told = await gathered(plane, lambda: all(session.finished for session in sessions))
    # What ended after the last look.
    for late, why in plane.collect():
        told[late.number] = told.get(late.number, News(0)) | why
    for session, into in zip(sessions, results, strict=True):
        assert told[session.number] & (News.TESTS | News.FINISHED) == News.TESTS | News.FINISHED
        tests = into.take_finished()
        assert [(test.test, test.complete, test.counter("received")) for test in tests] == [
            (1, True, 4),
            (2, True, 4),
            (3, False, 2),
        ]
        everything = into.collection("all-tests")
        assert everything is not None
        assert everything.counters()["sent"] == everything.distribution("rtt").count == 10
        assert everything.distribution("rtt_jitter").count == 9
        assert into.history(None, None).sequence.tolist() == [5, 6, 7, 8, 9]
        assert into.history(None, 2).test.tolist() == [3, 3]
        average = into.collection("moving-average")
        assert average is not None
        assert average.counter("received") == 3
        again = collections(probe_count=4, moving_average_size=3, history_size=5)
        again.restore(into.pack())
        assert again.tests == into.tests == 3
        assert again.history(None, None).rtt_ns.tolist() == into.history(None, None).rtt_ns.tolist()


async def test_intervals_of_all_sessions_add_up(reflector: twoway.Reflector, plane: SessionPlane) -> None:
    sessions = [plane.open(spec(reflector, 20, ssid=number + 1)) for number in range(3)]
    waiting = plane.open(spec(reflector, 20))
    for session in sessions:
        session.start()
    taken = plane.take_intervals()
    await gathered(plane, lambda: all(session.finished for session in sessions))
    taken += plane.take_intervals()
    assert waiting.number not in {number for number, _, _ in taken}
    whole = dict(plane.summaries(sessions))
    for session in sessions:
        merged = merge_packed([octets for number, octets, _ in taken if number == session.number])
        assert merged.counter("sent") == merged.counter("received") == 20
        assert merged.distribution("round_trip").count == 20
        everything = unpack_summary(whole[session.number])
        assert everything.distribution("round_trip").buckets() == merged.distribution("round_trip").buckets()
    assert plane.take_intervals() == [], "what has ended has nothing to add"


async def test_late_departures_are_a_fault_of_this_host(reflector: twoway.Reflector, plane: SessionPlane) -> None:
    session = plane.open(spec(reflector, 5))
    session.start()
    await gathered(plane, lambda: session.finished)
    ((number, _, faults),) = plane.take_intervals([session], late_ns=-1)
    assert number == session.number
    assert OwnFault(faults) & OwnFault.LATE_DEPARTURES


async def test_a_lost_probe_is_news_only_where_somebody_watches(plane: SessionPlane) -> None:
    with twoway.Reflector(
        listen=["127.0.0.1:0"], workers=1, keys=[("k", None, b"x")], require_authentication=True
    ) as mute:
        indifferent = collections(probe_count=100, moving_average_size=0, history_size=0)
        watched = collections(probe_count=100, moving_average_size=0, history_size=0)
        watched.watch(rtt_ns=0, egress_ns=0, ingress_ns=0, loss_run=3, late_ns=10_000 * MS)
        sessions = [plane.open(spec(mute, 5, ssid=1 + at), into=into) for at, into in enumerate((indifferent, watched))]
        for session in sessions:
            session.start()
        told = await gathered(plane, lambda: all(session.finished for session in sessions))
        for late, why in plane.collect():
            told[late.number] = told.get(late.number, News(0)) | why
    assert not told[sessions[0].number] & News.PROBES
    assert told[sessions[1].number] & News.PROBES
    probes = watched.probes()
    assert (probes.decided, probes.loss_run, probes.longest_loss_run, probes.max_rtt_ns) == (5, 5, 5, None)


def test_what_no_session_can_have_is_refused(reflector: twoway.Reflector, plane: SessionPlane) -> None:
    for group, field in (((0, MS), "count"), ((1, 0), "pause_ns")):
        with pytest.raises(ConfigError, match=field):
            plane.open(spec(reflector, 1), group=group)
    with pytest.raises(ConfigError, match="history_size"):
        collections(probe_count=1, moving_average_size=0, history_size=2**40)
    with pytest.raises(WireError, match="version 9"):
        collections(probe_count=1, moving_average_size=0, history_size=1).restore(b"\x09")
    with pytest.raises(KeyError):
        collections(probe_count=1, moving_average_size=0, history_size=1).collection("some-tests")
