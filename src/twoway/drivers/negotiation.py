"""What is negotiated, in people's words and in those of the machines of `twoway.control`."""

from __future__ import annotations

from ipaddress import ip_address
from typing import TYPE_CHECKING

from twoway.config import defaults
from twoway.control import negotiated
from twoway.control.codec import interval_from_ns
from twoway.control.configuration import ClientConfiguration
from twoway.control.owamp_codec import ScheduleSlot
from twoway.control.registry import SECURE_TEST, Accept, Mode, Protocol, SlotType
from twoway.control.security import Ikev2Credentials, Passphrase, PassphraseCredentials
from twoway.drivers.managed_plane import timestamp_of
from twoway.drivers.plane import header_len
from twoway.errors import ConfigError
from twoway.path import PLAIN

if TYPE_CHECKING:
    from collections.abc import Iterable

    from twoway.config.managed import ControlOptions, SessionRequest
    from twoway.control.configuration import Address

_MODE_BITS = {
    "unauthenticated": Mode.UNAUTHENTICATED,
    "authenticated": Mode.AUTHENTICATED,
    "encrypted": Mode.ENCRYPTED,
    "mixed": Mode.MIXED,
    "individual-session-control": Mode.INDIVIDUAL_SESSION_CONTROL,
    "reflect-octets": Mode.REFLECT_OCTETS,
    "symmetrical-size": Mode.SYMMETRICAL_SIZE,
    "dscp-ecn-monitoring": Mode.DSCP_ECN_MONITORING,
    "ptpv2-timestamp": Mode.PTPV2_TIMESTAMP,
}
"""Modes as people name them; security modes first."""
ACCEPT_REASONS = {
    Accept.FAILURE: "failure, for no reason that it tells",
    Accept.INTERNAL_ERROR: "an internal error",
    Accept.NOT_SUPPORTED: "it does not support some aspect of this",
    Accept.PERMANENT_LIMIT: "a permanent limit of its resources",
    Accept.TEMPORARY_LIMIT: "a limit of its resources: try again later",
    Accept.NO_IKEV2_SA: "it has no such IKEv2 security association",
}
"""Why the Server refuses (RFC 4656 section 3.3), as the end of a sentence."""
_SLOTS = {"fixed": SlotType.FIXED, "exponential": SlotType.EXPONENTIAL}


def mode_of(names: Iterable[str]) -> Mode:
    """The modes of these names, together."""
    modes = Mode(0)
    for name in names:
        modes |= _MODE_BITS[name]
    return modes


def mode_name(mode: Mode) -> str:
    """The security mode of a connection, as people name it."""
    return next((name for name, bit in _MODE_BITS.items() if mode & bit), "none")


def feature_names(mode: Mode) -> tuple[str, ...]:
    """What is set beside the security mode, as people name it."""
    return tuple(name for name, bit in _MODE_BITS.items() if mode & bit and name != mode_name(mode))


def client_configuration(options: ControlOptions) -> ClientConfiguration:
    """The machine's view of what was asked for. The secret is read here. Raises `ConfigError`."""
    credentials = ikev2 = None
    if options.passphrase is not None and options.key_id is not None:
        credentials = PassphraseCredentials(options.key_id, Passphrase(options.passphrase()))
    if options.ikev2 is not None:
        initiator, responder, key = options.ikev2
        ikev2 = Ikev2Credentials(initiator, responder, key())
    owamp = options.protocol == "owamp"
    return ClientConfiguration(
        protocol=Protocol.OWAMP if owamp else Protocol.TWAMP,
        preference=tuple(_MODE_BITS[name] for name in options.modes),
        features=Mode(0) if owamp else mode_of(options.features),
        required=mode_of(options.required),
        credentials=credentials,
        ikev2=ikev2,
        reply_ns=options.reply_ns,
    )


def negotiable(request: SessionRequest, port: int, mode: Mode, *, one_way: bool) -> negotiated.SessionRequest:
    """What was asked for, as the machine wants it; `port` is that of our end. Raises `ConfigError`."""
    padding_length = _padding_length(request, mode, one_way=one_way)
    slots: tuple[ScheduleSlot, ...] = ()
    if one_way:
        if request.count is None:
            raise ConfigError("count", "OWAMP needs a number of packets (RFC 4656 section 3.5)")
        if request.path != PLAIN:
            raise ConfigError("path", "OWAMP packets go as they are routed")
        kind = "exponential" if request.schedule == "poisson" else "fixed"
        slots = tuple(
            ScheduleSlot(_SLOTS[name], interval_from_ns(time_ns))
            for name, time_ns in request.slots or ((kind, request.interval_ns),)
        )
    elif request.server_sends or request.slots:
        raise ConfigError("slots", "only OWAMP has schedules that both ends know, and senders that are Servers")
    return negotiated.SessionRequest(
        sender_port=request.sender_port if request.server_sends else port,
        receiver_port=port if request.server_sends else request.receiver_port,
        server_sends=request.server_sends,
        packets=(request.count or 0) if one_way else 0,
        slots=slots,
        timeout=interval_from_ns(request.timeout_ns),
        sender_address=numeric_address(request.sender_address),
        receiver_address=numeric_address(request.receiver_address),
        padding_length=padding_length,
        start_time=timestamp_of(request.start_ns) if request.start_ns else 0,
        dscp=request.dscp,
        octets_to_reflect=request.octets_to_reflect,
        padding_to_reflect=request.padding_to_reflect,
    )


def _padding_length(request: SessionRequest, mode: Mode, *, one_way: bool) -> int:
    """Octets after the header. Unless asked for: as many as make a reply no longer than its request; none in OWAMP."""
    if request.padding_length is not None:
        return request.padding_length
    header = header_len(negotiated.packet_format(mode))
    if request.payload_len is None:
        alike = defaults.PAYLOAD_LEN["stamp-authenticated" if mode & SECURE_TEST else "twamp"]
        return 0 if one_way else alike - header
    if request.payload_len < header:
        raise ConfigError("payload_len", f"{request.payload_len} octets: the header has {header}")
    return request.payload_len - header


def numeric_address(text: str | None) -> Address | None:
    """An address as written. Raises `ConfigError` for a name."""
    if text is None:
        return None
    try:
        return ip_address(text)
    except ValueError:
        raise ConfigError("address", f"{text!r} is no numeric address") from None
