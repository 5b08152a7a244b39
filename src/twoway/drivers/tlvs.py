"""STAMP TLVs on their way to the packet plane: what a sender asks for, and what a reflector does about it."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypedDict

from twoway.config.endpoint import parse_network
from twoway.errors import ConfigError
from twoway.session import TlvReflectorSpec

if TYPE_CHECKING:
    from twoway.config.reflection import TlvReflection
    from twoway.tlvs import Tlvs


class TlvArguments(TypedDict):
    """The keyword arguments of `_native.TlvRequests`."""

    location: bool
    timestamp_information: bool
    class_of_service: int | None
    direct_measurement: bool
    access_report: tuple[str, int, int, int] | None
    follow_up: bool
    destination_node: str | None
    return_path: tuple[str, str | None, list[int], list[str]] | None
    micro_session: tuple[int, int] | None
    control: tuple[int, int, int] | None
    layer_2_group: tuple[bytes, bytes] | None
    layer_3_group: tuple[str, int] | None
    fixed_header: bool
    extension_headers: list[int]
    hmac: bool
    hmac_key: bytes | None


def tlv_arguments(tlvs: Tlvs, hmac_key: bytes | None) -> TlvArguments:
    """What a Session-Sender asks for, as the packet plane wants it."""
    report, back, control = tlvs.access_report, tlvs.return_path, tlvs.control
    return TlvArguments(
        location=tlvs.location,
        timestamp_information=tlvs.timestamp_information,
        class_of_service=tlvs.class_of_service,
        direct_measurement=tlvs.direct_measurement,
        access_report=(
            None if report is None else (report.access, report.return_code, report.timer_ns, report.retransmissions)
        ),
        follow_up=tlvs.follow_up,
        destination_node=tlvs.destination_node,
        return_path=None if back is None else (back.kind, back.address, list(back.labels), list(back.segments)),
        micro_session=tlvs.micro_session,
        control=None if control is None else (control.length, control.count, control.interval_ns),
        layer_2_group=None if control is None else control.layer_2_group,
        layer_3_group=None if control is None else control.layer_3_group,
        fixed_header=tlvs.fixed_header,
        extension_headers=list(tlvs.extension_headers),
        hmac=tlvs.hmac,
        hmac_key=hmac_key,
    )


def tlv_reflector_spec(asked: TlvReflection, dscp: int | None) -> TlvReflectorSpec:
    """The complete specification of what TLVs may ask; `dscp` is what replies bear. Raises `ConfigError`."""
    if asked.return_paths not in ("off", "authenticated"):
        raise ConfigError("return_paths", f"{asked.return_paths!r} is neither off nor authenticated")
    if asked.return_paths == "off" and asked.return_path_allow:
        raise ConfigError("return_path_allow", "it names whose return paths are obeyed, but they are off")
    control = asked.control
    permitted = asked.permit_dscp
    if permitted is None and dscp is not None:
        # Whoever fixes the code point of the replies does not leave it to whoever asks.
        permitted = (dscp,)
    return TlvReflectorSpec(
        require_hmac=asked.require_hmac,
        location=asked.location,
        permitted_dscps=None if permitted is None else tuple(permitted),
        sync_source=asked.sync_source,
        return_paths_authenticated=asked.return_paths == "authenticated",
        return_paths_allow=tuple(parse_network(network, "return_path_allow") for network in asked.return_path_allow),
        reflect_headers=asked.reflect_headers,
        micro_sessions=tuple(asked.micro_sessions),
        control=(
            None
            if control is None
            else (
                tuple(parse_network(network, "control_allow") for network in control.allow),
                control.max_replies,
                control.max_length,
                control.max_rate,
                control.max_volume,
            )
        ),
    )
