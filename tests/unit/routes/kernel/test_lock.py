"""One keeper for each protocol number and network namespace."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from twoway.routes.kernel.lock import ProtocolLock, RoutesError

PROTOCOL = 1000 + os.getpid()
"""No route has it, so that no other run of this test is in the way."""
_HOLD = """
import sys
from twoway.routes.kernel.lock import ProtocolLock
lock = ProtocolLock(int(sys.argv[1]), None)
print("held", flush=True)
sys.stdin.read()
"""


def test_the_second_is_refused_until_the_first_ends() -> None:
    first = ProtocolLock(PROTOCOL, None)
    other = ProtocolLock(PROTOCOL + 1, None)
    with pytest.raises(RoutesError, match=f"^routes of protocol {PROTOCOL} are kept by another part of this process: "):
        ProtocolLock(PROTOCOL, None)
    first.close()
    first.close()
    ProtocolLock(PROTOCOL, None).close()
    other.close()


def test_it_is_free_when_its_process_was_killed() -> None:
    command = [sys.executable, "-c", _HOLD, str(PROTOCOL)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as held:
        assert held.stdout is not None
        assert held.stdout.readline() == "held\n"
        for _ in range(3):  # more than may wait to be accepted
            with pytest.raises(RoutesError, match=r"kept by (process \d+|another process): end that, or give one of"):
                ProtocolLock(PROTOCOL, None)
        held.kill()
        held.wait()
    ProtocolLock(PROTOCOL, None).close()


def test_a_namespace_that_there_is_not_is_an_error_of_the_system() -> None:
    with pytest.raises(FileNotFoundError):
        ProtocolLock(PROTOCOL, "/run/netns/there-is-none")
