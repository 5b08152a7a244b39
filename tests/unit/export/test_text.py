"""The report and the lines, letter by letter."""

import subprocess
import sys
from dataclasses import replace

import pytest

from twoway.analysis.result import Event, Outage
from twoway.export.text import PacketLines, interim_line, report, status_line

from ..measured import MS, START_NS, Rows, Span, clean, impaired, result, session, unanswered

GOLD_CLEAN = """\
STAMP to probe.example.net (192.0.2.1:862) from 192.0.2.7:49152
2026-01-02 03:04:05 UTC, 900 ms: 44 octets every 100 ms, timeout 1 s

Packets
  sent      10
  received  10
  lost       0

Delay (n=10)              min  mean  median   p95   p99  p99.9   max  deviation
  round trip         µs  40.1  40.5    40.5  41.0  41.0   41.0  41.0        0.3
  in reflector       µs   5.0   5.0     5.0   5.0   5.0    5.0   5.0        0.0
  forward, backward  offset unknown: far clock is not synchronised
Variation
  PDV round trip     ns     0   450     400   900   900    900   900        287
  PDV forward        ns     0   225     200   450   450    450   450        144
  PDV backward       ns     0   225     200   450   450    450   450        144
  IPDV round trip    ns   100   100     100   100   100    100   100          0
  IPDV forward       ns    50    50      50    50    50     50    50          0
  IPDV backward      ns    50    50      50    50    50     50    50          0
  RFC 3550 jitter    round trip 40 ns, forward 20 ns, backward 20 ns

Marks       sent  at the far end  returned
  TTL       255   255             255
  DSCP/ECN  ef    not reported    ef

This tool
  T1 departure   kernel x10
  T4 arrival     kernel x10
  T2, T3         the reflector's claim: not synchronised, gives no error
  send lateness  median 20.0 µs, p99 20.0 µs, max 20.0 µs
  socket drops   0
  local clock    synchronised, error at most 500.0 µs

--- probe.example.net ping statistics ---
10 packets transmitted, 10 received, 0% packet loss, time 900ms
rtt min/avg/max/mdev = 0.040/0.041/0.041/0.000 ms"""

GOLD_IMPAIRED = """\
STAMP to probe.example.net (192.0.2.1:862) from 192.0.2.7:49152
2026-01-02 03:04:05 UTC, 9.9 s: 44 octets every 100 ms, timeout 1 s

Packets
  sent         100
  received      96
  lost           3  forward 2, backward 1
  late           1
  loss          4%  lost and late, forward 2%, backward 1.02%
  duplicates     2  forward 1, backward 1
  reordered      1  forward 1
  rejected       2  wrong HMAC 2
  loss bursts    2  1 of 1 packet, 1 of 2 packets

Delay (n=96)             min   mean  median     p99     max  deviation
  round trip       µs  212.0  282.3   259.0  2500.0  2500.0      229.2
  forward          µs  101.0  147.2   124.5  2300.0  2300.0      221.3
  backward         µs  111.0  135.2   134.5   200.0   200.0       15.2
  in reflector     µs    4.0    4.5     4.5     5.0     5.0        0.3
  one-way error    ±50.0 µs (local 20.0 µs + far 30.0 µs)
Variation
  PDV round trip   µs    0.0   70.3    47.0  2288.0  2288.0      229.2
  PDV forward      µs    0.0   46.2    23.5  2199.0  2199.0      221.3
  PDV backward     µs    0.0   24.2    23.5    89.0    89.0       15.2
  IPDV round trip  µs   -1.0    0.0    -1.0     1.0     1.0        1.0
  IPDV forward     ns   -500      0    -500     500     500        500
  IPDV backward    ns   -700   -100    -700     500     500        600
  RFC 3550 jitter  round trip 1.0 µs, forward 500 ns, backward 600 ns

Marks       sent  at the far end  returned
  TTL       255   253             252 x95, 251 x2
  DSCP/ECN  ef    not reported    be (changed)

This tool
  T1 departure   kernel x97
  T4 arrival     kernel x95, user x2: 2 packets fell back from kernel
  T2, T3         the reflector's claim: synchronised, error at most 30.0 µs
  send lateness  median 12.0 µs, p99 90.0 µs, max 90.0 µs
  socket drops   0
  local clock    synchronised, error at most 500.0 µs
  not granted    receive_buffer: 212992 octets instead of 1048576

--- probe.example.net ping statistics ---
100 packets transmitted, 96 received, +2 duplicates, 4% packet loss, time 9900ms
rtt min/avg/max/mdev = 0.212/0.282/2.500/0.229 ms"""

GOLD_UNANSWERED = """\
STAMP to probe.example.net (192.0.2.1:862) from 192.0.2.7:49152
2026-01-02 03:04:05 UTC, 4 s: 44 octets every 100 ms, timeout 1 s

Packets
  sent            3
  received        0
  lost            3  direction unknown 3: no replies
  loss         100%
  loss bursts     1  1 of 3 packets

Delay: no replies

This tool
  T1 departure   no replies
  T4 arrival     no replies
  T2, T3         no replies
  send lateness  median 20.0 µs, p99 20.0 µs, max 20.0 µs
  socket drops   0
  local clock    not synchronised
  events         icmp unreachable (ECONNREFUSED) x3

--- probe.example.net ping statistics ---
3 packets transmitted, 0 received, 100% packet loss, time 4000ms"""

GOLD_TOOL = """\
  T1 departure             kernel x10: 10 packets fell back from hardware
  T4 arrival               kernel x7, user x3: 10 packets fell back from hardware
  T2, T3                   the reflector's claim: not synchronised, gives no error
  send lateness            median 20.0 µs, p99 20.0 µs, max 20.0 µs
  not sent                 3: missed slots 2, send errors 1
  socket drops             4: replies that the kernel dropped because our socket's buffer was full: they look like loss
  clock steps              1: times that the clock here was stepped while measuring
  affected by clock steps  5: packets in flight during a step: their one-way delays are marked
  local clock              synchronised, error at most 500.0 µs
  clock step               -1500.000 ms at 2026-01-02 03:04:05 UTC"""

GOLD_NOTHING = """\
STAMP to probe.example.net (192.0.2.1:862) from 192.0.2.7:49152
2026-01-02 03:04:05 UTC, 0 ns, interrupted: 44 octets every 100 ms, timeout 1 s

Packets
  sent      0
  received  0
  lost      0

Delay: no replies

This tool
  T1 departure   no replies
  T4 arrival     no replies
  T2, T3         no replies
  send lateness  nothing sent
  socket drops   0
  local clock    synchronised, error at most 500.0 µs

--- probe.example.net ping statistics ---
0 packets transmitted, 0 received, time 0ms"""

GOLD_LINES = [
    "44 octets from 192.0.2.1: seq=1 rtt=0.212 ms fwd=0.101 ms bwd=0.111 ms ttl=253/252",
    "no reply from 192.0.2.1: seq=2 lost",
    "no reply from 192.0.2.1: seq=3 lost forward",
    "no reply from 192.0.2.1: seq=4 lost backward",
    "44 octets from 192.0.2.1: seq=5 rtt=1204.000 ms (late: after 1 s, reordered)",
    "44 octets from 192.0.2.1: seq=1 rtt=0.300 ms ttl=?/252 (duplicate forward)",
    "44 octets from 192.0.2.1: seq=1 (duplicate)",
    "not sent to 192.0.2.1: seq=6",
    "no reply yet from 192.0.2.1: seq=7: ended before its timeout",
    "44 octets from 192.0.2.1: seq=8 rtt=0.000 ms dscp=be CE (clock stepped)",
]


def test_a_quiet_measurement_makes_a_short_report() -> None:
    assert report(result(clean())) == GOLD_CLEAN


def test_everything_that_happened_is_in_the_report() -> None:
    measured = result(impaired(), obtained={"receive_buffer": "212992 octets instead of 1048576"})
    assert report(measured, (99.0,)) == GOLD_IMPAIRED


def test_a_measurement_without_replies_says_what_it_can() -> None:
    events = [Event(START_NS, "icmp_unreachable", 111)] * 3
    clock = {"synchronized": 0, "error_ns": None}
    assert report(result(unanswered(), events=events, clock=clock)) == GOLD_UNANSWERED


def test_own_faults_and_clock_steps_are_named() -> None:
    summary = clean()
    summary.counters = {
        **summary.counters,
        "not_sent": 3,
        "missed_slots": 2,
        "send_errors": 1,
        "socket_drops": 4,
        "clock_steps": 1,
        "clock_step_affected": 5,
        "t4_kernel": 7,
        "t4_user": 3,
    }
    summary.clock_steps = [(START_NS + 400 * MS, -1_500 * MS)]
    tool = report(result(summary, timestamps="hardware")).split("This tool\n")[1].split("\n\n")[0]
    assert tool == GOLD_TOOL


def test_nothing_at_all_can_be_reported() -> None:
    assert report(result(Span(end_ns=START_NS), interrupted=True)) == GOLD_NOTHING


def test_status_and_interim_lines() -> None:
    assert status_line(impaired()) == (
        "100 sent, 96 received, 4% loss, 1 late, 2 duplicates; rtt median/p99/max 0.259/2.500/2.500 ms"
    )
    assert interim_line(impaired()) == "96/100 packets, 4% loss, min/avg/p99/max = 0.212/0.282/2.500/2.500 ms"
    assert status_line(unanswered()) == "3 sent, 0 received, 100% loss"
    assert interim_line(Span()) == "0/0 packets"


BATCH = Rows(
    {"sequence": 1, "round_trip_ns": 212_345, "forward_ns": 101_000, "backward_ns": 111_345, "sender_ttl": 253,
     "returned_ttl": 252, "returned_dscp_ecn": 184},
    {"sequence": 2, "status": 4},
    {"sequence": 3, "status": 2},
    {"sequence": 4, "status": 3},
    {"sequence": 5, "status": 1, "round_trip_ns": 1_204_000_000, "flags": 2},
    {"sequence": 1, "status": 5, "round_trip_ns": 300_000, "returned_ttl": 252},
    {"sequence": 1, "status": 7},
    {"sequence": 6, "status": 8},
    {"sequence": 7, "status": 9},
    {"sequence": 8, "round_trip_ns": 1, "forward_ns": -3, "backward_ns": 4, "returned_dscp_ecn": 3, "flags": 0b1_0001},
)  # fmt: skip


def test_each_packet_has_a_line() -> None:
    assert list(PacketLines(session(), {"synchronized": 1, "error_ns": 5}).lines(BATCH)) == GOLD_LINES


@pytest.mark.parametrize("clock", [None, {}, {"synchronized": 0, "error_ns": 5}, {"synchronized": 1, "error_ns": None}])
def test_one_way_delay_is_not_shown_without_a_clock_that_carries_it(clock: dict[str, int | None] | None) -> None:
    assert (
        next(PacketLines(session(), clock).lines(BATCH)) == "44 octets from 192.0.2.1: seq=1 rtt=0.212 ms ttl=253/252"
    )


def test_what_renders_text_and_json_loads_nothing_heavy() -> None:
    """The first packet of `twoway ping` has to leave within 150 ms of a cold start."""
    code = "import sys, twoway.export.text, twoway.export.json_result, twoway.analysis.conditions; print(*sys.modules)"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    heavy = {"numpy", "matplotlib", "asyncio", "socket", "logging", "jsonschema", "typing_extensions", "inspect_"}
    assert not heavy & set(run.stdout.split())


LOST = "control connection with 192.0.2.1:862: closed by the far end"


def test_outages_stand_under_the_head() -> None:
    outages = (
        Outage(START_NS + 100 * MS, START_NS + 350 * MS, LOST),
        Outage(START_NS + 600 * MS, START_NS + 700 * MS, "another reason"),
    )
    lines = report(replace(result(clean()), outages=outages)).splitlines()
    assert lines[2] == f"nothing sent for 350 ms in 2 outages: {LOST}"


def test_an_outage_that_has_not_ended_lasts_to_the_end() -> None:
    span = clean()
    outage = Outage(span.end_ns - 200 * MS, None, LOST)
    lines = report(replace(result(span), outages=(outage,))).splitlines()
    assert lines[2] == f"nothing sent for 200 ms in 1 outage, the last one to the end: {LOST}"


def test_packets_of_which_nothing_can_be_known_any_more() -> None:
    outage = Outage(START_NS, START_NS + 100 * MS, LOST)
    events = (Event(START_NS, "results_lost", 0, "failure"),)
    span = Span(counters={"sent": 60, "received": 27, "lost_forward": 3}, end_ns=START_NS + 900 * MS)
    lines = report(replace(result(span, events=events, protocol="owamp"), outages=(outage,))).splitlines()
    assert lines[3] == ("nothing known of 30 packets: the Server no longer has what it received before the outage")


def test_a_path_that_was_told_is_named() -> None:
    assert report(result(clean(), path="srv6:2001:db8::1")).splitlines()[2] == "by srv6:2001:db8::1"
