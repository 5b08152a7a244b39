"""The daemon on told paths: one test-session over several of them, each with results, alarms and metrics of its own.

The forwarder sits in the link from a to c: the path over c is impaired there, the others are not.
"""

import http.client
import itertools
import socket
from pathlib import Path
from typing import Any

import pytest

from .daemon_program import DaemonProgram
from .measured import PingDocument
from .programs import TWOWAY, Program, ReflectorProgram, run_twoway, until
from .steered_network import (
    BACK_BY_D,
    CLIENT_POP,
    REFLECTOR_PORT,
    SERVER_POP,
    TO_C,
    TO_D,
    Capture,
    SteeredNetwork,
)

_WIRE = ("a", "c")
_TESTS = 4
_INTERVAL_NS = 30_000_000
_SCENARIO = """\
description = "the segment from a to c"
[measurement]
count = 1
interval = "1ms"
timeout = "1ms"
[expected]
[[impairment]]
direction = "forward"
action = "delay"
delay = "8ms"
packets = "0-"
"""


def session(network: SteeredNetwork, **statements: object) -> dict[str, Any]:
    """One test-session, light, of quick tests."""
    quick: dict[str, Any] = {
        "target": network.target[6],
        "probe-count": 10,
        "probe-interval": f"{_INTERVAL_NS}ns",
        "timeout": "200ms",
        # Nothing but the impairment takes so long, and how busy this machine is decides nothing.
        "thresholds": {"rtt": {"limit-value": "6ms", "average": True}, "own-faults": True},
    }
    connection = {"control-type": "light", "test-interval": "60ms", "test-count": _TESTS}
    return {"near": {**connection, "test-session": {"voice": quick | statements}}}


def metrics(daemon: DaemonProgram) -> str:
    """What Prometheus is given."""
    connection = http.client.HTTPConnection("localhost")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection.sock:
        connection.sock.connect(str(daemon.file.parent / "api.sock"))
        connection.request("GET", "/metrics")
        return connection.getresponse().read().decode()


def test_each_path_of_a_test_session_has_results_of_its_own(tmp_path: Path) -> None:
    scenario = tmp_path / "impaired.toml"
    scenario.write_text(_SCENARIO)
    with (
        SteeredNetwork(wires=(_WIRE,)) as network,
        network.forwarders(tmp_path, {_WIRE: scenario}),
        network.label_switching(tmp_path),
        ReflectorProgram(network.server, tmp_path, "--return-path-allow", "::/0"),
        Capture(network) as capture,
    ):
        paths = {
            "routed": {},
            "segments": {
                "forward": {"srv6-nodes": [network.sid("c")]},
                "return": {"srv6-nodes": [network.sid("d")]},
            },
            "labels": {"forward": {"srmpls-nodes": [TO_D, SERVER_POP]}},
        }
        with DaemonProgram(network.client, tmp_path, session(network, path=paths)) as daemon:
            for name in paths:
                daemon.await_tests(_TESTS, f"voice:{name}")
            results = {name: daemon.results(f"voice:{name}") for name in paths}
            totals = {name: daemon.collection("all-tests", f"voice:{name}") for name in paths}
            text = metrics(daemon)
            assert daemon.stop() == 0
        seen = capture.read().seen()
        departures = sorted(capture.stamps_ns["a", "out"])
    sent = {name: total["sent"] for name, total in totals.items()}
    assert {name: count + totals[name]["not_sent"] for name, count in sent.items()} == dict.fromkeys(paths, 40)
    assert {name: total["received"] for name, total in totals.items()} == sent
    routed, segments, by_labels = (sent[name] for name in ("routed", "segments", "labels"))
    assert seen == {"b": (routed, routed + by_labels), "c": (segments, 0), "d": (by_labels, segments)}
    assert {name: result["path"] for name, result in results.items()} == {name: name for name in paths}
    assert results["segments"]["forward_path"] == f"srv6:{network.sid('c')}"
    assert results["segments"]["return_path"] == f"srv6:{network.sid('d')}"
    assert results["labels"]["forward_path"] == f"mpls:{TO_D},{SERVER_POP}"
    failed = {name: (result["tests_failed"], result["alarms"]) for name, result in results.items()}
    assert failed == {"routed": (0, []), "segments": (4, ["rtt-exceeded"]), "labels": (0, [])}
    for name in paths:
        labels = f'connection="near",session="voice:{name}",path="{name}"'
        assert f'twoway_packets_total{{{labels},direction="roundtrip",result="received"}} {sent[name]}\n' in text
    # Each test: the paths take turns within each interval, so that they see the same moments.
    assert len(departures) == sum(sent.values())
    gaps = sorted(later - earlier for earlier, later in itertools.pairwise(departures))
    assert abs(gaps[len(gaps) // 2] - _INTERVAL_NS // 3) < _INTERVAL_NS // 15


@pytest.mark.parametrize("kind", ["srv6", "mpls"])
def test_source_routing_leads_there_and_back_between_two_daemons(tmp_path: Path, kind: str) -> None:
    """The far daemon obeys whom its own configuration names, and tells how often it did not."""
    folders = [tmp_path / "near", tmp_path / "far"]
    for each in folders:
        each.mkdir()
    obeying = {"light": {"tlvs": {"return-path-allow": ["fd98::/16"]}}}
    with SteeredNetwork() as network, network.label_switching(tmp_path):
        routing = {
            "srv6": {"forward": {"srv6-nodes": [network.sid("c")]}, "return": {"srv6-nodes": [network.sid("d")]}},
            "mpls": {
                "forward": {"srmpls-nodes": [TO_C, SERVER_POP]},
                "return": {"srmpls-nodes": [BACK_BY_D, CLIENT_POP]},
            },
        }[kind]
        with DaemonProgram(network.server, folders[1], {}, obeying) as far:
            # A reply under labels goes the ordinary way, with U, while the far end does not know who gets it first.
            assert run_twoway(network.client.command(TWOWAY, "ping", "-c", "1", network.target[6])).code == 0
            with (
                Capture(network) as capture,
                DaemonProgram(network.client, folders[0], session(network, **{"source-routing": routing})) as near,
            ):
                near.await_tests(_TESTS, "voice")
                result, total = near.results("voice"), near.collection("all-tests", "voice")
                assert near.stop() == 0
                seen = capture.read().seen()
            assert far.stop() == 0
    sent = total["sent"]
    assert (sent + total["not_sent"], total["received"]) == (40, sent)
    assert (result["told"]["return_path_refused"], result["tlvs"]) == (0, ["return-path"])
    assert seen == {"c": (sent, 0), "d": (0, sent)}


@pytest.mark.parametrize(("family", "kind"), [(6, "srv6"), (4, "mpls"), (6, "mpls")])
def test_a_negotiated_session_of_the_daemon_takes_its_path(tmp_path: Path, family: int, kind: str) -> None:
    folders = [tmp_path / "near", tmp_path / "far"]
    for each in folders:
        each.mkdir()
    server = {
        "managed": {"client-list": {"all": ["0.0.0.0/0", "::/0"]}, "port-range": f"{REFLECTOR_PORT}-{REFLECTOR_PORT}"}
    }
    with SteeredNetwork() as network, network.label_switching(tmp_path):
        forward = {"srv6": {"srv6-nodes": [network.sid("c")]}, "mpls": {"srmpls-nodes": [TO_C, SERVER_POP]}}[kind]
        voice = {"probe-count": 10, "probe-interval": "20ms", "source-routing": {"forward": forward}}
        near = {
            "near": {
                "target": network.target[family],
                "test-interval": "60ms",
                "test-count": _TESTS,
                "test-session": {"voice": voice},
            }
        }
        with (
            DaemonProgram(network.server, folders[1], {}, server) as far,
            Capture(network) as capture,
            DaemonProgram(network.client, folders[0], near) as daemon,
        ):
            daemon.await_tests(_TESTS, "voice")
            total = daemon.collection("all-tests", "voice")
            assert (daemon.stop(), far.stop()) == (0, 0)
            seen = capture.read().seen()
    sent = total["sent"]
    assert (sent + total["not_sent"], total["received"]) == (40, sent)
    assert seen == {"b": (0, sent), "c": (sent, 0)}


@pytest.mark.parametrize(("family", "kind"), [(6, "srv6"), (4, "mpls"), (6, "mpls")])
def test_a_negotiated_session_takes_its_path(tmp_path: Path, family: int, kind: str) -> None:
    with SteeredNetwork() as network, network.label_switching(tmp_path), Capture(network) as capture:
        server = Program(
            network.server.command(TWOWAY, "server", "--port-range", f"{REFLECTOR_PORT}-{REFLECTOR_PORT + 9}"),
            tmp_path,
            "server",
        )
        with server:
            until(lambda: "listening" in server.stdout, "the Server listens")
            path = {"srv6": f"srv6:{network.sid('c')}", "mpls": f"mpls:{TO_C},{SERVER_POP}"}[kind]
            options = ("--protocol", "twamp", "--receiver-port", str(REFLECTOR_PORT), "--path", path)
            count = ("-c", "10", "-i", "5ms", "-W", "300ms", "--json")
            done = run_twoway(network.client.command(TWOWAY, "ping", *count, *options, network.target[family]))
            assert (done.code, done.stderr) == (0, "")
            assert PingDocument(done.json).counters("sent", "received") == {"sent": 10, "received": 10}
        assert capture.read().seen() == {"b": (0, 10), "c": (10, 0)}
