"""Building what a plan needs of the packet plane, without opening or starting anything: what it refuses, it says.

A target that is a name is not resolved: an address of documentation stands in for it (RFC 5737, RFC 3849).
"""

from __future__ import annotations

from ipaddress import ip_address
from typing import TYPE_CHECKING

from twoway.config import defaults
from twoway.config.endpoint import parse_endpoint
from twoway.config.managed import SECURE_MODES
from twoway.config.measurement import Measurement
from twoway.drivers import plane
from twoway.drivers.reflector import native_reflector_spec, reflector_spec
from twoway.drivers.resolve import Address
from twoway.errors import ConfigError, ResolveError

if TYPE_CHECKING:
    from twoway.config.managed import ControlOptions, SessionRequest
    from twoway.config.plan import ConnectionPlan, SessionPlan
    from twoway.config.reflection import Reflection

_STAND_IN = {4: "192.0.2.1", 6: "2001:db8::1"}


class NativeRehearsal:
    """Every native specification of a plan."""

    def session(self, connection: ConnectionPlan, session: SessionPlan) -> None:
        """Raises `ConfigError`, which names the field."""
        if session.light is not None:
            wanted, source = session.light, session.light.source
            target = wanted.target
        elif session.managed is not None and connection.control is not None:
            wanted = _alike(session.managed, connection.control, connection.target)
            source = session.managed.sender_address or connection.control.source
            target = session.managed.receiver_address or connection.target
        else:
            raise ConfigError("control_type", "neither light nor managed")
        plane.sender_spec(plane.session_spec(wanted, _address(target, source)))

    def reflection(self, reflection: Reflection) -> None:
        """Raises `ConfigError`, which names the field."""
        try:
            native_reflector_spec(reflector_spec(reflection))
        except ResolveError as error:
            raise ConfigError("listen", f"{error.name}: {error.reason}") from None


def _address(target: str, source: str | None) -> Address:
    endpoint = parse_endpoint(target)
    port = endpoint.port or defaults.PORT
    try:
        version = ip_address(endpoint.host).version
    except ValueError:
        version = 4 if source is None else ip_address(source).version
        return Address(_STAND_IN[version], port, 0, version)
    # The interface may come up later; any number stands in for it.
    return Address(endpoint.host, port, 0 if endpoint.scope is None else 1, version)


def _alike(request: SessionRequest, control: ControlOptions, target: str) -> Measurement:
    """A measurement with the same packets as far as they are known before the negotiation."""
    secure = any(mode in SECURE_MODES and mode != "mixed" for mode in control.modes)
    header = plane.header_len("twamp-authenticated" if secure else "twamp")
    if request.payload_len is not None and request.payload_len < header:
        raise ConfigError("payload_len", f"{request.payload_len} octets: the header has {header}")
    return Measurement(
        target=target,
        protocol="light",
        count=request.count,
        interval_ns=request.interval_ns,
        schedule=request.schedule,
        timeout_ns=request.timeout_ns,
        payload_len=request.payload_len,
        fill=request.fill,
        dscp_ecn=request.dscp << 2 | request.ecn,
        ttl=request.ttl,
        source=request.sender_address or control.source,
        source_port=request.sender_port,
        interface=control.interface,
        timestamps=request.timestamps,
        clock_format=request.clock_format,
        reflector_mode=request.reflector_mode,
        receive_buffer=request.receive_buffer,
        sample_capacity=request.sample_capacity,
    )
