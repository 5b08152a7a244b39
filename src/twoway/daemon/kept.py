"""The store as the daemon wants it: the notices of before come back as notices."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from twoway.analysis.notices import NOTICES, Condition, Figures, Notice, State
from twoway.api.answers import KeptEvent

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from twoway.analysis.result import Summary
    from twoway.config.plan import SessionKey
    from twoway.store import Page, Point
    from twoway.store.store import Store


class DaemonStore:
    """`daemon.seams.Store` on `store.store.Store`."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self.put_second = store.put_second
        self.put_collections = store.put_collections
        self.put_history = store.put_history
        self.put_notice = store.put_notice
        self.state = store.state

    async def collections(self) -> Mapping[SessionKey, bytes]:
        """What `put_collections` kept. Raises `StoreError`."""
        return await self._store.collections()

    async def notices(self, limit: int) -> Sequence[Notice]:
        """The newest of what `put_notice` kept, oldest first. Raises `StoreError`."""
        kept = await self._store.events(limit=limit)
        return [notice for event in kept if (notice := _notice(event.fields)) is not None]

    async def conditions(self) -> Sequence[Condition]:
        """What was raised and not cleared, the oldest first. Raises `StoreError`."""
        return [kept.condition for kept in await self._store.conditions()]

    async def clear(self, what: str) -> None:
        """Forget `events`. Raises `StoreError`."""
        await self._store.clear(what)

    async def summary(self, key: SessionKey, start_ns: int, end_ns: int) -> Summary | None:
        """Everything of a window, None where nothing is kept of it. Raises `StoreError`."""
        return (await self._store.summary(key, start_ns, end_ns)).summary

    async def series(self, key: SessionKey, start_ns: int, end_ns: int, step_ns: int) -> Sequence[Point]:
        """A window in steps, without those in which nothing was measured. Raises `StoreError`."""
        return await self._store.window(key, start_ns, end_ns, step_ns)

    async def page(self, key: SessionKey, first: int, since_ns: int, until_ns: int, limit: int) -> Page:
        """Single probes by number, of those that keep every one. Raises `StoreError`."""
        return await self._store.page(key, first, since_ns, until_ns, limit)

    async def keys(self) -> Sequence[SessionKey]:
        """The test-sessions that it has heard of. Raises `StoreError`."""
        return await self._store.keys()

    async def events(self, since_ns: int, until_ns: int, limit: int) -> Sequence[KeptEvent]:
        """The newest notices from `since_ns` up to `until_ns`, oldest first. Raises `StoreError`."""
        kept = await self._store.events(since_ns, limit, until_ns=until_ns)
        texts = ("state", "connection", "session", "message")
        return [
            KeptEvent(event.number, event.at_ns, event.name, *(_text(event.fields.get(name)) for name in texts))
            for event in kept
        ]


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None


def _notice(fields: Mapping[str, object]) -> Notice | None:
    """A notice as it was kept; None if it is of another version and makes no sense here."""
    known: dict[str, Any] = dict(fields)
    figures = known.pop("figures", None)
    if known.get("name") not in NOTICES:
        return None
    try:
        if isinstance(figures, dict):
            spreads = {
                name: tuple(figures[name]) for name in ("rtt", "egress", "ingress") if figures.get(name) is not None
            }
            known["figures"] = Figures(**{**figures, **spreads})
        known["state"] = State(str(known["state"]))
        return Notice(**known)
    except (TypeError, ValueError, KeyError):
        return None
