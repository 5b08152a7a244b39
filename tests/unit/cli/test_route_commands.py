"""`show routes` and `request routes`, as they are typed, before a made daemon."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from twoway.api.service import ManagementApi
from twoway.cli import request, show
from twoway.cli.main import main
from twoway.config.plan import ApiPlan

from ..api.asking import served
from ..api.conftest import capabilities
from ..watched import FakeDaemon

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

PREFIX = "203.0.113.0/24"


@pytest.fixture
def daemon(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeDaemon]:
    made = FakeDaemon()
    plan = ApiPlan(tmp_path / "api.sock")
    monkeypatch.setenv("TWOWAY_API", str(plan.socket))
    with served(plan, lambda plan: ManagementApi(plan, made, None, capabilities)):
        yield made


@pytest.mark.parametrize(
    ("words", "prefixes"),
    [
        ("routes", [PREFIX, "2001:db8::/32"]),
        ("route sla-tracking", [PREFIX, "2001:db8::/32"]),
        (f"route sla-tracking {PREFIX}", [PREFIX]),
        ("routes 203.0.113.77", [PREFIX]),
        ("routes destination 2001:db8:1::9", ["2001:db8::/32"]),
        ("routes 198.51.100.1", []),
        ("routes routing-instance blue", ["2001:db8::/32"]),
        ("route sla-tracking twamp control-connection core-fra test-session voice", [PREFIX, "2001:db8::/32"]),
        ("route sla-tracking twamp control-connection core-par test-session voice", []),
        ("route sla-tracking rpm owner core-fra test bulk", []),
        ("routes --control-connection core-fra", [PREFIX, "2001:db8::/32"]),
    ],
)
def test_which_routes_are_shown(
    daemon: FakeDaemon, capsys: pytest.CaptureFixture[str], words: str, prefixes: list[str]
) -> None:
    assert show.run([*words.split(), "--json"]) == 0
    body = json.loads(capsys.readouterr().out)
    assert [route["destination"] for route in body["routes"]] == prefixes
    assert show.run(words.split()) == 0
    assert all(prefix in capsys.readouterr().out for prefix in prefixes[:1])
    assert not daemon.requests


def test_brief_and_detail(daemon: FakeDaemon, capsys: pytest.CaptureFixture[str]) -> None:
    assert show.run(["routes", "brief"]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 4
    assert show.run(["routes", PREFIX, "detail"]) == 0
    assert "Routing table: main" in capsys.readouterr().out
    assert daemon.requests == []


def test_health_with_routes(daemon: FakeDaemon, capsys: pytest.CaptureFixture[str]) -> None:
    assert show.run(["health"]) == 0
    assert "Routes:         protocol 94" in capsys.readouterr().out
    assert daemon.requests == []


@pytest.mark.parametrize(
    ("words", "why"),
    [
        ("routes 203.0.113.1/24", "destination: '203.0.113.1/24' is neither an address nor a prefix"),
        ("routes nonsense", "destination: 'nonsense' is neither an address nor a prefix"),
        ("routes --control-connection core-ber", "no control-connection 'core-ber'"),
    ],
)
def test_what_cannot_be_asked_for_is_one_line(
    daemon: FakeDaemon, capsys: pytest.CaptureFixture[str], words: str, why: str
) -> None:
    assert main(["show", *words.split()]) == 2
    error = capsys.readouterr().err
    assert why in error
    assert error.count("\n") == 1
    assert not daemon.requests


@pytest.mark.parametrize(
    ("words", "asked"),
    [
        (f"routes hold {PREFIX}", ("hold", PREFIX, "", None)),
        (f"routes hold {PREFIX} --next-hop 192.0.2.1", ("hold", PREFIX, "", ["192.0.2.1"])),
        (
            f"routes hold {PREFIX} next-hop 192.0.2.1 next-hop 192.0.2.2",
            ("hold", PREFIX, "", ["192.0.2.1", "192.0.2.2"]),
        ),
        (f"routes hold {PREFIX} --next-hop none", ("hold", PREFIX, "", [])),
        ("routes release 2001:DB8::/32 --routing-instance blue", ("release", "2001:db8::/32", "blue")),
        ("start control-connection core-fra repeat 3", ("start", "core-fra", 3)),
        ("stop", ("stop", None)),
        ("reload", ("reload",)),
    ],
)
def test_what_is_requested(
    daemon: FakeDaemon, capsys: pytest.CaptureFixture[str], words: str, asked: tuple[object, ...]
) -> None:
    assert request.run(words.split()) == 0
    assert daemon.requests == [asked]
    assert capsys.readouterr().out == "done: core-fra\n"


@pytest.mark.parametrize(
    ("words", "why"),
    [
        ("routes hold", "there is no 'routes hold': there are start, stop, reload, routes hold PREFIX"),
        (f"hold {PREFIX}", f"there is no 'hold {PREFIX}'"),
        (f"routes keep {PREFIX}", f"there is no 'routes keep {PREFIX}'"),
        ("reload now", "there is no 'reload now'"),
        ("stop --repeat 3", "--repeat is of start, not of stop"),
        ("reload --control-connection x", "--control-connection is of start and stop, not of reload"),
        (f"routes release {PREFIX} --next-hop 192.0.2.1", "--next-hop is of routes hold, not of routes release"),
        ("start --routing-instance blue", "--routing-instance is of routes hold and routes release, not of start"),
    ],
)
def test_what_cannot_be_requested(daemon: FakeDaemon, capsys: pytest.CaptureFixture[str], words: str, why: str) -> None:
    with pytest.raises(SystemExit) as ended:
        request.run(words.split())
    assert ended.value.code == 2
    assert why in capsys.readouterr().err
    assert daemon.requests == []


def test_a_prefix_that_is_none_is_one_line(daemon: FakeDaemon, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["request", "routes", "hold", "203.0.113.1/24"]) == 2
    assert "prefix: 203.0.113.1/24 has host bits set: a prefix is wanted" in capsys.readouterr().err
    assert daemon.requests == []
