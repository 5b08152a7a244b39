"""What the codec tests share: the formats with keys for them, and strategies for their fields."""

from dataclasses import dataclass
from typing import Final

from hypothesis import strategies as st

from twoway._native import DecodedPacket, decode_test_packet, encode_test_packet

NEAR_NS: Final = 1_700_000_000 * 10**9
STAMP_KEY: Final = bytes(range(32))
AES_KEY: Final = bytes(range(16))
HMAC_KEY: Final = bytes(range(32, 64))


@dataclass(frozen=True, slots=True)
class Keys:
    """The keys of one test-session, each None where there is none."""

    stamp: bytes | None = None
    twamp_aes: bytes | None = None
    twamp_hmac: bytes | None = None


NO_KEYS: Final = Keys()
ALL_KEYS: Final = Keys(STAMP_KEY, AES_KEY, HMAC_KEY)
KEYS: Final = {
    "stamp": NO_KEYS,
    "stamp-authenticated": Keys(stamp=STAMP_KEY),
    "twamp": NO_KEYS,
    "twamp-authenticated": Keys(twamp_aes=AES_KEY, twamp_hmac=HMAC_KEY),
    "twamp-encrypted": Keys(twamp_aes=AES_KEY, twamp_hmac=HMAC_KEY),
}
SENDER_LEN: Final = {
    "stamp": 44,
    "stamp-authenticated": 112,
    "twamp": 14,
    "twamp-authenticated": 48,
    "twamp-encrypted": 48,
}
REFLECTOR_LEN: Final = {
    "stamp": 44,
    "stamp-authenticated": 112,
    "twamp": 41,
    "twamp-authenticated": 112,
    "twamp-encrypted": 112,
}
"""Octets of the base packets (RFC 8762 section 4, RFC 4656 section 4.1.2, RFC 5357 section 4.2.1 with erratum 5045)."""


def decode(
    octets: bytes, packet_format: str, role: str, keys: Keys | None = None, near_ns: int = NEAR_NS
) -> DecodedPacket:
    keys = KEYS[packet_format] if keys is None else keys
    return decode_test_packet(
        octets,
        format=packet_format,
        role=role,
        stamp_key=keys.stamp,
        twamp_aes_key=keys.twamp_aes,
        twamp_hmac_key=keys.twamp_hmac,
        near_ns=near_ns,
    )


def encode(fields: dict[str, int], packet_format: str, role: str, payload_len: int, keys: Keys | None = None) -> bytes:
    keys = KEYS[packet_format] if keys is None else keys
    return encode_test_packet(
        fields,
        format=packet_format,
        role=role,
        stamp_key=keys.stamp,
        twamp_aes_key=keys.twamp_aes,
        twamp_hmac_key=keys.twamp_hmac,
        payload_len=payload_len,
    )


def _word(bits: int) -> st.SearchStrategy[int]:
    return st.integers(0, 2**bits - 1)


FORMATS: Final = st.sampled_from(sorted(KEYS))
ROLES: Final = st.sampled_from(["sender", "reflector"])
_SENDER: Final = {"sequence": _word(32), "timestamp": _word(64), "error_estimate": _word(16)}
_REFLECTOR: Final = {
    **_SENDER,
    "receive_timestamp": _word(64),
    "sender_sequence": _word(32),
    "sender_timestamp": _word(64),
    "sender_error_estimate": _word(16),
    "sender_ttl": _word(8),
}


@st.composite
def packets(draw: st.DrawFn) -> tuple[str, str, dict[str, int], int]:
    """(format, role, fields, payload length): fields are all that this packet can carry, TLVs left to themselves."""
    packet_format, role = draw(FORMATS), draw(ROLES)
    strategies = dict(_SENDER if role == "sender" else _REFLECTOR)
    if packet_format.startswith("stamp"):
        strategies["ssid"] = _word(16)
    base = (SENDER_LEN if role == "sender" else REFLECTOR_LEN)[packet_format]
    length = draw(st.sampled_from([base, base + 4, base + 5, base + 100, 1472]))
    if role == "reflector" and packet_format.startswith("twamp") and length >= base + 3 and draw(st.booleans()):
        strategies["sender_dscp_ecn"] = _word(8)
    return packet_format, role, draw(st.fixed_dictionaries(strategies)), length
