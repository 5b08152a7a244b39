"""Several paths measured at the same moments: their results, and how each differs from the first.

The packet plane pairs and judges (`rust/plane/src/comparison.rs` says how); here is what its numbers mean.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from twoway.analysis.result import Result

SIGNIFICANT = 0.05
"""A difference with a smaller p-value is more than chance."""
COMPARED = {
    "round_trip": "round trip",
    "forward": "forward",
    "backward": "backward",
    "loss": "loss",
}
"""What is compared -> its label, in the order of outputs."""


@dataclass(frozen=True, slots=True)
class Difference:
    """How a path differs from the first of its set, judged in pairs of packets of the same slot."""

    path: str
    """Its name."""
    reference: str
    """Name of the first."""
    compared: str
    """A name of `COMPARED`. One-way delays differ by their true amount even if no clock is synchronised."""
    pairs: int
    """Slots in which both paths have the value."""
    stretches: int
    """Parts of equal length that the run was cut into, at most 64: each has one say in the test."""
    estimate: float | None
    """Value of `path` less that of `reference`: ns, or for loss a share from -1 to 1. None: no pairs."""
    low: float | None
    """The difference is between `low` and `high` with a confidence of 95 %. None: too few stretches to say, or loss."""
    high: float | None
    p_value: float | None
    """How often chance alone would make the paths differ so much or more: Wilcoxon's signed-rank test over the
    stretches, two-sided, exact, and adjusted for the number of paths by Holm's rule. None: no pairs."""

    @property
    def significant(self) -> bool:
        """Whether it is more than chance."""
        return self.p_value is not None and self.p_value < SIGNIFICANT


@dataclass(frozen=True, slots=True)
class PathSetResult:
    """The result of one measurement over several paths."""

    results: Mapping[str, Result]
    """Name of the path -> what was measured on it, in the order in which they were asked for."""
    differences: Sequence[Difference]
    """Of each path but the first, in the order of `COMPARED`."""
    unpaired: int
    """Slots that could not be compared, because some path's packet was not heard of in time."""

    @property
    def reference(self) -> str:
        """Name of the path that the others are compared with."""
        return next(iter(self.results))
