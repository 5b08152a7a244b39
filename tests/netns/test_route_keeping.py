"""What a daemon does with the kernel's table: its own routes alone, whoever else is there, and however it ends."""

import json
import shutil
import signal
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest

from .programs import TWOWAY, Program, run_twoway, skip_unless_reachable
from .topology import Namespace, run
from .uplinks import FAR_PREFIX, RoutingDaemon, Uplinks, document

FAR, FAR6 = FAR_PREFIX[4], FAR_PREFIX[6]
PROTOCOL = 94


@pytest.fixture(scope="module")
def net(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Uplinks]:
    """Two uplinks, behind which somebody answers."""
    with Uplinks("a", "b") as made:
        far = document(made, "far", {})
        with RoutingDaemon(made.far, tmp_path_factory.mktemp("far"), {"server": far["server"]}, name="far"):
            yield made


@pytest.fixture(autouse=True)
def clean(net: Uplinks) -> Iterator[None]:
    """Nothing is left behind by a test."""
    yield
    for family in ("-4", "-6"):
        run("ip", "-n", net.edge.name, family, "route", "flush", "table", "all", "proto", str(PROTOCOL))
        run("ip", "-n", net.edge.name, family, "route", "flush", "table", "all", "proto", "static")
    for name in net.names:
        net.wires[name].mend()


def both(net: Uplinks, **statements: Any) -> dict[str, Any]:  # noqa: ANN401  (whatever a configuration holds)
    """A route to what is far, in both families, through both uplinks."""
    track = {"limits": {"loss": "30%"}, "window": "500ms"}
    hops = {net.isp_address(name): {"test": f"up-{name}/quality"} for name in net.names}
    hops6 = {net.isp_address(name, 6): {"test": f"up-{name}/quality"} for name in net.names}
    routes = {"track": track, "route": {FAR: {"next-hop": hops}, FAR6: {"next-hop": hops6}}}
    return document(net, "edge", {**routes, **{name.replace("_", "-"): each for name, each in statements.items()}})


def shown(net: Uplinks, prefix: str, *more: str, namespace: Namespace | None = None) -> list[dict[str, Any]]:
    """The kernel's routes to a prefix."""
    family = "-6" if ":" in prefix else "-4"
    name = (namespace or net.edge).name
    return list(json.loads(run("ip", "-n", name, family, "-json", "route", "show", *more, prefix)))


def ours(net: Uplinks, prefix: str, *more: str) -> set[str]:
    """Gateways of our own routes to a prefix."""
    mine = [route for route in shown(net, prefix, *more) if route["protocol"] == str(PROTOCOL)]
    return {hop["gateway"] for route in mine for hop in route.get("nexthops", [route])}


def gateways(net: Uplinks, prefix: str = FAR) -> set[str]:
    return {net.isp_address(name, 6 if ":" in prefix else 4) for name in net.names}


@contextmanager
def keeping(net: Uplinks, folder: Path, configuration: dict[str, Any], name: str = "edge") -> Iterator[RoutingDaemon]:
    """A daemon that has put both routes in."""
    with RoutingDaemon(net.edge, folder, configuration, name=name) as daemon:
        for prefix in (FAR, FAR6):
            daemon.awaits(lambda prefix=prefix: ours(net, prefix) == gateways(net, prefix), f"{prefix} is there")  # type: ignore[misc]
        yield daemon


# Its end, and its next beginning.


@pytest.mark.parametrize(("on_exit", "stays"), [("keep", True), ("withdraw", False)])
def test_at_the_end_routes_stay_or_go_as_configured(net: Uplinks, tmp_path: Path, on_exit: str, stays: bool) -> None:
    with keeping(net, tmp_path, both(net, on_exit=on_exit)) as daemon:
        assert daemon.stop() == 0
    for prefix in (FAR, FAR6):
        assert ours(net, prefix) == (gateways(net, prefix) if stays else set())


def test_after_a_kill_the_next_start_takes_over_what_is_there(net: Uplinks, tmp_path: Path) -> None:
    with keeping(net, tmp_path, both(net)) as daemon:
        daemon.signal(signal.SIGKILL)
        daemon.wait()
    net.edge.ip(f"route add 198.18.0.0/15 via {net.isp_address('a')} proto {PROTOCOL} metric 7")
    net.edge.ip(f"route add 198.19.0.0/16 via {net.isp_address('a')} proto static")
    net.wires["a"].degrade(forward={"loss": 1.0})
    watch = Program(net.edge.command("ip", "-4", "monitor", "route"), tmp_path, "monitor")
    with watch as monitor, RoutingDaemon(net.edge, tmp_path, both(net), name="again") as daemon:
        assert ours(net, FAR) == gateways(net), "nothing is known yet: what is there stays"
        daemon.awaits(lambda: ours(net, FAR) == {net.isp_address("b")}, "a is given up")
        daemon.awaits(lambda: ours(net, FAR6) == {net.isp_address("b", 6)}, "of both families")
        assert not shown(net, "198.18.0.0/15"), "ours, and nobody wants it"
        assert shown(net, "198.19.0.0/16"), "not ours"
        daemon.stop()
    there = 1
    for line in monitor.stdout.splitlines():
        if FAR in line:
            there += -1 if line.startswith("Deleted") else 1
            assert there, "packets always had a route"


def test_two_daemons_with_the_same_number_do_not_fight(net: Uplinks, tmp_path: Path) -> None:
    with keeping(net, tmp_path, both(net)) as first:
        second = RoutingDaemon(
            net.edge, tmp_path, {"routes": both(net)["routes"], **_client(net)}, "second", await_ready=False
        )
        with second:
            assert second.wait() == 2
        assert f"routes of protocol {PROTOCOL} are kept by process {first.process.pid}" in second.stderr
        other = {**both(net, protocol=95), "server": {}}
        other["routes"]["route"].pop(FAR6)
        with RoutingDaemon(net.edge, tmp_path, other, "third") as third:
            third.awaits(lambda: third.kernel(FAR) != [], "with another number it may")
            assert len(shown(net, FAR)) == 2
            third.configure(_with(other, protocol=PROTOCOL))
            third.signal(signal.SIGHUP)
            third.awaits(lambda: bool(third.told("configuration-refused")), "the reload is refused")
            assert "are kept by process" in third.told("configuration-refused")[0]
            assert third.kernel(FAR) != []
            first.signal(signal.SIGKILL)
            first.wait()
            third.signal(signal.SIGHUP)
            third.awaits(lambda: bool(third.told("configuration-reloaded")), "now it may")
            third.awaits(lambda: ours(net, FAR) == gateways(net), "it has taken over")
            third.awaits(lambda: len(shown(net, FAR)) == 1, "and left nothing behind")


def _client(net: Uplinks) -> dict[str, Any]:
    return {"client": both(net)["client"]}


def _with(configuration: dict[str, Any], **routes: object) -> dict[str, Any]:
    return {**configuration, "routes": {**configuration["routes"], **routes}}


# Others.


def test_what_others_do_to_our_routes_is_put_right(net: Uplinks, tmp_path: Path) -> None:
    with keeping(net, tmp_path, both(net)) as daemon:
        for prefix in (FAR, FAR6):
            family = "-6" if ":" in prefix else "-4"
            run("ip", "-n", net.edge.name, family, "route", "del", prefix, "proto", str(PROTOCOL))
            daemon.awaits(lambda prefix=prefix: ours(net, prefix) == gateways(net, prefix), f"{prefix} is back")  # type: ignore[misc]
        (metric,) = [route.get("metric", 0) for route in shown(net, FAR)]
        replaced = f"route replace {FAR} via {net.isp_address('a')} metric {metric} proto {PROTOCOL}"
        net.edge.ip(replaced)
        daemon.awaits(lambda: ours(net, FAR) == gateways(net), "both next hops are back")
        told = daemon.told("route-foreign-change")
        assert len(told) == 3
        assert all("it is put right" in message for message in told)
        assert told[2].startswith(f"{FAR}: somebody else changed it: ")
        health = daemon.api.get("/v1/health")["routes"]
        assert health["foreign_changes"] == 3


def test_or_reported_alone(net: Uplinks, tmp_path: Path) -> None:
    with keeping(net, tmp_path, both(net, foreign_change="report")) as daemon:
        requests = daemon.api.get("/v1/health")["routes"]["requests"]
        # What is put right is so before anything is heard of the next route.
        for number, (family, prefix) in enumerate((("-4", FAR), ("-6", FAR6)), 1):
            run("ip", "-n", net.edge.name, family, "route", "del", prefix, "proto", str(PROTOCOL))
            daemon.awaits(lambda number=number: len(daemon.told("route-foreign-change")) == number, "it is told")  # type: ignore[misc]
        route = daemon.route(FAR)
        assert (route["kernel"], route["state"]) == (None, "degraded")
        assert [hop["used"] for hop in route["next_hops"]] == [True, True]
        assert ours(net, FAR) == set()
        assert daemon.api.get("/v1/health")["routes"]["requests"] == requests
        net.wires["a"].degrade(forward={"loss": 1.0})
        daemon.awaits(lambda: ours(net, FAR) == {net.isp_address("b")}, "the next decision puts it in again")


@pytest.mark.parametrize("family", [4, 6])
def test_routes_of_others_are_never_touched(net: Uplinks, tmp_path: Path, family: int) -> None:
    prefix = FAR_PREFIX[family]
    theirs = f"{prefix} via {net.isp_address('b', family)} proto static"
    net.edge.ip(f"route add {theirs} metric 7", f"route add {theirs} metric {0 if family == 4 else 1}")
    before = [route for route in shown(net, prefix) if route["protocol"] == "static"]
    assert len(before) == 2
    configuration = both(net)
    configuration["routes"]["route"].pop(FAR if family == 6 else FAR6)
    with RoutingDaemon(net.edge, tmp_path, configuration) as daemon:
        if family == 4:
            daemon.awaits(lambda: ours(net, prefix) == gateways(net), "ours is beside theirs")
            assert shown(net, prefix)[0]["protocol"] == str(PROTOCOL), "and before them"
            net.wires["a"].degrade(forward={"loss": 1.0})
            daemon.awaits(lambda: ours(net, prefix) == {net.isp_address("b")}, "a is given up")
        else:
            daemon.awaits(lambda: bool(daemon.told("route-refused")), "it is refused")
            assert "another's route has its place" in str(daemon.route(prefix)["refused"])
            assert ours(net, prefix) == set()
            net.edge.ip(f"route del {theirs} metric 1")
            daemon.awaits(lambda: ours(net, prefix) == gateways(net, prefix), "the place is free")
            before = [route for route in before if route["metric"] != 1]
        daemon.stop()
    assert [route for route in shown(net, prefix) if route["protocol"] == "static"] == before


def test_an_overrun_is_made_up_for(net: Uplinks, tmp_path: Path) -> None:
    """While it stands still, others change more than the kernel can tell it of; among that, its own routes."""
    with keeping(net, tmp_path, both(net)) as daemon:
        daemon.signal(signal.SIGSTOP)
        lines = [
            f"route {what} 198.18.{n // 250}.{n % 250}/32 via {net.isp_address('a')} proto static"
            for what in ("add", "del")
            for n in range(20_000)
        ]
        net.edge.ip(f"route del {FAR} proto {PROTOCOL}", *lines)
        daemon.signal(signal.SIGCONT)
        daemon.awaits(lambda: ours(net, FAR) == gateways(net), "it is put right")
        assert daemon.api.get("/v1/health")["routes"]["overruns"] >= 1
        assert "are read again" in daemon.told("routes-overrun")[0]


# What the kernel refuses.


def test_an_interface_that_comes_and_goes(net: Uplinks, tmp_path: Path) -> None:
    configuration = both(net)
    configuration["routes"]["route"] = {
        FAR: {"next-hop": {"ppp0": {"test": "up-a/quality"}, net.isp_address("b"): {"test": "up-b/quality"}}}
    }

    def devices() -> set[str]:
        mine = [route for route in shown(net, FAR) if route["protocol"] == str(PROTOCOL)]
        return {hop["dev"] for route in mine for hop in route.get("nexthops", [route])}

    with RoutingDaemon(net.edge, tmp_path, configuration) as daemon:
        daemon.awaits(lambda: devices() == {"wan-b"}, "b alone")
        hop = daemon.route(FAR)["next_hops"][0]
        assert (hop["used"], hop["active"], hop["refused"]) == (True, False, "there is no interface ppp0")
        assert daemon.route(FAR)["state"] == "degraded"
        for _ in range(2):
            net.edge.ip("link add ppp0 type bridge", "link set ppp0 up", "address add 10.77.0.1/24 dev ppp0")
            daemon.awaits(lambda: devices() == {"wan-b", "ppp0"}, "both")
            daemon.awaits(lambda: daemon.route(FAR)["state"] == "active", "and it says so")
            net.edge.ip("link del ppp0")
            daemon.awaits(lambda: devices() == {"wan-b"}, "b alone again")
            daemon.awaits(lambda: daemon.kernel(FAR) == [net.isp_address("b")], "and it says so")
        assert not daemon.told("route-foreign-change")


def test_a_next_hop_that_is_on_no_link(net: Uplinks, tmp_path: Path) -> None:
    configuration = both(net)
    for prefix, odd in ((FAR, "192.0.2.77"), (FAR6, "2001:db8:77::1")):
        configuration["routes"]["route"][prefix]["next-hop"][odd] = {"test": "up-a/quality"}
    with keeping(net, tmp_path, configuration) as daemon:
        for prefix, words in ((FAR, "Nexthop has invalid gateway"), (FAR6, "No route to host")):
            hop = daemon.route(prefix)["next_hops"][2]
            assert (hop["used"], hop["active"]) == (True, False)
            assert words in hop["refused"], hop
        assert len(daemon.told("route-refused")) == 2
        net.edge.ip("address add 192.0.2.1/24 dev wan-a", "address add 2001:db8:77::2/64 dev wan-a nodad")
        daemon.awaits(lambda: len(daemon.kernel(FAR)) == len(daemon.kernel(FAR6)) == 3, "it is there with its network")
        net.edge.ip("address del 192.0.2.1/24 dev wan-a", "address del 2001:db8:77::2/64 dev wan-a")


def test_without_the_privilege_it_measures_and_says_what_is_missing(net: Uplinks, tmp_path: Path) -> None:
    dropped = ["setpriv", "--bounding-set=-net_admin", "--inh-caps=-net_admin"]
    with RoutingDaemon(net.edge, tmp_path, both(net), before=dropped) as daemon:
        daemon.awaits(lambda: bool(daemon.told("route-refused")), "it is refused")
        for prefix in (FAR, FAR6):
            refused = {hop["refused"] for hop in daemon.route(prefix)["next_hops"] if hop["used"]}
            assert refused == {"not permitted: changing routes needs CAP_NET_ADMIN"}
        assert daemon.route(FAR)["next_hops"][0]["state"] == "up"


# Where routes are.


def test_the_capability_is_all_that_it_takes(net: Uplinks) -> None:
    """As the unit runs it: no root, nothing but CAP_NET_ADMIN, and no way to more."""
    kept = ["--bounding-set=-all,+net_admin", "--inh-caps=-all,+net_admin", "--ambient-caps=+net_admin"]
    user = ["setpriv", "--reuid", "nobody", "--regid", "nogroup", "--clear-groups", "--no-new-privs", *kept]
    skip_unless_reachable("nobody")
    with TemporaryDirectory(prefix="twoway-routes-") as folder:  # that user may not look below pytest's
        shutil.chown(folder, "nobody", "nogroup")
        configuration = {**both(net), "server": {}}  # its port 862 would take another capability
        with RoutingDaemon(net.edge, Path(folder), configuration, before=user) as daemon:
            daemon.awaits(lambda: bool(ours(net, FAR)), "the route is there")
            status = Path(f"/proc/{daemon.process.pid}/status").read_text(encoding="ascii")
            assert "CapEff:\t0000000000001000\n" in status


def test_tables_and_namespaces(net: Uplinks, tmp_path: Path) -> None:
    configuration = both(net)
    hops = configuration["routes"]["route"][FAR]["next-hop"]
    other = {net.edge_address("a"): {"test": "up-a/quality"}}
    configuration["routes"]["routing-instance"] = {
        "guests": {"table": 1234, "route": {FAR: {"next-hop": hops}, "0.0.0.0/0": {"next-hop": hops}}},
        "isp": {"netns": net.isps["a"].name, "route": {"198.18.0.0/15": {"next-hop": other}}},
    }
    with keeping(net, tmp_path, configuration) as daemon:
        daemon.awaits(lambda: ours(net, FAR, "table", "1234") == gateways(net), "it is in its table")
        daemon.awaits(lambda: ours(net, "default", "table", "1234") == gateways(net), "and the default route")
        daemon.awaits(lambda: len(shown(net, "198.18.0.0/15", namespace=net.isps["a"])) == 1, "in another namespace")
        assert set(daemon.routes()) == {FAR, FAR6, f"{FAR}@guests", "0.0.0.0/0@guests", "198.18.0.0/15@isp"}
        assert daemon.route("198.18.0.0/15@isp")["table"] == f"{net.isps['a'].name}:main"
        run("ip", "-n", net.isps["a"].name, "route", "del", "198.18.0.0/15")
        daemon.awaits(lambda: len(shown(net, "198.18.0.0/15", namespace=net.isps["a"])) == 1, "watched there, too")
        net.wires["a"].degrade(forward={"loss": 1.0})
        daemon.awaits(lambda: not shown(net, "198.18.0.0/15", namespace=net.isps["a"]), "and withdrawn")
        daemon.awaits(lambda: ours(net, FAR, "table", "1234") == {net.isp_address("b")}, "as in the table")


# A reload, a hold, a command.


def test_a_reload_moves_nothing_that_stays(net: Uplinks, tmp_path: Path) -> None:
    watch = net.edge.command("ip", "monitor", "route")
    configuration = both(net)
    with keeping(net, tmp_path, configuration) as daemon, Program(watch, tmp_path, "monitor") as monitor:
        more = json.loads(json.dumps(configuration))
        more["routes"]["route"]["198.18.0.0/15"] = more["routes"]["route"][FAR]
        more["routes"]["track"]["window"] = "600ms"
        daemon.configure(more)
        daemon.signal(signal.SIGHUP)
        daemon.awaits(lambda: ours(net, "198.18.0.0/15") == gateways(net), "the new route is there")
        daemon.configure(configuration)
        daemon.signal(signal.SIGHUP)
        daemon.awaits(lambda: ours(net, "198.18.0.0/15") == set(), "and gone")
        changes = monitor.stdout.splitlines()
        assert not [line for line in changes if FAR in line or FAR6 in line]
        assert daemon.route(FAR)["next_hops"][0]["state"] == "up"


def test_hold_release_and_show_by_hand(net: Uplinks, tmp_path: Path) -> None:
    with keeping(net, tmp_path, both(net)) as daemon:

        def twoway(*words: str) -> str:
            done = run_twoway([TWOWAY, *words, "--api", str(daemon.socket)])
            assert done.code == 0, done.stderr
            return done.stdout

        said = twoway("request", "routes", "hold", FAR, "--next-hop", net.isp_address("b"))
        assert said == f"{FAR} is held: {net.isp_address('b')}\n"
        daemon.awaits(lambda: ours(net, FAR) == {net.isp_address("b")}, "b alone")
        net.wires["b"].degrade(forward={"loss": 1.0})
        daemon.awaits(lambda: daemon.route(FAR)["next_hops"][1]["state"] == "down", "b is bad")
        assert ours(net, FAR) == {net.isp_address("b")}
        listing = twoway("show", "route", "sla-tracking", FAR)
        assert f"State: active by {net.isp_address('b')}, held" in listing
        assert "up-b/quality" in listing
        twoway("request", "routes", "release", FAR)
        daemon.awaits(lambda: ours(net, FAR) == {net.isp_address("a")}, "released: a, which is good")
        metrics = _metrics(daemon)
        assert (
            f'twoway_route_next_hop_active{{prefix="{FAR}",routing_instance="",next_hop="{net.isp_address("a")}"}} 1'
            in metrics
        )
        assert f'twoway_route_held{{prefix="{FAR}",routing_instance=""}} 0' in metrics


def _metrics(daemon: RoutingDaemon) -> str:
    with socket.socket(socket.AF_UNIX) as asking:
        asking.settimeout(10)
        asking.connect(str(daemon.socket))
        asking.sendall(b"GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        octets = b""
        while part := asking.recv(1 << 16):
            octets += part
    return octets.decode()


def test_a_command_is_run_at_each_change(net: Uplinks, tmp_path: Path) -> None:
    out, hook = tmp_path / "out", tmp_path / "changed"
    hook.write_text(
        f'#!/bin/sh\necho "$1 $TWOWAY_EVENT $TWOWAY_PREFIX [$TWOWAY_NEXT_HOPS] [$TWOWAY_PREVIOUS_NEXT_HOPS]" >>{out}\n'
    )
    hook.chmod(0o755)
    configuration = both(net, hook={"command": [str(hook), "edge"]})
    configuration["routes"]["route"].pop(FAR6)
    with RoutingDaemon(net.edge, tmp_path, configuration) as daemon:
        daemon.awaits(lambda: ours(net, FAR) == gateways(net), "it is there")
        net.wires["a"].degrade(forward={"loss": 1.0})
        daemon.awaits(lambda: ours(net, FAR) == {net.isp_address("b")}, "a is given up")
        net.wires["b"].degrade(forward={"loss": 1.0})
        daemon.awaits(lambda: ours(net, FAR) == set(), "b is given up")
        daemon.stop()
    a, b = (net.isp_address(name) for name in net.names)
    lines = out.read_text().splitlines()
    assert lines[-2:] == [f"edge changed {FAR} [{b}] [{a} {b}]", f"edge unavailable {FAR} [] [{b}]"]
