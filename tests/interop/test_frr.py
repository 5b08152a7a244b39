"""FRR beside tracked routes: zebra takes them for kernel routes, chooses among all, and its neighbour hears of it.

What docs/routes.md says of FRR is what happens here: `zebra` and `bgpd` of Debian's package run in the namespace of the
edge, and those of a neighbour inside the site.
"""

from __future__ import annotations

import signal
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import pytest

from netns.programs import until
from netns.router import Router, missing_router
from netns.topology import missing_requirement, run
from netns.uplinks import EDGE_INSIDE, FAR_PREFIX, HOST_ADDRESS, RoutingDaemon, Uplinks, document

if TYPE_CHECKING:
    from collections.abc import Callable

EDGE_AS, NEIGHBOUR_AS = 64_512, 64_513
FAMILIES = (4, 6)

pytestmark = pytest.mark.skipif(missing_router() is not None, reason=str(missing_router()))

EDGE = f"""
ip route {FAR_PREFIX[4]} blackhole
ipv6 route {FAR_PREFIX[6]} blackhole
router bgp {EDGE_AS}
 bgp router-id {EDGE_INSIDE[4]}
 no bgp ebgp-requires-policy
 neighbor {HOST_ADDRESS[4]} remote-as {NEIGHBOUR_AS}
 neighbor {HOST_ADDRESS[6]} remote-as {NEIGHBOUR_AS}
 address-family ipv4 unicast
  redistribute kernel
  no neighbor {HOST_ADDRESS[6]} activate
 exit-address-family
 address-family ipv6 unicast
  redistribute kernel
  neighbor {HOST_ADDRESS[6]} activate
 exit-address-family
"""
NEIGHBOUR = f"""
router bgp {NEIGHBOUR_AS}
 bgp router-id {HOST_ADDRESS[4]}
 no bgp ebgp-requires-policy
 neighbor {EDGE_INSIDE[4]} remote-as {EDGE_AS}
 neighbor {EDGE_INSIDE[6]} remote-as {EDGE_AS}
 address-family ipv4 unicast
  no neighbor {EDGE_INSIDE[6]} activate
 exit-address-family
 address-family ipv6 unicast
  neighbor {EDGE_INSIDE[6]} activate
 exit-address-family
"""


def edge_routes(net: Uplinks) -> dict[str, Any]:
    """Both families through both uplinks."""
    track = {"limits": {"loss": "30%"}, "window": "500ms"}
    hops = {
        family: {net.isp_address(name, family): {"test": f"up-{name}/quality"} for name in net.names}
        for family in FAMILIES
    }
    return {"track": track, "route": {FAR_PREFIX[family]: {"next-hop": hops[family]} for family in FAMILIES}}


def test_zebra_chooses_tracked_routes_and_a_neighbour_hears_of_them(tmp_path: Path) -> None:
    reason = missing_requirement()
    if reason is not None:
        pytest.skip(reason)
    with ExitStack() as stack:
        net = stack.enter_context(Uplinks("a", "b"))
        far = document(net, "far", {})
        stack.enter_context(RoutingDaemon(net.far, tmp_path, {"server": far["server"]}, name="far"))
        # FRR's user may not look below pytest's folder.
        folders = [Path(stack.enter_context(TemporaryDirectory(prefix="twoway-frr-"))) for _ in range(2)]
        edge = stack.enter_context(Router(net.edge, folders[0], EDGE).running())
        neighbour = stack.enter_context(Router(net.host, folders[1], NEIGHBOUR).running())
        for family in FAMILIES:
            until(partial(_chooses, edge, family, "static"), "zebra has its own route")
        configuration = document(net, "edge", edge_routes(net))
        daemon = stack.enter_context(RoutingDaemon(net.edge, tmp_path, configuration, name="edge"))
        beside = Beside(net, edge, neighbour, daemon)

        beside.has("kernel", heard=True)
        (ours,) = [route for route in edge.routes(4, FAR_PREFIX[4]) if route["protocol"] == "kernel"]
        assert (ours["distance"], ours["metric"]) == (0, 0)
        beside.uses("a", "b")
        (heard,) = [route for route in neighbour.routes(4, FAR_PREFIX[4]) if route["protocol"] == "bgp"]
        assert [hop["ip"] for hop in heard["nexthops"]] == [EDGE_INSIDE[4]]

        net.wires["a"].degrade(forward={"loss": 1.0})
        beside.uses("b")
        beside.has("kernel", heard=True)

        net.wires["b"].degrade(backward={"loss": 1.0})
        beside.has("static", heard=False)
        for family in FAMILIES:
            shown = run("ip", "-n", net.edge.name, f"-{family}", "route", "show", FAR_PREFIX[family])
            assert "blackhole" in shown, "zebra's own route is in the kernel, which has ours no more"
            assert "proto 94" not in shown

        net.wires["a"].mend()
        net.wires["b"].mend()
        beside.uses("a", "b")

        daemon.signal(signal.SIGKILL)
        daemon.wait()
        beside.daemon = stack.enter_context(RoutingDaemon(net.edge, tmp_path, configuration, name="again"))
        beside.uses("a", "b")
        net.wires["b"].degrade(forward={"loss": 1.0})
        beside.uses("a")
        beside.has("kernel", heard=True)


class Beside:
    """FRR and twoway on one router, and the neighbour."""

    def __init__(self, net: Uplinks, edge: Router, neighbour: Router, daemon: RoutingDaemon) -> None:
        self.net, self.edge, self.neighbour, self.daemon = net, edge, neighbour, daemon

    def has(self, chosen: str, *, heard: bool) -> None:
        """Wait until zebra has chosen this kind of route, and the neighbour has heard of it or not."""
        for family in FAMILIES:
            prefix = FAR_PREFIX[family]
            self._waits(partial(_chooses, self.edge, family, chosen), f"zebra chooses {chosen}")
            what = f"the neighbour {'has' if heard else 'has no'} route to {prefix}"
            self._waits(partial(_hears, self.neighbour, family, heard=heard), what)

    def uses(self, *names: str) -> None:
        """Wait until zebra has these next hops, of both families."""
        for family in FAMILIES:
            wanted = {self.net.isp_address(name, family) for name in names}
            self._waits(partial(_uses, self.edge, family, wanted), f"zebra uses {', '.join(wanted)}")

    def _waits(self, condition: Callable[[], bool], what: str) -> None:
        self.daemon.awaits(condition, what)


def _chooses(router: Router, family: int, protocol: str) -> bool:
    return router.chosen(family, FAR_PREFIX[family]) == protocol


def _hears(router: Router, family: int, *, heard: bool) -> bool:
    return _chooses(router, family, "bgp") is heard


def _uses(router: Router, family: int, gateways: set[str]) -> bool:
    """Whether the kernel route that zebra has selected has these next hops."""
    return gateways == {
        hop["ip"]
        for route in router.routes(family, FAR_PREFIX[family])
        if route["protocol"] == "kernel" and route.get("selected")
        for hop in route["nexthops"]
    }
