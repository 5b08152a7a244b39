"""STAMP TLVs of the daemon at both ends of real links: what is asked, told and refused reaches whoever asks for it."""

import http.client
import json
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest

from .daemon_program import DaemonProgram, Statements
from .programs import TWOWAY, ForwarderProgram, run_twoway
from .topology import CLIENT, CLIENT_DEVICE, SERVER, Topology

_TESTS: Final = 4
_PROBES: Final = 5
_ASKED: Final = ["location", "timestamps", "cos=af41", "direct", "follow-up", "access-report=3gpp:available"]
_NAMES: Final = [
    "location",
    "timestamp-information",
    "class-of-service",
    "direct-measurement",
    "access-report",
    "follow-up-telemetry",
]


@pytest.fixture
def path(topology: Topology, tmp_path: Path) -> Iterator[Topology]:
    """The topology with frames flowing, and a key for both ends."""
    keys = tmp_path / "keys"
    keys.write_text("k1 text:a key of both ends\n", encoding="ascii")
    keys.chmod(0o600)
    with ForwarderProgram(topology.middle, tmp_path):
        yield topology


def _session(folder: Path, **statements: object) -> dict[str, Any]:
    """One test-session of quick tests under a light control-connection."""
    quick: dict[str, Any] = {
        "target": SERVER[4],
        "probe-count": _PROBES,
        "probe-interval": "20ms",
        "timeout": "300ms",
        "dscp-code-points": "ef",
        "key-file": str(folder / "keys"),
        "thresholds": {"own-faults": True},
    }
    connection = {"control-type": "light", "test-interval": "20ms", "test-count": _TESTS}
    return {"near": {**connection, "test-session": {"probe": quick | statements}}}


def _far(folder: Path, **tlvs: object) -> Statements:
    return {"light": {"stateful-sequence": True, "key-file": str(folder / "keys"), "tlvs": tlvs}}


def _daemons(path: Topology, folder: Path, near: Statements, far: Statements) -> tuple[DaemonProgram, DaemonProgram]:
    folders = [folder / "near", folder / "far"]
    for each in folders:
        each.mkdir()
    reflector = DaemonProgram(path.server, folders[1], {}, far)
    return DaemonProgram(path.client, folders[0], near), reflector


def _metrics(daemon: DaemonProgram) -> str:
    connection = http.client.HTTPConnection("localhost")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection.sock:
        connection.sock.connect(str(daemon.file.parent / "api.sock"))
        connection.request("GET", "/metrics")
        return connection.getresponse().read().decode()


def _shown(path: Topology, daemon: DaemonProgram, *words: str) -> str:
    api = f"{daemon.file.parent}/api.sock"
    done = run_twoway(path.client.command(TWOWAY, "show", *words, "--api", api))
    assert done.code == 0, done.stderr
    return done.stdout


def _sent(daemon: DaemonProgram) -> int:
    """Probes that left; the slots that this host missed are those that it says."""
    total = daemon.collection("all-tests")
    assert total["sent"] + total["not_sent"] == _TESTS * _PROBES
    return int(total["sent"])


@pytest.mark.parametrize("hmac", [False, True], ids=["authenticated", "hmac"])
def test_what_the_far_end_tells_reaches_results_and_metrics(path: Topology, tmp_path: Path, hmac: bool) -> None:
    near = _session(tmp_path, tlvs={"ask": _ASKED, "hmac": hmac})
    far = _far(tmp_path, location="all", **{"sync-source": "ptp", "require-hmac": True})
    daemon, reflector = _daemons(path, tmp_path, near, far)
    with daemon, reflector:
        daemon.await_tests(_TESTS)
        result = daemon.results()
        total = daemon.collection("all-tests")
        text = _metrics(daemon)
        results = _shown(path, daemon, "client", "probe-results")
        filters = ("--control-connection", "near", "--test-session", "probe", "--since", "1h")
        window = json.loads(_shown(path, daemon, "client", "window", *filters, "--json"))
        assert (daemon.stop(), reflector.stop()) == (0, 0)
    sent = total["sent"]
    assert (sent + total["not_sent"], total["received"]) == (_TESTS * _PROBES, sent)
    told = result["told"]
    assert result["tlvs"] == ([*_NAMES, "hmac"] if hmac else _NAMES)
    assert (told["location_source"], told["location_destination"]) == (CLIENT[4], SERVER[4])
    assert told["location_source_mac"] == path.client.mac(CLIENT_DEVICE).hex(":")
    assert (told["far_sync_source_in"], told["far_timestamp_out"]) == ("ptp", "software-local")
    quiet = ("remarked_forward", "remarked_backward", "dscp_refused", "tlv_unrecognized", "tlv_integrity_failed")
    assert {name: told[name] for name in quiet} == dict.fromkeys(quiet, 0)
    assert told["followed_up"] + told["not_followed_up"] == sent
    assert told["followed_up"] >= sent - 2
    assert told["follow_up_correction"]["count"] == told["followed_up"]
    assert (told["direct_sent"], told["direct_received"], told["direct_loss_forward_ratio"]) == (sent - 1, sent - 1, 0)
    assert told["access_reports_acknowledged"] == 1
    assert told["return_path_refused"] == 0
    labels = 'connection="near",session="probe"'
    for line in (
        f'twoway_follow_up_replies_total{{{labels},result="followed_up"}} {told["followed_up"]}',
        f"twoway_follow_up_correction_seconds_count{{{labels}}} {told['followed_up']}",
        f'twoway_direct_measurement_packets_total{{{labels},direction="forward",result="received"}} {sent - 1}',
        f'twoway_access_reports_total{{{labels},result="acknowledged"}} 1',
        f'twoway_tlv_replies_total{{{labels},outcome="integrity_failed"}} 0',
    ):
        assert f"{line}\n" in text
    assert "twoway_further_replies_total{" not in text, "it was not asked for"
    assert f"  TLVs:   {', '.join(result['tlvs'])}\n" in results
    assert f"seen there from {CLIENT[4]}" in results
    assert window["metrics"]["tlvs"]["location_source"] == CLIENT[4]


def test_what_the_far_end_may_not_or_cannot_do_is_counted(path: Topology, tmp_path: Path) -> None:
    asked = ["cos=af41", "fixed-header", "control=3@1ms"]
    back = {"source-routing": {"return": {"same-link": True}}}
    far = {"light": {"tlvs": {"permit-dscp": ["ef"], "return-paths": "off"}}}
    near = _session(tmp_path, tlvs=asked, **back)
    del near["near"]["test-session"]["probe"]["key-file"]
    daemon, reflector = _daemons(path, tmp_path, near, far)
    with daemon, reflector:
        daemon.await_tests(_TESTS)
        result, text, sent = daemon.results(), _metrics(daemon), _sent(daemon)
        refused = reflector.api.get("/v1/health")
        assert (daemon.stop(), reflector.stop()) == (0, 0)
    assert refused["reload_ok"]
    names = ("return_path_refused", "dscp_refused", "control_refused", "headers_refused", "tlv_unrecognized")
    assert {name: result["told"][name] for name in names} == dict.fromkeys(names, sent)
    for name in names:
        outcome = name.removeprefix("tlv_")
        assert f'{{connection="near",session="probe",outcome="{outcome}"}} {sent}\n' in text


def test_several_replies_to_each_probe_are_figures_of_their_own(path: Topology, tmp_path: Path) -> None:
    near = _session(tmp_path, tlvs={"ask": ["control=3x200@2ms"], "hmac": True})
    far = _far(tmp_path, control={"allow": "10.99.0.0/24", "rate": "1M"})
    daemon, reflector = _daemons(path, tmp_path, near, far)
    with daemon, reflector:
        daemon.await_tests(_TESTS)
        total, told, text = daemon.collection("all-tests"), daemon.results()["told"], _metrics(daemon)
        assert (daemon.stop(), reflector.stop()) == (0, 0)
    sent = total["sent"]
    assert (sent + total["not_sent"], total["received"], total["duplicates"]) == (_TESTS * _PROBES, sent, 0)
    assert (told["further_expected"], told["further_replies"], told["control_refused"]) == (2 * sent, 2 * sent, 0)
    assert told["further_backward"]["count"] == 2 * sent
    for result in ("expected", "received"):
        labels = f'connection="near",session="probe",result="{result}"'
        assert f"twoway_further_replies_total{{{labels}}} {2 * sent}\n" in text


def test_a_wrong_key_makes_no_figure(path: Topology, tmp_path: Path) -> None:
    strange = tmp_path / "strange"
    strange.write_text("k1 text:another key\n", encoding="ascii")
    strange.chmod(0o600)
    near = _session(tmp_path, tlvs={"ask": ["location"], "hmac": True}, **{"key-file": str(strange)})
    daemon, reflector = _daemons(path, tmp_path, near, _far(tmp_path))
    with daemon, reflector:
        daemon.await_tests(_TESTS)
        told, sent = daemon.results()["told"], _sent(daemon)
        assert (daemon.stop(), reflector.stop()) == (0, 0)
    assert (told["tlv_integrity_failed"], told["location_source"]) == (sent, None)


def test_a_reflector_that_processes_no_tlvs_sends_them_back_as_they_came(path: Topology, tmp_path: Path) -> None:
    near = _session(tmp_path, tlvs=["location"])
    del near["near"]["test-session"]["probe"]["key-file"]
    daemon, reflector = _daemons(path, tmp_path, near, {"light": {"tlvs": False}})
    with daemon, reflector:
        daemon.await_tests(_TESTS)
        told, sent = daemon.results()["told"], _sent(daemon)
        assert (daemon.stop(), reflector.stop()) == (0, 0)
    assert (told["tlv_unrecognized"], told["location_source"]) == (sent, None)
