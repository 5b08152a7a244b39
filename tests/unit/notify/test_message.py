"""Octets of syslog messages, against the rules of RFC 5424 section 6."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from twoway.analysis.notices import NOTICES, Notice, State
from twoway.notify.message import MAX_MSGID, MAX_OCTETS, PARAMETERS, encode, parameters_of

from .made import AT_NS, NOTICE

BOM = "\ufeff".encode()
# The grammar of section 6, as far as our messages use it. A parameter's value has its three characters escaped.
GRAMMAR = re.compile(
    rb"<(?P<pri>[0-9]{1,3})>1 "
    rb"(?P<timestamp>\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{1,6}Z) "
    rb"(?P<hostname>[!-~]{1,255}) (?P<app>[!-~]{1,48}) (?P<process>[!-~]{1,128}) (?P<msgid>[!-~]{1,32}) "
    rb'(?P<data>(?:\[[!#-<>-\\^-~]{1,32}(?: [!#-<>-\\^-~]{1,32}="(?:[^"\\\]]|\\["\\\]])*")*\])+)'
    rb"(?: (?P<text>.*))?",
    re.DOTALL,
)


def octets_of(notice: Notice = NOTICE, hostname: str | None = "gw1.example.net", sequence_id: int = 7) -> bytes:
    return encode(notice, facility=3, hostname=hostname, process=4711, enterprise_number=32473, sequence_id=sequence_id)


def parsed(octets: bytes) -> dict[str, bytes]:
    match = GRAMMAR.fullmatch(octets)
    assert match is not None, octets
    return match.groupdict(default=b"")


def test_a_whole_message() -> None:
    assert octets_of(replace(NOTICE, figures=None)) == (
        b"<28>1 2026-03-01T12:00:00.123456Z gw1.example.net twoway 4711 rtt-exceeded "
        b'[twoway@32473 state="raised" connection="core-fra" session="voice" threshold_ns="5000000" '
        b'value_ns="6000000"][meta sequenceId="7"] core-fra voice: round-trip time 6 ms met or exceeded 5 ms'
    )


def test_figures_are_parameters() -> None:
    data = parsed(octets_of())["data"].decode()
    assert ' target="gw.example.net:862" address="192.0.2.1" status="response-received" sent="10" ' in data
    assert ' egress_min_ns="-5000" ' in data
    assert [name for name, _ in parameters_of(NOTICE)] == [
        name for name in PARAMETERS if name not in ("count", "route", "next_hops")
    ]


def test_what_is_cleared_is_a_notice_of_severity() -> None:
    assert octets_of(replace(NOTICE, state=State.CLEARED)).startswith(b"<29>1 ")


def test_every_name_is_a_msgid_and_every_parameter_a_name() -> None:
    assert all(re.fullmatch(r"[!-~]+", name) and len(name) <= MAX_MSGID for name in NOTICES)
    assert all(re.fullmatch(r"[a-z_]{1,32}", name) for name in PARAMETERS)


def test_ascii_has_no_byte_order_mark_and_other_text_has() -> None:
    assert not parsed(octets_of())["text"].startswith(BOM)
    text = parsed(octets_of(replace(NOTICE, message="5 °C")))["text"]
    assert text == BOM + "5 °C".encode()


def test_microseconds_need_no_byte_order_mark() -> None:
    octets = octets_of(replace(NOTICE, message="round-trip time 8.6 µs, threshold rtt is 5 µs"))
    assert parsed(octets)["text"] == b"round-trip time 8.6 us, threshold rtt is 5 us"


def test_three_characters_of_a_value_are_escaped() -> None:
    octets = octets_of(replace(NOTICE, session='a"b\\c]d', figures=None))
    assert b' session="a\\"b\\\\c\\]d"' in octets
    parsed(octets)


def test_no_text_breaks_the_line() -> None:
    octets = octets_of(replace(NOTICE, message="one\ntwo\x00three", session="a\nb"))
    assert not any(octet < 32 for octet in octets)


@pytest.mark.parametrize(
    ("hostname", "shown"), [(None, b"-"), ("", b"-"), ("gw 1\n", b"gw1"), ("ü", b"-"), ("h" * 300, b"h" * 255)]
)
def test_the_hostname_is_printable_ascii_of_a_bounded_length(hostname: str | None, shown: bytes) -> None:
    assert parsed(octets_of(hostname=hostname))["hostname"] == shown


def test_times_are_cut_to_microseconds() -> None:
    assert parsed(octets_of(replace(NOTICE, at_ns=AT_NS - 123_456_789)))["timestamp"] == b"2026-03-01T12:00:00.000000Z"
    last = parsed(octets_of(replace(NOTICE, at_ns=AT_NS - 123_456_789 - 1)))["timestamp"]
    assert last == b"2026-03-01T11:59:59.999999Z"


def test_a_text_that_is_too_long_is_cut_at_a_character() -> None:
    octets = octets_of(replace(NOTICE, message="µ" * 3000))
    assert MAX_OCTETS - 1 <= len(octets) <= MAX_OCTETS
    assert octets.decode().endswith("µ")


@given(st.text(), st.text(), st.text(), st.text())
def test_whatever_is_said_the_grammar_holds(message: str, connection: str, session: str, hostname: str) -> None:
    octets = octets_of(replace(NOTICE, message=message, connection=connection, session=session), hostname)
    assert len(octets) <= MAX_OCTETS
    octets.decode()
    parsed(octets)
