"""Scale: memory per test-session and CPU with 1,000 and 10,000 sessions of 1 packet/s in one process.

A child process opens the Session-Senders through the native plane; a stateful `twoway reflector` answers. Memory is the
difference in anonymous proportional set size (smaps_rollup), so a socket's memory in the kernel is not in it. The
sender runs one session first, so that what a process needs once is not charged to its sessions; the reflector is
compared with a stateless one after one packet, so that a table made beforehand is charged to the sessions it is for.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from figures import Findings, Table
from laboratory import Process, UnavailableError, free_port, running, wait_until_bound
from startup import interpreter_of

if TYPE_CHECKING:
    from laboratory import Laboratory

    from twoway import _native

KIB = 1024
SAMPLE_CAPACITY = 16
"""Samples kept for each session: it is drained every second, as a collector would."""


def anonymous_octets(pid: int) -> int:
    """Anonymous memory of a process, proportionally: files that come and go in other processes do not change it."""
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith("Pss_Anon:"):
            return int(line.split()[1]) * KIB
    raise UnavailableError(f"no Pss_Anon in /proc/{pid}/smaps_rollup")


def own_run_time_ns() -> int:
    return sum(int((task / "schedstat").read_text().split()[0]) for task in Path("/proc/self/task").iterdir())


def _open(plane: _native.Plane, port: int, ssid: int, count: int) -> _native.Sender:
    from twoway import _native

    spec = _native.SenderSpec(
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
        ssid=ssid,
        timestamp_format="ntp",
        payload_len=44,
        fill="zeros",
        count=count,
        schedule="periodic",
        interval_ns=1_000_000_000,
        seed=1,
        timeout_ns=1_000_000_000,
        dscp_ecn=0,
        ttl=255,
        timestamps="kernel",
        reflector_mode="auto",
        dscp_ecn_monitoring=False,
        sample_capacity=SAMPLE_CAPACITY,
        receive_buffer=0,
    )
    return plane.open_sender(spec)


def run_senders(port: int, sessions: int, seconds: int) -> dict[str, float]:
    """In the child: one session first, then `sessions` for `seconds`; memory and CPU of this process."""
    from twoway import _native

    plane = _native.Plane(workers=1, busy_poll=False)
    first = _open(plane, port, 0, 1)
    first.start()
    deadline = time.monotonic() + 5
    while not first.finished and time.monotonic() < deadline:
        time.sleep(0.01)
    first.drain()
    before = anonymous_octets(os.getpid())
    # Handed over before the run, and no list of results kept: what Python holds for each is in the figure, and small.
    senders = [_open(plane, port, number % 65_535 + 1, seconds) for number in range(sessions)]
    opened = anonymous_octets(os.getpid())
    begin, used = time.monotonic(), own_run_time_ns()
    for number, sender in enumerate(senders):
        # Spread over a second, as schedules of many sessions are.
        pause = begin + number / sessions - time.monotonic()
        if pause > 0.001:
            time.sleep(pause)
        sender.start()
    samples = 0
    for tick in range(1, seconds + 1):
        time.sleep(max(0.0, begin + tick - time.monotonic()))
        samples += sum(len(sender.drain()) for sender in senders)
    elapsed, used = time.monotonic() - begin, own_run_time_ns() - used
    after = anonymous_octets(os.getpid())
    deadline = time.monotonic() + 10
    while not all(sender.finished for sender in senders) and time.monotonic() < deadline:
        time.sleep(0.05)
    totals = {"sent": 0, "received": 0, "t1_kernel": 0, "samples_dropped": 0}
    for sender in senders:
        summary = sender.summary()
        for name in totals:
            totals[name] += summary.counter(name)
    return {
        "opened_octets": (opened - before) / sessions,
        "octets": (after - before) / sessions,
        "cpu_share": used / 1e9 / elapsed,
        "cpu_us": used / 1000 / max(1, totals["sent"]),
        **totals,
    }


def measure(lab: Laboratory, sessions: int, seconds: int) -> tuple[dict[str, float], dict[str, float]]:
    """Sender's and reflector's figures."""
    program = lab.our_program()
    lab.company.wait_for_quiet()
    port = free_port()
    stateless = [str(program), "reflector", "--workers", "1", "--listen", f"127.0.0.1:{port}"]
    stateful = [*stateless, "--stateful", "--max-sessions", str(sessions + 1)]

    def senders(number: int) -> Process:
        return Process(
            [interpreter_of(program), __file__, "senders", str(port), str(number), str(seconds if number > 1 else 1)]
        )

    with running(stateless) as reflector:
        wait_until_bound(reflector, port)
        senders(1).wait(30)
        before = anonymous_octets(reflector.pid)
    with running(stateful) as reflector:
        wait_until_bound(reflector, port)
        used = reflector.run_time_ns()
        figures = json.loads(senders(sessions).wait(seconds + 120))
        used = reflector.run_time_ns() - used
        far = {
            "octets": (anonymous_octets(reflector.pid) - before) / sessions,
            "cpu_us": used / 1000 / max(1, figures["sent"]),
            "cpu_share": used / 1e9 / seconds,
        }
    return figures, far


def benchmark(lab: Laboratory, *, quick: bool) -> Findings:
    """The section "scale" of docs/performance.md."""
    seconds = 3 if quick else 10
    findings = Findings(
        "scale",
        f"All sessions in one process and one worker, 1 packet/s each for {seconds} s over loopback to a stateful "
        f"reflector in another; {SAMPLE_CAPACITY} samples of room each, drained every second (the drain is in the CPU "
        f"figure). Memory: anonymous PSS.",
    )
    table = Table(
        "Memory and CPU",
        (
            "sessions",
            "side",
            "KiB/session",
            "of which before the start",
            "CPU, share of a core",
            "CPU µs/packet",
            "sent",
            "received",
            "kernel T1",
        ),
    )
    findings.tables.append(table)
    for sessions in (200,) if quick else (1000, 10_000):
        near, far = measure(lab, sessions, seconds)
        counts = [f"{near[name]:,.0f}" for name in ("sent", "received", "t1_kernel")]
        table.add(
            f"{sessions:,}",
            "sender",
            near["octets"] / KIB,
            near["opened_octets"] / KIB,
            near["cpu_share"],
            near["cpu_us"],
            *counts,
        )
        table.add(
            f"{sessions:,}", "reflector", far["octets"] / KIB, None, far["cpu_share"], far["cpu_us"], None, None, None
        )
        findings.goal(
            f"{sessions:,} sessions: reflector < 2 KiB each",
            f"{far['octets'] / KIB:.2f} KiB",
            met=far["octets"] < 2 * KIB,
        )
        findings.goal(
            f"{sessions:,} sessions: sender < 8 KiB each beyond its socket",
            f"{near['octets'] / KIB:.2f} KiB",
            met=near["octets"] < 8 * KIB,
        )
        findings.goal(
            f"{sessions:,} sessions: every packet sent, answered and stamped",
            f"{near['sent']:,.0f} sent, {near['received']:,.0f} received",
            met=near["sent"] == near["received"] == near["t1_kernel"] == sessions * seconds,
        )
    return findings


def main() -> int:
    parser = argparse.ArgumentParser(
        description="The child of the benchmark `scale`: many Session-Senders in one process."
    )
    parser.add_argument("role", choices=["senders"])
    parser.add_argument("port", type=int)
    parser.add_argument("sessions", type=int)
    parser.add_argument("seconds", type=int)
    arguments = parser.parse_args()
    print(json.dumps(run_senders(arguments.port, arguments.sessions, arguments.seconds)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
