"""Whether two clocks can carry a one-way delay, and how far apart they may be.

The Error Estimates of both ends bound the error of T2 - T1 by their sum (RFC 7679 section 3.7.1), and only between
clocks that are synchronised. Without that bound a one-way delay is a number about clocks, not about the path.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from twoway.analysis.result import Summary


def offset_unknown(summary: Summary) -> str | None:
    """Why one-way delay cannot be told, None where it can (within the fact `one_way_error_bound_ns`)."""
    if summary.fact("one_way_error_bound_ns") is not None:
        return None
    if summary.counter("received") + summary.counter("late") == 0:
        return "no replies"
    synchronized = {"local": summary.fact("local_synchronized"), "far": summary.fact("far_synchronized")}
    loose = [end for end, state in synchronized.items() if state == 0]
    if len(loose) == 2:
        return "offset unknown: neither clock is synchronised"
    if loose:
        return f"offset unknown: {loose[0]} clock is not synchronised"
    for end, state in synchronized.items():
        if state is None:
            return f"offset unknown: {end} clock does not say whether it is synchronised"
    for end in synchronized:
        if summary.fact(f"{end}_error_ns") is None:
            return f"offset unknown: {end} clock does not say how large its error may be"
    return "offset unknown"
