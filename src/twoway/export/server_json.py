"""A Server's state as JSON documents, one a line."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from twoway.export.fields import SCHEMA_VERSION, JsonValue

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from twoway.analysis.server import ServerState, SessionState


def listening(where: Iterable[tuple[str, str, int]]) -> dict[str, JsonValue]:
    """The first line: where connections are accepted, and with `light` where test packets are answered."""
    return {"type": "listening", "schema": SCHEMA_VERSION, "local_addresses": _addresses(where)}


def document(state: ServerState) -> dict[str, JsonValue]:
    """Everything that `state` knows."""
    return {
        "type": "server",
        "schema": SCHEMA_VERSION,
        "at_ns": state.at_ns,
        "local_addresses": _addresses(state.local_addresses),
        "connections": state.connections,
        "counters": dict(state.counters),
        "sessions": [_session(session) for session in state.sessions],
    }


def line(body: Mapping[str, JsonValue]) -> str:
    """`body` on one line."""
    return json.dumps(body, separators=(",", ":"), allow_nan=False)


def _addresses(where: Iterable[tuple[str, str, int]]) -> list[JsonValue]:
    return [{"protocol": protocol, "address": address, "port": port} for protocol, address, port in where]


def _session(session: SessionState) -> dict[str, JsonValue]:
    return {
        "sid": session.sid.hex(),
        "protocol": session.protocol,
        "role": session.role,
        "connection": session.connection,
        "client": session.client,
        "mode": session.mode,
        "sender": {"address": session.sender[0], "port": session.sender[1]},
        "receiver": {"address": session.receiver[0], "port": session.receiver[1]},
        "state": session.state,
        "packets": dict(session.packets),
        "obtained": dict(session.obtained),
    }
