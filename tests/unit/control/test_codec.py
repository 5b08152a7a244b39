"""Every message both ways, however its octets arrive; the figures of the RFCs by their offsets."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Protocol

import pytest

from twoway.control import codec, owamp_codec
from twoway.control.configuration import Limits
from twoway.control.registry import Accept, Mode, modes_from_wire, modes_to_wire
from twoway.control.registry import Protocol as ControlProtocol
from twoway.control.rules import Rule
from twoway.control.stream import Inbound
from twoway.errors import RemoteControlError

if TYPE_CHECKING:
    from collections.abc import Callable

LIMITS = Limits()
SID = bytes(range(16))
TW = codec.RequestTwSession(
    ip_version=4,
    sender_port=0x0102,
    receiver_port=0x0304,
    sender_address=b"SEND" + bytes(12),
    receiver_address=b"RECV" + bytes(12),
    padding_length=0x05060708,
    start_time=0x1112131415161718,
    timeout=0x2122232425262728,
    type_p=0x31323334,
    octets_to_reflect=0x4142,
    padding_to_reflect=0x5152,
    conf_sender=0x61,
    conf_receiver=0x62,
    schedule_slots=0x71727374,
    packets=0x75767778,
    sid=SID,
)
OW = owamp_codec.RequestSession(
    ip_version=6,
    conf_sender=True,
    conf_receiver=False,
    packets=0x75767778,
    sender_port=1,
    receiver_port=2,
    sender_address=bytes(15) + b"\1",
    receiver_address=bytes(15) + b"\2",
    sid=SID,
    padding_length=3,
    start_time=4,
    timeout=5,
    type_p=6,
    slots=(owamp_codec.ScheduleSlot(0, 7), owamp_codec.ScheduleSlot(1, 8), owamp_codec.ScheduleSlot(255, 2**64 - 1)),
)
RECORD = owamp_codec.SendRecord(SID, 9, (owamp_codec.SkipRange(1, 2), owamp_codec.SkipRange(4, 4)))


class Sendable(Protocol):
    def segments(self) -> codec.Segments: ...


def clear(message: Sendable) -> bytes:
    return b"".join(segment + bytes(16) for segment in message.segments())


def twamp() -> codec.Reader[Any]:
    return codec.read_twamp_command(LIMITS)


def owamp() -> codec.Reader[Any]:
    return owamp_codec.read_owamp_command(LIMITS)


MESSAGES = [
    (TW, twamp, 112),
    (codec.StartSessions(), twamp, 32),
    (codec.StopSessions(Accept.FAILURE, 0x01020304), twamp, 32),
    (codec.StartNSessions((SID, bytes(16))), twamp, 64),
    (codec.StopNSessions((SID,)), twamp, 48),
    (codec.StartNAck((SID, bytes(16)), Accept.TEMPORARY_LIMIT), lambda: codec.read_n_ack(LIMITS), 64),
    (codec.StopNAck((SID,), Accept.OK), lambda: codec.read_n_ack(LIMITS), 48),
    (codec.AcceptSession(Accept.OK, 0x0102, SID, 3, 4), codec.read_accept_session, 48),
    (codec.StartAck(Accept.INTERNAL_ERROR), codec.read_start_ack, 32),
    (OW, owamp, 112 + 48 + 16),
    (codec.StartSessions(), owamp, 32),
    (owamp_codec.OwampStopSessions(Accept.OK, ()), owamp, 32),
    (owamp_codec.OwampStopSessions(Accept.FAILURE, (RECORD, replace(RECORD, skip_ranges=()))), owamp, 112),
    (owamp_codec.FetchSession(1, 2, SID), owamp, 48),
]


@pytest.mark.parametrize(("message", "reader", "length"), MESSAGES)
@pytest.mark.parametrize("chunk", [1, 3, 16, 1 << 20])
def test_a_message_is_read_as_it_was_written(
    message: Sendable, reader: Callable[[], codec.Reader[Any]], length: int, chunk: int
) -> None:
    octets = clear(message)
    assert len(octets) == length
    inbound: Inbound[Any] = Inbound()
    inbound.begin(reader())
    stream = octets + b"what follows"
    for at in range(0, length, chunk):
        assert inbound.inside_message
        inbound.feed(stream[at : at + chunk])
        read = inbound.proceed()
        if at + chunk < length:
            assert read is None
    inbound.feed(stream[-(-length // chunk) * chunk :])
    assert read == message
    assert len(inbound) == len(b"what follows")
    assert not inbound.reading


def test_rfc5357_3_5_offsets_of_request_tw_session() -> None:
    octets = clear(TW)
    assert octets[:16] == bytes.fromhex("05046162717273747576777801020304")
    assert octets[16:64] == b"SEND" + bytes(12) + b"RECV" + bytes(12) + SID
    assert octets[64:88] == bytes.fromhex("05060708 1112131415161718 2122232425262728 31323334")
    assert octets[88:] == bytes.fromhex("41425152") + bytes(20)


def test_rfc4656_3_5_offsets_of_request_session() -> None:
    octets = clear(OW)
    assert octets[:16] == bytes.fromhex("01060100 00000003 75767778 0001 0002")
    assert octets[84:112] == bytes.fromhex("00000006") + bytes(24)
    assert octets[112:128] == bytes(15) + b"\7"
    assert octets[144:160] == b"\xff" + bytes(7) + b"\xff" * 8


def test_rfc4656_3_1_must_be_zero_fields_are_ignored() -> None:
    start = b"\2" + b"\xff" * 31
    inbound: Inbound[Any] = Inbound()
    inbound.begin(twamp())
    inbound.feed(start)
    assert inbound.proceed() == codec.StartSessions()
    greeting = b"\xff" * 12 + (15).to_bytes(4) + SID + SID + (1024).to_bytes(4) + b"\xff" * 12
    inbound.begin(codec.read_greeting())
    inbound.feed(greeting)
    assert inbound.proceed() == codec.ServerGreeting(15, SID, SID, 1024)
    octets = bytearray(clear(TW))
    octets[1] |= 0xF0
    inbound.begin(twamp())
    inbound.feed(bytes(octets))
    assert inbound.proceed() == TW


def test_rfc4656_3_1_sizes_of_set_up() -> None:
    assert len(codec.ServerGreeting(0, SID, SID, 0).octets()) == 64
    assert len(codec.SetUpResponse(0, bytes(80), bytes(64), SID).octets()) == 164
    start = codec.ServerStart(Accept.FAILURE, SID, 7)
    assert start.clear_octets() + start.rest() == bytes(15) + b"\1" + SID + (7).to_bytes(8) + bytes(8)


@pytest.mark.parametrize("key_id", ["a", "k\u00e9y", "x" * 80])
def test_rfc4656_3_1_key_ids(key_id: str) -> None:
    field = codec.pad_key_id(key_id)
    assert (len(field), field.rstrip(b"\0")) == (80, key_id.encode())


@pytest.mark.parametrize("key_id", ["", "x" * 81, "\u00e9" * 41, "nul\0"])
def test_rfc4656_3_1_key_ids_that_cannot_be(key_id: str) -> None:
    with pytest.raises(ValueError, match="KeyID"):
        codec.pad_key_id(key_id)


@pytest.mark.parametrize("value", range(256))
def test_rfc4656_3_3_accept_values(value: int) -> None:
    assert Accept.from_wire(value) == (value if value <= 5 else 1)
    assert Accept.from_wire(value, server_start=True) == (value if value <= 6 else 1)


@pytest.mark.parametrize("bit", range(32))
def test_modes_and_their_bits(bit: int) -> None:
    assert int(modes_from_wire(ControlProtocol.TWAMP, 1 << bit)) == (1 << bit if bit < 10 else 0)
    owamp_mode = modes_from_wire(ControlProtocol.OWAMP, 1 << bit)
    assert modes_to_wire(ControlProtocol.OWAMP, owamp_mode) == (1 << bit if bit in (0, 1, 2, 4) else 0)


def test_owamp_has_no_bit_for_what_is_twamps_alone() -> None:
    with pytest.raises(ValueError, match="no bit"):
        modes_to_wire(ControlProtocol.OWAMP, Mode.MIXED)
    assert modes_to_wire(ControlProtocol.TWAMP, Mode.MIXED | Mode.PTPV2_TIMESTAMP) == 520


@pytest.mark.parametrize("rule", Rule)
def test_every_rule_has_a_name_a_meaning_and_a_section(rule: Rule) -> None:
    assert rule.meaning
    assert rule.section.startswith("RFC ")
    error = RemoteControlError(rule.counter, rule.meaning, rule.section, "detail")
    assert str(error) == f"control connection: {rule.meaning} ({rule.section}): detail"
    assert Rule[error.rule.upper()] is rule


def test_rules_are_not_aliases_of_each_other() -> None:
    assert len({rule.meaning for rule in Rule}) == len(Rule.__members__)
