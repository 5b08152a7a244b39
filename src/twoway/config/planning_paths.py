"""What the paths of a test-session come to. Pure.

Statements that lead nowhere, or not together, are refused by their own names; what a path becomes is a `ForwardPath`
and a `ReturnPath`, and each of several paths a session of its own.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from ipaddress import ip_address
from typing import TYPE_CHECKING

from twoway.config.path import MOST_PATHS
from twoway.config.plan import Lane
from twoway.errors import ConfigError
from twoway.path import PLAIN, ForwardPath, ReturnPath

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from twoway.config.document import Path as Place
    from twoway.config.model.client import TestSession
    from twoway.config.model.source_routing import Back, Forward, Path, SourceRouting
    from twoway.config.plan import SessionPlan

    Refuse = Callable[[Place, str], None]

_LONGEST_NAME = 32
"""Octets of a test-session's name."""


@dataclass(frozen=True, slots=True)
class Way:
    """A path as a session takes it."""

    forward: ForwardPath = PLAIN
    back: ReturnPath | None = None
    micro_session: tuple[int, int] | None = None


class Ways:
    """The paths of one test-session."""

    def __init__(self, place: Place, model: TestSession, target: str | None, *, stamp: bool, refuse: Refuse) -> None:
        """`target`: numeric address or name, where it is known. `stamp`: whether probes can carry TLVs."""
        self._place = place
        self._model = model
        self._target = target
        self._stamp = stamp
        self._refuse = refuse

    def plans(self, made: Callable[[Way], SessionPlan | None], *, light: bool) -> list[SessionPlan]:
        """A session for each path, made by `made`."""
        paths = self._model.path
        if not paths:
            plan = made(self._way((*self._place, "source-routing"), self._model.source_routing))
            return [] if plan is None else [plan]
        self._check_set(paths, light=light)
        plans = []
        for number, (name, path) in enumerate(paths.items()):
            plan = made(self._way((*self._place, "path", name), path, path.micro_session_id))
            if plan is None:
                break  # what is wrong with the session is wrong with all its paths
            plans.append(replace(plan, name=f"{plan.name}:{name}", lane=Lane(plan.name, name, number, len(paths))))
        return plans

    def _check_set(self, paths: Mapping[str, Path], *, light: bool) -> None:
        place = (*self._place, "path")
        if not light:
            self._refuse(place, "negotiated sessions begin when their Server says: several paths are for light ones")
        if self._model.written("source_routing"):
            self._refuse((*self._place, "source-routing"), "it is the way of a session without path")
        if len(paths) > MOST_PATHS:
            self._refuse(place, f"{len(paths)} paths are more than {MOST_PATHS}")
        if self._model.source_port and len(paths) > 1:
            self._refuse((*self._place, "source-port"), "the paths of one test-session cannot share it: leave it out")
        session = str(self._place[-1])
        for name in paths:
            if len(session) + 1 + len(name) > _LONGEST_NAME:
                whole = f"{session}:{name}"
                self._refuse((*place, name), f"{whole} would be its name, with more than {_LONGEST_NAME} characters")

    def _way(self, place: Place, model: SourceRouting, micro_session_id: int = 0) -> Way:
        forward = self._forward((*place, "forward"), model.forward)
        back = self._back((*place, "return"), model.back)
        kinds = {way.kind for way in (forward, back) if way is not None and way.kind in ("mpls", "srv6")}
        if len(kinds) > 1:
            self._refuse((*place, "return"), "there and back go by segments of one kind")
        return Way(forward, back, self._micro_session(place, model, forward, micro_session_id))

    def _micro_session(
        self, place: Place, model: SourceRouting, forward: ForwardPath, ours: int
    ) -> tuple[int, int] | None:
        far = getattr(model, "reflector_micro_session_id", 0)
        if not ours:
            if far:
                self._refuse((*place, "reflector-micro-session-id"), "it goes with a micro-session-id")
            return None
        if not self._stamp:
            self._refuse((*place, "micro-session-id"), "only STAMP packets carry one")
            return None
        if forward.interface is None:
            self._refuse((*place, "micro-session-id"), "a member of a LAG is named by forward.interface")
        return ours, far

    def _forward(self, place: Place, model: Forward) -> ForwardPath:
        if model.srmpls_nodes and model.srv6_nodes:
            self._refuse((*place, "srv6-nodes"), "there are srmpls-nodes already: one way has one kind of segments")
            return PLAIN
        hop = (("gateway", model.gateway), ("interface", model.interface))
        if model.srv6_nodes:
            if not self._leads_there(place):
                return PLAIN
            for statement, value in hop:
                if value is not None:
                    self._refuse((*place, statement), "the kernel routes SRv6 packets to their first segment")
            return ForwardPath("srv6", segments=model.srv6_nodes)
        if model.gateway is not None and not self._same_family(model.gateway):
            self._refuse((*place, "gateway"), f"{model.gateway} and {self._target} are not of the same address family")
        if model.srmpls_nodes:
            return ForwardPath("mpls", labels=model.srmpls_nodes, gateway=model.gateway, interface=model.interface)
        if model.interface is not None:
            return ForwardPath("link", gateway=model.gateway, interface=model.interface)
        if model.gateway is not None:
            self._refuse((*place, "gateway"), "it goes with srmpls-nodes or an interface")
        return PLAIN

    def _back(self, place: Place, model: Back) -> ReturnPath | None:
        asked = [
            statement
            for statement, value in (("srmpls-nodes", model.srmpls_nodes), ("srv6-nodes", model.srv6_nodes))
            if value
        ]
        if model.same_link:
            asked.append("same-link")
        if len(asked) > 1:
            self._refuse((*place, asked[1]), f"there is {asked[0]} already: replies take one way")
            return None
        if not asked and model.address is None:
            return None
        if not self._stamp:
            self._refuse(place, "only STAMP packets can ask for a way back: it is for control-type light")
            return None
        if model.address is not None and not self._same_family(model.address):
            self._refuse((*place, "address"), f"{model.address} and {self._target} are not of the same address family")
            return None
        if model.srv6_nodes and not self._leads_there(place):
            return None
        try:
            if model.srmpls_nodes:
                return ReturnPath("mpls", labels=model.srmpls_nodes, address=model.address)
            if model.srv6_nodes:
                return ReturnPath("srv6", segments=model.srv6_nodes, address=model.address)
            return ReturnPath("same-link" if model.same_link else "address", address=model.address)
        except ConfigError as error:
            self._refuse(place, error.reason)
            return None

    def _leads_there(self, place: Place) -> bool:
        """Whether srv6-nodes can lead to the target."""
        if self._numeric_version == 4:
            problem = f"they lead IPv6 packets, and {self._target} is an IPv4 address"
            self._refuse((*place, "srv6-nodes"), problem)
            return False
        return True

    @property
    def _numeric_version(self) -> int | None:
        try:
            return None if self._target is None else ip_address(self._target).version
        except ValueError:
            return None

    def _same_family(self, address: str) -> bool:
        return self._numeric_version in (None, ip_address(address).version)
