"""A reply that this host dropped for want of buffer (SO_RXQ_OVFL) is no loss of the network, and is shown as it is."""

import shutil
import signal
import socket
import struct
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Self

import pytest

from .daemon_program import DaemonProgram
from .programs import until
from .test_daemon_scenarios import alarmed, bridged, light, session
from .topology import SERVER, Topology

__all__ = ["bridged"]
_PORT = 862
_FLOOD = 3000
"""Datagrams: some times as many as a socket's buffer holds."""
_BARE = struct.Struct("!IQHH")
"""Sequence number, timestamp, Error Estimate, SSID (RFC 8762 section 4.2.1)."""

pytestmark = pytest.mark.skipif(shutil.which("snmptrapd") is None, reason="snmptrapd is not installed")


class Answering:
    """A stateless Session-Reflector that also sends what nobody asked for."""

    def __init__(self, topology: Topology) -> None:
        self._socket = topology.server.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind((SERVER[4], _PORT))
        self._socket.settimeout(0.05)
        self.peer: tuple[str, int] | None = None
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def _run(self) -> None:
        while not self._over.is_set():
            try:
                octets, self.peer = self._socket.recvfrom(2048)
            except TimeoutError:
                continue
            sequence, sent, error, ssid = _BARE.unpack_from(octets)
            # T2 and T3 are T1: what it took one way, nobody asks here.
            reply = _BARE.pack(sequence, sent, error, ssid) + struct.pack("!QIQHH", sent, sequence, sent, error, 0)
            self._socket.sendto(reply + bytes([255, 0, 0, 0]), self.peer)

    def flood(self) -> None:
        assert self.peer is not None
        for _ in range(_FLOOD):
            self._socket.sendto(bytes(1000), self.peer)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()
        self._socket.close()


@pytest.fixture
def answering(bridged: Topology) -> Iterator[Answering]:
    with Answering(bridged) as answers:
        yield answers


def test_replies_that_the_kernel_dropped_are_this_host_s_fault(
    bridged: Topology, answering: Answering, tmp_path: Path
) -> None:
    thresholds = {"total-loss": 1, "successive-loss": 1}
    probe = session(thresholds=thresholds, timeout="2s")
    probe["reflector-mode"] = "stateless"
    with DaemonProgram(bridged.client, tmp_path, light({"probe": probe})) as daemon:
        daemon.await_tests(2)
        disturbed = daemon.results()["tests_disturbed"]
        daemon.signal(signal.SIGSTOP)
        answering.flood()
        daemon.signal(signal.SIGCONT)
        until(lambda: daemon.api.get("/v1/health")["own_faults"]["socket_drops"] > 0, "drops are counted")
        until(lambda: daemon.results()["tests_disturbed"] > disturbed, "the test is flagged")
        daemon.await_tests(daemon.results()["tests_run"] + 3)
        assert alarmed(daemon) == []
        said = [each["message"] for each in daemon.events() if each["name"] == "own-fault"]
        assert said
