"""What is asked for and what was agreed: a test-session as a control connection's ends hand it to their drivers."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from twoway.control.codec import interval_ns
from twoway.control.registry import SECURE_TEST, Mode, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterable

    from twoway.control.configuration import Address
    from twoway.control.owamp_codec import PacketRecord, RequestSession, ScheduleSlot, SkipRange
    from twoway.control.security import SessionKeys

TYPE_P_DSCP_SHIFT: Final = 24
"""Type-P of a DSCP: two bits 00, six bits of DSCP, zeros (RFC 4656 section 3.5)."""


@dataclass(frozen=True, slots=True)
class SessionRequest:
    """A test-session as a Control-Client asks for it. Ports that the Server chooses are 0 until it has."""

    sender_port: int
    """UDP port of the Session-Sender; OWAMP: 0 if the Server is the sender."""
    receiver_port: int
    """UDP port wanted at the Session-Reflector or Session-Receiver."""
    timeout: int
    """An interval (`codec.interval_from_ns`). TWAMP: how long to reflect after a stop (RFC 5357 section 3.5). OWAMP:
    after this a packet is lost."""
    sender_address: Address | None = None
    """None: as in the control connection (RFC 5357 section 3.5)."""
    receiver_address: Address | None = None
    padding_length: int = 0
    """Octets after the 14 or 48 of a Session-Sender's packet."""
    start_time: int = 0
    """A timestamp; 0 or past: as soon as started."""
    dscp: int = 0
    octets_to_reflect: int = 0
    """RFC 6038 section 4.2: 16 bits that the Server sends back."""
    padding_to_reflect: int = 0
    """RFC 6038 section 4.2: octets of padding that come back in each packet."""
    server_sends: bool = False
    """OWAMP: Conf-Sender rather than Conf-Receiver."""
    packets: int = 0
    """OWAMP: Number of Packets."""
    slots: tuple[ScheduleSlot, ...] = ()
    """OWAMP: the send schedule (RFC 4656 section 3.6)."""

    @property
    def timeout_ns(self) -> int:
        """Timeout in whole nanoseconds."""
        return interval_ns(self.timeout)


def packet_format(mode: Mode) -> str:
    """Name of the test packets' format in a mode, as the packet plane has it (RFC 4656 section 4.1.2)."""
    if not mode & SECURE_TEST:
        return "twamp"
    return "twamp-encrypted" if mode & Mode.ENCRYPTED else "twamp-authenticated"


@dataclass(frozen=True, slots=True)
class NegotiatedSession:
    """A test-session that both ends have agreed on: all that its packets need."""

    sid: bytes
    protocol: Protocol
    mode: Mode
    """Everything that the connection negotiated."""
    request: SessionRequest
    """With both addresses and both ports as they are to be used."""
    keys: SessionKeys | None = field(repr=False)
    """Of the test packets (RFC 4656 section 4.1.2), None if they are not authenticated."""
    server_octets: int = 0
    """RFC 6038 section 4.3: unless 0, these 16 bits begin the padding to be reflected."""

    @property
    def packet_format(self) -> str:
        """Name of the test packets' format, as the packet plane has it."""
        return packet_format(self.mode)

    @property
    def symmetrical_size(self) -> bool:
        """Whether packets must have the same size both ways (RFC 6038 section 5)."""
        return bool(self.mode & Mode.SYMMETRICAL_SIZE)

    @property
    def reflected_octets(self) -> int:
        """How much of a packet's padding its reply must bring back (RFC 6038 section 4.2)."""
        return self.request.padding_to_reflect if self.mode & Mode.REFLECT_OCTETS else 0

    @property
    def dscp_ecn_monitoring(self) -> bool:
        """Whether replies carry the DSCP and ECN of the packet they answer (RFC 7750)."""
        return bool(self.mode & Mode.DSCP_ECN_MONITORING)

    @property
    def ptp_timestamps(self) -> bool:
        """Whether the Session-Reflector may stamp in PTPv2 format (RFC 8186 section 2.2); else it must in NTP's."""
        return bool(self.mode & Mode.PTPV2_TIMESTAMP)


@dataclass(frozen=True, slots=True)
class StoredSession:
    """Results of a test-session, as `answer_fetch` sends them (RFC 4656 section 3.9)."""

    request: RequestSession
    """The request that made it, with the ports that were used."""
    finished: bool
    """Whether it has ended."""
    ended_normally: bool
    """Whether it ended as the RFC wants of a complete session."""
    next_seqno: int
    skip_ranges: tuple[SkipRange, ...]
    record_count: int
    """How many there are in `records`."""
    records: Iterable[PacketRecord]
    """Those of the range asked for, in the order of arrival; taken a few at a time, as they are sent."""
