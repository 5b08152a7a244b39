"""FRR, as Debian has it, in a namespace."""

import json
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Any, Final, Self

from .programs import Program, until
from .topology import Namespace

_DAEMONS: Final = Path("/usr/lib/frr")
_USER: Final = "frr"
"""Whom Debian's package makes for it."""


def missing_router() -> str | None:
    """What is not installed, None if nothing is missing."""
    missing = [
        name
        for name, there in (("zebra", (_DAEMONS / "zebra").exists()), ("vtysh", shutil.which("vtysh") is not None))
        if not there
    ]
    return f"{missing[0]} is not installed (Debian package frr)" if missing else None


class Router:
    """One, whose files are in a folder that its user can look into."""

    def __init__(self, namespace: Namespace, folder: Path, configuration: str) -> None:
        self._namespace, self._folder = namespace, folder
        shutil.chown(folder, _USER, _USER)
        self._file = folder / "frr.conf"
        self._file.write_text(configuration)
        (folder / "vtysh.conf").write_text("")

    @contextmanager
    def running(self) -> Iterator[Self]:
        """While it runs."""
        with ExitStack() as stack:
            for daemon in ("zebra", "staticd", "bgpd"):
                options = ["--vty_socket", str(self._folder), "-z", str(self._folder / "zserv.api")]
                options += ["-i", str(self._folder / f"{daemon}.pid"), "-u", _USER, "-g", _USER, "-A", "127.0.0.1"]
                options += ["-f", "/dev/null", "--log", "stdout", "--log-level", "warnings"]
                command = self._namespace.command(str(_DAEMONS / daemon), *options)
                program = stack.enter_context(Program(command, self._folder, daemon))
                socket = self._folder / f"{daemon}.vty"
                until(partial(_started, socket, program), f"{daemon} runs")
                assert program.running, program.stderr + program.stdout
            self.vtysh("-f", str(self._file))
            yield self

    def vtysh(self, *words: str) -> str:
        command = ["ip", "netns", "exec", self._namespace.name, "vtysh", "--vty_socket", str(self._folder), *words]
        done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def routes(self, family: int, prefix: str) -> list[dict[str, Any]]:
        """What zebra knows of a prefix."""
        shown = self.vtysh("-c", f"show {'ipv6' if family == 6 else 'ip'} route {prefix} json")
        return [dict(route) for routes in json.loads(shown).values() for route in routes]

    def chosen(self, family: int, prefix: str) -> str | None:
        """The protocol of the route that zebra has selected."""
        return next((route["protocol"] for route in self.routes(family, prefix) if route.get("selected")), None)


def _started(socket: Path, program: Program) -> bool:
    return socket.exists() or not program.running
