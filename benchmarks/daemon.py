"""The daemon: CPU and memory at 100, 1,000 and 10,000 light test-sessions of 1 packet/s, with its store.

One `twoway run` measures sessions of a `twoway reflector --stateful` over loopback, with the defaults for history and
store, on one core; the reflector and this program have the other. It is looked at when histories are full. Then it is
ended, and its store is read: what it says was sent, received and lost is what the figures say, so nothing that was
measured can be missing from the disk. Nothing on loopback is ever lost but by a fault of ours. Last, a reload ends all
test-sessions and begins as many others: how long that holds up the event loop.
"""

from __future__ import annotations

import contextlib
import json
import os
import resource
import signal
import statistics
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

from figures import Findings, Table
from laboratory import NS_PER_S, Process, UnavailableError, free_port, running, wait_until_bound

if TYPE_CHECKING:
    from laboratory import Laboratory

    from twoway.cli.api_client import Api

MIB = 1 << 20
GOAL_SESSIONS, GOAL_CPU, GOAL_OCTETS = 10_000, 0.6, 400 * MIB
_PER_CONNECTION = 250
_HISTORY = 50
"""Probes that the daemon remembers of each session by default, so many seconds until memory is what it stays."""
_RELOADED = 5000
_PATIENCE_S = 120.0
_LOST = ("lost", "late")


def _configuration(folder: Path, port: int, sessions: int, dscp: int = 0) -> Path:
    session: dict[str, object] = {"target": "127.0.0.1", "destination-port": port, "probe-interval": "1s"}
    session |= {"probe-count": 10, "dscp-code-points": dscp}
    connections = {}
    for first in range(0, sessions, _PER_CONNECTION):
        names = range(first, min(first + _PER_CONNECTION, sessions))
        connections[f"c{first}"] = {"control-type": "light", "test-session": {f"s{name}": session for name in names}}
    file = folder / "twoway.yaml"
    document = {
        "client": {"control-connection": connections},
        "store": {"path": str(folder / "results.db")},
        "api": {"socket": str(folder / "api.sock")},
    }
    file.write_text(json.dumps(document))
    return file


def _resident(pid: int) -> int:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def _wait_until_testing(daemon: Process, api: Api, sessions: int) -> None:
    from twoway.errors import ApiError

    deadline = time.monotonic() + _PATIENCE_S
    while time.monotonic() < deadline:
        if daemon.child.poll() is not None:
            raise UnavailableError(f"the daemon ended: {daemon.errors().strip()[-500:]}")
        with contextlib.suppress(ApiError):
            if api.get("/v1/health")["sessions"].get("testing", 0) == sessions:
                return
        time.sleep(0.2)
    raise UnavailableError(f"not all of {sessions} test-sessions run after {_PATIENCE_S:g} s")


def measure(lab: Laboratory, sessions: int, fill_s: float, seconds: float) -> dict[str, float]:
    """Figures of one daemon, looked at for `seconds` once it has run for `fill_s`."""
    from twoway.cli.api_client import Api

    program = lab.our_program()
    lab.company.wait_for_quiet()
    port = free_port()
    cores = (0, (os.cpu_count() or 1) - 1)
    reflect: list[str | Path] = [program, "reflector", "--workers", "1", "--listen", f"127.0.0.1:{port}"]
    reflect += ["--stateful", "--max-sessions", str(sessions + 1)]
    with tempfile.TemporaryDirectory(prefix="twoway-bench-") as name, running(reflect, core=cores[1]) as reflector:
        folder = Path(name)
        wait_until_bound(reflector, port)
        file = _configuration(folder, port, sessions)
        api = Api(str(folder / "api.sock"), None)
        begun = time.monotonic()
        with running([program, "run", file], core=cores[0]) as daemon:
            _wait_until_testing(daemon, api, sessions)
            start_s = time.monotonic() - begun
            time.sleep(fill_s)
            since, used = time.monotonic(), daemon.run_time_ns()
            resident = []
            while time.monotonic() < since + seconds:
                time.sleep(1)
                resident.append(_resident(daemon.pid))
            used, passed = daemon.run_time_ns() - used, time.monotonic() - since
            health = api.get("/v1/health")
            daemon.child.send_signal(signal.SIGTERM)
            daemon.wait(_PATIENCE_S)
        kept = _kept(folder / "results.db")
        octets = sum(file.stat().st_size for file in folder.glob("results.db*"))
    packets = sessions * passed
    return {
        "start_s": start_s,
        "cpu_share": used / NS_PER_S / passed,
        "cpu_us": used / 1000 / packets,
        "resident": statistics.median(resident),
        "store_octets": octets,
        "own_faults": sum(health["own_faults"].values()),
        "not_kept": sum(n for name, n in health["store"].items() if name.startswith("lost_")),
        "lag_ms": health["loop_lag_ns"] / 1e6,
        **kept,
    }


def reload(lab: Laboratory, sessions: int, calm_s: float) -> tuple[float, float, float]:
    """A reload that ends all test-sessions and begins as many, once the daemon has run for `calm_s`: how long it took,
    the greatest lag of the event loop in the minute before it and in that with it, in ms."""
    from twoway.cli.api_client import Api

    program = lab.our_program()
    lab.company.wait_for_quiet()
    port = free_port()
    cores = (0, (os.cpu_count() or 1) - 1)
    reflect: list[str | Path] = [program, "reflector", "--workers", "1", "--listen", f"127.0.0.1:{port}"]
    with tempfile.TemporaryDirectory(prefix="twoway-bench-") as name, running(reflect, core=cores[1]) as reflector:
        folder = Path(name)
        wait_until_bound(reflector, port)
        file = _configuration(folder, port, sessions)
        api = Api(str(folder / "api.sock"), None)
        with running([program, "run", file], core=cores[0]) as daemon:
            _wait_until_testing(daemon, api, sessions)
            time.sleep(calm_s)
            before_ms = api.get("/v1/health")["loop_lag_ns"] / 1e6
            _configuration(folder, port, sessions, dscp=46)
            begun = time.monotonic()
            api.post("/v1/reload", {})
            took_ms = (time.monotonic() - begun) * 1000
            _wait_until_testing(daemon, api, sessions)
            time.sleep(3)
            with_ms = api.get("/v1/health")["loop_lag_ns"] / 1e6
            daemon.child.send_signal(signal.SIGTERM)
            daemon.wait(_PATIENCE_S)
    return took_ms, before_ms, with_ms


def _kept(path: Path) -> dict[str, float]:
    """What the store has of all sessions, from first to last."""
    from twoway.drivers.summaries import PackedSummaries
    from twoway.store import Reader, schema

    found = dict.fromkeys(("sent", "received", "pending", "lost"), 0.0)
    now_ns = time.time_ns() + NS_PER_S
    with contextlib.closing(Reader(schema.connect_read_only(path), PackedSummaries())) as reader:
        for key in reader.keys():  # noqa: SIM118  (it is no dict)
            summary = reader.summary(key, 0, now_ns).summary
            if summary is not None:
                for name in ("sent", "received", "pending"):
                    found[name] += summary.counter(name)
                found["lost"] += sum(summary.counter(name) for name in _LOST)
    return found


def benchmark(lab: Laboratory, *, quick: bool) -> Findings:
    """The section "daemon" of docs/performance.md."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    fill_s, seconds = (1.0, 3.0) if quick else (_HISTORY + 10.0, 30.0)
    findings = Findings(
        "daemon",
        f"One daemon pinned to core 0 with light sessions of 1 packet/s each, histories of {_HISTORY} probes and the "
        f"store on disk; looked at for {seconds:g} s, {fill_s:g} s after all sessions ran. CPU: run time of all its "
        "threads. Memory: resident, all of it. Lag of the event loop: the greatest of a minute. Sent, received, under "
        "way at the end, lost: in its store, from first to last.",
    )
    columns = ["sessions", "CPU, share of a core", "CPU µs/packet", "memory, MiB", "all run after, s"]
    columns += ["lag of the loop, ms"]
    table = Table("CPU and memory", (*columns, "sent", "received", "under way", "lost", "own faults", "store, MiB"))
    findings.tables.append(table)
    for sessions in (100,) if quick else (100, 1000, 10_000):
        seen = measure(lab, sessions, fill_s, seconds)
        counts = [f"{seen[name]:,.0f}" for name in ("sent", "received", "pending", "lost", "own_faults")]
        shares = (seen["cpu_share"], seen["cpu_us"], seen["resident"] / MIB, seen["start_s"], seen["lag_ms"])
        table.add(f"{sessions:,}", *shares, *counts, seen["store_octets"] / MIB)
        findings.goal(
            f"{sessions:,} sessions: none lost, nothing that was measured missing from the store",
            f"{counts[3]} lost, {seen['not_kept']:,.0f} not kept",
            met=seen["lost"] == seen["not_kept"] == 0 and seen["received"] > 0,
        )
        if sessions == GOAL_SESSIONS:
            findings.goal(
                f"{sessions:,} sessions: CPU below {GOAL_CPU:.0%} of a core",
                f"{seen['cpu_share']:.0%}",
                met=seen["cpu_share"] < GOAL_CPU,
            )
            findings.goal(
                f"{sessions:,} sessions: memory below {GOAL_OCTETS // MIB} MiB",
                f"{seen['resident'] / MIB:.0f} MiB",
                met=seen["resident"] < GOAL_OCTETS,
            )
    columns = ["sessions ended and begun", "took, ms", "lag of the loop before, ms", "and with it, ms"]
    table = Table("A reload that changes every test-session", columns)
    table.note = "The greatest lag of a minute, the first of which began after the start."
    findings.tables.append(table)
    for sessions in (100,) if quick else (1000, _RELOADED):
        table.add(f"{sessions:,}", *reload(lab, sessions, 3.0 if quick else 65.0))
    return findings
