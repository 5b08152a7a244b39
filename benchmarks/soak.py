"""The daemon for long: many sessions, peers that go and come back, and reloads; nothing may be lost.

    soak.py [--seconds N] [--light N] [--managed N] [--write]

On loopback, one daemon measures light and managed test-sessions, one probe a second each, and keeps every probe in its
store. Half of the Session-Reflectors and of the Servers are ended and started anew in turn; the others stay. Every ten
seconds a session is added or taken away by a reload. In the end the daemon is ended, too, and its store is read:

- each session numbered its probes without a gap as long as its Session-Sender lived, and each of them is there once;
- a probe is lost only if its peer was down when it was under way;
- the summaries of the seconds, merged, count what the probes are;
- memory does not grow once histories are full, which they are soon, by more than `_LEAK_OCTETS` a minute.

The exit code is 1 if that does not hold, or if anything was dropped on the way. `--write` puts the figures into
docs/performance.md.
"""

from __future__ import annotations

import argparse
import contextlib
import datetime as dt
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
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from twoway.analysis.samples import DUPLICATE, LOST, Status
from twoway.cli.api_client import Api
from twoway.drivers.summaries import PackedSummaries
from twoway.errors import ApiError
from twoway.store import Reader, schema

if TYPE_CHECKING:
    from twoway.config.plan import SessionKey

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
_HISTORY = 30
"""Probes that the daemon remembers of each session: so many seconds until that is full."""
_LEAK_OCTETS = 1 << 19
"""Growth a minute that is a leak: 7 octets of each of 1,200 probes a second, 1.7 KiB of each session that is negotiated
anew. Notices, of which the last 10,000 are remembered, fill by a quarter of that."""
_clock = threading.Event()


class SoakError(Exception):
    """The soak could not be carried out."""


def _need(condition: object, what: str) -> None:
    if not condition:
        raise SoakError(what)


def free_port() -> int:
    """A TCP and UDP port that nobody has now."""
    while True:
        with socket.socket() as stream, socket.socket(type=socket.SOCK_DGRAM) as datagram:
            stream.bind(("127.0.0.1", 0))
            with contextlib.suppress(OSError):  # ten thousand test-sessions of somebody else have many of them
                datagram.bind(stream.getsockname())
                return int(stream.getsockname()[1])


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
        self.figures: list[tuple[str, str]] = []
        """What and how much, as they were found."""

    def _found(self, what: str, how_much: str) -> None:
        print(f"{what}: {how_much}")
        self.figures.append((what, how_much))

    def configure(self, *, more: bool) -> None:
        """Write the configuration, with one light session more or without it."""
        probe: dict[str, Any] = {"probe-count": 10, "probe-interval": "1s", "timeout": "1s"}
        probe |= {"history-size": _HISTORY, "raw-history": "on"}
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
        """What is wrong, a line each; prints and keeps the figures. Ends the daemon."""
        health = self.health()
        dropped = {name: health["own_faults"].get(name, 0) for name in ("samples_dropped", "socket_drops")}
        wrong = [f"{name} in {count} session-seconds" for name, count in dropped.items() if count]
        if health["store"].get("state") != "ok":
            wrong.append(f"the store: {health['store']}")
        wrong += [f"the store: {name} {n}" for name, n in health["store"].items() if name.startswith("lost_") and n]
        self._end_daemon()
        counts: Counter[str] = Counter()
        path = self.folder / "results.db"
        with contextlib.closing(Reader(schema.connect_read_only(path), PackedSummaries())) as reader:
            for key in reader.keys():  # noqa: SIM118  (it is no dict)
                wrong += self._audit(key, reader, counts)
            if reader.unreadable:
                wrong.append(f"the store: {reader.unreadable} rows cannot be read")
        restarts = sum(len(peer.down) for peer in (*self.reflectors, *self.servers))
        faults = ", ".join(f"{name} {count}" for name, count in health["own_faults"].items() if count)
        self._found("test-sessions", f"{self.light} light, {self.managed} managed")
        self._found("restarts of peers, reloads", f"{restarts}, {self.reloads}")
        self._found("probes kept one by one", f"{counts['probes']:,}")
        self._found("of them lost or late while their peer was down", f"{counts['excused']:,}")
        self._found("lost or late while their peer was there", f"{counts['lost'] - counts['excused']:,}")
        self._found("not sent, as this host left them out", f"{counts['not sent']:,}")
        self._found("under way when their Session-Sender ended", f"{counts['pending']:,}")
        self._found("own faults (test-sessions and seconds)", faults or "none")
        self._found("greatest lag of the event loop in the last minute", f"{health['loop_lag_ns'] / 1e6:.0f} ms")
        kept = health["store"]["written_summaries"]
        self._found("the store", f"{path.stat().st_size / 2**20:.0f} MiB, {kept:,} summaries of seconds")
        wrong += self._memory()
        return wrong

    def _audit(self, key: SessionKey, reader: Reader, counts: Counter[str]) -> list[str]:
        """What is wrong with the results of one session. Counts what there is."""
        wrong = []
        name, peer = " ".join(key), self.peer_of[key[0]]
        left: list[tuple[int, int, int]] = []
        unsent = set()
        for numbered in reader.history(key):
            batch = numbered.rows
            columns = batch.t1_ns.tolist(), batch.sequence.tolist(), batch.status.tolist()
            for t1_ns, sequence, status in zip(*columns, strict=True):
                if status in DUPLICATE:
                    wrong.append(f"{name}: probe {sequence} came back twice")
                elif status == Status.NOT_SENT:
                    unsent.add(sequence)
                else:
                    left.append((t1_ns, sequence, status))
        left.sort()
        for (_, before, _), (_, sequence, _) in itertools.pairwise(left):
            # A Session-Sender that is made anew begins at 0.
            if before == sequence or (
                sequence and (sequence < before or not unsent.issuperset(range(before + 1, sequence)))
            ):
                wrong.append(f"{name}: probe {sequence} follows {before}")
        fates = Counter(Status(status) for _, _, status in left)
        for t1_ns, sequence, status in left:
            if status in LOST or status == Status.LATE:
                if peer.excuses(t1_ns):
                    counts["excused"] += 1
                else:
                    wrong.append(f"{name}: probe {sequence} {Status(status).name.lower()} while its peer was there")
        summary = reader.summary(key, 0, time.time_ns()).summary
        received = fates[Status.RECEIVED]
        counted = (0, 0) if summary is None else (summary.counter("sent"), summary.counter("received"))
        if counted != (len(left), received):
            wrong.append(f"{name}: {len(left)} probes, {received} received; sums of the seconds are {counted}")
        counts["probes"] += len(left)
        counts["lost"] += sum(fates[status] for status in (*LOST, Status.LATE))
        counts["pending"] += fates[Status.PENDING]
        counts["not sent"] += len(unsent)
        return wrong

    def _memory(self) -> list[str]:
        """Whether it leaks: octets a minute by least squares, from when histories have been full for a while."""
        first, last = self.rss[0][0], self.rss[-1][0]
        full = max(first + 2 * _HISTORY, (first + last) / 2)
        later = [(at, octets) for at, octets in self.rss if at >= full]
        memory = f"{self.rss[0][1] >> 20} MiB at first, {self.rss[-1][1] >> 20} MiB at last"
        if last - full < _HISTORY:
            self._found("memory", f"{memory}, for too short to tell a leak")
            return []
        mean_t = sum(at for at, _ in later) / len(later)
        mean_m = sum(octets for _, octets in later) / len(later)
        spread = sum((at - mean_t) ** 2 for at, _ in later) or 1.0
        slope = 60 * sum((at - mean_t) * (octets - mean_m) for at, octets in later) / spread
        self._found("memory", f"{memory}, slope {slope / 2**20:+.2f} MiB a minute over the last {last - full:.0f} s")
        return [f"memory grows by {slope / 2**20:.2f} MiB a minute"] if slope > _LEAK_OCTETS else []

    def _end_daemon(self) -> None:
        daemon, self.daemon = self.daemon, None
        if daemon is not None:
            daemon.terminate()
            _need(daemon.wait(_PATIENCE_S) == 0, f"the daemon ended with {daemon.returncode}")

    def close(self) -> None:
        self._end_daemon()
        for peer in (*self.reflectors, *self.servers):
            if peer.process is not None and peer.process.poll() is None:
                peer.end()


def write(figures: list[tuple[str, str]], wrong: list[str], seconds: float) -> None:
    """Put them into the document, with what was wrong."""
    from figures import Table
    from laboratory import machine
    from run import DOCUMENT, put

    moment = dt.datetime.now(dt.UTC).strftime("%Y-%m-%d %H:%M UTC")
    table = Table("Found", ("what", "how much"))
    for row in figures:
        table.add(*row)
    verdict = (
        "; ".join(wrong[:20]) or "No probe was lost while its peer was there, none is missing, and no leak was seen."
    )
    put(DOCUMENT, "soak", f"Measured {moment} for {seconds:g} s on {machine()}.\n\n{table.markdown()}\n{verdict}\n")


def main() -> int:
    """Returns the exit code."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--seconds", type=float, default=600)
    parser.add_argument("--light", type=int, default=1000)
    parser.add_argument("--managed", type=int, default=200)
    parser.add_argument("--write", action="store_true")
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
    if options.write:
        write(soak.figures, wrong, options.seconds)
    if len(wrong) > 20:
        sys.stderr.write(f"soak: and {len(wrong) - 20} more\n")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
