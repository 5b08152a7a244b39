"""Runs the parts of `make lint`, `make check` and `make test`: all of them, even if one fails, then a line for each.

    parts.py lint | check | test

Parts that do not need each other run side by side, in lanes. pytest mostly waits, for packets and for seconds to pass:
what only computes fills these gaps in a lane that gets no processor time which a test wants (SCHED_IDLE), so that it
delays no packet. What measures comes last, and alone.

Quiet parts print only when they fail. What could not run here is named at the end, with the reason. The exit code is 1
if any part failed. Only the standard library is used, because `make test` starts this before .venv exists.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING
from xml.etree import ElementTree as ET

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

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
    after: Sequence[str] = ()
    """The parts of other lanes that have to end before, well or not."""


@dataclass(frozen=True, slots=True)
class Lane:
    """Parts one after another, beside other lanes."""

    parts: tuple[Part, ...]
    idle: bool = False
    """Take only the processor time that no other lane wants."""


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


_saying = threading.Lock()
_groups: set[int] = set()
"""The process groups that run now."""
_interrupted = threading.Event()


def say(text: str) -> None:
    """Print whole lines, which no other lane breaks."""
    with _saying:
        sys.stdout.write(text)
        sys.stdout.flush()


def interrupt() -> None:
    """Pass Ctrl-C on to what runs and to what is just starting: each is a session of its own."""
    _interrupted.set()
    for group in tuple(_groups):
        _end(group, signal.SIGINT)


def _end(group: int, number: signal.Signals) -> None:
    # The whole group goes, so that no server of a test outlives it.
    with contextlib.suppress(ProcessLookupError):
        os.killpg(group, number)


@contextlib.contextmanager
def _watched(group: int, timeout_s: float) -> Iterator[threading.Event]:
    """End this process group after `timeout_s` or on Ctrl-C; says whether it was too late."""
    late = threading.Event()

    def stop() -> None:
        late.set()
        _end(group, signal.SIGTERM)

    alarm = threading.Timer(timeout_s, stop)
    alarm.daemon = True
    _groups.add(group)
    if _interrupted.is_set():
        _end(group, signal.SIGINT)
    alarm.start()
    try:
        yield late
    finally:
        alarm.cancel()
        _groups.discard(group)


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
        _watched(process.pid, timeout_s) as late,
    ):
        if os.sched_getscheduler(0) == os.SCHED_IDLE:
            # The kernel may schedule each session as one group, whose weight is not that of its members (sched(7)).
            with contextlib.suppress(OSError):
                Path(f"/proc/{process.pid}/autogroup").write_text("19")
        for line in process.stdout or ():
            lines.append(line)
            file.write(line)
            if not quiet:
                say(line)
        ok = process.wait() == 0
    if quiet and not ok:
        say("".join((f"── {log.stem}: failed\n", *lines)))
    if late.is_set() and not ok:
        say(f"{log.stem}: stopped after {timeout_s:g} s\n")
    return ok, "".join(lines)


def perform(part: Part) -> Outcome:
    """Run one part."""
    for probe, remedy in part.needs:
        if not works(probe):
            return Outcome(None, (f"{part.name}: {' '.join(probe[:2])} is missing: {remedy}",))
    if callable(part.run):
        return part.run()
    log = LOGS / f"{part.name.replace(' ', '-')}.log"
    try:
        ok, output = execute(part.run, log, quiet=part.quiet, timeout_s=part.timeout_s)
    except OSError as error:
        return Outcome(ok=False, note=f"could not be started: {error}")
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
    # The lock is for .ci/prepare, which may have to install Python's venv meanwhile.
    prefix = ("flock", "build/apt.lock", "env", "DEBIAN_FRONTEND=noninteractive", "apt-get", "-q")
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
    """The tests below these paths, two files at a time."""

    def run() -> Outcome:
        command = ("python", "-m", "pytest", f"--junitxml={JUNIT}")
        side_by_side = ("-n", "2", "--dist", "loadfile", "--no-loadscope-reorder")
        ok, output = execute((*command, *side_by_side, *paths), LOGS / "pytest.log", quiet=False, timeout_s=900)
        skipped, note = tuple(skipped_by_pytest(output)), counted_by_pytest(output)
        failed = re.search(r"\b([0-9]+) failed\b", note)
        if not ok and failed and int(failed[1]) <= DISTURBED_MAX and "error" not in note:
            say("── pytest, alone: what failed beside another test may have been disturbed by it\n")
            alone = ("python", "-m", "pytest", "--last-failed", *paths)
            ok, output = execute(alone, LOGS / "pytest-alone.log", quiet=False, timeout_s=300)
            note += f"; once more alone: {counted_by_pytest(output)}"
        return Outcome(ok, skipped, note)

    return Part("pytest", run, after=("Debian packages",))


CLIPPY = ((("cargo", "clippy", "--version"), "rustup component add clippy"),)
RUSTFMT = ((("cargo", "fmt", "--version"), "rustup component add rustfmt"),)
CXX = ((("c++", "--version"), "apt-get install g++"),)
FUZZ_CLIPPY = ("cargo", "clippy", "--quiet", "--manifest-path", "fuzz/Cargo.toml", "--no-default-features")
STUBTEST = ("python", "-m", "mypy.stubtest", "twoway._native")


LINT_PYTHON = (
    Part("ruff check", ("ruff", "check", "."), quiet=True, after=("build",)),
    Part("ruff format", ("ruff", "format", "--check", "."), quiet=True),
    Part("mypy", ("mypy",), quiet=True),
    Part("import order", ("lint-imports",), quiet=True),
    Part(
        "stub of _native",
        # Which entries of the allowlist are needed depends on Python's version.
        (*STUBTEST, "--allowlist", ".mypy-stubtest-allowlist", "--ignore-unused-allowlist"),
        quiet=True,
    ),
    Part("documents", ("python", "docs/generate.py", "--check"), quiet=True),
)

LINT_RUST = (
    Part(
        "cargo fmt", ("cargo", "fmt", "--all", "--check"), quiet=True, needs=RUSTFMT, after=("build", "Rust components")
    ),
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
        (*FUZZ_CLIPPY, "--locked", "--", "-D", "warnings"),
        quiet=True,
        needs=CLIPPY,
    ),
)

# The bindings' tests are Python's: their library cannot be linked into a program without Python's own.
CARGO_TEST = ("cargo", "test", "--no-fail-fast", "--locked", "--workspace", "--exclude", "twoway-bindings")
RUST_TESTS_BUILT = Part("Rust tests, built", (*CARGO_TEST, "--no-run"), quiet=True)
RUST_TESTS = Part(
    "cargo test",
    CARGO_TEST,
    quiet=True,
    skipped_in=skipped_by_cargo,
    note_in=counted_by_cargo,
    after=("Rust tests, built", "pytest"),
)

PLANE_BUILT = Part(
    # What most of the extension module's build is, and needs no Python: `build` brings .venv meanwhile, then finds it.
    "packet plane, built",
    ("cargo", "build", "--quiet", "--release", "--locked", "--package", "twoway-plane", "--lib"),
    quiet=True,
)

TARGETS: dict[str, tuple[Lane, ...]] = {
    "lint": (Lane(LINT_PYTHON), Lane(LINT_RUST)),
    "check": (
        Lane((RUST_TESTS_BUILT,), idle=True),
        Lane((pytest("tests/unit", "tests/properties"), RUST_TESTS)),
    ),
    "test": (
        Lane((Part("Debian packages", install_debian_packages), Part("Rust components", add_rust_components))),
        Lane((PLANE_BUILT,)),
        Lane(
            (
                RUST_TESTS_BUILT,
                *LINT_PYTHON,
                *LINT_RUST,
                Part("fuzz targets, built", ("fuzz/run", "build"), quiet=True, needs=CXX, after=("Debian packages",)),
            ),
            idle=True,
        ),
        Lane(
            (
                Part("build", ("make", "build"), required=True),
                pytest("tests"),
                RUST_TESTS,
                Part("demonstration", ("examples/demo.sh",), quiet=True, timeout_s=120),
                # With the last of the other lanes: what comes now measures.
                Part("short soak", ("python", "benchmarks/soak.py", "--seconds", "60"), after=("fuzz",)),
                Part("benchmarks", ("python", "benchmarks/run.py", "--quick"), skipped_in=skipped_by_benchmarks),
            )
        ),
        Lane((Part("fuzz", ("fuzz/run", "3"), needs=CXX, after=("fuzz targets, built", "pytest")),)),
    ),
}

WORDS = {True: "ok", False: "FAILED", None: "skipped"}


class Run:
    """One run of the lanes of a target."""

    def __init__(self, lanes: Sequence[Lane]) -> None:
        self.lanes = lanes
        self.parts = [part for lane in lanes for part in lane.parts]
        self.ended: dict[str, tuple[Outcome, float]] = {}
        """How each part ended, and after how many seconds."""
        self._stopped = False
        self._changed = threading.Condition()

    def perform(self) -> None:
        """Run all lanes to their ends, or until a required part fails."""
        with ThreadPoolExecutor(len(self.lanes)) as pool:
            followed = [pool.submit(self._follow, lane) for lane in self.lanes]
            try:
                for each in followed:
                    each.result()
            except KeyboardInterrupt:
                self._stop()
                interrupt()
                raise

    def _follow(self, lane: Lane) -> None:
        if lane.idle:
            # Of this thread, and what it starts inherits it. Where that is forbidden, it competes like the others.
            with contextlib.suppress(OSError):
                os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
        try:
            for part in lane.parts:
                if not self._awaited(part):
                    return
                say(f"── {part.name}\n")
                began = time.monotonic()
                outcome = perform(part)
                with self._changed:
                    self.ended[part.name] = (outcome, time.monotonic() - began)
                    self._changed.notify_all()
                if part.required and not outcome.ok:
                    self._stop()
        except BaseException:
            self._stop()
            raise

    def _awaited(self, part: Part) -> bool:
        """Wait for what has to end before; whether it is still to run then. What is not run by this target is there."""
        awaited = {each.name for each in self.parts}.intersection(part.after)
        with self._changed:
            self._changed.wait_for(lambda: self._stopped or awaited <= self.ended.keys())
            return not self._stopped

    def _stop(self) -> None:
        with self._changed:
            self._stopped = True
            self._changed.notify_all()


def main(target: str) -> int:
    """Run the parts of a target and say how they ended."""
    JUNIT.unlink(missing_ok=True)
    began = time.monotonic()
    run = Run(TARGETS[target])
    run.perform()
    print("\n" + "─" * 60)
    performed = [part for part in run.parts if part.name in run.ended]
    for part in performed:
        outcome, seconds = run.ended[part.name]
        print(f"{part.name:<20} {WORDS[outcome.ok]:<8} {seconds:7.1f} s  {outcome.note}".rstrip())
    left = [part.name for part in run.parts if part.name not in run.ended]
    if left:
        print(f"not run: {', '.join(left)}")
    for line in [line for part in performed for line in run.ended[part.name][0].skipped]:
        print(f"skipped: {line}")
    failed = [part.name for part in performed if run.ended[part.name][0].ok is False]
    took = time.monotonic() - began
    print(f"make {target}: {'FAILED: ' + ', '.join(failed) if failed else 'ok'} in {took:.0f} s", flush=True)
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
