"""A network with three ways through it, to prove which one a packet took.

           b  (what plain routing uses)
          / \\
client - a - c - e - server
          \\ /
           d

Each node is a namespace, each link a veth pair whose devices are named after the node at the other end (`to-c`). b, c
and d have equal links; routes lead client and server through b alone, so a packet at c or d was steered there. Every
node has IPv4 and IPv6; b, c and d have SRv6 segments of the kernel's own (`seg6local`). Links named in `wires` pass
through a namespace of their own, in which a forwarder may impair them.
"""

import dataclasses
import ipaddress
import json
import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Final, Self

from .forwarder import read_tap, tap_socket
from .frame import UdpFrame
from .label_switch import Entry
from .programs import TESTS, ForwarderProgram, Program, until
from .topology import MIDDLE_DEVICES, Namespace

if TYPE_CHECKING:
    import socket

NODES: Final = ("client", "a", "b", "c", "d", "e", "server")
LINKS: Final = (
    ("client", "a"),
    ("a", "b"),
    ("a", "c"),
    ("a", "d"),
    ("b", "e"),
    ("c", "e"),
    ("d", "e"),
    ("e", "server"),
)
TRANSIT: Final = ("b", "c", "d")
"""The nodes among which a path chooses."""
REFLECTOR_PORT: Final = 862

# Labels of the paths. Each node has a hundred of its own, so a wrong table is seen at once.
TO_C, TO_D, C_POP, D_POP, SERVER_POP = 16003, 16004, 17003, 17004, 18001
BACK_BY_C, BACK_BY_D, C_BACK, D_BACK, CLIENT_POP = 26003, 26004, 27003, 27004, 28001


def _addresses(link: int, end: int) -> dict[int, str]:
    return {4: f"10.98.{link}.{end}", 6: f"fd98:{link}::{end}"}


def device(towards: str) -> str:
    """The name of a node's device on its link to another."""
    return f"to-{towards}"


class SteeredNetwork:
    """The namespaces, wired, addressed and routed; a context manager that always removes them."""

    def __init__(self, wires: tuple[tuple[str, str], ...] = ()) -> None:
        self._made: list[Namespace] = []
        self.nodes: dict[str, Namespace] = {}
        self.wires: dict[tuple[str, str], Namespace] = {}
        self.address: dict[tuple[str, str], dict[int, str]] = {}
        """(node, towards) -> its addresses on that link."""
        try:
            for name in NODES:
                self.nodes[name] = self._add(name)
                # Before there are links, so that each inherits it.
                self.nodes[name].sysctl(
                    {
                        "net/ipv6/conf/default/accept_dad": "0",
                        "net/ipv6/conf/default/router_solicitations": "0",
                        "net/ipv6/conf/all/seg6_enabled": "1",
                        "net/ipv6/conf/default/seg6_enabled": "1",
                        "net/ipv4/conf/all/rp_filter": "0",
                        "net/ipv4/conf/default/rp_filter": "0",
                    }
                )
                if name not in ("client", "server"):
                    self.nodes[name].sysctl({"net/ipv4/ip_forward": "1", "net/ipv6/conf/all/forwarding": "1"})
                self.nodes[name].ip("link set lo up")
            for number, (one, other) in enumerate(LINKS):
                self._wire(number, one, other, (one, other) in wires)
            self._route()
        except BaseException:
            self.close()
            raise
        self.client, self.server = self.nodes["client"], self.nodes["server"]

    def _add(self, role: str) -> Namespace:
        namespace = Namespace(role)
        self._made.append(namespace)
        return namespace

    def _wire(self, number: int, one: str, other: str, wired: bool) -> None:
        first, second = self.nodes[one], self.nodes[other]
        if wired:
            between = self.wires[one, other] = self._add(f"{one}-{other}")
            between.sysctl({"net/ipv6/conf/default/disable_ipv6": "1", "net/ipv6/conf/all/disable_ipv6": "1"})
            for node, towards, port in ((first, other, MIDDLE_DEVICES[0]), (second, one, MIDDLE_DEVICES[1])):
                node.ip(f"link add {device(towards)} type veth peer name {port} netns {between.name}")
                between.ip(f"link set {port} up")
        else:
            first.ip(f"link add {device(other)} type veth peer name {device(one)} netns {second.name}")
        for end, node, name, towards in ((1, first, one, other), (2, second, other, one)):
            address = self.address[name, towards] = _addresses(number, end)
            node.ip(
                f"link set {device(towards)} up",
                f"address add {address[4]}/24 dev {device(towards)}",
                f"address add {address[6]}/64 dev {device(towards)} nodad",
            )

    def _route(self) -> None:
        ends = {"client": ("client", "a"), "server": ("server", "e")}
        for name, towards in (("client", "a"), ("server", "e")):
            for family in (4, 6):
                self.nodes[name].ip(f"route add default via {self.address[towards, name][family]}")
        for name, towards, far in (("a", "b", "server"), ("e", "b", "client")):
            for family, length in ((4, 24), (6, 64)):
                network = ipaddress.ip_network(f"{self.address[ends[far]][family]}/{length}", strict=False)
                self.nodes[name].ip(f"route add {network} via {self.address[towards, name][family]}")
        for name in TRANSIT:
            for towards, far in (("a", "client"), ("e", "server")):
                for family, length in ((4, 24), (6, 64)):
                    network = ipaddress.ip_network(f"{self.address[ends[far]][family]}/{length}", strict=False)
                    self.nodes[name].ip(f"route add {network} via {self.address[towards, name][family]}")
            for near in ("a", "e"):
                # Its segments, from both sides, and from the other two by way of them.
                self.nodes[near].ip(f"route add {self.locator(name)} via {self.address[name, near][6]}")
            for other in set(TRANSIT) - {name}:
                self.nodes[other].ip(f"route add {self.locator(name)} via {self.address['e', other][6]}")
            out = device("e")
            self.nodes[name].ip(
                f"route add {self.sid(name)}/128 encap seg6local action End dev {out}",
                f"route add {self.sid(name, 2)}/128 encap seg6local action End flavors psp dev {out}",
                f"route add {self.sid(name, 3)}/128 encap seg6local action End.X "
                f"nh6 {self.address['e', name][6]} dev {out}",
            )

    @staticmethod
    def locator(node: str) -> str:
        return f"fdc0:{node}::/64"

    @staticmethod
    def sid(node: str, function: int = 1) -> str:
        """A segment of b, c or d: 1 is End, 2 End that pops the header if it is the last one, 3 End.X towards e."""
        return f"fdc0:{node}::{function}"

    @property
    def target(self) -> dict[int, str]:
        """The server's addresses."""
        return self.address["server", "e"]

    @property
    def source(self) -> dict[int, str]:
        """The client's addresses."""
        return self.address["client", "a"]

    def forwarders(self, folder: Path, scenarios: Mapping[tuple[str, str], Path]) -> ExitStack:
        """A forwarder in each wire, with its scenario or with none; without them no frame passes there."""
        stack = ExitStack()
        for number, (link, namespace) in enumerate(self.wires.items()):
            into = folder / f"wire-{number}"
            into.mkdir()
            stack.enter_context(ForwarderProgram(namespace, into, scenarios.get(link)))
        return stack

    def _entry(self, node: str, towards: str, swap: int | None) -> Entry:
        mac = self.nodes[towards].mac(device(node))
        return Entry(swap, device(towards), mac.hex(), self.nodes[node].mac(device(towards)).hex())

    def label_tables(self) -> dict[str, dict[int, Entry]]:
        """What each node does with its labels: to c and d and from there to the server, and the same backwards."""
        return {
            "a": {
                TO_C: self._entry("a", "c", C_POP),
                TO_D: self._entry("a", "d", D_POP),
                CLIENT_POP: self._entry("a", "client", None),
            },
            "c": {C_POP: self._entry("c", "e", None), C_BACK: self._entry("c", "a", None)},
            "d": {D_POP: self._entry("d", "e", None), D_BACK: self._entry("d", "a", None)},
            "e": {
                SERVER_POP: self._entry("e", "server", None),
                BACK_BY_C: self._entry("e", "c", C_BACK),
                BACK_BY_D: self._entry("e", "d", D_BACK),
            },
        }

    @contextmanager
    def label_switching(self, folder: Path) -> Iterator[dict[str, "LabelSwitch"]]:
        """Label-switching routers at a, c, d and e."""
        with ExitStack() as stack:
            yield {
                name: stack.enter_context(LabelSwitch(self.nodes[name], name, table, folder))
                for name, table in self.label_tables().items()
            }

    def close(self) -> None:
        for namespace in self._made:
            namespace.delete()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class LabelSwitch(Program):
    """The label-switching program at one node, running."""

    def __init__(self, node: Namespace, name: str, table: Mapping[int, Entry], folder: Path) -> None:
        self._report = folder / f"switch-{name}.json"
        written = folder / f"labels-{name}.json"
        devices = sorted({device(other) for link in LINKS if name in link for other in link if other != name})
        labels = {label: dataclasses.asdict(entry) for label, entry in table.items()}
        written.write_text(json.dumps({"devices": devices, "labels": labels}), encoding="utf-8")
        program = [sys.executable, "-m", "netns.label_switch", str(written), str(self._report)]
        super().__init__(node.command(*program), folder, f"switch-{name}", {"PYTHONPATH": str(TESTS)})
        until(lambda: self.stdout == "ready\n" or not self.running, f"{name} switches labels")
        if not self.running:
            raise RuntimeError(f"label switch at {name}: {self.stderr}")

    def report(self) -> tuple[dict[int, int], dict[int, int]]:
        """End it; frames switched and frames dropped, by label."""
        assert self.stop() == 0, self.stderr
        raw = json.loads(self._report.read_text(encoding="utf-8"))
        switched, unknown = ({int(label): frames for label, frames in raw[name].items()} for name in raw)
        return switched, unknown


class Capture:
    """What comes in at each node, from now on; a context manager."""

    def __init__(self, network: SteeredNetwork, *nodes: str) -> None:
        self._taps: list[tuple[str, socket.socket]] = []
        for node in nodes or NODES:
            for link in LINKS:
                if node in link:
                    other = link[1 - link.index(node)]
                    self.add(network.nodes[node], node, device(other))
        self.frames: dict[tuple[str, str], list[UdpFrame]] = {}
        """(node, `out` to the server or `back` from it) -> test packets that came in there. Where the kernel changes a
        packet in place on its way, as a segment's node does, the capture may show the octets after it."""
        self.stamps_ns: dict[tuple[str, str], list[int]] = {}
        """When they did, by the kernel."""

    def add(self, namespace: Namespace, node: str, name: str) -> None:
        """Another device of a node."""
        self._taps.append((node, namespace.inside(lambda: tap_socket(name))))

    def read(self) -> Self:
        """Take everything that has come so far."""
        for node, tap in self._taps:
            while (tapped := read_tap(tap)) is not None:
                frame = None if tapped.outgoing else UdpFrame.parse(tapped.octets)
                if frame is None or REFLECTOR_PORT not in (frame.source[1], frame.destination[1]):
                    continue
                way = "out" if frame.destination[1] == REFLECTOR_PORT else "back"
                self.frames.setdefault((node, way), []).append(frame)
                self.stamps_ns.setdefault((node, way), []).append(tapped.stamp_ns)
        return self

    def count(self, node: str, way: str) -> int:
        """Test packets that came in at a node."""
        return len(self.frames.get((node, way), []))

    def seen(self) -> dict[str, tuple[int, int]]:
        """Test packets (out, back) at each of b, c and d, those without any left out."""
        counts = {node: (self.count(node, "out"), self.count(node, "back")) for node in TRANSIT}
        return {node: count for node, count in counts.items() if count != (0, 0)}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for _, tap in self._taps:
            tap.close()
