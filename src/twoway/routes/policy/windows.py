"""What the limits of a window come to: a vote, and its reason in words. Pure.

The packet plane compares (`rust/plane`, `watch.rs`) and tells when a limit is met or met no more; here its findings
become the vote of a test.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from twoway.analysis.metrics import BY_NAME, Section, Unit, unit_for
from twoway.config.units import duration_text
from twoway.routes.policy.judgement import Vote

if TYPE_CHECKING:
    from collections.abc import Sequence

    from twoway.config.route_plan import LimitPlan, WindowPlan


class Finding(NamedTuple):
    """How one limit stands."""

    good: bool | None
    """None: the window is not full yet, or was disturbed, or there is no value."""
    value: float | None
    """In the metric's unit: ns, ratio or packets."""


def vote_of(window: WindowPlan, findings: Sequence[Finding]) -> Vote:
    """Bad if one limit is met, good if none is and each is known."""
    bad = [
        described(window, limit, finding)
        for limit, finding in zip(window.limits, findings, strict=True)
        if finding.good is False
    ]
    if bad:
        return Vote(good=False, reason=", ".join(bad))
    if any(finding.good is None for finding in findings):
        return Vote(good=None, reason=_not_known(window, findings))
    good = ", ".join(described(window, limit, finding) for limit, finding in zip(window.limits, findings, strict=True))
    return Vote(good=True, reason=good)


def _not_known(window: WindowPlan, findings: Sequence[Finding]) -> str:
    silent = [BY_NAME[limit.metric] for limit, one in zip(window.limits, findings, strict=True) if one.good is None]
    if len(silent) < len(findings):
        # The window is full, since others can be judged.
        return f"{', '.join(metric.label for metric in silent)} not known over {duration_text(window.window_ns)}"
    words = f"less than {duration_text(window.window_ns)} of measurement to judge by"
    return f"{words}, or no reply tells" if any(metric.section is Section.TLVS for metric in silent) else words


def described(window: WindowPlan, limit: LimitPlan, finding: Finding) -> str:
    """`loss 34% over 10s, limit 10%`; of what is below its limit again, and not yet good, what would be."""
    metric = BY_NAME[limit.metric]
    label = metric.label
    if metric.unit is Unit.NANOSECONDS and not metric.name.startswith("jitter"):
        label += " max" if limit.maximum else " mean"
    value = "unknown" if finding.value is None else amount(finding.value, metric.unit)
    words = f"{label} {value} over {duration_text(window.window_ns)}"
    if finding.good is False and finding.value is not None and finding.value < limit.limit:
        return f"{words}, good again below {amount(limit.recover, metric.unit)}"
    return f"{words}, limit {amount(limit.limit, metric.unit)}"


def amount(value: float, unit: Unit) -> str:
    """A value with its unit."""
    match unit:
        case Unit.NANOSECONDS:
            scale, name = unit_for(value)
            return f"{value / scale:.4g} {name}"
        case Unit.RATIO:
            return f"{value * 100:.4g}%"
        case _:
            return f"{value:g}"
