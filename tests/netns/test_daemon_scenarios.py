"""The daemon as a whole across an impaired path: what it shows, what it keeps, and whom it tells of what.

Each file of `tests/scenarios/daemon/` is a light test-session of twelve tests of ten probes; the forwarder does to its
packets what the file says, by number. Counters, verdicts, notices and notifications must come out exactly. What
concerns processes rather than packets is below, as code.
"""

import json
import shutil
import signal
import threading
import tomllib
from pathlib import Path
from typing import Any

import pytest

from twoway.errors import ApiError

from .daemon_program import DaemonProgram, SyslogReceiver, TrapReceiver
from .programs import TESTS, TWOWAY, ForwarderProgram, Program, ReflectorProgram, until
from .topology import MIDDLE_DEVICES, SERVER, Topology, run

SCENARIOS = sorted((TESTS / "scenarios" / "daemon").glob("*.toml"))
TESTS_RUN = 12
_ATTEMPTS = 3
"""Probes that the machine was too busy to send shift the numbers on which a scenario is built: it is run again."""
_FREEZE_S, _FREEZES = 0.3, 3
STATES = ("raised", "cleared")

pytestmark = pytest.mark.skipif(shutil.which("snmptrapd") is None, reason="snmptrapd is not installed")


def session(*, managed: bool = False, **statements: object) -> dict[str, Any]:
    """A test-session of quick tests."""
    quick: dict[str, Any] = {"probe-count": 10, "probe-interval": "20ms", "timeout": "100ms", "history-size": 1000}
    if not managed:
        # Said, because loss on the way back alone does not prove that the Session-Reflector numbers its replies.
        quick["reflector-mode"] = "stateful"
    return {**quick, **{name.replace("_", "-"): value for name, value in statements.items()}}


def light(sessions: dict[str, Any], **statements: object) -> dict[str, Any]:
    """Light test-sessions to the reflector."""
    to = {name: {"target": SERVER[4], **each} for name, each in sessions.items()}
    more = {name.replace("_", "-"): value for name, value in statements.items()}
    return {"near": {"control-type": "light", "test-interval": "50ms", "test-session": to, **more}}


def alarmed(daemon: DaemonProgram) -> list[str]:
    """The notices about thresholds so far."""
    return [each for each in daemon.notices() if each.split()[0].endswith(("-failure", "-exceeded"))]


@pytest.fixture
def bridged(topology: Topology) -> Topology:
    """The topology with a bridge in the middle: nothing happens to packets."""
    run(*topology.middle.command("ip", "link", "add", "bridge", "type", "bridge"))
    for device in MIDDLE_DEVICES:
        run(*topology.middle.command("ip", "link", "set", device, "master", "bridge"))
    run(*topology.middle.command("ip", "link", "set", "bridge", "up"))
    return topology


def forwarding(folder: Path, impairments: list[dict[str, Any]]) -> Path:
    """The impairments as the forwarder reads them."""
    lines = ['description = "daemon"', '[measurement]\ncount = 1\ninterval = "1ms"\ntimeout = "1ms"', "[expected]"]
    for impairment in impairments:
        lines += ["[[impairment]]", *(f"{name} = {json.dumps(value)}" for name, value in impairment.items())]
    path = folder / "impairments.toml"
    path.write_text("\n".join(lines) + "\n")
    return path


@pytest.mark.parametrize("path", SCENARIOS, ids=lambda path: path.stem)
def test_scenario(topology: Topology, tmp_path: Path, path: Path) -> None:
    scenario = tomllib.loads(path.read_text())
    assert set(scenario) - {"impairment"} == {"description", "session", "expected"}
    assert set(scenario["expected"]) == {"counters", "failed", "notices", "traps"}
    for attempt in range(1, _ATTEMPTS + 1):
        folder = tmp_path / str(attempt)
        folder.mkdir()
        if _run(topology, folder, scenario, last=attempt == _ATTEMPTS):
            return


def _run(topology: Topology, folder: Path, scenario: dict[str, Any], *, last: bool) -> bool:
    """Run a scenario once; False if the machine was too busy for it, and it is not the last time."""
    expected = scenario["expected"]
    connections = light({"probe": session(**scenario["session"])}, test_count=TESTS_RUN)
    with (
        ForwarderProgram(topology.middle, folder, forwarding(folder, scenario.get("impairment", []))),
        ReflectorProgram(topology.server, folder, "--stateful"),
        TrapReceiver(topology.client, folder) as trapd,
        SyslogReceiver(topology.client) as syslog,
        DaemonProgram(topology.client, folder, connections) as daemon,
    ):
        daemon.await_tests(TESTS_RUN)
        results, total, told = daemon.results(), daemon.collection(), daemon.notices()
        if not last and (total["not_sent"] or "late_departures" in total["own_faults"]):
            return False
        assert {name: total[name] for name in expected["counters"]} == expected["counters"]
        assert total["sent"] == TESTS_RUN * 10
        assert (results["tests_run"], results["tests_failed"]) == (TESTS_RUN, expected["failed"])
        assert sorted(told) == sorted(expected["notices"])
        for name in {notice.split()[0] for notice in told}:
            assert [notice for notice in told if notice.split()[0] == name] == [f"{name} {state}" for state in STATES]
        assert results["alarms"] == []
        until(lambda: syslog.notices() == told, "syslog has the same")
        until(lambda: sorted(trapd.names()) == sorted(expected["traps"]), "every notification arrived")
        assert daemon.stop() == 0
        assert daemon.stderr == ""
    return True


def test_a_reflector_that_is_away_for_a_while(bridged: Topology, tmp_path: Path) -> None:
    thresholds = {"successive-loss": 5, "total-loss": 5, "own-faults": True}
    alarms = ["probe-failure", "test-failure"]
    probe = session(thresholds=thresholds, traps=alarms)
    with (
        ReflectorProgram(bridged.server, tmp_path, "--stateful", name="first") as reflector,
        TrapReceiver(bridged.client, tmp_path) as trapd,
        DaemonProgram(bridged.client, tmp_path, light({"probe": probe})) as daemon,
    ):
        daemon.await_tests(2)
        assert (daemon.collection()["lost"], alarmed(daemon)) == (0, [])
        reflector.stop()
        until(lambda: set(daemon.results()["alarms"]) == set(alarms), "both alarms are raised")
        reached = daemon.results()["tests_run"]
        with ReflectorProgram(bridged.server, tmp_path, "--stateful", name="second"):
            until(lambda: daemon.results()["alarms"] == [], "both alarms are cleared")
            assert daemon.results()["tests_run"] > reached
            assert sorted(alarmed(daemon)) == sorted(f"{name} {state}" for name in alarms for state in STATES)
            until(lambda: sorted(trapd.names()) == alarms, "both notifications arrive")


class _ServerProgram(Program):
    """`twoway server` in the server's namespace."""

    def __init__(self, path: Topology, folder: Path, name: str) -> None:
        super().__init__(path.server.command(TWOWAY, "server", "-v"), folder, name)
        until(lambda: "listening" in self.stdout or not self.running, "the Server listens")
        assert self.running, self.stderr


def test_a_server_that_starts_anew(bridged: Topology, tmp_path: Path) -> None:
    statements = {"target": SERVER[4], "test-interval": "50ms", "traps": ["control-connection-closed"]}
    plan = {"fra": {**statements, "test-session": {"probe": session(managed=True)}}}
    with (
        TrapReceiver(bridged.client, tmp_path) as trapd,
        _ServerProgram(bridged, tmp_path, "first") as server,
        DaemonProgram(bridged.client, tmp_path, plan) as daemon,
    ):
        daemon.await_tests(2)
        assert (daemon.collection()["lost"], daemon.results()["tests_failed"]) == (0, 0)
        (view,) = daemon.api.get("/v1/client/control-info")["connections"]
        assert (view["status"], view["mode"]) == ("testing", "unauthenticated")
        assert server.stop() == 0
        daemon.await_notices(["control-connection-closed once", "test-failure raised"])
        with _ServerProgram(bridged, tmp_path, "second"):
            daemon.await_notices(["control-connection-up once", "test-failure cleared"])
            reached = daemon.results()["tests_run"]
            daemon.await_tests(reached + 2)
        until(lambda: "control-connection-closed" in trapd.names(), "the notification arrives")


def test_a_reload_disturbs_nothing_that_stays(bridged: Topology, tmp_path: Path) -> None:
    one, two = {"probe": session()}, {"probe": session(), "second": session(probe_count=5)}
    with (
        ReflectorProgram(bridged.server, tmp_path, "--stateful"),
        DaemonProgram(bridged.client, tmp_path, light(one)) as daemon,
    ):
        daemon.await_tests(2)
        daemon.configure(light(two))
        assert daemon.api.post("/v1/reload", {})["ok"]
        daemon.await_tests(2, "second")
        daemon.configure(light({"probe": {"probe-count": -1}}))
        with pytest.raises(ApiError, match="1 error, nothing was changed") as refused:
            daemon.api.post("/v1/reload", {})
        assert "probe-count" in refused.value.affected[0]
        assert not daemon.api.get("/v1/health")["reload_ok"]
        daemon.configure(light(one))
        daemon.signal(signal.SIGHUP)
        until(lambda: bool(daemon.api.get("/v1/health")["reload_ok"]), "the good configuration is taken over")
        reached = daemon.results()["tests_run"]
        daemon.await_tests(reached + 2)
        (history,) = daemon.api.get("/v1/client/history-results", {"test-session": "probe"})["histories"]
        # A slot that this host missed has a line, and the number of the probe after it.
        numbers = [probe["sequence"] for probe in history["probes"] if probe["sent_ns"] is not None]
        assert numbers == list(range(len(numbers)))
        assert daemon.collection()["lost"] == 0
        with pytest.raises(ApiError):
            daemon.results("second")
        assert "configuration-refused once" in daemon.notices()


def test_a_daemon_that_was_stopped_for_a_moment_blames_itself(bridged: Topology, tmp_path: Path) -> None:
    thresholds = {"rtt": "100ms", "total-loss": 1, "successive-loss": 1}
    with (
        ReflectorProgram(bridged.server, tmp_path, "--stateful"),
        DaemonProgram(bridged.client, tmp_path, light({"probe": session(thresholds=thresholds)})) as daemon,
    ):
        daemon.await_tests(2)
        for _ in range(_FREEZES):
            before = daemon.results()["tests_disturbed"]
            daemon.signal(signal.SIGSTOP)
            threading.Event().wait(_FREEZE_S)
            daemon.signal(signal.SIGCONT)
            until(lambda: daemon.results()["tests_disturbed"] > before, "the test is flagged")  # noqa: B023
            reached = daemon.results()["tests_run"]
            daemon.await_tests(reached + 6)
            assert daemon.results()["alarms"] == []
            assert alarmed(daemon) == []
        assert "own-fault" in [event["name"] for event in daemon.events()]
        assert any(daemon.api.get("/v1/health")["own_faults"].values())
