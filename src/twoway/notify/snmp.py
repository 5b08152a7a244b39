"""A receiver of SNMP notifications: v2c and v3, traps and informs, by pysnmp.

Theory of operation. pysnmp builds and reads the messages; sockets and time are ours, since it would ask for names on
the event loop, run a timer ten times a second for ever, and go by the wall clock. Its dispatcher is replaced by one
that hands octets to a connected `DatagramLink`, and that is told of time only while an inform waits for its answer. The
snmpEngineBoots and snmpEngineTime that a v3 trap carries are set before each message: pysnmp takes the time from the
wall clock, and a receiver refuses what was sent after a step back of more than 150 s (RFC 3414 section 3.2).

An engine is made in a thread, for it reads files and takes a while. pysnmp is imported there, when it is needed.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
import time
from typing import TYPE_CHECKING, Any

from twoway.aside import Aside
from twoway.config.endpoint import parse_endpoint
from twoway.config.keyfile import read_passphrase_file
from twoway.errors import KeyFileError, OutputError

from .engine_identity import engine_id
from .link import DatagramLink, Resolver
from .notifications import Syntax, notification_of, under, values_of

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from twoway.analysis.notices import Notice
    from twoway.config.plan import TrapPlan

    from .engine_identity import EngineClock
    from .notifications import Notification

PORT = 162
INFORM_TIMEOUT_S, INFORM_RETRIES = 1.5, 2
INFORM_BOUND_S = 15.0
"""Longest wait for an answer in all, with the exchanges by which v3 finds out about the receiver's engine."""
MIN_PASSPHRASE = 8
"""RFC 3414 section 11.2."""
_SYS_UPTIME = (1, 3, 6, 1, 2, 1, 1, 3, 0)
_SNMP_TRAP_OID = (1, 3, 6, 1, 6, 3, 1, 1, 4, 1, 0)
_TICK_S = 0.1
# pysnmp wants to know addresses; our socket is connected to the only one there is.
_PEER = ("127.0.0.1", PORT)
_making = threading.Lock()


class SnmpOutlet:
    """See the module. Raises `ConfigError` for an address or an engine ID that is none."""

    def __init__(self, plan: TrapPlan, clock: EngineClock) -> None:
        self.label = f"snmp {plan.version} {plan.address}"
        self._plan = plan
        self._clock = clock
        self._engine_id = engine_id(plan.engine_id)
        self._resolver = Resolver(parse_endpoint(plan.address, "trap address"), PORT, socket.SOCK_DGRAM)
        self._thread = Aside("make an SNMP engine")
        self._engine: _Engine | None = None
        self._link: DatagramLink | None = None

    def wants(self, notice: Notice) -> bool:
        return notification_of(notice, juniper=self._plan.juniper) is not None

    async def open(self) -> None:
        self.close()
        if self._engine is None:
            self._engine = await self._thread.run(_make, self._plan, self._engine_id, self.label)
        self._link = await DatagramLink.udp(self._resolver, self._engine.received)

    async def deliver(self, notice: Notice, *, careful: bool) -> None:
        if self._link is None or self._engine is None:
            await self.open()
        assert self._link is not None  # noqa: S101  (for mypy: it is open)
        assert self._engine is not None  # noqa: S101  (as above)
        notification = notification_of(notice, juniper=self._plan.juniper)
        if notification is None:
            return
        answer = self._engine.send(notice, notification, self._clock)
        for octets in self._engine.take_outgoing():
            await self._link.send(octets)
        if answer is not None:
            await self._answered(answer)
        elif careful:
            await self._link.settle()

    async def _answered(self, answer: asyncio.Future[str | None]) -> None:
        """Until the inform was answered, or the last retry was not. pysnmp counts time in ticks, which we give it."""
        assert self._link is not None  # noqa: S101  (for mypy: it is open)
        assert self._engine is not None  # noqa: S101  (as above)
        deadline = time.monotonic() + INFORM_BOUND_S
        while not answer.done():
            if time.monotonic() > deadline:
                raise OutputError(self.label, "gave no answer that can be read")
            await asyncio.wait((answer,), timeout=_TICK_S)
            self._engine.tick()
            for octets in self._engine.take_outgoing():
                await self._link.send(octets)
        reason = answer.result()
        if reason is not None:
            raise OutputError(self.label, reason)

    def close(self) -> None:
        if self._link is not None:
            self._link.close()
            self._link = None


class _Engine:
    """pysnmp's engine for one receiver, with octets instead of sockets on its other side."""

    def __init__(self, engine: Any, dispatcher: Any, plan: TrapPlan) -> None:  # noqa: ANN401  (pysnmp has no types)
        from pysnmp.entity.rfc3413.ntforg import NotificationOriginator
        from pysnmp.proto.api import v2c

        self._engine, self._dispatcher, self._inform = engine, dispatcher, plan.inform
        self._enterprise = plan.enterprise_number
        self._originator = NotificationOriginator()
        self._v2c = v2c
        self._types: dict[Syntax, Callable[[object], object]] = {
            Syntax.INTEGER: v2c.Integer32,
            Syntax.UNSIGNED: v2c.Unsigned32,
            Syntax.GAUGE: v2c.Gauge32,
            Syntax.OCTETS: v2c.OctetString,
        }
        builder = engine.get_mib_builder()
        self._boots, self._time = builder.import_symbols("__SNMP-FRAMEWORK-MIB", "snmpEngineBoots", "snmpEngineTime")

    def send(self, notice: Notice, notification: Notification, clock: EngineClock) -> asyncio.Future[str | None] | None:
        """Make the message, which `take_outgoing` has then. For an inform, what became of it: None, or why not."""
        from pysnmp.error import PySnmpError

        self._boots.syntax = self._boots.syntax.clone(clock.boots)
        v2c = self._v2c
        self._time.syntax = v2c.Integer32(clock.time_s)  # a plain number: the type that was there asks the wall clock
        pdu = v2c.InformRequestPDU() if self._inform else v2c.SNMPv2TrapPDU()
        v2c.apiPDU.set_defaults(pdu)
        bindings = [
            (v2c.ObjectIdentifier(_SYS_UPTIME), v2c.TimeTicks(clock.uptime_ticks)),
            (v2c.ObjectIdentifier(_SNMP_TRAP_OID), v2c.ObjectIdentifier(under(notification.oid, self._enterprise))),
        ]
        bindings += [
            (v2c.ObjectIdentifier(each.oid), self._types[each.syntax](each.value))
            for each in values_of(notice, notification, self._enterprise)
        ]
        v2c.apiPDU.set_varbinds(pdu, bindings)
        answer: asyncio.Future[str | None] | None = None
        if self._inform:
            answer = asyncio.get_running_loop().create_future()
        try:
            self._originator.send_pdu(self._engine, "receiver", None, b"", pdu, self._answered, answer)
        except PySnmpError as error:
            raise OutputError("SNMP notification", str(error)) from None
        return answer

    def _answered(
        self,
        _engine: object,
        _handle: object,
        failure: object,
        pdu: Any,  # noqa: ANN401  (pysnmp has no types)
        answer: asyncio.Future[str | None],
    ) -> None:
        if answer.done():
            return
        status = 0 if pdu is None else int(self._v2c.apiPDU.get_error_status(pdu))
        answer.set_result(str(failure) if failure else f"answered with error-status {status}" if status else None)

    def take_outgoing(self) -> list[bytes]:
        """Messages that are to be sent now."""
        outgoing: list[bytes] = self._dispatcher.outgoing
        self._dispatcher.outgoing = []
        return outgoing

    def received(self, octets: bytes) -> None:
        """A datagram came in: the answer to an inform, or anything at all."""
        with contextlib.suppress(Exception):  # pysnmp raises TypeErrors, too; an answer that never comes is noticed
            self._dispatcher.received(octets)

    def tick(self) -> None:
        """Time goes on."""
        self._dispatcher.handle_timer_tick(time.monotonic())


def _make(plan: TrapPlan, own_engine_id: bytes, label: str) -> _Engine:
    """An engine with the one user or community and the one receiver of `plan`. Runs in a thread."""
    try:
        with _making:
            return _configured(plan, own_engine_id)
    except ImportError as error:
        if (error.name or "").partition(".")[0] != "pysnmp":
            raise
        raise OutputError(label, "pysnmp is not installed: `pip install 'twoway[snmp]'`") from None


def _configured(plan: TrapPlan, own_engine_id: bytes) -> _Engine:
    from pysnmp.carrier.asyncio.dgram.udp import UdpTransport
    from pysnmp.carrier.base import AbstractTransportDispatcher
    from pysnmp.entity import config
    from pysnmp.entity.engine import SnmpEngine

    class Dispatcher(AbstractTransportDispatcher):  # type: ignore[misc]  # pysnmp has no types
        """What pysnmp takes for the network."""

        def __init__(self) -> None:
            super().__init__()
            self.outgoing: list[bytes] = []
            self._incoming: Callable[[object, object, object, bytes], None] | None = None

        def register_recv_callback(self, recvCb: Any, recvId: object = None) -> None:  # noqa: ANN401, ARG002, N803  (pysnmp's)
            self._incoming = recvCb

        def send_message(self, outgoingMessage: bytes, transportDomain: object, transportAddress: object) -> None:  # noqa: ARG002, N803  (pysnmp's names)
            self.outgoing.append(bytes(outgoingMessage))

        def get_transport(self, transportDomain: object) -> object:  # noqa: ARG002, N803  (pysnmp's name)
            return UdpTransport  # pysnmp only asks how addresses are written

        def received(self, octets: bytes) -> None:
            if self._incoming is not None:
                self._incoming(self, config.SNMP_UDP_DOMAIN, _PEER, octets)

    # Given an engine ID, pysnmp would keep its count of starts in a folder of /tmp that anybody may have made before.
    engine = SnmpEngine()
    (identity,) = engine.get_mib_builder().import_symbols("__SNMP-FRAMEWORK-MIB", "snmpEngineID")
    identity.syntax = identity.syntax.clone(own_engine_id)
    engine.snmpEngineID = identity.syntax
    dispatcher = Dispatcher()
    engine.register_transport_dispatcher(dispatcher)
    if plan.version == "v3":
        level = _add_user(engine, config, plan)
        config.add_target_parameters(engine, "parameters", plan.user or "", level, 3)
    else:
        community = "public" if plan.community_file is None else read_passphrase_file(str(plan.community_file))
        config.add_v1_system(engine, "community", community)
        config.add_target_parameters(engine, "parameters", "community", "noAuthNoPriv", 1)
    timeout = int(INFORM_TIMEOUT_S * 100)
    config.add_target_address(engine, "receiver", config.SNMP_UDP_DOMAIN, _PEER, "parameters", timeout, INFORM_RETRIES)
    return _Engine(engine, dispatcher, plan)


def _add_user(engine: Any, config: Any, plan: TrapPlan) -> str:  # noqa: ANN401  (pysnmp has no types)
    """Enter the user of v3. Returns the security level."""
    authentication = {
        "sha": config.USM_AUTH_HMAC96_SHA,
        "sha224": config.USM_AUTH_HMAC128_SHA224,
        "sha256": config.USM_AUTH_HMAC192_SHA256,
        "sha384": config.USM_AUTH_HMAC256_SHA384,
        "sha512": config.USM_AUTH_HMAC384_SHA512,
    }
    privacy = {
        "aes": config.USM_PRIV_CFB128_AES,
        "aes192": config.USM_PRIV_CFB192_AES_BLUMENTHAL,
        "aes256": config.USM_PRIV_CFB256_AES_BLUMENTHAL,
    }
    if plan.auth_protocol is None:
        config.add_v3_user(engine, plan.user or "")
        return "noAuthNoPriv"
    auth_key = _passphrase(plan.auth_key_file, "authentication")
    if plan.priv_protocol is None:
        config.add_v3_user(engine, plan.user or "", authentication[plan.auth_protocol], auth_key)
        return "authNoPriv"
    priv_key = _passphrase(plan.priv_key_file, "privacy")
    config.add_v3_user(
        engine, plan.user or "", authentication[plan.auth_protocol], auth_key, privacy[plan.priv_protocol], priv_key
    )
    return "authPriv"


def _passphrase(path: Path | None, use: str) -> str:
    if path is None:
        raise OutputError("SNMP notification", f"the user has no file with a passphrase for {use}")
    passphrase = read_passphrase_file(str(path))
    if len(passphrase) < MIN_PASSPHRASE:
        raise KeyFileError(str(path), None, f"an SNMP passphrase has at least {MIN_PASSPHRASE} characters")
    return passphrase
