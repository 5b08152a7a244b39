"""What the daemon needs of the parts that are given to it: a store, who is told, and who resolves and opens.

The command wires the real ones; tests give others.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from twoway.analysis.notices import Condition, Notice
    from twoway.config.plan import NoticePlan, SessionKey
    from twoway.drivers.session_plane import PlaneSession, SampleBatch


class Store(Protocol):
    """Where results are kept: `twoway.store.store.Store`. Nothing waits for a disk, but what is asynchronous."""

    def put_second(self, second: int, packed: Sequence[tuple[SessionKey, bytes]], /) -> object:
        """What each session saw in a second of the wall clock."""

    def put_collections(self, key: SessionKey, packed: bytes, /) -> object:
        """The state of a session that survives a restart; the last one counts."""

    def put_history(self, rows: Sequence[tuple[SessionKey, SampleBatch]], at_ns: int, /) -> object:
        """Probes of sessions that want every one kept, as they came."""

    def put_notice(self, notice: Notice, /) -> object: ...
    async def collections(self) -> Mapping[SessionKey, bytes]:
        """What `put_collections` kept. Raises `StoreError`."""

    async def notices(self, limit: int, /) -> Sequence[Notice]:
        """The newest of what `put_notice` kept, oldest first. Raises `StoreError`."""

    async def conditions(self) -> Sequence[Condition]:
        """What `put_notice` was told to be raised and not to be cleared, the oldest first. Raises `StoreError`."""

    async def clear(self, what: str, /) -> None:
        """Forget `events`. Raises `StoreError`."""

    def state(self) -> Mapping[str, int | str | bool]: ...


class Teller(Protocol):
    """Who tells others of notices: `twoway.notify.notifier.Notifier`. Nothing here waits."""

    def post(self, notice: Notice, /) -> None: ...
    def reconfigure(self, plan: NoticePlan, /) -> None:
        """Receivers that are equal in both plans are undisturbed. Raises `ConfigError`, and then nothing changed."""

    def owe(self, conditions: Iterable[Condition], /) -> None:
        """These began before the daemon did, and receivers may have been told: each is to hear of the end."""

    def state(self) -> Sequence[Mapping[str, int | str]]: ...


class Follower(Protocol):
    """Who acts on what test-sessions come to: `twoway.daemon.tracked.TrackedRoutes`. Nothing here waits or raises."""

    def begins(self, key: SessionKey, sender: PlaneSession, /) -> None:
        """A Session-Sender sends its probes from now on."""

    def ends(self, key: SessionKey, /) -> None:
        """Nobody sends its probes any more, for now."""

    def verdict(self, key: SessionKey, passed: bool | None, reason: str, /) -> None:
        """A test has ended; None: this host disturbed it, and it counts for nothing."""

    def unreachable(self, key: SessionKey, reason: str, /) -> None:
        """A whole test could not be negotiated, or no packet can leave, and that counts as failed."""


class NoStore:
    """Nothing survives a restart."""

    def put_second(self, _second: int, _packed: Sequence[tuple[SessionKey, bytes]], /) -> None:
        """Nothing is kept."""

    def put_collections(self, _key: SessionKey, _packed: bytes, /) -> None:
        """Nothing is kept."""

    def put_history(self, _rows: Sequence[tuple[SessionKey, SampleBatch]], _at_ns: int, /) -> None:
        """Nothing is kept."""

    def put_notice(self, _notice: Notice, /) -> None:
        """Nothing is kept."""

    async def collections(self) -> Mapping[SessionKey, bytes]:
        """Nothing was kept."""
        return {}

    async def notices(self, _limit: int, /) -> Sequence[Notice]:
        """Nothing was kept."""
        return ()

    async def conditions(self) -> Sequence[Condition]:
        """Nothing was kept."""
        return ()

    async def clear(self, _what: str, /) -> None:
        """There is nothing to forget."""

    def state(self) -> Mapping[str, int | str | bool]:
        """That there is none."""
        return {"state": "off"}


class NoTeller:
    """Nobody is told."""

    def post(self, _notice: Notice, /) -> None:
        """Nobody is told."""

    def reconfigure(self, _plan: NoticePlan, /) -> None:
        """Still nobody."""

    def owe(self, _conditions: Iterable[Condition], /) -> None:
        """Nobody was told."""

    def state(self) -> Sequence[Mapping[str, int | str]]:
        """There are no receivers."""
        return ()


class NoFollower:
    """Nobody acts."""

    def begins(self, _key: SessionKey, _sender: PlaneSession, /) -> None:
        """Nobody acts."""

    def ends(self, _key: SessionKey, /) -> None:
        """Nobody acts."""

    def verdict(self, _key: SessionKey, _passed: bool | None, _reason: str, /) -> None:
        """Nobody acts."""

    def unreachable(self, _key: SessionKey, _reason: str, /) -> None:
        """Nobody acts."""
