"""Which test-sessions a request is about, and the table of all of them: filtered, sorted, and cut to a page."""

from __future__ import annotations

import ipaddress
import math
from typing import TYPE_CHECKING

from twoway.analysis.notices import NOTICES, State
from twoway.api.answers import EventView, History, SessionRow, Sessions
from twoway.api.guard import Problem

if TYPE_CHECKING:
    from collections.abc import Callable, Container, Iterator, Sequence

    from twoway.analysis.notices import Notice
    from twoway.analysis.views import ControlView, GlanceView, ProbeView, ResultsView, RouteView, TestView, Watched
    from twoway.api.pace import Pace
    from twoway.api.queries import HistoryQuery, ResultsQuery, RoutesQuery, SessionsQuery
    from twoway.config.plan import SessionKey

_SHOWN_NAMES = 8
_COLUMNS: dict[str, Callable[[GlanceView], float | int | None]] = {
    "rtt": lambda view: view.rtt_mean_ns,
    "max": lambda view: view.rtt_max_ns,
    "jitter": lambda view: view.rtt_jitter_ns,
    "loss": lambda view: view.loss_ratio,
    "alarms": lambda view: len(view.alarms),
    "name": lambda _view: 0,
}


def keys_of(watched: Watched, connection: str | None, session: str | None) -> list[SessionKey]:
    """Those with these names. Raises `Problem` for a name that there is not."""
    keys = watched.keys()
    if connection is not None and not any(key[0] == connection for key in keys):
        raise unknown("control-connection", connection, [key[0] for key in keys])
    found = [key for key in keys if connection in (None, key[0]) and session in (None, key[1])]
    if session is not None and not found:
        raise unknown("test-session", session, [key[1] for key in keys if connection in (None, key[0])])
    return found


def connections(watched: Watched, name: str | None) -> Iterator[ControlView]:
    """The control connection of the client of this name, or all."""
    yield from (view for view in watched.client_connections() if name in (None, view.name))


def tests(watched: Watched, wanted: Container[SessionKey]) -> Iterator[TestView]:
    """The test-sessions of the client that are wanted."""
    yield from (view for view in watched.client_tests() if (view.connection, view.name) in wanted)


def connections_of(views: Sequence[ControlView], name: str | None) -> list[ControlView]:
    """The control connection of this name, or all. Raises `Problem`."""
    found = [view for view in views if name in (None, view.name)]
    if name is not None and not found:
        raise unknown("control-connection", name, [view.name for view in views])
    return found


def unknown(what: str, name: str, names: Sequence[str]) -> Problem:
    """There is none of this name; these are there."""
    known = list(dict.fromkeys(names))
    shown = ", ".join(known[:_SHOWN_NAMES]) + (f" and {len(known) - _SHOWN_NAMES} more" * (len(known) > _SHOWN_NAMES))
    return Problem(404, f"no {what} {name!r}: " + (f"there are {shown}" if known else "there is none at all"))


def selected(watched: Watched, query: ResultsQuery | HistoryQuery) -> Iterator[GlanceView | None]:
    """A glance at each test-session that a query is about; None for one that it is not about, or that has gone."""
    status = getattr(query, "status", None)
    for key in keys_of(watched, query.control_connection, query.test_session):
        try:
            view = watched.glance(key)
        except KeyError:
            yield None
            continue
        wanted = (
            query.source_address in (None, view.source)
            and query.target in (None, view.target)
            and (status is None or status.lower() == view.verdict)
        )
        yield view if wanted else None


def results(watched: Watched, query: ResultsQuery) -> Iterator[ResultsView | None]:
    """Results one by one, None in the place of what is left out."""
    for view in selected(watched, query):
        try:
            yield None if view is None else watched.results((view.connection, view.session))
        except KeyError:
            yield None


def routes(watched: Watched, query: RoutesQuery) -> Iterator[RouteView | None]:
    """Tracked routes one by one, None in the place of what is left out."""
    connection, session = query.control_connection, query.test_session
    for view in watched.routes():
        wanted = (
            query.routing_instance in (None, view.instance)
            and _leads_to(view, query.destination)
            and (connection is session is None or _decides(view, connection, session))
        )
        yield view if wanted else None


def _leads_to(view: RouteView, destination: str | None) -> bool:
    if destination is None or "/" in destination:
        return destination in (None, view.destination)
    return ipaddress.ip_address(destination) in ipaddress.ip_network(view.destination)


def _decides(view: RouteView, connection: str | None, session: str | None) -> bool:
    """Whether a test-session of these names decides about a next hop. No name has a slash."""
    tests = (test.partition("/") for hop in view.next_hops for test in hop.tests)
    return any(connection in (None, test[0]) and session in (None, test[2]) for test in tests)


def histories(watched: Watched, query: HistoryQuery, since_ns: int | None) -> Iterator[History | None]:
    """Histories one by one, None in the place of what is left out."""
    for view in selected(watched, query):
        if view is None:
            yield None
            continue
        try:
            probes = watched.history((view.connection, view.session), since_ns, query.limit)
        except KeyError:
            yield None
            continue
        yield History(view.connection, view.session, view.target, probes)


async def page(watched: Watched, query: SessionsQuery, pace: Pace) -> Sessions:
    """A page of the table of all test-sessions."""
    wanted = (query.filter or "").casefold()

    def glances() -> Iterator[GlanceView | None]:
        for key in watched.keys():  # noqa: SIM118  (a method of ours, no mapping's)
            try:
                view = watched.glance(key)
            except KeyError:
                continue
            text = f"{view.connection} {view.session} {view.target}".casefold()
            yield view if wanted in text else None

    views = [view async for batch in pace.batches(glances()) for view in batch if view is not None]
    views.sort(key=_order(query.sort, reverse=query.reverse), reverse=query.reverse)
    shown = (
        SessionRow(view, [probe.rtt_ns for probe in _recent(watched, view, query.recent)])
        for view in views[query.offset : query.offset + query.limit]
    )
    rows = [row async for batch in pace.batches(shown) for row in batch]
    return Sessions(
        total=len(views),
        failing=sum(view.verdict == "fail" or view.status == "failed" for view in views),
        alarms=sum(len(view.alarms) for view in views),
        rows=rows,
    )


def _recent(watched: Watched, view: GlanceView, count: int) -> Sequence[ProbeView]:
    try:
        return watched.history((view.connection, view.session), None, count) if count else ()
    except KeyError:
        return ()


def _order(column: str, *, reverse: bool) -> Callable[[GlanceView], tuple[float, str, str]]:
    """Names break ties; what is not known comes last, either way."""
    read = _COLUMNS[column]
    last = -math.inf if reverse else math.inf

    def key(view: GlanceView) -> tuple[float, str, str]:
        value = read(view)
        return (last if value is None else value, view.connection, view.session)

    return key


def event(notice: Notice) -> EventView:
    """A notice as it is answered."""
    severity = "notice" if notice.state is State.CLEARED or notice.name not in NOTICES else notice.severity.name.lower()
    return EventView(
        at_ns=notice.at_ns,
        name=notice.name,
        severity=severity,
        state=notice.state.value,
        message=notice.message,
        connection=notice.connection,
        session=notice.session,
        threshold_ns=notice.threshold_ns,
        value_ns=notice.value_ns,
        count=notice.count,
        route=notice.route,
        next_hops=notice.next_hops,
    )
