"""What a configuration says that works, but hardly as somebody means it; and what collides on this host. Pure."""

from __future__ import annotations

from ipaddress import ip_address
from typing import TYPE_CHECKING

from twoway.config.doubts_routes import doubt_routes

if TYPE_CHECKING:
    from collections.abc import Callable

    from twoway.config.document import Path as Place
    from twoway.config.model import Configuration
    from twoway.config.model.client import TestSession
    from twoway.config.plan import Plan

TRAP_THRESHOLDS = {
    "probe-failure": "successive_loss",
    "test-failure": "total_loss",
    "rtt-exceeded": "rtt",
    "max-rtt-exceeded": "max_rtt",
    "jitter-exceeded": "jitter_rtt",
    "std-dev-exceeded": "std_dev_rtt",
    "egress-time-exceeded": "egress_time",
    "egress-jitter-exceeded": "jitter_egress",
    "egress-std-dev-exceeded": "std_dev_egress",
    "ingress-time-exceeded": "ingress_time",
    "ingress-jitter-exceeded": "jitter_ingress",
    "ingress-std-dev-exceeded": "std_dev_ingress",
}
"""Trap -> the threshold without which it is never sent."""


def doubt(configuration: Configuration, plan: Plan, warn: Callable[[Place, str], None]) -> None:
    """Tell `warn` of everything doubtful."""
    if plan.routes is not None:
        doubt_routes(plan.routes, plan.connections, warn)
        if plan.routes.traps and not configuration.notifications.snmp:
            warn(("routes", "traps"), "no trap is sent: notifications has no snmp receiver")
    if not configuration.client.control_connection and plan.server is None and not plan.reflections:
        warn((), "nothing to do: there is no control-connection and no server")
    trapped: Place | None = None
    for name, connection in configuration.client.control_connection.items():
        place: Place = ("client", "control-connection", name)
        if connection.control_type == "light" and "control-connection-closed" in connection.traps:
            warn((*place, "traps"), "control-connection-closed is never sent: light has no control connection to close")
        if connection.traps:
            trapped = trapped or (*place, "traps")
        if connection.persistent_results and connection.written("persistent_results") and configuration.store is None:
            warn((*place, "persistent-results"), "nothing survives a restart: there is no store")
        if connection.raw_history:
            _raw(configuration, plan, (*place, "raw-history"), warn)
        for session_name, session in connection.test_session.items():
            inside: Place = (*place, "test-session", session_name)
            if session.raw_history:
                _raw(configuration, plan, (*inside, "raw-history"), warn)
            if session.traps:
                trapped = trapped or (*inside, "traps")
            _session(session, inside, warn, light=connection.control_type == "light")
    if trapped is not None and not configuration.notifications.snmp:
        warn(trapped, "no trap is sent: notifications has no snmp receiver")
    if configuration.server.light is not None:
        for number, network in enumerate(configuration.server.light.tlvs.return_path_allow):
            if network.endswith("/0"):
                where: Place = ("server", "light", "tlvs", "return-path-allow", number)
                warn(where, f"{network} is everybody, forged addresses too: this host then sends where anyone says")
    api = plan.api
    if api.mode & 0o002:
        warn(("api", "mode"), f"{api.mode:04o} lets everybody on this machine ask and command: api.group names who may")
    for statement, listen in (("listen", api.listen), ("metrics-listen", api.metrics_listen)):
        if listen is not None and not ip_address(listen[0]).is_loopback:
            what = "token and results cross the network in the clear" if statement == "listen" else "anyone may read it"
            warn(("api", statement), f"{listen[0]} is not loopback, so {what}: a proxy with TLS before it would help")


def _raw(configuration: Configuration, plan: Plan, place: Place, warn: Callable[[Place, str], None]) -> None:
    if configuration.store is None:
        warn(place, "no probe is kept: there is no store")
    elif not plan.store.history_age_s:
        warn(place, "no probe is kept: store.retention.history is 0")


def _session(session: TestSession, place: Place, warn: Callable[[Place, str], None], *, light: bool) -> None:
    thresholds = session.thresholds
    for trap in session.traps:
        name = TRAP_THRESHOLDS.get(trap)
        if name is None:
            continue
        threshold = getattr(thresholds, name)
        if not (threshold if isinstance(threshold, int) else threshold.limit_value):
            warn((*place, "traps"), f"{trap} is never sent: thresholds.{name.replace('_', '-')} is off")
    if 0 < session.probe_count < thresholds.total_loss:
        warn(
            (*place, "thresholds", "total-loss"),
            f"{thresholds.total_loss} is more than a test's {session.probe_count} probes",
        )
    if light and thresholds.written("control_failure"):
        warn((*place, "thresholds", "control-failure"), "light negotiates nothing that could fail")
    if session.data_size == 0 and (session.written("data_fill") or session.written("data_fill_with_zeros")):
        warn(
            (*place, "data-fill" if session.written("data_fill") else "data-fill-with-zeros"),
            "there is no padding to fill: data-size is 0",
        )
