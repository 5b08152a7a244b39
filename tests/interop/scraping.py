"""A real Prometheus of Debian's on loopback, and a daemon with every role for it to scrape."""

from __future__ import annotations

import contextlib
import json
import os
import re
import socket
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx

from netns.topology import real_time_priority
from ports import free_port
from twoway import Reflector
from twoway.cli.api_client import Api

from .receiving import PATIENCE_S, program, running

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

TWOWAY = str(Path(sys.executable).with_name("twoway"))
JOB = "twoway"
TESTS = 12
PROBES = 20
TLVS = ["location", "cos=ef", "direct", "access-report=3gpp:available", "follow-up"]
FINITE = (("near", "voice"), ("near", "gone"), ("served", "bulk"))
"""Test-sessions that end after so many tests: what is known of them does not change any more."""
_SAMPLE = re.compile(r"(?P<name>\w+)(?:\{(?P<labels>.*)\})? (?P<value>\S+)")
_LABEL = re.compile(r'(\w+)="([^"\\]+)"')
"""An empty label is none, to Prometheus."""

Labels = frozenset[tuple[str, str]]
"""Of one series, `__name__` among them."""


def eventually(holds: Callable[[], bool], what: Callable[[], str], patience_s: float = PATIENCE_S) -> None:
    """Poll until it holds."""
    deadline = time.monotonic() + patience_s
    while not holds():
        assert time.monotonic() < deadline, f"not within {patience_s:g} s: {what()}"
        time.sleep(0.05)


@dataclass(frozen=True)
class Series:
    """One element of an instant vector."""

    labels: dict[str, str]
    """Without those of the scrape, but with `__name__`."""
    value: float
    """Of a native histogram its count."""
    sum: float | None = None
    """Of a native histogram."""
    buckets: list[tuple[float, float, float]] = field(default_factory=list)
    """Of a native histogram: lower bound, upper bound, count."""


class Prometheus:
    """One that scrapes a port of 127.0.0.1 as the job `twoway`, natively or in text."""

    def __init__(self, folder: Path, target: int, rules: Sequence[Path] = (), *, native: bool) -> None:
        self._program = program("prometheus", "prometheus")
        self._folder = folder
        self._native = native
        self.port = free_port()
        configuration = {
            "global": {"scrape_interval": "1s", "scrape_timeout": "1s", "evaluation_interval": "1s"},
            "rule_files": [str(path) for path in rules],
            "scrape_configs": [{"job_name": JOB, "static_configs": [{"targets": [f"127.0.0.1:{target}"]}]}],
        }
        (folder / "prometheus.yml").write_text(json.dumps(configuration))  # which is YAML, too
        self._client = httpx.Client(base_url=f"http://127.0.0.1:{self.port}", timeout=PATIENCE_S)

    @contextlib.contextmanager
    def running(self) -> Iterator[None]:
        """From when it answers until the block ends."""
        command = [
            self._program,
            f"--config.file={self._folder / 'prometheus.yml'}",
            f"--storage.tsdb.path={self._folder / 'data'}",
            f"--web.listen-address=127.0.0.1:{self.port}",
            *(["--enable-feature=native-histograms"] if self._native else []),
        ]
        with self._client, running(command, self._folder, self._ready):
            yield

    def scrapes(self) -> bool:
        """Whether it has tried to."""
        return self.query("up") != []

    def _ready(self) -> bool:
        with contextlib.suppress(httpx.HTTPError):
            return self._client.get("/-/ready").status_code == httpx.codes.OK
        return False

    def ask(self, path: str, **parameters: object) -> Any:  # noqa: ANN401  (JSON)
        """The data of an answer of its HTTP API."""
        answer = self._client.get(f"/api/v1/{path}", params=parameters)  # type: ignore[arg-type]  # numbers and words
        body = answer.json()
        assert body["status"] == "success", f"{parameters}: {body.get('error')}"
        return body["data"]

    def query(self, expression: str) -> list[Series]:
        """An instant vector, now."""
        data = self.ask("query", query=expression)
        assert data["resultType"] == "vector", expression
        return [_series(each) for each in data["result"]]

    def one(self, expression: str) -> float:
        """The value of the only element."""
        found = self.query(expression)
        assert len(found) == 1, f"{expression}: {found}"
        return found[0].value

    def values(self, expression: str) -> list[float]:
        """Of all elements."""
        return [each.value for each in self.query(expression)]


def _series(item: dict[str, Any]) -> Series:
    labels = {name: text for name, text in item["metric"].items() if name not in ("job", "instance")}
    if "histogram" not in item:
        return Series(labels, float(item["value"][1]))
    found = item["histogram"][1]
    buckets = [(float(low), float(high), float(count)) for _, low, high, count in found.get("buckets", ())]
    return Series(labels, float(found["count"]), float(found["sum"]), buckets)


class ScrapedDaemon:
    """`twoway run` with every role: light and managed sessions, one without an answer, a Server, a store, a receiver
    of syslog, a tracked route that is only thought of. What is told ends at a socket that nobody reads."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.metrics = free_port()
        self._syslog = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._syslog.bind(("127.0.0.1", 0))
        light, managed, nobody = free_port(), free_port(), free_port()
        self._fading = free_port()
        quick = {"probe-count": PROBES, "probe-interval": "10ms", "timeout": "100ms"}
        here = {"target": "127.0.0.1", "test-interval": "100ms"}
        few = {"test-interval": "100ms", "test-count": TESTS}

        def session(port: int, **more: object) -> dict[str, Any]:
            return {"target": "127.0.0.1", "destination-port": port, **quick, **more}

        connections = {
            "near": {
                "control-type": "light",
                **few,
                "test-session": {"voice": session(light, tlvs=TLVS), "gone": session(nobody)},
            },
            "served": {
                **here,
                **few,
                "destination-port": managed,
                "test-session": {"bulk": {**quick, "target": "127.0.0.1"}},
            },
            "lasting": {
                "control-type": "light",
                "test-interval": "100ms",
                "test-session": {
                    "slow": session(light, thresholds={"rtt": "1us", "own-faults": True}),
                    "fading": session(self._fading, thresholds={"own-faults": True}),
                },
            },
            "away": {**here, "destination-port": nobody, "test-session": {"probe": {"target": "127.0.0.1"}}},
        }
        self._file = folder / "twoway.yaml"
        document = {
            "client": {"control-connection": connections},
            "server": {
                "light": {"port": [light], "address": "127.0.0.1", "stateful-sequence": True},
                "managed": {"port": [managed], "address": "127.0.0.1", "client-list": {"here": ["127.0.0.0/8"]}},
            },
            "routes": {
                "dry-run": True,
                "protocol": 100 + os.getpid() % 80,  # of which there is one keeper
                "route": {
                    "203.0.113.0/24": {
                        "next-hop": {"192.0.2.1": {"test": "lasting/fading", "track": {"damping": True}}}
                    }
                },
            },
            "notifications": {"syslog": [{"address": f"127.0.0.1:{self._syslog.getsockname()[1]}"}]},
            "store": {"path": str(folder / "results.db")},
            "api": {"socket": str(folder / "api.sock"), "metrics-listen": f"127.0.0.1:{self.metrics}"},
        }
        self._file.write_text(json.dumps(document))
        self.api = Api(str(folder / "api.sock"), None)

    @contextlib.contextmanager
    def running(self) -> Iterator[None]:
        """From when its API answers until the block ends."""
        try:
            # Before others, as what a busy machine does not send in time fails a test.
            command = [*real_time_priority(), TWOWAY, "run", str(self._file)]
            with running(command, self._folder, (self._folder / "api.sock").exists):
                yield
        finally:
            self._syslog.close()

    def flap(self, seen: Callable[[], bool]) -> None:
        """Let the next hop of its route go up, and down when that was seen."""
        with Reflector(listen=[f"127.0.0.1:{self._fading}"]):
            eventually(seen, lambda: str(self.api.get("/v1/routes")))
        eventually(lambda: self._hop()["flaps"] >= 1, lambda: str(self._hop()))

    def _hop(self) -> dict[str, Any]:
        ((hop,),) = [route["next_hops"] for route in self.api.get("/v1/routes")["routes"]]
        return dict(hop)

    def text(self) -> str:
        """What it exposes now, in text. Both Prometheus may be at it, and a third is refused."""
        where = f"http://127.0.0.1:{self.metrics}/metrics"
        answers: list[httpx.Response] = []

        def answered() -> bool:
            answers.append(httpx.get(where, timeout=PATIENCE_S))
            return answers[-1].status_code == httpx.codes.OK

        eventually(answered, lambda: answers[-1].text)
        return answers[-1].text

    def exposed(self) -> dict[Labels, float]:
        """Every sample that it exposes now, in text."""
        matches = [_SAMPLE.fullmatch(line) for line in self.text().splitlines() if not line.startswith("#")]
        return {
            frozenset([("__name__", match["name"]), *_LABEL.findall(match["labels"] or "")]): float(match["value"])
            for match in matches
            if match is not None
        }

    def collection(self, connection: str, session: str) -> dict[str, Any]:
        """The collection of all tests of a test-session."""
        names = {"control-connection": connection, "test-session": session}
        (result,) = self.api.get("/v1/client/probe-results", names)["results"]
        (found,) = [each for each in result["collections"] if each["collection"] == "all-tests"]
        return dict(found)

    def done(self) -> bool:
        """Whether the finite test-sessions have ended, and it is known what became of each of their probes."""
        tests = self.api.get("/v1/client/test-info")["sessions"]
        stopped = [each for each in tests if (each["connection"], each["name"]) in FINITE and each["packets"]]
        if len(stopped) < len(FINITE) or any(each["status"] != "stopped" for each in stopped):
            return False
        totals = [self.collection(*key) for key in FINITE]
        return all(each["received"] + each["late"] + each["lost"] == each["sent"] for each in totals)


@dataclass(frozen=True)
class Scraped:
    """A daemon whose finite test-sessions have ended, and those who scrape it."""

    daemon: ScrapedDaemon
    text: Prometheus
    native: Prometheus
    up_before: tuple[list[float], list[float]]
    """`up` before the daemon ran."""


@contextlib.contextmanager
def scraped(folder: Path, rules: Sequence[Path]) -> Iterator[Scraped]:
    """Both Prometheus run first, so that counters are seen from their beginning."""
    program("prometheus", "prometheus")  # or the test is skipped
    for name in ("daemon", "text", "native"):
        (folder / name).mkdir()
    daemon = ScrapedDaemon(folder / "daemon")
    text = Prometheus(folder / "text", daemon.metrics, rules, native=False)
    native = Prometheus(folder / "native", daemon.metrics, rules, native=True)
    with text.running(), native.running():
        for each in (text, native):
            eventually(each.scrapes, lambda: "it scrapes")
        before = text.values("up"), native.values("up")
        with daemon.running():
            eventually(daemon.done, lambda: str(daemon.api.get("/v1/client/test-info")))
            daemon.flap(lambda: all(each.values("twoway_route_next_hop_up") == [1] for each in (text, native)))
            yield Scraped(daemon, text, native, before)
