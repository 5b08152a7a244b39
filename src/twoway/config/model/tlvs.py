"""The statements about STAMP TLVs: what probes ask for, and what may be asked of a Session-Reflector."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from twoway.config import defaults
from twoway.config.model.network_values import DEVICE, CodePoint, Network
from twoway.config.model.statements import Presence, Short, Statements
from twoway.config.model.values import Choice, Duration, Integer, Kind, ListOf, Octets, Switch
from twoway.config.reflection import ControlReflection, TlvReflection
from twoway.config.tlvs import FORMS, SHORT_NAMES, parse_tlvs
from twoway.tlvs import ACCESS_RETRANSMISSIONS, ACCESS_TIMER_NS, LOCATIONS, SYNC_SOURCES

if TYPE_CHECKING:
    from pydantic.json_schema import JsonSchemaValue

_MS = 1_000_000
_ANSWERED = TlvReflection()
_CONTROL = ControlReflection(allow=())
_NETWORKS = ListOf(Network(), longest=10_000)


@dataclass(frozen=True, slots=True)
class Tlv(Kind[str]):
    """A TLV to ask for, as `twoway ping --tlv` takes it."""

    def read(self, value: object) -> str:
        if not isinstance(value, str):
            raise self.refuse(value)
        parse_tlvs([value])
        return value.strip()

    @property
    def words(self) -> str:
        return f"one of {', '.join(FORMS.values())}"

    def schema(self) -> JsonSchemaValue:
        names = {registered: [registered] for registered in FORMS}
        for short, registered in SHORT_NAMES.items():
            names[registered].append(short)
        forms = (f"({'|'.join(names[name])}){'=.+' if '=' in form else ''}" for name, form in FORMS.items())
        return {"type": "string", "pattern": rf"^\s*({'|'.join(forms)})\s*$"}


_TLVS = ListOf(Tlv(), longest=32, unique=False)


class AskedTlvs(Statements):
    """What probes ask for in STAMP TLVs (RFC 8972 section 4). Alone, a list is that of `ask`."""

    ask: Annotated[tuple[str, ...], _TLVS] = Field(default=(), examples=[["location", "cos=af41", "follow-up"]])
    """Each TLV as `twoway ping --tlv` takes it. The Return Path TLV is that of source-routing and of path, and the
    Micro-session ID that of path."""
    hmac: Annotated[bool, Switch()] = False
    """Use the key of key-file for an HMAC over the TLVs, and leave the probes unauthenticated."""
    access_timer: Annotated[int, Duration(_MS, 3_600 * defaults.NANOS)] = ACCESS_TIMER_NS
    """How long an access-report waits for its acknowledgement before it is sent again."""
    access_retransmissions: Annotated[int, Integer(0, 65_536)] = ACCESS_RETRANSMISSIONS
    """How often it is sent again."""


class Control(Statements):
    """For whom several replies are sent to one probe (RFC 10052), where it proves a key, and how much of it."""

    allow: Annotated[tuple[str, ...], _NETWORKS] = Field(default=(), examples=[["192.0.2.0/24"]])
    """Networks whose requests are obeyed; at least one."""
    replies: Annotated[int, Integer(1, 65_535)] = _CONTROL.max_replies
    """Most replies to one probe."""
    length: Annotated[int, Octets(1, 65_507)] = _CONTROL.max_length
    """Most octets of UDP payload of each."""
    rate: Annotated[int, Octets(1, 1 << 40)] = _CONTROL.max_rate
    """Most octets of UDP payload a second."""
    volume: Annotated[int, Octets(1, 1 << 40)] = _CONTROL.max_volume
    """Most octets of UDP payload for one probe."""


class AnsweredTlvs(Statements):
    """What STAMP TLVs may ask of a Session-Reflector. Alone, on or off is that of `process`."""

    process: Annotated[bool, Switch()] = True
    """Obey them. off: what follows the header is sent back as it came, for TWAMP Light senders with random padding."""
    require_hmac: Annotated[bool, Switch()] = _ANSWERED.require_hmac
    """Use the TLVs of unauthenticated probes only with an HMAC TLV."""
    location: Annotated[str, Choice(LOCATIONS)] = _ANSWERED.location
    """What a Location TLV is told; all: with the MAC address of the last hop, which needs CAP_NET_RAW."""
    permit_dscp: Annotated[tuple[int, ...] | None, ListOf(CodePoint(), longest=64)] = Field(
        default=None, examples=[["ef", "af41"]]
    )
    """Code points that a Class of Service TLV may choose for the reply: all unless written, or that of
    dscp-code-points."""
    sync_source: Annotated[str | None, Choice(SYNC_SOURCES)] = Field(default=None, examples=["ptp"])
    """What the clock follows; ntp or free-running, as the kernel knows, unless written."""
    return_paths: Annotated[str, Choice(("authenticated", "off"))] = _ANSWERED.return_paths
    """Whose Return Path TLV is obeyed, beside that of the networks in return-path-allow."""
    return_path_allow: Annotated[tuple[str, ...], _NETWORKS] = Field(default=(), examples=[["192.0.2.0/24"]])
    """Networks whose Return Path TLV is obeyed without authentication. It makes this host send where it is told."""
    reflect_headers: Annotated[bool, Switch()] = _ANSWERED.reflect_headers
    """Give back headers of the IP packet to TLVs that ask for them: experimental code points. Needs CAP_NET_RAW."""
    micro_session: dict[Annotated[str, DEVICE], Annotated[int, Integer(1, 65_535)]] = Field(
        default_factory=dict, examples=[{"eth1": 11, "eth2": 12}]
    )
    """Micro-session IDs of the member links of a LAG (RFC 9534) by their interfaces. Needs CAP_NET_RAW."""
    control: Annotated[Control | None, Presence()] = None
    """Send several replies to one probe; never unless written."""


Asked = Annotated[AskedTlvs, Short("ask", _TLVS)]
Answered = Annotated[AnsweredTlvs, Short("process", Switch())]
