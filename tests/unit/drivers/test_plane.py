"""Measurements and Session-Reflectors over a packet plane without packets."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING

import pytest

import twoway
from twoway.config import defaults
from twoway.errors import ConfigError, PlaneError

if TYPE_CHECKING:
    from conftest import FakeNative
    from twoway.drivers.plane import SampleBatch


def test_one_call_measures(native: FakeNative) -> None:
    native.fates = [200_000, None, 300_000]
    result = twoway.measure("192.0.2.1:8620", count=3, interval_ns=20_000_000)
    assert result.summary.counter("sent") == 3
    assert result.summary.counter("received") == 2
    assert not result.interrupted
    assert (result.session.address, result.session.port) == ("192.0.2.1", 8620)
    assert result.session.target == "192.0.2.1:8620"
    assert native.planes[0].closed


def test_a_call_ends_by_itself(native: FakeNative) -> None:
    assert twoway.measure("192.0.2.1").summary.counter("sent") == defaults.API_COUNT
    assert native.senders[0].spec.__dict__["sample_capacity"] == 0


def test_a_duration_is_a_count_where_departures_are_known(native: FakeNative) -> None:
    twoway.measure("192.0.2.1", duration_ns=1_000_000_000, interval_ns=300_000_000)
    assert native.senders[0].spec.__dict__["count"] == 4


def test_a_duration_of_a_poisson_schedule_ends_by_the_clock(native: FakeNative) -> None:
    result = twoway.measure("192.0.2.1", duration_ns=1_000_000, schedule="poisson", seed=1)
    assert native.senders[0].stopped
    assert not result.interrupted


def test_samples_are_columns(native: FakeNative) -> None:
    native.fates = [100, None]
    batches: list[SampleBatch] = []
    twoway.measure("192.0.2.1", count=4, on_samples=batches.append)
    assert [value for batch in batches for value in batch.round_trip_ns.tolist()] == [100, -(2**63), 100, -(2**63)]
    assert memoryview(batches[0].round_trip_ns).format == "q"


def test_an_exception_of_the_callback_stops_everything(native: FakeNative) -> None:
    def fail(_: SampleBatch) -> None:
        raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        twoway.measure("192.0.2.1", on_samples=fail)
    assert native.planes[0].closed


def test_every_option_reaches_the_packet_plane(native: FakeNative) -> None:
    twoway.measure(
        "[fe80::1%7]:8620", count=1, key=b"k", ssid=9, clock_format="ptp", payload_len=200, fill="random", seed=5,
        timeout_ns=7, dscp_ecn=184, ttl=3, source="fe80::2", source_port=99, interface="eth9", netns="blue",
        timestamps="user", reflector_mode="stateful", receive_buffer=1000, busy_poll=True, sample_capacity=8,
        on_samples=lambda _: None,
    )  # fmt: skip
    assert native.senders[0].spec.__dict__ == {
        "target": "fe80::1", "target_port": 8620, "scope_id": 7, "source": "fe80::2", "source_port": 99,
        "interface": "eth9", "netns": "blue", "format": "stamp-authenticated", "stamp_key": b"k",
        "twamp_aes_key": None, "twamp_hmac_key": None, "ssid": 9, "timestamp_format": "ptp", "payload_len": 200,
        "fill": "random", "count": 1, "schedule": "periodic", "interval_ns": 1_000_000_000, "seed": 5, "timeout_ns": 7,
        "dscp_ecn": 184, "ttl": 3, "timestamps": "user", "reflector_mode": "stateful", "dscp_ecn_monitoring": False,
        "sample_capacity": 8, "receive_buffer": 1000,
    }  # fmt: skip
    assert native.planes[0].busy_poll


def test_an_unseeded_measurement_differs_each_time(native: FakeNative) -> None:
    for _ in range(2):
        twoway.measure("192.0.2.1", count=1)
    first, second = (sender.spec.__dict__["seed"] for sender in native.senders)
    assert first != second


def test_a_refused_socket_closes_the_plane(native: FakeNative) -> None:
    native.open_error = PlaneError("connect", "192.0.2.1:862", errno.ENETUNREACH)
    with pytest.raises(PlaneError, match=r"connect 192\.0\.2\.1:862: Network is unreachable"):
        twoway.measure("192.0.2.1", count=1)
    assert native.planes[0].closed


@pytest.mark.usefixtures("native")
@pytest.mark.parametrize(
    ("source", "text"),
    [
        ("eth0", "source: 'eth0' is no numeric address"),
        ("::1", "source: ::1 and 192.0.2.1 are not of the same address family"),
    ],
)
def test_sources(source: str, text: str) -> None:
    with pytest.raises(ConfigError) as caught:
        twoway.measure("192.0.2.1", source=source)
    assert str(caught.value) == text


@pytest.mark.usefixtures("native")
def test_a_measurement_is_complete() -> None:
    with pytest.raises(ConfigError, match=r"options: a Measurement has them all: use dataclasses\.replace"):
        twoway.measure(twoway.Measurement("192.0.2.1", count=1), count=2)
    assert twoway.measure(twoway.Measurement("192.0.2.1", count=2)).summary.counter("sent") == 2


def test_events_are_kept(native: FakeNative) -> None:
    native.events = [(5, "send_error", errno.ENOBUFS)]
    (event,) = twoway.measure("192.0.2.1", count=1).events
    assert tuple(event) == (5, "send_error", errno.ENOBUFS, "")


def test_a_reflector_is_a_context(native: FakeNative) -> None:
    with twoway.Reflector(listen=["127.0.0.1:8620", "[::1]:0"], allow=["192.0.2.0/24"], workers=2) as reflector:
        assert native.reflectors[0].started
        assert reflector.local_addresses == [("127.0.0.1", 8620), ("::1", 0)]
        assert reflector.counters()["test_packet:reflected"] == 3
        assert reflector.distribution("residence").count == 3
    reflector.stop()
    assert native.reflectors[0].drained_ns == defaults.DRAIN_NS
    spec = native.reflectors[0].spec.__dict__
    assert (spec["allow"], spec["workers"]) == ((("192.0.2.0", 24),), 2)


async def test_a_reflector_is_an_asynchronous_context(native: FakeNative) -> None:
    async with twoway.Reflector(listen=["127.0.0.1:8620"]):
        assert native.reflectors[0].started
    assert native.reflectors[0].drained_ns is not None


@pytest.mark.parametrize(
    ("listen", "sockets"),
    [
        ([], [("0.0.0.0", 862, 0), ("::", 862, 0)]),  # noqa: S104  (only compared)
        ([":8620"], [("0.0.0.0", 8620, 0), ("::", 8620, 0)]),  # noqa: S104  (only compared)
        (["192.0.2.1"], [("192.0.2.1", 862, 0)]),
        (["[fe80::1%3]:99"], [("fe80::1", 99, 3)]),
        ([("::1", 5, 0)], [("::1", 5, 0)]),
    ],
)
def test_listening(
    native: FakeNative, listen: list[str | tuple[str, int, int]], sockets: list[tuple[str, int, int]]
) -> None:
    twoway.Reflector(listen=listen)
    assert list(native.reflectors[0].spec.__dict__["listen"]) == sockets


@pytest.mark.usefixtures("native")
def test_a_listener_is_numeric() -> None:
    with pytest.raises(ConfigError) as caught:
        twoway.Reflector(listen=["localhost:862"])
    assert str(caught.value) == ("listen: 'localhost:862' is not a numeric address, such as 192.0.2.1:862 or [::1]:862")


def test_a_host_without_ipv6_still_reflects(native: FakeNative) -> None:
    native.reflector_errors = [PlaneError("open socket", "[::]:862", errno.EAFNOSUPPORT)]
    reflector = twoway.Reflector()
    assert reflector.local_addresses == [("0.0.0.0", 862)]  # noqa: S104  (only compared)
    assert reflector.obtained == {"listen": "IPv4 only: this host has no IPv6"}


def test_but_not_if_ipv6_was_asked_for(native: FakeNative) -> None:
    native.reflector_errors = [PlaneError("open socket", "[::]:862", errno.EAFNOSUPPORT)]
    with pytest.raises(PlaneError, match="is IPv6 disabled"):
        twoway.Reflector(listen=["[::]:862"])
