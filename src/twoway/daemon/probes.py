"""Single probes and their figures as others want them: status by name, rows of the history, RFC 4560's results."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING

from twoway.analysis.notices import Figures
from twoway.analysis.views import ProbeView

if TYPE_CHECKING:
    from collections.abc import Sequence

    from twoway.drivers.session_plane import Collection, HistoryBatch

PACKED_WITH_REPLIES = 48
"""Octets that the packed summary of an interval with a reply has at least; one of an idle second has a few."""
_RECEIVED, _LATE, _LOST, _NOT_SENT = 0, 1, (2, 3, 4), 8
"""Codes of `catalogue()["sample_status"]`."""
_SOURCES = ("none", "user", "kernel", "hardware")
_BY_ERRNO = {
    errno.ENETUNREACH: "no-route-to-target",
    errno.EHOSTUNREACH: "no-route-to-target",
    errno.ENETDOWN: "interface-inactive-to-target",
    errno.ENODEV: "interface-inactive-to-target",
    errno.EINVAL: "invalid-host-address",
    errno.EADDRNOTAVAIL: "interface-inactive-to-target",
    errno.ECONNREFUSED: "request-timed-out",  # nobody listens: the refusal of one probe is told when the next is sent
}


def status(code: int, last_errno: int) -> str:
    """A code of the packet plane as a name of `notices.STATUS`; `last_errno` tells why nothing left."""
    if code == _RECEIVED:
        return "response-received"
    if code == _LATE or code in _LOST:
        return "request-timed-out"
    if code == _NOT_SENT:
        return _BY_ERRNO.get(last_errno, "internal-error")
    return "unknown"


def _cells(column: Sequence[int], missing: int) -> list[int | None]:
    return [None if value == missing else value for value in column]


def _magnitudes(column: Sequence[int], missing: int) -> list[int | None]:
    return [None if value == missing else abs(value) for value in column]


def rows(batch: HistoryBatch, last_errno: int) -> list[ProbeView]:
    """The probes of a history, in the order of sending."""
    missing = batch.MISSING
    disturbed = [bool(octet) for octet in batch.disturbed.tolist()]
    # A probe whose moment had passed was refused by nobody, whatever befell another.
    errnos = (0 if here else last_errno for here in disturbed)
    columns = (
        batch.sequence.tolist(),
        batch.test.tolist(),
        [status(code, number) for code, number in zip(batch.status.tolist(), errnos, strict=True)],
        *(_cells(column.tolist(), missing) for column in (batch.t1_ns, batch.t4_ns)),
        *(_cells(column.tolist(), missing) for column in (batch.rtt_ns, batch.egress_ns, batch.ingress_ns)),
        *(
            _magnitudes(column.tolist(), missing)
            for column in (batch.rtt_jitter_ns, batch.egress_jitter_ns, batch.ingress_jitter_ns)
        ),
        _cells(batch.residence_ns.tolist(), missing),
        *(
            [_SOURCES[code] if code else None for code in column.tolist()]
            for column in (batch.t1_source, batch.t4_source)
        ),
        disturbed,
    )
    return [ProbeView(*cells) for cells in zip(*columns, strict=True)]


def figures(
    test: Collection | None,
    last: HistoryBatch,
    *,
    target: str,
    address: str | None,
    last_errno: int,
    unresolved: bool,
) -> Figures:
    """RFC 4560's results of a test, with the last probe."""
    probe = rows(last, last_errno)[0] if len(last) else None
    word = "unknown" if probe is None else probe.status
    if unresolved:
        word = "unable-to-resolve-dns-name"
    return Figures(
        target=target,
        address=address,
        status=word,
        sent=0 if test is None else test.counter("sent"),
        received=0 if test is None else test.counter("received"),
        rtt=_spread(test, "rtt"),
        egress=_spread(test, "egress"),
        ingress=_spread(test, "ingress"),
        rtt_sum_of_squares_ms2=_squares(test),
        last_rtt_ns=None if probe is None else probe.rtt_ns,
        last_good_ns=None if probe is None else probe.received_ns,
    )


def _spread(test: Collection | None, name: str) -> tuple[int, int, int, int] | None:
    """Least, greatest, mean and deviation."""
    if test is None:
        return None
    values = test.distribution(name)
    least, greatest, mean, deviation = values.min_ns, values.max_ns, values.mean_ns, values.stddev_ns
    if least is None or greatest is None or mean is None or deviation is None:
        return None
    return least, greatest, round(mean), round(deviation)


def _squares(test: Collection | None) -> int:
    """Sum of the squares of round-trip times in ms², from count, mean and deviation (which is of the population)."""
    if test is None:
        return 0
    values = test.distribution("rtt")
    if values.mean_ns is None or values.stddev_ns is None:
        return 0
    return round(values.count * (values.mean_ns**2 + values.stddev_ns**2) / 1e12)
