"""`twoway run` as a process that a test started, and what it says to a service manager and to those who ask."""

from __future__ import annotations

import http.client
import json
import os
import select
import socket
import subprocess
import sys
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path

PATIENCE_S = 30


def wait_until(holds: Callable[[], object], what: str) -> None:
    """Poll, with a bound."""
    deadline = time.monotonic() + PATIENCE_S
    while not holds():
        assert time.monotonic() < deadline, f"it did not become true: {what}"
        select.select([], [], [], 0.05)


class Service:
    """The daemon, and what it tells a service manager."""

    def __init__(self, process: subprocess.Popen[str], told: socket.socket, api: Path) -> None:
        self.process = process
        self._told = told
        self.api = api

    def hears(self, beginning: str) -> str:
        """What is told next that begins so."""
        deadline = time.monotonic() + PATIENCE_S
        while time.monotonic() < deadline:
            if select.select([self._told], [], [], 0.1)[0]:
                heard = self._told.recv(4096).decode()
                if heard.startswith(beginning):
                    return heard
            assert self.process.poll() is None, self.process.communicate()
        raise AssertionError(f"{beginning} was not heard")

    def ask(self, path: str) -> dict[str, Any]:
        """Of the management API."""
        with socket.socket(socket.AF_UNIX) as api:
            api.settimeout(PATIENCE_S)
            api.connect(str(self.api))
            connection = http.client.HTTPConnection("daemon")
            connection.sock = api
            connection.request("GET", path)
            body: dict[str, Any] = json.loads(connection.getresponse().read())
        return body

    def eventually(self, holds: Callable[[], object], what: str = "") -> None:
        """Poll until it holds."""

        def alive_and_holds() -> object:
            assert self.process.poll() is None, self.process.communicate()
            return holds()

        wait_until(alive_and_holds, what)

    def results(self, connection: str = "near", session: str = "probe") -> dict[str, Any]:
        """All that is known of a test-session."""
        (found,) = self.ask(f"/v1/client/probe-results?control-connection={connection}&test-session={session}")[
            "results"
        ]
        return dict(found)

    def await_tests(self, more: int = 3) -> dict[str, Any]:
        """Wait until so many more tests have passed: it measures, whatever else is wrong."""
        until = self.results()["tests_passed"] + more
        self.eventually(lambda: self.results()["tests_passed"] >= until, f"{more} more tests pass")
        return self.results()

    def blames_the_network(self) -> bool:
        """Whether it says of any test that packets were lost or late: what this host disturbed says nothing."""
        results = self.results()
        alarms = self.told("test-failure", "probe-failure", "rtt-exceeded", "max-rtt-exceeded")
        return bool(alarms) or results["tests_failed"] > results["tests_disturbed"]

    def told(self, *names: str) -> list[str]:
        """Name and state of the notices so far that have one of these names."""
        events = self.ask("/v1/events?limit=10000")["events"]
        return [f"{event['name']} {event['state']}" for event in events if event["name"] in names]

    def store(self) -> dict[str, Any]:
        return dict(self.ask("/v1/health")["store"])

    def await_store(self, state: str, reason: str = "") -> dict[str, Any]:
        """Wait until the store is like that."""
        self.eventually(
            lambda: self.store()["state"] == state and reason in self.store()["reason"], f"{state}: {reason}"
        )
        return self.store()

    def shows(self, *words: str) -> str:
        """What `twoway show` prints."""
        command = [sys.executable, "-m", "twoway", "show", *words, "--api", str(self.api)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_S, check=True)
        assert done.stderr == ""
        return done.stdout

    def end(self, number: int) -> tuple[str, str]:
        """Send it this signal, and return what it wrote to its end."""
        self.process.send_signal(number)
        return self.process.communicate(timeout=PATIENCE_S)


def configuration(
    folder: Path, light_port: int, more: str = "", *, store: Path | None = None, reflect: bool = True
) -> Path:
    """One light session of quick tests to a Session-Reflector of the same daemon, or to another on that port."""
    file = folder / "twoway.yaml"
    file.write_text(f"""
client:
  control-connection:
    near:
      control-type: light
      persistent-results: true
      test-session:
        probe:
          target: 127.0.0.1
          destination-port: {light_port}
          probe-count: 5
          probe-interval: 20ms
{more}
{f"server: {{light: {{port: [{light_port}], address: 127.0.0.1}}}}" if reflect else ""}
store: {{path: {store or folder / "store.sqlite"}}}
api: {{socket: {folder}/api.sock}}
""")
    return file


@contextmanager
def running(
    file: Path, *, before: Sequence[str] = (), environment: Mapping[str, str] | None = None
) -> Iterator[Service]:
    """The daemon until the end of the block. `before`: a command that becomes it."""
    folder = file.parent
    (folder / "notify").unlink(missing_ok=True)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as told:
        told.bind(str(folder / "notify"))
        surroundings = {"NOTIFY_SOCKET": str(folder / "notify"), "WATCHDOG_USEC": "3000000"}
        process = subprocess.Popen(
            [*before, sys.executable, "-m", "twoway", "run", str(file)],
            env={"PATH": os.environ.get("PATH", ""), **surroundings, **(environment or {})},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        try:
            yield Service(process, told, folder / "api.sock")
        finally:
            if process.poll() is None:
                process.kill()
            process.communicate()
