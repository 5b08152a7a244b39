"""A keeper of routes without a kernel: what it is told to want, the kernel has, unless a test says otherwise."""

from __future__ import annotations

from typing import TYPE_CHECKING

from twoway.routes.kernel.installer import Status

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from twoway.config.route_plan import InstancePlan, NextHopPlan, RouteKey, RoutePlan
    from twoway.routes.kernel.installer import Listener


class FakeInstaller:
    """`kernel.installer.Installer`. `made` has all of them, `refuse_to_open` what the next raise."""

    made: list[FakeInstaller]
    left: Mapping[RouteKey, list[str]]
    """What an earlier run left."""
    refuse_to_open: list[Exception]

    def __init__(self, netns: str | None, protocol: int, listener: Listener, *, restore: bool) -> None:
        self.netns, self.protocol, self.listener, self.restore = netns, protocol, listener, restore
        self.kept: list[RouteKey] = []
        self.wanted: dict[RouteKey, tuple[str, ...]] = {}
        self.refused_hops: dict[str, str] = {}
        self.started = False
        self.closed: bool | None = None
        """Whether routes were withdrawn at the end."""
        self.requests = self.refused = self.overruns = 0
        self.made.append(self)

    async def open(self) -> None:
        if self.refuse_to_open:
            raise self.refuse_to_open.pop(0)

    def found(self, routes: Iterable[RoutePlan], _instances: Mapping[str, InstancePlan]) -> dict[RouteKey, list[str]]:
        return {route.key: self.left[route.key] for route in routes if route.key in self.left}

    def keep(self, routes: Iterable[RoutePlan], _instances: Mapping[str, InstancePlan]) -> None:
        self.kept = [route.key for route in routes]

    def start(self) -> None:
        self.started = True

    def want(self, key: RouteKey, hops: Sequence[NextHopPlan]) -> None:
        assert key in self.kept
        names = tuple(hop.name for hop in hops)
        if self.wanted.get(key) != names:
            self.wanted[key] = names
            self.requests += 1
            self.listener.kernel_changed(key)

    def status(self, key: RouteKey) -> Status:
        taken = tuple(name for name in self.wanted.get(key, ()) if name not in self.refused_hops)
        refusals = {name: self.refused_hops[name] for name in self.wanted.get(key, ()) if name in self.refused_hops}
        return Status(taken or None, refusals)

    async def close(self, *, withdraw: bool) -> None:
        if withdraw and self.closed is None:
            for key in self.kept:
                self.want(key, ())
        self.closed = withdraw


def install() -> type[FakeInstaller]:
    """A class whose instances are remembered apart from those of others."""
    return type("Installer", (FakeInstaller,), {"made": [], "left": {}, "refuse_to_open": []})
