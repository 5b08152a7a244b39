"""Junos's statement -> ours, for those that stand by themselves; and why others have none. Pure."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Rule:
    """What a statement becomes."""

    name: str
    """Ours."""
    unit: str = ""
    """Of Junos's bare number, where ours would be another."""
    flag: bool = False
    """Whether it takes no value."""
    several: bool = False
    """Whether ours is a list."""


def _same(*names: str) -> dict[str, Rule]:
    return {name: Rule(name) for name in names}


CONNECTION = {
    **_same("control-type", "source-address", "destination-port", "test-start", "history-size"),
    **_same("moving-average-size", "test-count", "tcp-keepidle", "tcp-keepintvl", "tcp-keepcnt"),
    "target": Rule("target"),
    "target-address": Rule("target"),
    "routing-instance": Rule("routing-instance"),
    "test-interval": Rule("test-interval", unit="s"),
    "persistent-results": Rule("persistent-results", flag=True),
}
SESSION = {
    **_same("source-address", "destination-port", "data-size", "dscp-code-points", "ttl", "probe-count"),
    **_same("history-size", "moving-average-size", "offload-type"),
    "probe-interval": Rule("probe-interval", unit="s"),
    "data-fill-with-zeros": Rule("data-fill-with-zeros", flag=True),
}
TIME_THRESHOLDS = (
    *("rtt", "max-rtt", "egress-time", "ingress-time", "jitter-rtt", "jitter-egress", "jitter-ingress"),
    *("std-dev-rtt", "std-dev-egress", "std-dev-ingress"),
)
THRESHOLDS = _same("successive-loss", "total-loss", "control-failure")
_KEEPALIVE = _same("tcp-keepidle", "tcp-keepintvl", "tcp-keepcnt")
MANAGED = {"port": Rule("port", several=True), "offload-type": Rule("offload-type"), **_KEEPALIVE}
SERVER = {
    **MANAGED,
    **_same("maximum-connections", "maximum-connections-per-client"),
    **_same("maximum-sessions", "maximum-sessions-per-connection"),
    "max-connection-duration": Rule("max-connection-duration", unit="h"),
    "server-inactivity-timeout": Rule("server-inactivity-timeout", unit="min"),
    "reflector-inactivity-timeout": Rule("reflector-inactivity-timeout", unit="min"),
}
LIGHT = {"port": Rule("port", several=True), "offload-type": Rule("offload-type")}
EVO_LIMITS = {
    "control-per-client-limit": ("maximum-connections-per-client", ""),
    "test-per-client-limit": ("maximum-sessions-per-client", ""),
    "control-maximum-duration": ("max-connection-duration", "s"),
    "control-inactivity-timeout": ("server-inactivity-timeout", "s"),
}
"""Limits of Junos OS Evolved -> ours, and the unit of their numbers."""
MOST = {"maximum-connections-per-client": "10000", "maximum-sessions-per-client": "65536"}
"""Ours where Junos's number is 0, for no limit."""

_SECRETS = "a secret: write it into a file of mode 0600 and name that as key-file"
_SERVICES = "Linux has no services interfaces"
_RPM = "an RPM probe (ping, HTTP, plain UDP or TCP): only TWAMP, TWAMP Light and STAMP are measured"
NO_EQUIVALENT = {
    "authentication-mode": "without authentication, ours says nothing",
    "authentication-key-chain": _SECRETS,
    "destination-interface": _SERVICES,
    "client-limit": "clients are not counted: maximum-connections bounds all of them",
    "stateful-sequence": "replies of negotiated test-sessions are always numbered",
    "routing-instance-list": "one Server listens in one VRF: routing-instance",
    "inactivity-timeout": "server-inactivity-timeout took its place",
    "post-cli-implicit-firewall": "twoway changes no firewall",
    "owner": _RPM,
    "probe": _RPM,
    "probe-server": "an RPM probe server answers nothing but RPM's own probes",
    "bgp": "RPM towards BGP neighbours: give each a test-session",
    "probe-limit": "there is no limit to set",
    "apply-macro": "a macro means nothing by itself",
    "traceoptions": "events are in `twoway show events`, and with notifications: syslog in syslog or the journal",
}
"""Statement -> why it is not used."""
RPM_OF_CONNECTION = ("test-interval", "routing-instance")
"""Statements of an RPM test that are of a control-connection in our words."""
RPM_TYPE = "icmp-ping"
RPM_INTERVAL = "3s"
"""Junos's own where nothing is said of the type and of the interval of probes."""
RPM_NO_EQUIVALENT = {
    "probe-type": "it is measured by STAMP instead",
    "url": "a URL is not measured: the test needs an address",
    "destination-port": "STAMP has a port of its own, 862 unless destination-port says otherwise",
    "destination-interface": "probes leave by the kernel's routes: see routing-instance and source-address",
    "next-hop": "probes leave by the kernel's routes: a route of the target's own keeps them on their uplink",
    "data-fill": "padding is zeros or random: data-fill",
    "one-way-hardware-timestamp": "offload-type: hardware stamps both ways",
    "rpm-scale": "a test-session has one target",
}
"""The same for an RPM test that is measured by STAMP, as a route is bound to it."""
ELSEWHERE = {
    "logical-systems": "there are no logical systems: import what is in it by itself",
    "routing-instances": "write routing-instance in the control-connection, or in the server",
    "interfaces": _SERVICES,
    "security": "twoway changes no firewall",
    "firewall": "twoway changes no firewall",
}
"""Beginning of a statement that speaks of us in another part of the configuration -> why it is not used."""
