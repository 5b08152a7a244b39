"""The daemon for long: many sessions, peers that go and come back, and reloads; nothing may be lost.

    soak.py [--seconds N] [--light N] [--managed N]

On loopback, one daemon measures light and managed test-sessions, one probe a second each. Half of the
Session-Reflectors and of the Servers are ended and started anew in turn; the others stay. Every ten seconds a session
is added or taken away by a reload. In the end each probe of each history is looked at: a session numbers its probes
without a gap as long as its Session-Sender lives, and a probe may be lost only if its peer was down when it was under
way. The exit code is 1 if that does not hold or if a result was dropped. The slope of memory is told and not
judged: histories are long enough for every probe of the run, so they fill for as long as it lasts.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import json
import resource
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from twoway.cli.api_client import Api
from twoway.errors import ApiError

TWOWAY = str(Path(sys.executable).with_name("twoway"))
_PEERS = 4
"""Session-Reflectors, and Servers; every other one is restarted."""
_SESSIONS_PER_CONNECTION = 10
_DOWN_S = 1.5
_EVERY_S = 10.0
_MARGIN_NS = 300_000_000
"""A packet that was under way when its peer began to end, or was not ready yet."""
_VERDICT_S = 4.0
"""A loss is decided after twice the timeout, and taken with the next second."""
_PATIENCE_S = 60.0
_clock = threading.Event()


class SoakError(Exception):
    """The soak could not be carried out."""


def _need(condition: object, what: str) -> None:
    if not condition:
        raise SoakError(what)


def free_port() -> int:
    """A TCP and UDP port that nobody has now."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


@dataclass
class Peer:
    """A Session-Reflector or a Server in a process of its own."""

    command: list[str]
    process: subprocess.Popen[str] | None = None
    down: list[tuple[int, int]] = field(default_factory=list)
    """Wall times between which it was not there."""
    ended_ns: int = 0

    def start(self) -> None:
        """Returns when it listens."""
        self.process = subprocess.Popen(self.command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        output = self.process.stdout
        while output is not None and "listening" not in (line := output.readline()):
            _need(line != "", f"{' '.join(self.command)} ended")
        if output is not None:
            threading.Thread(target=output.read, daemon=True).start()
        if self.ended_ns:
            self.down.append((self.ended_ns - _MARGIN_NS, time.time_ns() + _MARGIN_NS))

    def end(self) -> None:
        self.ended_ns = time.time_ns()
        if self.process is not None:
            self.process.send_signal(signal.SIGTERM)
            self.process.wait(_PATIENCE_S)

    def excuses(self, sent_ns: int) -> bool:
        """Whether a probe sent then may be lost."""
        return any(start <= sent_ns <= end for start, end in self.down)


class Soak:
    """The daemon, its peers, and what is known of them."""

    def __init__(self, folder: Path, light: int, managed: int) -> None:
        ports = [free_port() for _ in range(2 * _PEERS)]
        where = [f"127.0.0.1:{port}" for port in ports]
        self.reflectors = [Peer([TWOWAY, "reflector", "--stateful", "--json", "--listen", each]) for each in where[:4]]
        limits = ["--maximum-sessions", "10000", "--maximum-connections", "1000"]
        limits += ["--maximum-connections-per-client", "1000"]
        self.servers = [Peer([TWOWAY, "server", "--listen", f"twamp={each}", *limits, "-v"]) for each in where[4:]]
        self.peer_of: dict[str, Peer] = {}
        self.folder, self.ports, self.light, self.managed = folder, ports, light, managed
        self.api = Api(str(folder / "api.sock"), None)
        self.daemon: subprocess.Popen[bytes] | None = None
        self.rss: list[tuple[float, int]] = []
        self.reloads = 0

    def configure(self, *, more: bool) -> None:
        """Write the configuration, with one light session more or without it."""
        probe: dict[str, Any] = {"probe-count": 10, "probe-interval": "1s", "timeout": "1s", "history-size": 1000}
        connections: dict[str, Any] = {}
        for number, peer in enumerate(self.reflectors):
            to = {"target": "127.0.0.1", "destination-port": self.ports[number], "reflector-mode": "stateful"}
            count = self.light // _PEERS + (more and number == 0)
            sessions = {f"s{index}": {**to, **probe} for index in range(count)}
            connections[f"light{number}"] = {"control-type": "light", "test-session": sessions}
            self.peer_of[f"light{number}"] = peer
        for number in range(self.managed // _SESSIONS_PER_CONNECTION):
            server = number % _PEERS
            sessions = {f"s{index}": probe for index in range(_SESSIONS_PER_CONNECTION)}
            target = {"target": "127.0.0.1", "destination-port": self.ports[_PEERS + server]}
            connections[f"managed{number}"] = {**target, "test-session": sessions}
            self.peer_of[f"managed{number}"] = self.servers[server]
        document = {
            "client": {"control-connection": connections},
            "store": {"path": str(self.folder / "results.db")},
            "api": {"socket": str(self.folder / "api.sock")},
        }
        (self.folder / "twoway.yaml").write_text(json.dumps(document))

    def start(self) -> None:
        for peer in (*self.reflectors, *self.servers):
            peer.start()
        self.configure(more=False)
        self.daemon = subprocess.Popen([TWOWAY, "run", str(self.folder / "twoway.yaml")])
        deadline = time.monotonic() + _PATIENCE_S
        while not self._all_run():
            _need(self.daemon.poll() is None, "the daemon ended")
            _need(time.monotonic() < deadline, "not all sessions run")
            _clock.wait(0.2)

    def health(self) -> dict[str, Any]:
        return self.api.get("/v1/health")

    def _all_run(self) -> bool:
        with contextlib.suppress(ApiError):
            return int(self.health()["sessions"].get("testing", 0)) >= self.light + self.managed
        return False

    def run(self, seconds: float) -> None:
        """Restart peers and reload, in turn, until the time is up; then wait until all sessions run again."""
        restarted = [peer for pair in zip(self.reflectors, self.servers, strict=True) for peer in pair][2:]
        restarted = [peer for number, peer in enumerate(restarted) if number % 4 < 2]
        end = time.monotonic() + seconds
        turn = 0
        while time.monotonic() < end:
            peer = restarted[turn % len(restarted)]
            peer.end()
            _clock.wait(_DOWN_S)
            peer.start()
            self.configure(more=turn % 2 == 0)
            self.api.post("/v1/reload", {})
            self.reloads += 1
            turn += 1
            until = min(end, time.monotonic() + _EVERY_S - _DOWN_S)
            while time.monotonic() < until:
                self.rss.append((time.monotonic(), int(self.health()["rss_octets"])))
                _clock.wait(min(1.0, max(0.0, until - time.monotonic())))
        deadline = time.monotonic() + _PATIENCE_S
        while not self._all_run():
            _need(time.monotonic() < deadline, f"not all sessions run again: {self.health()['sessions']}")
            _clock.wait(0.2)
        _clock.wait(_VERDICT_S)

    def judge(self) -> list[str]:
        """What is wrong, a line each; prints the figures."""
        wrong: list[str] = []
        probes = lost = excused = 0
        for connection, peer in self.peer_of.items():
            asked = {"control-connection": connection, "limit": 1000}
            for history in self.api.get("/v1/client/history-results", asked)["histories"]:
                name = f"{connection} {history['session']}"
                rows = history["probes"]
                probes += len(rows)
                for before, row in itertools.pairwise(rows):
                    # A Session-Sender that is made anew begins at 0.
                    if row["sequence"] not in (before["sequence"] + 1, 0):
                        wrong.append(f"{name}: probe {row['sequence']} follows {before['sequence']}")
                for row in rows:
                    if row["status"] != "response-received":
                        lost += 1
                        if row["sent_ns"] is not None and peer.excuses(row["sent_ns"]):
                            excused += 1
                        else:
                            wrong.append(f"{name}: probe {row['sequence']} {row['status']} while its peer was there")
        health = self.health()
        dropped = {name: health["own_faults"].get(name, 0) for name in ("samples_dropped", "socket_drops")}
        wrong += [f"{name} in {count} session-seconds" for name, count in dropped.items() if count]
        if health["store"].get("state") == "degraded":
            wrong.append(f"the store: {health['store']}")
        slope, growth = self._memory()
        restarts = sum(len(peer.down) for peer in (*self.reflectors, *self.servers))
        print(f"probes {probes}, lost {lost}, of them while the peer was down {excused}")
        print(f"restarts of peers {restarts}, reloads {self.reloads}, own faults {health['own_faults']}")
        print(f"memory {self.rss[-1][1] >> 20} MiB, slope {slope / 2**20:+.2f} MiB a minute, second half x{growth:.3f}")
        return wrong

    def _memory(self) -> tuple[float, float]:
        """Octets a minute by least squares over the second half, and the last value by the first of that half."""
        half = self.rss[len(self.rss) // 2 :]
        mean_t = sum(at for at, _ in half) / len(half)
        mean_m = sum(octets for _, octets in half) / len(half)
        spread = sum((at - mean_t) ** 2 for at, _ in half) or 1.0
        return 60 * sum((at - mean_t) * (octets - mean_m) for at, octets in half) / spread, half[-1][1] / half[0][1]

    def close(self) -> None:
        if self.daemon is not None:
            self.daemon.terminate()
            self.daemon.wait(_PATIENCE_S)
        for peer in (*self.reflectors, *self.servers):
            if peer.process is not None and peer.process.poll() is None:
                peer.end()


def main() -> int:
    """Returns the exit code."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--seconds", type=float, default=600)
    parser.add_argument("--light", type=int, default=1000)
    parser.add_argument("--managed", type=int, default=200)
    options = parser.parse_args()
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    with tempfile.TemporaryDirectory() as folder:
        soak = Soak(Path(folder), options.light, options.managed)
        try:
            soak.start()
            soak.run(options.seconds)
            wrong = soak.judge()
        finally:
            soak.close()
    sys.stderr.write("".join(f"soak: {line}\n" for line in wrong[:20]))
    if len(wrong) > 20:
        sys.stderr.write(f"soak: and {len(wrong) - 20} more\n")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
