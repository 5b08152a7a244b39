"""Names of targets into addresses, on threads of their own: a resolver that hangs holds up nobody else.

A name that hangs occupies one of these threads until the system's resolver gives up. Numeric addresses never wait for
one; neither does what the event loop does in its own threads, nor the end of the daemon.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from twoway.aside import Aside
from twoway.drivers.resolve import Address, numeric_family, resolve
from twoway.errors import ResolveError

if TYPE_CHECKING:
    from twoway.config.endpoint import Endpoint

_THREADS = 64
_PATIENCE_S = 30.0
"""Longer than the system's resolver tries with its defaults (twice 5 s for each of three servers)."""


class Names:
    """Resolves names."""

    def __init__(self) -> None:
        self._threads = Aside("resolve", _THREADS)

    def now(self, endpoint: Endpoint, port: int, family: int | None) -> Address | None:
        """The address if it is numeric already, else None. Raises `ResolveError`."""
        return resolve(endpoint, port, family) if numeric_family(endpoint.host) is not None else None

    async def find(self, endpoint: Endpoint, port: int, family: int | None) -> Address:
        """The address, however long it takes the system. Raises `ResolveError`."""
        address = self.now(endpoint, port, family)
        if address is not None:
            return address
        try:
            async with asyncio.timeout(_PATIENCE_S):
                return await self._threads.run(resolve, endpoint, port, family)
        except TimeoutError:
            raise ResolveError(endpoint.host, f"no answer from the name server in {_PATIENCE_S:.0f} s") from None
