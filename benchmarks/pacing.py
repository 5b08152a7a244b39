"""The sender: exact mean rate with every packet stamped, the gap between departures on the wire, and CPU per packet.

Departures are as captured at the sender's end of a veth pair. CPU per packet is the scheduler's run time of
all the sender's threads over two fifths in the middle of the run: start-up (an interpreter's, too) is not in it.
"""

from __future__ import annotations

import itertools
import json
import os
import shlex
import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from figures import Findings, Table, median_rows, quantile
from laboratory import UnavailableError, running, veth_pair, wait_until_bound
from truth import PORT, Tool, irtt_sequence, known_tools, read_capture, stamp_sequence

if TYPE_CHECKING:
    from collections.abc import Sequence

    from laboratory import Laboratory, Veth


@dataclass(frozen=True, slots=True)
class Departures:
    """What the wire saw of one run, in µs where not said otherwise."""

    packets: int
    rate: float
    gap_p50: float
    gap_p99: float
    gap_max: float
    late_p50: float
    late_p99: float
    cpu: float
    output: str

    def row(self) -> list[float]:
        return [self.rate, self.gap_p50, self.gap_p99, self.gap_max, self.late_p50, self.late_p99, self.cpu]


def departures(lab: Laboratory, veth: Veth, tool: Tool, rate: int, count: int, *, pinned: bool) -> Departures:
    """One run; `pinned`: sender on the last core, reflector on core 0."""
    scratch, results = lab.directory / "capture.bin", lab.directory / "results.json"
    results.unlink(missing_ok=True)
    lab.company.wait_for_quiet()
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
    last_core = (os.cpu_count() or 1) - 1
    with (
        running([lab.program("capture"), scratch, veth.points()[0]], core=0 if pinned else None) as capture,
        running(shlex.split(tool.reflector.format(**words)), netns=veth.far, core=0 if pinned else None) as reflector,
    ):
        wait_until_bound(reflector, PORT)
        capture.wait_for("ready")
        with running(
            shlex.split(tool.sender.format(**words)), netns=veth.near, core=last_core if pinned else None
        ) as sender:
            time.sleep(tool.head_start_s + count / rate / 4)
            begin, used = time.monotonic(), sender.run_time_ns()
            time.sleep(count / rate * 0.4)
            packets = (time.monotonic() - begin) * rate
            cpu = (sender.run_time_ns() - used) / packets / 1000
            text = sender.wait(seconds + 60)
        reflector.end()
        capture.end()
    numbered = irtt_sequence if tool.kind == "irtt" else stamp_sequence
    times = sorted(
        record.ns
        for record in read_capture(scratch)
        if record.outgoing and record.destination_port == PORT and numbered(record.payload, reply=False) is not None
    )
    if len(times) < 3:
        raise UnavailableError(f"{tool.name}: {len(times)} departures on the wire of {count}")
    nominal = 1e9 / rate
    gaps = [abs(later - earlier - nominal) / 1000 for earlier, later in itertools.pairwise(times)]
    offsets = [moment - times[0] - index * nominal for index, moment in enumerate(times)]
    earliest = min(offsets)
    late = [(offset - earliest) / 1000 for offset in offsets]
    return Departures(
        len(times),
        (len(times) - 1) / (times[-1] - times[0]) * 1e9,
        quantile(gaps, 0.5),
        quantile(gaps, 0.99),
        max(gaps),
        quantile(late, 0.5),
        quantile(late, 0.99),
        cpu,
        text,
    )


def senders(lab: Laboratory, findings: Findings) -> list[Tool]:
    """The floor, ours with and without --busy-poll, and the peers that are here."""
    known = known_tools(lab)
    found = [known["floor"]]
    if "twoway" in known:
        quiet = replace(
            known["twoway"],
            sender=f"{lab.twoway} ping -q --json -c {{count}} -i {{interval_us}}us {{address}}:{{port}}",
        )
        spinning = replace(
            quiet, name="twoway --busy-poll", sender=quiet.sender.replace("ping -q", "ping --busy-poll -q")
        )
        found += [quiet, spinning]
    found += [known[name] for name in ("irtt", "sockperf") if name in known]
    findings.skipped += [f"{name} (not installed)" for name in ("twoway", "irtt", "sockperf") if name not in known]
    return found


def _own_account(text: str) -> dict[str, int]:
    """The counters of `twoway ping --json`; empty for other tools."""
    if not text.lstrip().startswith("{"):
        return {}
    account: dict[str, int] = {}
    for part in json.loads(text).values():
        if isinstance(part, dict):
            account |= {str(name): value for name, value in part.items() if isinstance(value, int)}
    return account


def benchmark(lab: Laboratory, *, quick: bool) -> Findings:
    """The section "sender" of docs/performance.md."""
    runs = 1 if quick else 5
    findings = Findings(
        "sender",
        f"Departures at the sender's end of a veth pair, idle machine; medians of {runs} interleaved "
        f"run{'s' if runs > 1 else ''}. Gap: |interval between departures - nominal|. Late: behind the grid anchored "
        f"at the earliest departure. CPU: scheduler's run time of the sender over two fifths in the middle of the run.",
    )
    found = senders(lab, findings)
    with veth_pair() as veth:
        _gaps(lab, veth, found, findings, runs=runs, quick=quick)
        _rates(lab, veth, found, findings, runs=runs, quick=quick)
    return findings


def _gaps(lab: Laboratory, veth: Veth, found: Sequence[Tool], findings: Findings, *, runs: int, quick: bool) -> None:
    table = Table(
        "Pacing, µs", ("pps", "sender", "packets/s", "gap p50", "p99", "max", "late p50", "p99", "CPU per packet")
    )
    findings.tables.append(table)
    for rate, count in ((1000, 1000),) if quick else ((100, 1000), (1000, 5000)):
        rows: dict[str, list[list[float]]] = {tool.name: [] for tool in found}
        for number in range(runs):
            turn = number % len(found)
            for tool in (*found[turn:], *found[:turn]):
                rows[tool.name].append(departures(lab, veth, tool, rate, count, pinned=False).row())
        for tool in found:
            table.add(f"{rate:,}", tool.name, *median_rows(rows[tool.name]))
        for name, limit in (("twoway", 100.0), ("twoway --busy-poll", 30.0)):
            if rows.get(name):
                measured = median_rows(rows[name])
                findings.goal(
                    f"{name}, {rate:,}/s idle: p99 of the gap's error < {limit:g} µs",
                    f"{measured[2]:.1f} µs",
                    met=measured[2] < limit,
                )
        if rate == 100 and rows.get("twoway"):
            cpu = median_rows(rows["twoway"])[6]
            findings.goal("twoway, 100/s: CPU per packet < 130 µs", f"{cpu:.0f} µs", met=cpu < 130)


def _rates(lab: Laboratory, veth: Veth, found: Sequence[Tool], findings: Findings, *, runs: int, quick: bool) -> None:
    table = Table(
        "Rate from one core, µs per packet",
        (
            "asked",
            "sender",
            "on the wire packets/s",
            "of asked",
            "CPU per packet",
            "sent",
            "missed slots",
            "kernel T1",
            "received",
        ),
        note="Sender pinned to the last core, its own reflector to core 0; the run with the worst rate of each.",
    )
    findings.tables.append(table)
    for rate in (10_000,) if quick else (1000, 10_000, 50_000, 100_000):
        count = rate if quick else 3 * rate
        for tool in found:
            if tool.name not in ("floor", "twoway"):
                continue
            outcomes = [
                departures(lab, veth, tool, rate, count, pinned=True) for _ in range(1 if quick else min(runs, 3))
            ]
            worst = max(outcomes, key=lambda one: abs(one.rate - rate))
            account = _own_account(worst.output)
            table.add(
                f"{rate:,}",
                tool.name,
                f"{worst.rate:,.1f}",
                f"{worst.rate / rate:.5f}",
                worst.cpu,
                f"{worst.packets:,}",
                *(
                    f"{account[name]:,}" if name in account else None
                    for name in ("missed_slots", "t1_kernel", "received")
                ),
            )
            if tool.name == "twoway":
                stamped = account.get("t1_kernel", 0) + account.get("t1_hardware", 0)
                received = account.get("received", 0)
                exact = abs(worst.rate / rate - 1) < 1e-3 and stamped == received == worst.packets == count
                findings.goal(
                    f"twoway, {rate:,}/s: exact mean rate (within 0.1 %), every packet sent and stamped",
                    f"{worst.rate:,.1f}/s, {worst.packets:,} of {count:,} sent, {received:,} answered, "
                    f"{stamped:,} stamped",
                    met=exact,
                )
