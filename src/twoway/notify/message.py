"""A notice as a syslog message: octets of RFC 5424. Pure: everything that it says is an argument.

    <28>1 2026-03-01T12:00:00.123456Z gw1 twoway 4711 rtt-exceeded [twoway@32473 state="raised" …] Round-trip time …

The SD-ID is `twoway@` and an enterprise number (section 7.2.2). A message of ASCII is sent as it is; one with other
characters begins with the byte order mark that section 6.4 wants before UTF-8.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from twoway.errors import one_line

if TYPE_CHECKING:
    from collections.abc import Iterator

    from twoway.analysis.notices import Notice

APP_NAME = "twoway"
MAX_OCTETS = 2048
"""Longest message: what every receiver should take (section 6.1)."""
MAX_HOSTNAME, MAX_PROCID, MAX_MSGID = 255, 128, 32
MAX_SEQUENCE_ID = 2**31 - 1
"""After it comes 1 (section 7.3.1)."""
_MAX_VALUE = 128
"""Longest parameter value in octets before it is escaped, so that header and data always leave room for a text."""
_BOM = b"\xef\xbb\xbf"

PARAMETERS = {
    "state": "`raised`, `cleared` or `once`",
    "connection": "Control-connection",
    "session": "Test-session",
    "threshold_ns": "What was met or exceeded",
    "value_ns": "What met or exceeded it",
    "count": "Lost probes",
    "route": "Tracked route: its prefix, and `@INSTANCE` where it is not in the main table",
    "next_hops": "Next hops of it that are used now, or the one that it is about",
    "target": "Target as configured",
    "address": "Address that is measured",
    "status": "Of the last probe",
    "sent": "Probes sent",
    "received": "Replies",
    "rtt_min_ns": "Least round-trip time of the test",
    "rtt_max_ns": "Greatest of them",
    "rtt_mean_ns": "Their mean",
    "rtt_stddev_ns": "Their standard deviation",
    "egress_min_ns": "Least delay to the Session-Reflector",
    "egress_max_ns": "Greatest of them",
    "egress_mean_ns": "Their mean",
    "egress_stddev_ns": "Their standard deviation",
    "ingress_min_ns": "Least delay from the Session-Reflector",
    "ingress_max_ns": "Greatest of them",
    "ingress_mean_ns": "Their mean",
    "ingress_stddev_ns": "Their standard deviation",
}
"""Every parameter of our structured data, in order, with its meaning; what is not known is not there."""


def encode(
    notice: Notice, *, facility: int, hostname: str | None, process: int, enterprise_number: int, sequence_id: int
) -> bytes:
    """The message, at most `MAX_OCTETS` long: MSG is cut short where it must be, at a character."""
    header = " ".join(
        (
            f"<{facility * 8 + notice.severity}>1",
            _timestamp(notice.at_ns),
            _printable(hostname or "", MAX_HOSTNAME),
            APP_NAME,
            _printable(str(process), MAX_PROCID),
            _printable(notice.name, MAX_MSGID),
        )
    ).encode("ascii")
    data = _structured(notice, enterprise_number, sequence_id)
    text = one_line(notice.message).replace("µs", "us")  # in ASCII, so that it needs no mark
    octets = text.encode() if text.isascii() else _BOM + text.encode(errors="replace")
    before = header + b" " + data + b" "
    return before + _cut(octets, MAX_OCTETS - len(before))


def _cut(octets: bytes, most: int) -> bytes:
    """At most so many octets of UTF-8, and no piece of a character."""
    return octets if len(octets) <= most else octets[:most].decode(errors="ignore").encode()


def _timestamp(at_ns: int) -> str:
    """Section 6.2.3: at most six digits of a second, so what is below a microsecond is cut off."""
    moment = datetime.fromtimestamp(at_ns // 10**9, UTC)
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{at_ns % 10**9 // 1000:06d}Z"


def _printable(text: str, most: int) -> str:
    """Only the characters 33 to 126 may stand in a field of the header (section 6); `-` where nothing does."""
    return "".join(c for c in text if "!" <= c <= "~")[:most] or "-"


def _structured(notice: Notice, enterprise_number: int, sequence_id: int) -> bytes:
    parameters = "".join(f' {name}="{_escape(str(value))}"' for name, value in parameters_of(notice))
    return f'[{APP_NAME}@{enterprise_number}{parameters}][meta sequenceId="{sequence_id}"]'.encode(errors="replace")


def _escape(value: str) -> str:
    """Section 6.3.3: three characters have a backslash before them."""
    line = _cut(one_line(value).encode(errors="replace"), _MAX_VALUE).decode()
    return line.replace("\\", "\\\\").replace('"', '\\"').replace("]", "\\]")


def parameters_of(notice: Notice) -> Iterator[tuple[str, object]]:
    """Those of `PARAMETERS` that are known."""
    known: dict[str, object] = {
        "state": notice.state.value,
        "connection": notice.connection,
        "session": notice.session,
        "threshold_ns": notice.threshold_ns,
        "value_ns": notice.value_ns,
        "count": notice.count,
        "route": notice.route,
        "next_hops": notice.next_hops,
    }
    figures = notice.figures
    if figures is not None:
        known |= {"target": figures.target, "address": figures.address, "status": figures.status}
        known |= {"sent": figures.sent, "received": figures.received}
        for direction in ("rtt", "egress", "ingress"):
            values: tuple[int, int, int, int] | None = getattr(figures, direction)
            for statistic, value in zip(("min", "max", "mean", "stddev"), values or (), strict=False):
                known[f"{direction}_{statistic}_ns"] = value
    return ((name, known[name]) for name in PARAMETERS if known.get(name) is not None)
