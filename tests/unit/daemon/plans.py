"""Plans for tests: light and managed sessions on loopback, with what a test wants different."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Unpack

from twoway.config.managed import ControlOptions, SessionRequest
from twoway.config.measurement import Measurement
from twoway.config.plan import (
    ApiPlan,
    ConnectionPlan,
    NoticePlan,
    Plan,
    SessionPlan,
    StorePlan,
    Thresholds,
)

if TYPE_CHECKING:
    from typing import TypedDict

    from twoway.config.reflection import Reflection
    from twoway.config.server import ServerOptions

    class SessionParts(TypedDict, total=False):
        """Parts of a `SessionPlan`."""

        probe_count: int
        test_interval_ns: int
        test_count: int
        history_size: int
        moving_average_size: int
        thresholds: Thresholds
        traps: frozenset[str]
        persistent: bool
        raw: bool


MS = 1_000_000


def light(
    name: str = "probe",
    connection: str = "near",
    *,
    target: str = "127.0.0.1:862",
    interval_ns: int = 20 * MS,
    timeout_ns: int = 200 * MS,
    netns: str | None = None,
    **parts: Unpack[SessionParts],
) -> SessionPlan:
    """A light session: tests of five probes, 20 ms apart, without a pause."""
    measurement = Measurement(target, interval_ns=interval_ns, timeout_ns=timeout_ns, netns=netns)
    return replace(_session(name, connection, target, measurement, None, interval_ns), **parts)


def managed(
    name: str = "probe",
    connection: str = "far",
    *,
    target: str = "127.0.0.1:862",
    interval_ns: int = 20 * MS,
    timeout_ns: int = 200 * MS,
    **parts: Unpack[SessionParts],
) -> SessionPlan:
    """A managed session like `light`'s."""
    request = SessionRequest(count=None, interval_ns=interval_ns, timeout_ns=timeout_ns)
    return replace(_session(name, connection, target, None, request, interval_ns), **parts)


def _session(
    name: str,
    connection: str,
    target: str,
    measurement: Measurement | None,
    request: SessionRequest | None,
    interval_ns: int,
) -> SessionPlan:
    return SessionPlan(
        connection=connection,
        name=name,
        light=measurement,
        managed=request,
        target=target,
        probe_count=5,
        test_interval_ns=interval_ns,
        test_count=0,
        history_size=50,
        moving_average_size=0,
        thresholds=Thresholds(own_faults=True),  # so that a busy machine does not decide what a test sees
        traps=frozenset(),
        persistent=False,
    )


def connection(
    *sessions: SessionPlan, traps: frozenset[str] = frozenset(), test_start: str = "auto", target: str = ""
) -> ConnectionPlan:
    """The connection of these sessions."""
    first = sessions[0]
    return ConnectionPlan(
        name=first.connection,
        target=target or ("" if first.managed is None else first.target),
        control=None if first.managed is None else ControlOptions(),
        test_start=test_start,
        test_interval_ns=first.test_interval_ns,
        traps=traps,
        sessions=sessions,
    )


def plan(
    *connections: ConnectionPlan,
    server: ServerOptions | None = None,
    reflections: tuple[Reflection, ...] = (),
    notices: NoticePlan | None = None,
) -> Plan:
    """A plan without a store."""
    return Plan(
        connections=connections,
        server=server,
        reflections=reflections,
        notices=notices or NoticePlan(),
        store=StorePlan(None),
        api=ApiPlan(Path("/nowhere/api.sock")),
    )
