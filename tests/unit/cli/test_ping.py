"""`twoway ping` from its arguments to its exit code, over a packet plane without packets."""

from __future__ import annotations

import csv
import errno
import io
import json
import os
import signal
import sys
from typing import TYPE_CHECKING

import pytest

from twoway.cli.main import main
from twoway.cli.ping_arguments import OPTIONS, PingArguments, measurement_from, ping_parser
from twoway.config.measurement import Measurement
from twoway.errors import PlaneError
from twoway.path import ForwardPath, ReturnPath
from twoway.tlvs import Tlvs

if TYPE_CHECKING:
    from pathlib import Path

    from conftest import FakeNative


def asked(*arguments: str) -> Measurement:
    return measurement_from(ping_parser().parse_args(arguments, PingArguments()), keep_samples=False)


def test_without_options_all_is_default() -> None:
    assert asked("h") == Measurement("h", sample_capacity=0)


@pytest.mark.parametrize(
    ("arguments", "field", "value"),
    [
        ("-c 5", "count", 5),
        ("--count=5", "count", 5),
        ("-i 20ms", "interval_ns", 20_000_000),
        ("-i 0.2", "interval_ns", 200_000_000),
        ("-w 1m", "duration_ns", 60_000_000_000),
        ("--duration 1m", "duration_ns", 60_000_000_000),
        ("-W 500ms", "timeout_ns", 500_000_000),
        ("-s 1400", "payload_len", 1400),
        ("--size 1k", "payload_len", 1024),
        ("--fill random", "fill", "random"),
        ("-t 64", "ttl", 64),
        ("--ttl 64", "ttl", 64),
        ("-D ef", "dscp_ecn", 184),
        ("--dscp 10", "dscp_ecn", 40),
        ("-Q 0xb9", "dscp_ecn", 185),
        ("-4", "family", 4),
        ("-6", "family", 6),
        ("-I eth0", "interface", "eth0"),
        ("-I 192.0.2.9", "source", "192.0.2.9"),
        ("-S ::1", "source", "::1"),
        ("--source-port 5000", "source_port", 5000),
        ("--vrf blue", "interface", "blue"),
        ("--path srv6:fd00::1,fd00::2", "path", ForwardPath("srv6", segments=("fd00::1", "fd00::2"))),
        ("--path a=mpls:16@192.0.2.9%eth0", "path", ForwardPath("mpls", (), (16,), "192.0.2.9", "eth0")),
        ("--return-path mpls:16,17@192.0.2.9", "tlvs", Tlvs(return_path=ReturnPath("mpls", (), (16, 17), "192.0.2.9"))),
        ("--path a=plain --return-path a=none", "tlvs", Tlvs(return_path=ReturnPath("none"))),
        ("--netns far", "netns", "far"),
        ("--protocol light", "protocol", "light"),
        ("--ssid 0x1234", "ssid", 0x1234),
        ("--reflector-mode stateful", "reflector_mode", "stateful"),
        ("--protocol light --dscp-ecn-monitoring", "dscp_ecn_monitoring", True),
        ("--ssid 7 --require-ssid", "require_ssid", True),
        ("--timestamps user", "timestamps", "user"),
        ("--clock-format ptp", "clock_format", "ptp"),
        ("--busy-poll", "busy_poll", True),
        ("--receive-buffer 64k", "receive_buffer", 65536),
        ("--schedule poisson --seed 7", "seed", 7),
        ("-a 50,99", "percentiles", (50.0, 99.0)),
    ],
)
def test_options(arguments: str, field: str, value: object) -> None:
    assert getattr(asked(*arguments.split(), "h"), field) == value


@pytest.mark.usefixtures("native")
@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        ("", "the following arguments are required: TARGET (see twoway ping --help)"),
        ("h -c 0", "argument -c/--count: '0' is not a number from 1 to 4294967296 (see twoway ping --help)"),
        (
            "h -i 1x",
            "argument -i/--interval: '1x' is not a duration such as 20ms, 1s or 0.5 (seconds) (see twoway ping --help)",
        ),
        ("h -i 0", "argument -i/--interval: '0' is not more than 0 (see twoway ping --help)"),
        (
            "h -D af44",
            (
                "argument -D/--dscp: 'af44' is no DSCP: use ef, af11 to af43, cs0 to cs7, va, le, be or a number "
                "from 0 to 63 (see twoway ping --help)"
            ),
        ),
        ("h -D ef -Q 1", "argument -Q/--tos: not allowed with argument -D/--dscp (see twoway ping --help)"),
        ("h --json --csv", "argument --csv: not allowed with argument --json (see twoway ping --help)"),
        ("h --percent", "unrecognized arguments: --percent (see twoway ping --help)"),
        (
            "h -a 101",
            (
                "argument -a/--percentiles: '101' is not a list of percentiles such as 50,95,99.9 (see "
                "twoway ping --help)"
            ),
        ),
        ("h:0", "TARGET: 'h:0': '0' is not a port from 1 to 65535"),
        ("h --samples", "--samples: it goes with --json"),
        ("h --key-id a", "--key-id: it chooses a key of --auth-key-file, which is missing"),
        ("h -I 192.0.2.1 -S 192.0.2.2", "-I: 192.0.2.1 is an address, and -S names another one to send from"),
        ("h -I eth0 --vrf blue", "--vrf: a packet is bound to an interface or to a VRF, not to both"),
        ("::1 -S 192.0.2.1", "-S: 192.0.2.1 and ::1 are not of the same address family"),
        ("192.0.2.1 -S host", "-S: 'host' is no numeric address"),
        ("192.0.2.1 -s 65508", "-s: 65508 is not from 1 to 65507"),
        ("192.0.2.1 --protocol light --ssid 1", "--ssid: only STAMP packets carry one"),
        (
            "192.0.2.1 --dscp-ecn-monitoring",
            "--dscp-ecn-monitoring: only TWAMP packets carry it (RFC 7750); STAMP has a TLV for it",
        ),
        ("::1 -4", "resolve ::1: this is an IPv6 address, but IPv4 was asked for (-4)"),
        ("h --auth-key-file /nonexistent", "key file /nonexistent: No such file or directory"),
        ("h --plot a.pdf", "--plot: 'a.pdf' ends neither in .png nor in .svg"),
        (
            "h --plot /nonexistent/a.png",
            ("write /nonexistent/a.png: the directory /nonexistent does not exist or is not writable"),
        ),
    ],
)
def test_refusals(arguments: str, line: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["ping", *arguments.split()]) == 2
    assert capsys.readouterr() == ("", f"twoway ping: {line}\n")


def test_a_condition_that_is_none(native: FakeNative, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["ping", "192.0.2.1", "--fail-if", "loss"]) == 2
    assert capsys.readouterr().err == (
        "twoway ping: --fail-if: 'loss' is not a comparison such as 'loss>1%' or 'rtt-p99>20ms'\n"
    )
    assert not native.senders


def test_fields_have_options() -> None:
    named = {option for options in OPTIONS.values() for option in options.split(", ")}
    assert named <= {
        *(string for action in ping_parser()._actions for string in action.option_strings),  # noqa: SLF001  (argparse has no other way)
        "TARGET",
    }


def test_keys_come_from_a_file(native: FakeNative, tmp_path: Path) -> None:
    path = tmp_path / "keys"
    path.write_text("paris ssid=7 text:secret\nlyon text:other\n")
    path.chmod(0o600)
    assert main(["ping", "192.0.2.1", "-qc1", "--auth-key-file", str(path), "--key-id", "paris"]) == 0
    spec = native.senders[0].spec.__dict__
    assert (spec["format"], spec["stamp_key"], spec["ssid"]) == ("stamp-authenticated", b"secret", 7)


def test_a_line_for_each_packet_and_the_report(native: FakeNative, capsys: pytest.CaptureFixture[str]) -> None:
    native.fates = [200_000, None]
    assert main(["ping", "192.0.2.1", "-c", "2"]) == 0
    out, err = capsys.readouterr()
    lines = out.splitlines()
    assert lines[0] == "STAMP to 192.0.2.1:862: 44 octets of payload"
    assert lines[1] == "44 octets from 192.0.2.1: seq=0 rtt=0.200 ms"
    assert lines[2] == "no reply from 192.0.2.1: seq=1 lost"
    assert "2 packets transmitted, 1 received, 50% packet loss" in out
    assert not err


def test_quiet_is_only_the_report(native: FakeNative, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["ping", "192.0.2.1", "-q", "-c", "2"]) == 0
    out = capsys.readouterr().out
    assert "seq=" not in out
    assert "2 packets transmitted" in out
    assert native.senders[0].spec.__dict__["sample_capacity"] == 0


def test_above_20_packets_a_second_there_is_a_status_line(
    native: FakeNative, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["ping", "192.0.2.1", "-i", "10ms", "-c", "7"]) == 0
    out = capsys.readouterr().out
    assert "seq=" not in out
    assert "\n7 sent, 7 received, 0% loss; rtt median/p99/max 0.200/0.200/0.200 ms\n" in out
    assert native.senders[0].spec.__dict__["sample_capacity"] == 0


@pytest.mark.parametrize(("fates", "code"), [([1000], 0), ([None], 1), ([None, 1000], 0)])
def test_exit_codes(native: FakeNative, fates: list[int | None], code: int) -> None:
    native.fates = fates
    assert main(["ping", "192.0.2.1", "-c", "2", "-q"]) == code


def test_a_violated_condition_is_3_and_said(native: FakeNative, capsys: pytest.CaptureFixture[str]) -> None:
    native.fates = [None, 5_000_000]
    arguments = ["ping", "192.0.2.1", "-c", "2", "-q", "--fail-if"]
    assert main([*arguments, "loss>60%"]) == 0
    assert main([*arguments, "loss>10%", "--fail-if", "rtt-max>1ms"]) == 3
    err = capsys.readouterr().err.splitlines()
    assert err[0].startswith("twoway ping: --fail-if loss>10%: ")
    assert err[1].startswith("twoway ping: --fail-if rtt-max>1ms: ")


def test_errors_of_the_packet_plane(native: FakeNative, capsys: pytest.CaptureFixture[str]) -> None:
    native.open_error = PlaneError("bind to interface", "eth9", errno.ENODEV, "")
    assert main(["ping", "192.0.2.1", "-I", "eth9"]) == 2
    assert capsys.readouterr() == (
        "",
        (
            "twoway ping: bind to interface eth9: No such device: "
            "no such interface or VRF in this network namespace: `ip link` lists them\n"
        ),
    )


def test_json_is_one_document(native: FakeNative, capsys: pytest.CaptureFixture[str]) -> None:
    native.fates = [200_000, None]
    assert main(["ping", "192.0.2.1", "-c", "2", "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert (document["type"], document["schema"]) == ("result", 1)
    assert "samples" not in document
    assert main(["ping", "192.0.2.1", "-c", "2", "--json", "--samples"]) == 0
    assert len(json.loads(capsys.readouterr().out)["samples"]) == 2


def test_ndjson_is_a_record_a_line(native: FakeNative, capsys: pytest.CaptureFixture[str]) -> None:
    native.events = [(5, "send_error", errno.ENOBUFS)]
    assert main(["ping", "192.0.2.1", "-c", "2", "-i", "1ms", "--ndjson"]) == 0
    records = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [record["type"] for record in records] == ["session", "packet", "packet", "event", "summary"]


def test_csv_is_a_row_a_packet(native: FakeNative, capsys: pytest.CaptureFixture[str]) -> None:
    native.fates = [200_000, None]
    assert main(["ping", "192.0.2.1", "-c", "2", "--csv"]) == 0
    rows = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert [row["sequence"] for row in rows] == ["0", "1"]
    assert rows[1]["round_trip_ns"] == ""


@pytest.mark.usefixtures("native")
def test_a_histogram(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["ping", "192.0.2.1", "-c", "2", "-q", "--histogram"]) == 0
    assert "█" in capsys.readouterr().out


@pytest.mark.usefixtures("native")
@pytest.mark.parametrize("suffix", ["png", "svg"])
def test_a_plot(tmp_path: Path, suffix: str) -> None:
    pytest.importorskip("matplotlib", reason="the plot extra is not installed")
    path = tmp_path / f"path.{suffix}"
    assert main(["ping", "192.0.2.1", "-c", "3", "-q", "--plot", str(path)]) == 0
    assert path.stat().st_size > 1000


def test_events_have_lines(native: FakeNative, capsys: pytest.CaptureFixture[str]) -> None:
    native.events = [(5, "send_error", errno.ENOBUFS)]
    assert main(["ping", "192.0.2.1", "-c", "1"]) == 0
    assert (
        "event: a packet could not be sent: No buffer space available: the kernel is out of buffers: "
        in capsys.readouterr().out
    )


class Keyboard:
    """Sends this process a signal when the sender's packet number `at` is taken."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, native: FakeNative, signals: dict[int, signal.Signals]) -> None:
        from twoway.drivers.plane import RunningMeasurement

        take = RunningMeasurement.take
        calls = iter(range(1_000_000))

        def take_and_type(running: RunningMeasurement) -> object:
            number = next(calls)
            if number in signals:
                os.kill(os.getpid(), signals[number])
            return take(running)

        monkeypatch.setattr(RunningMeasurement, "take", take_and_type)
        assert native.planes == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_with_the_report(
    number: signal.Signals, native: FakeNative, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    Keyboard(monkeypatch, native, {3: number})
    assert main(["ping", "192.0.2.1"]) == 0
    out = capsys.readouterr().out
    assert native.senders[0].aborted
    assert "interrupted" in out
    assert "packets transmitted" in out
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_ctrl_backslash_is_an_interim_line(
    native: FakeNative, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    Keyboard(monkeypatch, native, {1: signal.SIGQUIT, 4: signal.SIGINT})
    assert main(["ping", "192.0.2.1"]) == 0
    err = capsys.readouterr().err
    assert err.count("\n") == 1
    assert "packets, 0% loss, min/avg/p99/max = " in err


def test_a_reader_who_leaves_is_no_error(
    native: FakeNative, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    read, write = os.pipe()
    os.close(read)
    with os.fdopen(write, "w") as pipe:
        monkeypatch.setattr(sys, "stdout", pipe)
        assert main(["ping", "192.0.2.1"]) == 0
        monkeypatch.undo()
    assert native.senders == [] or native.senders[0].aborted
    assert capsys.readouterr().err == ""


class Terminal(io.StringIO):
    """A standard output that says it is a terminal."""

    def isatty(self) -> bool:
        return True


def test_on_a_terminal_the_status_line_is_rewritten(native: FakeNative, monkeypatch: pytest.MonkeyPatch) -> None:
    Keyboard(monkeypatch, native, {4: signal.SIGINT})
    monkeypatch.setattr("twoway.cli.live._REWRITE_NS", 1)
    terminal = Terminal()
    monkeypatch.setattr(sys, "stdout", terminal)
    assert main(["ping", "192.0.2.1", "-i", "1ms"]) == 0
    text = terminal.getvalue()
    before, _, report = text.partition("\r\x1b[K")
    assert "\r1 sent, 1 received" in before or "\r2 sent, 2 received" in before
    assert "\r" not in report
