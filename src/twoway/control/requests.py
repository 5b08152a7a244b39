"""A request for a test-session between what its messages say and what drivers work with, and what is refused of it.

A Server judges a request here, before its driver sees it: first what the RFCs call improper, then policy (RFC 4656
section 6.2), then limits (section 6.5). Each refusal has the Accept value that the registry means for it.
"""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address
from typing import TYPE_CHECKING, Final

from twoway.control.codec import ZERO_ADDRESS, ZERO_SID, RequestTwSession, interval_ns
from twoway.control.events import RequestRefused
from twoway.control.negotiated import TYPE_P_DSCP_SHIFT, SessionRequest
from twoway.control.owamp_codec import RequestSession
from twoway.control.registry import SECURE_TEST, Accept, Mode, SlotType
from twoway.control.rules import Rule, misuse

if TYPE_CHECKING:
    from twoway.control.configuration import Address, Limits, ServerConfiguration

LARGEST_PADDING: Final = 65507 - 14
"""No UDP datagram over IPv4 has room for more after the shortest header."""
TRUNCATED_PADDING: Final = 27
"""Octets by which an unauthenticated reply's header is longer than the request's (RFC 6038 section 4.2)."""
TRUNCATED_PADDING_MONITORED: Final = 30
"""The same with DSCP and ECN monitoring, whose header has 44 octets (RFC 7750 section 2.2.1)."""
TRUNCATED_PADDING_SECURE: Final = 64
"""The same of the other modes: 112 less 48. RFC 6038 says 56, from a figure that an erratum corrects."""
_REQUEST_SECTION: Final = "RFC 4656 section 3.5"


@dataclass(frozen=True, slots=True)
class Endpoints:
    """The addresses of the control connection, as its client and its server have them."""

    client: Address
    server: Address


def twamp_message(request: SessionRequest, ends: Endpoints, mode: Mode) -> RequestTwSession:
    """The message that asks for `request`. Raises `LocalControlError` for what cannot be said."""
    _check(request)
    if request.packets or request.slots or request.server_sends:
        raise misuse("send Request-TW-Session", "TWAMP has no schedule", "RFC 5357 section 3.5")
    if not request.sender_port:
        raise misuse("send Request-TW-Session", "the sender's port is 0", "RFC 5357 section 3.5")
    if (request.octets_to_reflect or request.padding_to_reflect) and not mode & Mode.REFLECT_OCTETS:
        raise misuse("send Request-TW-Session", "Reflect Octets mode was not negotiated", "RFC 6038 section 4.2")
    if request.padding_to_reflect and request.padding_to_reflect + _truncated(mode) > request.padding_length:
        raise misuse("send Request-TW-Session", "the padding has no room to be reflected", "RFC 6038 section 4.2")
    version, sender, receiver = _addresses_octets(request, ends)
    return RequestTwSession(
        ip_version=version,
        sender_port=request.sender_port,
        receiver_port=request.receiver_port,
        sender_address=sender,
        receiver_address=receiver,
        padding_length=request.padding_length,
        start_time=request.start_time,
        timeout=request.timeout,
        type_p=request.dscp << TYPE_P_DSCP_SHIFT,
        octets_to_reflect=request.octets_to_reflect,
        padding_to_reflect=request.padding_to_reflect,
    )


def owamp_message(request: SessionRequest, ends: Endpoints, sid: bytes) -> RequestSession:
    """The message that asks for `request`. Raises `LocalControlError` for what cannot be said."""
    _check(request)
    if not request.packets or not request.slots:
        raise misuse("send Request-Session", "no packets or no schedule", _REQUEST_SECTION)
    if request.octets_to_reflect or request.padding_to_reflect:
        raise misuse("send Request-Session", "OWAMP reflects nothing", "RFC 6038 section 3")
    version, sender, receiver = _addresses_octets(request, ends)
    return RequestSession(
        ip_version=version,
        conf_sender=request.server_sends,
        conf_receiver=not request.server_sends,
        packets=request.packets,
        sender_port=request.sender_port,
        receiver_port=request.receiver_port,
        sender_address=sender,
        receiver_address=receiver,
        sid=sid if request.server_sends else ZERO_SID,
        padding_length=request.padding_length,
        start_time=request.start_time,
        timeout=request.timeout,
        type_p=request.dscp << TYPE_P_DSCP_SHIFT,
        slots=request.slots,
    )


def _check(request: SessionRequest) -> None:
    """What is true of every request."""
    limits = (
        ("sender_port", request.sender_port, 0xFFFF),
        ("receiver_port", request.receiver_port, 0xFFFF),
        ("dscp", request.dscp, 63),
        ("padding_length", request.padding_length, LARGEST_PADDING),
        ("start_time", request.start_time, 2**64 - 1),
        ("timeout", request.timeout, 2**64 - 1),
        ("octets_to_reflect", request.octets_to_reflect, 0xFFFF),
        ("padding_to_reflect", request.padding_to_reflect, 0xFFFF),
        ("packets", request.packets, 2**32 - 1),
    )
    for name, value, most in limits:
        if not 0 <= value <= most:
            raise misuse("request a session", f"{name} {value} is not from 0 to {most}", _REQUEST_SECTION)


def _addresses_octets(request: SessionRequest, ends: Endpoints) -> tuple[int, bytes, bytes]:
    """IPVN, Sender Address and Receiver Address."""
    given = [address for address in (request.sender_address, request.receiver_address) if address is not None]
    versions = {address.version for address in given or [ends.client]}
    if len(given) == 1:
        versions.add(ends.client.version)
    if len(versions) != 1:
        raise misuse("request a session", "its addresses are of two families", _REQUEST_SECTION)
    octets = [
        ZERO_ADDRESS if address is None else address.packed.ljust(16, b"\0")
        for address in (request.sender_address, request.receiver_address)
    ]
    return versions.pop(), octets[0], octets[1]


def resolved(address: Address | None, otherwise: Address) -> Address:
    """An address of a request, or that of the control connection in its place (RFC 5357 section 3.5)."""
    return otherwise if address is None else address


def _address(octets: bytes, version: int, otherwise: Address) -> Address | None:
    """The address that a request names; None if it is of another family than that which it stands for, or of none."""
    if version == 4:
        address: Address = IPv4Address(octets[:4])
    elif version == 6:
        address = IPv6Address(octets)
    else:
        return None
    if int(address) == 0:
        return otherwise if otherwise.version == version else None
    if isinstance(address, IPv6Address) and address.is_link_local and isinstance(otherwise, IPv6Address):
        # A link-local address means nothing without its interface: that of the control connection.
        return IPv6Address(f"{address}%{otherwise.scope_id}") if otherwise.scope_id else address
    return address


def _truncated(mode: Mode) -> int:
    if mode & SECURE_TEST:
        return TRUNCATED_PADDING_SECURE
    return TRUNCATED_PADDING_MONITORED if mode & Mode.DSCP_ECN_MONITORING else TRUNCATED_PADDING


def judge_twamp(
    message: RequestTwSession,
    configuration: ServerConfiguration,
    limits: Limits,
    mode: Mode,
    ends: Endpoints,
    sessions: int,
) -> SessionRequest | RequestRefused:
    """The request, or why it is refused. `sessions` are those that the connection has already."""
    improper = Accept.NOT_SUPPORTED
    if message.conf_sender or message.conf_receiver:
        return RequestRefused(improper, Rule.CONF_NOT_ZERO)
    if message.schedule_slots or message.packets:
        return RequestRefused(improper, Rule.SCHEDULE_NOT_ZERO)
    sender = _address(message.sender_address, message.ip_version, ends.client)
    receiver = _address(message.receiver_address, message.ip_version, ends.server)
    if sender is None or receiver is None:
        return RequestRefused(improper, Rule.IP_VERSION)
    if not message.sender_port:
        return RequestRefused(improper, Rule.SENDER_PORT_ZERO)
    if message.type_p >> 30:
        return RequestRefused(improper, Rule.TYPE_P)
    reflected = message.padding_to_reflect if mode & Mode.REFLECT_OCTETS else 0
    if reflected and reflected + _truncated(mode) > message.padding_length:
        return RequestRefused(improper, Rule.PADDING_TOO_SHORT)
    if not (_same(sender, ends.client) or configuration.any_sender_address):
        return RequestRefused(improper, Rule.ADDRESS_POLICY)
    if not _own(receiver, configuration, ends):
        return RequestRefused(improper, Rule.ADDRESS_POLICY)
    refused = _over_limits(message, limits, sessions)
    if refused is not None:
        return refused
    return SessionRequest(
        sender_port=message.sender_port,
        receiver_port=message.receiver_port,
        timeout=message.timeout,
        sender_address=sender,
        receiver_address=receiver,
        padding_length=message.padding_length,
        start_time=message.start_time,
        dscp=message.type_p >> TYPE_P_DSCP_SHIFT,
        octets_to_reflect=message.octets_to_reflect if mode & Mode.REFLECT_OCTETS else 0,
        padding_to_reflect=reflected,
    )


def judge_owamp(
    message: RequestSession, configuration: ServerConfiguration, limits: Limits, ends: Endpoints, sessions: int
) -> SessionRequest | RequestRefused:
    """The request, or why it is refused. `sessions` are those that the connection has already."""
    improper = Accept.NOT_SUPPORTED
    if message.conf_sender and message.conf_receiver:
        return RequestRefused(improper, Rule.CONF_BOTH)
    if not (message.conf_sender or message.conf_receiver):
        return RequestRefused(improper, Rule.CONF_NEITHER)
    if message.slots_announced > limits.schedule_slots:
        return RequestRefused(Accept.PERMANENT_LIMIT, Rule.TOO_MANY_SLOTS)
    if not message.packets or not message.slots:
        return RequestRefused(improper, Rule.NO_SLOTS)
    if any(slot.kind not in (SlotType.EXPONENTIAL, SlotType.FIXED) for slot in message.slots):
        return RequestRefused(improper, Rule.SLOT_TYPE)
    near, far = (ends.server, ends.client) if message.conf_sender else (ends.client, ends.server)
    sender = _address(message.sender_address, message.ip_version, near)
    receiver = _address(message.receiver_address, message.ip_version, far)
    if sender is None or receiver is None:
        return RequestRefused(improper, Rule.IP_VERSION)
    if message.conf_sender and not message.receiver_port:
        return RequestRefused(improper, Rule.SENDER_PORT_ZERO)
    if message.conf_sender and message.type_p >> 30:
        # Where the client sends, Type-P is a declaration that nothing depends on (RFC 4656 section 3.5).
        return RequestRefused(improper, Rule.TYPE_P)
    own = receiver if message.conf_receiver else sender
    if not _own(own, configuration, ends):
        return RequestRefused(improper, Rule.ADDRESS_POLICY)
    if message.conf_sender and not _same(receiver, ends.client):
        return RequestRefused(improper, Rule.ADDRESS_POLICY)
    if message.packets > limits.packets:
        return RequestRefused(Accept.PERMANENT_LIMIT, Rule.TOO_MANY_PACKETS)
    refused = _over_limits(message, limits, sessions)
    if refused is not None:
        return refused
    return SessionRequest(
        sender_port=message.sender_port,
        receiver_port=message.receiver_port,
        timeout=message.timeout,
        sender_address=sender,
        receiver_address=receiver,
        padding_length=message.padding_length,
        start_time=message.start_time,
        dscp=message.type_p >> TYPE_P_DSCP_SHIFT if not message.type_p >> 30 else 0,
        server_sends=message.conf_sender,
        packets=message.packets,
        slots=message.slots,
    )


def _over_limits(message: RequestTwSession | RequestSession, limits: Limits, sessions: int) -> RequestRefused | None:
    if message.padding_length > LARGEST_PADDING:
        return RequestRefused(Accept.NOT_SUPPORTED, Rule.PADDING_TOO_LONG)
    if message.padding_length > limits.padding_octets:
        return RequestRefused(Accept.PERMANENT_LIMIT, Rule.PADDING_TOO_LONG)
    if interval_ns(message.timeout) > limits.timeout_ns:
        return RequestRefused(Accept.PERMANENT_LIMIT, Rule.TIMEOUT_TOO_LONG)
    if sessions >= limits.sessions:
        return RequestRefused(Accept.TEMPORARY_LIMIT, Rule.TOO_MANY_SESSIONS)
    return None


def _own(address: Address, configuration: ServerConfiguration, ends: Endpoints) -> bool:
    """Whether an address is this host's, as far as it may be tested."""
    return _same(address, ends.server) or any(_same(address, own) for own in configuration.own_addresses)


def _same(address: Address, other: Address) -> bool:
    """Whether these are one address, scopes aside."""
    return address.packed == other.packed
