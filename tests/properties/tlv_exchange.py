"""One entry of `vectors/tlvs.toml` put to our Session-Sender: a far end that looks at what it asks for, and answers."""

import socket
import threading
from dataclasses import dataclass, field
from typing import Final, Self, cast

from twoway.analysis.metrics import METRICS
from twoway.analysis.result import Result
from twoway.config.measurement import Measurement
from twoway.drivers.plane import measure
from twoway.path import ReturnPath
from twoway.tlvs import AccessReport, ReflectedControl, Tlvs

from .packets import decode, encode

KEY: Final = b"a key of the operator"
BASE: Final = 44
PACKETS: Final = 3
"""The entries are about the third packet, whose Sequence Number is 2."""
ATTEMPTS: Final = 50
"""How often an exchange is tried that a busy machine turns into another one: see `disturbed`."""
_INTERVAL_NS: Final = 5_000_000
_SSID: Final = 0x1234
_BOUND_S: Final = 20.0


@dataclass
class FarEnd:
    """Answers the third packet with the given TLVs. A context manager; `asked` is what followed the base packets."""

    sequence: int
    reply: bytes | None
    returned_dscp_ecn: int
    family: socket.AddressFamily
    asked: list[bytes] = field(default_factory=list)

    def __enter__(self) -> Self:
        self._host = "::1" if self.family == socket.AF_INET6 else "127.0.0.1"
        self._socket = socket.socket(self.family, socket.SOCK_DGRAM)
        self._socket.settimeout(_BOUND_S)
        self._socket.bind((self._host, 0))
        if self.family == socket.AF_INET:
            self._socket.setsockopt(socket.IPPROTO_IP, socket.IP_TOS, self.returned_dscp_ecn)
        self.target = f"[{self._host}]:{self._port}" if self.family == socket.AF_INET6 else f"{self._host}:{self._port}"
        self._thread = threading.Thread(target=self._answer)
        self._thread.start()
        return self

    @property
    def _port(self) -> int:
        return cast("int", self._socket.getsockname()[1])

    def _answer(self) -> None:
        """Until an empty datagram comes, by which `__exit__` ends it."""
        while True:
            request, source = self._socket.recvfrom(2048)
            if not request:
                return
            self.asked.append(request[BASE:])
            if len(self.asked) == PACKETS and self.reply is not None:
                self._socket.sendto(self._base(request) + self.reply, source)

    def _base(self, request: bytes) -> bytes:
        fields = decode(request[:BASE], "stamp", "sender").fields
        sent = {name: value for name, value in fields.items() if isinstance(value, int)}
        reply = {
            "sequence": self.sequence,
            "timestamp": sent["timestamp"],
            "error_estimate": 0x8001,
            "ssid": sent["ssid"],
            "receive_timestamp": sent["timestamp"],
            "sender_sequence": sent["sequence"],
            "sender_timestamp": sent["timestamp"],
            "sender_error_estimate": sent["error_estimate"],
            "sender_ttl": 250,
        }
        return encode(reply, "stamp", "reflector", BASE)

    def __exit__(self, *_: object) -> None:
        with socket.socket(self.family, socket.SOCK_DGRAM) as ending:
            ending.sendto(b"", (self._host, self._port))
        self._thread.join(_BOUND_S)
        self._socket.close()


def asks(table: dict[str, object]) -> Tlvs:
    """What `asks` of an entry comes to."""
    made: dict[str, object] = dict(table)
    if isinstance(report := made.get("access_report"), dict):
        # Due again at once, so that the third packet has it too.
        made["access_report"] = AccessReport(**report, timer_ns=1)
    if isinstance(path := made.get("return_path"), dict):
        lists = {name: tuple(value) for name, value in path.items() if isinstance(value, list)}
        made["return_path"] = ReturnPath(**{**path, **lists})
    if isinstance(control := made.get("control"), dict):
        asked = dict(control)
        if "layer_2_group" in asked:
            asked["layer_2_group"] = tuple(bytes.fromhex(part) for part in asked["layer_2_group"])
        if "layer_3_group" in asked:
            asked["layer_3_group"] = tuple(asked["layer_3_group"])
        made["control"] = ReflectedControl(**asked)
    for name in ("micro_session", "extension_headers"):
        if isinstance(value := made.get(name), list):
            made[name] = tuple(value)
    return Tlvs(**made)  # type: ignore[arg-type]  # the entry names its fields, and the class checks them


def ask(far_end: FarEnd, tlvs: Tlvs, payload_len: int | None) -> Result:
    """Measure the far end with three packets."""
    return measure(
        Measurement(
            far_end.target,
            count=PACKETS,
            interval_ns=_INTERVAL_NS,
            timeout_ns=60_000_000,
            payload_len=payload_len,
            dscp_ecn=46 << 2,
            ssid=_SSID,
            tlvs=tlvs,
            tlv_key=KEY if tlvs.hmac else None,
        )
    )


def disturbed(result: Result) -> bool:
    """Whether a packet was not sent, or not before the next one was due, or a reply was not read in time."""
    lateness_ns = result.summary.distribution("send_lateness").max_ns
    on_time = lateness_ns is not None and lateness_ns < _INTERVAL_NS
    return bool(not on_time or result.summary.counter("missed_slots") or result.summary.counter("late"))


def found(result: Result, name: str) -> object:
    """A metric of the result, names of registries as their numbers."""
    metric = next(metric for metric in METRICS if metric.name == name)
    if name.startswith("far_"):
        return result.summary.fact(name)
    return metric.value(result.summary)
