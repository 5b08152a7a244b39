"""`twoway capabilities`: what this machine can measure with, what was seen, and what to do about each "no"."""

from __future__ import annotations

import argparse
import errno
import json
import sys

from twoway.cli.arguments import Parser, terminal_width
from twoway.config.privileges import privilege
from twoway.errors import PlaneError

_DESCRIPTION = """\
Show what this machine can measure with. Timestamps are tried with real packets on loopback and, if
one is named, on an interface: what counts is which stamps arrive.
"""
_EPILOG = """\
Exit code: 0; 2 if nothing could be found out, or there is no such interface.

examples:
  twoway capabilities
  twoway capabilities eth0
  twoway capabilities --json eth0
"""


class _Arguments(argparse.Namespace):
    """The options as parsed, with their types."""

    interface: str | None
    json: bool


def capabilities_parser() -> Parser:
    """All options of the command."""
    parser = Parser("twoway capabilities", "[IFACE]", _DESCRIPTION, _EPILOG)
    parser.add_argument("interface", metavar="IFACE", nargs="?", help="interface to try too")
    parser.add_argument("--json", action="store_true", help="one JSON document")
    return parser


def run(arguments: list[str]) -> int:
    """The command. Returns its exit code."""
    options = capabilities_parser().parse_args(arguments, _Arguments())
    if options.interface is not None:
        _require(options.interface)

    from twoway.drivers.plane import capabilities

    found = capabilities(options.interface)
    found = ordered(found)
    if options.json:
        sys.stdout.write(json.dumps(_document(found, options.interface), indent=2) + "\n")
    else:
        sys.stdout.write("".join(f"{line}\n" for line in table(found)))
    return 0


def _require(interface: str) -> None:
    """What an interface can do, one that is not there does not tell. Raises `PlaneError`."""
    import socket

    try:
        socket.if_nametoindex(interface)
    except OSError:
        raise PlaneError("look at interface", interface, errno.ENODEV) from None


def ordered(found: dict[str, tuple[bool, str]]) -> dict[str, tuple[bool, str]]:
    """In the order of what matters most, not of the alphabet."""
    return {name: found[name] for name in sorted(found, key=lambda name: [*REMEDIES, name].index(name))}


def _document(found: dict[str, tuple[bool, str]], interface: str | None) -> dict[str, object]:
    features = [
        {"name": name, "available": available, "seen": seen, "remedy": None if available else REMEDIES.get(name)}
        for name, (available, seen) in found.items()
    ]
    return {"type": "capabilities", "schema": 1, "interface": interface, "features": features}


def table(found: dict[str, tuple[bool, str]]) -> list[str]:
    """A row for each feature; under a "no", what to do about it."""
    import textwrap

    width = max(len(name) for name in found)
    indent = " " * (width + len("  yes  "))
    lines = []
    for name, (available, seen) in found.items():
        label = f"{name.replace('_', ' '):<{width}}  {'yes' if available else 'no ':<3}  "
        for text in [seen] if available or name not in REMEDIES else [seen, f"-> {REMEDIES[name]}"]:
            lines += textwrap.wrap(text or "-", terminal_width(), initial_indent=label, subsequent_indent=indent)
            label = indent
    return lines


_LOW_PORTS = privilege("low_ports")

REMEDIES = {
    "receive_stamps": "the kernel does not stamp what arrives (a sandbox?): T4 is taken in user space, tens of "
    "microseconds late",
    "transmit_stamps": "the kernel does not stamp what leaves: T1 is taken in user space, tens of microseconds early",
    "interface_transmit_stamps": "its driver does not stamp what it sends (`ethtool -T IFACE`): T1 is taken in user "
    "space there, tens of microseconds early",
    "hardware_stamps": "the kernel's own stamps are used; if the card can (`ethtool -T IFACE`), switch it on as root "
    "with `hwstamp_ctl -i IFACE -t 1 -r 1`",
    "receive_buffer": "bursts of replies may be lost here, which is counted: raise `sysctl net.core.rmem_max`, or run "
    f"with {privilege('receive_buffer').capability}",
    "low_ports": f"a reflector on port 862 needs {_LOW_PORTS.capability}, or {_LOW_PORTS.instead}",
    "srv6": "segment routing over IPv6 needs a kernel with CONFIG_IPV6_SEG6_LWTUNNEL, and IPv6 switched on",
    "srv6_receive": "only reflectors and replies at the end of SRv6 paths need it, unless the last segment removes the "
    "header: `sysctl net.ipv6.conf.all.seg6_enabled=1 net.ipv6.conf.IFACE.seg6_enabled=1`",
    "packet_socket": "only paths of mpls and link need it, and replies under labels: run with "
    f"{privilege('packet_socket').capability}",
    "xdp": "only the reflector's offload needs it: a kernel with CONFIG_XDP_SOCKETS, and "
    f"{privilege('xdp').capability}",
    "net_admin": "only receive buffers beyond net.core.rmem_max and the cards' stamping need it",
    "clock_readable": "a sandbox forbids adjtimex, so our Error Estimate says unknown; in a systemd unit: no "
    "ProtectClock=, and SystemCallFilter=adjtimex",
    "clock_synchronized": "one-way delay has no meaning without it, round-trip delay is not touched: run chrony, ntpd "
    "or ptp4l with phc2sys",
}
"""Name of a feature, as `catalogue()["capabilities"]` has them -> what to do when it is not there."""
