"""One HTTP connection, bounded: uvicorn's, with a deadline and a limit of how many there are.

uvicorn bounds the pause between two requests, but not how long a client takes to send one, or to read the answer. Here
a connection has `DEADLINE_S` from its start, and from the end of each answer, to the end of the next: whoever sends a
letter a second, or reads nothing, is cut off then and counted. What is no HTTP is answered once, if no answer has
begun, and ends the connection; uvicorn would try to answer in the middle of another answer, and fail with a traceback.
Nothing that comes from a client writes a log line.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

import h11
from uvicorn import Config
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.server import ServerState

from twoway.api.guard import MAX_HEAD, PROBLEM, problem_document

if TYPE_CHECKING:
    from collections import Counter

    from starlette.types import ASGIApp

DEADLINE_S = 60.0
MAX_CONNECTIONS = 64
"""On one listener."""
_KEEP_ALIVE_S = 15

_SILENT = logging.Logger("twoway.api")
_SILENT.addHandler(logging.NullHandler())


class Listening:
    """What the connections of one listener share."""

    def __init__(self, app: ASGIApp, counters: Counter[str], deadline_s: float = DEADLINE_S) -> None:
        self.counters = counters
        self.deadline_s = deadline_s
        self.config = Config(
            app,
            http=BoundedConnection,
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            proxy_headers=False,
            server_header=False,
            date_header=False,
            timeout_keep_alive=_KEEP_ALIVE_S,
            h11_max_incomplete_event_size=MAX_HEAD,  # of what waits for more; the guard looks at what is complete
        )
        self.config.load()
        self.state = ServerState()

    def __call__(self) -> BoundedConnection:
        """A new connection, as `loop.create_server` asks for it."""
        return BoundedConnection(self)

    async def finish(self, timeout_s: float) -> None:
        """Let answers that are under way end, then cut what is left."""
        for connection in list(self.state.connections):
            connection.shutdown()
        if self.state.tasks:
            await asyncio.wait(self.state.tasks, timeout=timeout_s)
        for task in self.state.tasks:
            task.cancel()
        if self.state.tasks:
            await asyncio.wait(self.state.tasks)
        for connection in list(self.state.connections):
            connection.transport.abort()


class BoundedConnection(H11Protocol):
    """See above."""

    def __init__(self, listening: Listening) -> None:
        super().__init__(config=listening.config, server_state=listening.state, app_state={})
        self.logger = _SILENT
        self.access_log = False
        self._listening = listening
        self._deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn's
        super().connection_made(transport)
        if len(self.connections) > MAX_CONNECTIONS:
            self._listening.counters["refused_connections"] += 1
            transport.abort()
            return
        self._start_deadline()

    def connection_lost(self, exc: Exception | None) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
        self._unset_keepalive_if_required()
        super().connection_lost(exc)

    def send_400_response(self, msg: str) -> None:
        del msg
        self._listening.counters["malformed_requests"] += 1
        if self.cycle is not None and not self.cycle.response_complete:
            # Whoever reads the rest of this request gets its end, and what is still answered goes nowhere.
            self.cycle.disconnected = True
            self.cycle.message_event.set()
        if self.conn.our_state in (h11.IDLE, h11.SEND_RESPONSE):
            body = problem_document(400, "this is no HTTP/1.1 request")
            headers = [("content-type", PROBLEM), ("content-length", str(len(body))), ("connection", "close")]
            for event in (h11.Response(status_code=400, headers=headers), h11.Data(data=body), h11.EndOfMessage()):
                self.transport.write(self.conn.send(event) or b"")
        self.transport.close()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        self._start_deadline()

    def _start_deadline(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
        self._deadline = self.loop.call_later(self._listening.deadline_s, self._overdue)

    def _overdue(self) -> None:
        self._listening.counters["overdue_connections"] += 1
        self.transport.abort()
