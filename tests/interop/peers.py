"""Programs that nobody here wrote, where they are on PATH, and their daemons and ours on loopback.

What is missing skips its tests by name. Ours have entry points that are called `twping` and `owping`, too, so a program
counts as a peer's only if it says so itself.
"""

import json
import os
import shutil
import signal
import subprocess
import threading
import time
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

import pytest

from ports import LOOPBACK, free_port

from .relay import TWOWAY

BOUND_S: Final = 30.0
OURS: Final = Path(TWOWAY).parent
USER: Final = "alice"
WORDS: Final = "correct horse battery"
PERFSONAR: Final = "build github.com/perfsonar/owamp with github.com/perfsonar/i2util and put its programs on PATH"
TWAMPY: Final = "install github.com/nokia/twampy and put its program on PATH"


def perfsonar(name: str) -> str:
    """Where perfSONAR's program is. Skips the test if it is not on PATH."""
    for folder in os.get_exec_path():
        found = shutil.which(name, path=folder)
        if found is not None and Path(found).parent != OURS:
            return found
    pytest.skip(f"perfSONAR's {name} is not on PATH: {PERFSONAR}")


def twampy() -> str:
    """Where twampy is. Skips the test if it is not on PATH."""
    found = shutil.which("twampy")
    if found is None:
        pytest.skip(f"twampy is not on PATH: {TWAMPY}")
    return found


def run(*command: str, code: int | None = 0) -> str:
    """What a program that ends by itself prints, both streams."""
    done = subprocess.run(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=60,
        check=False,
    )
    assert code is None or done.returncode == code, done.stdout
    return done.stdout


def documents(text: str) -> list[dict[str, Any]]:
    """The JSON documents that follow one another in an output."""
    found, at, decoder = [], 0, json.JSONDecoder()
    while text[at:].strip():
        at += len(text[at:]) - len(text[at:].lstrip())
        document, at = decoder.raw_decode(text, at)
        found.append(document)
    return found


def at(family: int, port: int) -> str:
    return f"[{LOOPBACK[family]}]:{port}" if family == 6 else f"{LOOPBACK[family]}:{port}"


class Running:
    """A program in the background, ready when `port` is bound. A context manager, which ends it."""

    def __init__(
        self, command: list[str], log: Path, port: int, protocol: str = "tcp", end: signal.Signals = signal.SIGTERM
    ) -> None:
        with log.open("wb") as output:
            self._process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT, start_new_session=True
            )
        self._log, self._by = log, end
        try:
            self._wait_until_bound(port, protocol)
        except BaseException:
            self._end()
            raise

    def said(self) -> str:
        return self._log.read_text(encoding="utf-8", errors="replace")

    def _wait_until_bound(self, port: int, protocol: str) -> None:
        deadline, pause = time.monotonic() + BOUND_S, threading.Event()
        listening = "0A" if protocol == "tcp" else "07"
        while True:
            for table in (protocol, f"{protocol}6"):
                for line in Path("/proc/net", table).read_text(encoding="ascii").splitlines()[1:]:
                    _, local, _, state = line.split()[:4]
                    if local.endswith(f":{port:04X}") and state == listening:
                        return
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"nothing listens on {port}: {self.said()}")
            pause.wait(0.02)

    def _end(self) -> None:
        self._process.send_signal(self._by)
        try:
            self._process.wait(BOUND_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end()


class Files:
    """The same secret as both sides want it written down."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.ours = folder / "secrets"
        self.theirs = folder / "passphrases"
        self.wrong = folder / "wrong"
        for path, text in (
            (self.ours, f"{USER} text:{WORDS}\n"),
            (self.theirs, f"{USER}\t{WORDS.encode().hex()}\n"),
            (self.wrong, f"{USER}\t{b'battery staple'.hex()}\n"),
        ):
            path.touch(0o600)
            path.write_text(text, encoding="ascii")


def daemon(name: str, family: int, files: Files) -> tuple[Running, str]:
    """perfSONAR's `twampd` or `owampd`, and where it listens."""
    program, port = perfsonar(name), free_port(family)
    protocol = name.removesuffix("d")
    folder = files.folder / f"{name}{family}"
    folder.mkdir()
    (folder / f"{protocol}-server.conf").write_text(f"facility local5\nsrcnode {at(family, port)}\n")
    (folder / f"{protocol}-server.limits").write_text(
        "limit root with delete_on_fetch=on, bandwidth=0, disk=0, allow_open_mode=on\n"
        f"assign default root\nassign user {USER} root\n"
    )
    shutil.copy(files.theirs, folder / f"{protocol}-server.pfs")
    where = [option for letter in "cdR" for option in (f"-{letter}", str(folder))]
    # In the foreground, and as whoever runs the tests, root too.
    return Running([program, "-Z", "-f", *where], folder / "log", port), at(family, port)


def server(family: int, files: Files, *options: str) -> tuple[Running, dict[str, str]]:
    """`twoway server` in every mode, and where it listens for each protocol."""
    ports = {"twamp": free_port(family), "owamp": free_port(family)}
    command = [TWOWAY, "server", "-v", "--key-file", str(files.ours), *options]
    for mode in ("unauthenticated", "authenticated", "encrypted", "mixed"):
        command += ["--mode", mode]
    for protocol, port in ports.items():
        command += ["--listen", f"{protocol}={at(family, port)}"]
    started = Running(command, files.folder / f"server{family}", ports["twamp"])
    return started, {protocol: at(family, port) for protocol, port in ports.items()}
