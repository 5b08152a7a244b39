"""`twoway reflector` from its arguments to its exit code, over a packet plane without packets."""

from __future__ import annotations

import errno
import json
import os
import signal
import sys
from typing import TYPE_CHECKING

import pytest

from twoway.cli.main import main
from twoway.errors import PlaneError

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from conftest import FakeNative


@pytest.fixture
def signals(native: FakeNative, monkeypatch: pytest.MonkeyPatch) -> list[signal.Signals]:
    """The signals that the process gets, one each time that the reflector's state is asked for or it starts."""
    from twoway.drivers.reflector import Reflector  # once the fake is in place

    assert native.reflectors == []
    waiting: list[signal.Signals] = [signal.SIGTERM]

    def send_next() -> None:
        if waiting:
            os.kill(os.getpid(), waiting.pop(0))

    start, state = Reflector.start, Reflector.state

    def started(reflector: Reflector) -> None:
        start(reflector)
        send_next()

    def stated(reflector: Reflector) -> object:
        send_next()
        return state(reflector)

    monkeypatch.setattr(Reflector, "start", started)
    monkeypatch.setattr(Reflector, "state", stated)
    return waiting


@pytest.mark.usefixtures("signals")
def test_it_listens_drains_and_counts(native: FakeNative, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["reflector", "--listen", "127.0.0.1:8620", "--listen", "[::1]:8620", "--drain", "1s"]) == 0
    out, err = capsys.readouterr()
    assert out.startswith("listening on 127.0.0.1:8620, [::1]:8620 (stateless)\nSession-Reflector on ")
    assert "4 packets received, 3 reflected, 1 dropped" in out
    assert not err
    assert native.reflectors[0].drained_ns == 1_000_000_000


@pytest.mark.usefixtures("native")
def test_sigusr1_prints_the_counters(signals: list[signal.Signals], capsys: pytest.CaptureFixture[str]) -> None:
    signals[:] = [signal.SIGUSR1, signal.SIGUSR1, signal.SIGINT]
    assert main(["reflector", "--listen", "127.0.0.1:8620"]) == 0
    assert capsys.readouterr().out.count("4 packets received") == 3


@pytest.mark.usefixtures("native", "signals")
def test_json_is_a_document_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["reflector", "--listen", "127.0.0.1:8620", "--json"]) == 0
    listening, counters = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert listening == {
        "type": "listening",
        "schema": 1,
        "local_addresses": [{"address": "127.0.0.1", "port": 8620}],
    }
    assert counters["dispositions"] == {"test_packet:reflected": 3, "too_short:dropped": 1}


@pytest.mark.usefixtures("signals")
def test_what_was_not_granted_is_said_at_once(native: FakeNative, capsys: pytest.CaptureFixture[str]) -> None:
    native.obtained = {"receive-buffer": "425984 octets"}
    assert main(["reflector", "--listen", "127.0.0.1:8620"]) == 0
    assert capsys.readouterr().err == "twoway reflector: not granted: receive-buffer: 425984 octets\n"


@pytest.mark.usefixtures("signals")
def test_every_option_reaches_the_packet_plane(native: FakeNative, tmp_path: Path) -> None:
    path = tmp_path / "keys"
    path.write_text("paris ssid=7 text:secret\n")
    path.chmod(0o600)
    arguments = (
        f"-l 192.0.2.1:99 --vrf blue --netns far --workers 3 --stateful --max-sessions 5 --session-timeout 2s "
        f"--auth-key-file {path} --require-auth --allow 192.0.2.0/24 --allow 2001:db8::/32 --rate-limit 10k "
        f"--rate-limit-per-source 5 -D ef --no-larger-replies "
        "--require-tlv-hmac --location ports --permit-dscp ef,af41 --sync-source ptp --return-paths authenticated "
        "--return-path-allow 192.0.2.0/25 --reflect-headers --micro-session eth1=11 --micro-session eth2=12 "
        "--control-allow 192.0.2.128/25 --control-replies 9 --control-length 1k --control-rate 1m --control-volume 2k "
        "--dscp-ecn-monitoring --timestamps user --receive-buffer 64k"
    )
    assert main(["reflector", *arguments.split()]) == 0
    assert native.reflectors[0].spec.__dict__ == {
        "listen": (("192.0.2.1", 99, 0),), "interface": "blue", "netns": "far", "workers": 3, "stateful": True,
        "max_sessions": 5, "session_timeout_ns": 2_000_000_000, "keys": (("paris", 7, b"secret"),),
        "require_authentication": True, "allow": (("192.0.2.0", 24), ("2001:db8::", 32)), "rate_limit": 10_000,
        "rate_limit_per_source": 5, "dscp": 46, "larger_replies": False,
        "dscp_ecn_monitoring": True,
        "timestamps": "user", "receive_buffer": 65536,
        "tlvs": {
            "require_hmac": True, "location": "ports", "permitted_dscps": (46, 34), "sync_source": "ptp",
            "return_paths_authenticated": True, "return_paths_allow": (("192.0.2.0", 25),),
            "reflect_headers": True, "micro_sessions": (("eth1", 11), ("eth2", 12)),
            "control": ((("192.0.2.128", 25),), 9, 1024, 1 << 20, 2048),
        },
    }  # fmt: skip


@pytest.mark.usefixtures("signals")
@pytest.mark.parametrize(
    ("arguments", "permitted"),
    # Whoever fixes the code point does not leave it to whoever asks.
    [([], None), (["-D", "ef"], (46,)), (["-D", "ef", "--permit-dscp", "be"], (0,))],
)
def test_tlvs_are_processed_unless_told(
    native: FakeNative, arguments: list[str], permitted: tuple[int, ...] | None
) -> None:
    assert main(["reflector", *arguments]) == 0
    assert native.reflectors[0].spec.__dict__["tlvs"] == {
        "require_hmac": False, "location": "addresses", "permitted_dscps": permitted, "sync_source": None,
        "return_paths_authenticated": True, "return_paths_allow": (), "reflect_headers": False, "micro_sessions": (),
        "control": None,
    }  # fmt: skip


@pytest.mark.usefixtures("signals")
def test_several_replies_are_bounded_even_where_nobody_says_how(native: FakeNative) -> None:
    assert main(["reflector", "--control-allow", "::/0"]) == 0
    tlvs = native.reflectors[0].spec.__dict__["tlvs"]
    assert tlvs["control"] == ((("::", 0),), 16, 1472, 125_000, 65_536)


@pytest.mark.usefixtures("signals")
def test_tlvs_may_be_left_alone(native: FakeNative) -> None:
    assert main(["reflector", "--no-tlvs"]) == 0
    assert "tlvs" not in native.reflectors[0].spec.__dict__


@pytest.mark.usefixtures("native")
@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["-l", "localhost:99"], "listen: 'localhost:99' is not a numeric address, such as 192.0.2.1:862 or [::1]:862"),
        (["-l", "192.0.2.1:x"], "listen: '192.0.2.1:x': 'x' is not a port from 0 to 65535"),
        (
            ["--allow", "::/129"],
            (
                "allow: '::/129' is no network such as 192.0.2.0/24: '::/129' does not appear to be an "
                "IPv4 or IPv6 network"
            ),
        ),
        (
            ["--micro-session", "eth1"],
            "argument --micro-session: 'eth1' is not IFACE=ID, such as eth1=11 (see twoway reflector --help)",
        ),
        (
            ["--micro-session", "eth1=0"],
            "argument --micro-session: '0' is not a number from 1 to 65535 (see twoway reflector --help)",
        ),
        (
            ["--return-paths", "off", "--return-path-allow", "::/0"],
            "return_path_allow: it names whose return paths are obeyed, but they are off",
        ),
        (
            ["--control-rate", "1k"],
            "--control-rate: it bounds what a --control-allow permits, and there is none",
        ),
        (
            ["--control-allow", "::/0", "--control-length", "64k"],
            "control_length: 65536 is not from 1 to 65535",
        ),
        (["--require-auth"], "--require-auth: it needs the keys of an --auth-key-file"),
        (["--require-tlv-hmac"], "--require-tlv-hmac: it needs the keys of an --auth-key-file"),
        (["-I", "a", "--vrf", "b"], "--vrf: a socket is bound to an interface or to a VRF, not to both"),
        (["--workers", "0"], "argument --workers: '0' is not a number from 1 to 256 (see twoway reflector --help)"),
        (
            ["--rate-limit", "x"],
            (
                "argument --rate-limit: 'x' is not a rate such as 500, 10k or 1M (packets a second) (see "
                "twoway reflector --help)"
            ),
        ),
        (["target"], "unrecognized arguments: target (see twoway reflector --help)"),
    ],
)
def test_refusals(arguments: list[str], line: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["reflector", *arguments]) == 2
    assert capsys.readouterr() == ("", f"twoway reflector: {line}\n")


def test_no_privilege_for_the_port(native: FakeNative, capsys: pytest.CaptureFixture[str]) -> None:
    native.reflector_errors = [PlaneError("bind", "0.0.0.0:862", errno.EACCES)]
    assert main(["reflector"]) == 2
    assert capsys.readouterr() == (
        "",
        (
            "twoway reflector: bind 0.0.0.0:862: Permission denied: ports below 1024 need CAP_NET_BIND_SERVICE: "
            "choose a port above 1023 (--listen ADDR:PORT), or run as root or with this capability "
            "(AmbientCapabilities= in a systemd unit)\n"
        ),
    )


def test_without_a_reader_it_goes_on_reflecting(
    native: FakeNative, signals: Iterable[signal.Signals], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert signals == [signal.SIGTERM]
    read, write = os.pipe()
    os.close(read)
    with os.fdopen(write, "w") as pipe:
        monkeypatch.setattr(sys, "stdout", pipe)
        assert main(["reflector", "--listen", "127.0.0.1:8620"]) == 0
        monkeypatch.undo()
    assert native.reflectors[0].drained_ns is not None
