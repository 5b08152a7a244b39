"""STAMP and TWAMP Light octets made by hand: an independent second reading of RFC 8762 section 4 for hostile tests.

Deliberately not built on `twoway._native`, so that these tests would notice if both ends agreed on something wrong.
"""

import hashlib
import hmac
import struct
import time
from dataclasses import dataclass
from typing import Final, Self

NTP_UNIX: Final = 2_208_988_800
"""Seconds from 1900 to 1970 (RFC 5905 figure 4)."""
ERROR_ESTIMATE: Final = 0x0080
"""Unsynchronized, NTP format, 128 * 2^-32 s."""


def ntp(wall_ns: int) -> int:
    seconds, nanoseconds = divmod(wall_ns, 1_000_000_000)
    return ((seconds + NTP_UNIX) % (1 << 32)) << 32 | (nanoseconds << 32) // 1_000_000_000


def wall_ns(raw: int) -> int:
    """Of an NTP timestamp in the era that ends in 2036."""
    return ((raw >> 32) - NTP_UNIX) * 1_000_000_000 + ((raw & 0xFFFF_FFFF) * 1_000_000_000 >> 32)


def request(
    sequence: int = 0, *, size: int = 44, key: bytes | None = None, ssid: int = 0, error_estimate: int = ERROR_ESTIMATE
) -> bytes:
    """A Session-Sender's packet, stamped now; authenticated (and at least 112 octets) with a key."""
    stamp = ntp(time.time_ns())
    if key is None:
        return (struct.pack("!IQHH", sequence, stamp, error_estimate, ssid) + bytes(max(0, size - 16)))[:size]
    covered = struct.pack("!I12xQHH68x", sequence, stamp, error_estimate, ssid)
    mac = hmac.new(key, covered, hashlib.sha256).digest()[:16]
    return covered + mac + bytes(max(0, size - 112))


@dataclass(frozen=True, slots=True)
class Reply:
    """A Session-Reflector's packet; timestamps raw."""

    sequence: int
    timestamp: int
    error_estimate: int
    ssid: int
    receive_timestamp: int
    sender_sequence: int
    sender_timestamp: int
    sender_error_estimate: int
    sender_ttl: int

    @classmethod
    def parse(cls, octets: bytes, key: bytes | None = None) -> Self:
        if key is None:
            return cls(*struct.unpack_from("!IQHHQIQH2xB", octets))
        assert hmac.new(key, octets[:96], hashlib.sha256).digest()[:16] == octets[96:112]
        return cls(*struct.unpack_from("!I12xQHH4xQ8xI12xQH6xB", octets))
