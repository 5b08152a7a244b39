"""Truth: the round trip that a tool reports beside the one that a capture saw on the wire, packet by packet.

    w1  the request leaves the sender's interface      t1..t4: the same moments as the tool states them
    w2  the request arrives at the reflector's         wire round trip = (w4 - w1) - (w3 - w2)
    w3  the reply leaves the reflector's               error = reported round trip - wire round trip
    w4  the reply arrives at the sender's

The sender part of an error is (t4 - w4) - (t1 - w1), the reflector part -((t3 - w3) - (t2 - w2)). Runs of the tools
are interleaved, and every figure stands beside that of `floor` (baseline/floor.c) in the same series.

As a microscope: `truth.py --reflector 'PROGRAM {address} {port}'` holds any STAMP reflector against the floor's sender,
and `--sender` any sender that prints what `twoway ping --ndjson` or the floor prints. See README.md.
"""

from __future__ import annotations

import argparse
import csv
import io
import json
import shlex
import shutil
import struct
import sys
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from figures import Findings, Table, median_rows, quantile
from laboratory import Laboratory, UnavailableError, laboratory, load, running, veth_pair, wait_until_bound

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from pathlib import Path

    from laboratory import Veth

PORT = 8620
FOLLOW_UP = "twoway --tlv follow-up"
FOLLOW_UP_GOALS_US = (0.5, 3.0)
"""Median and p99 of the error with Follow-Up Telemetry, on an idle machine."""
PEER_RUNS = 2
"""Peers are wrong by so much more than the floor that more runs of theirs would only take time."""
RECORD = struct.Struct("<qHHHBB48s")  # baseline/capture.c


@dataclass(frozen=True, slots=True)
class Moments:
    """One packet as a tool (t1..t4) or the wire (w1..w4) has it: ns of the wall clock; None for what is not stated."""

    departed: int | None = None
    far_arrived: int | None = None
    far_departed: int | None = None
    returned: int | None = None
    round_trip: int | None = None

    def computed(self) -> Moments:
        """With the round trip from the four moments where the tool did not state it itself."""
        if self.round_trip is not None:
            return self
        if self.departed is None or self.far_arrived is None or self.far_departed is None or self.returned is None:
            return self
        return replace(self, round_trip=(self.returned - self.departed) - (self.far_departed - self.far_arrived))


@dataclass(frozen=True, slots=True)
class WireRecord:
    """One UDP packet at one capture point; point 0 is the sender's interface, 1 the reflector's."""

    ns: int
    source_port: int
    destination_port: int
    length: int
    point: int
    outgoing: bool
    payload: bytes


def read_capture(path: Path) -> list[WireRecord]:
    """The records that baseline/capture.c wrote."""
    return [
        WireRecord(ns, source, destination, length, point, bool(outgoing), payload)
        for ns, source, destination, length, point, outgoing, payload in RECORD.iter_unpack(path.read_bytes())
    ]


def stamp_sequence(payload: bytes, *, reply: bool) -> int | None:
    """The Session-Sender's sequence number in a STAMP or TWAMP Light packet (RFC 8762 sections 4.2.1 and 4.3.1)."""
    return int.from_bytes(payload[24:28] if reply else payload[:4], "big")


def irtt_sequence(payload: bytes, *, reply: bool) -> int | None:
    """irtt's own number in an echo packet; None for its open and close packets."""
    del reply  # one layout in both directions
    if payload[:3] != b"\x14\xa7\x5b" or payload[3] & 0b101:
        return None
    return int.from_bytes(payload[12:16], "little")


def match_wire(records: Iterable[WireRecord], port: int, sequence_of: Callable[..., int | None]) -> dict[int, Moments]:
    """Wire moments by sequence number; only packets seen at all four points, first copies only."""
    seen: dict[int, list[int | None]] = {}
    for record in records:
        reply = record.source_port == port
        if not reply and record.destination_port != port:
            continue
        sequence = sequence_of(record.payload, reply=reply)
        if sequence is None:
            continue
        index = {(0, False, True): 0, (1, False, False): 1, (1, True, True): 2, (0, True, False): 3}.get(
            (record.point, reply, record.outgoing)
        )
        moments = seen.setdefault(sequence, [None] * 4)
        if index is not None and moments[index] is None:
            moments[index] = record.ns
    return {sequence: Moments(*moments).computed() for sequence, moments in seen.items() if None not in moments}


def _floor_rows(text: str) -> list[dict[str, int]]:
    return [{name: int(value) for name, value in row.items()} for row in csv.DictReader(io.StringIO(text))]


def read_sender(text: str) -> dict[int, Moments]:
    """Moments by sequence from the floor's CSV or from `twoway ping --ndjson`."""
    if not text.lstrip().startswith("{"):
        return {
            row["sequence"]: Moments(row["t1"], row["t2"], row["t3"], row["t4"])
            for row in _floor_rows(text)
            if row["t1"] and row["t4"]
        }
    moments = {}
    for line in text.splitlines():
        event = json.loads(line)
        packet = event.get("packet", event)
        if packet.get("status") == "received":
            moments[packet["sequence"]] = Moments(
                packet["t1_ns"], packet["t2_ns"], packet["t3_ns"], packet["t4_ns"], packet["round_trip_ns"]
            )
    return moments


def read_irtt(text: str) -> dict[int, Moments]:
    """irtt states a round trip by its own monotonic clocks, and no moments comparable with ours."""
    result = json.loads(text)
    return {
        packet["seqno"]: Moments(round_trip=packet["delay"]["rtt"])
        for packet in result["round_trips"]
        if packet["lost"] == "false"
    }


def read_sockperf(text: str) -> list[int]:
    """Round trips of sockperf's full log: lines of packet, txTime, rxTime, rtt in microseconds after a report."""
    trips = []
    for line in text.splitlines():
        fields = line.split(", ")
        if len(fields) == 4 and fields[0].isdigit():
            trips.append(round(float(fields[3]) * 1000))
    return trips


@dataclass(frozen=True, slots=True)
class Tool:
    """A sender with its reflector: commands with {address} {port} {rate} {count} {interval_us} {seconds} {file}."""

    name: str
    reflector: str
    sender: str
    kind: str = "stamp"  # stamp | irtt | sockperf: how packets are recognised and results read
    head_start_s: float = 0.3  # it may take this long until it sends


def known_tools(lab: Laboratory) -> dict[str, Tool]:
    """The tools that are here; `twoway`, `irtt` and `sockperf` only if installed."""
    floor = lab.program("floor")
    tools = {
        "floor": Tool(
            "floor", f"{floor} reflect {{address}} {{port}}", f"{floor} send {{address}} {{port}} {{rate}} {{count}}"
        )
    }
    if lab.twoway is not None:
        tools["twoway"] = Tool(
            "twoway",
            f"{lab.twoway} reflector --listen {{address}}:{{port}}",
            f"{lab.twoway} ping --ndjson -c {{count}} -i {{interval_us}}us {{address}}:{{port}}",
        )
        tools[FOLLOW_UP] = Tool(
            FOLLOW_UP,
            f"{lab.twoway} reflector --stateful --listen {{address}}:{{port}}",
            f"{lab.twoway} ping --tlv follow-up --ndjson -c {{count}} -i {{interval_us}}us {{address}}:{{port}}",
        )
    if shutil.which("irtt"):
        tools["irtt"] = Tool(
            "irtt",
            "irtt server -b {address}:{port} -i 0",
            "irtt client -Q -i {interval_us}us -d {seconds}s -o {file} {address}:{port}",
            "irtt",
        )
    if shutil.which("sockperf"):
        tools["sockperf"] = Tool(
            "sockperf",
            "sockperf server -i {address} -p {port}",
            "sockperf ping-pong -i {address} -p {port} -m 44 -t {seconds} --mps {rate} --full-rtt --full-log {file}",
            "sockperf",
            head_start_s=2.5,
        )
    return tools


@dataclass(frozen=True, slots=True)
class Run:
    """Errors of one run, ns; `sender` and `reflector` are the two parts where the tool states its moments."""

    total: list[int]
    sender: list[int]
    reflector: list[int]
    far_departure: list[int]  # T3 as written - departure at the wire
    wire: list[int]
    unmatched: int


def compare(reported: dict[int, Moments], wire: dict[int, Moments]) -> Run:
    """Per-packet errors where both the tool and the wire have the packet."""
    run = Run([], [], [], [], [], 0)
    unmatched = 0
    for sequence, raw in sorted(reported.items()):
        tool, truth = raw.computed(), wire.get(sequence)
        if truth is None or tool.round_trip is None or truth.round_trip is None:
            unmatched += 1
            continue
        run.total.append(tool.round_trip - truth.round_trip)
        run.wire.append(truth.round_trip)
        if None in (tool.departed, tool.far_arrived, tool.far_departed, tool.returned):
            continue
        errors = [
            (stated or 0) - (true or 0)
            for stated, true in (
                (tool.departed, truth.departed),
                (tool.far_arrived, truth.far_arrived),
                (tool.far_departed, truth.far_departed),
                (tool.returned, truth.returned),
            )
        ]
        run.sender.append(errors[3] - errors[0])
        run.reflector.append(errors[1] - errors[2])
        run.far_departure.append(errors[2])
    return replace(run, unmatched=unmatched)


def compare_quantiles(trips: list[int], wire: dict[int, Moments]) -> Run:
    """For a tool whose results name no packet: each reported value minus the wire's at the same rank."""
    true = sorted(moments.round_trip for moments in wire.values() if moments.round_trip is not None)
    ordered = sorted(trips)
    if not true or not ordered:
        return Run([], [], [], [], [], len(trips))
    matched = [true[min(len(true) - 1, rank * len(true) // len(ordered))] for rank in range(len(ordered))]
    return Run([ours - its for ours, its in zip(ordered, matched, strict=True)], [], [], [], true, 0)


def has_egress_hook(lab: Laboratory, veth: Veth) -> bool:
    """Whether the capture takes departures without standing in their way (baseline/capture.c)."""
    with running([lab.program("capture"), lab.directory / "capture.bin", *veth.points()]) as capture:
        capture.wait_for("ready")
        return "hook" in capture.output()


def measure(lab: Laboratory, veth: Veth, tool: Tool, rate: int, count: int) -> Run:
    """One run of one tool over the veth pair, with the capture at both ends."""
    scratch, results = lab.directory / "capture.bin", lab.directory / "results.json"
    results.unlink(missing_ok=True)
    seconds = max(1, -(-count // rate))
    words = {
        "address": veth.far_address,
        "port": PORT,
        "rate": rate,
        "count": count,
        "interval_us": 1_000_000 // rate,
        "seconds": seconds,
        "file": results,
    }
    with (
        running([lab.program("capture"), scratch, *veth.points()]) as capture,
        running(shlex.split(tool.reflector.format(**words)), netns=veth.far) as reflector,
    ):
        wait_until_bound(reflector, PORT)
        capture.wait_for("ready")
        with running(shlex.split(tool.sender.format(**words)), netns=veth.near) as sender:
            text = sender.wait(seconds + 30)
        reflector_text = reflector.end()
        capture.end()
    records = read_capture(scratch)
    if tool.kind == "sockperf":
        # Its numbers are 64 bits wide and written first; the low half is enough to tell packets apart here.
        # `reply` is passed by its name, and sockperf's packets look the same both ways.
        wire = match_wire(records, PORT, lambda payload, reply: int.from_bytes(payload[:8], "big") & 0xFFFFFFFF)  # noqa: ARG005
        return compare_quantiles(read_sockperf(results.read_text()), wire)
    if tool.kind == "irtt":
        return compare(read_irtt(results.read_text()), match_wire(records, PORT, irtt_sequence))
    reported = read_sender(text)
    if reflector_text.startswith("sequence,arrival"):
        # The floor's own rule: the kernel's stamp of each departure, recorded by the reflector, stands for T3.
        departures = {row["sequence"]: row["departed"] for row in _floor_rows(reflector_text) if row["departed"]}
        reported = {
            sequence: replace(moments, far_departed=departures[sequence], round_trip=None)
            for sequence, moments in reported.items()
            if sequence in departures
        }
    return compare(reported, match_wire(records, PORT, stamp_sequence))


def _us(values: Iterable[int], q: float) -> float:
    return quantile(values, q) / 1000


def row_of(run: Run) -> list[float]:
    """The columns of `COLUMNS` from "error p50" to "unmatched", in microseconds but for the last."""
    absolute = [abs(error) for error in run.total]
    sender, reflector = [abs(error) for error in run.sender], [abs(error) for error in run.reflector]
    return [
        _us(absolute, 0.5),
        _us(absolute, 0.99),
        _us(absolute, 1.0),
        _us(run.total, 0.01),
        _us(run.total, 0.5),
        _us(run.total, 0.99),
        _us(sender, 0.5),
        _us(sender, 0.99),
        _us(reflector, 0.5),
        _us(reflector, 0.99),
        _us(run.far_departure, 0.5),
        _us(run.wire, 0.5),
        float(run.unmatched),
    ]


COLUMNS = (
    "pps", "load", "tool", "error p50", "p99", "max", "signed p1", "p50", "p99", "sender p50", "p99", "reflector p50",
    "p99", "T3 - wire p50", "wire RTT p50", "unmatched", "p50 / floor", "p99 / floor",
)  # fmt: skip


def series(
    lab: Laboratory,
    veth: Veth,
    tools: Sequence[Tool],
    rates: Sequence[tuple[int, int]],
    *,
    busy: bool,
    runs: int,
    table: Table,
) -> dict[tuple[int, str], list[float]]:
    """Interleaved runs; the rows of `table`, and the medians by (rate, tool name). `tools[0]` is the floor."""
    medians: dict[tuple[int, str], list[float]] = {}
    for rate, count in rates:
        rows: dict[str, list[list[float]]] = {tool.name: [] for tool in tools}
        if busy:
            lab.company.wait_for_quiet()
        with load(lab, busy=busy):
            for number in range(runs):
                turn = number % len(tools)
                for tool in (*tools[turn:], *tools[:turn]):
                    if tool.kind != "stamp" and number >= PEER_RUNS:
                        continue
                    if not busy:
                        lab.company.wait_for_quiet()
                    rows[tool.name].append(row_of(measure(lab, veth, tool, rate, count)))
        for tool in tools:
            medians[rate, tool.name] = median_rows(rows[tool.name])
        floor = medians[rate, tools[0].name]
        for tool in tools:
            row = medians[rate, tool.name]
            table.add(
                f"{rate:,}",
                "busy" if busy else "idle",
                tool.name,
                *row[:-1],
                f"{row[-1]:.0f}",
                row[0] / floor[0],
                row[1] / floor[1],
            )
    return medians


def benchmark(lab: Laboratory, *, quick: bool) -> Findings:
    """The section "truth" of docs/performance.md."""
    runs = 1 if quick else 5
    rates = [(1000, 300)] if quick else [(100, 1000), (1000, 3000)]
    findings = Findings(
        "truth",
        f"Reported round trip minus wire round trip per packet, over a veth pair between two namespaces; the "
        f"truth at both ends is the kernel's: on arrival the stamp of the packet tap, on departure that of a BPF "
        f"program on the interface's egress. "
        f"{', '.join(f'{count:,} packets at {rate:,}/s' for rate, count in rates)}; medians of {runs} interleaved "
        f"run{'s' if runs > 1 else ''} (peers: at most {PEER_RUNS}); busy: one busy loop of normal priority per "
        f"core. sockperf's log names no packet: its figures are differences at equal rank.",
    )
    available = known_tools(lab)
    others = ("twoway", FOLLOW_UP, "irtt", "sockperf")
    tools = [available["floor"], *(available[name] for name in others if name in available)]
    findings.skipped += [f"{name} (not installed)" for name in others if name not in available]
    table = Table("Error of the round trip, µs", COLUMNS)
    findings.tables.append(table)
    with veth_pair() as veth:
        if not has_egress_hook(lab, veth):
            findings.skipped.append(
                "the hook at departures (no tcx in this kernel: the packet tap is there, and takes 1 to 8 µs itself)"
            )
        for busy in (False, True):
            medians = series(lab, veth, tools, rates, busy=busy, runs=runs, table=table)
            for rate, _ in rates:
                ours, floor = medians.get((rate, "twoway")), medians[rate, "floor"]
                if ours is None:
                    continue
                for index, which in ((0, "median"), (1, "p99")):
                    ratio = ours[index] / floor[index]
                    findings.goal(
                        f"{which} of the error ≤ 1.2 of the floor, {rate:,}/s, {'busy' if busy else 'idle'}",
                        f"{ratio:.2f} ({ours[index]:.2f} µs / {floor[index]:.2f} µs)",
                        met=ratio <= 1.2,
                    )
            for rate, _ in rates if not busy else ():
                for index, limit, which in zip((0, 1), FOLLOW_UP_GOALS_US, ("median", "p99"), strict=True):
                    if (told := medians.get((rate, FOLLOW_UP))) is not None:
                        findings.goal(
                            f"{which} of the error with Follow-Up Telemetry < {limit:g} µs, {rate:,}/s, idle",
                            f"{told[index]:.2f} µs",
                            met=told[index] < limit,
                        )
    return findings


def main() -> int:
    parser = argparse.ArgumentParser(
        description="Hold a sender or a reflector against wire truth, beside the floor of the method."
    )
    parser.add_argument(
        "--sender",
        default="floor",
        help="floor | twoway | irtt | sockperf | a command with {address} {port} {rate} {count}",
    )
    parser.add_argument(
        "--reflector",
        default=None,
        help="the same names, or a command with {address} {port} (default: the sender's own)",
    )
    parser.add_argument("--rate", type=int, default=100)
    parser.add_argument("--count", type=int, default=500)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--busy", action="store_true", help="every core in a busy loop")
    arguments = parser.parse_args()
    try:
        with laboratory() as lab, veth_pair() as veth:
            tools = known_tools(lab)
            sender = tools.get(arguments.sender) or Tool("sender", tools["floor"].reflector, arguments.sender)
            reflector = arguments.reflector and (
                tools[arguments.reflector].reflector if arguments.reflector in tools else arguments.reflector
            )
            subject = replace(sender, name="subject", reflector=reflector or sender.reflector)
            table = Table("Error of the round trip, µs", COLUMNS)
            series(
                lab,
                veth,
                [tools["floor"], subject],
                [(arguments.rate, arguments.count)],
                busy=arguments.busy,
                runs=arguments.runs,
                table=table,
            )
            print(table.markdown())
    except UnavailableError as error:
        print(f"truth: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
