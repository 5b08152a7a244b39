"""Who an SNMP engine is, and how often it started: what receivers of SNMPv3 notifications know a sender by.

Theory of operation. For a trap, the sender is the authoritative engine (RFC 3414 section 1.5.1): the receiver keeps its
engine ID, its number of starts (boots) and its time, and refuses what seems older than what it had before (section
3.2). So an engine ID stays the same for ever, boots never go back, and time goes on steadily, whatever the wall clock
does.

Boots are seconds since 2020 at the start, or one more than in the file of the last start if that is greater: the file
holds against a clock that was set back, the clock against a file that was lost. That suffices until 2088.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import socket
import time
from pathlib import Path
from typing import TYPE_CHECKING

from twoway.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable

_EPOCH_S = 1_577_836_800
"""2020-01-01 UTC."""
MAX_BOOTS = 2**31 - 2
"""At 2**31 - 1 an engine would have to fall silent (RFC 3414 section 2.2.2)."""
_ENTERPRISE = 32473
"""As in the SD-ID of syslog messages: the number for documentation."""
_MACHINE_ID = Path("/etc/machine-id")
_NAME = "snmp-boots.json"


def engine_id(configured: str | None, machine_id: Path = _MACHINE_ID) -> bytes:
    """The engine ID (RFC 3411 section 5): as configured in hexadecimal, else of this machine's identity.

    Raises `ConfigError` for one that is not of 5 to 32 octets.
    """
    if configured is not None:
        try:
            octets = bytes.fromhex(configured.removeprefix("0x"))
        except ValueError:
            raise ConfigError("engine-id", f"{configured!r} is not pairs of hexadecimal digits") from None
        if not 5 <= len(octets) <= 32 or octets in (bytes(len(octets)), b"\xff" * len(octets)):
            raise ConfigError("engine-id", "must have 5 to 32 octets, not all of them 00 or ff (RFC 3411 section 5)")
        return octets
    try:
        identity = machine_id.read_bytes().strip()
    except OSError:
        identity = socket.gethostname().encode()
    # The machine's identity itself is not for the network (machine-id(5)).
    digest = hashlib.sha256(b"twoway SNMP engine\0" + identity).digest()[:16]
    return (0x80000000 | _ENTERPRISE).to_bytes(4, "big") + b"\x05" + digest


class EngineClock:
    """Boots and time of this process's engines. One for all of them: they started together."""

    def __init__(self, boots: int, monotonic: Callable[[], float] = time.monotonic) -> None:
        self.boots = boots
        self._monotonic = monotonic
        self._start_s = monotonic()

    @property
    def time_s(self) -> int:
        """snmpEngineTime: seconds since the start."""
        return int(self._monotonic() - self._start_s)

    @property
    def uptime_ticks(self) -> int:
        """sysUpTime: hundredths of a second since the start, modulo 2**32."""
        return int((self._monotonic() - self._start_s) * 100) % 2**32


def next_boots(folder: Path | None, now_s: float) -> int:
    """Boots of this start, kept in `folder` for the next. What cannot be read or written leaves the clock's word."""
    boots = max(int(now_s) - _EPOCH_S, 1)
    if folder is None:
        return min(boots, MAX_BOOTS)
    path = folder / _NAME
    with contextlib.suppress(OSError, ValueError, TypeError):
        boots = max(boots, int(json.loads(path.read_text(encoding="ascii"))["boots"]) + 1)
    boots = min(boots, MAX_BOOTS)
    with contextlib.suppress(OSError):
        temporary = path.with_suffix(".new")
        temporary.unlink(missing_ok=True)  # of a start that was cut off, or a link that somebody put there
        with temporary.open("x", encoding="ascii") as file:
            file.write(json.dumps({"boots": boots}))
        temporary.replace(path)
    return boots
