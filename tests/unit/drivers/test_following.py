"""Sessions on which somebody acts: what is notable is told at once, and what is not, not at all."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from twoway.analysis.metrics import BY_NAME
from twoway.analysis.metrics import METRICS as ALL
from twoway.config.planning_routes import METRICS, RATIO_METRICS
from twoway.daemon import tracked
from twoway.errors import ConfigError

pytest.importorskip("twoway._native", reason="the extension module is not built")

import twoway
from twoway import _native
from twoway.drivers.session_plane import News, SessionPlane, collections

from .serving import eventually
from .test_session_plane import MS, plane, reflector, spec

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from twoway.drivers.session_plane import Finding, PlaneSession, Window

__all__ = ["plane", "reflector"]
BOUND_S = 20
LATE_NS = 10_000_000_000
"""A busy machine is no matter here."""
UNKNOWN, GOOD, BAD = range(3)
LOSS: Window = (200 * MS, (("loss_ratio", 0.5, 0.5, False),))


class Alerts:
    """What was told, in order."""

    def __init__(self, plane: SessionPlane) -> None:
        self._plane = plane
        self._come = asyncio.Event()
        self.told: list[tuple[PlaneSession, News, list[list[Finding]]]] = []
        self.wakes = 0
        plane.watch_alerts(self._take)

    def _take(self) -> None:
        self.wakes += 1
        self.told += self._plane.take_alerts()
        self._come.set()

    async def until(self, state: int, window: int = 0) -> None:
        async with asyncio.timeout(BOUND_S):
            while not any(found and found[window][0][0] == state for _, _, found in self.told):
                self._come.clear()
                await self._come.wait()
        self.told.clear()


@pytest.fixture
async def alerts(plane: SessionPlane) -> AsyncIterator[Alerts]:
    yield Alerts(plane)
    plane.watch_alerts_no_more()


def test_names_and_codes_are_the_packet_planes() -> None:
    catalogue = _native.catalogue()
    used = {*METRICS.values(), *RATIO_METRICS.values()}
    assert used == set(catalogue["watch_metrics"])
    assert used <= set(BY_NAME)
    assert dict(zip(catalogue["watch_states"], tracked._STATES, strict=True)) == {  # noqa: SLF001
        "unknown": None,
        "good": True,
        "bad": False,
    }


def test_every_metric_that_a_test_of_the_daemon_can_have_can_decide() -> None:
    other = {metric.condition for metric in ALL if metric.name not in {*METRICS.values(), *RATIO_METRICS.values()}}
    subjects = {metric.condition for metric in ALL if metric.name in {*METRICS.values(), *RATIO_METRICS.values()}}
    undecided = {"location-changes", "further-loss"}
    our_own = {"send-lateness", "not-sent", "socket-drops"}
    assert other - subjects - {None} == undecided | our_own, "what does not say that a path is bad, and faults of ours"


async def test_a_limit_is_told_when_it_is_known_met_and_met_no_more(plane: SessionPlane, alerts: Alerts) -> None:
    with twoway.Reflector(listen=["127.0.0.1:0"], workers=1) as running:
        session = plane.open(spec(running, None), into=kept())
        session.follow([LOSS], late_ns=LATE_NS)
        session.start_at_monotonic(0)
        await alerts.until(GOOD)
        port = running.local_addresses[0][1]
    await alerts.until(BAD)
    assert session.findings()[0][0][0] == BAD
    with twoway.Reflector(listen=[f"127.0.0.1:{port}"], workers=1):
        await alerts.until(GOOD)
    session.abort()


async def test_nothing_is_told_while_nothing_changes(
    plane: SessionPlane, alerts: Alerts, reflector: twoway.Reflector
) -> None:
    session = plane.open(spec(reflector, None), into=kept())
    session.follow([LOSS], late_ns=LATE_NS)
    session.start_at_monotonic(0)
    await alerts.until(GOOD)
    wakes, sent = alerts.wakes, session.summary().counter("sent")
    await eventually(lambda: session.summary().counter("sent") >= sent + 300)
    assert alerts.wakes == wakes
    session.follow_no_more()
    assert session.findings() == []
    session.abort()


async def test_a_test_that_ends_is_told_at_once(
    plane: SessionPlane, alerts: Alerts, reflector: twoway.Reflector
) -> None:
    into = collections(probe_count=20, moving_average_size=0, history_size=10)
    session = plane.open(spec(reflector, 40), into=into)
    session.follow([], late_ns=LATE_NS)
    session.start_at_monotonic(0)
    finished = 0
    async with asyncio.timeout(BOUND_S):
        while finished < 2:
            await asyncio.sleep(0.005)
            if any(news & News.TESTS for _, news, _ in alerts.told):
                alerts.told.clear()
                finished += len(into.take_finished())
    last = into.collection("last-test")
    assert last is not None
    assert last.counter("sent") + last.counter("not_sent") == 20


async def test_another_session_goes_on_with_the_facts_of_the_one_before(
    plane: SessionPlane, alerts: Alerts, reflector: twoway.Reflector
) -> None:
    long: Window = (3600_000 * MS, LOSS[1])
    first = plane.open(spec(reflector, None), into=kept())
    first.follow([LOSS, long], late_ns=LATE_NS)
    first.start_at_monotonic(0)
    await alerts.until(GOOD)
    first.abort()
    second = plane.open(spec(reflector, None), into=kept())
    second.follow([long, LOSS], late_ns=LATE_NS, before=first)
    second.start_at_monotonic(0)
    await alerts.until(GOOD, window=1)
    assert second.findings()[0][0] == (UNKNOWN, None)
    plane.forget(first)
    third = plane.open(spec(reflector, None), into=kept())
    third.follow([LOSS], late_ns=LATE_NS, before=first)
    third.abort()
    second.abort()


async def test_other_limits_begin_anew_and_the_old_ones_are_never_taken_for_them(
    plane: SessionPlane, alerts: Alerts, reflector: twoway.Reflector
) -> None:
    session = plane.open(spec(reflector, None), into=kept())
    session.follow([LOSS], late_ns=LATE_NS)
    session.start_at_monotonic(0)
    await alerts.until(GOOD)
    session.follow([(100 * MS, (("round_trip", 1.0, 1.0, True),))], late_ns=LATE_NS)
    assert session.findings() == []
    await alerts.until(BAD)
    session.abort()


@pytest.mark.parametrize(
    "window",
    [(0, ()), (-5, ()), (10, (("colour", 1.0, 1.0, False),))],
)
def test_what_cannot_be_looked_out_for_is_refused(
    plane: SessionPlane, reflector: twoway.Reflector, window: Window
) -> None:
    session = plane.open(spec(reflector, 1), into=kept())
    with pytest.raises(ConfigError):
        session.follow([window], late_ns=LATE_NS)


def kept() -> _native.Collections:
    return collections(probe_count=0, moving_average_size=0, history_size=10)
