"""The one tree of exceptions, and what a person can do about each.

Theory of operation. Every error that a user can meet is a `TwowayError`. Its text is ONE line that names the operation,
the address, and the rule that was broken or the remedy; its class carries the exit code of the command line. The packet
plane raises `PlaneError`, `WireError` and `ConfigError` with bare facts (operation, address, errno, …): the words for a
remedy are here and nowhere else, in a table by operation and errno.

Who broke a rule is said by the class: `LocalProtocolError` means our caller, `RemoteProtocolError` means the far end.
"""

from __future__ import annotations

import errno as errnos
import os

EXIT_REPLIES = 0
"""Success: at least one reply came back."""
EXIT_NO_REPLY = 1
"""The measurement ran and no reply came back."""
EXIT_ERROR = 2
"""Nothing could be measured: usage, configuration, resolution or operating system."""
EXIT_CONDITION = 3
"""A condition of `--fail-if` was met."""


def one_line(text: str) -> str:
    """`text` without line breaks and control characters: nothing from outside can forge a line or a terminal code."""
    return "".join(c if c.isprintable() else " " for c in text).strip()


class TwowayError(Exception):
    """Any failure that twoway reports. `str()` is one line; `exit_code` is what the command line ends with."""

    exit_code: int = EXIT_ERROR

    def describe(self) -> str:
        """The message before it is made one line; subclasses with parts compose it here."""
        return ": ".join(str(part) for part in self.args)

    def __str__(self) -> str:
        return one_line(self.describe())


class LocalProtocolError(TwowayError):
    """The caller asked for something that the protocol forbids (its argument names the RFC's rule)."""


class RemoteProtocolError(TwowayError):
    """The far end broke a rule of the protocol (its argument names the peer and the rule)."""


class LocalControlError(LocalProtocolError):
    """A use of a control connection that the protocol forbids: `operation`, the `reason`, and the RFC's `section`."""

    def __init__(self, operation: str, reason: str, section: str) -> None:
        super().__init__(operation, reason, section)
        self.operation = operation
        self.reason = reason
        self.section = section

    def describe(self) -> str:
        return f"{self.operation}: {self.reason} ({self.section})"


class RemoteControlError(RemoteProtocolError):
    """The far end of a control connection broke a rule: its stable name `rule`, its `meaning`, the RFC's `section`."""

    def __init__(self, rule: str, meaning: str, section: str, detail: str = "") -> None:
        super().__init__(rule, meaning, section, detail)
        self.rule = rule
        self.meaning = meaning
        self.section = section
        self.detail = detail

    def describe(self) -> str:
        return f"control connection: {self.meaning} ({self.section})" + (f": {self.detail}" if self.detail else "")


class ControlConnectionError(TwowayError):
    """A control connection that could not be made, or that was lost: its far end `peer`, and the `reason`."""

    def __init__(self, peer: str, reason: str) -> None:
        super().__init__(peer, reason)
        self.peer = peer
        self.reason = reason

    def describe(self) -> str:
        return f"control connection with {self.peer}: {self.reason}"


class SessionRefusedError(TwowayError):
    """A Server that would not do what was asked: the `operation`, its Accept value (RFC 4656 section 3.3), and why."""

    def __init__(self, operation: str, peer: str, accept: int, reason: str) -> None:
        super().__init__(operation, peer, accept, reason)
        self.operation = operation
        self.peer = peer
        self.accept = accept
        self.reason = reason

    def describe(self) -> str:
        return f"{self.operation}: {self.peer} answered Accept {self.accept}: {self.reason}"


class WireError(RemoteProtocolError):
    """Octets that are not a valid test packet. `rule` says which rule of the format failed, never what they held."""

    def __init__(self, rule: str) -> None:
        super().__init__(rule)
        self.rule = rule

    def describe(self) -> str:
        return f"test packet: {self.rule}"


class ConfigError(TwowayError):
    """A value that cannot be used. `field` is its name where the value came from, `reason` the rule it breaks."""

    def __init__(self, field: str, reason: str) -> None:
        super().__init__(field, reason)
        self.field = field
        self.reason = reason

    def describe(self) -> str:
        return f"{self.field}: {self.reason}"


class KeyFileError(ConfigError):
    """A key file that cannot be used. `line` counts from 1, None for the file as a whole. Never holds a key."""

    def __init__(self, path: str, line: int | None, reason: str) -> None:
        super().__init__("key file", reason)
        self.args = (path, line, reason)
        self.path = path
        self.line = line

    def describe(self) -> str:
        where = self.path if self.line is None else f"{self.path} line {self.line}"
        return f"key file {where}: {self.reason}"


class ResolveError(TwowayError):
    """A name that gives no usable address."""

    def __init__(self, name: str, reason: str) -> None:
        super().__init__(name, reason)
        self.name = name
        self.reason = reason

    def describe(self) -> str:
        return f"resolve {self.name}: {self.reason}"


class OutputError(TwowayError):
    """A result that could not be written, or for which something is not installed."""

    def __init__(self, target: str, reason: str) -> None:
        super().__init__(target, reason)
        self.target = target
        self.reason = reason

    def describe(self) -> str:
        return f"write {self.target}: {self.reason}"


class StoreError(TwowayError):
    """A store that cannot be opened or read: its `path`, and the `reason` with what to do."""

    def __init__(self, path: str, reason: str) -> None:
        super().__init__(path, reason)
        self.path = path
        self.reason = reason

    def describe(self) -> str:
        return f"store {self.path}: {self.reason}"


class ApiError(TwowayError):
    """The daemon's management API at `where` that did not answer, or refused: the `reason`, and lines about it."""

    def __init__(self, where: str, reason: str, affected: tuple[str, ...] = (), status: int | None = None) -> None:
        super().__init__(where, reason, affected, status)
        self.where = where
        self.reason = reason
        self.affected = affected
        self.status = status
        """Of HTTP, None where there was no answer."""

    def describe(self) -> str:
        return self.reason if self.status is not None else f"ask the daemon at {self.where}: {self.reason}"


class NativeMissingError(TwowayError):
    """The extension module `twoway._native` cannot be loaded."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason

    def describe(self) -> str:
        return f"load the packet plane: {self.reason}: reinstall with `pip install .` on this machine and Python"


class PlaneError(TwowayError):
    """An operation of the packet plane that failed.

    `operation` is what was attempted (`bind`, `connect`, …), `address` the address, interface or namespace it was for,
    `errno` the kernel's number (0 where the kernel was not asked), `detail` what the number alone cannot say. As with
    `OSError`, the number chooses the class: EACCES and EPERM give a `PermissionRefused`.
    """

    def __new__(cls, operation: str, address: str, errno: int, detail: str = "") -> PlaneError:  # noqa: PYI034  (may be a subclass)
        kind = PermissionRefused if errno in (errnos.EACCES, errnos.EPERM) and cls is PlaneError else cls
        return super().__new__(kind, operation, address, errno, detail)

    def __init__(self, operation: str, address: str, errno: int, detail: str = "") -> None:
        super().__init__(operation, address, errno, detail)
        self.operation = operation
        self.address = address
        self.errno = errno
        self.detail = detail

    @property
    def remedy(self) -> str | None:
        """What to do about it, None where nothing better than the kernel's own words is known."""
        text = REMEDIES.get((self.operation, self.errno)) or REMEDIES.get((None, self.errno))
        host, port = _host_and_port(self.address)
        return text and text.replace("{host}", host).replace("{port}", port)

    def describe(self) -> str:
        parts = [f"{self.operation} {self.address}".strip()]
        if self.errno:
            parts.append(os.strerror(self.errno))
        if self.detail:
            parts.append(self.detail)
        if self.remedy:
            parts.append(self.remedy)
        return ": ".join(parts)


class PermissionRefused(PlaneError):  # noqa: N818  (the word operators search for; it is a PlaneError by its base)
    """The kernel refused an operation for want of a privilege."""


REMEDIES: dict[tuple[str | None, int], str] = {
    ("bind", errnos.EACCES): (
        "ports below 1024 need CAP_NET_BIND_SERVICE: choose a port above 1023 (--listen ADDR:PORT), "
        "or run as root or with this capability (AmbientCapabilities= in a systemd unit)"
    ),
    ("bind", errnos.EADDRINUSE): "another program has this port: `ss -ulpn sport = :{port}` shows which",
    ("bind", errnos.EADDRNOTAVAIL): "no interface of this host has this address: `ip address` lists those it has",
    ("bind", errnos.EINVAL): "a link-local address needs its interface: write [ADDRESS%INTERFACE]:PORT",
    ("bind", errnos.ENODEV): "no such interface in this network namespace: `ip link` lists those there are",
    ("bind to interface", errnos.ENODEV): "no such interface or VRF in this network namespace: `ip link` lists them",
    (
        "bind to interface",
        errnos.EPERM,
    ): "binding to an interface or VRF needs CAP_NET_RAW: run as root or with this capability",
    ("open packet socket", errnos.EPERM): (
        "whole frames, for paths of mpls and link and the members of a LAG, need CAP_NET_RAW: run as root or with this "
        "capability (AmbientCapabilities= in a systemd unit)"
    ),
    (
        "find next hop",
        errnos.ENETUNREACH,
    ): "name a gateway on a link of this host: mpls:LABEL@GATEWAY%INTERFACE, or link:INTERFACE@GATEWAY",
    ("find next hop", errnos.ENODEV): "`ip link` lists the interfaces of this network namespace",
    ("find next hop", errnos.EAFNOSUPPORT): "use an Ethernet interface, a VLAN or a bond",
    ("set segment routing header", errnos.EINVAL): "this kernel has no SRv6 (CONFIG_IPV6_SEG6_LWTUNNEL)",
    ("set segment routing header", errnos.ENOPROTOOPT): "this kernel has no IPv6 routing headers",
    (
        "connect",
        errnos.ENETUNREACH,
    ): "no route to this network: `ip route get {host}` shows what the kernel would do",
    ("connect", errnos.EHOSTUNREACH): "no route to this host: `ip route get {host}` shows what the kernel would do",
    ("connect", errnos.EINVAL): "a link-local address needs its interface, as in [fe80::1%eth0]:862",
    ("connect", errnos.EADDRNOTAVAIL): "no source address here can reach it: check --source and the family (-4, -6)",
    (
        "connect",
        errnos.EACCES,
    ): "the kernel refuses this destination: a broadcast address, or a firewall or routing rule forbids it",
    ("open network namespace", errnos.ENOENT): "no such network namespace: `ip netns list` shows those there are",
    ("open network namespace", errnos.EACCES): "opening a network namespace needs root",
    ("enter network namespace", errnos.EPERM): "entering a network namespace needs CAP_SYS_ADMIN: run as root",
    ("enter network namespace", errnos.EINVAL): "this file is not a network namespace",
    ("open socket", errnos.EAFNOSUPPORT): "this kernel has no such address family: is IPv6 disabled?",
    (None, errnos.EMFILE): "too many open files: raise the limit with `ulimit -n` (LimitNOFILE= in a systemd unit)",
    (None, errnos.ENFILE): "the whole system is out of open files: see /proc/sys/fs/file-nr and fs.file-max",
    (None, errnos.EAFNOSUPPORT): "this kernel has no such address family: is IPv6 disabled?",
    (None, errnos.ENETUNREACH): "no route to this network: `ip route get {host}` shows what the kernel would do",
    (None, errnos.EHOSTUNREACH): "no route to this host: `ip route get {host}` shows what the kernel would do",
    (None, errnos.ENETDOWN): "the interface is down: `ip link` shows its state",
    (None, errnos.ENODEV): "no such interface: `ip link` lists those there are",
    (None, errnos.EADDRNOTAVAIL): "no interface of this host has this address: `ip address` lists those it has",
    (
        None,
        errnos.EPERM,
    ): "not permitted: `twoway capabilities` shows which privilege is missing (a firewall may refuse it too)",
    (None, errnos.EACCES): "not permitted: `twoway capabilities` shows which privilege is missing",
    (None, errnos.ENOMEM): "the kernel is out of memory for this: use a smaller --receive-buffer or fewer sessions",
    (
        None,
        errnos.ENOBUFS,
    ): "the kernel is out of buffers: send fewer packets per second or give the interface a longer queue",
    (None, errnos.EMSGSIZE): "the packet is larger than the path's MTU: use a smaller --size",
    (
        None,
        errnos.ECONNREFUSED,
    ): "nothing listens there (ICMP port unreachable): is the Session-Reflector running on this port?",
}
"""(operation, errno) -> remedy; operation None stands for every other. `{host}` and `{port}` are filled in."""


def _host_and_port(address: str) -> tuple[str, str]:
    """`192.0.2.1:862`, `[2001:db8::1]:862` or a name, taken apart; the word PORT where there is none."""
    host, colon, port = address.rpartition(":")
    if not colon or not port.isdigit() or (":" in host and not host.endswith("]")):
        return address, "PORT"
    return host.strip("[]"), port
