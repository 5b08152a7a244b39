"""Two hosts, joined by links that are one interface to IP: what a LAG is to its micro-sessions.

This kernel has neither bonding nor team. A bridge stands in for them: as they do, it takes what comes in by a member
for its own, so that a UDP socket knows of `lag` alone. Only the first member learns and floods, or frames would go in
circles; each member takes and brings what is sent to the other side's own address.
"""

from pathlib import Path
from types import TracebackType
from typing import Final, Self

from .programs import ForwarderProgram
from .topology import MIDDLE_DEVICES, Namespace

MEMBERS: Final = ("m1", "m2", "m3")
LAG: Final = "lag"
ADDRESSES: Final = {"client": {4: "10.97.0.1", 6: "fd97::1"}, "server": {4: "10.97.0.2", 6: "fd97::2"}}


class LagNetwork:
    """The namespaces; a context manager that always removes them. The last member passes through a wire if asked to."""

    def __init__(self, *, wired: bool = False) -> None:
        self._made: list[Namespace] = []
        self.wire: Namespace | None = None
        try:
            self.client, self.server = (self._host(role) for role in ADDRESSES)
            for member in MEMBERS:
                self._link(member, wired=wired and member == MEMBERS[-1])
        except BaseException:
            self.close()
            raise

    def _add(self, role: str) -> Namespace:
        namespace = Namespace(role)
        self._made.append(namespace)
        return namespace

    def _host(self, role: str) -> Namespace:
        host = self._add(role)
        host.sysctl({"net/ipv6/conf/default/accept_dad": "0", "net/ipv6/conf/default/router_solicitations": "0"})
        addresses = ADDRESSES[role]
        host.ip(
            "link set lo up",
            f"link add {LAG} address 02:00:00:00:00:{int(role == 'server') + 1:02x} type bridge",
            f"link set {LAG} up",
            f"address add {addresses[4]}/24 dev {LAG}",
            f"address add {addresses[6]}/64 dev {LAG} nodad",
        )
        return host

    def _link(self, member: str, *, wired: bool) -> None:
        if wired:
            self.wire = self._add("wire")
            self.wire.sysctl({"net/ipv6/conf/default/disable_ipv6": "1", "net/ipv6/conf/all/disable_ipv6": "1"})
            for host, port in zip((self.client, self.server), MIDDLE_DEVICES, strict=True):
                host.ip(f"link add {member} type veth peer name {port} netns {self.wire.name}")
                self.wire.ip(f"link set {port} up")
        else:
            self.client.ip(f"link add {member} type veth peer name {member} netns {self.server.name}")
        for host in (self.client, self.server):
            self.enlist(host, member)

    @staticmethod
    def enlist(host: Namespace, member: str) -> None:
        """Make a device a member."""
        host.ip(f"link set {member} master {LAG}", f"link set {member} up")
        if member != MEMBERS[0]:
            quiet = "learning off flood off mcast_flood off bcast_flood off"
            host.ip(f"link set {member} type bridge_slave {quiet}")

    def forwarder(self, folder: Path, scenario: Path) -> ForwarderProgram:
        """What happens to the frames of the last member."""
        assert self.wire is not None
        return ForwarderProgram(self.wire, folder, scenario)

    @property
    def target(self) -> dict[int, str]:
        """The server's addresses."""
        return ADDRESSES["server"]

    def close(self) -> None:
        for namespace in self._made:
            namespace.delete()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
