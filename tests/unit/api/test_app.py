"""What each request answers, over a real Unix socket."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from twoway.analysis.views import GlanceView, RequestView
from twoway.api.service import ManagementApi
from twoway.errors import PlaneError, StoreError

from ..measured import START_NS
from ..watched import SECOND, FakeDaemon
from .conftest import capabilities

if TYPE_CHECKING:
    from twoway.config.plan import ApiPlan

    from .conftest import KeptOfOne


async def get(client: httpx.AsyncClient, path: str, **parameters: object) -> Any:  # noqa: ANN401  (JSON)
    names = {name.replace("_", "-"): value for name, value in parameters.items()}
    response = await client.get(path, params=names)  # type: ignore[arg-type]  # numbers and words
    assert response.status_code == 200, response.text
    return response.json()


async def refused(client: httpx.AsyncClient, path: str, expected: int, **parameters: object) -> str:
    names = {name.replace("_", "-"): value for name, value in parameters.items()}
    response = await client.get(path, params=names)  # type: ignore[arg-type]  # numbers and words
    assert response.status_code == expected, response.text
    assert response.headers["content-type"] == "application/problem+json"
    document = response.json()
    assert document["status"] == expected
    detail = document["detail"]
    assert "\n" not in detail
    return str(detail)


async def test_control_connections(client: httpx.AsyncClient) -> None:
    body = await get(client, "/v1/client/control-info")
    assert [view["name"] for view in body["connections"]] == ["core-fra", "core-par"]
    body = await get(client, "/v1/client/control-info", control_connection="core-par")
    assert body["connections"][0]["reason"] == "connection refused"
    body = await get(client, "/v1/server/control-info")
    assert body["connections"][0]["client_address"] == "2001:db8::2"


async def test_test_sessions(client: httpx.AsyncClient) -> None:
    body = await get(client, "/v1/client/test-info", test_session="voice")
    assert [(view["connection"], view["name"]) for view in body["sessions"]] == [
        ("core-fra", "voice"),
        ("core-par", "voice"),
    ]
    assert (await get(client, "/v1/server/test-info"))["sessions"][0]["packets"] == 55
    assert (await get(client, "/v1/server/test-info", test_session="nobody"))["sessions"] == []


async def test_results_have_every_field_of_the_views(client: httpx.AsyncClient) -> None:
    body = await get(client, "/v1/client/probe-results", control_connection="core-fra", test_session="voice")
    (result,) = body["results"]
    assert result["collections"][0]["measurements"][0]["percentiles"]["p99.9"] == 260_000
    assert result["last_probe"]["rtt_ns"] == 234_000
    assert result["clock"]["far_error_ns"] == 250_000


async def test_results_are_filtered_as_junos_does(client: httpx.AsyncClient, daemon: FakeDaemon) -> None:
    daemon.loss = {("core-par", "bulk"): 0.2}
    for status, found in (("FAIL", 1), ("PASS", 3)):
        assert len((await get(client, "/v1/client/probe-results", status=status))["results"]) == found
    assert len((await get(client, "/v1/client/probe-results", target="198.51.100.2"))["results"]) == 1
    assert len((await get(client, "/v1/client/probe-results", source_address="192.0.2.1"))["results"]) == 4
    assert (await get(client, "/v1/client/probe-results", source_address="192.0.2.2"))["results"] == []


async def test_history_since_a_moment(client: httpx.AsyncClient) -> None:
    since = START_NS + 15 * SECOND
    for written in (str(since), "2026-01-02T03:04:20Z", "2026-01-02T04:04:20+01:00"):
        body = await get(client, "/v1/client/history-results", control_connection="core-fra", since=written)
        assert [len(history["probes"]) for history in body["histories"]] == [5, 5]
    body = await get(client, "/v1/client/history-results", limit=2)
    assert [len(history["probes"]) for history in body["histories"]] == [2, 2, 2, 2]


async def test_a_page_of_all_sessions(client: httpx.AsyncClient, daemon: FakeDaemon) -> None:
    daemon.loss = {("core-fra", "bulk"): 0.5}
    body = await get(client, "/v1/client/sessions", sort="loss", reverse="true", limit=2, recent=3)
    assert (body["total"], body["failing"], body["alarms"]) == (4, 1, 1)
    assert body["rows"][0]["glance"]["session"] == "bulk"
    assert body["rows"][0]["recent_rtt_ns"] == [232_000, 233_000, 234_000]
    body = await get(client, "/v1/client/sessions", sort="rtt", offset=1, filter="FRA")
    assert body["total"] == 2
    assert [row["glance"]["session"] for row in body["rows"]] == ["bulk"]


async def test_what_is_unknown_sorts_last_either_way(client: httpx.AsyncClient, daemon: FakeDaemon) -> None:
    from dataclasses import replace

    glance = daemon.glance

    def unanswered(key: tuple[str, str]) -> GlanceView:
        return replace(glance(key), rtt_mean_ns=None) if key == ("core-fra", "voice") else glance(key)

    daemon.glance = unanswered  # type: ignore[method-assign]
    for reverse in ("true", "false"):
        rows = (await get(client, "/v1/client/sessions", sort="rtt", reverse=reverse))["rows"]
        assert rows[-1]["glance"]["session"] == "voice"
        assert rows[-1]["glance"]["connection"] == "core-fra"


async def test_events(client: httpx.AsyncClient) -> None:
    events = (await get(client, "/v1/events"))["events"]
    assert [(event["name"], event["severity"], event["state"]) for event in events] == [
        ("started", "notice", "once"),
        ("rtt-exceeded", "warning", "raised"),
    ]
    assert len((await get(client, "/v1/events", limit=1))["events"]) == 1
    assert len((await get(client, "/v1/events", name="started"))["events"]) == 1
    assert len((await get(client, "/v1/events", control_connection="core-fra"))["events"]) == 1


async def test_health_counts_the_api_itself(client: httpx.AsyncClient) -> None:
    first = await get(client, "/v1/health")
    second = await get(client, "/v1/health")
    assert second["api"]["requests"] == first["api"]["requests"] + 1
    assert first["store"]["state"] == "ok"


async def test_capabilities(client: httpx.AsyncClient) -> None:
    features = (await get(client, "/v1/capabilities"))["features"]
    assert features[1] == {"name": "xdp", "available": False, "seen": "no such socket"}


async def test_percentiles_of_any_window(client: httpx.AsyncClient) -> None:
    since = {"control_connection": "core-fra", "test_session": "voice", "since": START_NS, "until": START_NS + SECOND}
    body = await get(client, "/v1/store/window", **since, percentile=[50, 90])
    assert body["metrics"]["delay"]["round_trip"]["percentiles_ns"] == {"p50": 5000, "p90": 9000}
    assert body["metrics"]["packets"]["sent"] == 10
    assert (body["start_ns"], body["end_ns"]) == (START_NS, START_NS + SECOND)
    assert "nothing of core-par" in await refused(
        client, "/v1/store/window", 404, **{**since, "control_connection": "core-par"}
    )
    body = await get(client, "/v1/store/window", **since, percentile=["-0.0", "1e-300", "100"])
    assert list(body["metrics"]["delay"]["round_trip"]["percentiles_ns"]) == ["p0", "p100"]
    assert "not after since" in await refused(client, "/v1/store/window", 400, **{**since, "until": START_NS})
    assert await refused(client, "/v1/store/window", 400, since=START_NS) == (
        "control-connection: it is needed; test-session: it is needed"
    )


async def test_a_window_in_steps(client: httpx.AsyncClient) -> None:
    asked = {"control_connection": "core-fra", "test_session": "voice", "resolution": "1s"}
    since, until = START_NS + SECOND // 2, START_NS + 3 * SECOND
    body = await get(client, "/v1/store/series", **asked, since=since, until=until)
    assert body["columns"][:2] == ["start_ns", "end_ns"]
    rows = [dict(zip(body["columns"], row, strict=True)) for row in body["rows"]]
    assert [row["start_ns"] for row in rows] == [START_NS, START_NS + SECOND, START_NS + 2 * SECOND]
    assert [(row["sent"], row["round_trip_p50_ns"]) for row in rows] == [(10, 5000)] * 3
    body = await get(client, "/v1/store/series", **{**asked, "test_session": "bulk"}, since=since, until=until)
    assert body["rows"] == []
    detail = await refused(client, "/v1/store/series", 400, **asked, since=START_NS, until=START_NS + 1501 * SECOND)
    assert detail == "resolution: more than 1500 steps: ask for less time at once"


async def test_single_probes_come_piece_by_piece_and_say_where_to_go_on(client: httpx.AsyncClient) -> None:
    asked = {"control_connection": "core-fra", "test_session": "voice"}
    first, more, numbers, pages = 0, True, [], 0
    while more:
        body = await get(client, "/v1/store/probes", **asked, first=first, limit=10)
        assert (body["connection"], body["session"], body["columns"][:2]) == (
            "core-fra",
            "voice",
            ["number", "sequence"],
        )
        numbers += [row[0] for row in body["rows"]]
        first, more, pages = body["next"], body["more"], pages + 1
    assert (numbers, pages, first) == (list(range(25)), 3, 25)
    body = await get(client, "/v1/store/probes", **{**asked, "test_session": "bulk"})
    assert (body["rows"], body["more"]) == ([], False)
    assert "not after since" in await refused(client, "/v1/store/probes", 400, **asked, since=START_NS, until=START_NS)
    assert (await refused(client, "/v1/store/probes", 400, **asked, limit=5001)).startswith("limit: ")


async def test_what_the_store_has(client: httpx.AsyncClient) -> None:
    body = await get(client, "/v1/store/sessions")
    assert body == {"sessions": [{"connection": "core-fra", "session": "voice"}]}
    events = (await get(client, "/v1/store/events"))["events"]
    assert [event["number"] for event in events] == list(range(25))
    events = (await get(client, "/v1/store/events", since=START_NS + SECOND, until=START_NS + 3 * SECOND, limit=4))[
        "events"
    ]
    assert [event["number"] for event in events] == [5, 6, 7, 8]


async def test_a_store_that_cannot_answer_now_is_no_fault_of_the_daemon(
    client: httpx.AsyncClient, kept: KeptOfOne
) -> None:
    kept.failure = StoreError("/var/lib/twoway/store.db", "it is closed")
    for path in ("/v1/store/sessions", "/v1/store/events"):
        assert "it is closed" in await refused(client, path, 503)
    assert (await get(client, "/v1/health"))["api"]["errors"] == 0


async def test_without_a_store_there_is_nothing_to_ask(plan: ApiPlan, daemon: FakeDaemon) -> None:
    api = ManagementApi(plan, daemon, None, capabilities)
    await api.start()
    transport = httpx.AsyncHTTPTransport(uds=str(plan.socket))
    async with httpx.AsyncClient(transport=transport, base_url="http://twoway") as client:
        for path in ("/v1/store/sessions", "/v1/store/events"):
            assert "set store.path" in await refused(client, path, 409)
    await api.close()


@pytest.mark.parametrize(
    ("path", "body", "asked"),
    [
        ("/v1/request/start", {"control-connection": "core-fra", "repeat": 3}, ("start", "core-fra", 3)),
        ("/v1/request/start", None, ("start", None, None)),
        ("/v1/request/stop", {}, ("stop", None)),
        ("/v1/clear/results", {"name": "core-par"}, ("clear", "results", "core-par")),
        ("/v1/clear/server-control", None, ("clear", "server-control", None)),
        ("/v1/reload", None, ("reload",)),
    ],
)
async def test_actions(
    client: httpx.AsyncClient, daemon: FakeDaemon, path: str, body: object, asked: tuple[object, ...]
) -> None:
    response = await client.post(path, json=body) if body is not None else await client.post(path)
    assert response.status_code == 200, response.text
    assert response.json() == {"ok": True, "message": "done", "affected": ["core-fra"]}
    assert daemon.requests == [asked]


async def test_an_action_that_fails_says_why(client: httpx.AsyncClient, daemon: FakeDaemon) -> None:
    daemon.answer = RequestView(ok=False, message="3 errors, nothing was changed", affected=("a.yaml:3: no",))
    response = await client.post("/v1/reload")
    assert response.status_code == 409
    assert response.json()["detail"] == "3 errors, nothing was changed"
    assert response.json()["affected"] == ["a.yaml:3: no"]


async def test_an_action_that_takes_long_goes_on(
    client: httpx.AsyncClient, daemon: FakeDaemon, monkeypatch: pytest.MonkeyPatch
) -> None:
    from twoway.api import app

    monkeypatch.setattr(app, "ACTION_S", 0.01)
    allowed, ended = asyncio.Event(), asyncio.Event()

    async def reload() -> RequestView:
        await allowed.wait()
        ended.set()
        return daemon.answer

    daemon.reload = reload  # type: ignore[method-assign]
    response = await client.post("/v1/reload")
    assert response.status_code == 504
    allowed.set()
    await asyncio.wait_for(ended.wait(), 10)


@pytest.mark.parametrize(
    ("path", "parameters", "detail"),
    [
        ("/v1/events", {"limit": 0}, "limit: input should be greater than or equal to 1"),
        ("/v1/events", {"limt": 5}, "limt: there is no such parameter"),
        ("/v1/events", {"since": "yesterday"}, "since: neither ns since the epoch nor a time"),
        ("/v1/events", {"since": "2026-01-02T03:04:05"}, "since: neither ns since the epoch nor a time"),
        ("/v1/events", {"since": "9" * 30}, "since: neither ns since the epoch nor a time"),
        ("/v1/events", {"since": "9999-12-31T23:59:59Z"}, "since: it is too far off"),
        ("/v1/events", {"since": "2026-02-30T00:00:00Z"}, "since: neither ns since the epoch nor a time"),
        ("/v1/client/probe-results", {"status": "MAYBE"}, "status: input should be"),
        ("/v1/client/probe-results", {"target": "a\nb"}, "target: "),
        ("/v1/client/probe-results", {"target": "x" * 65}, "target: "),
        ("/v1/client/sessions", {"limit": 1001}, "limit: "),
        ("/v1/client/sessions", {"sort": "colour"}, "sort: "),
        ("/v1/store/window", {"percentile": list(range(17))}, "percentile: "),
    ],
)
async def test_bad_input_gets_one_line(
    client: httpx.AsyncClient, path: str, parameters: dict[str, object], detail: str
) -> None:
    assert detail in await refused(client, path, 400, **parameters)


async def test_bodies_are_checked(client: httpx.AsyncClient, daemon: FakeDaemon) -> None:
    bodies: list[object] = [{"repeat": 0}, {"repeat": 65_536}, {"name": "x"}, [], "x"]
    for body in bodies:
        response = await client.post("/v1/request/start", json=body)
        assert response.status_code == 400, response.text
    response = await client.post("/v1/request/start", content=b"{", headers={"content-type": "application/json"})
    assert response.status_code == 400
    assert response.json()["detail"].startswith(
        "body: it is no JSON: expecting property name enclosed in double quotes"
    )
    response = await client.post("/v1/request/start", content=b"x" * 20_000)
    assert response.status_code == 413
    response = await client.post("/v1/clear/everything")
    assert response.status_code == 400
    assert daemon.requests == []


async def test_names_that_there_are_not(client: httpx.AsyncClient) -> None:
    detail = await refused(client, "/v1/client/control-info", 404, control_connection="core-ber")
    assert detail == "no control-connection 'core-ber': there are core-fra, core-par"
    detail = await refused(client, "/v1/client/history-results", 404, control_connection="core-fra", test_session="x")
    assert detail == "no test-session 'x': there are voice, bulk"
    assert "/v1/nothing" in await refused(client, "/v1/nothing", 404)
    assert "Method Not Allowed" in await refused(client, "/v1/reload", 405)


async def test_a_session_that_goes_meanwhile_is_left_out(client: httpx.AsyncClient, daemon: FakeDaemon) -> None:
    daemon.gone = {("core-fra", "bulk")}
    assert len((await get(client, "/v1/client/probe-results"))["results"]) == 3
    assert (await get(client, "/v1/client/sessions"))["total"] == 3
    text = (await client.get("/metrics")).text
    assert 'session="voice"' in text
    assert 'connection="core-fra",session="bulk"' not in text


async def test_a_failure_inside_is_one_line_and_counted(client: httpx.AsyncClient, daemon: FakeDaemon) -> None:
    daemon.failure = PlaneError("bind", "192.0.2.1:862", 98)
    assert "192.0.2.1:862" in await refused(client, "/v1/health", 500)
    daemon.failure = ZeroDivisionError("secret detail")
    detail = await refused(client, "/v1/health", 500)
    assert "ZeroDivisionError" in detail
    assert "secret" not in detail
    daemon.failure = None
    assert (await get(client, "/v1/health"))["api"]["errors"] >= 1


async def test_many_sessions_do_not_hold_up_the_loop(client: httpx.AsyncClient, daemon: FakeDaemon) -> None:
    daemon.__init__([(f"connection-{number}", "s") for number in range(3000)])  # type: ignore[misc]  # it is shared
    asked = asyncio.create_task(get(client, "/v1/client/probe-results"))
    turns = 0
    while not asked.done():
        await asyncio.sleep(0)
        turns += 1
    assert len(asked.result()["results"]) == 3000
    assert turns > 50  # in many turns, however slow this machine is


async def test_the_document_describes_every_answer(client: httpx.AsyncClient) -> None:
    document = (await client.get("/v1/openapi.json")).json()
    assert set(document["paths"]) >= {"/v1/client/probe-results", "/v1/store/window", "/v1/clear/{what}", "/metrics"}
    schemas = document["components"]["schemas"]
    assert "residence_ns" in schemas["ProbeView"]["properties"]
    assert json.dumps(document)
