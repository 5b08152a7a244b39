"""The management API in the daemon's own loop: its listeners from the plan, and their end.

Up to three listeners: a Unix socket, whose mode and group say who may ask; TCP, where a bearer token says it (without
TLS: behind a proxy, or on loopback); and one for scrapers that answers GET /metrics alone, to anybody.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import TYPE_CHECKING

from twoway.api.sockets import remove_socket, tcp_listener, unix_listener
from twoway.config.keyfile import read_token_file
from twoway.errors import ConfigError

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from starlette.types import ASGIApp

    from twoway.analysis.views import Watched
    from twoway.api.app import Kept
    from twoway.api.connection import Listening
    from twoway.api.guard import Guard
    from twoway.config.plan import ApiPlan

_FINISH_S = 2.0
"""How long answers under way may take when the daemon ends."""


class ManagementApi:
    """The listeners of one plan. `kept` is what the store has, None without one."""

    def __init__(
        self,
        plan: ApiPlan,
        watched: Watched,
        kept: Kept | None,
        capabilities: Callable[[], Mapping[str, tuple[bool, str]]],
    ) -> None:
        self._plan = plan
        self._watched = watched
        self._kept = kept
        self._capabilities = capabilities
        self._servers: list[asyncio.Server] = []
        self._listenings: list[Listening] = []
        self._socket_file: tuple[Path, int] | None = None
        self._apps: tuple[ASGIApp, ASGIApp] | None = None
        """For who may ask everything, and for scrapers."""
        self._guarded: Guard | None = None
        """Of TCP."""
        self.counters: Counter[str] = Counter(
            requests=0,
            errors=0,
            unauthorized=0,
            malformed_requests=0,
            refused_connections=0,
            overdue_connections=0,
            refused_scrapes=0,
        )
        """What happened to requests and connections."""
        self.local_addresses: dict[str, tuple[str, int]] = {}
        """`listen` and `metrics-listen` -> address and port, where they are."""

    def build(self) -> None:
        """Make what answers, which takes a second: the loop had better do it before there is anything to measure.

        Raises `ConfigError`. Idempotent.
        """
        if self._apps is not None:
            return
        try:
            from twoway.api.app import Asked, application, metrics_application
        except ImportError as error:
            reason = f"{error.name} is not installed: `pip install 'twoway[daemon]'`"
            raise ConfigError("api", reason) from None
        asked = Asked(self._watched, self.counters, self._kept, self._capabilities)
        self._apps = application(asked), metrics_application(asked)

    async def start(self) -> None:
        """Open all listeners, or none. Raises `ConfigError`, `KeyFileError` or `PlaneError`."""
        self.build()
        assert self._apps is not None  # noqa: S101  (for mypy: it was built)
        from twoway.api.guard import Guard

        app, metrics = self._apps
        plan = self._plan
        try:
            token = None
            if plan.listen is not None:
                token = _token(plan.token_file)
            listener = unix_listener(plan.socket, plan.mode, plan.group)
            self._socket_file = (plan.socket, plan.socket.lstat().st_ino)
            await self._serve(listener, Guard(app, self.counters))
            if plan.listen is not None:
                self._guarded = Guard(app, self.counters, token)
                await self._serve(self._tcp("listen", *plan.listen), self._guarded)
            if plan.metrics_listen is not None:
                listener = self._tcp("metrics-listen", *plan.metrics_listen)
                await self._serve(listener, Guard(metrics, self.counters))
        except BaseException:
            await self.close()
            raise

    def change(self, plan: ApiPlan) -> None:
        """Go by the token of another plan; listeners stay as they are until the daemon starts anew."""
        if self._guarded is not None and plan.token is not None:
            self._guarded.change_token(plan.token)

    def _tcp(self, name: str, address: str, port: int) -> socket.socket:
        listener = tcp_listener(address, port)
        local = listener.getsockname()
        self.local_addresses[name] = (local[0], local[1])
        return listener

    async def _serve(self, listener: socket.socket, app: Guard) -> None:
        from twoway.api.connection import Listening

        listening = Listening(app, self.counters)
        self._listenings.append(listening)
        # Of either family: asyncio only looks at the type of a socket that is given to it.
        self._servers.append(await asyncio.get_running_loop().create_server(listening, sock=listener))

    async def close(self) -> None:
        """Take no more connections, let answers under way end, remove the socket. Idempotent."""
        for server in self._servers:
            server.close()
        for listening in self._listenings:
            await listening.finish(_FINISH_S)
        for server in self._servers:
            await server.wait_closed()
        self._servers.clear()
        self._listenings.clear()
        if self._socket_file is not None:
            remove_socket(*self._socket_file)
            self._socket_file = None


def _token(path: Path | None) -> str:
    """The token for TCP. Raises `ConfigError`, and `KeyFileError` for its file."""
    if path is None:
        raise ConfigError("api.token-file", "api.listen needs it: over TCP only a token says who may ask")
    return read_token_file(str(path))
