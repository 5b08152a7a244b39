"""Tracked routes in real namespaces: uplinks are degraded under a TCP flow, which moves and comes back."""

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from twoway.analysis.metrics import METRICS

from .uplinks import FAR_PREFIX, SITE_PREFIX, Flow, RoutingDaemon, Uplinks, document, packets_sent

FAR, SITE = FAR_PREFIX[4], SITE_PREFIX[4]
LIMITS = {
    "loss": "10%",
    "loss-forward": "10%",
    "loss-backward": "10%",
    "rtt": {"limit-value": "30ms", "recover": "20ms"},
}


def primary_and_backup(net: Uplinks, end: str, family: int = 4, **track: object) -> dict[str, Any]:
    """A route through uplink a, and through b if that is bad."""
    via = net.isp_address if end == "edge" else net.isp_far_address
    prefix = (FAR_PREFIX if end == "edge" else SITE_PREFIX)[family]
    hops = {
        via(name, family): {"test": f"up-{name}/quality", "preference": preference}
        for preference, name in enumerate(net.names, 1)
    }
    judged = {"limits": LIMITS, "window": "1s", "up-delay": "1s", **track}
    return {"track": judged, "route": {prefix: {"next-hop": hops}}}


@dataclass
class Running:
    """The network with a daemon at both ends."""

    net: Uplinks
    edge: RoutingDaemon
    far: RoutingDaemon

    def use(self, *names: str) -> None:
        """Wait until both ends use these uplinks and no others."""
        forth = [self.net.isp_address(name) for name in names]
        back = [self.net.isp_far_address(name) for name in names]
        self.edge.awaits(lambda: self.edge.kernel(FAR) == forth, f"the edge uses {names}")
        self.far.awaits(lambda: self.far.kernel(SITE) == back, f"far uses {names}")
        assert self.net.used(self.net.edge, FAR) == {f"wan-{name}" for name in names}
        assert self.net.used(self.net.far, SITE) == {f"isp-{name}" for name in names}


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """Two uplinks, a before b, in front of and behind which a daemon runs."""
    folder = tmp_path_factory.mktemp("two")
    with ExitStack() as stack:
        net = stack.enter_context(Uplinks("a", "b"))
        edge, far = (
            stack.enter_context(
                RoutingDaemon(namespace, folder, document(net, end, primary_and_backup(net, end)), name=end)
            )
            for end, namespace in (("edge", net.edge), ("far", net.far))
        )
        yield Running(net, edge, far)


DEGRADED = {
    "loss of 30 % both ways": {"forward": {"loss": 0.3}, "backward": {"loss": 0.3}},
    "loss of 30 % there": {"forward": {"loss": 0.3}},
    "loss of 30 % back": {"backward": {"loss": 0.3}},
    "a blackhole": {"forward": {"loss": 1.0}, "backward": {"loss": 1.0}},
    "a blackhole there": {"forward": {"loss": 1.0}},
    "50 ms more": {"forward": {"delay_s": 0.025}, "backward": {"delay_s": 0.025}},
    "50 ms more back": {"backward": {"delay_s": 0.05}},
}


def moves_and_comes_back(two: Running, folder: Path, condition: dict[str, dict[str, float]]) -> None:
    """A flow over a, which is degraded under it and mended again."""
    net = two.net
    two.use("a")
    with Flow(net, folder) as flow:
        net.wires["a"].degrade(**condition)
        two.use("b")
        before = packets_sent(net.edge, "wan-b")
        two.edge.awaits(lambda: packets_sent(net.edge, "wan-b") > before + 400, "the flow goes through b")
        net.wires["a"].mend()
        two.use("a")
        seen = flow.end()
    assert seen["echoed"] == seen["sent"] > 400
    reason = two.edge.route(FAR)["reason"]
    assert "up-a/quality" in reason
    assert two.edge.route(FAR)["next_hops"][0]["flaps"] >= 1


@pytest.mark.parametrize("what", DEGRADED)
def test_a_flow_moves_to_the_other_uplink_and_comes_back(two: Running, tmp_path: Path, what: str) -> None:
    moves_and_comes_back(two, tmp_path, DEGRADED[what])


def test_it_moves_at_a_loss_of_five_percent_where_that_is_too_much(tmp_path: Path) -> None:
    limits = {"loss": {"limit-value": "2%", "recover": "1%"}}
    with ExitStack() as stack:
        net = stack.enter_context(Uplinks("a", "b"))
        edge, far = (
            stack.enter_context(
                RoutingDaemon(
                    namespace, tmp_path, document(net, end, primary_and_backup(net, end, limits=limits)), name=end
                )
            )
            for end, namespace in (("edge", net.edge), ("far", net.far))
        )
        moves_and_comes_back(Running(net, edge, far), tmp_path, {"forward": {"loss": 0.05}})


TOLD: dict[str, tuple[dict[str, object], dict[str, dict[str, float]]]] = {
    "a DSCP that is bleached there": ({"remarked-forward": 10}, {"forward": {"dscp": 0}}),
    "a DSCP that is bleached back": ({"remarked-backward": 10}, {"backward": {"dscp": 0}}),
    "loss there, as both ends count": ({"direct-loss-forward": "10%"}, {"forward": {"loss": 0.3}}),
    "loss back, as both ends count": ({"direct-loss-backward": "10%"}, {"backward": {"loss": 0.3}}),
}


def test_a_flow_moves_by_what_tlvs_tell(tmp_path: Path) -> None:
    """Each limit by itself moves the route of its own, and only that: four prefixes, one path that degrades."""
    prefixes = {what: f"198.51.{number}.0/24" for number, what in enumerate(TOLD)}
    with ExitStack() as stack:
        net = stack.enter_context(Uplinks("a", "b"))
        hops = {
            net.isp_address(name): {"test": f"up-{name}/quality", "preference": preference}
            for preference, name in enumerate(net.names, 1)
        }
        routes = {
            "track": {"window": "1s", "up-delay": "500ms"},
            "route": {
                prefixes[what]: {"next-hop": hops, "track": {"limits": limits}} for what, (limits, _) in TOLD.items()
            },
        }
        asked: dict[str, Any] = {"dscp_code_points": "ef", "data_size": 60, "tlvs": ["cos=af41", "direct-measurement"]}
        near = document(net, "edge", routes, **asked)
        far = document(net, "far", {})
        far.pop("routes")
        far.pop("client")
        far["server"]["light"]["tlvs"] = {"permit-dscp": ["af41"]}
        stack.enter_context(RoutingDaemon(net.far, tmp_path, far, name="far"))
        edge = stack.enter_context(RoutingDaemon(net.edge, tmp_path, near, name="edge"))

        def use(name: str, *moved: str) -> bool:
            used = {what: edge.kernel(prefix) for what, prefix in prefixes.items()}
            return all(used[what] == [net.isp_address(name if what in moved else "a")] for what in used)

        edge.awaits(lambda: use("a"), "all use a")
        for what, (limits, condition) in TOLD.items():
            net.wires["a"].degrade(**condition)
            edge.awaits(partial(use, "b", what), f"{what}: its route uses b")
            (limit,) = limits
            (label,) = {metric.label for metric in METRICS if metric.condition == limit}
            assert f"{label} " in edge.route(prefixes[what])["reason"]
            net.wires["a"].mend()
            edge.awaits(lambda: use("a"), f"{what}: mended")


def test_random_loss_below_the_limit_moves_nothing(tmp_path: Path) -> None:
    """Ten minutes of a probe each 100 ms and a window of a minute, twenty times as fast, under loss of 5 %."""
    minutes_s, faster = 600, 20
    with ExitStack() as stack:
        net = stack.enter_context(Uplinks("a", "b"))
        quick = document(net, "edge", primary_and_backup(net, "edge", window=f"{60_000 // faster}ms"))
        net.far.ip(f"route add {SITE} via {net.isp_far_address('a')}")
        far = document(net, "far", {})
        far.pop("routes")
        far.pop("client")
        stack.enter_context(RoutingDaemon(net.far, tmp_path, far, name="far"))
        net.wires["a"].degrade(forward={"loss": 0.05})
        edge = stack.enter_context(RoutingDaemon(net.edge, tmp_path, quick, name="edge"))
        edge.awaits(lambda: edge.kernel(FAR) == [net.isp_address("a")], "a is in use")
        flow = stack.enter_context(Flow(net, tmp_path, interval_s=0.05))

        def sent() -> int:
            (result,) = edge.api.get("/v1/client/probe-results", {"control-connection": "up-a"})["results"]
            (everything,) = [one for one in result["collections"] if one["collection"] == "all-tests"]
            return int(everything["sent"])

        edge.awaits(lambda: sent() >= minutes_s * 10, "ten minutes of probes", 2.0 * minutes_s / faster)
        shown = edge.route(FAR)
        assert shown["changes"] == 1, edge.told("route-changed")
        assert [hop["flaps"] for hop in shown["next_hops"]] == [0, 0]
        (result,) = edge.api.get("/v1/client/probe-results", {"control-connection": "up-a"})["results"]
        lost = result["collections"][-1]["loss_ratio"]
        assert 0.03 < lost < 0.07
        seen = flow.end()
        assert seen["echoed"] == seen["sent"]
        # And the limit is one: twice as much is too much.
        net.wires["a"].degrade(forward={"loss": 0.2})
        edge.awaits(lambda: edge.kernel(FAR) == [net.isp_address("b")], "b is in use")


def three(net: Uplinks, end: str) -> dict[str, Any]:
    """Two uplinks that share the load, and a third for when neither is good."""
    via = net.isp_address if end == "edge" else net.isp_far_address
    prefix = FAR if end == "edge" else SITE
    hops = {via(name): {"test": f"up-{name}/quality", "preference": 2 if name == "c" else 1} for name in net.names}
    track = {"limits": LIMITS, "window": "1s", "up-delay": "500ms"}
    return {"track": track, "route": {prefix: {"next-hop": hops}}}


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("loss of 30 % there", "loss of 30 % back"),
        ("a blackhole there", "50 ms more"),
        ("50 ms more back", "a blackhole"),
    ],
)
def test_three_uplinks_share_give_way_and_take_over(tmp_path: Path, first: str, second: str) -> None:
    with ExitStack() as stack:
        net = stack.enter_context(Uplinks("a", "b", "c"))
        edge, far = (
            stack.enter_context(RoutingDaemon(namespace, tmp_path, document(net, end, three(net, end)), name=end))
            for end, namespace in (("edge", net.edge), ("far", net.far))
        )
        running = Running(net, edge, far)
        running.use("a", "b")
        flow = stack.enter_context(Flow(net, tmp_path))
        net.wires["a"].degrade(**DEGRADED[first])
        running.use("b")
        net.wires["b"].degrade(**DEGRADED[second])
        running.use("c")
        net.wires["a"].mend()
        running.use("a")
        net.wires["b"].mend()
        running.use("a", "b")
        seen = flow.end()
        assert seen["echoed"] == seen["sent"]


def test_ipv6_by_link_local_gateways(tmp_path: Path) -> None:
    with ExitStack() as stack:
        net = stack.enter_context(Uplinks("a", "b", "c"))
        gateways = {name: f"{net.isps[name].link_local('edge')}%wan-{name}" for name in net.names}
        hops = {
            gateways[name]: {"test": f"up-{name}/quality", "preference": 2 if name == "c" else 1} for name in net.names
        }
        track = {"limits": LIMITS, "window": "1s", "up-delay": "500ms"}
        prefix = FAR_PREFIX[6]
        routes = {"track": track, "route": {prefix: {"next-hop": hops}}}
        far = document(net, "far", {}, family=6)
        far.pop("routes")
        far.pop("client")
        net.far.ip(f"route add {SITE_PREFIX[6]} via {net.isp_far_address('c', 6)}")
        stack.enter_context(RoutingDaemon(net.far, tmp_path, far, name="far"))
        edge = stack.enter_context(
            RoutingDaemon(net.edge, tmp_path, document(net, "edge", routes, family=6), name="edge")
        )

        def use(*names: str) -> None:
            edge.awaits(lambda: edge.kernel(prefix) == [gateways[name] for name in names], f"the edge uses {names}")
            assert net.used(net.edge, prefix) == {f"wan-{name}" for name in names}

        use("a", "b")
        flow = stack.enter_context(Flow(net, tmp_path, family=6))
        net.wires["a"].degrade(forward={"loss": 1.0}, backward={"loss": 1.0})
        use("b")
        net.wires["b"].degrade(forward={"delay_s": 0.05})
        use("c")
        net.wires["b"].mend()
        use("b")
        net.wires["a"].mend()
        use("a", "b")
        seen = flow.end()
        assert seen["echoed"] == seen["sent"]
