"""One line for each packet, like ping's."""

from __future__ import annotations

from typing import TYPE_CHECKING

from twoway.analysis.samples import DUPLICATE, LOST, Flag, Status
from twoway.export.quantities import MILLISECONDS, setting, traffic_class

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from twoway.analysis.result import SessionDescription
    from twoway.analysis.samples import Batch

_UNSURE = Flag.CLOCK_STEP | Flag.FAR_UNSYNCHRONIZED | Flag.FAR_ERROR_ESTIMATE_INVALID | Flag.FAR_TIMESTAMPS_UNUSABLE
"""Flags of a packet whose one-way delays say nothing."""

_REMARKS = {
    Flag.REORDERED: "reordered",
    Flag.CLOCK_STEP: "clock stepped",
    Flag.FAR_TIMESTAMPS_UNUSABLE: "far timestamps unusable",
}


class PacketLines:
    """Renders batches of one test-session.

    One-way delay is on a line only where both clocks can carry it: `clock` is the local `clock_state()`, and each reply
    says about the far one. Without `clock`, no line has it.
    """

    def __init__(self, session: SessionDescription, clock: Mapping[str, int | None] | None = None) -> None:
        self._session = session
        self._one_way = clock is not None and clock.get("synchronized") == 1 and clock.get("error_ns") is not None
        # Where the length of replies was asked for, it is the far end's to say what it is.
        size = "reply" if "reflected-test-packet-control" in session.tlvs else f"{session.payload_len} octets"
        self._reply = f"{size} from {session.address}"

    def lines(self, batch: Batch) -> Iterator[str]:
        """A line for each row of `batch`, without newline."""
        columns = (
            batch.sequence,
            batch.status,
            batch.flags,
            batch.round_trip_ns,
            batch.forward_ns,
            batch.backward_ns,
            batch.sender_ttl,
            batch.returned_ttl,
            batch.returned_dscp_ecn,
        )
        missing, unknown = batch.MISSING, batch.UNKNOWN
        for sequence, status, flags, rtt, forward, backward, far_ttl, ttl, mark in zip(
            *(column.tolist() for column in columns), strict=True
        ):
            if status in LOST or status in (Status.NOT_SENT, Status.PENDING):
                yield self._without_reply(sequence, Status(status))
                continue
            words = [f"{self._reply}: seq={sequence}"]
            if rtt != missing:
                words.append(f"rtt={MILLISECONDS.show(rtt)}")
            if self._one_way and not flags & _UNSURE and missing not in (forward, backward):
                words += [f"fwd={MILLISECONDS.show(forward)}", f"bwd={MILLISECONDS.show(backward)}"]
            if unknown != ttl or unknown != far_ttl:
                words.append(f"ttl={_or_mark(far_ttl, unknown)}/{_or_mark(ttl, unknown)}")
            if mark not in (unknown, self._session.dscp_ecn):
                words.append(f"dscp={traffic_class(mark)}")
            remarks = [text for flag, text in _REMARKS.items() if flags & flag]
            if status == Status.LATE:
                remarks.insert(0, f"late: after {setting(self._session.timeout_ns)}")
            elif status == Status.FURTHER_REPLY:
                remarks.insert(0, "further reply")
            elif status in DUPLICATE:
                direction = Status(status).name.lower().removeprefix("duplicate_")
                remarks.insert(0, "duplicate" + ("" if direction == "unattributed" else f" {direction}"))
            yield " ".join(words) + (f" ({', '.join(remarks)})" if remarks else "")

    def _without_reply(self, sequence: int, status: Status) -> str:
        where = f"{self._session.address}: seq={sequence}"
        match status:
            case Status.NOT_SENT:
                return f"not sent to {where}"
            case Status.PENDING:
                return f"no reply yet from {where}: ended before its timeout"
            case Status.LOST_UNATTRIBUTED:
                return f"no reply from {where} lost"
            case _:
                return f"no reply from {where} lost {status.name.lower().removeprefix('lost_')}"


def _or_mark(value: int, unknown: int) -> str:
    return "?" if value == unknown else str(value)
