"""A Server's state for people: what runs, then every counter that is not 0."""

from __future__ import annotations

from typing import TYPE_CHECKING

from twoway.export.quantities import endpoint, moment, plural

if TYPE_CHECKING:
    from twoway.analysis.server import ServerState, SessionState


def report(state: ServerState) -> str:
    """No newline at the end."""
    where = ", ".join(f"{protocol} {endpoint(host, port)}" for protocol, host, port in state.local_addresses)
    open_now = f"{plural(state.connections, 'connection')}, {plural(len(state.sessions), 'test-session')}"
    lines = [f"Server on {where}, {moment(state.at_ns)}", open_now]
    lines += [f"  {_session(session)}" for session in state.sessions]
    counted = {name: count for name, count in state.counters.items() if count}
    width = max(map(len, counted), default=0)
    return "\n".join([*lines, *(f"  {name:<{width}}  {count}" for name, count in counted.items())])


def _session(session: SessionState) -> str:
    packets = ", ".join(f"{name} {count}" for name, count in session.packets.items() if count)
    ends = f"{endpoint(*session.sender)} > {endpoint(*session.receiver)}"
    lesser = "".join(f"; not granted: {option}: {instead}" for option, instead in sorted(session.obtained.items()))
    known = f"{session.sid.hex()} {session.role} {ends} {session.mode} {session.state}"
    return f"{known}{': ' * bool(packets)}{packets}{lesser}"
