"""Start-up: from exec of `twoway ping -c 1` to its first packet on the wire, beside the interpreter's own share.

Cold: the page cache is dropped before each start, so that interpreter, modules and libraries come from the disk.
Interpreter: from exec to the first line of an empty programme, with the same interpreter.
"""

from __future__ import annotations

import os
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING

from figures import Findings, Table, median, quantile
from laboratory import UnavailableError, free_port, running, wait_until_bound
from truth import read_capture

if TYPE_CHECKING:
    from collections.abc import Callable

    from laboratory import Laboratory

DROP_CACHES = Path("/proc/sys/vm/drop_caches")
GOAL_MS = 150.0


def drop_caches() -> None:
    os.sync()
    DROP_CACHES.write_text("3")


def interpreter_of(program: Path) -> str:
    """The interpreter that an installed script names in its first line."""
    first = program.read_bytes().split(b"\n", 1)[0].decode()
    return first.removeprefix("#!").strip() if first.startswith("#!") else "python3"


def first_packet_ms(lab: Laboratory, port: int, scratch: Path) -> float:
    """One start: milliseconds from just before exec to the request's departure on lo."""
    with running([lab.program("capture"), scratch, ":lo"]) as capture:
        capture.wait_for("ready")
        before = time.time_ns()
        subprocess.run(
            [lab.our_program(), "ping", "-c", "1", "-q", f"127.0.0.1:{port}"],
            check=True,
            capture_output=True,
            timeout=60,
        )
        capture.end()
    moments = [record.ns for record in read_capture(scratch) if record.outgoing and record.destination_port == port]
    if not moments:
        raise UnavailableError("no request of `twoway ping -c 1` was seen on lo")
    return (min(moments) - before) / 1e6


def interpreter_ms(interpreter: str, code: str) -> float:
    """Milliseconds from just before exec to the first line of a programme that prints the time after `code`."""
    before = time.time_ns()
    done = subprocess.run(
        [interpreter, "-c", f"{code}\nimport time\nprint(time.time_ns())"],
        check=True,
        capture_output=True,
        text=True,
        timeout=60,
    )
    return (int(done.stdout) - before) / 1e6


def benchmark(lab: Laboratory, *, quick: bool) -> Findings:
    """The section "start-up" of docs/performance.md."""
    runs = 2 if quick else 15
    program = lab.our_program()
    interpreter = interpreter_of(program)
    cold_possible = os.access(DROP_CACHES, os.W_OK) and not quick
    findings = Findings(
        "start-up",
        f"`twoway ping -c 1 -q` to a reflector on loopback; medians of {runs} starts. Cold: page cache dropped "
        f"before each. Interpreter: `{Path(interpreter).name} -c pass` to its first line; native: after "
        f"`import twoway._native`, too.",
    )
    if not cold_possible:
        findings.skipped.append(
            "cold starts (quick run)" if quick else f"cold starts (no write access to {DROP_CACHES})"
        )
    table = Table("Exec to first packet, ms", ("start", "what", "min", "median", "p90", "max"))
    findings.tables.append(table)
    port = free_port()
    scratch = lab.directory / "capture.bin"
    with running([lab.program("floor"), "reflect", "127.0.0.1", str(port)]) as reflector:
        wait_until_bound(reflector, port)
        for cold in (True, False) if cold_possible else (False,):
            subjects: dict[str, Callable[[], float]] = {
                "twoway ping -c 1": lambda: first_packet_ms(lab, port, scratch),
                "interpreter": lambda: interpreter_ms(interpreter, "pass"),
                "interpreter and native": lambda: interpreter_ms(interpreter, "import twoway._native"),
            }
            medians = {}
            for what, start in subjects.items():
                values = []
                for _ in range(runs):
                    lab.company.wait_for_quiet()
                    if cold:
                        drop_caches()
                    values.append(start())
                medians[what] = median(values)
                table.add(
                    "cold" if cold else "warm", what, min(values), medians[what], quantile(values, 0.9), max(values)
                )
            measured, share = medians["twoway ping -c 1"], medians["interpreter"]
            text = f"{measured:.0f} ms, of which interpreter {share:.0f} ms"
            findings.goal(
                f"first packet on the wire < {GOAL_MS:g} ms, {'cold' if cold else 'warm'}", text, met=measured < GOAL_MS
            )
    return findings
