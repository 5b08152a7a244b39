"""Run the benchmarks: `benchmarks/run.py [--quick | --print-only] [truth | reflector | sender | scale | start-up |
extensions | managed | daemon | store | routes]...`

Prints a Markdown section for each and puts it into docs/performance.md between its markers, leaving the others alone;
--quick never writes. Nothing here passes or fails by a time: the figures are as measured, beside a baseline of the same
run. What cannot run here is skipped by name. Exit status: 0, or 1 if a benchmark broke.
"""

from __future__ import annotations

import argparse
import datetime as dt
import re
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import capacity
import daemon
import extensions
import managed
import pacing
import routes
import scale
import startup
import store
import truth
from laboratory import QUIET_CORES, UnavailableError, laboratory, machine

if TYPE_CHECKING:
    from collections.abc import Callable

    from figures import Findings
    from laboratory import Laboratory

DOCUMENT = Path(__file__).resolve().parent.parent / "docs" / "performance.md"
BENCHMARKS: dict[str, Callable[..., Findings]] = {
    "truth": truth.benchmark,
    "reflector": capacity.benchmark,
    "sender": pacing.benchmark,
    "scale": scale.benchmark,
    "start-up": startup.benchmark,
    "extensions": extensions.benchmark,
    "managed": managed.benchmark,
    "daemon": daemon.benchmark,
    "store": store.benchmark,
    "routes": routes.benchmark,
}


def section(lab: Laboratory, name: str, *, quick: bool) -> tuple[str, Findings]:
    """Run one benchmark and say where, when and in what company it ran."""
    company = lab.company
    company.rounds = company.noisy = 0
    began = time.monotonic()
    findings = BENCHMARKS[name](lab, quick=quick)
    took = time.monotonic() - began
    moment = dt.datetime.now(dt.UTC).strftime("%Y-%m-%d %H:%M UTC")
    head = (
        f"Measured {moment} in {took:.0f} s on {machine()}. Of {company.rounds} rounds {company.noisy} began while "
        f"others used more than {QUIET_CORES:g} cores.\n"
    )
    return f"{head}\n{findings.markdown()}", findings


def put(path: Path, name: str, text: str) -> None:
    """Replace the section `name` of the document."""
    begin, end = f"<!-- begin {name} -->", f"<!-- end {name} -->"
    document = path.read_text()
    pattern = re.compile(re.escape(begin) + ".*?" + re.escape(end), re.DOTALL)
    if not pattern.search(document):
        raise UnavailableError(f"{path} has no section {begin}")
    path.write_text(pattern.sub(lambda _: f"{begin}\n{text}\n{end}", document))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"which benchmarks ({', '.join(BENCHMARKS)}; all)")
    parser.add_argument("--quick", action="store_true", help="two minutes in all: proves the harness, no more")
    parser.add_argument(
        "--patience", type=float, default=300.0, metavar="S", help="wait this long in all for quiet moments (300 s)"
    )
    parser.add_argument("--print-only", action="store_true", help=f"leave {DOCUMENT.name} alone")
    arguments = parser.parse_args()
    unknown = set(arguments.names) - set(BENCHMARKS)
    if unknown:
        parser.error(f"no benchmark {', '.join(sorted(unknown))}; there are {', '.join(BENCHMARKS)}")
    broken, skipped = [], []
    try:
        with laboratory(0.0 if arguments.quick else arguments.patience) as lab:
            for name in arguments.names or BENCHMARKS:
                print(f"## {name}\n", flush=True)
                try:
                    text, findings = section(lab, name, quick=arguments.quick)
                except UnavailableError as error:
                    skipped.append(f"{name}: {error}")
                    continue
                except (OSError, subprocess.SubprocessError, ValueError, KeyError) as error:
                    broken.append(f"{name}: {type(error).__name__}: {error}")
                    continue
                print(text, flush=True)
                skipped += [f"{name}: {what}" for what in findings.skipped]
                if not (arguments.quick or arguments.print_only):
                    put(DOCUMENT, name, text)
    except UnavailableError as error:
        skipped.append(f"all: {error}")
    except KeyboardInterrupt:
        return 130
    for line in skipped:
        print(f"skipped: {line}")
    for line in broken:
        print(f"broken: {line}")
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
