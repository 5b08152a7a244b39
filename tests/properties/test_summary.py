"""Interval summaries of a real test-session merge exactly into the whole, however they are cut and put together."""

import contextlib
import select
import socket
import threading
import time
from collections.abc import Callable, Iterator
from functools import reduce
from typing import Final

import pytest

from twoway._native import IntervalSummary, Plane, Sender, SenderSpec, catalogue

_BOUND_S: Final = 20.0
_COUNT: Final = 400


def _answer(request: bytes) -> list[bytes]:
    """A stateless STAMP reply; by number lost, doubled, or of another session."""
    sequence = int.from_bytes(request[:4])
    stamp = request[4:12]
    reply = request[:4] + stamp + b"\x00\x80" + request[14:16] + stamp + request[:14] + b"\x00\x00\xff\x00\x00\x00"
    if sequence % 11 == 3:
        return []
    if sequence % 13 == 5:
        return [reply, reply]
    if sequence % 17 == 7:
        return [reply[:30], reply]
    return [reply]


@contextlib.contextmanager
def _far_end() -> Iterator[int]:
    """A thread that answers on a loopback port; gives the port."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as answering:
        answering.bind(("127.0.0.1", 0))
        stop, stopped = socket.socketpair()

        def serve() -> None:
            while stopped not in (readable := select.select([answering, stopped], [], [])[0]):
                assert answering in readable
                octets, address = answering.recvfrom(2000)
                for reply in _answer(octets):
                    answering.sendto(reply, address)

        thread = threading.Thread(target=serve, name="far end")
        thread.start()
        try:
            yield int(answering.getsockname()[1])
        finally:
            stop.send(b"x")
            thread.join(_BOUND_S)
            stop.close()
            stopped.close()


def _spec(port: int) -> SenderSpec:
    return SenderSpec(
        target="127.0.0.1",
        target_port=port,
        scope_id=0,
        source=None,
        source_port=0,
        interface=None,
        netns=None,
        format="stamp",
        stamp_key=None,
        twamp_aes_key=None,
        twamp_hmac_key=None,
        ssid=0,
        timestamp_format="ntp",
        payload_len=44,
        fill="zeros",
        count=_COUNT,
        schedule="periodic",
        interval_ns=1_000_000,
        seed=1,
        timeout_ns=50_000_000,
        dscp_ecn=0,
        ttl=255,
        timestamps="kernel",
        reflector_mode="auto",
        dscp_ecn_monitoring=False,
        sample_capacity=0,
        receive_buffer=1 << 20,
    )


@pytest.fixture(scope="module")
def session() -> tuple[list[IntervalSummary], IntervalSummary]:
    """The intervals of one test-session, cut wherever the plane had news, and its whole."""
    intervals: list[IntervalSummary] = []

    def run(plane: Plane, sender: Sender) -> IntervalSummary:
        deadline = time.monotonic() + _BOUND_S
        sender.start()
        while not sender.finished:
            assert time.monotonic() < deadline
            select.select([plane.fileno()], [], [], 0.02)
            plane.acknowledge()
            intervals.append(sender.take_interval())
        intervals.append(sender.take_interval())
        return sender.summary()

    with _far_end() as port:
        plane = Plane(workers=1, busy_poll=False)
        try:
            return intervals, run(plane, plane.open_sender(_spec(port)))
        finally:
            plane.close()


def _merge(one: IntervalSummary, other: IntervalSummary) -> IntervalSummary:
    return one.merge(other)


def _from_left(intervals: list[IntervalSummary]) -> IntervalSummary:
    return reduce(_merge, intervals)


def _from_right(intervals: list[IntervalSummary]) -> IntervalSummary:
    return reduce(lambda later, earlier: earlier.merge(later), reversed(intervals))


def _in_pairs(intervals: list[IntervalSummary]) -> IntervalSummary:
    while len(intervals) > 1:
        pairs = [intervals[at : at + 2] for at in range(0, len(intervals), 2)]
        intervals = [reduce(_merge, pair) for pair in pairs]
    return intervals[0]


@pytest.mark.parametrize("put_together", [_from_left, _from_right, _in_pairs])
def test_intervals_merge_into_the_whole(
    session: tuple[list[IntervalSummary], IntervalSummary],
    put_together: Callable[[list[IntervalSummary]], IntervalSummary],
) -> None:
    intervals, whole = session
    assert len(intervals) >= 10
    merged = put_together(intervals)
    names = catalogue()
    for name in names["summary_counters"]:
        assert merged.counter(name) == whole.counter(name), name
    for name in names["summary_distributions"]:
        one, other = merged.distribution(name), whole.distribution(name)
        assert (one.count, one.min_ns, one.max_ns) == (other.count, other.min_ns, other.max_ns), name
        assert one.buckets() == other.buckets(), name
        assert one.mean_ns == (None if other.mean_ns is None else pytest.approx(other.mean_ns, rel=1e-9))
        assert one.stddev_ns == (
            None if other.stddev_ns is None else pytest.approx(other.stddev_ns, rel=1e-6, abs=1e-3)
        )
    for name in names["summary_facts"]:
        assert merged.fact(name) == whole.fact(name), name
    assert merged.loss_bursts == whole.loss_bursts
    assert merged.ttls == whole.ttls
    assert merged.dscp_ecns == whole.dscp_ecns
    assert merged.start_ns == whole.start_ns
    assert merged.end_ns <= whole.end_ns, "a summary ends when it is asked for"


def test_the_whole_is_what_the_far_end_did(session: tuple[list[IntervalSummary], IntervalSummary]) -> None:
    _, whole = session
    lost = sum(sequence % 11 == 3 for sequence in range(_COUNT))
    doubled = sum(sequence % 13 == 5 and sequence % 11 != 3 for sequence in range(_COUNT))
    cut = sum(sequence % 17 == 7 and sequence % 13 != 5 and sequence % 11 != 3 for sequence in range(_COUNT))
    assert whole.counter("sent") + whole.counter("not_sent") == _COUNT
    if whole.counter("not_sent") == 0:
        assert whole.counter("lost_unattributed") == lost
        assert whole.counter("received") + whole.counter("late") == _COUNT - lost
        assert whole.counter("duplicates_unattributed") == doubled
        assert whole.counter("rejected_short") == cut


def test_no_counter_is_taken_back(session: tuple[list[IntervalSummary], IntervalSummary]) -> None:
    intervals, _ = session
    for interval in intervals:
        assert all(interval.counter(name) >= 0 for name in catalogue()["summary_counters"])
