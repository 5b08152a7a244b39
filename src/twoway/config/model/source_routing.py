"""The statements of segment-routed probes: how probes get to the Session-Reflector, and replies back."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from twoway.config.model.network_values import DEVICE, LABELS, SEGMENTS, Numeric
from twoway.config.model.statements import Statements
from twoway.config.model.values import Integer, Switch, Text

PATH_NAME = Text(
    r"[A-Za-z0-9][A-Za-z0-9._\-]{0,29}",
    "a name: 1 to 30 letters, digits, dots, underscores and hyphens, the first one a letter or a digit",
)
"""Of a path: with the test-session's and a colon, it is the name of what is measured over it."""


class Forward(Statements):
    """The way of the probes: of `srmpls-nodes` and `srv6-nodes` one, or neither with an interface."""

    srmpls_nodes: Annotated[tuple[int, ...], LABELS] = Field(default=(), examples=[[17001, 17002]])
    """Labels of SR-MPLS, the outermost first. Needs CAP_NET_RAW."""
    srv6_nodes: Annotated[tuple[str, ...], SEGMENTS] = Field(default=(), examples=[["2001:db8:a::1", "2001:db8:b::1"]])
    """Segments of SRv6, the first to be visited first, without the target."""
    gateway: Annotated[str | None, Numeric()] = Field(default=None, examples=["192.0.2.254"])
    """Router that gets the probes; the one that leads to the target unless written. Not with srv6-nodes."""
    interface: Annotated[str | None, DEVICE] = Field(default=None, examples=["eth1"])
    """Interface that probes leave by, such as one of a LAG; the one that leads there unless written. Not with
    srv6-nodes."""


class Back(Statements):
    """The way of the replies, as the probes' Return Path TLV asks for it (RFC 9503)."""

    srmpls_nodes: Annotated[tuple[int, ...], LABELS] = Field(default=(), examples=[[17003, 17004]])
    """Labels of SR-MPLS that the Session-Reflector is to push, the outermost first."""
    srv6_nodes: Annotated[tuple[str, ...], SEGMENTS] = Field(default=(), examples=[["2001:db8:c::1"]])
    """Segments of SRv6 that replies are to visit, without ourselves."""
    address: Annotated[str | None, Numeric()] = Field(default=None, examples=["192.0.2.10"])
    """Address of ours that replies are to go to; the one that we send from unless written."""
    same_link: Annotated[bool, Switch()] = False
    """Ask for replies by the link that the probe arrived by."""


class SourceRouting(Statements):
    """The way of the probes, of the replies, or of both; then segments of both are of one kind."""

    forward: Forward = Field(default_factory=Forward, examples=[{"srv6-nodes": ["2001:db8:a::1"]}])
    """The way of the probes; as routed unless written."""
    back: Back = Field(default_factory=Back, alias="return", examples=[{"same-link": True}])
    """The way of the replies; the Session-Reflector's choice unless written. Of STAMP only."""


class Path(SourceRouting):
    """One of several ways that a test-session measures at once. Written empty, it is the routed one."""

    micro_session_id: Annotated[int, Integer(0, 65_535)] = 0
    """Number of this member of a LAG (RFC 9534); 0: it is none. With an interface, and STAMP only."""
    reflector_micro_session_id: Annotated[int, Integer(0, 65_535)] = 0
    """Number of that member at the Session-Reflector; 0: it is learnt from the first reply."""
