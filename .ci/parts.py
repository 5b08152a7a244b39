"""Runs the parts of `make lint`, `make check` and `make test`: all of them, even if one fails, then a line for each.

    parts.py lint | check | test

Quiet parts print only when they fail. What could not run here is named at the end, with the reason. The exit code is 1
if any part failed. Only the standard library is used, because `make test` starts this before .venv exists.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING
from xml.etree import ElementTree as ET

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

ROOT = Path(__file__).resolve().parent.parent
LOGS = ROOT / "build" / "test"
BIN = ROOT / ".venv" / "bin"
JUNIT = LOGS / "pytest.xml"
DISTURBED_MAX = 8
"""So many tests that fail beside others are tried once more alone, and named; more are no coincidence."""
PACKAGE_LISTS = (".ci/debian-packages.txt", "tests/debian-packages.txt", "benchmarks/debian-packages.txt")


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a part ended. `ok` None: it did not run, for the reason in `skipped`."""

    ok: bool | None
    skipped: tuple[str, ...] = ()
    """What did not run here, by name and with the reason."""
    note: str = ""
    """What is worth knowing beside the result."""


@dataclass(frozen=True, slots=True)
class Part:
    """One step. `run` is a command line, or a function where a command is not enough."""

    name: str
    run: Sequence[str] | Callable[[], Outcome]
    quiet: bool = False
    """Show the output only if it fails."""
    needs: Sequence[tuple[Sequence[str], str]] = field(default=())
    """(command that succeeds where the part can run, what to do where it does not)."""
    skipped_in: Callable[[str], list[str]] | None = None
    """Finds in the output the names of what was skipped."""
    note_in: Callable[[str], str] | None = None
    """Finds in the output what is worth knowing beside the result."""
    timeout_s: float = 900
    required: bool = False
    """Nothing after it makes sense if it fails."""


def environment() -> dict[str, str]:
    """Ours, with .venv first: the system's Python is never used for a part."""
    home = str(Path.home() / ".cargo" / "bin")
    path = os.pathsep.join((str(BIN), os.environ.get("PATH", os.defpath), home))
    return {
        **os.environ,
        "PATH": path,
        "VIRTUAL_ENV": str(ROOT / ".venv"),
        "PYO3_PYTHON": str(BIN / "python"),
        "CARGO_TERM_COLOR": "never",
    }


def execute(command: Sequence[str], log: Path, *, quiet: bool, timeout_s: float) -> tuple[bool, str]:
    """Run a command in the project's root; returns whether it succeeded, and its output, which goes to `log` too."""
    log.parent.mkdir(parents=True, exist_ok=True)
    lines: list[str] = []
    with (
        log.open("w") as file,
        subprocess.Popen(
            command,
            cwd=ROOT,
            env=environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            start_new_session=True,
        ) as process,
    ):
        # The whole group goes, so that no server of a test outlives it.
        previous = signal.signal(signal.SIGALRM, lambda *_: os.killpg(process.pid, signal.SIGTERM))
        signal.alarm(int(timeout_s))
        try:
            for line in process.stdout or ():
                lines.append(line)
                file.write(line)
                if not quiet:
                    print(line, end="", flush=True)
        except KeyboardInterrupt:
            os.killpg(process.pid, signal.SIGINT)
            raise
        finally:
            late = signal.alarm(0) == 0
            signal.signal(signal.SIGALRM, previous)
    ok = process.returncode == 0
    if quiet and not ok:
        print("".join(lines), end="", flush=True)
    if late and not ok:
        print(f"stopped after {timeout_s:g} s", flush=True)
    return ok, "".join(lines)


def perform(part: Part) -> Outcome:
    """Run one part."""
    for probe, remedy in part.needs:
        if not works(probe):
            return Outcome(None, (f"{part.name}: {' '.join(probe[:2])} is missing: {remedy}",))
    if callable(part.run):
        return part.run()
    log = LOGS / f"{part.name.replace(' ', '-')}.log"
    ok, output = execute(part.run, log, quiet=part.quiet, timeout_s=part.timeout_s)
    skipped = tuple(part.skipped_in(output)) if part.skipped_in else ()
    return Outcome(ok, skipped, part.note_in(output) if part.note_in else "")


def install_debian_packages() -> Outcome:
    """What the tests use of Debian, where we may install it. Never a failure: what is missing skips tests by name."""
    wanted = [
        name
        for path in PACKAGE_LISTS
        for line in (ROOT / path).read_text().splitlines()
        if (name := line.partition("#")[0].strip())
    ]
    if shutil.which("dpkg-query") is None or shutil.which("apt-get") is None:
        return Outcome(
            None, (f"Debian packages: this is no Debian: {' '.join(wanted)} have to be there by other means",)
        )

    def missing() -> list[str]:
        query = ("dpkg-query", "--show", "--showformat=${db:Status-Status}")
        states = ((name, subprocess.run((*query, name), capture_output=True, check=False).stdout) for name in wanted)
        return [name for name, state in states if state != b"installed"]

    lacking = missing()
    if not lacking:
        return Outcome(ok=True)
    if os.geteuid() != 0:
        return Outcome(None, (f"Debian packages: not root: apt-get install {' '.join(lacking)}",))
    prefix = ("env", "DEBIAN_FRONTEND=noninteractive", "apt-get", "-q")
    log = LOGS / "Debian-packages.log"
    execute((*prefix, "update"), log, quiet=True, timeout_s=120)
    install = (*prefix, "install", "-y", "--no-install-recommends", *lacking)
    execute(install, log, quiet=True, timeout_s=300)
    lacking = missing()
    return Outcome(True if not lacking else None, tuple(f"Debian package {name}: not installable" for name in lacking))


def works(command: Sequence[str]) -> bool:
    """Whether a command is here and succeeds."""
    if shutil.which(command[0], path=environment()["PATH"]) is None:
        return False
    return subprocess.run(command, env=environment(), capture_output=True, check=False).returncode == 0


def add_rust_components() -> Outcome:
    """clippy and rustfmt, where rustup can bring them."""
    probes = [probe for probe, _ in (*CLIPPY, *RUSTFMT)]
    if all(works(probe) for probe in probes) or shutil.which("rustup", path=environment()["PATH"]) is None:
        return Outcome(ok=True)
    command = ("rustup", "component", "add", "clippy", "rustfmt")
    ok, _ = execute(command, LOGS / "Rust-components.log", quiet=True, timeout_s=120)
    return Outcome(True if ok else None, () if ok else ("Rust components clippy and rustfmt: not installable",))


def skipped_by_pytest(_output: str) -> list[str]:
    """Names and reasons from the JUnit file."""
    if not JUNIT.exists():
        return []
    skipped = []
    for case in ET.parse(JUNIT).iter("testcase"):  # noqa: S314  (written by our own pytest a moment ago)
        for mark in case.iter("skipped"):
            skipped.append(f"{case.get('classname')}::{case.get('name')}: {mark.get('message')}")  # noqa: PERF401  (flat to read)
    return skipped


def skipped_by_cargo(output: str) -> list[str]:
    """Ignored tests of `cargo test`."""
    ignored = re.findall(r"^test (\S+) .*\.\.\. ignored(.*)$", output, re.M)
    return [f"cargo test {name}: ignored{why}" for name, why in ignored]


def counted_by_cargo(output: str) -> str:
    """Tests that passed in all crates."""
    return f"{sum(int(count) for count in re.findall(r'^test result: .*?([0-9]+) passed', output, re.M))} passed"


def counted_by_pytest(output: str) -> str:
    """The counts of pytest's last line."""
    counts = re.findall(r"([0-9]+ (?:passed|failed|skipped|errors?|xfailed))\b", (output.splitlines() or [""])[-1])
    return ", ".join(counts)


def skipped_by_benchmarks(output: str) -> list[str]:
    """Lines `skipped: …` of benchmarks/run.py."""
    return [f"benchmarks: {what}" for what in re.findall(r"^skipped: (.*)$", output, re.M)]


def pytest(*paths: str) -> Part:
    """The tests below these paths, two files at a time: most wait for packets and for seconds to pass."""

    def run() -> Outcome:
        command = ("python", "-m", "pytest", f"--junitxml={JUNIT}")
        side_by_side = ("-n", "2", "--dist", "loadfile", "--no-loadscope-reorder")
        ok, output = execute((*command, *side_by_side, *paths), LOGS / "pytest.log", quiet=False, timeout_s=900)
        skipped, note = tuple(skipped_by_pytest(output)), counted_by_pytest(output)
        failed = re.search(r"\b([0-9]+) failed\b", note)
        if not ok and failed and int(failed[1]) <= DISTURBED_MAX and "error" not in note:
            print("── pytest, alone: what failed beside another test may have been disturbed by it", flush=True)
            alone = ("python", "-m", "pytest", "--last-failed", *paths)
            ok, output = execute(alone, LOGS / "pytest-alone.log", quiet=False, timeout_s=300)
            note += f"; once more alone: {counted_by_pytest(output)}"
        return Outcome(ok, skipped, note)

    return Part("pytest", run)


CLIPPY = ((("cargo", "clippy", "--version"), "rustup component add clippy"),)
RUSTFMT = ((("cargo", "fmt", "--version"), "rustup component add rustfmt"),)
CXX = ((("c++", "--version"), "apt-get install g++"),)
STUBTEST = ("python", "-m", "mypy.stubtest", "twoway._native")

LINT = (
    Part("ruff check", ("ruff", "check", "."), quiet=True),
    Part("ruff format", ("ruff", "format", "--check", "."), quiet=True),
    Part("mypy", ("mypy",), quiet=True),
    Part("import order", ("lint-imports",), quiet=True),
    Part(
        "stub of _native",
        # Which entries of the allowlist are needed depends on Python's version.
        (*STUBTEST, "--allowlist", ".mypy-stubtest-allowlist", "--ignore-unused-allowlist"),
        quiet=True,
    ),
    Part("cargo fmt", ("cargo", "fmt", "--all", "--check"), quiet=True, needs=RUSTFMT),
    Part(
        "cargo fmt of fuzz",
        ("cargo", "fmt", "--manifest-path", "fuzz/Cargo.toml", "--check"),
        quiet=True,
        needs=RUSTFMT,
    ),
    Part(
        "clippy",
        ("cargo", "clippy", "--quiet", "--workspace", "--all-targets", "--locked", "--", "-D", "warnings"),
        quiet=True,
        needs=CLIPPY,
    ),
    Part(
        # A workspace of its own: without this a change of the packet plane's interface is first seen by the fuzz run.
        "clippy of fuzz",
        ("cargo", "clippy", "--quiet", "--manifest-path", "fuzz/Cargo.toml", "--locked", "--", "-D", "warnings"),
        quiet=True,
        needs=(*CLIPPY, *CXX),
    ),
    Part("documents", ("python", "docs/generate.py", "--check"), quiet=True),
)

CARGO_TEST = Part(
    "cargo test",
    # The bindings' tests are Python's: their library cannot be linked into a program without Python's own.
    ("cargo", "test", "--no-fail-fast", "--locked", "--workspace", "--exclude", "twoway-bindings"),
    quiet=True,
    skipped_in=skipped_by_cargo,
    note_in=counted_by_cargo,
)

TARGETS: dict[str, tuple[Part, ...]] = {
    "lint": LINT,
    "check": (CARGO_TEST, pytest("tests/unit", "tests/properties")),
    "test": (
        Part("Debian packages", install_debian_packages),
        Part("Rust components", add_rust_components),
        Part("build", ("make", "build"), required=True),
        *LINT,
        CARGO_TEST,
        pytest("tests"),
        Part("demonstration", ("examples/demo.sh",), quiet=True, timeout_s=120),
        Part("fuzz", ("fuzz/run", "3"), needs=CXX),
        Part("short soak", ("python", "benchmarks/soak.py", "--seconds", "60")),
        Part("benchmarks", ("python", "benchmarks/run.py", "--quick"), skipped_in=skipped_by_benchmarks),
    ),
}

WORDS = {True: "ok", False: "FAILED", None: "skipped"}


def main(target: str) -> int:
    """Run the parts of a target and say how they ended."""
    JUNIT.unlink(missing_ok=True)
    results: list[tuple[Part, Outcome, float]] = []
    for part in TARGETS[target]:
        print(f"── {part.name}", flush=True)
        began = time.monotonic()
        outcome = perform(part)
        results.append((part, outcome, time.monotonic() - began))
        if part.required and not outcome.ok:
            break
    print("\n" + "─" * 60)
    for part, outcome, seconds in results:
        print(f"{part.name:<20} {WORDS[outcome.ok]:<8} {seconds:7.1f} s  {outcome.note}".rstrip())
    total = sum(seconds for _, _, seconds in results)
    left = [part.name for part in TARGETS[target][len(results) :]]
    if left:
        print(f"not run: {', '.join(left)}")
    for line in [line for _, outcome, _ in results for line in outcome.skipped]:
        print(f"skipped: {line}")
    failed = [part.name for part, outcome, _ in results if outcome.ok is False]
    print(f"make {target}: {'FAILED: ' + ', '.join(failed) if failed else 'ok'} in {total:.0f} s", flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    if len(sys.argv) != 2 or sys.argv[1] not in TARGETS:
        sys.exit(f"usage: parts.py {' | '.join(TARGETS)}")
    # Whoever started this in the background may have had SIGINT ignored; tests of Ctrl-C must not inherit that.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        sys.exit(main(sys.argv[1]))
    except KeyboardInterrupt:
        sys.exit(130)
