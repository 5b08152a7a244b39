"""What becomes of routes while they move: no gap, every decision kept and told, nothing lost to a reload."""

import json
import signal
import sqlite3
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import pytest

from .daemon_program import SyslogReceiver, TrapReceiver
from .programs import TWOWAY, Program, run_twoway, until
from .test_route_keeping import PROTOCOL, both, clean, gateways, keeping, net, ours, shown
from .uplinks import FAR_PREFIX, RoutingDaemon, Uplinks

__all__ = ["clean", "net"]
FAR, FAR6 = FAR_PREFIX[4], FAR_PREFIX[6]
_MOST = 16


def many_next_hops(net: Uplinks, family: int) -> dict[str, Any]:
    """Sixteen, half of them on each uplink: addresses, addresses with their interface, taken to be on its link, and (if
    IPv6) link-local."""
    hops: dict[str, Any] = {}
    for name in net.names:
        test = {"test": f"up-{name}/quality"}
        network, _, _ = net.isp_address(name, family).rpartition("." if family == 4 else ":")
        for last in range(20, 20 + _MOST // 2):
            address = f"{network}.{last}" if family == 4 else f"{network}:{last:x}"
            if last == 20:
                hops[f"{'192.0.2.7' if family == 4 else 'fe80::7'}%wan-{name}"] = {**test, "onlink": True}
            elif last % 2:
                hops[f"{address}%wan-{name}"] = test
            else:
                hops[address] = {**test, "weight": 3}
    return hops


@pytest.mark.parametrize("family", [4, 6])
def test_sixteen_next_hops_give_way_and_come_back_without_a_gap(net: Uplinks, tmp_path: Path, family: int) -> None:
    prefix = FAR_PREFIX[family]
    configuration = both(net)
    configuration["routes"]["route"] = {prefix: {"next-hop": many_next_hops(net, family)}}
    watch = net.edge.command("ip", f"-{family}", "monitor", "route")

    def hops() -> dict[str, int]:
        """Interface -> next hops of ours that go by it."""
        mine = [route for route in shown(net, prefix) if route["protocol"] == str(PROTOCOL)]
        devices = [hop["dev"] for route in mine for hop in route.get("nexthops", [route])]
        return {device: devices.count(device) for device in devices}

    with ExitStack() as stack:
        daemon = stack.enter_context(RoutingDaemon(net.edge, tmp_path, configuration))
        whole = {"wan-a": _MOST // 2, "wan-b": _MOST // 2}
        daemon.awaits(lambda: hops() == whole, "all sixteen are there")
        assert len(daemon.kernel(prefix)) == _MOST
        monitor = stack.enter_context(Program(watch, tmp_path, "monitor"))
        net.wires["a"].degrade(forward={"loss": 1.0})
        daemon.awaits(lambda: hops() == {"wan-b": _MOST // 2}, "half of them are")
        net.wires["a"].mend()
        daemon.awaits(lambda: hops() == whole, "all are there again")
        until(lambda: len([line for line in monitor.stdout.splitlines() if prefix in line]) >= 2, "both were told")
        told = [line for line in monitor.stdout.splitlines() if prefix in line]
        assert not [line for line in told if line.startswith("Deleted")], "each change is one step"
        shares = {hop["next_hop"]: hop["weight"] for hop in daemon.route(prefix)["next_hops"]}
        assert sorted(shares.values()) == [1] * 10 + [3] * 6


def test_prefixes_that_overlap_go_their_own_ways(net: Uplinks, tmp_path: Path) -> None:
    configuration = both(net)
    hops = {name: {net.isp_address(name): {"test": f"up-{name}/quality"}} for name in net.names}
    prefixes = {"203.0.0.0/16": "a", FAR: "b", "203.0.113.0/25": "a", "0.0.0.0/0": "b"}
    configuration["routes"]["route"] = {prefix: {"next-hop": hops[name]} for prefix, name in prefixes.items()}
    with RoutingDaemon(net.edge, tmp_path, configuration) as daemon:
        for prefix, name in prefixes.items():
            daemon.awaits(lambda p=prefix, n=name: daemon.kernel(p) == [net.isp_address(n)], f"{prefix} is there")  # type: ignore[misc]
        net.wires["a"].degrade(forward={"loss": 1.0})
        for prefix, name in prefixes.items():
            left = [] if name == "a" else [net.isp_address(name)]
            daemon.awaits(lambda p=prefix, left=left: daemon.kernel(p) == left, f"{prefix} is right")  # type: ignore[misc]
            assert ours(net, prefix) == set(left)


def test_a_dry_run_decides_and_tells_and_leaves_the_table_alone(net: Uplinks, tmp_path: Path) -> None:
    configuration = both(net)
    configuration["routes"]["dry-run"] = True
    with RoutingDaemon(net.edge, tmp_path, configuration) as daemon:
        daemon.awaits(
            lambda: all(hop["used"] for prefix in (FAR, FAR6) for hop in daemon.route(prefix)["next_hops"]),
            "it has decided",
        )
        net.wires["a"].degrade(forward={"loss": 1.0})
        gone = f"dry run: {net.isp_address('a')}, {net.isp_address('b')} -> {net.isp_address('b')}: "
        daemon.awaits(lambda: any(gone in message for message in daemon.told("route-changed")), "a is given up")
        for prefix in (FAR, FAR6):
            assert ours(net, prefix) == set()
            assert daemon.route(prefix)["dry_run"]
        assert daemon.api.get("/v1/health")["routes"]["requests"] == 0


def test_every_decision_is_kept_told_and_shown_with_its_reason(net: Uplinks, tmp_path: Path) -> None:
    store = tmp_path / "results.db"
    configuration = both(net, traps=["route-changed", "route-unavailable"])
    configuration["store"] = {"path": str(store)}
    configuration["notifications"] = {
        "syslog": [{"address": "127.0.0.1:514"}],
        "snmp": [{"address": "127.0.0.1:162"}],
    }
    with ExitStack() as stack:
        syslog = stack.enter_context(SyslogReceiver(net.edge))
        traps = stack.enter_context(TrapReceiver(net.edge, tmp_path))
        daemon = stack.enter_context(keeping(net, tmp_path, configuration))
        for name in net.names:
            net.wires[name].degrade(forward={"loss": 1.0})
            daemon.awaits(lambda name=name: net.isp_address(name) not in ours(net, FAR), f"{name} is given up")  # type: ignore[misc]
        daemon.awaits(lambda: len(daemon.told("route-unavailable")) == 2, "neither route has a next hop")
        decided = daemon.told("route-changed")
        assert len(decided) == daemon.api.get("/v1/health")["routes"]["changes"]
        last = next(message for message in reversed(decided) if message.startswith(FAR))
        assert f"{net.isp_address('b')} -> nothing: {net.isp_address('b')} is out: up-b/quality: loss " in last
        assert "over 500ms, limit 30%" in last
        until(lambda: syslog.notices().count("route-unavailable raised") == 2, "syslog has both alarms")
        assert syslog.notices().count("route-changed once") == len(decided)
        until(lambda: traps.names().count("route-unavailable") == 2, "and the receiver of traps")
        assert traps.names().count("route-changed") == len(decided)
        assert "next-hop-changed" not in traps.names(), "of which none was asked for"
        listing = run_twoway([TWOWAY, "show", "routes", FAR, "--api", str(daemon.socket)])
        assert "up-b/quality: loss" in listing.stdout
        daemon.signal(signal.SIGKILL)
        daemon.wait()
    with closing(sqlite3.connect(f"file:{store}?mode=ro", uri=True)) as reading:
        rows = reading.execute("SELECT data FROM event WHERE name = 'route-changed' ORDER BY at_ns, id").fetchall()
    assert [json.loads(data)["message"] for (data,) in rows] == decided, "kill -9 took none of them"
    with RoutingDaemon(net.edge, tmp_path, configuration, name="again") as daemon:
        assert daemon.told("route-changed")[: len(decided)] == decided, "the next daemon shows them"


def test_a_reload_in_the_middle_of_a_transition_loses_nothing(net: Uplinks, tmp_path: Path) -> None:
    configuration = both(net)
    configuration["routes"]["track"]["down-delay"] = "1h"
    a, b = (net.isp_address(name) for name in net.names)
    with keeping(net, tmp_path, configuration) as daemon:

        def first() -> dict[str, Any]:
            return dict(daemon.route(FAR)["next_hops"][0])

        net.wires["a"].degrade(forward={"loss": 1.0})
        daemon.awaits(lambda: first()["turning"] == "down", "a is about to be given up")
        before = first()
        more = json.loads(json.dumps(configuration))
        more["routes"]["route"]["198.18.0.0/15"] = more["routes"]["route"][FAR]
        more["routes"]["route"][FAR]["tag"] = 7
        daemon.configure(more)
        daemon.signal(signal.SIGHUP)
        daemon.awaits(lambda: ours(net, "198.18.0.0/15") == gateways(net), "the new route is there")
        after = first()
        assert (after["turning"], after["state"], after["flaps"]) == ("down", "up", 0)
        assert after["turns_in_ns"] < before["turns_in_ns"], "the delay has run on"
        more["routes"]["track"]["down-delay"] = "1ms"
        daemon.configure(more)
        daemon.signal(signal.SIGHUP)
        daemon.awaits(lambda: ours(net, FAR) == {b}, "what has lasted longer than the new delay counts")
        assert a not in daemon.kernel(FAR)
        assert first()["flaps"] == 1


def test_what_the_statements_of_a_policy_make_of_one_uplink_that_fails(net: Uplinks, tmp_path: Path) -> None:
    """Each prefix has a policy of its own; uplink a fails under all of them and is well again."""
    configuration = both(net)
    a, b = (net.isp_address(name) for name in net.names)
    tests = [f"up-{name}/quality" for name in net.names]
    backup = {a: {"test": tests[0]}, b: {"test": tests[1], "preference": 2}}
    damping = {"half-life": "1h", "reuse": 500, "suppress": 900, "max-suppress": "2h"}
    unknown = {"next-hop": {a: {"test": tests[0]}}}
    policies: dict[str, dict[str, Any]] = {
        "any": {"test": tests, "track": {"require": "any"}, "next-hop": {a: {}}},
        "all": {"test": tests, "track": {"require": "all"}, "next-hop": {a: {}}},
        "one": {"test": tests, "track": {"require": 1}, "next-hop": {a: {}}},
        "stays": {"no-preempt": True, "next-hop": backup},
        "damped": {"track": {"damping": damping}, "next-hop": backup},
        **{state: {**unknown, "track": {"window": "8min", "initial-state": state}} for state in ("up", "down", "wait")},
    }
    prefixes = {name: f"198.18.{number}.0/24" for number, name in enumerate(policies)}
    configuration["routes"]["route"] = {prefixes[name]: policy for name, policy in policies.items()}
    with RoutingDaemon(net.edge, tmp_path, configuration) as daemon:

        def are(**hops: str) -> bool:
            """Whether the kernel has these next hops, each of one route."""
            return {name: "".join(daemon.kernel(prefix)) for name, prefix in prefixes.items()} == hops

        initial = {"up": a, "down": "", "wait": ""}
        well = {"any": a, "all": a, "one": a, **initial}
        daemon.awaits(lambda: are(**well, stays=a, damped=a), "all is well")
        net.wires["a"].degrade(forward={"loss": 1.0})
        daemon.awaits(lambda: are(**{**well, "all": ""}, stays=b, damped=b), "a has failed")
        net.wires["a"].mend()
        daemon.awaits(lambda: are(**well, stays=b, damped=b), "a is well, and two do not take it back")
        assert daemon.route(prefixes["damped"])["next_hops"][0]["state"] == "suppressed"
        assert any("flaps: it is kept out of use" in message for message in daemon.told("route-suppressed"))
        for name in ("stays", "damped"):
            run_twoway([TWOWAY, "request", "routes", "release", prefixes[name], "--api", str(daemon.socket)])
        daemon.awaits(lambda: are(**well, stays=a, damped=a), "a person has taken it back")
