"""Sockets of another network namespace.

A socket stays in the namespace of the thread that made it, so a thread of its own enters the namespace, makes it, and
ends; nothing else of the process is ever there.
"""

from __future__ import annotations

import ctypes
import os
import socket
import threading
from pathlib import Path

_FOLDER = Path("/run/netns")
"""Where `ip netns` has names."""
_CLONE_NEWNET = 0x40000000  # linux/sched.h


def open_socket(netns: str | None, family: int, kind: int, protocol: int = 0) -> socket.socket:
    """A socket of this namespace (a name or a path), None for our own. Raises `OSError`."""
    if netns is None:
        return socket.socket(family, kind | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK, protocol)
    made: list[socket.socket] = []
    failed: list[OSError] = []

    def enter() -> None:
        try:
            _enter(netns)
            made.append(socket.socket(family, kind | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK, protocol))
        except OSError as error:
            failed.append(error)

    thread = threading.Thread(target=enter, name="netns")
    thread.start()
    thread.join()
    if failed:
        raise failed[0]
    return made[0]


def _enter(netns: str) -> None:
    descriptor = os.open(netns if "/" in netns else _FOLDER / netns, os.O_RDONLY | os.O_CLOEXEC)
    try:
        libc = ctypes.CDLL(None, use_errno=True)  # os.setns came with Python 3.12
        if libc.setns(descriptor, _CLONE_NEWNET):
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number), netns)
    finally:
        os.close(descriptor)
