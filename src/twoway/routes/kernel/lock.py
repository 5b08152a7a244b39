"""Who may change routes with a protocol number: one process for each number and network namespace.

The lock is an abstract Unix socket (unix(7)): its names are of a network namespace, as routes are, no file is left
behind, and it is free the moment that its owner is gone, however it went.
"""

from __future__ import annotations

import errno
import os
import socket
import struct

from twoway.errors import TwowayError
from twoway.routes.kernel.namespace import open_socket


class RoutesError(TwowayError):
    """Routes cannot be tracked; the message says where and why."""


class ProtocolLock:
    """Held from its making to `close`. Raises `RoutesError` if another process has it, and `OSError`."""

    def __init__(self, protocol: int, netns: str | None) -> None:
        self._socket = open_socket(netns, socket.AF_UNIX, socket.SOCK_STREAM)
        name = f"\0twoway/routes/{protocol}"
        try:
            self._socket.bind(name)
            self._socket.listen(1)  # who asks is told our process by the kernel; nobody is ever accepted
        except OSError as error:
            self._socket.close()
            if error.errno != errno.EADDRINUSE:
                raise
            where = "" if netns is None else f" in network namespace {netns}"
            raise RoutesError(
                f"routes of protocol {protocol}{where} are kept by {_owner(name, netns)}: "
                "end that, or give one of both another number (routes.protocol)"
            ) from None

    def close(self) -> None:
        """Let others have it. Idempotent."""
        self._socket.close()


def _owner(name: str, netns: str | None) -> str:
    """Who listens there."""
    with open_socket(netns, socket.AF_UNIX, socket.SOCK_STREAM) as asking:
        try:
            asking.connect(name)
            credentials = asking.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
        except OSError:
            return "another process"
    pid: int = struct.unpack("3i", credentials)[0]
    return f"process {pid}" if pid and pid != os.getpid() else "another part of this process" if pid else "a process"
