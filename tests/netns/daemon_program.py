"""`twoway run` in a namespace with those who listen to it: a syslog receiver, a real snmptrapd, and its API."""

import json
import re
import socket
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final, Self

from twoway.cli.api_client import Api
from twoway.errors import ApiError
from twoway.notify.notifications import NOTIFICATIONS

from .programs import BOUND_S, TWOWAY, NotInTimeError, Program, bound_ports, until
from .topology import Namespace

_SYSLOG_PORT: Final = 514
_TRAP_PORT: Final = 162
_TRAP_NAMES: Final = {".".join(map(str, sent.oid)): name for name, sent in NOTIFICATIONS.items()}
_QUIET: Final = ("started", "stopping", "own-fault", "configuration-reloaded")
"""Notices about the daemon alone, which have tests of their own; how busy the machine is, no scenario says."""
Statements = Mapping[str, Any]


class SyslogReceiver:
    """The messages that were sent to a UDP port of a namespace, in order."""

    def __init__(self, namespace: Namespace) -> None:
        self._socket = namespace.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind(("127.0.0.1", _SYSLOG_PORT))
        self._socket.setblocking(False)
        self._messages: list[str] = []

    def notices(self) -> list[str]:
        """MSGID and state of each message so far."""
        while True:
            try:
                self._messages.append(self._socket.recv(65536).decode())
            except BlockingIOError:
                break
        found = [re.search(r' twoway \S+ (\S+) \[.*?state="(\w+)"', message) for message in self._messages]
        assert all(found), self._messages
        told = [f"{match[1]} {match[2]}" for match in found if match is not None]
        return [each for each in told if not each.startswith(_QUIET)]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()


class TrapReceiver(Program):
    """A real snmptrapd."""

    def __init__(self, namespace: Namespace, folder: Path) -> None:
        configuration = folder / "snmptrapd.conf"
        configuration.write_text("disableAuthorization yes\n")
        options = ["-f", "-Lo", "-On", "-OQ", "-C", "-c", str(configuration), "-m", "", f"udp:127.0.0.1:{_TRAP_PORT}"]
        environment = {"SNMP_PERSISTENT_DIR": str(folder / "snmp")}
        super().__init__(namespace.command("snmptrapd", *options), folder, "snmptrapd", environment)
        until(lambda: not self.running or _TRAP_PORT in bound_ports(self.process.pid), "snmptrapd listens")
        assert self.running, self.stderr

    def names(self) -> list[str]:
        """The notice behind each notification so far."""
        oids = re.findall(r"\.1\.3\.6\.1\.6\.3\.1\.1\.4\.1\.0 = \.([0-9.]+)", self.stdout)
        return [_TRAP_NAMES[oid] for oid in oids]


class DaemonProgram(Program):
    """A running daemon, ready when its API answers; it tells a receiver of syslog and one of notifications."""

    def __init__(
        self, namespace: Namespace, folder: Path, connections: Statements, server: Statements | None = None
    ) -> None:
        self._folder = folder
        self._server = server or {}
        self.file = folder / "twoway.yaml"
        self.configure(connections)
        super().__init__(namespace.command(TWOWAY, "run", str(self.file)), folder, "daemon")
        until(lambda: not self.running or self._answers(), "the daemon's API answers")
        assert self.running, self.stderr

    def configure(self, connections: Statements) -> None:
        """Write its configuration; a reload reads it."""
        document = {
            "client": {"control-connection": connections},
            "server": self._server,
            "notifications": {
                "syslog": [{"address": f"127.0.0.1:{_SYSLOG_PORT}"}],
                "snmp": [{"address": f"127.0.0.1:{_TRAP_PORT}", "juniper": True}],
            },
            "store": {"path": str(self._folder / "results.db")},
            "api": {"socket": str(self._folder / "api.sock")},
        }
        self.file.write_text(json.dumps(document))

    @property
    def api(self) -> Api:
        return Api(str(self._folder / "api.sock"), None)

    def _answers(self) -> bool:
        try:
            self.api.get("/v1/health")
        except ApiError:
            return False
        return True

    def results(self, session: str = "probe") -> dict[str, Any]:
        """All that is known of a test-session."""
        found = self.api.get("/v1/client/probe-results", {"test-session": session})["results"]
        (result,) = found
        return dict(result)

    def collection(self, name: str = "all-tests", session: str = "probe") -> dict[str, Any]:
        """One of its collections; empty before there is one."""
        chosen = [each for each in self.results(session)["collections"] if each["collection"] == name]
        return dict(chosen[0]) if chosen else {}

    def await_tests(self, count: int, session: str = "probe") -> None:
        """Wait until so many tests have ended."""
        until(lambda: self.results(session)["tests_run"] >= count, f"{count} tests of {session}", 3 * BOUND_S)

    def events(self) -> list[dict[str, Any]]:
        return [dict(event) for event in self.api.get("/v1/events")["events"]]

    def notices(self) -> list[str]:
        """Name and state of each notice so far, but those about the daemon alone."""
        told = [f"{event['name']} {event['state']}" for event in self.events()]
        return [each for each in told if not each.startswith(_QUIET)]

    def await_notices(self, expected: Sequence[str]) -> None:
        """Wait until each of these was told."""
        try:
            until(lambda: set(expected) <= set(self.notices()), f"notices {', '.join(expected)}")
        except NotInTimeError as error:
            error.add_note(f"told were: {', '.join(self.notices())}")
            raise
