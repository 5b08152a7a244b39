"""Both programs on loopback with a relay between them that keeps the octets of each packet. No privilege is needed."""

import json
import select
import socket
import struct
import subprocess
import sys
import threading
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Final, Self, cast

from ports import LOOPBACK as LOOPBACKS
from ports import free_port

TWOWAY: Final = str(Path(sys.executable).with_name("twoway"))
_BOUND_S: Final = 20.0
LOOPBACK: Final = LOOPBACKS[4]
_INET: Final = {4: socket.AF_INET, 6: socket.AF_INET6}
_MARKS: Final = {
    4: (socket.IPPROTO_IP, socket.IP_RECVTOS, socket.IP_TOS),
    6: (socket.IPPROTO_IPV6, socket.IPV6_RECVTCLASS, socket.IPV6_TCLASS),
}
_HOPS: Final = {4: (socket.IPPROTO_IP, socket.IP_TTL), 6: (socket.IPPROTO_IPV6, socket.IPV6_UNICAST_HOPS)}


@dataclass(frozen=True, slots=True)
class Exchange:
    """What went through the relay, in order."""

    requests: list[bytes]
    replies: list[bytes]


class Relay:
    """Passes datagrams, DSCP and ECN too, between one Session-Sender and a Session-Reflector. A context manager."""

    def __init__(self, reflector_port: int, family: int = 4) -> None:
        self._level, receive_marks, self._mark = _MARKS[family]
        self._inner = socket.socket(_INET[family], socket.SOCK_DGRAM)
        self._inner.connect((LOOPBACKS[family], reflector_port))
        self._inner.setsockopt(*_HOPS[family], 77)
        self._outer = socket.socket(_INET[family], socket.SOCK_DGRAM)
        self._outer.bind((LOOPBACKS[family], 0))
        self.port = int(self._outer.getsockname()[1])
        self.inner_port = int(self._inner.getsockname()[1])
        for each in (self._inner, self._outer):
            each.setsockopt(self._level, receive_marks, 1)
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
                octets, marks, client = self._receive(self._outer)
                self.exchange.requests.append(octets)
                self._inner.sendmsg([octets], marks)
            if self._inner in readable:
                octets, marks, _ = self._receive(self._inner)
                self.exchange.replies.append(octets)
                assert client is not None
                self._outer.sendmsg([octets], marks, 0, client)

    def _receive(self, end: socket.socket) -> tuple[bytes, list[tuple[int, int, bytes]], tuple[str, int]]:
        """A datagram, its traffic class octet as it is to be sent on, and who sent it."""
        octets, ancillary, _, source = end.recvmsg(65_536, socket.CMSG_SPACE(4))
        marks = [(self._level, self._mark, struct.pack("=i", value[0])) for _, _, value in ancillary]
        return octets, marks, source

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

    def __init__(self, *options: str, family: int = 4) -> None:
        self.port = free_port(family)
        host = f"[{LOOPBACKS[6]}]" if family == 6 else LOOPBACK
        command = [TWOWAY, "reflector", "--listen", f"{host}:{self.port}", *options]
        self._process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        try:
            self._wait_until_it_listens()
        except BaseException:
            self._process.kill()
            raise

    def _wait_until_it_listens(self) -> None:
        """Until it says so: its port is bound before all of its threads answer."""
        assert self._process.stdout is not None
        readable, _, _ = select.select([self._process.stdout], [], [], _BOUND_S)
        line = self._process.stdout.readline() if readable else b""
        if not line.startswith(b"listening on "):
            self._process.kill()
            raise RuntimeError(f"twoway reflector does not listen: {self._process.communicate()[1].decode()}")

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
