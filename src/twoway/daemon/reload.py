"""The difference of two plans: what stops, what starts, what goes on and is only adjusted. Pure.

Theory of operation. What decides a packet (where to, from where, when, how long, with which key) decides who a
test-session is: if anything of it differs, the old session ends and another begins. What only decides how results are
read (thresholds, traps, sizes of history and moving average, persistence) is changed in place, under a session whose
sequence numbers go on. A managed control-connection lives as long as its own statements are equal; its test-sessions
may come and go, each negotiated on its own, and those that stay are not disturbed.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from twoway.config.reflection import rules_changed

if TYPE_CHECKING:
    from twoway.config.plan import ConnectionPlan, Plan, SessionPlan
    from twoway.config.reflection import Reflection

NEXT_START = ("api", "store", "workers")
"""Parts of a plan that are taken over when the daemon starts again."""


@dataclass(frozen=True, slots=True)
class ConnectionChange:
    """A control-connection that goes on, and what is new on it."""

    old: ConnectionPlan
    new: ConnectionPlan
    stop: tuple[SessionPlan, ...]
    start: tuple[SessionPlan, ...]
    adjust: tuple[SessionPlan, ...]
    """Sessions that go on, with what they have now; those in which nothing changed are not among them."""

    @property
    def anything(self) -> bool:
        """Whether anything differs."""
        return self.old != self.new


@dataclass(frozen=True, slots=True)
class Difference:
    """What a reload comes to."""

    stop: tuple[ConnectionPlan, ...]
    start: tuple[ConnectionPlan, ...]
    change: tuple[ConnectionChange, ...]
    stop_reflections: tuple[Reflection, ...]
    start_reflections: tuple[Reflection, ...]
    adjust_reflections: tuple[Reflection, ...]
    """What those become that go on by other keys, another allow list or other rate limits."""
    server: bool
    """Whether the Server differs."""
    routes: bool
    """Whether tracked routes differ."""
    receivers: bool
    """Whether it differs who is told of notices, or how."""
    token: bool
    """Whether the API's token differs."""
    next_start: tuple[str, ...]
    """Parts that differ and wait for the next start."""

    def describe(self) -> str:
        """In words, for the notice of the reload."""
        started = [s for c in self.start for s in c.sessions] + [s for c in self.change for s in c.start]
        stopped = [s for c in self.stop for s in c.sessions] + [s for c in self.change for s in c.stop]
        adjusted = [s for c in self.change for s in c.adjust]
        parts = [f"{len(rows)} {what}" for rows, what in _counted(started, stopped, adjusted) if rows]
        words = f"test-sessions: {', '.join(parts)}" if parts else "no test-session differs"
        changed = (
            (self.start_reflections, "started"),
            (self.stop_reflections, "stopped"),
            (self.adjust_reflections, "adjusted"),
        )
        reflectors = [f"{len(rows)} {what}" for rows, what in changed if rows]
        if reflectors:
            words += f"; light reflectors: {', '.join(reflectors)}"
        if self.server:
            words += "; the server differs"
        if self.routes:
            words += "; tracked routes differ"
        if self.receivers:
            words += "; receivers of notices differ"
        if self.token:
            words += "; the API's token differs"
        if self.next_start:
            words += f"; taken over at the next start: {', '.join(self.next_start)}"
        return words


def _counted(
    started: list[SessionPlan], stopped: list[SessionPlan], adjusted: list[SessionPlan]
) -> tuple[tuple[list[SessionPlan], str], ...]:
    return ((started, "started"), (stopped, "stopped"), (adjusted, "adjusted"))


def same_measurement(old: SessionPlan, new: SessionPlan) -> bool:
    """Whether both send the same packets at the same moments: then one goes on as the other."""
    return _identity(old) == _identity(new)


def _identity(plan: SessionPlan) -> tuple[object, ...]:
    return (
        plan.key,
        plan.light,
        plan.managed,
        plan.target,
        plan.probe_count,
        plan.test_interval_ns,
        plan.test_count,
    )


def _same_connection(old: ConnectionPlan, new: ConnectionPlan) -> bool:
    """Whether one goes on as the other, whatever becomes of its test-sessions."""
    return replace(old, sessions=(), traps=frozenset()) == replace(new, sessions=(), traps=frozenset())


def difference(old: Plan, new: Plan, begun: Plan | None = None) -> Difference:
    """What has to be done to get from one plan to the other. `begun`: the plan that the daemon began with, by which
    the parts are that wait for the next start; the old one unless given."""
    before = {connection.name: connection for connection in old.connections}
    after = {connection.name: connection for connection in new.connections}
    stays = {name for name in before if name in after and _same_connection(before[name], after[name])}
    adjusted = rules_changed(old.reflections, new.reflections)
    going_on = [reflection for pair in adjusted for reflection in pair]
    return Difference(
        stop=tuple(connection for name, connection in before.items() if name not in stays),
        start=tuple(connection for name, connection in after.items() if name not in stays),
        change=tuple(
            change for name in before if name in stays if (change := _change(before[name], after[name])).anything
        ),
        stop_reflections=tuple(one for one in old.reflections if one not in (*new.reflections, *going_on)),
        start_reflections=tuple(one for one in new.reflections if one not in (*old.reflections, *going_on)),
        adjust_reflections=tuple(after for _, after in adjusted),
        server=old.server != new.server,
        routes=old.routes != new.routes,
        receivers=old.notices != new.notices,
        token=old.api.token != new.api.token,
        next_start=tuple(part for part in NEXT_START if _fixed(begun or old, part) != _fixed(new, part)),
    )


def _fixed(plan: Plan, part: str) -> object:
    """A part without what a reload takes over of it."""
    return replace(plan.api, token=None) if part == "api" else getattr(plan, part)


def _change(old: ConnectionPlan, new: ConnectionPlan) -> ConnectionChange:
    before = {session.name: session for session in old.sessions}
    after = {session.name: session for session in new.sessions}
    stays = {name for name in before if name in after and same_measurement(before[name], after[name])}
    return ConnectionChange(
        old=old,
        new=new,
        stop=tuple(session for name, session in before.items() if name not in stays),
        start=tuple(session for name, session in after.items() if name not in stays),
        adjust=tuple(after[name] for name in after if name in stays and before[name] != after[name]),
    )
