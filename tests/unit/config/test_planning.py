"""What a configuration comes to: each statement reaches its place in the plan, and equal files give equal plans."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from twoway.config import check, plan
from twoway.config.managed import ControlOptions, SessionRequest
from twoway.config.measurement import Measurement
from twoway.config.reflection import ControlReflection, Reflection, TlvReflection
from twoway.config.secret import SecretOf
from twoway.config.server import ServerOptions
from twoway.config.tlvs import parse_tlvs
from twoway.errors import KeyFileError
from twoway.path import PLAIN, ForwardPath, ReturnPath
from twoway.tlvs import NO_TLVS, AccessReport, Tlvs

if TYPE_CHECKING:
    from twoway.config.plan import ConnectionPlan, Plan, SessionPlan

SECRET = "swordfish-of-the-deep"  # noqa: S105  (made up)
MS = 1_000_000


def planned(text: str, directory: Path = Path("/etc/twoway"), credentials: Path | None = None) -> Plan:
    checked = check.check_text(text, "f.yaml", directory, credentials)
    assert checked.plan is not None, [str(error) for error in checked.errors]
    return checked.plan


def light(session: str, connection: str = "") -> tuple[ConnectionPlan, SessionPlan]:
    text = f"{{control-type: light, {connection} test-session: {{s: {{{session}}}}}}}"
    found = planned(f"client: {{control-connection: {{c: {text}}}}}").connections[0]
    return found, found.sessions[0]


def managed(session: str, connection: str = "") -> tuple[ConnectionPlan, SessionPlan]:
    text = f"{{target: 192.0.2.1, {connection} test-session: {{s: {{{session}}}}}}}"
    found = planned(f"client: {{control-connection: {{c: {text}}}}}").connections[0]
    return found, found.sessions[0]


def key_file(path: Path, text: str) -> Path:
    path.write_text(text)
    path.chmod(0o600)
    return path


def test_a_light_session_with_nothing_said() -> None:
    connection, session = light("target: 192.0.2.1")
    assert session == plan.SessionPlan(
        connection="c",
        name="s",
        light=Measurement("192.0.2.1:862"),
        managed=None,
        target="192.0.2.1",
        probe_count=1,
        test_interval_ns=1000 * MS,
        test_count=0,
        history_size=50,
        moving_average_size=0,
        thresholds=plan.Thresholds(),
        traps=frozenset(),
        persistent=True,
    )
    assert replace(connection, sessions=()) == plan.ConnectionPlan(
        name="c",
        target="",
        control=None,
        test_start="auto",
        test_interval_ns=1000 * MS,
        traps=frozenset(),
        sessions=(),
    )


def test_a_light_session_with_everything_said(tmp_path: Path) -> None:
    keys = key_file(tmp_path / "keys", f"a text:{SECRET}\nb hex:00ff\n")
    connection, session = light(
        "target: {address: 'fe80::1', local-link: eth0}, source-address: 'fe80::2', source-port: 5000,"
        "destination-port: 8620, protocol: stamp, probe-count: 10, probe-interval: 20ms, schedule: poisson, timeout: 1,"
        "data-size: 100, data-fill: random, dscp-code-points: 101110, ttl: 64, offload-type: none, clock-format: ptp,"
        f"reflector-mode: stateful, key-file: {keys}, key-id: b, ssid: 7, history-size: 20, moving-average-size: 30,"
        "raw-history: off, traps: [rtt-exceeded, test-failure],"
        "thresholds: {rtt: 5, jitter-rtt: {limit-value: 2ms, average: on},"
        "std-dev-egress: 0.5ms, successive-loss: 3, total-loss: 0, control-failure: off, own-faults: on}",
        "routing-instance: {netns: blue, vrf: red}, test-interval: 5s, test-count: 4, test-start: manual,"
        "persistent-results: off, traps: test-iteration-done, moving-average-size: 9, history-size: 99,"
        "raw-history: on,",
    )
    assert session.light == Measurement(
        "[fe80::1%eth0]:8620",
        protocol="stamp",
        count=40,
        interval_ns=20 * MS,
        schedule="poisson",
        timeout_ns=1000 * MS,
        payload_len=212,
        fill="random",
        dscp_ecn=46 << 2,
        ttl=64,
        ssid=7,
        key=b"\x00\xff",
        source="fe80::2",
        source_port=5000,
        interface="red",
        netns="blue",
        timestamps="user",
        clock_format="ptp",
        reflector_mode="stateful",
    )
    assert session.thresholds == plan.Thresholds(
        rtt=plan.Limit(5_000),
        jitter_rtt=plan.Limit(2 * MS, average=True),
        std_dev_egress=plan.Limit(500_000),
        successive_loss=3,
        total_loss=0,
        control_failure=False,
        own_faults=True,
    )
    assert (session.history_size, session.moving_average_size, session.test_count) == (20, 30, 4)
    assert (session.traps, session.persistent) == (frozenset({"rtt-exceeded", "test-failure"}), False)
    assert not session.raw
    assert light("target: 192.0.2.1", "raw-history: on,")[1].raw
    assert (connection.test_start, connection.test_interval_ns, connection.traps) == (
        "manual",
        5000 * MS,
        frozenset({"test-iteration-done"}),
    )
    assert session.target == "fe80::1"


def test_a_light_session_takes_the_ways_it_is_told() -> None:
    _, session = light(
        "target: '2001:db8::1', source-routing: {forward: {srv6-nodes: ['2001:DB8:a::1', '2001:db8:b::1']},"
        "return: {srv6-nodes: '2001:db8:c::1', address: '2001:db8::9'}}"
    )
    back = ReturnPath("srv6", segments=("2001:db8:c::1",), address="2001:db8::9")
    assert session.light == Measurement(
        "[2001:db8::1]:862",
        count=None,
        path=ForwardPath("srv6", segments=("2001:db8:a::1", "2001:db8:b::1")),
        tlvs=replace(NO_TLVS, return_path=back),
    )
    assert (session.name, session.lane) == ("s", None)
    assert (str(session.forward_path), session.return_path) == ("srv6:2001:db8:a::1,2001:db8:b::1", back)


@pytest.mark.parametrize(
    ("forward", "path"),
    [
        ("srmpls-nodes: 17", ForwardPath("mpls", labels=(17,))),
        (
            "srmpls-nodes: [17, 18, 17], gateway: 192.0.2.254, interface: eth1",
            ForwardPath("mpls", labels=(17, 18, 17), gateway="192.0.2.254", interface="eth1"),
        ),
        ("interface: eth1", ForwardPath("link", interface="eth1")),
        ("", PLAIN),
    ],
)
def test_every_session_goes_where_it_is_sent(forward: str, path: ForwardPath) -> None:
    routing = f"source-routing: {{forward: {{{forward}}}}}"
    _, plain = light(f"target: 192.0.2.1, {routing}")
    _, negotiated = managed(routing)
    assert plain.light is not None
    assert negotiated.managed is not None
    assert plain.light.path == negotiated.managed.path == plain.forward_path == negotiated.forward_path == path


def test_each_path_of_a_session_is_measured_under_its_own_name() -> None:
    found = planned(
        "client: {control-connection: {c: {control-type: light, test-session: {v: {target: 192.0.2.1, path: {"
        "a: , b: {forward: {interface: eth1}, return: {same-link: on}, micro-session-id: 7,"
        "reflector-micro-session-id: 9}}}, w: {target: 192.0.2.1}}}}}"
    )
    first, second, other = found.connections[0].sessions
    assert [session.key for session in (first, second, other)] == [("c", "v:a"), ("c", "v:b"), ("c", "w")]
    assert [session.lane for session in (first, second, other)] == [
        plan.Lane("v", "a", 0, 2),
        plan.Lane("v", "b", 1, 2),
        None,
    ]
    assert first.place == second.place == ("client", "control-connection", "c", "test-session", "v")
    assert first.light is not None
    assert second.light is not None
    assert replace(second.light, path=PLAIN, tlvs=NO_TLVS) == first.light == other.light
    assert second.light.path == ForwardPath("link", interface="eth1")
    assert second.light.tlvs == replace(NO_TLVS, return_path=ReturnPath("same-link"), micro_session=(7, 9))


def test_a_light_session_asks_for_its_tlvs_as_the_command_line_does(tmp_path: Path) -> None:
    texts = ["location", "cos=af41", "access-report=3gpp:available", "control=2@1ms", "extension-header=8"]
    _, session = light(f"target: 192.0.2.1, tlvs: {texts}")
    assert session.light is not None
    assert session.light.tlvs == parse_tlvs(texts)
    assert session.tlvs == session.light.tlvs.names
    keys = key_file(tmp_path / "keys", f"a ssid=5 text:{SECRET}\n")
    statements = "ask: [access-report=3gpp:2, node=192.0.2.1], hmac: on, access-timer: 1s, access-retransmissions: 0"
    _, session = light(
        f"target: 192.0.2.1, key-file: {keys}, source-routing: {{return: {{same-link: on}}}}, tlvs: {{{statements}}}"
    )
    assert session.light is not None
    report = AccessReport("3gpp", 2, timer_ns=1000 * MS, retransmissions=0)
    back = ReturnPath("same-link")
    assert session.light.tlvs == Tlvs(access_report=report, destination_node="192.0.2.1", return_path=back, hmac=True)
    assert (session.light.key, session.light.tlv_key, session.light.ssid) == (None, SECRET.encode(), 5)


def test_the_paths_of_a_session_ask_for_the_same() -> None:
    found = planned(
        "client: {control-connection: {c: {control-type: light, test-session: {v: {target: 192.0.2.1, tlvs: follow-up,"
        "path: {a: , b: {forward: {interface: eth1}, micro-session-id: 7}}}}}}}"
    )
    sessions = [session.light for session in found.connections[0].sessions]
    assert [None if one is None else one.tlvs for one in sessions] == [
        Tlvs(follow_up=True),
        Tlvs(follow_up=True, micro_session=(7, 0)),
    ]


def test_a_managed_session_with_nothing_said() -> None:
    connection, session = managed("")
    assert (connection.target, connection.control) == ("192.0.2.1:862", ControlOptions())
    assert (session.light, session.managed, session.target) == (None, SessionRequest(count=None), "192.0.2.1")


def test_a_managed_session_with_everything_said(tmp_path: Path) -> None:
    keys = key_file(tmp_path / "keys", f"noc text:{SECRET}\n")
    connection, session = managed(
        "target: 192.0.2.7, source-address: 192.0.2.8, source-port: 5000, probe-count: 5, data-size: 10,"
        "dscp-code-points: af41,"
        "data-fill-with-zeros: on, offload-type: inline-timestamping",
        "destination-port: 8620, source-address: 192.0.2.9, routing-instance: blue, dscp-code-points: cs6,"
        "tcp-keepidle: 60, tcp-keepintvl: 2, tcp-keepcnt: 3,"
        f"authentication: {{key-file: {keys}, mode: [control-only-encrypted, encrypted]}},",
    )
    assert connection.target == "192.0.2.1:8620"
    assert connection.control == ControlOptions(
        modes=("mixed", "encrypted"),
        key_id="noc",
        passphrase=SecretOf(str(keys), "noc"),
        source="192.0.2.9",
        interface="blue",
        dscp=48,
        tcp_keepidle_s=60,
        tcp_keepintvl_s=2,
        tcp_keepcnt=3,
    )
    assert session.managed == SessionRequest(
        count=None,
        payload_len=122,
        dscp=34,
        sender_port=5000,
        sender_address="192.0.2.8",
        receiver_address="192.0.2.7",
        timestamps="hardware",
    )


def test_the_servers_own_address_is_not_named_in_the_request() -> None:
    _, session = managed("target: 192.0.2.1, source-address: 192.0.2.9", "source-address: 192.0.2.9,")
    assert session.managed is not None
    assert (session.managed.receiver_address, session.managed.sender_address) == (None, None)


def test_a_name_is_left_to_be_resolved_later() -> None:
    _, session = light("target: reflector.example.net")
    assert session.light is not None
    assert session.light.target == "reflector.example.net:862"


@pytest.mark.parametrize(
    ("probes", "tests", "count"), [(0, 0, None), (10, 0, None), (0, 5, None), (10, 5, 50), (1, 1, 1)]
)
def test_the_whole_of_all_tests(probes: int, tests: int, count: int | None) -> None:
    _, session = light(f"target: 192.0.2.1, probe-count: {probes}", f"test-count: {tests},")
    assert session.light is not None
    assert session.light.count == count


@pytest.mark.parametrize(("probes", "size"), [(1, 50), (50, 50), (51, 51), (4096, 4096), (10_000, 4096)])
def test_a_history_that_nobody_sized_holds_a_test(probes: int, size: int) -> None:
    assert light(f"target: 192.0.2.1, probe-count: {probes}")[1].history_size == size


@pytest.mark.parametrize(
    ("written", "code_point"),
    [
        ("000000", 0),
        ("001010", 10),
        ("101110", 46),
        ('"101110"', 46),
        ("10", 10),
        ("ef", 46),
        ("AF41", 34),
        ("nc1", 48),
        ("nc2", 56),
    ],
)
def test_code_points_as_junos_writes_them(written: str, code_point: int) -> None:
    _, session = light(f"target: 192.0.2.1, dscp-code-points: {written}")
    assert session.light is not None
    assert session.light.dscp_ecn == code_point << 2


def test_a_key_with_an_ssid_brings_it_along(tmp_path: Path) -> None:
    keys = key_file(tmp_path / "keys", f"a ssid=5 text:{SECRET}\n")
    _, session = light(f"target: 192.0.2.1, key-file: {keys}")
    assert session.light is not None
    assert (session.light.ssid, session.light.key) == (5, SECRET.encode())


def test_what_tlvs_may_ask_of_a_light_reflector(tmp_path: Path) -> None:
    keys = key_file(tmp_path / "keys", f"a text:{SECRET}\n")
    (found,) = planned(
        f"""
        server:
          light:
            key-file: {keys}
            stateful-sequence: on
            tlvs:
              require-hmac: on
              location: all
              permit-dscp: [ef, af41]
              sync-source: ptp
              return-path-allow: [192.0.2.0/24]
              reflect-headers: on
              micro-session: {{eth1: 11, eth2: 12}}
              control: {{allow: 192.0.2.0/24, replies: 4, length: 1k, rate: 1M, volume: 8k}}
        """
    ).reflections
    assert found.tlvs == TlvReflection(
        require_hmac=True,
        location="all",
        permit_dscp=(46, 34),
        sync_source="ptp",
        return_path_allow=("192.0.2.0/24",),
        reflect_headers=True,
        micro_sessions=(("eth1", 11), ("eth2", 12)),
        control=ControlReflection(("192.0.2.0/24",), max_replies=4, max_length=1024, max_rate=1 << 20, max_volume=8192),
    )
    assert planned("server: {light: {tlvs: off}}").reflections == (Reflection(tlvs=None),)
    assert planned("server: {light: {tlvs: on}}").reflections == (Reflection(),)


def test_the_server(tmp_path: Path) -> None:
    keys = key_file(tmp_path / "keys", f"noc text:{SECRET}\n")
    found = planned(
        f"""
        server:
          managed:
            port: [862, 8862]
            owamp-port: 861
            address: 127.0.0.1
            routing-instance: {{netns: blue}}
            client-list: {{noc: [192.0.2.0/24, "2001:db8::/32"], cpe: {{address: [198.51.100.7, 192.0.2.0/24]}}}}
            key-file: {keys}
            mode: [encrypted]
            port-range: 30000-30099
            any-sender-address: on
            maximum-connections: 1
            maximum-connections-per-client: 2
            maximum-sessions: 3
            maximum-sessions-per-client: 4
            maximum-sessions-per-connection: 5
            max-connection-duration: 24h
            server-inactivity-timeout: 15min
            reflector-inactivity-timeout: 0
            tcp-keepidle: 6
            tcp-keepintvl: 7
            tcp-keepcnt: 8
            offload-type: pfe-timestamp
            workers: 2
        """
    )
    assert found.server == ServerOptions(
        listen=(
            ("twamp", "127.0.0.1", 862, 0),
            ("twamp", "127.0.0.1", 8862, 0),
            ("owamp", "127.0.0.1", 861, 0),
        ),
        modes=("encrypted",),
        secrets=(("noc", SECRET.encode()),),
        allow=("192.0.2.0/24", "2001:db8::/32", "198.51.100.7/32"),
        port_range=(30000, 30099),
        any_sender_address=True,
        maximum_connections=1,
        maximum_connections_per_client=2,
        maximum_sessions=3,
        maximum_sessions_per_client=4,
        maximum_sessions_per_connection=5,
        max_connection_duration_ns=86_400_000 * MS,
        server_inactivity_timeout_ns=900_000 * MS,
        reflector_inactivity_timeout_ns=0,
        tcp_keepidle_s=6,
        tcp_keepintvl_s=7,
        tcp_keepcnt=8,
        netns="blue",
        workers=2,
    )


def test_light_session_reflectors(tmp_path: Path) -> None:
    assert planned("server: {light: }").reflections == (Reflection(),)
    assert planned("server: {light: {port: [862, 50000]}}").reflections == (Reflection(listen=(":862", ":50000")),)
    keys = key_file(tmp_path / "keys", f"a ssid=5 text:{SECRET}\nb hex:00\n")
    found = planned(
        f"server: {{light: {{port: 8620, address: [127.0.0.1, 'fe80::1%eth0'], stateful-sequence: {{cache-size: 1000}},"
        f"client-list: {{all: [192.0.2.0/24]}}, key-file: {keys}, require-authentication: on, rate-limit: 10,"
        "rate-limit-per-source: 5, session-timeout: 30, dscp-code-points: ef, larger-replies: off,"
        "dscp-ecn-monitoring: on, offload-type: none, workers: 3, routing-instance: red}}"
    )
    assert found.reflections == (
        Reflection(
            listen=("127.0.0.1:8620", "[fe80::1%eth0]:8620"),
            interface="red",
            workers=3,
            stateful=True,
            max_sessions=1000,
            session_timeout_ns=30_000 * MS,
            keys=(("a", 5, SECRET.encode()), ("b", None, b"\x00")),
            require_authentication=True,
            allow=("192.0.2.0/24",),
            rate_limit=10,
            rate_limit_per_source=5,
            dscp=46,
            larger_replies=False,
            dscp_ecn_monitoring=True,
            timestamps="user",
        ),
    )


@pytest.mark.parametrize(
    ("written", "size"), [("on", 65_536), ("", 65_536), ("true", 65_536), ("off", None), ("{}", 65_536)]
)
def test_stateful_sequence_by_being_there(written: str, size: int | None) -> None:
    (found,) = planned(f"server:\n  light:\n    stateful-sequence: {written}\n").reflections
    assert found.stateful is (size is not None)
    assert size in (None, found.max_sessions)


def test_everything_around(tmp_path: Path) -> None:
    for name in ("community", "auth", "priv", "token"):
        key_file(tmp_path / name, f"{SECRET}\n")
    found = planned(
        """
        notifications:
          rate-limit: 5
          syslog:
            - {address: log.example.net, transport: tcp, facility: local7, min-severity: warning, hostname: p,
               enterprise-number: 9}
            - {transport: local}
            - {address: "[2001:db8::1]:5140"}
          snmp:
            - {address: nms.example.net, inform: on, community-file: community, juniper: on}
            - {address: "2001:db8::1", version: v3, user: u, auth-protocol: sha256, auth-key-file: auth,
               priv-protocol: aes, priv-key-file: {credential: priv}, engine-id: '0x8000000001'}
        store:
          path: results.db
          max-size: 1GiB
          retention: {seconds: 0, minutes: 1d, hours: 2d, days: 9d, history: 60, events: 3d}
        api:
          {socket: /tmp/s, mode: "0600", group: noc, listen: "127.0.0.1:80", token-file: token,
           metrics-listen: "[::1]:9862"}
        workers: 4
        variables: {site: fra}
        """,
        tmp_path,
        tmp_path,
    )
    assert found.notices == plan.NoticePlan(
        syslog=(
            plan.SyslogPlan("tcp", "log.example.net:514", 23, 4, "p", 9),
            plan.SyslogPlan("local", "/dev/log"),
            plan.SyslogPlan("udp", "[2001:db8::1]:5140"),
        ),
        snmp=(
            plan.TrapPlan(
                "nms.example.net:162",
                "v2c",
                inform=True,
                community_file=tmp_path / "community",
                juniper=True,
                held=(SECRET,),
            ),
            plan.TrapPlan(
                "[2001:db8::1]:162",
                "v3",
                user="u",
                auth_protocol="sha256",
                auth_key_file=tmp_path / "auth",
                priv_protocol="aes",
                priv_key_file=tmp_path / "priv",
                engine_id="8000000001",
                held=(SECRET, SECRET),
            ),
        ),
        rate_limit=5,
    )
    assert found.store == plan.StorePlan(tmp_path / "results.db", 1 << 30, 0, 86_400, 172_800, 777_600, 60, 259_200)
    assert found.api == plan.ApiPlan(
        socket=Path("/tmp/s"),  # noqa: S108  (nothing is opened)
        mode=0o600,
        group="noc",
        listen=("127.0.0.1", 80),
        token_file=tmp_path / "token",
        token=SECRET,
        metrics_listen=("::1", 9862),
    )
    assert (found.workers, found.variables) == (4, {"site": "fra"})


def test_what_nothing_is_said_of_has_the_defaults_of_the_plan() -> None:
    assert planned("") == plan.Plan(
        connections=(),
        server=None,
        reflections=(),
        notices=plan.NoticePlan(),
        store=plan.StorePlan(path=None),
        api=plan.ApiPlan(socket=Path("/run/twoway/api.sock")),
    )
    assert planned("store: {path: /x}").store == plan.StorePlan(path=Path("/x"))
    assert planned("notifications: {snmp: [{address: '192.0.2.1'}]}").notices.snmp == (
        plan.TrapPlan("192.0.2.1:162", "v2c"),
    )


TEXT = """
client:
  control-connection:
    a: {target: 192.0.2.1, authentication: {key-file: keys}, test-session: {s: {}, t: {probe-count: 5}}}
    b: {control-type: light, test-session: {s: {target: 192.0.2.1, key-file: keys}}}
server: {managed: {client-list: {all: [0.0.0.0/0]}, key-file: keys}, light: {key-file: keys}}
"""


def test_equal_files_give_equal_plans_whatever_their_form(tmp_path: Path) -> None:
    key_file(tmp_path / "keys", f"k text:{SECRET}\n")
    toml = """
    [client.control-connection.a]
    target = "192.0.2.1"
    authentication.key-file = "keys"
    test-session = { s = {}, t = { probe-count = 5 } }
    [client.control-connection.b]
    control-type = "light"
    test-session.s = { target = "192.0.2.1", key-file = "keys" }
    [server]
    managed = { client-list = { all = ["0.0.0.0/0"] }, key-file = "keys" }
    light.key-file = "keys"
    """
    first = planned(TEXT, tmp_path)
    assert first == planned(TEXT + "# a comment\n", tmp_path)
    assert first == check.check_text(toml, "f.toml", tmp_path).plan
    assert first != planned(TEXT.replace("probe-count: 5", "probe-count: 6"), tmp_path)


def test_no_secret_is_shown_and_a_changed_one_is_found_when_it_is_needed(tmp_path: Path) -> None:
    key_file(tmp_path / "keys", f"k text:{SECRET}\n")
    found = planned(TEXT, tmp_path)
    assert SECRET not in repr(found)
    assert SECRET.encode().hex() not in repr(found)
    control = found.connections[0].control
    assert control is not None
    assert control.passphrase is not None
    assert control.passphrase() == SECRET.encode()
    key_file(tmp_path / "keys", "k text:another\n")
    # The control connection is not disturbed by it, and will use it when it connects again.
    assert planned(TEXT, tmp_path).connections[0] == found.connections[0]
    assert control.passphrase() == b"another"
    assert planned(TEXT, tmp_path).connections[1] != found.connections[1]
    (tmp_path / "keys").chmod(0o644)
    with pytest.raises(KeyFileError, match="mode 0644 lets others read it"):
        control.passphrase()


def test_a_key_file_is_read_once_and_refused_at_each_statement_that_names_it(tmp_path: Path) -> None:
    key_file(tmp_path / "keys", "k text:x\n").chmod(0o644)
    errors = check.check_text(TEXT, "f.yaml", tmp_path).errors
    assert [str(error).partition(": mode")[0] for error in errors] == [
        f"f.yaml:4: client.control-connection.a.authentication: {tmp_path}/keys",
        f"f.yaml:5: client.control-connection.b.test-session.s.key-file: {tmp_path}/keys",
        f"f.yaml:6: server.managed.key-file: {tmp_path}/keys",
        f"f.yaml:6: server.light.key-file: {tmp_path}/keys",
    ]


def test_passphrases_that_are_too_short_for_snmp_are_refused(tmp_path: Path) -> None:
    key_file(tmp_path / "short", "1234567\n")
    user = "version: v3, user: u, auth-protocol: sha, auth-key-file: short"
    text = f"notifications: {{snmp: [{{address: '192.0.2.1', {user}}}]}}"
    (error,) = check.check_text(text, "f.yaml", tmp_path).errors
    assert str(error).startswith("f.yaml:1: notifications.snmp[0].auth-key-file: holds less than the 8 octets")
    assert "1234567" not in str(error)
