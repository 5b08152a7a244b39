"""Network namespaces for one test: client - middle - server, joined by two veth pairs.

Names carry the process id, so that two runs never meet and what a killed run left behind can be recognised and removed.
Programs started here die with the test process (`setpriv --pdeathsig`), also when it is killed.
"""

import ctypes
import functools
import ipaddress
import itertools
import os
import re
import shutil
import socket
import subprocess
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Final, Self, TypeVar

PREFIX: Final = "twoway-test"
NETNS_FOLDER: Final = Path("/run/netns")
CLONE_NEWNET: Final = 0x40000000  # linux/sched.h
CLIENT = {4: "10.99.0.1", 6: "fd99::1"}
SERVER = {4: "10.99.0.2", 6: "fd99::2"}
SERVER_SECOND = {4: "10.99.0.22", 6: "fd99::22"}
"""A second address on the reflector's interface; the kernel's own choice of source would be the first."""
CLIENT_DEVICE: Final = "client0"
SERVER_DEVICE: Final = "server0"
MIDDLE_DEVICES: Final = ("mclient", "mserver")
_numbers = itertools.count()
_T = TypeVar("_T")


def missing_requirement() -> str | None:
    """Why namespaces cannot be used here, or None when they can."""
    if os.geteuid() != 0:
        return "network namespaces need root"
    if not Path("/proc/sys/net/ipv6").is_dir():
        return "this kernel has no IPv6"
    for program in ("ip", "setpriv", "chrt", "nice"):
        if shutil.which(program) is None:
            return f"the program {program} is not installed"
    name = f"{PREFIX}-{os.getpid()}-probe"
    made = subprocess.run(["ip", "netns", "add", name], capture_output=True, text=True, check=False)
    if made.returncode:
        return f"ip netns add: {made.stderr.strip()}"
    veth = ["ip", "-n", name, "link", "add", "probe0", "type", "veth", "peer", "name", "probe1"]
    linked = subprocess.run(veth, capture_output=True, text=True, check=False)
    subprocess.run(["ip", "netns", "delete", name], capture_output=True, check=False)
    return f"veth: {linked.stderr.strip()}" if linked.returncode else None


def remove_stale() -> list[str]:
    """Delete the namespaces of test processes that are no more; returns their names."""
    removed: list[str] = []
    if not NETNS_FOLDER.is_dir():
        return removed
    for entry in sorted(NETNS_FOLDER.iterdir()):
        match = re.match(rf"{PREFIX}-(\d+)-", entry.name)
        if match is not None and not Path(f"/proc/{match[1]}").exists():
            subprocess.run(["ip", "netns", "delete", entry.name], capture_output=True, check=False)
            removed.append(entry.name)
    return removed


def run(*command: str, stdin: str | None = None) -> str:
    """Run a program that must succeed; returns what it printed."""
    done = subprocess.run(command, input=stdin, capture_output=True, text=True, check=False, timeout=30)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)}: exit {done.returncode}: {done.stderr.strip()}")
    return done.stdout


@functools.cache
def real_time_priority() -> tuple[str, ...]:
    """The words before a command line that let it run before all ordinary programs; a container may not grant that."""
    first = ("chrt", "--fifo", "10")
    granted = subprocess.run([*first, "true"], capture_output=True, check=False).returncode == 0
    return first if granted else ("nice", "-n", "-20")


class Namespace:
    """One network namespace."""

    def __init__(self, role: str) -> None:
        self.name = f"{PREFIX}-{os.getpid()}-{next(_numbers)}-{role}"
        run("ip", "netns", "add", self.name)

    @classmethod
    def existing(cls, name: str) -> Self:
        """One that somebody else has made, and removes."""
        found = cls.__new__(cls)
        found.name = name
        return found

    def ip(self, *lines: str) -> None:
        """Commands of ip(8), one a line, run as one batch."""
        run("ip", "-n", self.name, "-batch", "-", stdin="\n".join(lines) + "\n")

    def sysctl(self, values: Mapping[str, str]) -> None:
        """Write kernel parameters under /proc/sys (the names with slashes)."""

        def write() -> None:
            for name, value in values.items():
                Path("/proc/sys", name).write_text(value, encoding="ascii")

        # /proc/sys/net shows the namespace of the thread that opens it.
        self.inside(write)

    def command(self, *command: str) -> list[str]:
        """The command line that runs a program in here, before others, and ends it with this process.

        Before others, because a packet that was not sent in time is a true result, but of the machine and not of the
        path that is tested.
        """
        first = real_time_priority()
        return ["ip", "netns", "exec", self.name, *first, "setpriv", "--pdeathsig", "KILL", *command]

    def inside(self, action: Callable[[], _T]) -> _T:
        """Call `action` on a thread that lives in this namespace; sockets that it opens stay in it."""
        outcome: list[_T] = []
        failure: list[BaseException] = []

        def enter() -> None:
            try:
                libc = ctypes.CDLL(None, use_errno=True)
                descriptor = os.open(NETNS_FOLDER / self.name, os.O_RDONLY)
                try:
                    if libc.setns(descriptor, CLONE_NEWNET):
                        raise OSError(ctypes.get_errno(), f"setns {self.name}")
                finally:
                    os.close(descriptor)
                outcome.append(action())
            except BaseException as error:  # noqa: BLE001  # handed to the caller's thread, whatever it is
                failure.append(error)

        thread = threading.Thread(target=enter, name=self.name)
        thread.start()
        thread.join()
        if failure:
            raise failure[0]
        return outcome[0]

    def socket(self, family: int, kind: int, protocol: int = 0) -> socket.socket:
        return self.inside(lambda: socket.socket(family, kind, protocol))

    def mac(self, device: str) -> bytes:
        printed = run("ip", "-n", self.name, "-o", "link", "show", device)
        match = re.search(r"link/ether ([0-9a-f:]{17})", printed)
        assert match is not None
        return bytes.fromhex(match[1].replace(":", ""))

    def link_local(self, device: str) -> str:
        """The IPv6 address that the kernel makes of the MAC address (RFC 4291 appendix A)."""
        mac = self.mac(device)
        interface_id = bytes([mac[0] ^ 2, *mac[1:3], 0xFF, 0xFE, *mac[3:]])
        return str(ipaddress.IPv6Address(b"\xfe\x80" + bytes(6) + interface_id))

    def delete(self) -> None:
        subprocess.run(["ip", "netns", "delete", self.name], capture_output=True, check=False)


class Topology:
    """The three namespaces, wired and addressed; a context manager that always removes them."""

    def __init__(self) -> None:
        self._made: list[Namespace] = []
        try:
            self.client = self._add("client")
            self.middle = self._add("middle")
            self.server = self._add("server")
            self._wire()
        except BaseException:
            self.close()
            raise

    def _add(self, role: str) -> Namespace:
        namespace = Namespace(role)
        self._made.append(namespace)
        # No duplicate address detection: addresses are usable at once, and no frame of it disturbs a test.
        namespace.sysctl(
            {"net/ipv6/conf/default/accept_dad": "0", "net/ipv6/conf/default/router_solicitations": "0"}
            if role != "middle"
            else {"net/ipv6/conf/default/disable_ipv6": "1", "net/ipv6/conf/all/disable_ipv6": "1"}
        )
        return namespace

    def _wire(self) -> None:
        for end, device, port in (
            (self.client, CLIENT_DEVICE, MIDDLE_DEVICES[0]),
            (self.server, SERVER_DEVICE, MIDDLE_DEVICES[1]),
        ):
            end.ip(
                f"link add {device} type veth peer name {port} netns {self.middle.name}",
                "link set lo up",
                f"link set {device} up",
            )
        self.middle.ip(*(f"link set {port} up" for port in MIDDLE_DEVICES))
        self.client.ip(
            f"address add {CLIENT[4]}/24 dev {CLIENT_DEVICE}", f"address add {CLIENT[6]}/64 dev {CLIENT_DEVICE} nodad"
        )
        self.server.ip(
            f"address add {SERVER[4]}/24 dev {SERVER_DEVICE}",
            f"address add {SERVER_SECOND[4]}/24 dev {SERVER_DEVICE}",
            f"address add {SERVER[6]}/64 dev {SERVER_DEVICE} nodad",
            f"address add {SERVER_SECOND[6]}/64 dev {SERVER_DEVICE} nodad",
        )

    def close(self) -> None:
        for namespace in self._made:
            namespace.delete()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
