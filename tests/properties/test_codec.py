"""Codec properties: what is written is read back, and no octets do more to a parser than raise `WireError`."""

from collections.abc import Iterator
from fractions import Fraction

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from twoway._native import catalogue, derive_twamp_test_keys
from twoway.errors import TwowayError, WireError

from .packets import ALL_KEYS, FORMATS, KEYS, NEAR_NS, REFLECTOR_LEN, ROLES, SENDER_LEN, decode, encode, packets

_NTP_UNIX_S = 2_208_988_800
_DECADES_NS = 60 * 365 * 86_400 * 10**9
"""Less than half an era of 2^32 s (68 years)."""


def test_the_tests_know_every_format() -> None:
    assert sorted(catalogue()["packet_formats"]) == sorted(KEYS)


@given(packets())
def test_what_is_written_is_read_back(packet: tuple[str, str, dict[str, int], int]) -> None:
    packet_format, role, fields, length = packet
    octets = encode(fields, packet_format, role, length)
    assert len(octets) == length
    read = decode(octets, packet_format, role).fields
    assert {name: read[name] for name in fields} == fields


@given(packets())
def test_writing_what_was_read_gives_the_same_octets(packet: tuple[str, str, dict[str, int], int]) -> None:
    packet_format, role, fields, length = packet
    octets = encode(fields, packet_format, role, length)
    read = decode(octets, packet_format, role).fields
    again = {name: value for name, value in read.items() if name in fields and value is not None}
    assert encode(again, packet_format, role, length) == octets


@given(packets(), st.data())
def test_one_changed_bit_of_an_authenticated_packet_is_noticed(
    packet: tuple[str, str, dict[str, int], int], data: st.DataObject
) -> None:
    """Within what the HMAC covers (RFC 4656 section 4.1.2, RFC 8762 section 4.4), and in the HMAC itself."""
    packet_format, role, fields, length = packet
    assume(packet_format in _COVERED)
    covered = data.draw(st.sampled_from(list(_covered(packet_format, role))))
    octets = bytearray(encode(fields, packet_format, role, length))
    octets[covered] ^= 1 << data.draw(st.integers(0, 7))
    with pytest.raises(WireError):
        decode(bytes(octets), packet_format, role)


_COVERED = {
    "stamp-authenticated": (range(96), range(96)),
    "twamp-authenticated": (range(16), range(16)),
    "twamp-encrypted": (range(32), range(96)),
}


def _covered(packet_format: str, role: str) -> Iterator[int]:
    yield from _COVERED[packet_format][role == "reflector"]
    end = (SENDER_LEN if role == "sender" else REFLECTOR_LEN)[packet_format]
    yield from range(end - 16, end)


@given(packets())
def test_another_key_does_not_open_a_packet(packet: tuple[str, str, dict[str, int], int]) -> None:
    packet_format, role, fields, length = packet
    assume(packet_format in _COVERED)
    octets = encode(fields, packet_format, role, length)
    keys = type(ALL_KEYS)(bytes(32) + b"\x01", bytes(16), bytes(32))
    with pytest.raises(WireError):
        decode(octets, packet_format, role, keys)


@given(st.binary(max_size=1600), FORMATS, ROLES, st.integers(-(2**63), 2**63 - 1))
@example(b"", "stamp", "sender", 0)
def test_any_octets_are_read_or_refused(octets: bytes, packet_format: str, role: str, near_ns: int) -> None:
    before = bytes(octets)
    try:
        read = decode(octets, packet_format, role, near_ns=near_ns)
    except WireError as error:
        assert "\n" not in str(error)  # noqa: PT017  # either outcome is right; what is checked is that it is one of them
    else:
        assert read.fields["sequence"] is not None
    assert octets == before, "the caller's octets are not changed, also not when they are decrypted"


@given(packets(), st.integers(0, 1600))
def test_a_cut_packet_is_read_or_refused(packet: tuple[str, str, dict[str, int], int], length: int) -> None:
    packet_format, role, fields, whole = packet
    octets = encode(fields, packet_format, role, whole)[:length]
    try:
        read = decode(octets, packet_format, role).fields
    except WireError:
        return
    assert read["sequence"] == fields["sequence"]
    assert read["timestamp"] == fields["timestamp"]


@given(st.binary(max_size=300), st.sampled_from(["stamp", "stamp-authenticated"]))
def test_any_octets_after_a_stamp_packet_are_tlvs_or_nothing(tail: bytes, packet_format: str) -> None:
    """Never past the end (RFC 8972 section 4): the TLVs that are read are, in order, a part of the octets."""
    base = encode({"sequence": 1, "error_estimate": 1}, packet_format, "sender", SENDER_LEN[packet_format])
    at = 0
    for flags, kind, value in decode(base + tail, packet_format, "sender").tlvs:
        header = bytes([flags, kind]) + len(value).to_bytes(2)
        assert tail[at : at + 4 + len(value)] == header + value
        at += 4 + len(value)


@given(wall_ns=st.integers(NEAR_NS - _DECADES_NS, NEAR_NS + _DECADES_NS), ptp=st.booleans())
def test_timestamps_are_read_in_the_era_nearest_to_now(wall_ns: int, *, ptp: bool) -> None:
    """RFC 5905 section 6 and RFC 8186 section 2.1; written here a second time, with exact fractions."""
    seconds, nanoseconds = divmod(wall_ns, 10**9)
    if ptp:
        raw = (seconds % 2**32) << 32 | nanoseconds
    else:
        raw = ((seconds + _NTP_UNIX_S) % 2**32) << 32 | round(Fraction(nanoseconds * 2**32, 10**9)) % 2**32
        assume(nanoseconds * 2**32 < (2**32 - Fraction(1, 2)) * 10**9)
    fields = {"sequence": 0, "timestamp": raw, "error_estimate": 0x4001 if ptp else 0x0001}
    read = decode(encode(fields, "stamp", "sender", 44), "stamp", "sender").fields["timestamp_ns"]
    assert read == wall_ns


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("sequence", 2**32),
        ("timestamp", 2**64),
        ("error_estimate", 2**16),
        ("ssid", 2**16),
        ("sender_ttl", 256),
        ("sequence", -1),
    ],
)
def test_a_field_that_does_not_fit_is_refused(name: str, value: int) -> None:
    """Never cut to what fits: a test that means one packet must not get another."""
    role = "reflector" if name.startswith("sender") else "sender"
    with pytest.raises((TwowayError, OverflowError, ValueError)):
        encode({name: value}, "stamp", role, 44)


def test_a_field_that_no_packet_has_is_refused() -> None:
    with pytest.raises((TwowayError, ValueError)):
        encode({"sequenz": 1}, "stamp", "sender", 44)


@pytest.mark.parametrize("packet_format", sorted(KEYS))
@pytest.mark.parametrize("role", ["sender", "reflector"])
def test_too_small_a_payload_is_refused(packet_format: str, role: str) -> None:
    base = (SENDER_LEN if role == "sender" else REFLECTOR_LEN)[packet_format]
    assert len(encode({"error_estimate": 1}, packet_format, role, base)) == base
    with pytest.raises(TwowayError):
        encode({"error_estimate": 1}, packet_format, role, base - 1)


@given(st.binary(max_size=40), st.binary(max_size=40), st.binary(max_size=40))
def test_key_derivation_takes_exact_lengths(sid: bytes, aes_key: bytes, hmac_key: bytes) -> None:
    if (len(sid), len(aes_key), len(hmac_key)) == (16, 16, 32):
        assert [len(key) for key in derive_twamp_test_keys(sid, aes_key, hmac_key)] == [16, 32]
    else:
        with pytest.raises(TwowayError):
            derive_twamp_test_keys(sid, aes_key, hmac_key)
