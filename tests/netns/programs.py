"""The real programs as processes: `twoway ping`, `twoway reflector`, and the forwarder between them."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import IO, Final, Self, cast

import pytest

from .forwarder import ForwardedPacket
from .measured import reflector_document
from .topology import MIDDLE_DEVICES, Namespace

TWOWAY: Final = str(Path(sys.executable).with_name("twoway"))
TESTS: Final = Path(__file__).resolve().parent.parent
BOUND_S: Final = 20.0
"""Longest wait for something that should happen at once, on a machine that may be very busy."""
_POLL_S: Final = 0.01


class NotInTimeError(AssertionError):
    """What a test waited for did not happen within the bound."""


def until(condition: Callable[[], bool], what: str, bound_s: float = BOUND_S) -> None:
    """Poll until `condition` holds; `NotInTimeError` names what did not happen."""
    deadline = time.monotonic() + bound_s
    pause = threading.Event()
    while not condition():
        if time.monotonic() > deadline:
            raise NotInTimeError(f"not within {bound_s} s: {what}")
        pause.wait(_POLL_S)


class Program:
    """One process whose output goes to files, so that it never waits for its reader. A context manager that ends it."""

    def __init__(
        self, command: Sequence[str], folder: Path, name: str, environment: Mapping[str, str] | None = None
    ) -> None:
        self.command = list(command)
        self._stdout = folder / f"{name}.stdout"
        self._stderr = folder / f"{name}.stderr"
        self._files: list[IO[bytes]] = [self._stdout.open("wb"), self._stderr.open("wb")]
        self.process = subprocess.Popen(
            self.command,
            stdin=subprocess.DEVNULL,
            stdout=self._files[0],
            stderr=self._files[1],
            env=None if environment is None else {**os.environ, **environment},
        )

    @property
    def stdout(self) -> str:
        return self._stdout.read_text(encoding="utf-8", errors="replace")

    @property
    def stderr(self) -> str:
        return self._stderr.read_text(encoding="utf-8", errors="replace")

    @property
    def running(self) -> bool:
        return self.process.poll() is None

    def signal(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    def wait(self, bound_s: float = BOUND_S) -> int:
        """Exit code, once it has ended by itself."""
        try:
            return self.process.wait(bound_s)
        except subprocess.TimeoutExpired:
            raise NotInTimeError(f"{' '.join(self.command)}: still running after {bound_s} s: {self.stderr}") from None

    def stop(self) -> int:
        """Ask it to end with SIGTERM and wait for its exit code."""
        if self.running:
            self.signal(signal.SIGTERM)
        return self.wait()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.running:
            self.process.kill()
            self.process.wait()
        for file in self._files:
            file.close()
        if error is not None:
            error.add_note(f"$ {' '.join(self.command)}\n{self.stdout[-3000:]}{self.stderr[-3000:]}")


def bound_ports(pid: int) -> set[int]:
    """UDP ports that are bound in the namespace of a process."""
    ports: set[int] = set()
    for name in ("udp", "udp6"):
        with contextlib.suppress(OSError):
            for line in Path(f"/proc/{pid}/net/{name}").read_text(encoding="ascii").splitlines()[1:]:
                ports.add(int(line.split()[1].rsplit(":", 1)[1], 16))
    return ports


class ForwarderProgram(Program):
    """The forwarder in the middle namespace, running one scenario (or none)."""

    def __init__(self, middle: Namespace, folder: Path, scenario: Path | None = None) -> None:
        self._report = folder / "forwarder.json"
        program = [sys.executable, "-m", "netns.forwarder", *MIDDLE_DEVICES, str(scenario or "-"), str(self._report)]
        super().__init__(middle.command(*program), folder, "forwarder", {"PYTHONPATH": str(TESTS)})
        until(lambda: self.stdout == "ready\n" or not self.running, "the forwarder is ready")
        if not self.running:
            raise RuntimeError(f"forwarder: {self.stderr}")

    def report(self) -> dict[str, list[ForwardedPacket]]:
        """End the forwarder; what it forwarded by direction."""
        code = self.stop()
        assert code == 0, self.stderr
        raw = json.loads(self._report.read_text(encoding="utf-8"))
        return {name: [ForwardedPacket(**each) for each in raw[name]] for name in ("forward", "backward")}


@dataclass(frozen=True, slots=True)
class Finished:
    """How a command ended."""

    code: int
    stdout: str
    stderr: str

    @property
    def json(self) -> dict[str, object]:
        return cast("dict[str, object]", json.loads(self.stdout))


def run_twoway(command: Sequence[str], bound_s: float = 30) -> Finished:
    """Run a command line to its end."""
    done = subprocess.run(
        command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=bound_s, check=False
    )
    return Finished(done.returncode, done.stdout, done.stderr)


def as_user(user: str | None) -> list[str]:
    """The words before a command line that run it without privileges; none for root."""
    if user is None:
        return []
    return ["setpriv", "--reuid", user, "--regid", "nogroup", "--clear-groups", "--pdeathsig", "KILL"]


def skip_unless_reachable(user: str) -> None:
    """Skip a test whose user may not even start what it is to run (as below a home folder that is closed to others)."""
    started = subprocess.run([*as_user(user), TWOWAY, "--version"], capture_output=True, text=True, check=False)
    if started.returncode:
        pytest.skip(f"the user {user} cannot run {TWOWAY}: {started.stderr.strip()}")


class ReflectorProgram(Program):
    """A running `twoway reflector --json` in a namespace, ready when all its ports are bound."""

    def __init__(
        self,
        namespace: Namespace,
        folder: Path,
        *options: str,
        port: int = 862,
        name: str = "reflector",
        user: str | None = None,
    ) -> None:
        program = [*as_user(user), TWOWAY, "reflector", "--json", *options]
        super().__init__(namespace.command(*program), folder, name)
        # The namespace's own sockets are counted: nothing else in it binds this port.
        until(lambda: not self.running or port in bound_ports(self.process.pid), f"UDP port {port} is bound")
        # Before it says so, a signal would end it.
        until(lambda: not self.running or '"listening"' in self.stdout, "it says that it listens")
        if not self.running:
            raise RuntimeError(f"twoway reflector: exit {self.process.returncode}: {self.stderr}")

    def counters(self) -> dict[str, int]:
        """Packets by disposition, as it printed them last; only those that occurred."""
        counters = reflector_document(self.stdout)["dispositions"]
        return {name: packets for name, packets in counters.items() if packets}

    def ask_own_counters(self) -> dict[str, int]:
        """Its own state now, as far as its workers have published it."""
        self.ask_counters()
        return reflector_document(self.stdout)["own_counters"]

    def ask_counters(self) -> dict[str, int]:
        """Packets by disposition now: SIGUSR1, and the document that it prints."""
        before = self._documents()
        self.signal(signal.SIGUSR1)
        until(lambda: self._documents() > before, "the reflector prints its counters")
        return self.counters()

    def _documents(self) -> int:
        """Whole documents of counters that it has printed."""
        whole, _, _ = self.stdout.rpartition("\n")
        return whole.count('"dispositions"')
