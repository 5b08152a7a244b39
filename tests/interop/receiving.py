"""Real receivers of notices on loopback, snmptrapd and rsyslogd of Debian, each with its own ports and folder."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import shutil
import socket
import subprocess
import time
from typing import TYPE_CHECKING

import pytest

from ports import free_port

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path

PATIENCE_S = 30.0
RSYSLOG = """
global(workDirectory="{folder}")
module(load="imudp")
module(load="imtcp")
module(load="imuxsock" SysSock.Use="off")
module(load="mmpstrucdata")
template(name="parsed" type="list" option.jsonf="on") {{
  property(outname="severity" name="syslogseverity-text" format="jsonf")
  property(outname="facility" name="syslogfacility-text" format="jsonf")
  property(outname="timestamp" name="timereported" dateFormat="rfc3339" format="jsonf")
  property(outname="hostname" name="hostname" format="jsonf")
  property(outname="app" name="app-name" format="jsonf")
  property(outname="process" name="procid" format="jsonf")
  property(outname="msgid" name="msgid" format="jsonf")
  property(outname="text" name="msg" format="jsonf")
  property(outname="input" name="inputname" format="jsonf")
  property(outname="data" name="$!rfc5424-sd" format="jsonf")
}}
template(name="line" type="list") {{ property(name="$.line") constant(value="\\n") }}
ruleset(name="all") {{
  action(type="mmpstrucdata" sd_name.lowercase="off")
  set $.line = exec_template("parsed");
  action(type="omfile" file="{folder}/messages" template="line")
}}
input(type="imudp" address="127.0.0.1" port="{port}" ruleset="all")
input(type="imtcp" address="127.0.0.1" port="{port}" ruleset="all")
input(type="imuxsock" Socket="{folder}/log" UseSpecialParser="off" ParseHostname="on" ruleset="all")
"""


def program(name: str, package: str) -> str:
    """Where it is; the test is skipped by name where it is not."""
    found = shutil.which(name, path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin")
    if found is None:
        pytest.skip(f"the program {name} is not installed (Debian package {package})")
    return found


async def until(condition: Callable[[], bool], what: Callable[[], str]) -> None:
    """Poll until `condition` holds."""
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline, f"not within {PATIENCE_S:g} s: {what()}"
        await asyncio.sleep(0.01)


@contextlib.contextmanager
def running(
    command: Sequence[str], folder: Path, ready: Callable[[], bool], environment: Mapping[str, str] | None = None
) -> Iterator[None]:
    """A process, from when it is ready until the block ends."""
    with (folder / "output").open("ab") as output:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, env={**os.environ, **(environment or {})}
        )
        try:
            deadline = time.monotonic() + PATIENCE_S
            while not ready():
                words = (folder / "output").read_text(encoding="utf-8", errors="replace")
                assert process.poll() is None, f"{command[0]} ended: {words}"
                assert time.monotonic() < deadline, f"{command[0]} is not ready: {words}"
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(0.02)
            yield
        finally:
            process.terminate()
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


class Rsyslogd:
    """A receiver of syslog messages."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port = free_port()
        self._program = program("rsyslogd", "rsyslog")
        (folder / "rsyslog.conf").write_text(RSYSLOG.format(folder=folder, port=self.port), encoding="ascii")

    @contextlib.contextmanager
    def running(self) -> Iterator[None]:
        path = self.folder
        command = (self._program, "-n", "-C", "-f", str(path / "rsyslog.conf"), "-i", str(path / "pid"))
        with running(command, path, self._ready):
            yield

    def _ready(self) -> bool:
        with socket.socket() as stream, socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as local:
            return stream.connect_ex(("127.0.0.1", self.port)) == 0 and local.connect_ex(f"{self.folder}/log") == 0

    def messages(self) -> list[dict[str, str]]:
        """What it has parsed so far."""
        path = self.folder / "messages"
        if not path.exists():
            return []
        lines = path.read_text(encoding="utf-8").split("\n")[:-1]  # the last may not be whole
        return [json.loads(line) for line in lines if line]


class Snmptrapd:
    """A receiver of SNMP notifications; `users` are lines of its configuration."""

    def __init__(self, folder: Path, users: str) -> None:
        self.folder = folder
        self.port = free_port()
        self._program = program("snmptrapd", "snmptrapd")
        (folder / "snmptrapd.conf").write_text(users, encoding="ascii")

    @contextlib.contextmanager
    def running(self) -> Iterator[None]:
        path = self.folder
        log = path / "traps"
        # Object identifiers and times as numbers, strings in hexadecimal, no MIB, no name looked up.
        options = ("-f", "-n", "-C", "-c", str(path / "snmptrapd.conf"), "-m", "", "-On", "-Ox", "-Ot", "-Lf", str(log))
        command = (self._program, *options, f"udp:127.0.0.1:{self.port}")
        environment = {"SNMP_PERSISTENT_DIR": str(path / "persistent"), "SNMPCONFPATH": str(path)}
        with running(command, path, lambda: log.exists() and "NET-SNMP version" in log.read_text(), environment):
            yield

    def notifications(self) -> list[list[tuple[str, str]]]:
        """Each with its variable bindings: object identifier, and type and value as they are printed."""
        # It begins a new line after each 16 octets of a string.
        text = (self.folder / "traps").read_text(encoding="utf-8")
        text = re.sub(r"(?<=[0-9A-F]{2}) ?\n(?=[0-9A-F]{2}[ \t\n])", " ", text)
        lines = text.splitlines()
        return [[_binding(each) for each in line.split("\t")] for line in lines if line.startswith(".1.3")]


def _binding(text: str) -> tuple[str, str]:
    name, _, value = text.partition(" = ")
    return name.removeprefix("."), value.strip()
