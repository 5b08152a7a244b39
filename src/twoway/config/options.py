"""The keyword arguments of the Python interface, for type checkers only: nothing imports this at run time.

Each is the list of fields of a dataclass beside it; a test holds them together.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypedDict

if TYPE_CHECKING:
    from collections.abc import Sequence

    from twoway.config.reflection import TlvReflection
    from twoway.path import ForwardPath
    from twoway.tlvs import Tlvs


class MeasurementOptions(TypedDict, total=False):
    """The keyword arguments of `measure`, `measure_async` and `stream`: the fields of `Measurement`, all optional."""

    protocol: str
    family: int | None
    count: int | None
    duration_ns: int | None
    interval_ns: int
    schedule: str
    seed: int | None
    timeout_ns: int
    payload_len: int | None
    fill: str
    dscp_ecn: int
    ttl: int
    ssid: int
    require_ssid: bool
    key: bytes | None
    source: str | None
    source_port: int
    interface: str | None
    netns: str | None
    tlvs: Tlvs
    tlv_key: bytes | None
    path: ForwardPath
    timestamps: str
    clock_format: str
    reflector_mode: str
    dscp_ecn_monitoring: bool
    receive_buffer: int
    sample_capacity: int
    busy_poll: bool
    percentiles: tuple[float, ...]


class ReflectionOptions(TypedDict, total=False):
    """The keyword arguments of `Reflector`: the fields of `Reflection`, all optional."""

    listen: Sequence[str | tuple[str, int, int]]
    interface: str | None
    netns: str | None
    workers: int | None
    stateful: bool
    max_sessions: int
    session_timeout_ns: int
    keys: Sequence[tuple[str, int | None, bytes]]
    require_authentication: bool
    allow: Sequence[str]
    rate_limit: int
    rate_limit_per_source: int
    dscp: int | None
    larger_replies: bool
    tlvs: TlvReflection | None
    dscp_ecn_monitoring: bool
    timestamps: str
    receive_buffer: int
