"""The table of SNMP notifications, against the MIBs' numbers written down once more by hand."""

from __future__ import annotations

import re
import socket
from dataclasses import replace
from pathlib import Path

import pytest

from twoway.analysis.notices import NOTICES, State
from twoway.notify.notifications import NOTIFICATIONS, Syntax, Value, notification_of, under, values_of

from .made import AT_NS, FIGURES, NOTICE, notice

OIDS = {
    "probe-failure": "1.3.6.1.2.1.80.0.1",
    "test-failure": "1.3.6.1.2.1.80.0.2",
    "test-completion": "1.3.6.1.2.1.80.0.3",
    "rtt-exceeded": "1.3.6.1.4.1.2636.4.9.0.1",
    "std-dev-exceeded": "1.3.6.1.4.1.2636.4.9.0.2",
    "jitter-exceeded": "1.3.6.1.4.1.2636.4.9.0.3",
    "egress-time-exceeded": "1.3.6.1.4.1.2636.4.9.0.4",
    "egress-std-dev-exceeded": "1.3.6.1.4.1.2636.4.9.0.5",
    "egress-jitter-exceeded": "1.3.6.1.4.1.2636.4.9.0.6",
    "ingress-time-exceeded": "1.3.6.1.4.1.2636.4.9.0.7",
    "ingress-std-dev-exceeded": "1.3.6.1.4.1.2636.4.9.0.8",
    "ingress-jitter-exceeded": "1.3.6.1.4.1.2636.4.9.0.9",
    "max-rtt-exceeded": "1.3.6.1.4.1.2636.4.9.0.10",
    "control-connection-closed": "1.3.6.1.4.1.2636.4.27.1.1",
    "test-iteration-done": "1.3.6.1.4.1.2636.4.27.1.2",
    "route-changed": "1.3.6.1.4.1.32473.862.1.0.1",
    "route-unavailable": "1.3.6.1.4.1.32473.862.1.0.2",
    "route-refused": "1.3.6.1.4.1.32473.862.1.0.3",
    "route-suppressed": "1.3.6.1.4.1.32473.862.1.0.4",
    "route-foreign-change": "1.3.6.1.4.1.32473.862.1.0.5",
    "route-held": "1.3.6.1.4.1.32473.862.1.0.6",
    "route-hook-failed": "1.3.6.1.4.1.32473.862.1.0.7",
}
CTL, RESULTS = "1.3.6.1.2.1.80.1.2.1.", "1.3.6.1.2.1.80.1.3.1."
JNX_CTL, JNX_RESULTS = "1.3.6.1.4.1.2636.3.7.1.2.1.", "1.3.6.1.4.1.2636.3.7.1.3.1."
TARGET = [CTL + "3", CTL + "4", RESULTS + "1", RESULTS + "2", RESULTS + "3"]
DISMAN = [*TARGET, *(RESULTS + str(column) for column in range(4, 11))]
RTT = [*TARGET, *(JNX_RESULTS + c for c in "345"), *(RESULTS + c for c in ("7", "8", "9", "10"))]
EGRESS = [*TARGET, *(JNX_RESULTS + c for c in ("8", "9", "10")), *(RESULTS + c for c in ("7", "8", "10"))]
INGRESS = [*TARGET, *(JNX_RESULTS + c for c in ("13", "14", "15")), *(RESULTS + c for c in ("7", "8", "10"))]
COLUMNS = {
    "probe-failure": DISMAN,
    "test-failure": DISMAN,
    "test-completion": DISMAN,
    "rtt-exceeded": [*RTT, JNX_CTL + "7", JNX_RESULTS + "1"],
    "std-dev-exceeded": [*RTT, JNX_CTL + "8", JNX_RESULTS + "6"],
    "jitter-exceeded": [*RTT, JNX_CTL + "9", JNX_RESULTS + "17"],
    "egress-time-exceeded": [*EGRESS, JNX_CTL + "10", JNX_RESULTS + "7"],
    "egress-std-dev-exceeded": [*EGRESS, JNX_RESULTS + "11", JNX_CTL + "11", JNX_RESULTS + "11"],
    "egress-jitter-exceeded": [*EGRESS, JNX_CTL + "12", JNX_RESULTS + "18"],
    "ingress-time-exceeded": [*INGRESS, JNX_CTL + "13", JNX_RESULTS + "12"],
    "ingress-std-dev-exceeded": [*INGRESS, JNX_CTL + "14", JNX_RESULTS + "16"],
    "ingress-jitter-exceeded": [*INGRESS, JNX_CTL + "15", JNX_RESULTS + "19"],
    "max-rtt-exceeded": [*RTT, JNX_CTL + "7", JNX_RESULTS + "1"],
    "control-connection-closed": ["1.3.6.1.4.1.2636.3.77.1.1.7.1.2"],
    "test-iteration-done": ["1.3.6.1.4.1.2636.3.77.1.1.7.1.2"],
    **{name: [f"1.3.6.1.4.1.32473.862.1.1.{column}" for column in range(1, 5)] for name in OIDS if "route-" in name},
}
INSTANCE = (8, *b"core-fra", 5, *b"voice")


def dotted(oid: tuple[int, ...]) -> str:
    return ".".join(map(str, oid))


def sent(name: str, **changes: object) -> list[Value]:
    return values_of(replace(notice(name), **changes), NOTIFICATIONS[name])  # type: ignore[arg-type]


def value_of(values: list[Value], column: str) -> int | bytes:
    (found,) = {each.value for each in values if dotted(each.oid).startswith(column + ".")}
    return found


def test_every_name_of_the_traps_statement_has_a_notification_and_nothing_else_has() -> None:
    assert set(NOTIFICATIONS) == {kind.name for kind in NOTICES.values() if kind.trap} == set(OIDS)


@pytest.mark.parametrize("name", OIDS)
def test_a_notification_has_the_mibs_number_and_objects_in_its_order(name: str) -> None:
    assert dotted(NOTIFICATIONS[name].oid) == OIDS[name]
    instance = INSTANCE if NOTIFICATIONS[name].by_session else (0,) if NOTIFICATIONS[name].own else INSTANCE[:9]
    assert [dotted(each.oid) for each in sent(name)] == [f"{column}.{dotted(instance)}" for column in COLUMNS[name]]


@pytest.mark.parametrize("name", OIDS)
def test_only_a_receiver_that_wants_junipers_gets_them(name: str) -> None:
    standard = name in ("probe-failure", "test-failure", "test-completion") or name.startswith("route-")
    assert (notification_of(notice(name), juniper=False) is not None) == standard
    assert notification_of(notice(name), juniper=True) is NOTIFICATIONS[name]


def test_neither_an_end_nor_what_no_session_wants_is_sent() -> None:
    assert notification_of(notice("probe-failure", State.CLEARED), juniper=True) is None
    assert notification_of(replace(notice("probe-failure"), trap=False), juniper=True) is None
    assert notification_of(replace(notice("own-fault")), juniper=True) is None


def test_our_own_are_told_of_an_end_too_and_stand_under_any_number() -> None:
    cleared = replace(notice("route-unavailable", State.CLEARED), route="::/0", next_hops="fe80::1%eth0")
    found = notification_of(cleared, juniper=False)
    assert found is not None
    assert under(found.oid, 64500) == (1, 3, 6, 1, 4, 1, 64500, 862, 1, 0, 2)
    values = values_of(cleared, found, 64500)
    assert [each.value for each in values] == [b"::/0", 2, b"fe80::1%eth0", cleared.message.encode()]
    assert {each.oid[6] for each in values} == {64500}
    assert {each.oid[-1] for each in values} == {0}
    assert under((1, 3, 6, 1, 2, 1, 80), 64500) == (1, 3, 6, 1, 2, 1, 80)


def test_the_mib_has_the_same_numbers() -> None:
    text = (Path(__file__).resolve().parents[3] / "docs" / "mib" / "TWOWAY-ROUTE-MIB.txt").read_text(encoding="ascii")
    written = dict(
        re.findall(r"^(\w+) NOTIFICATION-TYPE.*?::= \{ twowayRouteNotifications (\d+) \}", text, re.M | re.S)
    )
    assert {sent.name: str(sent.oid[-1]) for sent in NOTIFICATIONS.values() if sent.own} == written
    columns = dict(re.findall(r"^(\w+) OBJECT-TYPE.*?::= \{ twowayRouteObjects (\d+) \}", text, re.M | re.S))
    assert {each.name: str(each.oid[-1]) for each in NOTIFICATIONS["route-changed"].objects} == columns
    meanings = dict(re.findall(r'^(\w+) NOTIFICATION-TYPE.*?DESCRIPTION "(.*?)"', text, re.M | re.S))
    assert meanings == {sent.name: NOTICES[name].meaning for name, sent in NOTIFICATIONS.items() if sent.own}


def test_values_of_a_disman_notification() -> None:
    assert [each.value for each in sent("probe-failure")] == [
        16, b"gw.example.net", 1, 1, bytes([192, 0, 2, 1]), 1, 10, 5, 9, 10, 250,
        bytes([0x07, 0xEA, 3, 1, 12, 0, 0, 1]) + b"+\0\0",
    ]  # fmt: skip
    syntaxes = [each.syntax for each in sent("probe-failure")]
    integer, unsigned, gauge, octets = Syntax.INTEGER, Syntax.UNSIGNED, Syntax.GAUGE, Syntax.OCTETS
    assert syntaxes == [integer, octets, integer, integer, octets, *[unsigned] * 3, *[gauge] * 2, unsigned, octets]


def test_the_status_is_completed_at_the_end_of_a_test() -> None:
    states = {
        name: value_of(sent(name), RESULTS + "1") for name in ("probe-failure", "test-failure", "test-completion")
    }
    assert states == {"probe-failure": 1, "test-failure": 3, "test-completion": 3}


def test_values_of_a_threshold_are_microseconds() -> None:
    values = sent("egress-std-dev-exceeded")
    assert value_of(values, JNX_CTL + "11") == 5000
    assert value_of(values, JNX_RESULTS + "11") == 6000
    assert [value_of(values, JNX_RESULTS + c) for c in ("8", "9", "10")] == [0, 1000, 500]  # -5 µs cannot be said


def test_a_reply_within_half_a_millisecond_is_not_shown_as_no_reply() -> None:
    quick = replace(FIGURES, rtt=(20_000, 400_000, 90_000, 1_000))
    values = sent("probe-failure", figures=quick)
    assert [value_of(values, RESULTS + c) for c in "456"] == [1, 1, 1]
    values = sent("probe-failure", figures=replace(FIGURES, rtt=None, last_good_ns=None))
    assert [value_of(values, RESULTS + c) for c in "456"] == [0, 0, 0]
    assert value_of(values, RESULTS + "10") == bytes(8)


def test_values_stay_within_their_types() -> None:
    values = sent("rtt-exceeded", value_ns=2**63, figures=replace(FIGURES, rtt_sum_of_squares_ms2=2**70, sent=2**40))
    assert value_of(values, JNX_RESULTS + "1") == 2**32 - 1
    assert value_of(values, RESULTS + "9") == 2**32 - 1
    assert value_of(values, RESULTS + "8") == 2**32 - 1


@pytest.mark.parametrize(
    ("target", "kind", "octets"),
    [
        ("192.0.2.7:862", 1, bytes([192, 0, 2, 7])),
        ("[2001:db8::1]:862", 2, bytes.fromhex("20010db8000000000000000000000001")),
        ("fe80::1%7", 4, bytes.fromhex("fe80000000000000000000000000000100000007")),
        ("fe80::1%lo", 4, bytes.fromhex("fe80000000000000000000000000000100000001")),
        ("fe80::1%nothing", 2, bytes.fromhex("fe800000000000000000000000000001")),
        ("gw", 16, b"gw"),
        ("", 0, b""),
    ],
)
def test_a_target_has_its_type_of_address(target: str, kind: int, octets: bytes) -> None:
    values = sent("probe-failure", figures=replace(FIGURES, target=target))
    assert (value_of(values, CTL + "3"), value_of(values, CTL + "4")) == (kind, octets)


def test_a_session_without_numbers_has_zeros() -> None:
    values = sent("test-failure", figures=None)
    assert [value_of(values, column) for column in DISMAN] == [0, b"", 3, 0, b"", 0, 0, 0, 0, 0, 0, bytes(8)]


def test_names_that_are_too_long_are_cut_and_stay_apart() -> None:
    first, second = (sent("probe-failure", session="x" * 40 + end)[0].oid for end in "ab")
    owner = len(dotted(first).split(CTL + "3", maxsplit=1)[0]) + 11 + 9
    assert first[owner] == second[owner] == 32
    assert len(first) == owner + 1 + 32
    assert first != second


def test_a_control_connection_is_named_by_itself() -> None:
    (only,) = values_of(replace(NOTICE, name="test-iteration-done", session=None), NOTIFICATIONS["test-iteration-done"])
    assert only == Value((1, 3, 6, 1, 4, 1, 2636, 3, 77, 1, 1, 7, 1, 2, 8, *b"core-fra"), Syntax.OCTETS, b"core-fra")


def test_tenths_of_a_second_are_those_of_the_moment() -> None:
    values = sent("probe-failure", figures=replace(FIGURES, last_good_ns=AT_NS // 10**9 * 10**9 + 999_999_999))
    last_good = value_of(values, RESULTS + "10")
    assert isinstance(last_good, bytes)
    assert last_good[7] == 9


def test_an_unknown_interface_is_no_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_name: str) -> int:
        raise OSError

    monkeypatch.setattr(socket, "if_nametoindex", refuse)
    assert value_of(sent("probe-failure", figures=replace(FIGURES, target="fe80::1%eth0")), CTL + "3") == 2
