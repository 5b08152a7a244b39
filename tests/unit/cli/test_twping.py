"""`twping` and `owping` from their arguments to their exit codes, over a Control-Client without a network."""

from __future__ import annotations

import asyncio
import errno
import os
import signal
import sys
import time
from dataclasses import dataclass, field, replace
from ipaddress import IPv4Address
from typing import TYPE_CHECKING, Self

import pytest

from twoway.analysis.samples import Status
from twoway.cli import owping, twping
from twoway.control.owamp_codec import SkipRange
from twoway.errors import ConfigError, ControlConnectionError, KeyFileError, PlaneError, SessionRefusedError
from twoway.export.perfsonar_records import timestamp_of

from ..measured import MS, START_NS, Rows, Span, result

if TYPE_CHECKING:
    from array import array
    from collections.abc import AsyncIterator

    from twoway.analysis.result import Result
    from twoway.config.managed import ControlOptions, SessionRequest

FACTS: dict[str, int | None] = {"local_synchronized": 1, "local_error_ns": 20_000, "far_error_ns": 30_000}


def sample(sequence: int, status: Status = Status.RECEIVED) -> dict[str, int]:
    t1 = START_NS + 100 * MS * sequence
    row = {"sequence": sequence, "status": status, "t1_ns": t1, "sender_ttl": 255, "returned_ttl": 250}
    if status is Status.RECEIVED:
        row |= {"t2_ns": t1 + 60_000, "t3_ns": t1 + 65_000, "t4_ns": t1 + 105_000, "reflector_sequence": sequence}
    return row


class Columns:
    """Records of an OWAMP session: 100 packets numbered from 0, under way for a millisecond each."""

    lost = send_error_estimate = receive_error_estimate = [0] * 100

    def __init__(self) -> None:
        self.sequence = list(range(100))
        self.send_timestamp = [(3_976_311_845 << 32) + (number << 30) for number in range(100)]
        self.receive_timestamp = [sent + (1 << 32) // 1000 for sent in self.send_timestamp]
        self.ttl = [255] * 100

    def __getattribute__(self, name: str) -> array[int]:
        from array import array

        return array("Q", object.__getattribute__(self, name))


@dataclass
class Recorded:
    """What a Session-Receiver recorded."""

    batch: Columns = field(default_factory=Columns)
    skip_ranges: tuple[SkipRange, ...] = ()


@dataclass
class Network:
    """What the Control-Client meets, and what it was asked for."""

    batches: list[Rows] = field(default_factory=lambda: [Rows(sample(0), sample(1), sample(2, Status.LOST_FORWARD))])
    connect_error: Exception | None = None
    request_errors: list[Exception] = field(default_factory=list)
    endless: bool = False
    recorded: bool = True
    targets: list[str] = field(default_factory=list)
    options: list[ControlOptions] = field(default_factory=list)
    requests: list[SessionRequest] = field(default_factory=list)
    stopped: bool = False


class Session:
    """A test-session whose samples are written down."""

    sid = bytes(range(16))

    def __init__(self, network: Network, request: SessionRequest, protocol: str) -> None:
        self._network = network
        self._request = request
        self._aborted = asyncio.Event()
        self.direction = "two-way" if protocol == "twamp" else "backward" if request.server_sends else "forward"
        self.recorded = Recorded(skip_ranges=(SkipRange(0, 9),)) if network.recorded else None
        self.refusal = SessionRefusedError("fetch a test-session", "192.0.2.1:861", 1, "failure")

    async def __aiter__(self) -> AsyncIterator[Rows]:
        for batch in self._network.batches:
            yield batch
        if self._network.endless:
            os.kill(os.getpid(), signal.SIGINT)
            await self._aborted.wait()

    def abort(self) -> None:
        self._aborted.set()

    def scheduled_ns(self) -> list[int]:
        return [START_NS + 100 * MS * number for number in range(100)]

    def result(self, *, interrupted: bool) -> Result:
        return result(
            Span(facts=FACTS),
            interrupted=interrupted,
            local_address="127.0.0.1",
            local_port=self._request.sender_port or self._request.receiver_port,
            port=19000,
            format="twamp",
            payload_len=14 + (self._request.padding_length or 0),
            timeout_ns=self._request.timeout_ns,
            interval_ns=self._request.interval_ns,
            dscp_ecn=self._request.dscp << 2,
        )


class Client:
    """Stands in for `ControlClient`."""

    network: Network
    mode = "unauthenticated"
    local_address = IPv4Address("127.0.0.1")
    peer_address = IPv4Address("192.0.2.1")
    round_trip_ns = 5 * MS

    def __init__(self, options: ControlOptions) -> None:
        self._options = options

    @classmethod
    async def connect(cls, target: str, options: ControlOptions) -> Self:
        cls.network.targets.append(target)
        cls.network.options.append(options)
        if cls.network.connect_error is not None:
            raise cls.network.connect_error
        return cls(options)

    async def request_session(self, request: SessionRequest) -> Session:
        self.network.requests.append(request)
        if self.network.request_errors:
            raise self.network.request_errors.pop(0)
        return Session(self.network, request, self._options.protocol)

    async def start(self) -> None:
        pass

    async def stop(self) -> None:
        self.network.stopped = True

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        pass


@pytest.fixture
def network(monkeypatch: pytest.MonkeyPatch) -> Network:
    met = Network()
    monkeypatch.setattr("twoway.drivers.control_client.ControlClient", type("Client", (Client,), {"network": met}))
    return met


def test_the_report_follows_the_estimate(network: Network, capsys: pytest.CaptureFixture[str]) -> None:
    assert twping.main(["-c3", "-L1", "-v", "192.0.2.1"]) == 0
    printed = capsys.readouterr().out.splitlines()
    port = network.requests[0].sender_port
    assert printed[0] == "Approximately 1.3 seconds until results available"
    assert printed[2] == f"--- twping statistics from [localhost]:{port} to [192.0.2.1]:19000 ---"
    assert printed[3] == "SID:\t000102030405060708090a0b0c0d0e0f"
    assert "seq_no=2          *LOST*" in printed
    assert "3 sent, 1 lost (33.333%), 0 send duplicates, 0 reflect duplicates" in printed
    assert "reflect hops = 5 (consistently)" in printed
    assert 8760 <= port <= 9960
    assert network.requests[0].receiver_port == port
    assert network.stopped


def test_keys_for_programs(network: Network, capsys: pytest.CaptureFixture[str]) -> None:
    assert twping.main(["-M", "-s", "50", "-D", "EF", "-c", "3", "192.0.2.1"]) == 0
    keys = dict(line.split("\t") for line in capsys.readouterr().out.splitlines() if line.count("\t") == 1)
    assert keys["PACKET_PADDING"] == "50"
    assert keys["DSCP"] == "0x2e"
    assert keys["SENT"] == "3"
    assert keys["LOST"] == "1"
    assert keys["SESSION_FINISHED"] == "1"
    assert network.requests[0].dscp == 46


def test_raw_prints_nothing_but_rows(network: Network, capsys: pytest.CaptureFixture[str]) -> None:
    assert twping.main(["-R", "-c3", "192.0.2.1"]) == 0
    output = capsys.readouterr()
    assert [len(line.split()) for line in output.out.splitlines()] == [16, 16, 16]
    assert output.err == ""
    assert network.stopped


def test_quiet_prints_nothing(network: Network, capsys: pytest.CaptureFixture[str]) -> None:
    assert twping.main(["-Q", "-c3", "192.0.2.1"]) == 0
    assert capsys.readouterr() == ("", "")
    assert network.stopped


@pytest.mark.parametrize(
    ("options", "notes"),
    [
        ("-Q -v", ["Ignoring '-v', '-Q' set"]),
        ("-Q -M", ["Ignoring '-M', '-Q' set"]),
        ("-R -M -v", ["Ignoring '-v', '-Q' set", "Ignoring '-M', '-Q' set"]),
        ("-M -v", ["Ignoring '-v', '-M' set"]),
        ("-v", []),
    ],
)
def test_options_without_effect_are_named(
    network: Network, options: str, notes: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert twping.main([*options.split(), "192.0.2.1"]) == 0
    assert capsys.readouterr().err.splitlines() == [f"twping: {note}" for note in notes]
    assert network.stopped


def test_nothing_but_losses_is_a_result(network: Network) -> None:
    network.batches = [Rows(*(sample(number, Status.LOST_UNATTRIBUTED) for number in range(3)))]
    assert twping.main(["-c3", "192.0.2.1"]) == 0


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (ControlConnectionError("192.0.2.1:862", "Connection refused"), "Connection refused"),
        (SessionRefusedError("set up a control connection", "192.0.2.1:862", 1, "failure"), "failure"),
        (ConfigError("source", "of another family"), "twping: -S: of another family"),
        (KeyFileError("pfs", 3, "not of the form"), "twping: key file pfs line 3: not of the form"),
        (OSError(errno.EIO, "Input/output error", "/dev/null"), "/dev/null: Input/output error"),
    ],
)
def test_what_cannot_be_measured_is_one_line_and_exit_code_1(
    network: Network, error: Exception, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    network.connect_error = error
    assert twping.main(["192.0.2.1"]) == 1
    output = capsys.readouterr()
    assert output.out == ""
    assert output.err.startswith("twping: ")
    assert message in output.err
    assert output.err.count("\n") == 1


def test_an_interruption_reports_what_there_is(network: Network, capsys: pytest.CaptureFixture[str]) -> None:
    network.endless = True
    assert twping.main(["-M", "-c100", "192.0.2.1"]) == 0
    printed = capsys.readouterr().out
    assert "SENT\t3\n" in printed
    assert "SESSION_FINISHED\t0\n" in printed
    assert network.stopped


def test_an_interruption_before_there_is_anything_is_exit_code_2(network: Network) -> None:
    network.connect_error = KeyboardInterrupt()  # type: ignore[assignment]  # what SIGINT raises there
    assert twping.main(["192.0.2.1"]) == 2


def test_a_port_in_use_is_passed_over(network: Network) -> None:
    network.request_errors = [PlaneError("bind", "127.0.0.1:9000", errno.EADDRINUSE)]
    assert twping.main(["-Q", "-P", "9000-9001", "192.0.2.1"]) == 0
    assert {request.sender_port for request in network.requests} == {9000, 9001}


def test_a_range_of_ports_that_is_used_up_is_named(network: Network, capsys: pytest.CaptureFixture[str]) -> None:
    network.request_errors = [PlaneError("bind", "127.0.0.1:9000", errno.EADDRINUSE)] * 2
    assert twping.main(["-P", "9000-9001", "192.0.2.1"]) == 1
    assert capsys.readouterr().err == "twping: -P: every port from 9000 to 9001 is in use\n"


def test_any_port_will_do_if_so_told(network: Network) -> None:
    assert twping.main(["-Q", "-P0", "192.0.2.1"]) == 0
    assert network.requests[0].sender_port == 0


def test_the_server_is_asked_about_another_address(network: Network) -> None:
    assert twping.main(["-Q", "192.0.2.9", "server.example.net:8862"]) == 0
    assert network.targets == ["server.example.net:8862"]
    assert network.requests[0].receiver_address == "192.0.2.9"


def test_owping_reports_both_directions(network: Network, capsys: pytest.CaptureFixture[str]) -> None:
    network.batches = []
    assert owping.main(["-c100", "-n", "u", "192.0.2.1"]) == 0
    printed = capsys.readouterr().out.splitlines()
    sender, receiver = network.requests
    heads = [line for line in printed if line.startswith("---")]
    assert heads == [
        f"--- owping statistics from [localhost]:{sender.sender_port} to [192.0.2.1]:19000 ---",
        f"--- owping statistics from [192.0.2.1]:19000 to [localhost]:{receiver.receiver_port} ---",
    ]
    assert printed.count("90 sent, 0 lost (0.000%), 0 duplicates") == 2  # ten were never sent
    assert printed.count("one-way delay min/median/max = 1e+03/1e+03/1e+03 us, (unsync)") == 2
    assert network.options[0].protocol == "owamp"


def test_owping_tells_when_packets_were_to_leave(network: Network, capsys: pytest.CaptureFixture[str]) -> None:
    network.batches = []
    assert owping.main(["-M", "-t", "-c100", "192.0.2.1"]) == 0
    printed = capsys.readouterr().out.splitlines()
    # Numbers 0 to 9 were never sent.
    assert f"START_TIME\t{timestamp_of(START_NS + 1000 * MS):020}" in printed
    assert f"END_TIME\t{timestamp_of(START_NS + 9900 * MS):020}" in printed
    start_ns = network.requests[0].start_ns
    assert start_ns is not None
    assert 0 < start_ns - time.time_ns() <= 1015 * MS


def test_owping_says_whose_results_are_not_to_be_had(network: Network, capsys: pytest.CaptureFixture[str]) -> None:
    network.batches = []
    network.recorded = False
    assert owping.main(["-t", "192.0.2.1"]) == 0
    output = capsys.readouterr()
    assert output.err.startswith("owping: no results of session 000102030405060708090a0b0c0d0e0f: fetch a test-session")
    assert "statistics" not in output.out


def test_a_reader_who_leaves_ends_it_quietly(
    network: Network, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def leave(_text: str) -> int:
        raise BrokenPipeError

    monkeypatch.setattr(sys.stdout, "write", leave)
    monkeypatch.setattr("twoway.cli.arguments.abandon_output", lambda: None)
    assert twping.main(["192.0.2.1"]) == 1
    assert capsys.readouterr().err == ""
    assert replace(network.requests[0], sender_port=0, receiver_port=0).count == 100
