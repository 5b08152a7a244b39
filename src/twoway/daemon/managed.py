"""Control-connections of the client that have one: TWAMP-Control, kept up for months.

Theory of operation. A `Link` is one control connection to the Server with the test-sessions that were negotiated on it,
and one task. A configured control-connection begins with one link for all its sessions. TWAMP has no way to add a
session to those that run, nor (but by RFC 5938) to end one alone: a session that a reload adds gets a link of its own,
and one that it takes away is ended at this end and told to the Server where that is possible. So the other sessions are
not disturbed.

A connection that is lost or refused is made again after a test-interval, give or take a tenth so that a thousand peers
that went at once do not come at once, and only so many are being made at a time (`Shared.attempts`). Each such attempt
is a test that failed for want of negotiation (`control-failure`). Statistics go on. A session that the Server refuses
does not keep the others from running: it goes on by itself on a link of its own, in ever longer intervals.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from dataclasses import replace
from typing import TYPE_CHECKING

from twoway.analysis.views import ControlView
from twoway.config.defaults import NANOS
from twoway.config.endpoint import parse_endpoint
from twoway.config.managed import PORTS
from twoway.daemon.connection import (
    Shared,
    connection_notice,
    group_of,
    joint_status,
    probes_to_send,
)
from twoway.daemon.session import samples_kept
from twoway.drivers.control_client import ControlClient
from twoway.drivers.managed_senders import ManagedSenders
from twoway.errors import ControlConnectionError, SessionRefusedError, TwowayError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from twoway.config.managed import ControlOptions, SessionRequest
    from twoway.config.plan import ConnectionPlan, SessionPlan
    from twoway.daemon.session import WatchedSession
    from twoway.drivers.managed_session import TestSession
    from twoway.drivers.resolve import Address

_LEAST_PAUSE_S = 1.0
"""Between two attempts, however short a test-interval."""
_LONGEST_PAUSE_S = 60.0
"""Between two attempts for sessions that the Server refuses."""
_GOODBYE_S = 3.0
"""How long the Server may take to be told that sessions are over."""


class Link:
    """One control connection and its test-sessions."""

    def __init__(
        self, owner: ManagedConnection, sessions: Iterable[WatchedSession], tests: int | None, *, refused: bool = False
    ) -> None:
        """`refused`: the Server has refused these just now, so that the first attempt waits."""
        self._owner = owner
        self._shared = owner.shared
        self.sessions = {session.plan.name: session for session in sessions}
        self._tests = tests
        self._wake = asyncio.Event()
        self._client: ControlClient | None = None
        self._negotiated: dict[str, TestSession] = {}
        self._stopping: str | None = None
        self._refusals = int(refused)
        self.up = False
        self.mode = "none"
        self.server: Address | None = None
        self.client = ("", 0)
        self.task = asyncio.get_running_loop().create_task(self._run())

    # What others tell it.

    def look(self) -> None:
        """Once a second: has the connection ended?"""
        if self._client is not None and self._client.closed:
            self._wake.set()

    def finished(self, session: WatchedSession) -> None:
        """All probes of this session are decided, or its connection was lost."""
        if self._client is not None and not self._client.closed:
            self._shared.end(session)
            if probes_to_send(session.plan, self._tests) is None:
                self._let_go({session.plan.name: TwowayError("its Session-Sender ended")})
            else:
                session.be("stopped", "all its tests have been run")
        self._wake.set()

    async def stop(self, reason: str) -> None:
        """Tell the Server that the sessions are over, and close."""
        self._stopping = reason
        self._wake.set()
        if self._client is None:
            self.task.cancel()  # it waits or connects: there is nobody to tell
        with contextlib.suppress(asyncio.CancelledError):
            await self.task
        async for session in self._shared.ended_in_turns(self.sessions):
            session.recovered(reason)
            session.be("stopped", reason)

    async def remove(self, name: str) -> None:
        """End one session and leave the others alone."""
        session = self.sessions.pop(name)
        negotiated = self._negotiated.pop(name, None)
        client = self._client
        if not self.sessions:
            await self.stop("no session is left")
        elif client is not None and negotiated is not None and not client.closed:
            if "individual-session-control" in client.features and negotiated.started:
                with contextlib.suppress(TwowayError, TimeoutError):
                    async with asyncio.timeout(_GOODBYE_S):
                        await client.stop([negotiated])
            negotiated.abort()
        self._shared.end(session)

    # Its life.

    async def _run(self) -> None:
        if self._refusals:
            await asyncio.sleep(self._pause_s())
        while self._stopping is None and self.sessions:
            try:
                self._begins()
                # Before there is room for an attempt: names that hang must not hold up those that have an address.
                self.server = await self._resolved()
                async with self._shared.attempts:
                    client = await self._connect(self.server)
            except TwowayError as error:
                await self._pause(error)
                continue
            except Exception as error:  # noqa: BLE001  (one connection's fault must not end its supervision)
                await self._pause(TwowayError(f"internal error: {type(error).__name__}: {error}"))
                continue
            try:
                self._came_up(client)
                reason = await self._until_over(client)
            except Exception as error:  # noqa: BLE001  (as above)
                reason = f"internal error: {type(error).__name__}: {error}"
            finally:
                self._client = None
                self.up = False
                self._negotiated.clear()
                client.close()
            if reason is None:
                return
            await self._pause(ControlConnectionError(self._owner.plan.target, reason))

    def _begins(self) -> None:
        for session in self.sessions.values():
            if session.status != "failed":
                session.be("connecting")

    @property
    def _options(self) -> ControlOptions:
        options = self._owner.plan.control
        if options is None:
            raise ValueError("a managed connection has options of its control connection")
        return options

    async def _resolved(self) -> Address:
        """Where the Server is. Raises `ResolveError`."""
        endpoint, options = parse_endpoint(self._owner.plan.target), self._options
        return await self._shared.names.find(endpoint, PORTS[options.protocol], options.family)

    async def _connect(self, server: Address) -> ControlClient:
        """Connect, negotiate and start. Raises any `TwowayError`; what was half made is closed then."""
        options = self._options
        senders = ManagedSenders(self._shared.plane)
        # Without it a session that a reload takes away cannot be ended alone (RFC 5938).
        options = replace(options, features=tuple({*options.features, "individual-session-control"}))
        client = await ControlClient.connect(_numeric(server), options, plane=senders)
        try:
            self.mode, self.client = client.mode, (str(client.local_address), client.local_port)
            await self._negotiate(client, senders)
            await self._start(client)
        except BaseException:
            self._negotiated.clear()
            client.close()
            self._shared.end_all(self.sessions.values())
            raise
        self._client = client
        return client

    async def _negotiate(self, client: ControlClient, senders: ManagedSenders) -> None:
        """Request every session; those that are refused go their own way. Raises if all are."""
        refused: dict[str, TwowayError] = {}
        for name, session in list(self.sessions.items()):
            if self.sessions.get(name) is not session:
                continue  # a reload has taken it away
            if session.status != "failed":
                session.be("negotiating")
            request = _request(session.plan, self._tests)
            senders.expect(request, group_of(session.plan), session.collections)
            try:
                negotiated = await client.request_session(request)
            except SessionRefusedError as error:
                refused[name] = error
                continue
            sender = senders.opened(request)
            if sender is None:
                raise ValueError("an accepted session has its Session-Sender")
            if self.sessions.get(name) is not session:
                negotiated.abort()  # taken away meanwhile: the Server has it until the connection ends, and no packets
                self._shared.plane.forget(sender)
                continue
            self._negotiated[name] = negotiated
            description = negotiated.description
            self._shared.begin(self._owner, session, sender, (description.address, description.port))
            session.be("negotiating")
        refused = {name: error for name, error in refused.items() if name in self.sessions}
        if refused and len(refused) == len(self.sessions):
            raise next(iter(refused.values()))
        self._let_go(refused)

    async def _start(self, client: ControlClient) -> None:
        try:
            await client.start()
        except SessionRefusedError as error:
            refused: dict[str, TwowayError] = {
                name: error for name, negotiated in self._negotiated.items() if not negotiated.started
            }
            if len(refused) == len(self._negotiated):
                raise
            self._let_go(refused)
        for name in self._negotiated:
            self.sessions[name].recovered()
            self.sessions[name].be("testing")

    def _let_go(self, refused: dict[str, TwowayError]) -> None:
        """What the Server refuses goes on trying by itself."""
        for name, error in refused.items():
            session = self.sessions.pop(name)
            self._negotiated.pop(name, None)
            self._shared.end(session)
            session.failed(str(error))
            session.not_negotiated(str(error))
            self._owner.link([session], self._tests, refused=True)

    def _came_up(self, client: ControlClient) -> None:
        self.up = True
        self._refusals = 0
        self._wake.clear()
        self._owner.came_up(f"control connection with {client.peer_address} in mode {client.mode}")

    async def _until_over(self, client: ControlClient) -> str | None:
        """Wait for the end: why the connection was lost, None if all is done or it was told to stop."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            if client.closed:
                return _why_closed(client)
            if self._stopping is not None or all(session.sender is None for session in self.sessions.values()):
                with contextlib.suppress(TwowayError, TimeoutError):
                    async with asyncio.timeout(_GOODBYE_S):
                        await client.stop()
                return None

    async def _pause(self, error: TwowayError) -> None:
        """Until the next attempt: a test-interval, for what is refused ever longer ones."""
        reason = str(error)
        async for session in self._shared.ended_in_turns(self.sessions):
            session.not_negotiated(reason)
            if isinstance(error, SessionRefusedError):
                session.failed(reason)
            else:
                session.be("waiting", reason)
        self._owner.went_down(reason)
        self._refusals = min(self._refusals + 1, 16) if isinstance(error, SessionRefusedError) else 0
        await asyncio.sleep(self._pause_s())

    def _pause_s(self) -> float:
        pause_s = max(_LEAST_PAUSE_S, self._owner.plan.test_interval_ns / NANOS)
        if self._refusals:
            pause_s = max(pause_s, min(pause_s * 2**self._refusals, _LONGEST_PAUSE_S))
        return pause_s * random.uniform(0.9, 1.1)  # noqa: S311  (it spreads load and guards nothing)


class ManagedConnection:
    """Test-sessions that are negotiated with a Server."""

    def __init__(self, plan: ConnectionPlan, shared: Shared, sessions: dict[str, WatchedSession]) -> None:
        self.plan = plan
        self.shared = shared
        self.sessions = sessions
        self.retries = 0
        self._links: list[Link] = []
        self._tests: int | None = None
        self._down: str | None = None
        self._since_ns = shared.clocks.wall_ns()

    @property
    def status(self) -> str:
        """The best that one of its sessions does."""
        return joint_status(self.sessions.values())

    def link(self, sessions: Iterable[WatchedSession], tests: int | None, *, refused: bool = False) -> None:
        """A control connection for these sessions, from now on."""
        self._links = [link for link in self._links if not link.task.done()]
        self._links.append(Link(self, sessions, tests, refused=refused))

    def start(self, tests: int | None) -> None:
        """Begin: `tests` tests of each session, None for as many as the plan has."""
        self._tests = tests
        self._down = None
        for session in self.sessions.values():
            session.be("connecting")
        self.link(self.sessions.values(), tests)

    async def stop(self, reason: str) -> None:
        """Stop-Sessions, and close; `start` may follow."""
        links, self._links = self._links, []
        await asyncio.gather(*(link.stop(reason) for link in links))
        for session in self.sessions.values():
            session.be("stopped", reason)

    async def close(self, why: str) -> None:
        """End for good."""
        await self.stop(why)
        for session in self.sessions.values():
            await self.shared.pacing.step()
            self.shared.retire(session, why)

    async def change(self, plan: ConnectionPlan, stop: Iterable[SessionPlan], start: Iterable[SessionPlan]) -> None:
        """Go on under another plan, with fewer and more sessions."""
        running = any(not link.task.done() for link in self._links) or plan.test_start == "auto"
        self.plan = plan
        for old in stop:
            session = self.sessions.pop(old.name)
            for link in self._links:
                if old.name in link.sessions:
                    await link.remove(old.name)
            self.shared.retire(session, "it is no longer configured")
        fresh = await self.shared.made(start)
        self.sessions = {
            wanted.name: fresh[wanted.name] if wanted.name in fresh else self.sessions[wanted.name]
            for wanted in plan.sessions
        }
        if running and fresh:
            self.link(fresh.values(), self._tests)

    def finished(self, session: WatchedSession) -> None:
        """All probes of this session are decided, or its connection was lost."""
        for link in self._links:
            if session.plan.name in link.sessions:
                link.finished(session)

    def silent(self, session: WatchedSession) -> None:
        """Where packets go was negotiated: if the Server is away, the control connection tells."""

    def look(self) -> None:
        """Once a second."""
        for link in self._links:
            link.look()

    def came_up(self, how: str) -> None:
        """A control connection was made, and its sessions run."""
        self._down = None
        self.retries = 0
        self._since_ns = self.shared.clocks.wall_ns()
        self.shared.bulletin.post(connection_notice(self.plan, "control-connection-up", how, self._since_ns))

    def went_down(self, reason: str) -> None:
        """It was lost or could not be made; told once until it is up."""
        self.retries += 1
        if self._down is None:
            self._since_ns = self.shared.clocks.wall_ns()
            notice = connection_notice(self.plan, "control-connection-closed", reason, self._since_ns)
            self.shared.bulletin.post(notice)
        self._down = reason

    def view(self) -> ControlView:
        """As `control-info` shows it."""
        link = next((link for link in self._links if link.up), self._links[0] if self._links else None)
        server = None if link is None else link.server
        return ControlView(
            name=self.plan.name,
            client_address="" if link is None else link.client[0],
            client_port=0 if link is None else link.client[1],
            server_address="" if server is None else server.host,
            server_port=0 if server is None else server.port,
            active_tests=sum(session.sender is not None for session in self.sessions.values()),
            status=self.status,
            mode="none" if link is None else link.mode,
            retries=self.retries,
            since_ns=self._since_ns,
            reason=next((session.reason for session in self.sessions.values() if session.reason is not None), None),
        )


def _request(session: SessionPlan, tests: int | None) -> SessionRequest:
    """A request of its own for each attempt, which `ManagedSenders` knows it by."""
    if session.managed is None:
        raise ValueError("a managed connection has managed sessions")
    return replace(
        session.managed,
        count=probes_to_send(session, tests),
        sample_capacity=samples_kept(session.managed.interval_ns),
    )


def _numeric(address: Address) -> str:
    """An address as `ControlClient.connect` takes it."""
    scope = f"%{address.scope_id}" if address.scope_id else ""
    host = f"[{address.host}{scope}]" if address.family == 6 else address.host
    return f"{host}:{address.port}"


def _why_closed(client: ControlClient) -> str:
    try:
        client.check()
    except TwowayError as error:
        return str(error)
    return "it was closed"
