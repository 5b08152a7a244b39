"""The whole thing on loopback: our Session-Sender against our Session-Reflector, as anybody without privileges."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import struct
import subprocess
import sys
import time
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

import twoway
from twoway.config.reflection import Reflection
from twoway.errors import PlaneError

from .serving import answered

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from twoway.drivers.plane import SampleBatch

pytest.importorskip("twoway._native", reason="the extension module is not built")
MS = 1_000_000
BOUND_S = 20


def target(reflector: twoway.Reflector) -> str:
    address, port = reflector.local_addresses[0]
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"


@pytest.fixture
def reflector() -> Iterator[twoway.Reflector]:
    with twoway.Reflector(listen=["127.0.0.1:0"], workers=1, stateful=True) as running:
        yield running


@pytest.mark.parametrize("protocol", ["stamp", "light"])
def test_a_measurement(reflector: twoway.Reflector, protocol: str) -> None:
    result = twoway.measure(target(reflector), protocol=protocol, count=20, interval_ns=MS)
    sent = answered(result.summary, 20)
    median = result.summary.distribution("round_trip").quantile(0.5)
    assert median is not None
    assert 0 < median < 1000 * MS
    assert reflector.counters()["test_packet:reflected"] == sent


def test_an_authenticated_measurement() -> None:
    keys = [("paris", 7, b"secret")]
    with twoway.Reflector(listen=["127.0.0.1:0"], workers=1, keys=keys, require_authentication=True) as reflector:
        good = twoway.measure(target(reflector), ssid=7, key=b"secret", count=3, interval_ns=MS)
        bad = twoway.measure(target(reflector), ssid=7, key=b"wrong", count=3, interval_ns=MS, timeout_ns=50 * MS)
        answered(good.summary, 3)
        assert bad.summary.counter("received") == 0
        assert reflector.counters()["bad_hmac:dropped"] == bad.summary.counter("sent") > 0


def test_ipv6(reflector: twoway.Reflector) -> None:
    del reflector
    with twoway.Reflector(listen=["[::1]:0"], workers=1) as over_ipv6:
        answered(twoway.measure(target(over_ipv6), count=2, interval_ns=MS).summary, 2)


def test_columns_are_read_without_a_copy(reflector: twoway.Reflector) -> None:
    numpy = pytest.importorskip("numpy", reason="numpy is not installed")
    batches: list[SampleBatch] = []
    twoway.measure(target(reflector), count=10, interval_ns=MS, on_samples=batches.append)
    arrays = [numpy.asarray(batch.round_trip_ns) for batch in batches]
    assert sum(map(len, arrays)) == 10
    assert all(array.dtype == numpy.int64 and not array.flags.owndata for array in arrays)


async def test_on_a_loop(reflector: twoway.Reflector) -> None:
    result = await twoway.measure_async(target(reflector), count=5, interval_ns=MS)
    answered(result.summary, 5)


async def test_a_stream_merges_to_the_whole(reflector: twoway.Reflector) -> None:
    measurement = twoway.stream(target(reflector), count=50, interval_ns=2 * MS, report_interval_ns=20 * MS)
    intervals = [interval async for interval in measurement]
    assert len(intervals) > 2
    sent = answered(measurement.result().summary, 50)
    assert sum(interval.summary.counter("received") for interval in intervals) == sent
    assert sum(len(batch) for interval in intervals for batch in interval.samples) == 50


def environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": ":".join(path for path in sys.path if path)}


@contextmanager
def reflecting(*options: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """`twoway reflector` on a free port, and where it listens."""
    command = [sys.executable, "-m", "twoway", "reflector", "--listen", "127.0.0.1:0", "--workers", "1", *options]
    with subprocess.Popen(command, env=environment(), stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            line = process.stdout.readline()
            assert line.startswith("listening on 127.0.0.1:")
            yield process, line.split()[2]
        finally:
            process.kill()


def ping(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "twoway", "ping", *arguments]
    return subprocess.run(command, env=environment(), capture_output=True, text=True, timeout=60, check=False)


def test_both_commands(tmp_path: Path) -> None:
    keys = tmp_path / "keys"
    keys.write_text("paris text:correct horse\n")
    keys.chmod(0o600)
    with reflecting("--stateful", "--auth-key-file", str(keys)) as (process, where):
        plain = ping("-c", "5", "-i", "5ms", where)
        assert plain.returncode == 0, plain.stderr
        # A slot that this busy host missed was not sent, and so is not among them.
        found = re.search(r"^(\d) packets transmitted, \1 received, 0% packet loss", plain.stdout, re.MULTILINE)
        assert found is not None, plain.stdout
        authenticated = ping("-c", "3", "-i", "5ms", "--auth-key-file", str(keys), "--json", where)
        assert authenticated.returncode == 0, authenticated.stderr
        said = json.loads(authenticated.stdout)
        assert said["packets"]["received"] == said["packets"]["sent"] == 3 - said["tool"]["missed_slots"]
        process.send_signal(signal.SIGTERM)
        out, _ = process.communicate(timeout=10)
        assert process.returncode == 0
        count = int(found[1]) + said["packets"]["sent"]
        assert f"{count} packets received, {count} reflected, 0 dropped" in out


def test_a_port_in_use_is_one_line() -> None:
    with reflecting() as (_, where):
        command = [sys.executable, "-m", "twoway", "reflector", "--listen", where, "--workers", "1"]
        done = subprocess.run(command, env=environment(), capture_output=True, text=True, timeout=10, check=False)
        assert done.returncode == 2
        assert done.stderr == (
            f"twoway reflector: bind {where}: Address already in use: another program has this port: "
            f"`ss -ulpn sport = :{where.rpartition(':')[2]}` shows which\n"
        )


def test_ctrl_c_reports() -> None:
    with reflecting() as (_, where):
        command = [sys.executable, "-m", "twoway", "ping", "-i", "60ms", "-W", "100ms", where]
        with subprocess.Popen(
            command, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        ) as process:
            assert process.stdout is not None
            while "seq=3" not in process.stdout.readline():
                pass
            process.send_signal(signal.SIGQUIT)
            process.send_signal(signal.SIGINT)
            out, err = process.communicate(timeout=10)
        assert process.returncode == 0
        assert "packets transmitted" in out
        assert err == "" or " packets, 0% loss, min/avg/p99/max = " in err


def test_a_reflector_goes_by_other_rules_and_goes_on_with_its_numbers() -> None:
    """Keys, the allow list and rate limits change under it; whoever it answers is numbered on."""
    reflection = Reflection(
        listen=("127.0.0.1:0",), workers=1, stateful=True, keys=(("k1", 7, b"old"),), allow=("127.0.0.0/8",)
    )
    with twoway.Reflector(reflection) as running, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        sender.connect(running.local_addresses[0])
        sender.settimeout(BOUND_S)

        def number() -> int:
            """Of the reply to a request (RFC 8762 section 4.2.1): SSID 0, Error Estimate 0x8001, a time."""
            sender.send(struct.pack("!IQHH28x", 0, 0xE0000000_00000001, 0x8001, 0))
            return int.from_bytes(sender.recv(100)[:4])

        assert [number() for _ in range(3)] == [0, 1, 2]
        other = replace(reflection, keys=(("k1", 7, b"new"), ("k2", 8, b"more")), rate_limit=1000)
        assert running.change(other)
        assert number() == 3
        assert running.change(replace(other, allow=("192.0.2.0/24",)))
        refused = running.counters()
        sender.send(struct.pack("!IQHH28x", 0, 0xE0000000_00000001, 0x8001, 0))
        deadline = time.monotonic() + BOUND_S
        while running.counters() == refused:
            assert time.monotonic() < deadline
            time.sleep(0.005)
        (dropped,) = {name for name, count in running.counters().items() if count > refused[name]}
        assert dropped.endswith(":dropped")
        assert running.change(other)
        assert number() == 4
        # What is more than that needs another reflector; what is wrong changes nothing.
        for more in (replace(other, stateful=False), replace(other, keys=()), other):
            assert not running.change(more)
        with pytest.raises(PlaneError):
            running.change(replace(other, keys=(("k1", 7, b""),)))
        assert number() == 5
