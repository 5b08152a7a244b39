"""Connection set-up (RFC 4656 section 3.1 and those who extend it), each rule by its section."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address

import pytest

from twoway.control import codec
from twoway.control.configuration import SECOND, ClientConfiguration, ServerConfiguration
from twoway.control.connection import Timer
from twoway.control.events import CloseReason, ConnectionClosed, ProtocolViolated, SetUpCompleted, SetUpRefused
from twoway.control.registry import SECURE_CONTROL, Accept, Mode, Protocol
from twoway.control.rules import Rule
from twoway.control.security import Ikev2Credentials, Passphrase, PassphraseCredentials
from twoway.control.transitions import State
from twoway.errors import ConfigError, LocalControlError

from .pair import (
    EVERY_MODE,
    IKEV2,
    REQUEST,
    SECRET,
    SECURITY,
    START_TIME,
    Pair,
    client_configuration,
    make_client,
    make_server,
    owamp_pair,
    server_configuration,
    twamp_pair,
)

NOW = 77 * SECOND
SECURE = [mode for mode in SECURITY if mode & SECURE_CONTROL]


def greeting(modes: int = 15, count: int = 1024) -> bytes:
    return codec.ServerGreeting(modes, bytes(range(16)), bytes(range(16, 32)), count).octets()


def greeted(mode: Mode, octets: bytes, **changes: object) -> Pair:
    """A Control-Client that has got this greeting; nobody is at the other end."""
    client = make_client(client_configuration(mode, **changes))
    client.connection_made(NOW)
    client.receive_data(octets, NOW)
    pair = Pair(client)
    while (event := client.next_event()) is not None:
        pair.client_events.append(event)
    return pair


def answered(octets: bytes, **changes: object) -> Pair:
    """A Server that has got this Set-Up-Response."""
    server = make_server(server_configuration(**changes))
    server.connection_made(NOW)
    server.data_to_send()
    server.receive_data(octets, NOW)
    pair = Pair(server=server)
    while (event := server.next_event()) is not None:
        pair.server_events.append(event)
    return pair


def response(mode: int, key_id: bytes = b"alice", token: bytes = bytes(64)) -> bytes:
    return codec.SetUpResponse(mode, key_id.ljust(80, b"\0"), token, bytes(16)).octets()


@pytest.mark.parametrize("chunk", [1, 13, 1 << 20])
@pytest.mark.parametrize("mode", SECURITY)
def test_both_ends_agree(mode: Mode, chunk: int) -> None:
    pair = Pair(make_client(client_configuration(mode)), chunk=chunk).connect()
    completed = pair.client_event(SetUpCompleted)
    assert completed.mode == pair.server_event(SetUpCompleted).mode == mode
    assert completed.server_start_time == START_TIME
    assert pair.server_event(SetUpCompleted).key_id == (b"alice" if mode & SECURE_CONTROL else b"")
    assert (pair.client.state, pair.server.state) == (State.READY, State.READY)
    assert [len(octets) for _, octets in pair.sent] == [64, 164, 48]


def test_rfc4656_3_1_the_preferred_mode_that_is_offered_is_chosen() -> None:
    client = make_client(client_configuration(preference=(Mode.MIXED, Mode.ENCRYPTED, Mode.UNAUTHENTICATED)))
    server = make_server(server_configuration(modes=Mode.UNAUTHENTICATED | Mode.ENCRYPTED))
    assert Pair(client, server).connect().client_event(SetUpCompleted).mode == Mode.ENCRYPTED


def test_rfc4656_3_1_unassigned_mode_bits_of_the_server_are_ignored() -> None:
    pair = greeted(Mode.UNAUTHENTICATED, greeting(0xFFFFFC01))
    assert pair.client.data_to_send()[:4] == (1).to_bytes(4)


def test_rfc4656_3_1_unassigned_mode_bits_of_the_client_are_ignored() -> None:
    pair = answered(response(0xFFFFFC01))
    assert pair.server_event(SetUpCompleted).mode == Mode.UNAUTHENTICATED


def test_rfc4656_3_1_mode_zero_in_the_greeting_closes() -> None:
    pair = greeted(Mode.UNAUTHENTICATED, greeting(0))
    assert pair.client_event(SetUpRefused).rule is Rule.MODES_ZERO
    assert pair.client.closed
    assert not pair.client.data_to_send()


def test_rfc4656_3_1_a_server_that_offers_nothing_greets_and_closes() -> None:
    server = make_server(server_configuration(modes=Mode(0)))
    server.connection_made(NOW)
    octets = server.data_to_send()
    assert (len(octets), octets[12:16]) == (64, bytes(4))
    assert server.closed


def test_rfc4656_3_1_without_a_common_mode_the_client_sends_mode_zero_and_both_close() -> None:
    pair = twamp_pair(Mode.ENCRYPTED, modes=Mode.UNAUTHENTICATED)
    assert pair.client_event(SetUpRefused).rule is Rule.NO_COMMON_MODE
    assert pair.server_event(ConnectionClosed).reason is CloseReason.GIVEN_UP
    assert pair.sent[1][1] == bytes(164)
    assert pair.client.closed


@pytest.mark.parametrize("count", [0, 1, 1023, 512, 1025, 3072, 65536, 1 << 31, 0xFFFFFFFF])
@pytest.mark.parametrize("mode", SECURE)
def test_rfc4656_3_1_and_rfc5357_6_a_bad_count_is_never_run(mode: Mode, count: int) -> None:
    pair = greeted(mode, greeting(count=count))
    rule = pair.client_event(SetUpRefused).rule
    assert rule in (Rule.COUNT_TOO_LARGE, Rule.COUNT_TOO_SMALL, Rule.COUNT_POWER_OF_TWO)
    assert pair.client.closed
    assert not pair.client.data_to_send()


@pytest.mark.parametrize("count", [0, 7, 0xFFFFFFFF])
def test_the_count_of_an_unauthenticated_connection_means_nothing(count: int) -> None:
    assert not greeted(Mode.UNAUTHENTICATED, greeting(count=count)).client.closed


def test_rfc5357_6_the_largest_count_is_configurable() -> None:
    assert not greeted(Mode.ENCRYPTED, greeting(count=65536), most_count=65536).client.closed
    assert greeted(Mode.ENCRYPTED, greeting(count=1024), least_count=2048).client.closed


@pytest.mark.parametrize("mode", [3, 6, 9, 15, 16, 512, 1 << 31])
def test_rfc4656_3_1_exactly_one_security_mode(mode: int) -> None:
    pair = answered(response(mode))
    assert pair.server_event(SetUpRefused) == SetUpRefused(Accept.NOT_SUPPORTED, Rule.MODE_NOT_ONE)
    assert pair.server.closed


@pytest.mark.parametrize("mode", [2, 4, 8, 1 + 16, 1 + 32, 1 + 64, 1 + 256, 1 + 512])
def test_rfc4656_3_1_a_mode_that_was_not_offered(mode: int) -> None:
    pair = answered(response(mode), modes=Mode.UNAUTHENTICATED)
    assert pair.server_event(SetUpRefused) == SetUpRefused(Accept.NOT_SUPPORTED, Rule.MODE_NOT_OFFERED)


def test_rfc4656_3_1_a_refusing_server_start_is_clear_and_without_a_start_time() -> None:
    pair = answered(response(4, key_id=b"bob"))
    assert pair.server.data_to_send() == bytes(15) + b"\1" + bytes(32)


@pytest.mark.parametrize("mode", SECURE)
@pytest.mark.parametrize(
    "credentials",
    [PassphraseCredentials("alice", Passphrase(b"wrong")), PassphraseCredentials("bob", Passphrase(SECRET))],
)
def test_a_wrong_passphrase_and_an_unknown_key_id_look_the_same(mode: Mode, credentials: PassphraseCredentials) -> None:
    pair = Pair(make_client(client_configuration(mode, credentials=credentials))).connect()
    assert pair.server_event(SetUpRefused) == SetUpRefused(Accept.FAILURE, Rule.KEY_ID_UNKNOWN)
    assert pair.client_event(SetUpRefused) == SetUpRefused(Accept.FAILURE, Rule.SERVER_REFUSED)
    assert pair.client_event(ConnectionClosed).reason is CloseReason.REFUSED
    assert pair.client.closed
    assert pair.server.closed


def test_a_replayed_stream_is_refused() -> None:
    first = Pair(make_client(client_configuration(Mode.ENCRYPTED))).connect()
    first.request()
    server = make_server(seed="another connection")
    server.connection_made(NOW)
    for octets in (octets for who, octets in first.sent if who == "client"):
        server.receive_data(octets, NOW)
    assert server.next_event() == SetUpRefused(Accept.FAILURE, Rule.KEY_ID_UNKNOWN)
    assert server.closed


@pytest.mark.parametrize("accept", range(1, 256))
def test_rfc4656_3_3_any_accept_without_a_meaning_is_a_failure(accept: int) -> None:
    pair = greeted(Mode.UNAUTHENTICATED, greeting() + bytes(15) + bytes([accept]) + bytes(32))
    refused = pair.client_event(SetUpRefused)
    assert refused.accept == (accept if accept <= 6 else Accept.FAILURE)
    assert refused.rule is (Rule.IKEV2_SA_UNKNOWN if accept == 6 else Rule.SERVER_REFUSED)
    assert pair.client.closed


@pytest.mark.parametrize("mode", SECURE)
def test_rfc7717_5_a_key_derived_from_ikev2(mode: Mode) -> None:
    client = make_client(client_configuration(mode, credentials=None, ikev2=IKEV2))
    pair = Pair(client, chunk=1).connect()
    assert pair.client_event(SetUpCompleted).mode == mode | Mode.IKEV2_DERIVED
    assert pair.server_event(SetUpCompleted).key_id == IKEV2.initiator_spi + IKEV2.responder_spi
    key_id = pair.sent[1][1][4:84]
    assert key_id == IKEV2.initiator_spi + IKEV2.responder_spi + bytes(64)
    pair.request()


def test_rfc7717_5_the_count_is_not_looked_at_with_a_derived_key() -> None:
    pair = greeted(Mode.ENCRYPTED, greeting(4 + 128, count=0), credentials=None, ikev2=IKEV2)
    assert int.from_bytes(pair.client.data_to_send()[:4]) == 4 + 128


def test_rfc7717_5_3_an_unknown_security_association_is_accept_6() -> None:
    unknown = Ikev2Credentials(b"12345678", b"87654321", bytes(16))
    pair = Pair(make_client(client_configuration(Mode.ENCRYPTED, ikev2=unknown))).connect()
    assert pair.server_event(SetUpRefused) == SetUpRefused(Accept.NO_IKEV2_SA, Rule.IKEV2_SA_UNKNOWN)
    assert pair.client_event(SetUpRefused) == SetUpRefused(Accept.NO_IKEV2_SA, Rule.IKEV2_SA_UNKNOWN)


def test_rfc7717_5_2_a_client_without_an_association_takes_its_passphrase() -> None:
    assert twamp_pair(Mode.ENCRYPTED).client_event(SetUpCompleted).mode == Mode.ENCRYPTED


def test_rfc7717_5_1_ikev2_and_unauthenticated_do_not_go_together() -> None:
    pair = answered(response(1 + 128))
    assert pair.server_event(SetUpRefused).rule is Rule.IKEV2_WITHOUT_SECURITY
    with pytest.raises(ConfigError, match="IKEv2Derived"):
        server_configuration(modes=Mode.UNAUTHENTICATED | Mode.IKEV2_DERIVED)


def test_rfc7718_owamp_has_its_ikev2_bit_elsewhere() -> None:
    client = make_client(client_configuration(Mode.ENCRYPTED, protocol=Protocol.OWAMP, ikev2=IKEV2, credentials=None))
    pair = Pair(client, make_server(server_configuration(protocol=Protocol.OWAMP))).connect()
    assert int.from_bytes(pair.sent[0][1][12:16]) == 1 + 2 + 4 + 16
    assert int.from_bytes(pair.sent[1][1][:4]) == 4 + 16
    assert pair.client_event(SetUpCompleted).mode == Mode.ENCRYPTED | Mode.IKEV2_DERIVED


def test_rfc8186_2_2_the_ptpv2_flag_is_set_if_and_only_if_it_was_offered() -> None:
    assert ClientConfiguration().features == Mode.PTPV2_TIMESTAMP
    offered = twamp_pair(features=Mode.PTPV2_TIMESTAMP)
    assert offered.client_event(SetUpCompleted).mode == Mode.UNAUTHENTICATED | Mode.PTPV2_TIMESTAMP
    assert offered.request().ptp_timestamps
    not_offered = twamp_pair(features=Mode.PTPV2_TIMESTAMP, modes=Mode.UNAUTHENTICATED)
    assert not_offered.client_event(SetUpCompleted).mode == Mode.UNAUTHENTICATED
    assert not not_offered.request().ptp_timestamps


def test_rfc7750_2_1_and_rfc6038_4_1_features_are_taken_if_wanted_and_offered() -> None:
    wanted = Mode.DSCP_ECN_MONITORING | Mode.SYMMETRICAL_SIZE | Mode.REFLECT_OCTETS
    session = twamp_pair(Mode.ENCRYPTED, wanted).request()
    assert session.mode == Mode.ENCRYPTED | wanted
    assert session.dscp_ecn_monitoring
    assert session.symmetrical_size


def test_a_required_feature_that_is_not_offered_ends_it() -> None:
    client = make_client(client_configuration(required=Mode.INDIVIDUAL_SESSION_CONTROL))
    pair = Pair(client, make_server(server_configuration(modes=Mode.UNAUTHENTICATED))).connect()
    assert pair.client_event(SetUpRefused).rule is Rule.NO_COMMON_MODE


def test_rfc4656_3_2_the_first_hmac_of_the_server_covers_server_start() -> None:
    pair = twamp_pair(Mode.ENCRYPTED)
    pair.request()
    altered = Pair(make_client(client_configuration(Mode.ENCRYPTED)), make_server()).connect()
    altered.client.request_session(REQUEST, altered.now_ns)
    # The same conversation, but octet 32 of Server-Start was altered on its way.
    client = make_client(client_configuration(Mode.ENCRYPTED))
    client.connection_made(NOW)
    server_said = [octets for who, octets in pair.sent if who == "server"]
    client.receive_data(server_said[0], NOW)
    start = bytearray(server_said[1])
    start[32] ^= 1
    client.receive_data(bytes(start), NOW)
    client.request_session(REQUEST, NOW)
    client.receive_data(server_said[2], NOW)
    events = []
    while (event := client.next_event()) is not None:
        events.append(event)
    assert any(isinstance(event, ProtocolViolated) and event.rule is Rule.HMAC for event in events)
    assert client.closed


def test_rfc4656_3_a_server_does_not_wait_for_a_response_for_ever() -> None:
    server = make_server(server_configuration(message_ns=10 * SECOND))
    server.connection_made(NOW)
    # One octet now and then does not help.
    for second in range(1, 10):
        server.receive_data(b"\0", NOW + second * SECOND)
        server.handle_timer(NOW + second * SECOND)
    assert not server.closed
    assert server.next_deadline_ns() == NOW + 10 * SECOND
    server.handle_timer(NOW + 10 * SECOND)
    violated = server.next_event()
    assert isinstance(violated, ProtocolViolated)
    assert violated.rule is Rule.MESSAGE_TOO_SLOW
    assert server.next_event() == ConnectionClosed(CloseReason.VIOLATION)
    assert server.finished


def test_a_client_does_not_wait_for_a_greeting_for_ever() -> None:
    client = make_client(client_configuration(reply_ns=5 * SECOND))
    client.connection_made(NOW)
    assert client.timers == {(Timer.REPLY, b""): NOW + 5 * SECOND}
    client.handle_timer(NOW + 5 * SECOND - 1)
    assert not client.closed
    client.handle_timer(NOW + 5 * SECOND)
    assert client.next_event() == ConnectionClosed(CloseReason.REPLY)


def test_a_client_says_nothing_before_set_up_is_over() -> None:
    client = make_client()
    client.connection_made(NOW)
    with pytest.raises(
        LocalControlError, match=r"send Request-TW-Session: not while awaiting Server-Greeting .*RFC 5357"
    ):
        client.request_session(REQUEST, NOW)


def test_the_far_end_may_go_at_any_time() -> None:
    client = make_client()
    client.connection_made(NOW)
    client.receive_eof(NOW)
    assert client.next_event() == ConnectionClosed(CloseReason.PEER)
    server = make_server()
    server.connection_made(NOW)
    server.receive_data(bytes(100), NOW)
    server.receive_eof(NOW)
    violated = server.next_event()
    assert isinstance(violated, ProtocolViolated)
    assert violated.rule is Rule.TRUNCATED


def test_addresses_of_a_dual_stack_socket_are_ipv4() -> None:
    server = make_server(peer=ip_address("::ffff:192.0.2.9"))
    assert server.peer_address == ip_address("192.0.2.9")


@pytest.mark.parametrize(
    "changes",
    [
        {"preference": ()},
        {"preference": (Mode.UNAUTHENTICATED | Mode.ENCRYPTED,)},
        {"preference": (Mode.ENCRYPTED,), "credentials": None},
        {"preference": (Mode.MIXED,), "protocol": Protocol.OWAMP},
        {"features": Mode.ENCRYPTED},
        {"required": Mode.REFLECT_OCTETS, "protocol": Protocol.OWAMP},
        {"least_count": 512},
        {"most_count": 1000},
        {"reply_ns": -1},
    ],
)
def test_client_configurations_that_cannot_be(changes: dict[str, object]) -> None:
    with pytest.raises(ConfigError):
        client_configuration(**changes)  # type: ignore[arg-type]  # fields by name


@pytest.mark.parametrize(
    "changes",
    [
        {"count": 1000},
        {"count": 512},
        {"count": 1 << 21},
        {"modes": EVERY_MODE, "protocol": Protocol.OWAMP},
        {"servwait_ns": -1},
    ],
)
def test_server_configurations_that_cannot_be(changes: dict[str, object]) -> None:
    with pytest.raises(ConfigError):
        server_configuration(**changes)


def test_no_representation_holds_a_secret() -> None:
    pair = Pair(make_client(client_configuration(Mode.ENCRYPTED)))
    pair.connect()
    session = pair.request()
    assert session.keys is not None
    configuration = client_configuration(Mode.ENCRYPTED, ikev2=IKEV2)
    shown = repr(
        (session, configuration, session.keys, Passphrase(SECRET), IKEV2, pair.client_events, pair.server_events)
    )
    for secret in (SECRET, IKEV2.shared_key, session.keys.aes, session.keys.hmac):
        assert repr(secret)[2:-1] not in shown
        assert secret.hex() not in shown


def test_owamp_connects_as_well() -> None:
    assert owamp_pair(Mode.AUTHENTICATED).client_event(SetUpCompleted).mode == Mode.AUTHENTICATED
    assert replace(ServerConfiguration(0), protocol=Protocol.OWAMP).count == 2048
