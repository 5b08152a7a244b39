"""Whatever is asked, the answer is one that the OpenAPI document has, and as the document has it."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from twoway.api.service import ManagementApi
from twoway.config.plan import ApiPlan

from ..watched import FakeDaemon
from .asking import served
from .conftest import KeptOfOne, capabilities
from .described import Operation, operations

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from twoway.analysis.result import Summary
    from twoway.config.plan import SessionKey
    from twoway.store import Point

    from .asking import Served

EVERY = list(operations())
MANY = settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])


class Anything(KeptOfOne):
    """A store that has something of everything, so that every parameter matters."""

    async def summary(self, _key: SessionKey, start_ns: int, end_ns: int) -> Summary | None:
        return await super().summary(("core-fra", "voice"), start_ns, end_ns)

    async def series(self, _key: SessionKey, start_ns: int, end_ns: int, step_ns: int) -> Sequence[Point]:
        return await super().series(("core-fra", "voice"), start_ns, end_ns, step_ns)


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    plan = ApiPlan(tmp_path_factory.mktemp("run") / "api.sock")
    with served(plan, lambda plan: ManagementApi(plan, FakeDaemon(), Anything(), capabilities)) as it:
        yield it


def named(operation: Operation) -> str:
    return f"{operation.method} {operation.path}"


@pytest.mark.parametrize("operation", EVERY, ids=named)
@MANY
@given(data=st.data())
def test_what_the_document_allows_is_answered(api: Served, operation: Operation, data: st.DataObject) -> None:
    (answer,) = api.ask(data.draw(operation.allowed()))
    operation.judge(answer)
    assert answer.status not in (401, 413, 431, 500, 503)
    if answer.status == 400:  # what a pattern cannot say: there is no 30 February, and no address 999.0.0.1
        known = ("since: ", "until: ", "resolution: more than", "destination: ", "prefix: ", "name: ")
        assert answer.json["detail"].startswith(known)


@pytest.mark.parametrize("operation", EVERY, ids=named)
@MANY
@given(data=st.data())
def test_what_it_does_not_allow_is_refused_as_it_says(api: Served, operation: Operation, data: st.DataObject) -> None:
    errors = api.api.counters["errors"]
    (answer,) = api.ask(data.draw(operation.hostile()))
    operation.judge(answer)
    assert answer.status != 500
    assert api.api.counters["errors"] == errors


@pytest.mark.parametrize("operation", EVERY, ids=named)
@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "get", "X" * 100])
def test_other_methods_are_refused(api: Served, operation: Operation, method: str) -> None:
    if method == operation.method:
        return
    target = operation.path.replace("{what}", "results")
    (answer,) = api.ask(f"{method} {target} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
    operation.judge(answer, 405)
    assert answer.status == 405
    assert answer.headers["allow"] == operation.method


@MANY
@given(target=st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), min_size=1, max_size=300))
def test_other_paths_are_not_there(api: Served, target: str) -> None:
    answer = api.get(target)
    assert answer.status == 404
    assert answer.json["status"] == 404


def test_no_answer_leads_to_where_the_client_says(api: Served) -> None:
    for target in ("/v1/health/", "//evil/v1/health", "/v1//health", "/v1/health/../health"):
        (answer,) = api.ask(f"GET {target} HTTP/1.1\r\nHost: evil\r\nConnection: close\r\n\r\n".encode())
        assert answer.status == 404
        assert "location" not in answer.headers


def test_a_fault_inside_is_described_too(tmp_path_factory: pytest.TempPathFactory) -> None:
    daemon = FakeDaemon(failure=ZeroDivisionError())
    plan = ApiPlan(tmp_path_factory.mktemp("run") / "api.sock")
    with served(plan, lambda plan: ManagementApi(plan, daemon, None, capabilities)) as it:
        for operation in EVERY:
            if operation.path in ("/v1/health", "/metrics"):
                answer = it.get(operation.path)
                operation.judge(answer)
                assert answer.status == 500


def test_a_token_that_is_missing_or_guessed_is_described(tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("run")
    (folder / "token").write_text("correct-horse-battery\n")
    (folder / "token").chmod(0o600)
    plan = ApiPlan(folder / "api.sock", listen=("127.0.0.1", 0), token_file=folder / "token")
    with served(plan, lambda plan: ManagementApi(plan, FakeDaemon(), KeptOfOne(), capabilities)) as it:
        over_tcp = replace(it, address=it.api.local_addresses["listen"])
        for operation in EVERY:
            answer = over_tcp.get(operation.path)
            operation.judge(answer)
            assert answer.status == 401
