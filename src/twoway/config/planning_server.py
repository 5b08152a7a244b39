"""What the statements of the server, of notifications, store and API come to. Pure but for reading key files."""

from __future__ import annotations

from typing import TYPE_CHECKING

from twoway.config import defaults, plan
from twoway.config.endpoint import Endpoint, parse_endpoint
from twoway.config.keyfile import read_passphrase_file, read_token_file
from twoway.config.model.client import TIMESTAMPS
from twoway.config.model.surroundings import FACILITIES, SEVERITIES
from twoway.config.planner import bound_to
from twoway.config.planning_tlvs import tlv_reflection
from twoway.config.reflection import Reflection
from twoway.config.server import ServerOptions
from twoway.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path, PurePath

    from twoway.config.document import Path as Place
    from twoway.config.keyfile import Key
    from twoway.config.model.file_values import Credential
    from twoway.config.model.server import ClientList, Light, Managed, Server
    from twoway.config.model.surroundings import Api, Notifications, Snmp, Store, Syslog
    from twoway.config.planner import Planner

_SYSLOG_PORT = 514


def plan_server(planner: Planner, model: Server) -> tuple[ServerOptions | None, tuple[Reflection, ...]]:
    """The Server and the light Session-Reflectors."""
    managed = None if model.managed is None else _managed(planner, model.managed)
    light = None if model.light is None else _light(planner, model.light)
    return managed, () if light is None else (light,)


def _networks(clients: Mapping[str, ClientList]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(network for client_list in clients.values() for network in client_list.address))


def _keys(planner: Planner, place: Place, where: PurePath | Credential | None, *, secrets: bool) -> tuple[Key, ...]:
    path = planner.file((*place, "key-file"), where)
    if path is not None:
        with planner.refusing(place, "key-file"):
            return planner.surroundings.keys(path, secrets=secrets)
    return ()


def _managed(planner: Planner, model: Managed) -> ServerOptions | None:
    place: Place = ("server", "managed")
    allow = _networks(model.client_list)
    if not allow:
        planner.refuse(
            (*place, "client-list"),
            "names nobody: a Server needs at least one network, 0.0.0.0/0 and ::/0 for all",
        )
    for port in model.owamp_port:
        if port in model.port:
            planner.refuse((*place, "owamp-port"), f"{port} is a port of TWAMP already")
    interface, netns = bound_to(model.routing_instance, planner, place)
    keys = _keys(planner, place, model.key_file, secrets=True)
    if model.key_file is not None and not keys:
        return None  # the key file was refused; that modes lack secrets would be said for nothing
    with planner.refusing(place):
        return ServerOptions(
            listen=tuple(
                (protocol, address, port, 0)
                for protocol, ports in (("twamp", model.port), ("owamp", model.owamp_port))
                for port in ports
                for address in model.address
            ),
            modes=model.mode,
            secrets=tuple((key.key_id, key.octets) for key in keys),
            allow=allow,
            port_range=model.port_range,
            any_sender_address=model.any_sender_address,
            maximum_connections=model.maximum_connections,
            maximum_connections_per_client=model.maximum_connections_per_client,
            maximum_sessions=model.maximum_sessions,
            maximum_sessions_per_client=model.maximum_sessions_per_client,
            maximum_sessions_per_connection=model.maximum_sessions_per_connection,
            max_connection_duration_ns=model.max_connection_duration,
            server_inactivity_timeout_ns=model.server_inactivity_timeout,
            reflector_inactivity_timeout_ns=model.reflector_inactivity_timeout,
            tcp_keepidle_s=model.tcp_keepidle,
            tcp_keepintvl_s=model.tcp_keepintvl,
            tcp_keepcnt=model.tcp_keepcnt,
            interface=interface,
            netns=netns,
            workers=model.workers,
            timestamps=TIMESTAMPS[model.offload_type],
        )
    return None


def _light(planner: Planner, model: Light) -> Reflection | None:
    place: Place = ("server", "light")
    interface, netns = bound_to(model.routing_instance, planner, place)
    listen: tuple[str, ...] = ()
    if model.address or model.port != (defaults.PORT,):
        ends = [parse_endpoint(address) for address in model.address]
        listen = tuple(
            where
            for port in model.port
            for where in ([str(Endpoint(end.host, port, end.scope)) for end in ends] or [f":{port}"])
        )
    stateful = model.stateful_sequence
    keys = _keys(planner, place, model.key_file, secrets=False)
    if model.require_authentication and model.key_file is None:
        planner.refuse((*place, "require-authentication"), "it needs a key-file")
    with planner.refusing(place):
        return Reflection(
            listen=listen,
            interface=interface,
            netns=netns,
            workers=model.workers,
            stateful=stateful is not None,
            max_sessions=defaults.MAX_SESSIONS if stateful is None else stateful.cache_size,
            session_timeout_ns=model.session_timeout,
            keys=tuple((key.key_id, key.ssid, key.octets) for key in keys),
            require_authentication=model.require_authentication and bool(keys),
            allow=_networks(model.client_list),
            rate_limit=model.rate_limit,
            rate_limit_per_source=model.rate_limit_per_source,
            dscp=model.dscp_code_points,
            larger_replies=model.larger_replies,
            tlvs=tlv_reflection(model, place, planner.refuse),
            dscp_ecn_monitoring=model.dscp_ecn_monitoring,
            timestamps=TIMESTAMPS[model.offload_type],
        )
    return None


def plan_notices(planner: Planner, model: Notifications) -> plan.NoticePlan:
    """The receivers."""
    syslog = [_syslog(planner, ("notifications", "syslog", n), one) for n, one in enumerate(model.syslog)]
    snmp = [_snmp(planner, ("notifications", "snmp", n), one) for n, one in enumerate(model.snmp)]
    for name, receivers in (("syslog", syslog), ("snmp", snmp)):
        seen: set[object] = set()
        for number, receiver in enumerate(receivers):
            if receiver is not None and receiver in seen:
                planner.refuse(("notifications", name, number), f"{receiver.address} stands here twice")
            seen.add(receiver)
    return plan.NoticePlan(
        syslog=tuple(receiver for receiver in syslog if receiver is not None),
        snmp=tuple(receiver for receiver in snmp if receiver is not None),
        rate_limit=model.rate_limit,
    )


def _syslog(planner: Planner, place: Place, model: Syslog) -> plan.SyslogPlan | None:
    with planner.refusing(place, "address"):
        if model.transport == "local":
            address = model.address or "/dev/log"
            if not address.startswith("/"):
                raise ConfigError("address", f"{address!r} is no path: transport local is a socket of this host")
        elif model.address is None:
            raise ConfigError("address", f"transport {model.transport} needs the address of the receiver")
        else:
            end = parse_endpoint(model.address)
            address = str(Endpoint(end.host, end.port or _SYSLOG_PORT, end.scope))
        return plan.SyslogPlan(
            transport=model.transport,
            address=address,
            facility=FACILITIES.index(model.facility),
            min_severity=SEVERITIES.index(model.min_severity),
            hostname=model.hostname,
            enterprise_number=model.enterprise_number,
        )
    return None


_V3_ONLY = ("user", "auth_protocol", "auth_key_file", "priv_protocol", "priv_key_file", "engine_id")


def _snmp(planner: Planner, place: Place, model: Snmp) -> plan.TrapPlan | None:
    wrong = (
        [(name, "SNMP v2c has none: it belongs to version v3") for name in _V3_ONLY if model.written(name)]
        if model.version == "v2c"
        else _wrong_v3(model)
    )
    for name, message in wrong:
        planner.refuse((*place, name.replace("_", "-")), message)
    files: dict[str, Path | None] = {}
    held: list[str] = []
    for name in ("community_file", "auth_key_file", "priv_key_file"):
        where = (*place, name.replace("_", "-"))
        files[name] = planner.file(where, getattr(model, name))
        if files[name] is not None:
            with planner.refusing(place, str(where[-1])):
                secret = read_passphrase_file(str(files[name]))
                if name != "community_file" and len(secret.encode()) < 8:
                    raise ConfigError(name, "holds less than the 8 octets of a passphrase (RFC 3414 section 11.2)")
                held.append(secret)
    if wrong:
        return None
    host, port = model.address
    return plan.TrapPlan(
        address=f"[{host}]:{port}" if ":" in host else f"{host}:{port}",
        version=model.version,
        inform=model.inform,
        community_file=files["community_file"],
        user=model.user,
        auth_protocol=model.auth_protocol,
        auth_key_file=files["auth_key_file"],
        priv_protocol=model.priv_protocol,
        priv_key_file=files["priv_key_file"],
        engine_id=None if model.engine_id is None else model.engine_id.lower().removeprefix("0x"),
        juniper=model.juniper,
        enterprise_number=model.enterprise_number,
        held=tuple(held),
    )


def _wrong_v3(model: Snmp) -> list[tuple[str, str]]:
    wrong = []
    if model.user is None:
        wrong.append(("user", "SNMP v3 needs one"))
    if model.community_file is not None:
        wrong.append(("community_file", "SNMP v3 has no community: it belongs to version v2c"))
    for kind in ("auth", "priv"):
        protocol, key = getattr(model, f"{kind}_protocol"), getattr(model, f"{kind}_key_file")
        if protocol is not None and key is None:
            wrong.append((f"{kind}_key_file", f"{kind}-protocol {protocol} needs one"))
        if protocol is None and key is not None:
            wrong.append((f"{kind}_protocol", f"{kind}-key-file is for one: say which"))
    if model.priv_protocol is not None and model.auth_protocol is None:
        wrong.append(("priv_protocol", "there is no privacy without auth-protocol (RFC 3414 section 1.4.3)"))
    return wrong


def plan_store(planner: Planner, model: Store | None) -> plan.StorePlan:
    """Where results are kept."""
    if model is None:
        return plan.StorePlan(path=None)
    retention = model.retention
    return plan.StorePlan(
        path=planner.surroundings.path(model.path),
        max_octets=model.max_size,
        seconds_age_s=retention.seconds // defaults.NANOS,
        minutes_age_s=retention.minutes // defaults.NANOS,
        hours_age_s=retention.hours // defaults.NANOS,
        days_age_s=retention.days // defaults.NANOS,
        history_age_s=retention.history // defaults.NANOS,
        events_age_s=retention.events // defaults.NANOS,
    )


def plan_api(planner: Planner, model: Api) -> plan.ApiPlan:
    """Where the management API listens."""
    place: Place = ("api",)
    token_file = planner.file((*place, "token-file"), model.token_file)
    token = None
    if token_file is not None:
        with planner.refusing(place, "token-file"):
            token = read_token_file(str(token_file))
    if model.listen is not None and model.token_file is None:
        planner.refuse((*place, "token-file"), "listen needs one: over TCP, nothing else says who may ask")
    if model.listen is not None and model.listen == model.metrics_listen:
        planner.refuse((*place, "metrics-listen"), "is the address of listen already")
    return plan.ApiPlan(
        socket=planner.surroundings.path(model.socket),
        mode=model.mode,
        group=model.group,
        listen=model.listen,
        token_file=token_file,
        token=token,
        metrics_listen=model.metrics_listen,
    )
