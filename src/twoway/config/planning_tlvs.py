"""What the statements about STAMP TLVs come to. Pure.

Each TLV is read by `config.tlvs`, as the command line's are; here is only what statements must not say together.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from twoway.config.reflection import ControlReflection, TlvReflection
from twoway.config.tlvs import parse_tlvs
from twoway.errors import ConfigError
from twoway.tlvs import NO_TLVS, Tlvs

if TYPE_CHECKING:
    from collections.abc import Callable

    from twoway.config.document import Path as Place
    from twoway.config.model.client import TestSession
    from twoway.config.model.server import Light
    from twoway.config.planning_paths import Way

    Refuse = Callable[[Place, str], None]


def asked_tlvs(model: TestSession, ssid: int, place: Place, refuse: Refuse) -> Tlvs:
    """What the statements of a light test-session of STAMP ask for, paths aside; `ssid` is 0 where it has none."""
    written = model.tlvs
    try:
        tlvs = parse_tlvs(
            written.ask,
            access_timer_ns=written.access_timer,
            access_retransmissions=written.access_retransmissions,
            hmac=written.hmac,
        )
    except ConfigError as error:
        refuse((*place, "tlvs"), error.reason)
        return NO_TLVS
    if written.hmac and model.key_file is None:
        refuse((*place, "tlvs", "hmac"), "it needs a key-file")
    if tlvs.access_report is None:
        for statement in ("access_timer", "access_retransmissions"):
            if written.written(statement):
                where = (*place, "tlvs", statement.replace("_", "-"))
                refuse(where, "it is for an access-report, which is not asked for")
    if tlvs.destination_node is not None and not ssid:
        refuse((*place, "ssid"), "a destination node address goes with one (RFC 9503 section 3)")
    return tlvs


def with_way(asked: Tlvs, way: Way, place: Place, refuse: Refuse) -> Tlvs:
    """The same with what it takes to go that way."""
    if asked.micro_session is not None and way.micro_session is not None:
        refuse((*place, "tlvs"), "micro-session is that of the paths, which have a micro-session-id")
    return replace(asked, return_path=way.back, micro_session=way.micro_session or asked.micro_session)


def tlv_reflection(model: Light, place: Place, refuse: Refuse) -> TlvReflection | None:
    """What TLVs may ask of a light Session-Reflector; None where they are not processed."""
    tlvs = model.tlvs
    inside = (*place, "tlvs")
    if not tlvs.process:
        others = sorted(name for name in tlvs.model_fields_set if name != "process")
        if others:
            refuse((*inside, others[0].replace("_", "-")), "TLVs are not processed: process is off")
        return None
    if tlvs.require_hmac and model.key_file is None:
        refuse((*inside, "require-hmac"), "it needs the key-file of server.light")
    if tlvs.return_paths == "off" and tlvs.return_path_allow:
        refuse((*inside, "return-path-allow"), "it names whose return paths are obeyed, but return-paths is off")
    control = None
    if tlvs.control is not None:
        if not tlvs.control.allow:
            refuse((*inside, "control", "allow"), "nobody could ask for several replies: name at least one network")
        if model.key_file is None:
            refuse((*inside, "control"), "whoever asks for several replies has to prove a key: it needs a key-file")
        if model.stateful_sequence is None:
            refuse((*inside, "control"), "it needs stateful-sequence: a number is obeyed once (RFC 10052 section 5)")
        control = ControlReflection(
            allow=tlvs.control.allow,
            max_replies=tlvs.control.replies,
            max_length=tlvs.control.length,
            max_rate=tlvs.control.rate,
            max_volume=tlvs.control.volume,
        )
    return TlvReflection(
        require_hmac=tlvs.require_hmac,
        location=tlvs.location,
        permit_dscp=tlvs.permit_dscp,
        sync_source=tlvs.sync_source,
        return_paths=tlvs.return_paths,
        return_path_allow=tlvs.return_path_allow,
        reflect_headers=tlvs.reflect_headers,
        micro_sessions=tuple(tlvs.micro_session.items()),
        control=control,
    )
