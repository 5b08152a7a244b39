"""The management API's requests: each reads views of the daemon, or asks it to do something.

Answers are made of `analysis.views` as they are, by pydantic's serializers, and their schemas stand in the OpenAPI
document. Lists that may be long leave in turns (`api.pace`); an error is one line (`api.guard`).
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Any, Literal, Protocol, TypeVar

from fastapi import Body, FastAPI, Query, Request
from fastapi.exceptions import RequestValidationError
from pydantic import TypeAdapter
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.responses import JSONResponse, Response, StreamingResponse

from twoway.analysis.notices import NOTICES
from twoway.analysis.views import ControlView, HealthView, RequestView, ResultsView, RouteView, TestView
from twoway.api import answers, selection
from twoway.api.guard import PROBLEM, Problem, failure, problem_document
from twoway.api.openapi import API_VERSION, describe
from twoway.api.pace import Pace
from twoway.api.queries import (
    MAX_STEPS,
    RESOLUTIONS_S,
    ClearBody,
    ConnectionQuery,
    EventsQuery,
    HistoryQuery,
    HoldBody,
    KeptEventsQuery,
    ProbesQuery,
    ReleaseBody,
    ResultsQuery,
    RoutesQuery,
    SeriesQuery,
    SessionQuery,
    SessionsQuery,
    StartBody,
    StopBody,
    WindowQuery,
    time_ns,
)
from twoway.errors import StoreError, one_line
from twoway.export import json_result
from twoway.export.kept import PROBE_COLUMNS, SUMMARY_COLUMNS, probe_cells, summary_cells
from twoway.export.prometheus import Exposition, expose, negotiate

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Mapping, Sequence

    from starlette.types import Receive, Scope, Send

    from twoway.analysis import samples
    from twoway.analysis.result import Summary
    from twoway.analysis.views import Watched
    from twoway.config.plan import SessionKey
    from twoway.export.kept import Cell

ACTION_S = 50.0
"""How long an action may take until it is said to be still under way; below `connection.DEADLINE_S`."""
_SCRAPES = 2
"""Scrapes at a time, of those who may ask everything, and of those who may do nothing else."""
_REFUSED = {
    400: "The request is not as it should be.",
    401: "Over TCP: the token is missing or wrong.",
    404: "There is nothing of this name.",
    409: "It cannot be done as things are.",
    413: "The body is too large.",
    431: "Target and headers are too large.",
    500: "A fault of the daemon.",
    503: "It cannot be answered now.",
    504: "It is still under way.",
}
_Answer = TypeVar("_Answer")
_CAPABILITIES_S = 60.0
"""How long what was found out about this machine stays true."""


class Step(Protocol):
    """One step of a series."""

    @property
    def start_ns(self) -> int: ...
    @property
    def end_ns(self) -> int: ...
    @property
    def summary(self) -> Summary: ...


class Page(Protocol):
    """Some single probes: `store.reader.Page`."""

    @property
    def rows(self) -> Sequence[tuple[int, tuple[samples.Cell, ...]]]: ...
    @property
    def next(self) -> int: ...
    @property
    def more(self) -> bool: ...


class Kept(Protocol):
    """What the store has. Everything raises `StoreError`."""

    async def summary(self, key: SessionKey, start_ns: int, end_ns: int, /) -> Summary | None:
        """Merged; None where it has nothing of that window."""

    async def series(self, key: SessionKey, start_ns: int, end_ns: int, step_ns: int, /) -> Sequence[Step]: ...
    async def keys(self) -> Sequence[SessionKey]: ...
    async def page(self, key: SessionKey, first: int, since_ns: int, until_ns: int, limit: int, /) -> Page: ...
    async def events(self, since_ns: int, until_ns: int, limit: int, /) -> Sequence[answers.KeptEvent]: ...


class Asked:
    """What requests are answered from."""

    def __init__(
        self,
        watched: Watched,
        counters: Counter[str],
        kept: Kept | None,
        capabilities: Callable[[], Mapping[str, tuple[bool, str]]],
    ) -> None:
        self.watched = watched
        self.counters = counters
        self.kept = kept
        self._capabilities = capabilities
        self._found: tuple[float, Mapping[str, tuple[bool, str]]] | None = None
        self._finding = asyncio.Lock()
        self.pace = Pace()

    def health(self) -> HealthView:
        """The daemon's, with what the API counts."""
        return replace(self.watched.health(), api=dict(self.counters))

    async def capabilities(self) -> Mapping[str, tuple[bool, str]]:
        """Tried at most once a minute, in a thread: trying sends packets and waits for them."""
        async with self._finding:
            if self._found is None or time.monotonic() - self._found[0] > _CAPABILITIES_S:
                found = await asyncio.to_thread(self._capabilities)
                self._found = (time.monotonic(), found)
            return self._found[1]


def _answering(answer: type[Any], *statuses: int) -> dict[str, Any]:
    """How a request's answers stand in the OpenAPI document."""
    return {"response_model": answer, "response_class": JSONResponse, "responses": _refusals(400, *statuses)}


def _refusals(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """These, and those that any request may get: no token, too large a head, a fault of ours."""
    problem = {"schema": {"$ref": "#/components/schemas/ProblemView"}}
    return {code: {"description": _REFUSED[code], "content": {PROBLEM: problem}} for code in (401, 431, 500, *statuses)}


def metrics_application(asked: Asked) -> FastAPI:
    """GET /metrics alone."""
    app = FastAPI(title="twoway metrics", openapi_url=None, docs_url=None, redoc_url=None, redirect_slashes=False)
    _add_metrics(app, asked)
    _add_problems(app)
    return app


def application(asked: Asked) -> FastAPI:
    """All of it."""
    app = FastAPI(
        title="twoway",
        version=API_VERSION,
        summary="The management API of the twoway daemon.",
        description="Wall times are ns since the epoch, delays ns; what cannot be known is null.",
        openapi_url="/v1/openapi.json",
        generate_unique_id_function=lambda route: route.name,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,  # it would lead to wherever the Host header says
    )
    _add_client(app, asked)
    _add_server(app, asked)
    _add_daemon(app, asked)
    _add_store(app, asked)
    _add_actions(app, asked.watched)
    _add_metrics(app, asked)
    _add_problems(app)
    describe(app)
    return app


def _json(value: object) -> Response:
    return Response(_adapter(type(value)).dump_json(value), media_type="application/json")


_ADAPTERS: dict[type[object], TypeAdapter[object]] = {}


def _adapter(kind: type[object]) -> TypeAdapter[object]:
    """The serializer of a type, made once."""
    if kind not in _ADAPTERS:
        _ADAPTERS[kind] = TypeAdapter(kind)
    return _ADAPTERS[kind]


def _list(pace: Pace, name: str, kind: type[object], items: Iterable[object | None]) -> Response:
    """`{"NAME": [...]}`, item by item as they are made; None is left out."""

    def pieces() -> Iterator[bytes]:
        dump = _adapter(kind).dump_json
        comma = b""
        yield f'{{"{name}":['.encode()
        for item in items:
            if item is None:
                yield b""
                continue
            yield comma + dump(item)
            comma = b","
        yield b"]}"

    return StreamingResponse(pace.chunks(pieces()), media_type="application/json")


def _add_client(app: FastAPI, asked: Asked) -> None:
    watched, pace = asked.watched, asked.pace

    @app.get("/v1/client/control-info", tags=["client"], **_answering(answers.ControlInfo, 404))
    async def client_control_info(query: Annotated[ConnectionQuery, Query()]) -> Response:
        """Control connections of the client and how they are."""
        selection.keys_of(watched, query.control_connection, None)
        return _list(pace, "connections", ControlView, selection.connections(watched, query.control_connection))

    @app.get("/v1/client/test-info", tags=["client"], **_answering(answers.TestInfo, 404))
    async def client_test_info(query: Annotated[SessionQuery, Query()]) -> Response:
        """Test-sessions of the client and how they are."""
        wanted = set(selection.keys_of(watched, query.control_connection, query.test_session))
        return _list(pace, "sessions", TestView, selection.tests(watched, wanted))

    @app.get("/v1/client/probe-results", tags=["client"], **_answering(answers.ProbeResults, 404))
    async def client_probe_results(query: Annotated[ResultsQuery, Query()]) -> Response:
        """Results of test-sessions: the last probe and the four collections."""
        selection.keys_of(watched, query.control_connection, query.test_session)
        return _list(pace, "results", ResultsView, selection.results(watched, query))

    @app.get("/v1/client/history-results", tags=["client"], **_answering(answers.HistoryResults, 404))
    async def client_history_results(query: Annotated[HistoryQuery, Query()]) -> Response:
        """The probes that test-sessions remember."""
        selection.keys_of(watched, query.control_connection, query.test_session)
        since_ns = None if query.since is None else time_ns(query.since)
        return _list(pace, "histories", answers.History, selection.histories(watched, query, since_ns))

    @app.get("/v1/client/sessions", tags=["client"], **_answering(answers.Sessions))
    async def client_sessions(query: Annotated[SessionsQuery, Query()]) -> Response:
        """A page of the table of all test-sessions, as `twoway top` shows it."""
        return _json(await selection.page(watched, query, pace))


def _add_server(app: FastAPI, asked: Asked) -> None:
    watched, pace = asked.watched, asked.pace

    @app.get("/v1/server/control-info", tags=["server"], **_answering(answers.ControlInfo, 404))
    async def server_control_info(query: Annotated[ConnectionQuery, Query()]) -> Response:
        """Control connections of the Server."""
        views = selection.connections_of(watched.server_connections(), query.control_connection)
        return _list(pace, "connections", ControlView, views)

    @app.get("/v1/server/test-info", tags=["server"], **_answering(answers.TestInfo, 404))
    async def server_test_info(query: Annotated[SessionQuery, Query()]) -> Response:
        """Test-sessions of the Server."""
        connection, session = query.control_connection, query.test_session
        selection.connections_of(watched.server_connections(), connection)
        views = watched.server_tests()
        found = (v for v in views if connection in (None, v.connection) and session in (None, v.name))
        return _list(pace, "sessions", TestView, found)


def _add_daemon(app: FastAPI, asked: Asked) -> None:
    @app.get("/v1/capabilities", tags=["daemon"], **_answering(answers.Capabilities))
    async def capabilities() -> Response:
        """What the daemon can measure with, in its sandbox."""
        found = await asked.capabilities()
        return _json(answers.Capabilities([answers.Feature(name, *seen) for name, seen in found.items()]))

    @app.get("/v1/events", tags=["daemon"], **_answering(answers.Events, 404))
    async def events(query: Annotated[EventsQuery, Query()]) -> Response:
        """Notices: what was raised and cleared, and what happened."""
        if query.name is not None and query.name not in NOTICES:  # nothing of it would look like good news
            raise Problem(404, f"there is no notice {query.name!r}: `twoway show notices` has them all")
        since_ns = None if query.since is None else time_ns(query.since)
        filtered = query.name is not None or query.control_connection is not None
        found = [
            selection.event(notice)
            for notice in asked.watched.notices(since_ns, 10_000 if filtered else query.limit)
            if query.name in (None, notice.name) and query.control_connection in (None, notice.connection)
        ]
        return _json(answers.Events(found[-query.limit :]))

    @app.get("/v1/routes", tags=["daemon"], **_answering(answers.Routes, 404))
    async def routes(query: Annotated[RoutesQuery, Query()]) -> Response:
        """Tracked routes: what is decided, why, and what the kernel's table has."""
        selection.keys_of(asked.watched, query.control_connection, query.test_session)
        return _list(asked.pace, "routes", RouteView, selection.routes(asked.watched, query))

    @app.get("/v1/health", tags=["daemon"], **_answering(HealthView))
    async def health() -> Response:
        """The daemon's own state."""
        return _json(asked.health())


def _add_store(app: FastAPI, asked: Asked) -> None:
    @app.get("/v1/store/window", tags=["store"], **_answering(answers.Window, 404, 409, 503))
    async def store_window(query: Annotated[WindowQuery, Query()]) -> Response:
        """Any window of time of one test-session, from what the store has: counters, ratios, percentiles."""
        key = (query.control_connection, query.test_session)
        summary = await _of(asked.kept, lambda kept: kept.summary(key, *_span(query.since, query.until)))
        if summary is None:
            raise Problem(404, f"the store has nothing of {key[0]} {key[1]} in this window")
        metrics = json_result.metrics(summary, sorted(set(query.percentile)), buckets=False)
        return _json(answers.Window(*key, summary.start_ns, summary.end_ns, metrics))

    @app.get("/v1/store/series", tags=["store"], **_answering(answers.Series, 409, 503))
    async def store_series(query: Annotated[SeriesQuery, Query()]) -> Response:
        """A window of time of one test-session in steps, as `twoway export` writes it."""
        key = (query.control_connection, query.test_session)
        start_ns, end_ns = _span(query.since, query.until)
        step_ns = RESOLUTIONS_S[query.resolution] * 1_000_000_000
        if (end_ns - start_ns) // step_ns > MAX_STEPS:
            raise Problem(400, f"resolution: more than {MAX_STEPS} steps: ask for less time at once")
        steps = await _of(asked.kept, lambda kept: kept.series(key, start_ns, end_ns, step_ns))
        rows = ([step.start_ns, step.end_ns, *summary_cells(step.summary)] for step in steps)
        head = answers.Series(*key, ("start_ns", "end_ns", *SUMMARY_COLUMNS), [])
        return StreamingResponse(asked.pace.chunks(_table(head, rows)), media_type="application/json")

    @app.get("/v1/store/probes", tags=["store"], **_answering(answers.KeptProbes, 409, 503))
    async def store_probes(query: Annotated[ProbesQuery, Query()]) -> Response:
        """Single probes of one test-session that keeps every one (`raw-history`), piece by piece."""
        key = (query.control_connection, query.test_session)
        since, until = _span(query.since or "0", query.until)
        page = await _of(asked.kept, lambda kept: kept.page(key, query.first, since, until, query.limit))
        rows = (probe_cells(number, cells) for number, cells in page.rows)
        head = answers.KeptProbes(*key, page.next, page.more, PROBE_COLUMNS, [])
        return StreamingResponse(asked.pace.chunks(_table(head, rows)), media_type="application/json")

    @app.get("/v1/store/sessions", tags=["store"], **_answering(answers.KeptSessions, 409, 503))
    async def store_sessions() -> Response:
        """The test-sessions that the store has heard of."""
        keys = await _of(asked.kept, lambda kept: kept.keys())
        return _list(asked.pace, "sessions", answers.KeptSession, (answers.KeptSession(*key) for key in keys))

    @app.get("/v1/store/events", tags=["store"], **_answering(answers.KeptEvents, 409, 503))
    async def store_events(query: Annotated[KeptEventsQuery, Query()]) -> Response:
        """Notices that the store kept, for longer than the daemon remembers them."""
        since, until = _span(query.since or "0", query.until)
        found = await _of(asked.kept, lambda kept: kept.events(since, until, query.limit))
        return _list(asked.pace, "events", answers.KeptEvent, found)


def _span(since: str, until: str | None) -> tuple[int, int]:
    """A window of time. Raises `Problem`."""
    start_ns, end_ns = time_ns(since), time.time_ns() if until is None else time_ns(until)
    if end_ns <= start_ns:
        raise Problem(400, "until: it is not after since")
    return start_ns, end_ns


async def _of(kept: Kept | None, question: Callable[[Kept], Awaitable[_Answer]]) -> _Answer:
    """What the store says. Raises `Problem`."""
    if kept is None:
        raise Problem(409, "there is no store: set store.path in the configuration")
    try:
        return await question(kept)
    except StoreError as error:
        raise Problem(503, str(error)) from None


def _table(head: answers.Series | answers.KeptProbes, rows: Iterable[list[Cell]]) -> Iterator[bytes]:
    """An answer whose last member is `rows`, row by row as they are made."""
    dump = TypeAdapter(list[Any]).dump_json
    comma = b""
    yield _adapter(type(head)).dump_json(head).removesuffix(b"]}")
    for row in rows:
        yield comma + dump(row)
        comma = b","
    yield b"]}"


def _add_actions(app: FastAPI, watched: Watched) -> None:
    @app.post("/v1/request/start", tags=["actions"], **_answering(RequestView, 404, 409, 413, 504))
    async def start(body: Annotated[StartBody | None, Body()] = None) -> Response:
        """Start tests of control connections with `test-start manual`."""
        wanted = body or StartBody()
        selection.connections_of(watched.client_connections(), wanted.control_connection)
        return await _done(watched.start(wanted.control_connection, wanted.repeat))

    @app.post("/v1/request/stop", tags=["actions"], **_answering(RequestView, 404, 409, 413, 504))
    async def stop(body: Annotated[StopBody | None, Body()] = None) -> Response:
        """Stop the tests of control connections."""
        name = (body or StopBody()).control_connection
        selection.connections_of(watched.client_connections(), name)
        return await _done(watched.stop(name))

    @app.post("/v1/request/routes/hold", tags=["actions"], **_answering(RequestView, 404, 409, 413, 504))
    async def hold_route(body: HoldBody) -> Response:
        """Keep a tracked route as it is, or in use with these next hops, until it is released."""
        return await _done(watched.hold(body.prefix, body.routing_instance or "", body.next_hops))

    @app.post("/v1/request/routes/release", tags=["actions"], **_answering(RequestView, 404, 409, 413, 504))
    async def release_route(body: ReleaseBody) -> Response:
        """End a hold: the best next hops are used again, and penalties are forgiven."""
        return await _done(watched.release(body.prefix, body.routing_instance or ""))

    @app.post("/v1/clear/{what}", tags=["actions"], **_answering(RequestView, 404, 409, 413, 504))
    async def clear(
        what: Literal["results", "history", "events", "server-control"],
        body: Annotated[ClearBody | None, Body()] = None,
    ) -> Response:
        """Forget results, histories or events, or drop control connections of the Server."""
        name = (body or ClearBody()).name
        if what == "events" and name is not None:
            raise Problem(400, "name: events are of the whole daemon")
        server = what == "server-control"
        selection.connections_of(watched.server_connections() if server else watched.client_connections(), name)
        return await _done(watched.clear(what, name))

    @app.post("/v1/reload", tags=["actions"], **_answering(RequestView, 409, 413, 504))
    async def reload(request: Request) -> Response:
        """Read the configuration again: all of it is taken over, or nothing."""
        with contextlib.suppress(ClientDisconnect):
            await request.body()  # it says nothing, but whoever sends it is not to find the connection closed
        return await _done(watched.reload())


async def _done(action: Awaitable[RequestView]) -> Response:
    """What came of an action; it goes on if it takes too long, or if the client does not wait."""
    task = asyncio.ensure_future(action)
    task.add_done_callback(lambda done: done.cancelled() or done.exception())  # nobody may be there to take it
    try:
        view = await asyncio.wait_for(asyncio.shield(task), ACTION_S)
    except TimeoutError:
        raise Problem(504, f"still under way after {ACTION_S:g} s: `twoway show health` will tell") from None
    except KeyError as error:
        raise Problem(404, f"there is no {error.args[0] if error.args else 'such name'}") from None
    if not view.ok:
        raise Problem(409, view.message, view.affected)
    return _json(view)


def _add_metrics(app: FastAPI, asked: Asked) -> None:
    under_way: set[object] = set()
    formats = {200: {"content": {form.value.partition(";")[0]: {} for form in Exposition}}, **_refusals(503)}

    @app.get("/metrics", tags=["metrics"], response_class=Response, responses=formats)
    async def metrics(request: Request) -> Response:
        """For Prometheus: text, OpenMetrics, or protobuf with native histograms, by `Accept`."""
        if len(under_way) >= _SCRAPES:
            asked.counters["refused_scrapes"] += 1
            raise Problem(503, f"{_SCRAPES} scrapes are under way: scrape less often")
        exposition = negotiate(request.headers.get("accept", ""))
        pieces = expose(asked.watched, exposition, asked.health())
        return _Scrape(under_way, asked.pace.chunks(pieces), exposition.value)


class _Scrape(StreamingResponse):
    """An answer that makes room for another when it has ended, however it ends."""

    def __init__(self, under_way: set[object], content: AsyncIterator[bytes], media_type: str) -> None:
        super().__init__(content, media_type=media_type)
        self._under_way = under_way
        under_way.add(self)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._under_way.discard(self)


def _add_problems(app: FastAPI) -> None:
    """Every error as a problem document."""

    def answer(status: int, detail: str, error: HTTPException | None = None) -> Response:
        affected = error.affected if isinstance(error, Problem) else ()
        headers = None if error is None else error.headers
        return Response(problem_document(status, detail, affected), status, headers, PROBLEM)

    @app.exception_handler(HTTPException)
    async def http(request: Request, error: HTTPException) -> Response:
        if isinstance(error, Problem):
            return answer(error.status_code, error.detail, error)
        where = f"{request.method} {request.scope['path']}"
        return answer(error.status_code, f"{one_line(where)}: {error.detail} (see GET /v1/openapi.json)", error)

    @app.exception_handler(RequestValidationError)
    async def invalid(_request: Request, error: RequestValidationError) -> Response:
        return answer(400, "; ".join(_invalid(item) for item in error.errors()[:8]))

    @app.exception_handler(Exception)
    async def failed(_request: Request, error: Exception) -> Response:
        return answer(500, failure(error))  # the guard sees it too, and counts it


def _invalid(error: Mapping[str, Any]) -> str:
    """pydantic's finding in our words: where, then what."""
    where = ".".join(str(part) for part in error["loc"][1:]) or "body"
    match error["type"]:
        case "model_attributes_type":
            return f"{where}: it has to be a JSON object, with Content-Type: application/json"
        case "json_invalid":
            return f"body: it is no JSON: {error['ctx']['error'].lower()} at character {error['loc'][-1]}"
        case "missing":
            return f"{where}: it is needed"
        case "extra_forbidden":
            return f"{where}: there is no such parameter"
        case "value_error":
            return f"{where}: {error['ctx']['error']}"
        case _:
            message = str(error["msg"])
            return f"{where}: {message[:1].lower()}{message[1:]}"
