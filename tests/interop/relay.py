"""Both programs on loopback with a relay between them that keeps the octets of each packet. No privilege is needed."""

import json
import select
import socket
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Final, Self, cast

from ports import free_port

TWOWAY: Final = str(Path(sys.executable).with_name("twoway"))
_BOUND_S: Final = 20.0
LOOPBACK: Final = "127.0.0.1"


@dataclass(frozen=True, slots=True)
class Exchange:
    """What went through the relay, in order."""

    requests: list[bytes]
    replies: list[bytes]


class Relay:
    """Passes datagrams between one Session-Sender and a Session-Reflector. A context manager."""

    def __init__(self, reflector_port: int) -> None:
        self._inner = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._inner.connect((LOOPBACK, reflector_port))
        self._inner.setsockopt(socket.IPPROTO_IP, socket.IP_TTL, 77)
        self._outer = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._outer.bind((LOOPBACK, 0))
        self.port = int(self._outer.getsockname()[1])
        self._stop, self._stopped = socket.socketpair()
        self.exchange = Exchange([], [])
        self._thread = threading.Thread(target=self._run, name="relay")
        self._thread.start()

    def _run(self) -> None:
        client: tuple[str, int] | None = None
        while True:
            readable, _, _ = select.select([self._outer, self._inner, self._stopped], [], [])
            if self._stopped in readable:
                return
            if self._outer in readable:
                octets, client = self._outer.recvfrom(65_536)
                self.exchange.requests.append(octets)
                self._inner.send(octets)
            if self._inner in readable:
                octets = self._inner.recv(65_536)
                self.exchange.replies.append(octets)
                assert client is not None
                self._outer.sendto(octets, client)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.send(b"x")
        self._thread.join(_BOUND_S)
        for each in (self._inner, self._outer, self._stop, self._stopped):
            each.close()


class ReflectorProcess:
    """`twoway reflector` on a loopback port, answering when this is made. A context manager."""

    def __init__(self, *options: str) -> None:
        self.port = free_port()
        command = [TWOWAY, "reflector", "--listen", f"{LOOPBACK}:{self.port}", *options]
        self._process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
        )
        try:
            self._wait_until_bound()
        except BaseException:
            self._process.kill()
            raise

    def _wait_until_bound(self) -> None:
        deadline = time.monotonic() + _BOUND_S
        pause = threading.Event()
        wanted = f":{self.port:04X}"
        while not any(wanted in line.split()[1] for line in Path("/proc/net/udp").read_text().splitlines()[1:]):
            if self._process.poll() is not None:
                raise RuntimeError(f"twoway reflector ended: {self._process.communicate()[1].decode()}")
            if time.monotonic() > deadline:
                raise RuntimeError("twoway reflector does not bind its port")
            pause.wait(0.01)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.terminate()
        self._process.communicate(timeout=_BOUND_S)


@dataclass(frozen=True, slots=True)
class Recorded:
    """A measurement with its packets."""

    document: dict[str, object]
    exchange: Exchange

    @property
    def samples(self) -> list[dict[str, int]]:
        rows = cast("list[dict[str, int]]", self.document["samples"])
        return sorted(rows, key=lambda row: row["sequence"])

    def section(self, name: str) -> dict[str, object]:
        return cast("dict[str, object]", self.document[name])


def record(count: int, *options: str, reflector: tuple[str, ...] = ()) -> Recorded:
    """Measure over loopback through the relay."""
    with ReflectorProcess(*reflector) as process, Relay(process.port) as relay:
        command = [TWOWAY, "ping", "-c", str(count), "-i", "5ms", "-W", "1s", "--json", "--samples", *options]
        done = subprocess.run(
            [*command, f"{LOOPBACK}:{relay.port}"], capture_output=True, text=True, timeout=60, check=False
        )
        assert done.returncode == 0, done.stderr
        document = json.loads(done.stdout)
        exchange = relay.exchange
    assert len(exchange.requests) == len(exchange.replies) == count
    return Recorded(document, exchange)
