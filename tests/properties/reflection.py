"""A running Session-Reflector on a loopback port, through the bindings."""

import socket
from types import TracebackType
from typing import Final, Self

from twoway._native import Reflector, ReflectorSpec

_BOUND_S: Final = 20.0


class LoopbackReflector:
    """Unauthenticated, stateless, TLVs processed. A context manager."""

    def __init__(self, *, stateful: bool = False) -> None:
        self.reflector = Reflector(
            ReflectorSpec(
                listen=[("127.0.0.1", 0, 0)],
                interface=None,
                netns=None,
                workers=1,
                stateful=stateful,
                max_sessions=16,
                session_timeout_ns=10**9,
                keys=[],
                require_authentication=False,
                allow=[],
                rate_limit=0,
                rate_limit_per_source=0,
                dscp=None,
                larger_replies=True,
                dscp_ecn_monitoring=False,
                timestamps="kernel",
                receive_buffer=1 << 20,
            ).with_tlvs(
                require_hmac=False,
                location="addresses",
                permitted_dscps=None,
                sync_source="ntp",
                return_paths_authenticated=True,
                return_paths_allow=[],
                reflect_headers=False,
                micro_sessions=[],
                control=None,
            )
        )
        self.reflector.start()
        self.address = self.reflector.local_addresses[0]
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.settimeout(_BOUND_S)

    def exchange(self, octets: bytes) -> bytes:
        """Send one datagram and take the answer."""
        self._socket.sendto(octets, self.address)
        return self._socket.recv(65_536)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._socket.close()
        self.reflector.stop(0)
