"""Records in perfSONAR's terms, from the packet plane's samples."""

from __future__ import annotations

from array import array

import pytest

from twoway.analysis.samples import Flag, Status
from twoway.export.perfsonar import Style, report_lines
from twoway.export.perfsonar_machine import raw_line
from twoway.export.perfsonar_records import (
    NEVER,
    UNKNOWN_ERROR_S,
    RecordedSession,
    TwoWayRecord,
    error_of,
    interval_of,
    oneway_records,
    seconds_between,
    timestamp_of,
    twoway_records,
)

from ..measured import MS, START_NS, Rows, Span, result

US = 1_000


def sample(sequence: int, status: Status = Status.RECEIVED, /, **changes: int) -> dict[str, int]:
    """A packet sent 100 ms after the one before, under way for 60 and 40 µs, answered after 5 µs."""
    t1 = START_NS + 100 * MS * sequence
    row = {
        "sequence": sequence,
        "status": status,
        "t1_ns": t1,
        "t2_ns": t1 + 60 * US,
        "t3_ns": t1 + 65 * US,
        "t4_ns": t1 + 105 * US,
        "send_lateness_ns": 10 * US,
        "reflector_sequence": sequence,
        "sender_ttl": 254,
        "returned_ttl": 253,
    }
    if status in (Status.LOST_FORWARD, Status.LOST_BACKWARD, Status.LOST_UNATTRIBUTED, Status.NOT_SENT, Status.PENDING):
        for name in ("t2_ns", "t3_ns", "t4_ns", "reflector_sequence", "sender_ttl", "returned_ttl"):
            del row[name]
    return {**row, **changes}


FACTS: dict[str, int | None] = {"local_synchronized": 1, "local_error_ns": 20_000, "far_error_ns": 30_000}


def records(*rows: dict[str, int], facts: dict[str, int | None] | None = None) -> list[TwoWayRecord]:
    measured = result(Span(facts=FACTS if facts is None else facts), timeout_ns=300 * MS)
    return twoway_records(measured, [Rows(*rows)])


def recorded(packets: int, *, twoway: bool = True) -> RecordedSession:
    return RecordedSession(
        twoway=twoway,
        sid=bytes(range(16)),
        from_host="here",
        from_address="192.0.2.7",
        from_port=8800,
        to_host="there",
        to_address="192.0.2.1",
        to_port=19000,
        dscp=46,
        timeout=interval_of(300 * MS),
        padding_octets=27,
        packets=packets,
        packets_per_s=10,
        started=timestamp_of(START_NS),
        finished=True,
    )


def test_a_reply_has_all_four_stamps_with_the_claims_of_their_clocks() -> None:
    (record,) = records(sample(0))
    assert record.sent == (timestamp_of(START_NS), True, 20e-6)
    assert record.reached == (timestamp_of(START_NS + 60 * US), True, 30e-6)
    assert record.reflected == (timestamp_of(START_NS + 65 * US), True, 30e-6)
    assert record.returned == (timestamp_of(START_NS + 105 * US), True, 20e-6)
    assert record.scheduled == timestamp_of(START_NS - 10 * US)
    assert (record.ttl, record.returned_ttl, record.reflector_sequence) == (254, 253, 0)


def test_raw_columns_are_sixteen_with_times_of_twenty_digits() -> None:
    (line,) = map(raw_line, records(sample(0)))
    assert line == (
        "0 17078129332972421120 1 2e-05 17078129332972678818 1 3e-05 254"
        " 0 17078129332972700293 1 3e-05 17078129332972872092 1 2e-05 253"
    )


def test_a_lost_packet_never_arrived_and_its_departure_is_presumed() -> None:
    (line,) = map(raw_line, records(sample(3, Status.LOST_FORWARD)))
    sent = timestamp_of(START_NS + 300 * MS)
    never = "00000000000000000000 1 2e-05"
    assert line == f"3 {sent} 0 2.32831e-10 {never} 255 0 {never} {never} 255"


def test_a_late_packet_is_lost_and_its_further_replies_are_none() -> None:
    late = sample(0, Status.LATE, t4_ns=START_NS + 400 * MS)
    copy = sample(0, Status.DUPLICATE_BACKWARD, t4_ns=START_NS + 410 * MS)
    (record,) = records(late, copy)
    assert not record.returned.happened


def test_a_copy_after_the_timeout_is_not_recorded() -> None:
    soon = sample(0, Status.DUPLICATE_FORWARD, t4_ns=START_NS + 299 * MS)
    late = sample(0, Status.DUPLICATE_FORWARD, t4_ns=START_NS + 301 * MS)
    assert len(records(sample(0), soon, late)) == 2


def test_packets_that_were_not_sent_or_are_still_awaited_are_not_recorded() -> None:
    assert records(sample(0, Status.NOT_SENT), sample(1, Status.PENDING)) == []


def test_a_loss_stands_where_it_becomes_known() -> None:
    rows = [sample(0), sample(4), sample(5), sample(1, Status.LOST_BACKWARD)]
    assert [record.sequence for record in records(*rows)] == [0, 1, 4, 5]  # lost at 100 + 300 ms, before the fifth


def test_an_unsynchronised_clock_makes_no_claims() -> None:
    (record,) = records(sample(0, flags=Flag.FAR_UNSYNCHRONIZED), facts={"local_synchronized": 0})
    assert not any(stamp.synchronized for stamp in (record.sent, record.reached, record.reflected, record.returned))
    assert record.sent.error_s == record.reached.error_s == UNKNOWN_ERROR_S == 2.0**31


def test_unknown_ttls_and_reply_numbers_have_their_stand_ins() -> None:
    row = sample(7)
    for name in ("sender_ttl", "returned_ttl", "reflector_sequence"):
        del row[name]
    (record,) = records(row)
    assert (record.ttl, record.returned_ttl, record.reflector_sequence) == (255, 255, 7)


def test_replies_with_unusable_times_are_not_recorded() -> None:
    row = sample(0)
    del row["t2_ns"]
    assert records(row) == []


@pytest.mark.parametrize(
    ("error_estimate", "seconds"), [(0x0001, 2.0**-32), (0x8A03, 3 * 2.0**-22), (0x3FFF, 2.0**31), (0x0000, 0.0)]
)
def test_error_estimates(error_estimate: int, seconds: float) -> None:
    assert error_of(error_estimate) == seconds


def test_differences_go_across_the_end_of_an_era() -> None:
    assert seconds_between(2**64 - 2**31, 2**31) == 1.0
    assert seconds_between(2**31, 2**64 - 2**31) == -1.0


class Fetched:
    """Columns of an OWAMP session."""

    def __init__(self, **columns: list[int]) -> None:
        self._columns = columns

    def __getattr__(self, name: str) -> array[int]:
        return array("Q", self._columns[name])


def test_oneway_records_keep_the_octets_of_the_wire() -> None:
    batch = Fetched(
        sequence=[0, 1],
        lost=[0, 1],
        send_timestamp=[1 << 63, 2 << 62],
        receive_timestamp=[(1 << 63) + (1 << 22), 5],
        send_error_estimate=[0x8A03, 1],
        receive_error_estimate=[0x0A03, 0x8A03],
        ttl=[251, 255],
    )
    arrived, lost = oneway_records(batch, [], [START_NS])
    error = 3 * 2.0**-22
    assert arrived == (
        0,
        (1 << 63, True, error),
        ((1 << 63) + (1 << 22), False, error),
        251,
        timestamp_of(START_NS),
    )
    # Beyond the schedule.
    assert lost == (1, (2 << 62, False, 2.0**-32), (NEVER, True, error), 255, 2 << 62)
    assert raw_line(arrived) == f"0 {1 << 63:020} 1 7.15256e-07 {(1 << 63) + (1 << 22):020} 0 7.15256e-07 251"


def test_skipped_packets_have_no_record() -> None:
    numbers = list(range(6))
    zeros = [0] * 6
    batch = Fetched(
        sequence=numbers,
        lost=zeros,
        send_timestamp=[1] * 6,
        receive_timestamp=[2] * 6,
        send_error_estimate=zeros,
        receive_error_estimate=zeros,
        ttl=zeros,
    )
    assert [record.sequence for record in oneway_records(batch, [(0, 1), (4, 4)], [0] * 6)] == [2, 3, 5]


def lines(style: Style, *rows: dict[str, int]) -> list[str]:
    return list(report_lines(recorded(len(rows)), records(*rows), style))


def test_a_limit_holds_for_lines_not_for_the_summary() -> None:
    printed = lines(Style(packets=True, packets_limit=2), *(sample(number) for number in range(5)))
    assert [line.split()[0] for line in printed if line.startswith("seq_no=")] == ["seq_no=0", "seq_no=1"]
    assert "5 sent, 0 lost (0.000%), 0 send duplicates, 0 reflect duplicates" in printed


def test_a_limit_is_for_all_parts_together() -> None:
    style = Style(packets=True, packets_limit=3, part_packets=2)
    printed = lines(style, *(sample(number) for number in range(5)))
    assert sum(line.startswith("seq_no=") for line in printed) == 3
    assert sum(line.endswith("reflect duplicates") for line in printed) == 3


def test_raw_goes_before_everything() -> None:
    printed = lines(Style(raw=True, machine=True, packets=True), sample(0), sample(1))
    assert [len(line.split()) for line in printed] == [16, 16]


def test_without_records_there_is_still_a_summary() -> None:
    printed = list(report_lines(recorded(3), [], Style(machine=True)))
    assert "SENT\t0" in printed
    assert f"START_TIME\t{timestamp_of(START_NS)}" in printed
    assert "<BUCKETS>" not in printed
    assert "MINTTL_FWD\t255" in printed
    assert "round-trip time min/median/max = nan/nan/nan ms, (err=0 ms)" in report_lines(recorded(3), [], Style())


def test_unsynchronised_clocks_say_so() -> None:
    printed = lines(Style(), sample(0, flags=Flag.FAR_UNSYNCHRONIZED))
    assert "send time min/median/max = 0.06/0.1/0.06 ms, (unsync)" in printed
