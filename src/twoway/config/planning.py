"""What a configuration comes to: the `Plan` that the daemon follows. Pure but for reading key files.

Each value is in its range already; here statements come together, and what they must not say together is refused by the
path of the statement to change (V1 to V9 are the rules of Junos's own loader, by the numbers of the model's reference).
Nothing stops at the first mistake: a part that cannot be planned is left out, and the rest is looked at.

What a client does is planned here; other parts are in `planning_server`, `planning_routes`, `planning_paths` and
`planning_tlvs`.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from ipaddress import ip_address
from typing import TYPE_CHECKING

from twoway.config import defaults, keyfile, plan
from twoway.config.collisions import refuse_collisions
from twoway.config.endpoint import Endpoint, parse_endpoint
from twoway.config.managed import SECURE_MODES, ControlOptions, SessionRequest
from twoway.config.measurement import Measurement
from twoway.config.model.client import TIMESTAMPS
from twoway.config.planner import Planner, bound_to
from twoway.config.planning_paths import Way, Ways
from twoway.config.planning_routes import plan_routes
from twoway.config.planning_server import plan_api, plan_notices, plan_server, plan_store
from twoway.config.planning_tlvs import asked_tlvs, with_way
from twoway.config.secret import SecretOf
from twoway.errors import ConfigError

if TYPE_CHECKING:
    from twoway.config.document import Path as Place
    from twoway.config.keyfile import Key
    from twoway.config.model import Configuration
    from twoway.config.model.client import Authentication, ControlConnection, Target, TestSession
    from twoway.config.planner import Refuse, Refused, Surroundings

HISTORY_SIZE = 50
"""Probes remembered unless written otherwise, as Junos's."""
_LARGEST_HISTORY = 4096
"""As far as a history grows by itself to hold a whole test."""


def planned(configuration: Configuration, surroundings: Surroundings, refuse: Refuse, refused: Refused) -> plan.Plan:
    """The plan of what could be planned; `refuse` is told of everything else, `refused` knows what it was told."""
    planner = Planner(surroundings, refuse, refused)
    connections = []
    for name, connection in configuration.client.control_connection.items():
        made = _Connection(planner, name, connection).plan()
        if made is not None:
            connections.append(made)
    server, reflections = plan_server(planner, configuration.server)
    refuse_collisions(connections, server, reflections, refuse)
    return plan.Plan(
        connections=tuple(connections),
        server=server,
        reflections=reflections,
        notices=plan_notices(planner, configuration.notifications),
        store=plan_store(planner, configuration.store),
        api=plan_api(planner, configuration.api),
        workers=configuration.workers,
        routes=(
            None
            if configuration.routes is None
            else plan_routes(planner, configuration.routes, configuration.client, connections)
        ),
        variables=dict(configuration.variables),
    )


def _endpoint(target: Target, port: int | None) -> Endpoint:
    """Where a target is. Raises `ConfigError`."""
    if target.address is None:
        raise ConfigError("target", "has no address")
    written = parse_endpoint(target.address)
    link_local = ":" in written.host and ip_address(written.host).is_link_local
    if target.local_link is not None and not link_local:
        raise ConfigError("target", f"{target.address} is not link-local, and has no use for local-link")
    if target.local_link is not None and written.scope not in (None, target.local_link):
        raise ConfigError("target", f"is at %{written.scope} and at local-link {target.local_link}")
    scope = written.scope or target.local_link
    if link_local and scope is None:
        raise ConfigError(
            "target", f"{target.address} is link-local and needs its interface: add local-link, or %INTERFACE"
        )
    if scope is not None and not link_local:
        raise ConfigError("target", f"{target.address}: only a link-local address has an interface")
    return Endpoint(written.host, port, scope)


def _refuse_names_of_two(sessions: tuple[plan.SessionPlan, ...], planner: Planner) -> None:
    """The name that a path's results get may be that of another test-session."""
    names = {session.name for session in sessions if session.lane is None}
    for session in sessions:
        if session.lane is not None and session.name in names:
            place = (*session.place, "path", session.lane.path)
            planner.refuse(place, f"{session.name} would be its name, and is that of a test-session")


class _Connection:
    """One control-connection on its way into the plan."""

    def __init__(self, planner: Planner, name: str, model: ControlConnection) -> None:
        self.planner = planner
        self.name = name
        self.model = model
        self.light = model.control_type == "light"
        self.place: Place = ("client", "control-connection", name)
        self.interface, self.netns = bound_to(model.routing_instance, planner, self.place)

    def refuse(self, statement: str, message: str) -> None:
        self.planner.refuse((*self.place, statement), message)

    def plan(self) -> plan.ConnectionPlan | None:
        """The plan, None if nothing can be made of it."""
        model = self.model
        if self.planner.refused((*self.place, "control-type")):
            # Whether it is managed or light nobody knows: only what is wrong with both can be said.
            for name, session in model.test_session.items():
                _Session(self, name, session).check_any()
            return None
        server = None if self.light else self._server()
        control = None if self.light else self._control()
        if self.light:
            self._check_light()
        if not model.test_session:
            self.refuse("test-session", "there is none: a control-connection needs at least one")
        sessions = tuple(
            made
            for name, session in model.test_session.items()
            for made in _Session(self, name, session).plans(control, server)
        )
        _refuse_names_of_two(sessions, self.planner)
        if not sessions or (not self.light and (control is None or server is None)):
            return None
        return plan.ConnectionPlan(
            name=self.name,
            target="" if server is None else str(server),
            control=control,
            test_start=model.test_start,
            test_interval_ns=model.test_interval,
            traps=frozenset(model.traps),
            sessions=sessions,
        )

    def _check_light(self) -> None:
        model = self.model
        if model.target is not None:
            self.refuse("target", "a light control-connection has none: give each test-session its target")
        if model.destination_port is not None:
            self.refuse("destination-port", "a light control-connection has none: it belongs to each test-session")
        if model.authentication is not None:
            self.refuse("authentication", "light has no control connection to secure: give test-sessions a key-file")
        for statement in ("dscp_code_points", "tcp_keepidle", "tcp_keepintvl", "tcp_keepcnt"):
            if model.written(statement):
                self.refuse(
                    statement.replace("_", "-"), "a light control-connection has no TCP connection to set it on"
                )

    def _server(self) -> Endpoint | None:
        if self.model.target is None:
            self.refuse("target", "a managed control-connection needs the address of its Server")
            return None
        with self.planner.refusing(self.place):
            return _endpoint(self.model.target, self.model.destination_port or defaults.PORT)
        return None

    def _control(self) -> ControlOptions | None:
        model = self.model
        with self.planner.refusing(self.place, "authentication"):
            modes, key_id, passphrase = self._security(model.authentication)
            return ControlOptions(
                modes=modes,
                key_id=key_id,
                passphrase=passphrase,
                source=model.source_address,
                interface=self.interface,
                netns=self.netns,
                dscp=model.dscp_code_points,
                tcp_keepidle_s=model.tcp_keepidle,
                tcp_keepintvl_s=model.tcp_keepintvl,
                tcp_keepcnt=model.tcp_keepcnt,
            )
        return None

    def _security(self, asked: Authentication | None) -> tuple[tuple[str, ...], str | None, SecretOf | None]:
        if asked is None:
            return ("unauthenticated",), None, None
        if asked.key_file is None:
            secure = [mode for mode in asked.mode if mode in SECURE_MODES]
            if secure:
                raise ConfigError("authentication", f"{secure[0]} needs a key-file")
            if asked.key_id is not None:
                raise ConfigError("authentication", "key-id chooses a secret of a key-file, which is missing")
            return asked.mode, None, None
        path = self.planner.surroundings.path(asked.key_file)
        key = keyfile.choose_key(self.planner.surroundings.keys(path, secrets=True), asked.key_id, None, str(path))
        return asked.mode, key.key_id, SecretOf(str(path), key.key_id)


class _Session:
    """One test-session on its way into the plan."""

    def __init__(self, connection: _Connection, name: str, model: TestSession) -> None:
        self.connection = connection
        self.planner = connection.planner
        self.name = name
        self.model = model
        self.place: Place = (*connection.place, "test-session", name)

    def refuse(self, statement: str, message: str) -> None:
        self.planner.refuse((*self.place, statement), message)

    def plans(self, control: ControlOptions | None, server: Endpoint | None) -> list[plan.SessionPlan]:
        """A plan for each path, none if nothing can be made of it."""
        if not self.connection.light:
            self._check_managed()
        history_size = self.check_any()
        return self._ways(server).plans(
            lambda way: self._plan(control, server, way, history_size), light=self.connection.light
        )

    def _ways(self, server: Endpoint | None) -> Ways:
        target, model = None if server is None else server.host, self.model
        if model.target is not None and model.target.address is not None:
            with suppress(ConfigError):  # it is looked at again, and then reported
                target = parse_endpoint(model.target.address).host
        stamp = self.connection.light and model.protocol != "light"
        return Ways(self.place, model, target, stamp=stamp, refuse=self.planner.refuse)

    def _plan(
        self, control: ControlOptions | None, server: Endpoint | None, way: Way, history_size: int
    ) -> plan.SessionPlan | None:
        connection, model = self.connection.model, self.model
        light = managed = None
        if self.connection.light:
            light = self._light(way)
        elif server is not None and control is not None:
            managed = self._managed(control, server, way)
        if light is None and managed is None:
            return None
        return plan.SessionPlan(
            connection=self.connection.name,
            name=self.name,
            light=light,
            managed=managed,
            target=self._shown_target(server),
            probe_count=model.probe_count,
            test_interval_ns=connection.test_interval,
            test_count=connection.test_count,
            history_size=history_size,
            moving_average_size=(
                connection.moving_average_size if model.moving_average_size is None else model.moving_average_size
            ),
            thresholds=self.planner.thresholds(model.thresholds),
            traps=self.planner.traps(model.traps),
            persistent=connection.persistent_results,
            raw=connection.raw_history if model.raw_history is None else model.raw_history,
        )

    def _shown_target(self, server: Endpoint | None) -> str:
        target = self.model.target
        if target is not None and target.address is not None:
            return target.address
        return "" if server is None else str(Endpoint(server.host, None, server.scope))

    def check_any(self) -> int:
        """V5, which holds whatever the control-type. The size of the history: one that nobody has sized grows to hold
        a test."""
        written, place = self.model.history_size, self.place
        if written is None:
            written, place = self.connection.model.history_size, self.connection.place
        count = self.model.probe_count
        if written is None:
            return max(HISTORY_SIZE, min(count, _LARGEST_HISTORY))
        if 0 < written < count:
            whose = "" if place == self.place else f" of test-session {self.name}"
            self.planner.refuse(
                (*place, "history-size"),
                f"{written} is less than probe-count {count}{whose}: a test must fit, or write 0",
            )
        return written

    def _check_managed(self) -> None:
        model = self.model
        if model.destination_port is not None:
            self.refuse(
                "destination-port", "a managed test-session negotiates it: it belongs to the control-connection"
            )
        for statement, why in (
            ("protocol", "a managed test-session speaks TWAMP: STAMP is for control-type light"),
            (
                "key_file",
                "a managed test-session has the keys of its control-connection: write them under authentication",
            ),
            (
                "key_id",
                "a managed test-session has the keys of its control-connection: write them under authentication",
            ),
            ("ssid", "only STAMP packets carry one: it is for control-type light"),
            ("tlvs", "only STAMP packets have TLVs: they are for control-type light"),
        ):
            if model.written(statement):
                self.refuse(statement.replace("_", "-"), why)

    @property
    def _count(self) -> int | None:
        """Probes of all tests, None for no end."""
        tests, probes = self.connection.model.test_count, self.model.probe_count
        count = tests * probes or None
        if count is not None and count > 2**32 - 1:
            raise ConfigError("count", f"test-count {tests} of {probes} probes are more than 4294967295 in all")
        return count

    @property
    def _fill(self) -> str:
        model = self.model
        if model.data_fill_with_zeros and model.data_fill == "random":
            raise ConfigError("fill", "random contradicts data-fill-with-zeros")
        return model.data_fill

    def _light(self, way: Way) -> Measurement | None:
        model, connection = self.model, self.connection
        if model.target is None:
            self.refuse("target", "a light test-session needs the address of its Session-Reflector")
            return None
        with self.planner.refusing(self.place):
            target = _endpoint(model.target, model.destination_port or defaults.PORT)
            key = self._key()
            ssid = model.ssid or (key.ssid if key is not None and key.ssid is not None else defaults.SSID)
            protocol = model.protocol or defaults.PROTOCOL
            if protocol == "light" and (key is not None or ssid):
                name = "key-file" if key is not None else "ssid"
                self.refuse(name, "TWAMP Light has none: it belongs to protocol stamp")
                return None
            if protocol == "light" and model.written("tlvs"):
                self.refuse("tlvs", "only STAMP packets have TLVs: they are for protocol stamp")
                return None
            asked = asked_tlvs(model, ssid, self.place, self.planner.refuse)
            octets = None if key is None else key.octets
            wanted = Measurement(
                target=str(target),
                protocol=protocol,
                count=self._count,
                interval_ns=model.probe_interval,
                schedule=model.schedule,
                timeout_ns=model.timeout,
                fill=self._fill,
                dscp_ecn=model.dscp_code_points << 2,
                ttl=model.ttl,
                ssid=ssid,
                key=None if asked.hmac else octets,
                tlv_key=octets if asked.hmac else None,
                source=model.source_address or connection.model.source_address,
                source_port=model.source_port,
                interface=connection.interface,
                netns=connection.netns,
                timestamps=TIMESTAMPS[model.offload_type],
                clock_format=model.clock_format,
                reflector_mode=model.reflector_mode,
                path=way.forward,
                tlvs=with_way(asked, way, self.place, self.planner.refuse),
            )
            if model.data_size:
                wanted = replace(wanted, payload_len=wanted.packet_size + model.data_size)
            _same_family(wanted.source, target.host)
            return wanted
        return None

    def _key(self) -> Key | None:
        model = self.model
        if model.key_file is None:
            if model.key_id is not None:
                self.refuse("key-id", "it chooses a key of key-file, which is missing")
            return None
        try:
            path = self.planner.surroundings.path(model.key_file)
        except ConfigError as error:
            raise ConfigError("key", error.reason) from None
        keys = self.planner.surroundings.keys(path, secrets=False)
        return keyfile.choose_key(keys, model.key_id, model.ssid or None, str(path))

    def _managed(self, control: ControlOptions, server: Endpoint, way: Way) -> SessionRequest | None:
        model = self.model
        with self.planner.refusing(self.place):
            source = model.source_address
            _same_family(source or control.source, server.host)
            return SessionRequest(
                count=self._count,
                interval_ns=model.probe_interval,
                schedule=model.schedule,
                timeout_ns=model.timeout,
                payload_len=self._managed_size(control),
                fill=self._fill,
                dscp=model.dscp_code_points,
                ttl=model.ttl,
                sender_port=model.source_port,
                sender_address=None if source == control.source else source,
                receiver_address=self._receiver(server),
                timestamps=TIMESTAMPS[model.offload_type],
                clock_format=model.clock_format,
                reflector_mode=model.reflector_mode,
                path=way.forward,
            )
        return None

    def _managed_size(self, control: ControlOptions) -> int | None:
        """Octets of UDP payload. Where modes differ in their headers, the longest leaves room for each."""
        if not self.model.data_size:
            return None
        secure = any(mode in ("authenticated", "encrypted") for mode in control.modes)
        return self.model.data_size + defaults.PAYLOAD_LEN["stamp-authenticated" if secure else "twamp"]

    def _receiver(self, server: Endpoint) -> str | None:
        """The address to name in the request: None for the Server's own."""
        if self.model.target is None:
            return None
        target = _endpoint(self.model.target, None)
        if target == Endpoint(server.host, None, server.scope):
            return None
        try:
            return str(ip_address(target.host))
        except ValueError:
            raise ConfigError(
                "target", f"{target.host} is not the Server: a Session-Reflector elsewhere needs a numeric address"
            ) from None


def _same_family(source: str | None, target: str) -> None:
    """Raises `ConfigError` where one is IPv4 and the other IPv6; a name may still be either."""
    try:
        version = ip_address(target).version
    except ValueError:
        return
    if source is not None and ip_address(source).version != version:
        raise ConfigError("source", f"{source} and the target {target} are not of the same address family")
