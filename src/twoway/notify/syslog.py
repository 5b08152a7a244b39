"""A receiver of syslog messages: RFC 5424 over UDP (RFC 5426), TCP (RFC 6587) or a local datagram socket.

A local socket gets the same messages. rsyslog reads them there with `SysSock.UseSpecialParser="off"`; journald files
them under their severity, with the header as part of the text.
"""

from __future__ import annotations

import os
import socket
from typing import TYPE_CHECKING

from twoway.config.endpoint import parse_endpoint

from .link import DatagramLink, Link, Resolver, StreamLink
from .message import MAX_SEQUENCE_ID, encode

if TYPE_CHECKING:
    from twoway.analysis.notices import Notice
    from twoway.config.plan import SyslogPlan

PORT = 514
"""Where no port is written."""


class SyslogOutlet:
    """See the module. Raises `ConfigError` for an address that is none."""

    def __init__(self, plan: SyslogPlan) -> None:
        self.label = f"syslog {plan.transport} {plan.address}"
        self._plan = plan
        self._hostname = plan.hostname or socket.gethostname()
        self._process = os.getpid()
        self._sequence_id = 0
        self._link: Link | None = None
        self._resolver: Resolver | None = None
        if plan.transport != "local":
            kind = socket.SOCK_DGRAM if plan.transport == "udp" else socket.SOCK_STREAM
            self._resolver = Resolver(parse_endpoint(plan.address, "syslog address"), PORT, kind)

    def wants(self, notice: Notice) -> bool:
        # An end is as important as its beginning, though it is sent as a NOTICE: who was told of one gets the other.
        return notice.kind.severity <= self._plan.min_severity

    async def open(self) -> None:
        self.close()
        if self._resolver is None:
            self._link = await DatagramLink.local(self._plan.address)
        elif self._plan.transport == "udp":
            self._link = await DatagramLink.udp(self._resolver)
        else:
            self._link = await StreamLink.tcp(self._resolver)

    async def deliver(self, notice: Notice, *, careful: bool) -> None:
        # Counted for each message that is handed over, so that a receiver sees what it missed (section 7.3.1).
        self._sequence_id = self._sequence_id % MAX_SEQUENCE_ID + 1
        octets = encode(
            notice,
            facility=self._plan.facility,
            hostname=self._hostname,
            process=self._process,
            enterprise_number=self._plan.enterprise_number,
            sequence_id=self._sequence_id,
        )
        if self._link is None:
            await self.open()
        assert self._link is not None  # noqa: S101  (for mypy: it is open)
        try:
            await self._link.send(octets)
        except ConnectionError:
            if careful:
                raise
            # A receiver that was restarted is there again at once, and no trouble is worth telling.
            await self.open()
            await self._link.send(octets)
            careful = True
        if careful:
            await self._link.settle()

    def close(self) -> None:
        if self._link is not None:
            self._link.close()
            self._link = None
