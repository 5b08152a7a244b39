"""The TLVs that a test-session asks for, as people write them: `NAME` or `NAME=VALUE`, one TLV each. Pure.

A name is that of the registry, or a short one. `Tlvs` says what each means.
"""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING

from twoway.config import units
from twoway.config.dscp import parse_dscp
from twoway.errors import ConfigError
from twoway.tlvs import (
    ACCESS_NETWORKS,
    ACCESS_RETRANSMISSIONS,
    ACCESS_TIMER_NS,
    NO_TLVS,
    RETURN_CODES,
    AccessReport,
    ReflectedControl,
    Tlvs,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

SHORT_NAMES = {
    "cos": "class-of-service",
    "direct": "direct-measurement",
    "follow-up": "follow-up-telemetry",
    "node": "destination-node-address",
    "micro-session": "micro-session-id",
    "control": "reflected-test-packet-control",
    "fixed-header": "reflected-fixed-header",
    "extension-header": "reflected-ipv6-extension-header",
    "timestamps": "timestamp-information",
}
"""Short name -> registered name."""
FORMS = {
    "location": "location",
    "timestamp-information": "timestamps",
    "class-of-service": "cos=DSCP",
    "direct-measurement": "direct",
    "access-report": "access-report=NETWORK:CODE",
    "follow-up-telemetry": "follow-up",
    "destination-node-address": "node=ADDRESS",
    "micro-session-id": "micro-session=ID[:FAR-ID]",
    "reflected-test-packet-control": "control=COUNT[xOCTETS][@TIME]",
    "reflected-fixed-header": "fixed-header",
    "reflected-ipv6-extension-header": "extension-header=OCTETS",
}
"""Registered name -> how it is written."""
_CONTROL = re.compile(r"([0-9]+)(?:x([0-9]+[kM]?))?(?:@(.+))?")


def parse_tlvs(
    texts: Iterable[str],
    *,
    access_timer_ns: int = ACCESS_TIMER_NS,
    access_retransmissions: int = ACCESS_RETRANSMISSIONS,
    hmac: bool = False,
    field: str = "tlvs",
) -> Tlvs:
    """All of them as one. Raises `ConfigError`, which says which is wrong and how."""
    tlvs = replace(NO_TLVS, hmac=hmac)
    seen: set[str] = set()
    for text in texts:
        name, equals, value = text.strip().partition("=")
        name = SHORT_NAMES.get(name, name)
        if name not in FORMS:
            raise ConfigError(field, f"{text!r} is none of {', '.join(FORMS.values())}")
        if name in seen and name != "reflected-ipv6-extension-header":
            raise ConfigError(field, f"{text!r}: {name} is there already")
        seen.add(name)
        if bool(equals) != ("=" in FORMS[name]) or (equals and not value):
            raise ConfigError(field, f"{text!r} is not {FORMS[name]}")
        tlvs = _READERS[name](tlvs, value, field)
    if tlvs.access_report is not None:
        report = replace(tlvs.access_report, timer_ns=access_timer_ns, retransmissions=access_retransmissions)
        tlvs = replace(tlvs, access_report=report)
    return tlvs


def _access_report(tlvs: Tlvs, value: str, field: str) -> Tlvs:
    network, colon, code = value.partition(":")
    if not colon or network not in ACCESS_NETWORKS:
        raise ConfigError(field, f"{value!r} is not 3gpp:CODE or non-3gpp:CODE")
    number = RETURN_CODES.get(code)
    if number is None:
        if not code.isdigit():
            raise ConfigError(field, f"{code!r} is none of {', '.join(RETURN_CODES)}, and no number from 1 to 254")
        number = units.parse_integer(code, field, 1, 254)
    return replace(tlvs, access_report=AccessReport(network, number))


def _destination_node(tlvs: Tlvs, value: str, field: str) -> Tlvs:
    import ipaddress  # here, because an ordinary measurement never needs it

    try:
        address = ipaddress.ip_address(value)
    except ValueError:
        raise ConfigError(field, f"{value!r} is no address") from None
    return replace(tlvs, destination_node=str(address))


def _micro_session(tlvs: Tlvs, value: str, field: str) -> Tlvs:
    ours, colon, theirs = value.partition(":")
    far = units.parse_integer(theirs, field, 1, 0xFFFF) if colon else 0
    return replace(tlvs, micro_session=(units.parse_integer(ours, field, 1, 0xFFFF), far))


def _control(tlvs: Tlvs, value: str, field: str) -> Tlvs:
    first, *groups = value.split(",")
    match = _CONTROL.fullmatch(first)
    if match is None:
        raise ConfigError(field, f"{first!r} is not COUNT[xOCTETS][@TIME], such as 10x1400@1ms")
    count, length, interval = match.groups()
    control = ReflectedControl(int(count))
    if length is not None:
        control = replace(control, length=units.parse_octets(length, field))
    if interval is not None:
        control = replace(control, interval_ns=units.parse_duration_ns(interval, field))
    for text in groups:
        control = _group(control, text, field)
    return replace(tlvs, control=control)


def _group(control: ReflectedControl, text: str, field: str) -> ReflectedControl:
    """`l3=NETWORK` or `l2=MASK/GROUP`: who is to answer."""
    from twoway.config.endpoint import parse_network

    kind, _, value = text.partition("=")
    if kind == "l3":
        return replace(control, layer_3_group=parse_network(value, field))
    mask, slash, group = value.partition("/")
    if kind != "l2" or not slash:
        raise ConfigError(field, f"{text!r} is neither l3=NETWORK nor l2=MASK/GROUP")
    return replace(control, layer_2_group=(_octets(mask, field), _octets(group, field)))


def _octets(text: str, field: str) -> bytes:
    try:
        return bytes(int(octet, 16) for octet in text.split(":"))
    except ValueError:
        raise ConfigError(field, f"{text!r} is not octets such as ff:ff:00:00:00:00") from None


def _extension_header(tlvs: Tlvs, value: str, field: str) -> Tlvs:
    return replace(tlvs, extension_headers=(*tlvs.extension_headers, units.parse_integer(value, field, 8, 2048)))


def _class_of_service(tlvs: Tlvs, value: str, field: str) -> Tlvs:
    return replace(tlvs, class_of_service=parse_dscp(value, field))


_READERS: dict[str, Callable[[Tlvs, str, str], Tlvs]] = {
    "location": lambda tlvs, _value, _field: replace(tlvs, location=True),
    "timestamp-information": lambda tlvs, _value, _field: replace(tlvs, timestamp_information=True),
    "class-of-service": _class_of_service,
    "direct-measurement": lambda tlvs, _value, _field: replace(tlvs, direct_measurement=True),
    "access-report": _access_report,
    "follow-up-telemetry": lambda tlvs, _value, _field: replace(tlvs, follow_up=True),
    "destination-node-address": _destination_node,
    "micro-session-id": _micro_session,
    "reflected-test-packet-control": _control,
    "reflected-fixed-header": lambda tlvs, _value, _field: replace(tlvs, fixed_header=True),
    "reflected-ipv6-extension-header": _extension_header,
}
