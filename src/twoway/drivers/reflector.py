"""A Session-Reflector on the packet plane: what `plane` is for measurements.

A `Reflection` (what was asked for) becomes a `ReflectorSpec` (complete), and that the native specification. Its threads
answer by themselves; here nothing happens but starting, stopping and reading what it has counted.
"""

from __future__ import annotations

import errno
import os
import time
from typing import TYPE_CHECKING, Self, Unpack

from twoway.analysis.reflector import DISTRIBUTIONS, ReflectorState
from twoway.config import defaults
from twoway.config.endpoint import parse_endpoint, parse_network
from twoway.config.reflection import Reflection
from twoway.drivers.native import _native
from twoway.drivers.resolve import numeric_family, resolve
from twoway.drivers.tlvs import tlv_reflector_spec
from twoway.errors import ConfigError, PlaneError
from twoway.session import ReflectorSpec

if TYPE_CHECKING:
    from types import TracebackType

    from twoway.config.options import ReflectionOptions
    from twoway.drivers.plane import Distribution


class Reflector:
    """A Session-Reflector (RFC 8762 section 4.3, RFC 5357 section 4.2): `with Reflector(listen=["[::1]:8620"]) as r:`.

    The sockets are open once this is made; `with` (or `async with`) starts and stops it. The options are the fields of
    `Reflection`. Raises `ConfigError` and `PlaneError`.
    """

    def __init__(self, reflection: Reflection | None = None, /, **options: Unpack[ReflectionOptions]) -> None:
        if reflection is None:
            reflection = Reflection(**options)
        elif options:
            raise ConfigError("options", "a Reflection has them all: use dataclasses.replace to change one")
        self._lesser: dict[str, str] = {}
        self._native = self._open(reflection)
        self._reflection = reflection
        self._stopped = False

    def _open(self, reflection: Reflection) -> _native.Reflector:
        try:
            return _native.Reflector(native_reflector_spec(reflector_spec(reflection)))
        except PlaneError as error:
            no_ipv6 = error.errno in (errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL) and "::" in error.address
            if reflection.listen or not no_ipv6:
                raise
        # Nobody asked for IPv6 by name, and this host has none.
        self._lesser["listen"] = "IPv4 only: this host has no IPv6"
        listen = [where for where in defaults.LISTEN if ":" not in where[0]]
        return _native.Reflector(native_reflector_spec(reflector_spec(reflection, listen)))

    def start(self) -> None:
        """Answer from now on."""
        self._native.start()

    def change(self, reflection: Reflection) -> bool:
        """Go by other keys, allow list, rate limits or need of authentication from the next packet on; test-sessions go
        on with their numbers. False: it differs in more. Raises as the making of one does. Nothing has changed then."""
        if not self._reflection.differs_in_rules(reflection):
            return False
        self._native.change(native_reflector_spec(reflector_spec(reflection)))
        self._reflection = reflection
        return True

    def stop(self, drain_ns: int = defaults.DRAIN_NS) -> None:
        """Answer what is already queued for at most `drain_ns`, then end. Idempotent."""
        if not self._stopped:
            self._stopped = True
            self._native.stop(drain_ns)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    async def __aenter__(self) -> Self:
        self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        import asyncio  # here, because only who uses a loop should pay for it

        await asyncio.to_thread(self.stop)

    @property
    def local_addresses(self) -> list[tuple[str, int]]:
        """(address, port) of each socket address it listens on."""
        return self._native.local_addresses

    @property
    def obtained(self) -> dict[str, str]:
        """What was asked for but obtained in lesser form: option -> what stands instead."""
        return {**self._lesser, **self._native.obtained}

    def counters(self) -> dict[str, int]:
        """Disposition "reason:action" -> packets; each received packet is in exactly one."""
        return self._native.counters()

    def own_counters(self) -> dict[str, int]:
        """The reflector's own state: socket drops, send errors, sessions, evictions, …"""
        return self._native.own_counters()

    def distribution(self, name: str) -> Distribution:
        """`transmit_prediction_error` (departure by the kernel's stamp less the T3 written) or `residence`, in ns."""
        return self._native.distribution(name)

    def state(self) -> ReflectorState:
        """Everything it has counted so far."""
        return ReflectorState(
            local_addresses=self.local_addresses,
            obtained=self.obtained,
            counters=self.counters(),
            own_counters=self.own_counters(),
            distributions={name: self.distribution(name) for name in DISTRIBUTIONS},
            at_ns=time.time_ns(),
        )


def reflector_spec(
    reflection: Reflection, listen: list[tuple[str, int, int]] | tuple[tuple[str, int, int], ...] = defaults.LISTEN
) -> ReflectorSpec:
    """The complete Session-Reflector for what was asked; `listen` where it names no address. Raises `ConfigError`."""
    workers = reflection.workers
    if workers is None:
        workers = min(len(os.sched_getaffinity(0)), defaults.MAX_WORKERS)
    asked = [address for where in reflection.listen for address in listening(where)]
    return ReflectorSpec(
        listen=tuple(asked or listen),
        interface=reflection.interface,
        netns=reflection.netns,
        workers=workers,
        stateful=reflection.stateful,
        max_sessions=reflection.max_sessions,
        session_timeout_ns=reflection.session_timeout_ns,
        keys=tuple(reflection.keys),
        require_authentication=reflection.require_authentication,
        allow=tuple(parse_network(network) for network in reflection.allow),
        rate_limit=reflection.rate_limit,
        rate_limit_per_source=reflection.rate_limit_per_source,
        dscp=reflection.dscp,
        larger_replies=reflection.larger_replies,
        tlvs=None if reflection.tlvs is None else tlv_reflector_spec(reflection.tlvs, reflection.dscp),
        dscp_ecn_monitoring=reflection.dscp_ecn_monitoring,
        timestamps=reflection.timestamps,
        receive_buffer=reflection.receive_buffer,
    )


def listening(
    where: str | tuple[str, int, int], field: str = "listen", default_port: int = defaults.PORT
) -> list[tuple[str, int, int]]:
    """Socket addresses for one `--listen`; `:PORT` stands for every address of both families. Raises `ConfigError`."""
    if not isinstance(where, str):
        return [where]
    if where.startswith(":"):
        port = parse_endpoint(f"any{where}", field, lowest_port=0).port
        return [(host, default_port if port is None else port, scope) for host, _, scope in defaults.LISTEN]
    endpoint = parse_endpoint(where, field, lowest_port=0)
    if numeric_family(endpoint.host) is None:
        raise ConfigError(field, f"{where!r} is not a numeric address, such as 192.0.2.1:862 or [::1]:862")
    return [resolve(endpoint, default_port, None)[:3]]


def native_reflector_spec(spec: ReflectorSpec) -> _native.ReflectorSpec:
    """As the packet plane wants it."""
    native = _native.ReflectorSpec(
        listen=spec.listen,
        interface=spec.interface,
        netns=spec.netns,
        workers=spec.workers,
        stateful=spec.stateful,
        max_sessions=spec.max_sessions,
        session_timeout_ns=spec.session_timeout_ns,
        keys=spec.keys,
        require_authentication=spec.require_authentication,
        allow=spec.allow,
        rate_limit=spec.rate_limit,
        rate_limit_per_source=spec.rate_limit_per_source,
        dscp=spec.dscp,
        larger_replies=spec.larger_replies,
        dscp_ecn_monitoring=spec.dscp_ecn_monitoring,
        timestamps=spec.timestamps,
        receive_buffer=spec.receive_buffer,
    )
    tlvs = spec.tlvs
    if tlvs is None:
        return native
    return native.with_tlvs(
        require_hmac=tlvs.require_hmac,
        location=tlvs.location,
        permitted_dscps=tlvs.permitted_dscps,
        sync_source=tlvs.sync_source,
        return_paths_authenticated=tlvs.return_paths_authenticated,
        return_paths_allow=tlvs.return_paths_allow,
        reflect_headers=tlvs.reflect_headers,
        micro_sessions=tlvs.micro_sessions,
        control=tlvs.control,
    )
