"""The daemon as a service of systemd (`Type=notify`): readiness, reload, watchdog and status, by sd_notify(3).

The protocol is a datagram of lines to the socket that NOTIFY_SOCKET names. Without systemd nothing is sent.
"""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from twoway.analysis.views import RequestView
    from twoway.daemon.daemon import Daemon

_STATUS_S = 10.0


class ServiceManager:
    """Who started us, if it wants to hear from us. Nothing here raises."""

    def __init__(self, environment: Mapping[str, str] = os.environ) -> None:
        self._address = environment.get("NOTIFY_SOCKET", "")
        microseconds = environment.get("WATCHDOG_USEC", "")
        ours = environment.get("WATCHDOG_PID", str(os.getpid())) == str(os.getpid())
        self.watchdog_s = int(microseconds) / 1e6 if microseconds.isdigit() and ours else None
        """How often it wants a sign of life at least; None: it does not."""

    def tell(self, *lines: str) -> None:
        """Send these assignments."""
        if not self._address.startswith(("/", "@")):
            return
        address = self._address if self._address.startswith("/") else f"\0{self._address[1:]}"
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC) as to:
                to.sendto("\n".join(lines).encode(), address)
        except OSError:
            return  # it has gone, or does not listen: nothing here depends on it

    def ready(self, status: str) -> None:
        """Everything is open: others may start."""
        self.tell("READY=1", f"STATUS={status}")

    def reloading(self) -> None:
        """A reload begins; `ready` ends it."""
        self.tell("RELOADING=1", f"MONOTONIC_USEC={time.monotonic_ns() // 1000}")

    def stopping(self) -> None:
        """The end begins."""
        self.tell("STOPPING=1", "STATUS=saving results")

    def alive(self, status: str) -> None:
        """A sign of life."""
        self.tell("WATCHDOG=1", f"STATUS={status}")


def status_of(daemon: Daemon) -> str:
    """The daemon in one line."""
    health = daemon.health()
    sessions = sum(health.sessions.values())
    words = f"{health.sessions.get('testing', 0)} of {sessions} test-sessions run"
    alarms = daemon.alarms_raised()
    if alarms:
        words += f", {alarms} with an alarm"
    if not health.reload_ok:
        words += "; the configuration file has errors and was not taken over"
    if health.store.get("state") == "degraded":
        words += "; results cannot be kept"
    return words


class Pulse:
    """Signs of life, given by the second in which the daemon does its work: if that hangs, they end."""

    def __init__(self, manager: ServiceManager) -> None:
        self._manager = manager
        self._every_s = min(_STATUS_S, manager.watchdog_s / 3) if manager.watchdog_s else _STATUS_S
        self._last = time.monotonic()

    def beat(self, daemon: Daemon) -> None:
        """Called each second."""
        now = time.monotonic()
        if now - self._last >= self._every_s - 0.5:
            self._last = now
            self._manager.alive(status_of(daemon))


class Signals:
    """SIGHUP reloads; SIGTERM and SIGINT end. Taken on the running loop from the moment this is made.

    However many SIGHUP come during a reload, one more follows it; and the end waits behind none of them.
    """

    def __init__(self) -> None:
        self._told = asyncio.Event()
        self._ending = asyncio.Event()
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGHUP, self._told.set)
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._end)

    def _end(self) -> None:
        self._ending.set()
        self._told.set()

    async def serve(self, daemon: Daemon, manager: ServiceManager, refused: Callable[[RequestView], object]) -> None:
        """Everything is open: do what signals say, until one says to end. Who sent a SIGHUP gets no answer, so
        `refused` is told of a reload that was."""
        manager.ready(status_of(daemon))
        while await self._told.wait() and not self._ending.is_set():
            self._told.clear()
            manager.reloading()
            answer = await daemon.reload(unless=self._ending)
            if not answer.ok and not self._ending.is_set():
                refused(answer)
            manager.ready(status_of(daemon))
        manager.stopping()
