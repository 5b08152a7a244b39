"""Negotiated test-sessions through the native module: both ends over loopback, as a driver uses them."""

from __future__ import annotations

import os
import select
import socket
import time
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from ports import free_port
from twoway.errors import ConfigError, PlaneError, WireError

if TYPE_CHECKING:
    from collections.abc import Callable

    from twoway._native import ManagedReflectorSpec, OneWaySenderSpec, SenderSpec, SessionReceiverSpec

_native = pytest.importorskip("twoway._native", reason="the extension module is not built")

FORMATS = ["twamp", "twamp-authenticated", "twamp-encrypted"]
SECOND = 10**9
SID = bytes(range(16))
COMMON: dict[str, Any] = {
    "interface": None,
    "netns": None,
    "timestamps": "kernel",
    "receive_buffer": 1 << 18,
    "scope_id": 0,
}


def eventually(done: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not done():
        assert time.monotonic() < deadline
        time.sleep(0)


def keys(name: str) -> dict[str, Any]:
    aes, hmac = (None, None) if name == "twamp" else _native.derive_twamp_test_keys(SID, b"a" * 16, b"h" * 32)
    return {"format": name, "twamp_aes_key": aes, "twamp_hmac_key": hmac}


def reflector_spec(name: str, sender_port: int, **changes: object) -> ManagedReflectorSpec:
    fields: dict[str, Any] = {
        "local": "127.0.0.1",
        "local_port": 0,
        "sender": "127.0.0.1",
        "sender_port": sender_port,
        "timestamp_format": "ptp",
        "symmetrical_size": True,
        "dscp_ecn_monitoring": True,
        "dscp_ecn": 0xB8,
        "ttl": 255,
        "timeout_ns": SECOND // 10,
        "refwait_ns": 900 * SECOND,
    }
    fields.update(changes)
    spec: ManagedReflectorSpec = _native.ManagedReflectorSpec(**COMMON, **keys(name), **fields)
    return spec


def sender_spec(name: str, source_port: int, target_port: int, payload_len: int) -> SenderSpec:
    spec: SenderSpec = _native.SenderSpec(
        **COMMON,
        **keys(name),
        target="127.0.0.1",
        target_port=target_port,
        source="127.0.0.1",
        source_port=source_port,
        stamp_key=None,
        ssid=0,
        timestamp_format="ntp",
        payload_len=payload_len,
        fill="random",
        count=10,
        schedule="periodic",
        interval_ns=2_000_000,
        seed=1,
        timeout_ns=SECOND,
        dscp_ecn=0,
        ttl=255,
        reflector_mode="stateful",
        dscp_ecn_monitoring=True,
        sample_capacity=100,
    )
    return spec


def receiver_spec(name: str, sender_port: int, slots: list[tuple[int, int]], **changes: object) -> SessionReceiverSpec:
    fields: dict[str, Any] = {
        "local": "127.0.0.1",
        "local_port": 0,
        "sender": "127.0.0.1",
        "sender_port": sender_port,
        "sid": SID,
        "slots": slots,
        "packets": 20,
        "timeout_ns": SECOND // 4,
        "record_capacity": 30,
    }
    fields.update(changes)
    spec: SessionReceiverSpec = _native.SessionReceiverSpec(**COMMON, **keys(name), **fields)
    return spec


def one_way_spec(name: str, source_port: int, target_port: int, slots: list[tuple[int, int]]) -> OneWaySenderSpec:
    spec: OneWaySenderSpec = _native.OneWaySenderSpec(
        **COMMON,
        **keys(name),
        target="127.0.0.1",
        target_port=target_port,
        source="127.0.0.1",
        source_port=source_port,
        timestamp_format="ntp",
        payload_len=100,
        fill="zeros",
        sid=SID,
        slots=slots,
        packets=20,
        seed=1,
        timeout_ns=SECOND // 4,
        dscp_ecn=0,
        ttl=255,
    )
    return spec


@pytest.mark.parametrize("name", FORMATS)
def test_a_negotiated_session_is_reflected_until_it_is_stopped(name: str) -> None:
    managed, plane = _native.ManagedPlane(workers=1), _native.Plane(workers=1, busy_poll=False)
    source_port = free_port()
    far = managed.open_reflector(reflector_spec(name, source_port))
    spec = sender_spec(name, source_port, far.local_address[1], 200)
    near = plane.open_sender(spec.negotiated(symmetrical_size=True, server_octets=b"ab", reflected=0))
    far.start()
    near.start_at(time.time_ns() + SECOND // 100)
    eventually(lambda: near.finished)
    summary = near.summary()
    # A busy machine may miss a slot; nothing that was sent is lost.
    sent = summary.counter("sent")
    assert sent + summary.counter("not_sent") == 10
    assert sent == summary.counter("received") > 0
    assert summary.dscp_ecns["far"] == {0: sent}
    assert summary.dscp_ecns["returned"] == {0xB8: sent}
    assert far.counters()["test_packet:reflected"] == sent
    assert far.end == "running"
    if _native.capabilities(None)["transmit_stamps"][0]:
        assert managed.transmit_prediction_error().count > 0
    far.stop()
    assert select.select([managed.fileno()], [], [], 20)[0]
    assert managed.acknowledge() == [far.id]
    assert far.end == "stopped"
    assert set(far.counters()) == set(_native.catalogue()["managed_dispositions"])
    assert set(managed.counters()) == set(_native.catalogue()["managed_counters"])


@pytest.mark.parametrize("name", FORMATS)
def test_an_owamp_session_is_recorded_fetched_and_summarized(name: str) -> None:
    managed, plane = _native.ManagedPlane(workers=1), _native.Plane(workers=1, busy_poll=False)
    slots = [(0, 2**32 // 200), (1, 0)]
    source_port = free_port()
    far = managed.open_receiver(receiver_spec(name, source_port, slots))
    near = plane.open_one_way_sender(one_way_spec(name, source_port, far.local_address[1], slots))
    start_ns = time.time_ns() + SECOND // 50
    far.start_at(start_ns)
    near.start_at(start_ns)
    eventually(lambda: near.finished)
    next_seqno, skip_ranges = near.progress()
    left_out = {number for first, last in skip_ranges for number in range(first, last + 1)}
    assert next_seqno == 20
    assert len(left_out) < 20, "a busy machine may miss a slot, and then says so"
    came = [number for number in range(20) if number not in left_out]
    eventually(lambda: far.decided)
    assert managed.acknowledge() == [far.id]
    assert far.recorded()[1] == "running"
    assert far.complete(*near.progress()) == "complete"
    records, *ended = far.recorded()
    assert (ended, len(records)) == (["complete", 20, skip_ranges], len(came))
    outcome = ended[0]
    assert outcome in _native.catalogue()["receiver_outcomes"]
    assert sorted(records.sequence.tolist()) == came
    assert records.ttl.tolist() == [255] * len(came)
    assert records.lost.tolist() == [0] * len(came)
    # Each left at its scheduled time or soon after.
    due = start_ns + np.asarray(_native.owamp_schedule(sid=SID, slots=slots, packets=20))
    late = np.asarray(records.send_ns) - due[np.asarray(records.sequence)]
    assert (late > -SECOND // 1000).all()
    assert (late < SECOND // 4).all()
    # As Fetch-Session carries them, and back.
    octets = records.octets()
    assert len(octets) == len(came) * 25
    fetched = _native.RecordBatch.parse(octets, near_ns=start_ns)
    assert fetched.receive_ns.tolist() == records.receive_ns.tolist()
    assert fetched.send_timestamp.tolist() == np.asarray(records.send_timestamp).tolist()
    summary = fetched.summary(skip_ranges=skip_ranges, start_ns=start_ns, end_ns=time.time_ns())
    ours = far.summary()
    assert summary.counter("received") == ours.counter("received") == len(came)
    assert summary.distribution("forward").quantile(0.5) == ours.distribution("forward").quantile(0.5)
    assert len(records.between(5, 9)) == len({5, 6, 7, 8, 9} - left_out)


def test_what_did_not_come_is_lost_unless_it_was_not_sent() -> None:
    managed = _native.ManagedPlane(workers=1)
    far = managed.open_receiver(receiver_spec("twamp", 0, [(1, 2**32 // 100)], timeout_ns=SECOND // 20))
    far.start_at(time.time_ns() - SECOND)
    eventually(lambda: far.decided)
    assert far.complete(15, [(3, 4), (7, 7)]) == "complete"
    records, *_ = far.recorded()
    assert records.sequence.tolist() == [number for number in range(15) if number not in {3, 4, 7}]
    assert set(records.lost.tolist()) == {1}
    assert set(records.receive_ns.tolist()) == {records.MISSING}
    assert set(records.receive_timestamp.tolist()) == {0}
    summary = far.summary()
    assert (summary.counter("lost_forward"), summary.counter("not_sent")) == (12, 3)
    assert summary.loss_bursts == {12: 1}


def test_a_broken_control_connection_leaves_no_losses_at_the_end() -> None:
    managed = _native.ManagedPlane(workers=1)
    far = managed.open_receiver(receiver_spec("twamp", 0, [(1, 2**32 // 100)], timeout_ns=SECOND // 20))
    far.start_at(time.time_ns() - SECOND)
    eventually(lambda: far.decided)
    assert far.abandon() == "abandoned"
    assert len(far.recorded()[0]) == 0


def test_records_of_a_closed_receiver_are_refused() -> None:
    managed = _native.ManagedPlane(workers=1)
    far = managed.open_receiver(receiver_spec("twamp", 0, [(1, 0)]))
    far.close()
    eventually(lambda: far.end == "closed")
    with pytest.raises(PlaneError):
        far.recorded()


@pytest.mark.parametrize(
    ("field", "make"),
    [
        ("sender", lambda: reflector_spec("twamp", 1, local="::1", sender="::")),
        ("sender", lambda: reflector_spec("twamp", 1, sender="::1")),
        ("refwait_ns", lambda: reflector_spec("twamp", 1, refwait_ns=0)),
        ("timeout_ns", lambda: reflector_spec("twamp", 1, timeout_ns=-1)),
        (
            "format",
            lambda: sender_spec("stamp", 0, 1, 44).negotiated(symmetrical_size=False, server_octets=None, reflected=0),
        ),
        (
            "payload_len",
            lambda: sender_spec("twamp", 0, 1, 43).negotiated(symmetrical_size=True, server_octets=None, reflected=0),
        ),
        (
            "server_octets",
            lambda: sender_spec("twamp", 0, 1, 90).negotiated(symmetrical_size=True, server_octets=b"a", reflected=0),
        ),
        ("packets", lambda: receiver_spec("twamp", 1, [(1, 1)], packets=31)),
        ("packets", lambda: receiver_spec("twamp", 1, [(1, 1)], packets=0)),
        ("slots", lambda: receiver_spec("twamp", 1, [])),
        ("slots", lambda: receiver_spec("twamp", 1, [(2, 1)])),
        ("sid", lambda: receiver_spec("twamp", 1, [(1, 1)], sid=b"short")),
    ],
)
def test_what_cannot_be_honoured_is_refused_by_name(field: str, make: Callable[[], object]) -> None:
    with pytest.raises(ConfigError) as refused:
        make()
    assert str(refused.value).startswith(field) or field in repr(refused.value.args)


def test_a_port_that_is_taken_is_refused_and_a_part_of_a_record_is_none() -> None:
    managed = _native.ManagedPlane(workers=1)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
        taken.bind(("127.0.0.1", 0))
        with pytest.raises(PlaneError):
            managed.open_reflector(reflector_spec("twamp", 1, local_port=taken.getsockname()[1]))
    with pytest.raises(WireError):
        _native.RecordBatch.parse(os.urandom(26), near_ns=0)
