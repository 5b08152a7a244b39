"""Negotiated test-sessions: setting them up, holding them, and the time to the first result of one.

The clients are a child process that speaks with the machines of `twoway.control` over blocking sockets, so that a
Server is what is measured. Its test packets leave from one socket. Set-up: CPU time of the Server's process, from
connection to Start-Ack, beside `bare`: a Server on asyncio that answers the same number of octets at the same moments
and knows no protocol. Holding: anonymous memory (`scale.anonymous_octets`), compared with the same Server after one
connection with one session, so what the kernel keeps for a socket is not in it.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import resource
import socket
import struct
import subprocess
import sys
import time
from typing import TYPE_CHECKING

from figures import Findings, Table, median, quantile
from laboratory import Process, UnavailableError, running
from scale import KIB, anonymous_octets
from startup import DROP_CACHES, drop_caches, interpreter_ms, interpreter_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from laboratory import Laboratory

    from twoway.control.control_client import ControlClient

LOOPBACK = "127.0.0.1"
SECRET = b"benchmark secret"
GREETING, RESPONSE, SERVER_START, REQUEST, ACCEPT, COMMAND = 64, 164, 48, 112, 48, 32
"""Octets of the messages of a set-up."""
SET_UP_GOAL_PER_S = 500
MEMORY_GOAL_OCTETS = 16 * KIB
FIRST_RESULT_GOAL_MS = 300.0


# The child `clients`.


class Connection:
    """A Control-Client's end over a blocking socket."""

    def __init__(self, port: int, mode: str) -> None:
        from ipaddress import IPv4Address

        from twoway.control.configuration import ClientConfiguration, Limits
        from twoway.control.control_client import ControlClient
        from twoway.control.registry import Mode
        from twoway.control.security import Passphrase, PassphraseCredentials

        configuration = ClientConfiguration(
            preference=(Mode[mode.upper()],),
            features=Mode(0),
            credentials=PassphraseCredentials("bench", Passphrase(SECRET)),
            limits=Limits(sessions=10_000),
        )
        address = IPv4Address(LOOPBACK)
        self.socket = socket.create_connection((LOOPBACK, port), 60)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.machine: ControlClient = ControlClient(
            configuration, local_address=address, peer_address=address, random_octets=os.urandom
        )
        self.machine.connection_made(0)
        # Server-Greeting and Server-Start.
        self.hear(1)
        self.hear(1)

    def hear(self, messages: int) -> None:
        """So many answers of the Server, and what we say to them."""
        for _ in range(messages):
            octets = self.socket.recv(65536)
            if not octets:
                raise UnavailableError("the Server closed a connection of the benchmark")
            self.machine.receive_data(octets, 0)
            self.say()

    def say(self) -> None:
        octets = self.machine.data_to_send()
        if octets:
            self.socket.sendall(octets)

    def ask(self, sender_port: int) -> int:
        """Another session; its port at the Server."""
        from twoway.control.events import SessionAccepted
        from twoway.control.negotiated import SessionRequest

        self.machine.request_session(SessionRequest(sender_port=sender_port, receiver_port=0, timeout=1 << 32), 0)
        self.say()
        while True:
            event = self.machine.next_event()
            if event is None:
                self.hear(1)
            elif isinstance(event, SessionAccepted):
                return event.session.request.receiver_port

    def start(self) -> None:
        from twoway.control.events import SessionsStarted

        self.machine.start_sessions(0)
        self.say()
        while not isinstance(event := self.machine.next_event(), SessionsStarted):
            if event is None:
                self.hear(1)


def run_clients(port: int, mode: str, connections: int, sessions: int, seconds: int) -> None:
    """In the child: set up, say so, then test packets once a second to each session, as long as told."""
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit))
    sender = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sender.bind((LOOPBACK, 0))
    sender.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 22)
    sender.setblocking(False)
    began = time.monotonic()
    held = []
    ports = []
    for _ in range(connections):
        connection = Connection(port, mode)
        held.append(connection)
        ports += [connection.ask(sender.getsockname()[1]) for _ in range(sessions)]
        connection.start()
    print(json.dumps({"seconds": time.monotonic() - began}), flush=True)
    if seconds:
        send_packets(sender, ports, seconds)
    # Until told to go: the connections are open, and the sessions run.
    sys.stdin.read()


def send_packets(sender: socket.socket, ports: list[int], seconds: int) -> None:
    """A packet a second to each, spread over the second."""
    # Error Estimate of Multiplier 1: none of 0 is reflected. Test packets are in the clear in the modes held.
    packet = struct.pack("!IQH30x", 0, 0xE8 << 56, 1)
    sent = answered = 0
    begin = time.monotonic()
    for tick in range(seconds):
        for number, to in enumerate(ports):
            sender.sendto(packet, (LOOPBACK, to))
            sent += 1
            if number % 50 == 49:
                pause = begin + tick + number / len(ports) - time.monotonic()
                if pause > 0.001:
                    time.sleep(pause)  # the rate at which probes are sent is the load
                answered += _answers(sender)
    time.sleep(0.3)  # the last answers: longer than any of them takes, and none can be waited for by name
    answered += _answers(sender)
    print(json.dumps({"sent": sent, "answered": answered, "seconds": time.monotonic() - begin}), flush=True)


def _answers(sender: socket.socket) -> int:
    count = 0
    with contextlib.suppress(BlockingIOError):
        while sender.recv(2048):
            count += 1
    return count


# The child `bare`.


class Bare(asyncio.Protocol):
    """So many octets for so many, and nothing known about them."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        if isinstance(transport, asyncio.Transport):
            self._transport = transport
        self._heard = 0
        self._transport.write(bytes(12) + b"\0\0\0\1" + bytes(GREETING - 16))

    def data_received(self, data: bytes) -> None:
        before, self._heard = self._heard, self._heard + len(data)
        for at, answer in (
            (RESPONSE, bytes(SERVER_START)),
            (RESPONSE + REQUEST, b"\0\0\0\1" + os.urandom(16) + bytes(ACCEPT - 20)),
            (RESPONSE + REQUEST + COMMAND, bytes(COMMAND)),
        ):
            if before < at <= self._heard:
                self._transport.write(answer)


async def run_bare() -> None:
    listener = await asyncio.get_running_loop().create_server(Bare, LOOPBACK, 0, backlog=512)
    print(f"listening on {LOOPBACK}:{listener.sockets[0].getsockname()[1]}", flush=True)
    await listener.serve_forever()


# The benchmark.


class Clients:
    """The child `clients`. Its connections are open, and its sessions run, until it is closed."""

    def __init__(self, lab: Laboratory, port: int, mode: str, connections: int, sessions: int, seconds: int) -> None:
        command = [interpreter_of(lab.our_program()), __file__, "clients", str(port), mode]
        command += [str(number) for number in (connections, sessions, seconds)]
        pipe = subprocess.PIPE
        self._child = subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, text=True)

    def said(self) -> dict[str, float]:
        """What it says next."""
        line = self._child.stdout.readline() if self._child.stdout is not None else ""
        if not line:
            _, errors = self._child.communicate(timeout=20)
            raise UnavailableError(f"the clients of the benchmark ended: {errors.strip()[-500:]}")
        figures: dict[str, float] = json.loads(line)
        return figures

    def close(self) -> None:
        try:
            self._child.communicate(timeout=20)
        except subprocess.TimeoutExpired:
            self._child.kill()
            self._child.communicate()


@contextlib.contextmanager
def server(lab: Laboratory, *, bare: bool = False) -> Iterator[tuple[Process, int]]:
    """Our Server with room for all, or the bare one, on core 0, after its first session; and its port."""
    program = lab.our_program()
    if bare:
        command = [interpreter_of(program), __file__, "bare"]
    else:
        keys = lab.directory / "keys"
        keys.touch(0o600)
        keys.write_text(f"bench text:{SECRET.decode()}\n")
        command = [str(program), "server", "--listen", f"twamp={LOOPBACK}:0", "--key-file", str(keys)]
        for mode in ("unauthenticated", "encrypted"):
            command += ["--mode", mode]
        for limit in ("connections", "connections-per-client", "sessions", "sessions-per-connection"):
            command += [f"--maximum-{limit}", "10000"]
    files = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (files[1], files[1]))
    try:
        with running(command, core=0) as process:
            process.wait_for("\n")
            port = int(process.output().rpartition(":")[2])
            for mode in ("unauthenticated",) if bare else ("unauthenticated", "encrypted"):
                with contextlib.closing(Clients(lab, port, mode, 1, 1, 0)) as first:
                    first.said()
            yield process, port
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, files)


def set_up(lab: Laboratory, mode: str, connections: int, sessions: int, *, bare: bool = False) -> tuple[float, float]:
    """Sessions for each second of the Server's CPU, and for each second of the clock."""
    with server(lab, bare=bare) as (process, port):
        used = process.run_time_ns()
        with contextlib.closing(Clients(lab, port, mode, connections, sessions, 0)) as child:
            took = child.said()["seconds"]
            used = process.run_time_ns() - used
    count = connections * sessions
    return count / (used / 1e9), count / took


def hold(lab: Laboratory, connections: int, sessions: int, seconds: int) -> dict[str, float]:
    """A Server with so many running sessions that get 1 packet/s each."""
    count = connections * sessions
    with server(lab) as (process, port):
        before = anonymous_octets(process.pid)
        with contextlib.closing(Clients(lab, port, "unauthenticated", connections, sessions, seconds)) as child:
            child.said()
            used = process.run_time_ns()
            packets = child.said()
            used = process.run_time_ns() - used
            octets = anonymous_octets(process.pid) - before
    return {"octets": octets / count, "cpu_share": used / 1e9 / packets["seconds"], **packets}


def first_result_ms(lab: Laboratory, port: int) -> float:
    """Milliseconds from just before exec of `twoway ping --protocol twamp` to the line of its first reply."""
    command = [str(lab.our_program()), "ping", "--protocol", "twamp", "-c", "2", f"{LOOPBACK}:{port}"]
    began = time.time_ns()
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as child:
        try:
            for line in child.stdout or ():
                if "seq=0" in line:
                    return (time.time_ns() - began) / 1e6
        finally:
            child.terminate()
    raise UnavailableError("no reply to `twoway ping --protocol twamp` was shown")


def set_up_table(lab: Laboratory, findings: Findings, *, quick: bool) -> None:
    many, runs = (50, 1) if quick else (1000, 3)
    table = Table(
        "Set-up, sessions/s",
        ("Server", "mode", "connections", "sessions on each", "of one core", "/ bare", "by the clock"),
        note="Of one core: sessions for each second of the Server's CPU. By the clock: one client, in turn.",
    )
    findings.tables.append(table)
    cases = [
        ("bare", "unauthenticated", many, 1),
        ("twoway", "unauthenticated", many, 1),
        ("twoway", "unauthenticated", 1, many),
        ("twoway", "encrypted", many, 1),
        ("twoway", "encrypted", 1, many),
    ]
    if quick:
        cases = [cases[0], cases[1], cases[-1]]
    rates: dict[tuple[str, str, int], list[tuple[float, float]]] = {}
    for _ in range(runs):
        for who, mode, connections, sessions in cases:
            lab.company.wait_for_quiet()
            measured = set_up(lab, mode, connections, sessions, bare=who == "bare")
            rates.setdefault((who, mode, connections), []).append(measured)
    bare = rates["bare", "unauthenticated", many]
    for who, mode, connections, sessions in cases:
        found = rates[who, mode, connections]
        rate = median(one for one, _ in found)
        ratio = median(one / other for (one, _), (other, _) in zip(found, bare, strict=True))
        table.add(who, mode, f"{connections:,}", f"{sessions:,}", rate, ratio, median(clock for _, clock in found))
        if who != "bare":
            findings.goal(
                f"{mode}, {connections:,} x {sessions:,}: more than {SET_UP_GOAL_PER_S} sessions/s of one core",
                f"{rate:,.0f}/s",
                met=rate > SET_UP_GOAL_PER_S,
            )


def hold_table(lab: Laboratory, findings: Findings, *, quick: bool) -> None:
    seconds = 2 if quick else 10
    table = Table(
        "Running sessions in one process, 1 packet/s each",
        ("sessions", "connections", "KiB/session", "CPU, share of a core", "CPU µs/packet", "sent", "answered"),
    )
    findings.tables.append(table)
    for count in (100,) if quick else (1000, 5000):
        for connections in (count,) if quick else (1, count):
            lab.company.wait_for_quiet()
            held = hold(lab, connections, count // connections, seconds)
            table.add(
                f"{count:,}",
                f"{connections:,}",
                held["octets"] / KIB,
                held["cpu_share"],
                held["cpu_share"] * held["seconds"] * 1e6 / held["sent"],
                f"{held['sent']:,.0f}",
                f"{held['answered']:,.0f}",
            )
            findings.goal(
                f"{count:,} sessions on {connections:,} connections: < 16 KiB each beyond their sockets",
                f"{held['octets'] / KIB:.2f} KiB",
                met=held["octets"] < MEMORY_GOAL_OCTETS,
            )
            findings.goal(
                f"{count:,} sessions on {connections:,} connections: every packet answered",
                f"{held['sent']:,.0f} sent, {held['answered']:,.0f} answered",
                met=held["sent"] == held["answered"],
            )


def first_result_table(lab: Laboratory, findings: Findings, *, quick: bool) -> None:
    runs = 2 if quick else 10
    interpreter = interpreter_of(lab.our_program())
    cold_possible = os.access(DROP_CACHES, os.W_OK) and not quick
    if not cold_possible:
        findings.skipped.append(
            "cold starts (quick run)" if quick else f"cold starts (no write access to {DROP_CACHES})"
        )
    table = Table("Exec to the line of the first reply, ms", ("start", "what", "min", "median", "p90", "max"))
    findings.tables.append(table)
    with server(lab) as (_, port):
        for cold in (True, False) if cold_possible else (False,):
            medians = {}
            for what in ("twoway ping --protocol twamp", "interpreter"):
                values = []
                for _ in range(runs):
                    lab.company.wait_for_quiet()
                    if cold:
                        drop_caches()
                    values.append(
                        interpreter_ms(interpreter, "pass") if what == "interpreter" else first_result_ms(lab, port)
                    )
                medians[what] = median(values)
                start = "cold" if cold else "warm"
                table.add(start, what, min(values), medians[what], quantile(values, 0.9), max(values))
            measured, share = medians["twoway ping --protocol twamp"], medians["interpreter"]
            findings.goal(
                f"first result of a negotiated test < {FIRST_RESULT_GOAL_MS:g} ms, {'cold' if cold else 'warm'}",
                f"{measured:.0f} ms, of which interpreter {share:.0f} ms",
                met=measured < FIRST_RESULT_GOAL_MS,
            )


def benchmark(lab: Laboratory, *, quick: bool) -> Findings:
    """The section "managed" of docs/performance.md."""
    findings = Findings(
        "managed",
        "TWAMP over loopback, the Server in one process on core 0, its clients in another. A session is set up "
        "when Start-Ack is there. Bare: a Server on asyncio that says as many octets at the same moments. Encrypted: "
        "PBKDF2 count 2048 for each connection. Memory: anonymous PSS, after the first sessions of the process.",
    )
    set_up_table(lab, findings, quick=quick)
    hold_table(lab, findings, quick=quick)
    first_result_table(lab, findings, quick=quick)
    return findings


def main() -> int:
    parser = argparse.ArgumentParser(description="The children of the benchmark `managed`.")
    roles = parser.add_subparsers(dest="role", required=True)
    roles.add_parser("bare")
    many = roles.add_parser("clients")
    many.add_argument("port", type=int)
    many.add_argument("mode")
    for name in ("connections", "sessions", "seconds"):
        many.add_argument(name, type=int)
    arguments = parser.parse_args()
    if arguments.role == "bare":
        asyncio.run(run_bare())
    else:
        run_clients(arguments.port, arguments.mode, arguments.connections, arguments.sessions, arguments.seconds)
    return 0


if __name__ == "__main__":
    sys.exit(main())
