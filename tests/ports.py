"""Ports of loopback that nobody has, and that nobody gets by chance before a test binds them."""

from __future__ import annotations

import errno
import random
import socket

LOOPBACK = {4: "127.0.0.1", 6: "::1"}
_ATTEMPTS = 1000
_chosen = random.SystemRandom()


def free_port(family: int = 4) -> int:
    """A port that is free in TCP and UDP now.

    It lies below those that the kernel gives away (ip_local_port_range) and that a Server measures on: whoever asks the
    kernel for any port, in this test run or in another on the same machine, does not get it.
    """
    inet = socket.AF_INET6 if family == 6 else socket.AF_INET
    for _ in range(_ATTEMPTS):
        port = _chosen.randrange(10_000, 20_000)
        with socket.socket(inet, socket.SOCK_STREAM) as stream, socket.socket(inet, socket.SOCK_DGRAM) as datagram:
            try:
                stream.bind((LOOPBACK[family], port))
                datagram.bind((LOOPBACK[family], port))
            except OSError as error:
                if error.errno != errno.EADDRINUSE:
                    raise
                continue
            return port
    raise AssertionError(f"no port is free: {_ATTEMPTS} were tried")
