"""The roles that answer others: the Server and the light Session-Reflectors.

A role that cannot begin ends the daemon's start with a line for each. At a reload nothing is given up before what comes
instead is there, if its addresses are free. If they are those of the role that runs, that has to go first, and it comes
back if the new one fails; its clients negotiate anew, and what it counted begins anew. Only whom a role answers, and
how often, changes under it: secrets of the Server; keys, allow lists and rate limits of Session-Reflectors. One that
began its numbers anew for that would look to its senders as if it had lost what was under way.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from twoway.analysis.views import ControlView, TestView
from twoway.config.reflection import rules_changed
from twoway.drivers.reflector import Reflector
from twoway.drivers.server import Server
from twoway.errors import TwowayError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from twoway.config.plan import Plan
    from twoway.config.reflection import Reflection
    from twoway.config.server import ServerOptions


class RolesError(TwowayError):
    """Roles that could not begin; `reasons` has a line for each."""

    def __init__(self, reasons: Sequence[str]) -> None:
        super().__init__("; ".join(reasons))
        self.reasons = tuple(reasons)


class Roles:
    """What answers others."""

    def __init__(self) -> None:
        self.server: Server | None = None
        self._reflectors: list[tuple[Reflection, Reflector]] = []

    async def open(self, plan: Plan) -> None:
        """Open every role of the plan. Raises `RolesError`, and then none is open."""
        reasons = []
        for reflection in plan.reflections:
            try:
                self._reflectors.append((reflection, Reflector(reflection)))
            except TwowayError as error:
                reasons.append(f"light server: {error}")
        if plan.server is not None:
            try:
                self.server = await _serving(plan.server)
            except TwowayError as error:
                reasons.append(f"server: {error}")
        if reasons:
            await self.close()
            raise RolesError(reasons)
        for _, reflector in self._reflectors:
            reflector.start()

    async def change(self, old: Plan, new: Plan) -> None:
        """Go on under another plan. Raises `RolesError`, and then everything is as before, but for what it says."""
        undo = self._change_rules(new)
        try:
            before = self.server
            if before is not None and new.server is not None and _same_but_secrets(old.server, new.server):
                await self._change(replace(old, server=new.server), new)
                before.change_secrets(new.server)
            else:
                await self._change(old, new)
        except Exception:
            for reflector, reflection in undo:
                self._follow(reflector, reflection)
            raise

    def _change_rules(self, new: Plan) -> list[tuple[Reflector, Reflection]]:
        """Let reflectors go by other rules; those, and what they went by. Raises `RolesError`, and none does."""
        undo: list[tuple[Reflector, Reflection]] = []
        try:
            for before, after in rules_changed([reflection for reflection, _ in self._reflectors], new.reflections):
                reflector = next(one for reflection, one in self._reflectors if reflection is before)
                self._follow(reflector, after)
                undo.append((reflector, before))
        except TwowayError as error:
            for reflector, reflection in undo:
                self._follow(reflector, reflection)
            raise RolesError([f"light server: {error}"]) from None
        return undo

    def _follow(self, reflector: Reflector, reflection: Reflection) -> None:
        reflector.change(reflection)
        self._reflectors = [(reflection if one is reflector else of, one) for of, one in self._reflectors]

    async def _change(self, old: Plan, new: Plan) -> None:
        kept = [pair for pair in self._reflectors if pair[0] in new.reflections]
        gone = [pair for pair in self._reflectors if pair[0] not in new.reflections]
        known = [reflection for reflection, _ in kept]
        wanted = [reflection for reflection in new.reflections if reflection not in known]
        before = self.server
        # One that could not come back after a reload that failed is missing, whatever the file said then.
        differs = old.server != new.server or (before is None and new.server is not None)
        opened: list[tuple[Reflection, Reflector]] = []
        server: Server | None = None
        # First beside what runs; what is in the way of that may only go if nothing else fails.
        in_the_way: list[TwowayError] = []
        hopeless: list[TwowayError] = []
        try:
            opened = _opened(wanted)
        except TwowayError as error:
            (in_the_way if gone else hopeless).append(error)
        try:
            server = await _serving(new.server) if differs and new.server is not None else None
        except TwowayError as error:
            (in_the_way if before is not None else hopeless).append(error)
        except Exception:
            _end(opened)
            raise
        try:
            if hopeless:
                raise hopeless[0]  # noqa: TRY301  (what follows is for this, too)
            if in_the_way:
                _end(gone)
                if differs and before is not None:
                    await before.close()
                opened = opened or _opened(wanted)
                if server is None and differs and new.server is not None:
                    server = await _serving(new.server)
        except Exception as error:
            _end(opened)
            if server is not None:
                await server.close()
            lost: list[str] = []
            if not hopeless:
                lost = await self._bring_back(kept, gone, old.server if differs else None)
            if not isinstance(error, TwowayError):
                raise
            raise RolesError([*([str(one) for one in hopeless] or [str(error)]), *lost]) from None
        if not in_the_way:
            _end(gone)
            if differs and before is not None:
                await before.close()
        self._reflectors = kept + opened
        self.server = server if differs else before

    async def _bring_back(
        self,
        kept: list[tuple[Reflection, Reflector]],
        gone: list[tuple[Reflection, Reflector]],
        server: ServerOptions | None,
    ) -> list[str]:
        """Begin again with what gave way. A line for each that cannot: somebody was quicker."""
        lost = []
        self._reflectors = kept
        for reflection, _ in gone:
            try:
                self._reflectors += _opened([reflection])
            except TwowayError as error:
                lost.append(f"what ran before could not begin again: {error}")
        if server is not None:
            self.server = None
            try:
                self.server = await _serving(server)
            except TwowayError as error:
                lost.append(f"what ran before could not begin again: {error}")
        return lost

    async def close(self) -> None:
        """End every role. Idempotent."""
        server, self.server = self.server, None
        reflectors, self._reflectors = self._reflectors, []
        if server is not None:
            await server.close()
        _end(reflectors)

    # What they are doing.

    def reflector_counters(self) -> Mapping[str, Mapping[str, int]]:
        """Addresses of each light Session-Reflector -> disposition -> packets."""
        return {
            ", ".join(_endpoint(*address) for address in reflector.local_addresses): {
                **reflector.counters(),
                **{f"own:{name}": count for name, count in reflector.own_counters().items()},
            }
            for _, reflector in self._reflectors
        }

    def server_counters(self) -> Mapping[str, int]:
        """Of the Server, empty without one."""
        return {} if self.server is None else self.server.counters()

    def server_connections(self) -> list[ControlView]:
        """The Server's control connections."""
        if self.server is None:
            return []
        return [
            ControlView(
                name=str(state.number),
                client_address=state.client[0],
                client_port=state.client[1],
                server_address=state.server[0],
                server_port=state.server[1],
                active_tests=state.sessions,
                status="testing" if state.sessions else "idle",
                mode=state.mode,
                retries=0,
                since_ns=state.since_ns,
                reason=None,
            )
            for state in self.server.connection_states()
        ]

    def close_connections(self, name: str | None) -> list[str]:
        """Close a control connection of the Server, or all; the numbers of those closed. Raises `KeyError`."""
        if self.server is None:
            return []
        numbers = [str(state.number) for state in self.server.connection_states()]
        if name is not None and name not in numbers:
            raise KeyError(name)
        return [number for number in numbers if name in (None, number) and self.server.close_connection(int(number))]

    def server_tests(self) -> list[TestView]:
        """The Server's test-sessions."""
        if self.server is None:
            return []
        return [
            TestView(
                connection=str(session.connection),
                name=session.sid.hex(),
                protocol=session.protocol,
                sender_address=session.sender[0],
                sender_port=session.sender[1],
                reflector_address=session.receiver[0],
                reflector_port=session.receiver[1],
                status=session.state,
                packets=sum(session.packets.values()),
                reason=None,
            )
            for session in self.server.sessions()
        ]


def _opened(reflections: Sequence[Reflection]) -> list[tuple[Reflection, Reflector]]:
    """Reflectors that run: all or, where one cannot be opened, none. Raises `TwowayError`."""
    opened: list[tuple[Reflection, Reflector]] = []
    try:
        for reflection in reflections:
            opened.append((reflection, Reflector(reflection)))  # noqa: PERF401  (those before one that fails are ended)
    except TwowayError:
        _end(opened)
        raise
    for _, reflector in opened:
        reflector.start()
    return opened


def _end(reflectors: Sequence[tuple[Reflection, Reflector]]) -> None:
    for _, reflector in reflectors:
        reflector.stop()


def _same_but_secrets(old: ServerOptions | None, new: ServerOptions) -> bool:
    """Whether the Server may go on with other secrets: that it has some at all decides which modes it offers."""
    return old is not None and replace(old, secrets=new.secrets) == new and bool(old.secrets) == bool(new.secrets)


async def _serving(options: ServerOptions) -> Server:
    server = Server(options)
    server.on_event = _counted
    await server.start()
    return server


def _counted(_event: object) -> None:
    """The Server counts each event by name; counters are shown."""


def _endpoint(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
