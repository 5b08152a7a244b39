"""What a Session-Reflector has counted, and what each count means.

Each received packet is in exactly one disposition, "reason:action". `DISPOSITIONS` explains those that the packet
plane knows (a test compares them with its catalogue); one that is not here is shown by its own name.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from twoway.analysis.result import Distribution


@dataclass(frozen=True, slots=True)
class ReflectorState:
    """A Session-Reflector at one moment: the input of its renderings."""

    local_addresses: Sequence[tuple[str, int]]
    """(address, port) of each socket."""
    obtained: Mapping[str, str]
    """Option -> what stands instead, for each that was granted in lesser form."""
    counters: Mapping[str, int]
    """Disposition -> packets."""
    own_counters: Mapping[str, int]
    """The reflector's own state and faults."""
    distributions: Mapping[str, Distribution]
    """`transmit_prediction_error` and `residence`, where they are known."""
    at_ns: int
    """Wall time."""

    @property
    def received(self) -> int:
        """Packets received, whatever became of them."""
        return sum(self.counters.values())

    @property
    def reflected(self) -> int:
        """Packets answered."""
        return sum(count for name, count in self.counters.items() if name.partition(":")[2].startswith("reflected"))


DISPOSITIONS: Mapping[str, str] = {
    "test_packet:reflected": "answered",
    "test_packet:reflected_larger": "answered with a larger reply: the shortest there is, or as it was asked to be",
    "too_short:dropped": "shorter than any test packet",
    "bad_hmac:dropped": "wrong key, or changed on the way",
    "unauthenticated:dropped": "without authentication, which is required",
    "unknown_key:dropped": "no key for this test-session",
    "not_allowed:dropped": "source not in any allowed network",
    "rate_limited_global:dropped": "above the rate limit of all sources",
    "rate_limited_source:dropped": "above the rate limit of its source",
    "own_address:dropped": "from an address that this reflector listens on",
    "unanswerable:dropped": "from port 0, or from or to an address that is not unicast",
    "reply_shaped:dropped": "a reply: answering it might never end",
    "larger_reply_off:dropped": "shorter than the shortest reply, and larger replies are off",
    "session_table_full:dropped": "no room for another test-session",
    "zero_multiplier:dropped": "Error Estimate with multiplier 0",
    "malformed:dropped": "not a test packet",
    "truncated:dropped": "longer than the receive buffer",
    "no_reply_requested:not_answered": "asked for no reply (Return Path, Reflected Test Packet Control)",
    "other_group:not_answered": "for another group of addresses (Reflected Test Packet Control)",
    "micro_session_mismatch:dropped": "by another member link than its Micro-session ID says",
    "send_failed:dropped": "the kernel refused the reply",
}
"""What became of a received packet -> in words."""

DISTRIBUTIONS: Mapping[str, str] = {
    "transmit_prediction_error": "T3 error: departure by the kernel's stamp, less the T3 written",
    "residence": "in reflector: T3 - T2",
}
"""Name -> meaning, in ns."""
