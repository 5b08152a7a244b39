"""Code points of TWAMP-Control and OWAMP-Control: modes, Accept values, command numbers.

Each member's text says where it is defined. TWAMP and OWAMP number their modes differently above bit 2; everything but
the wire speaks of `Mode`, and `modes_from_wire` and `modes_to_wire` know the difference.
"""

from __future__ import annotations

from enum import Enum, IntEnum, IntFlag
from typing import Final


class Protocol(Enum):
    """Which of the two control protocols a connection speaks."""

    TWAMP = "twamp"
    """RFC 5357: two-way, TCP port 862."""
    OWAMP = "owamp"
    """RFC 4656: one-way, TCP port 861."""


class Mode(IntFlag):
    """The TWAMP-Modes registry: bits of Modes in the Server-Greeting and of Mode in the Set-Up-Response."""

    UNAUTHENTICATED = 1
    """RFC 4656 section 3.1: control and test in the clear."""
    AUTHENTICATED = 2
    """RFC 4656 section 3.1: control encrypted, the first block of each test packet authenticated."""
    ENCRYPTED = 4
    """RFC 4656 section 3.1: control encrypted, test packets encrypted, their timestamps too."""
    MIXED = 8
    """RFC 5618 section 3.1: control encrypted, test packets in the clear."""
    INDIVIDUAL_SESSION_CONTROL = 16
    """RFC 5938 section 3.1: sessions are started and stopped by their SIDs."""
    REFLECT_OCTETS = 32
    """RFC 6038 section 4.1: padding that the Session-Reflector must send back."""
    SYMMETRICAL_SIZE = 64
    """RFC 6038 section 4.1: test packets of the same size both ways."""
    IKEV2_DERIVED = 128
    """RFC 7717 section 5: the shared key comes from an IKEv2 security association."""
    DSCP_ECN_MONITORING = 256
    """RFC 7750 section 2.1: replies carry the DSCP and ECN of the packet they answer."""
    PTPV2_TIMESTAMP = 512
    """RFC 8186 section 2.2: the Session-Reflector's timestamps are in PTPv2 format."""


class OwampMode(IntFlag):
    """The OWAMP-Modes registry (RFC 7718 section 3.2)."""

    UNAUTHENTICATED = 1
    """RFC 4656 section 3.1."""
    AUTHENTICATED = 2
    """RFC 4656 section 3.1."""
    ENCRYPTED = 4
    """RFC 4656 section 3.1."""
    IKEV2_DERIVED = 16
    """RFC 7717 section 5, at the position of RFC 7718 section 3.2.4; TWAMP has it elsewhere."""


SECURITY_MODES: Final = Mode.UNAUTHENTICATED | Mode.AUTHENTICATED | Mode.ENCRYPTED | Mode.MIXED
"""Exactly one of these is chosen (RFC 5938 section 3.1)."""
SECURE_CONTROL: Final = Mode.AUTHENTICATED | Mode.ENCRYPTED | Mode.MIXED
"""Modes with an encrypted control connection."""
SECURE_TEST: Final = Mode.AUTHENTICATED | Mode.ENCRYPTED
"""Modes with keys for the test packets."""
FEATURES: Final = ~SECURITY_MODES & Mode(1023)
"""Bits that may stand beside a security mode."""

_OWAMP: Final[dict[OwampMode, Mode]] = {
    OwampMode.UNAUTHENTICATED: Mode.UNAUTHENTICATED,
    OwampMode.AUTHENTICATED: Mode.AUTHENTICATED,
    OwampMode.ENCRYPTED: Mode.ENCRYPTED,
    OwampMode.IKEV2_DERIVED: Mode.IKEV2_DERIVED,
}
OWAMP_MODES: Final = Mode.UNAUTHENTICATED | Mode.AUTHENTICATED | Mode.ENCRYPTED | Mode.IKEV2_DERIVED
"""What OWAMP has a bit for."""


def modes_from_wire(protocol: Protocol, value: int) -> Mode:
    """The modes that 32 bits name. Bits without an assignment are ignored (RFC 4656 section 3.1)."""
    if protocol is Protocol.TWAMP:
        return Mode(value & 1023)
    modes = Mode(0)
    for bit, mode in _OWAMP.items():
        if value & bit:
            modes |= mode
    return modes


def modes_to_wire(protocol: Protocol, modes: Mode) -> int:
    """The 32 bits of `modes`. Raises `ValueError` for a mode that the protocol has no bit for."""
    if protocol is Protocol.TWAMP:
        return int(modes)
    if modes & ~OWAMP_MODES:
        raise ValueError(f"OWAMP has no bit for {modes & ~OWAMP_MODES!r}")
    return sum(int(bit) for bit, mode in _OWAMP.items() if modes & mode)


class Accept(IntEnum):
    """What a Server says to a request (RFC 4656 section 3.3)."""

    OK = 0
    """RFC 4656 section 3.3: accepted."""
    FAILURE = 1
    """RFC 4656 section 3.3: failure, reason unspecified."""
    INTERNAL_ERROR = 2
    """RFC 4656 section 3.3: internal error."""
    NOT_SUPPORTED = 3
    """RFC 4656 section 3.3: some aspect of the request is not supported."""
    PERMANENT_LIMIT = 4
    """RFC 4656 section 3.3: a permanent resource limitation."""
    TEMPORARY_LIMIT = 5
    """RFC 4656 section 3.3: a temporary resource limitation."""
    NO_IKEV2_SA = 6
    """RFC 7717 section 5.3: no IKEv2 security association of these SPIs; only in Server-Start."""

    @classmethod
    def from_wire(cls, value: int, *, server_start: bool = False) -> Accept:
        """The meaning of an octet: every value without one is a failure (RFC 4656 section 3.3)."""
        last = cls.NO_IKEV2_SA if server_start else cls.TEMPORARY_LIMIT
        return cls(value) if value <= last else cls.FAILURE


class TwampCommand(IntEnum):
    """The TWAMP-Control Command Numbers registry, as far as this Server knows them."""

    START_SESSIONS = 2
    """RFC 4656 section 3.7."""
    STOP_SESSIONS = 3
    """RFC 5357 section 3.8."""
    REQUEST_TW_SESSION = 5
    """RFC 5357 section 3.5."""
    START_N_SESSIONS = 7
    """RFC 5938 section 3.2."""
    START_N_ACK = 8
    """RFC 5938 section 3.3; from the Server."""
    STOP_N_SESSIONS = 9
    """RFC 5938 section 3.4."""
    STOP_N_ACK = 10
    """RFC 5938 section 3.5; from the Server."""


class OwampCommand(IntEnum):
    """The OWAMP-Control Command Numbers registry (RFC 7718 section 3.3)."""

    REQUEST_SESSION = 1
    """RFC 4656 section 3.5."""
    START_SESSIONS = 2
    """RFC 4656 section 3.7."""
    STOP_SESSIONS = 3
    """RFC 4656 section 3.8; from either side."""
    FETCH_SESSION = 4
    """RFC 4656 section 3.9."""


class SlotType(IntEnum):
    """Kinds of schedule slots (RFC 4656 section 3.6)."""

    EXPONENTIAL = 0
    """RFC 4656 section 3.6: exponentially distributed, with this mean."""
    FIXED = 1
    """RFC 4656 section 3.6: this delay."""
