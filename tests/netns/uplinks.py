"""A site with several uplinks, and what is far away: real routers, real wires that can be degraded, a real TCP flow.

                   wire-a - isp-a
                  /              \\
    host - edge -- wire-b - isp-b -- far
                  \\              /
                   wire-c - isp-c

`edge` and `far` forward nothing but what their tracked routes say: `edge` to the prefix of `far`, `far` to that of the
site, each by its own measurement across each uplink, so that both ways of a flow move. For what is measured there are
routes to the neighbour's address on each uplink, which do not move. Each node is a namespace; so is each wire, in which
a program bridges the two ends and does to packets what it is told (`netns.wire`).
"""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

from twoway.cli.api_client import Api
from twoway.errors import ApiError

from .programs import TESTS, TWOWAY, Program, until
from .topology import Namespace, run

FAR_PREFIX: Final = {4: "203.0.113.0/24", 6: "fd90:113::/64"}
FAR_ADDRESS: Final = {4: "203.0.113.10", 6: "fd90:113::10"}
SITE_PREFIX: Final = {4: "10.20.0.0/24", 6: "fd90:20::/64"}
EDGE_INSIDE: Final = {4: "10.20.0.1", 6: "fd90:20::1"}
HOST_ADDRESS: Final = {4: "10.20.0.2", 6: "fd90:20::2"}
FLOW_PORT: Final = 5001
LENGTH: Final = {4: 24, 6: 64}
Statements = Mapping[str, Any]


class WireProgram:
    """The wire of one uplink."""

    def __init__(self, namespace: Namespace) -> None:
        command = namespace.command(sys.executable, "-m", "netns.wire", "to-edge", "to-isp")
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": str(TESTS)},
        )
        assert self._said() == "ready\n"

    def _said(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline()

    def degrade(self, **directions: Mapping[str, float]) -> None:
        """From now on: `forward` is from the site, `backward` to it."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(directions) + "\n")
        self._process.stdin.flush()
        assert self._said() == "ok\n"

    def mend(self) -> None:
        """Nothing happens to packets any more."""
        self.degrade(forward={}, backward={})

    def close(self) -> None:
        self._process.kill()
        self._process.communicate()


class Uplinks:
    """The namespaces, wired, addressed and routed; a context manager that always removes them."""

    def __init__(self, *names: str) -> None:
        self.names = names
        self._stack = ExitStack()
        try:
            self.host, self.edge, self.far = (self._add(role) for role in ("host", "edge", "far"))
            self.isps = {name: self._add(f"isp-{name}") for name in names}
            self.wires: dict[str, WireProgram] = {}
            self._site()
            for number, name in enumerate(names, 1):
                self._uplink(number, name)
            self._inside()
        except BaseException:
            self.close()
            raise

    def _add(self, role: str, *, forwards: bool = True) -> Namespace:
        namespace = Namespace(role)
        self._stack.callback(namespace.delete)
        ipv6 = {"net/ipv6/conf/default/accept_dad": "0", "net/ipv6/conf/default/router_solicitations": "0"}
        bridge = {"net/ipv6/conf/default/disable_ipv6": "1", "net/ipv6/conf/all/disable_ipv6": "1"}
        namespace.sysctl(ipv6 if forwards else bridge)
        if forwards:
            namespace.sysctl(
                {
                    "net/ipv4/ip_forward": "1",
                    "net/ipv6/conf/all/forwarding": "1",
                    "net/ipv4/conf/all/rp_filter": "0",
                    "net/ipv4/conf/default/rp_filter": "0",
                    "net/ipv4/fib_multipath_hash_policy": "1",
                    "net/ipv6/fib_multipath_hash_policy": "1",
                }
            )
        namespace.ip("link set lo up")
        return namespace

    def _site(self) -> None:
        self.edge.ip(f"link add inside type veth peer name eth0 netns {self.host.name}", "link set inside up")
        self.host.ip("link set eth0 up")

    def _uplink(self, number: int, name: str) -> None:
        """edge - wire - isp - far, with a network for each of both links."""
        between, isp = self._add(f"wire-{name}", forwards=False), self.isps[name]
        self.edge.ip(f"link add wan-{name} type veth peer name to-edge netns {between.name}")
        isp.ip(f"link add edge type veth peer name to-isp netns {between.name}")
        between.ip("link set to-edge up", "link set to-isp up")
        isp.ip(f"link add far type veth peer name isp-{name} netns {self.far.name}")
        self.wires[name] = WireProgram(between)
        self._stack.callback(self.wires[name].close)
        for family in (4, 6):
            near, wan = self.isp_address(name, family), self.edge_address(name, family)
            beyond, there = self.isp_far_address(name, family), self.far_address(name, family)
            length = LENGTH[family]
            nodad = " nodad" if family == 6 else ""
            self.edge.ip(f"address add {wan}/{length} dev wan-{name}{nodad}", f"link set wan-{name} up")
            isp.ip(f"address add {near}/{length} dev edge{nodad}", f"address add {beyond}/{length} dev far{nodad}")
            isp.ip("link set edge up", "link set far up")
            self.far.ip(f"address add {there}/{length} dev isp-{name}{nodad}", f"link set isp-{name} up")
            # What is measured stays on its uplink: each end knows the other's address there by that uplink alone.
            self.edge.ip(f"route add {there} via {near} dev wan-{name}")
            self.far.ip(f"route add {wan} via {beyond} dev isp-{name}")
        for family in (4, 6):
            isp.ip(
                f"route add {FAR_PREFIX[family]} via {self.far_address(name, family)}",
                f"route add {SITE_PREFIX[family]} via {self.edge_address(name, family)}",
            )
        del number

    def _inside(self) -> None:
        for family in (4, 6):
            nodad = " nodad" if family == 6 else ""
            self.edge.ip(f"address add {EDGE_INSIDE[family]}/{LENGTH[family]} dev inside{nodad}")
            self.host.ip(
                f"address add {HOST_ADDRESS[family]}/{LENGTH[family]} dev eth0{nodad}",
                f"route add default via {EDGE_INSIDE[family]}",
            )
            self.far.ip(f"address add {FAR_ADDRESS[family]}/{LENGTH[family]} dev lo{nodad}")

    # Who is where.

    def _number(self, name: str) -> int:
        return self.names.index(name) + 1

    def edge_address(self, name: str, family: int = 4) -> str:
        """Of the edge on an uplink."""
        return {4: f"10.21.{self._number(name)}.1", 6: f"fd90:21:{self._number(name)}::1"}[family]

    def isp_address(self, name: str, family: int = 4) -> str:
        """The edge's next hop on an uplink."""
        return {4: f"10.21.{self._number(name)}.2", 6: f"fd90:21:{self._number(name)}::2"}[family]

    def isp_far_address(self, name: str, family: int = 4) -> str:
        """The next hop of what is far, back through an uplink."""
        return {4: f"10.31.{self._number(name)}.1", 6: f"fd90:31:{self._number(name)}::1"}[family]

    def far_address(self, name: str, family: int = 4) -> str:
        """What is far, as an uplink reaches it."""
        return {4: f"10.31.{self._number(name)}.2", 6: f"fd90:31:{self._number(name)}::2"}[family]

    def used(self, namespace: Namespace, prefix: str) -> set[str]:
        """Interfaces of the kernel's routes to a prefix, of whatever protocol."""
        family = "-6" if ":" in prefix else "-4"
        found = json.loads(run("ip", "-n", namespace.name, family, "-json", "route", "show", prefix))
        return {hop["dev"] for route in found for hop in route.get("nexthops", [route]) if "dev" in hop}

    def close(self) -> None:
        self._stack.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class RoutingDaemon(Program):
    """A daemon that tracks routes, ready when its API answers."""

    def __init__(
        self,
        namespace: Namespace,
        folder: Path,
        document: Statements,
        name: str = "daemon",
        *,
        before: Sequence[str] = (),
        await_ready: bool = True,
    ) -> None:
        """`before`: words before the command, as of another user."""
        self._folder, self._name = folder, name
        self.socket = folder / f"{name}.sock"
        self.file = folder / f"{name}.yaml"
        self.configure(document)
        super().__init__(namespace.command(*before, TWOWAY, "run", str(self.file)), folder, name)
        if await_ready:
            until(lambda: not self.running or self._answers(), "the daemon's API answers")
            assert self.running, self.stderr

    def configure(self, document: Statements) -> None:
        """Write its configuration; a reload reads it."""
        self.file.write_text(json.dumps({**document, "api": {"socket": str(self.socket)}}))

    @property
    def api(self) -> Api:
        return Api(str(self.socket), None)

    def _answers(self) -> bool:
        try:
            self.api.get("/v1/health")
        except ApiError:
            return False
        return True

    def routes(self) -> dict[str, dict[str, Any]]:
        """Prefix, or PREFIX@INSTANCE -> the route as it is shown."""
        shown = self.api.get("/v1/routes")["routes"]
        return {
            f"{one['destination']}@{one['instance']}" if one["instance"] else one["destination"]: one for one in shown
        }

    def route(self, prefix: str) -> dict[str, Any]:
        return self.routes()[prefix]

    def kernel(self, prefix: str) -> list[str]:
        """What it says that the kernel has."""
        return list(self.route(prefix)["kernel"] or [])

    def told(self, *names: str) -> list[str]:
        """The messages of these notices, in order."""
        events = self.api.get("/v1/events", {"limit": 10_000})["events"]
        return [event["message"] for event in events if event["name"] in names]

    def awaits(self, condition: Callable[[], bool], what: str, bound_s: float = 40.0) -> None:
        """Poll, and say what it shows if that does not come true."""
        try:
            until(condition, what, bound_s)
        except AssertionError as error:
            error.add_note(json.dumps(self.routes(), indent=1))
            error.add_note("\n".join(self.told("route-changed", "next-hop-changed", "route-refused", "own-fault")))
            raise


class Flow:
    """A TCP flow from the host to what is far."""

    def __init__(self, net: Uplinks, folder: Path, family: int = 4, interval_s: float = 0.005) -> None:
        environment = {"PYTHONPATH": str(TESTS)}
        address, port = FAR_ADDRESS[family], str(FLOW_PORT)
        program = [sys.executable, "-m", "netns.flow"]
        self._server = Program(net.far.command(*program, "serve", address, port), folder, "flow-server", environment)
        until(lambda: self._server.stdout == "ready\n" or not self._server.running, "the flow's server is ready")
        self._sender = subprocess.Popen(
            net.host.command(*program, "send", address, port, str(interval_s)),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, **environment},
        )
        assert self._sender.stdout is not None
        assert self._sender.stdout.readline() == "ready\n"

    def end(self) -> dict[str, float]:
        """Send no more, and wait for all echoes."""
        said, _ = self._sender.communicate(timeout=90)
        assert self._sender.returncode == 0
        return dict(json.loads(said))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._sender.poll() is None:
            self._sender.kill()
            self._sender.communicate()
        self._server.__exit__(None, None, None)


def document(net: Uplinks, end: str, routes: Statements, *, family: int = 4, **session: object) -> dict[str, Any]:
    """A daemon's configuration at one end: it measures each uplink, answers the other end, and tracks routes.

    The test of uplink a is `up-a/quality`. `session` are statements of these tests beside the usual ones.
    """
    there = net.far_address if end == "edge" else net.edge_address
    here = net.edge_address if end == "edge" else net.far_address
    usual = {
        "probe-count": 0,
        "probe-interval": "5ms",
        "timeout": "150ms",
        "test-interval": "1s",
        "reflector-mode": "stateful",
        # Where the machine that runs the tests is shared, its processor is taken away now and then.
        "thresholds": {"own-faults": True},
    }
    quality = {**usual, **{name.replace("_", "-"): value for name, value in session.items()}}
    interval = quality.pop("test-interval")
    connections = {
        f"up-{name}": {
            "control-type": "light",
            "test-interval": interval,
            "test-session": {"quality": {**quality, "target": there(name, family)}},
        }
        for name in net.names
    }
    light = {"address": [here(name, family) for name in net.names], "stateful-sequence": True, "workers": 1}
    return {"client": {"control-connection": connections}, "server": {"light": light}, "routes": routes}


def packets_sent(namespace: Namespace, device: str) -> int:
    """Packets that left by a device."""
    shown = json.loads(run("ip", "-n", namespace.name, "-json", "-s", "link", "show", device))
    return int(shown[0]["stats64"]["tx"]["packets"])
