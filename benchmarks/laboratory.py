"""Where a benchmark takes place: compiled baselines, network namespaces, processes and their run time.

Everything made here is unmade on the way out, also after an error or Ctrl-C: processes are ended by their own handle
and namespaces carry this process's id in their names.
"""

from __future__ import annotations

import contextlib
import os
import platform
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

HERE = Path(__file__).resolve().parent
BASELINES = ("capture", "echo", "floor", "generate", "occupy")
NS_PER_S = 1_000_000_000


class UnavailableError(Exception):
    """Something that a benchmark needs is not here; the text says what and how to get it."""


@dataclass(frozen=True, slots=True)
class Veth:
    """A veth pair between two namespaces: `near` holds the sender, `far` the reflector."""

    near: str
    far: str
    near_address: str = "10.86.2.1"
    far_address: str = "10.86.2.2"
    near_interface: str = "near0"
    far_interface: str = "far0"

    def points(self) -> list[str]:
        """Arguments of `capture`: point 0 is the sender's end, point 1 the reflector's."""
        return [f"{self.near}:{self.near_interface}", f"{self.far}:{self.far_interface}"]


class Process:
    """A child process whose output goes to a file, so that it never waits for a reader."""

    def __init__(self, command: Sequence[str | Path], *, netns: str | None = None, core: int | None = None) -> None:
        words = [str(word) for word in command]
        if core is not None:
            words = ["taskset", "-c", str(core), *words]
        if netns is not None:
            words = ["nsenter", f"--net=/run/netns/{netns}", *words]
        self.command = words
        self._output = tempfile.TemporaryFile(mode="w+")  # noqa: SIM115 (lives as long as the process object)
        self._errors = tempfile.TemporaryFile(mode="w+")  # noqa: SIM115 (lives as long as the process object)
        self.child = subprocess.Popen(
            words, stdin=subprocess.DEVNULL, stdout=self._output, stderr=self._errors, text=True
        )

    @property
    def pid(self) -> int:
        """taskset and nsenter replace themselves with the program, so this is the program's own."""
        return self.child.pid

    def output(self) -> str:
        self._output.seek(0)
        return self._output.read()

    def errors(self) -> str:
        self._errors.seek(0)
        return self._errors.read()

    def wait_for(self, text: str, timeout_s: float = 10.0) -> None:
        """Wait until the output holds `text`."""
        deadline = time.monotonic() + timeout_s
        while text not in self.output():
            if self.child.poll() is not None or time.monotonic() > deadline:
                raise UnavailableError(f"{' '.join(self.command)} is not ready: {self.errors().strip()[-500:]}")
            time.sleep(0.01)

    def wait(self, timeout_s: float) -> str:
        """Wait for the end by itself and return the output; an error if the exit status is not 0."""
        status = self.child.wait(timeout_s)
        if status != 0:
            raise UnavailableError(f"{' '.join(self.command)} exited {status}: {self.errors().strip()[-500:]}")
        return self.output()

    def end(self, timeout_s: float = 20.0) -> str:
        """SIGTERM, then the output; SIGKILL if it will not end."""
        if self.child.poll() is None:
            self.child.send_signal(signal.SIGTERM)
            try:
                self.child.wait(timeout_s)
            except subprocess.TimeoutExpired:
                self.child.kill()
                self.child.wait()
        return self.output()

    def run_time_ns(self) -> int:
        """CPU time of all its threads by the scheduler's own count, in nanoseconds."""
        return self._schedule_statistic(0)

    def waiting_time_ns(self) -> int:
        """How long its threads were ready to run while others had the core: time that others took from it."""
        return self._schedule_statistic(1)

    def _schedule_statistic(self, place: int) -> int:
        total = 0
        for task in Path(f"/proc/{self.pid}/task").iterdir():
            with contextlib.suppress(FileNotFoundError, ProcessLookupError):
                total += int((task / "schedstat").read_text().split()[place])
        return total


@contextlib.contextmanager
def running(command: Sequence[str | Path], *, netns: str | None = None, core: int | None = None) -> Iterator[Process]:
    process = Process(command, netns=netns, core=core)
    try:
        yield process
    finally:
        process.end()


def wait_until_bound(process: Process, port: int, timeout_s: float = 10.0) -> None:
    """Wait until the process's namespace has a UDP socket on `port`, by looking, not by sending."""
    deadline = time.monotonic() + timeout_s
    wanted = f":{port:04X}"
    while time.monotonic() < deadline:
        if process.child.poll() is not None:
            raise UnavailableError(f"{' '.join(process.command)} ended at once: {process.errors().strip()[-500:]}")
        for family in ("udp", "udp6"):
            with contextlib.suppress(FileNotFoundError):
                for line in Path(f"/proc/{process.pid}/net/{family}").read_text().splitlines()[1:]:
                    if line.split()[1].endswith(wanted):
                        return
        time.sleep(0.02)
    raise UnavailableError(f"{' '.join(process.command)}: UDP port {port} not bound within {timeout_s:g} s")


QUIET_CORES = 0.15
"""What others may use of the machine while a round begins that is to say something about an idle one."""


@dataclass(slots=True)
class Company:
    """What else goes on here: waits for a quiet moment before a round, and counts the rounds that had none."""

    patience_s: float
    rounds: int = 0
    noisy: int = 0

    def wait_for_quiet(self) -> None:
        """Wait until the machine is quiet, as long as patience lasts in all; without any, go on at once."""
        self.rounds += 1
        while foreign_load(0.25) > QUIET_CORES:
            self.patience_s -= 0.25
            if self.patience_s <= 0:
                self.noisy += 1
                return


@dataclass(frozen=True, slots=True)
class Laboratory:
    """What all benchmarks share: `directory` holds the compiled baselines and scratch files."""

    directory: Path
    twoway: Path | None
    company: Company

    def program(self, name: str) -> Path:
        return self.directory / name

    def our_program(self) -> Path:
        if self.twoway is None:
            raise UnavailableError("no `twoway` in .venv or PATH: build and install the project first")
        return self.twoway


@contextlib.contextmanager
def laboratory(patience_s: float = 0.0) -> Iterator[Laboratory]:
    """Compile the baselines into a scratch directory; it goes away at the end."""
    compiler = shutil.which("gcc") or shutil.which("cc")
    if compiler is None:
        raise UnavailableError("no C compiler for the baselines: install gcc")
    # Being told to end must unmake everything, too: as an exception it passes through every `finally`.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    with tempfile.TemporaryDirectory(prefix="twoway-bench-") as name:
        directory = Path(name)
        for program in BASELINES:
            source = HERE / "baseline" / f"{program}.c"
            subprocess.run([compiler, "-O2", "-Wall", "-Wextra", "-o", directory / program, source], check=True)
        yield Laboratory(directory, find_twoway(), Company(patience_s))


def find_twoway() -> Path | None:
    """The program that TWOWAY names, else that of the checkout's environment, else of PATH."""
    for candidate in (os.environ.get("TWOWAY"), HERE.parent / ".venv" / "bin" / "twoway", shutil.which("twoway")):
        if candidate is not None and Path(candidate).exists():
            return Path(candidate)
    return None


def need_root() -> None:
    if os.geteuid() != 0:
        raise UnavailableError("needs root (network namespaces and packet capture)")


def need_program(name: str) -> str:
    found = shutil.which(name)
    if found is None:
        raise UnavailableError(f"no {name}: apt-get install {name}")
    return found


def _ip(*words: str) -> None:
    result = subprocess.run(["ip", *words], capture_output=True, text=True, check=False)
    if result.returncode != 0:
        raise UnavailableError(f"ip {' '.join(words)}: {result.stderr.strip()}")


@contextlib.contextmanager
def veth_pair() -> Iterator[Veth]:
    """Two namespaces joined by one veth pair."""
    need_root()
    need_program("ip")
    veth = Veth(near=f"twbench{os.getpid()}n", far=f"twbench{os.getpid()}f")
    made: list[str] = []
    try:
        for name in (veth.near, veth.far):
            _ip("netns", "add", name)
            made.append(name)
            _ip("-n", name, "link", "set", "lo", "up")
        _ip(
            "link",
            "add",
            veth.near_interface,
            "netns",
            veth.near,
            "type",
            "veth",
            "peer",
            "name",
            veth.far_interface,
            "netns",
            veth.far,
        )
        for name, interface, address in (
            (veth.near, veth.near_interface, veth.near_address),
            (veth.far, veth.far_interface, veth.far_address),
        ):
            _ip("-n", name, "addr", "add", f"{address}/30", "dev", interface)
            _ip("-n", name, "link", "set", interface, "up")
        yield veth
    finally:
        for name in made:
            subprocess.run(["ip", "netns", "del", name], check=False)


@contextlib.contextmanager
def load(lab: Laboratory, *, busy: bool) -> Iterator[None]:
    """Every core in a busy loop of normal priority while the body runs, or nothing."""
    if not busy:
        yield
        return
    with running([lab.program("occupy")]):
        yield


def free_port() -> int:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def foreign_load(seconds: float = 1.0) -> float:
    """Cores' worth of CPU that the whole machine used during the next `seconds`: what else is going on here."""

    def busy_ticks() -> tuple[int, int]:
        fields = [int(word) for word in Path("/proc/stat").read_text().splitlines()[0].split()[1:]]
        idle = fields[3] + fields[4]
        return sum(fields[:8]) - idle, sum(fields[:8])

    before = busy_ticks()
    time.sleep(seconds)
    after = busy_ticks()
    return (after[0] - before[0]) / max(1, after[1] - before[1]) * (os.cpu_count() or 1)


def machine() -> str:
    """One line that says where figures come from."""
    model = "unknown processor"
    hypervisor = ""
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            model = line.split(":", 1)[1].strip()
        if line.startswith("flags") and "hypervisor" in line:
            hypervisor = ", virtual machine"
    clock = "unknown"
    with contextlib.suppress(FileNotFoundError):
        clock = Path("/sys/devices/system/clocksource/clocksource0/current_clocksource").read_text().strip()
    cores = f"{os.cpu_count()} cores{hypervisor}"
    return f"{model}, {cores}; Linux {platform.release()}; clock {clock}; Python {platform.python_version()}"
