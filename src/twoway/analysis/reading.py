"""How a metric's value is read from a `Summary`: what is more than a look-up, and why a value is not there.

`twoway.analysis.metrics` names what is read here; each reader gives the value, or `Unknown` with the reason in a few
words, so that no output invents a number and none has to find out again why there is none.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from twoway.analysis.clock import offset_unknown

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from twoway.analysis.result import Distribution, Summary

LOST_WAYS = ("lost_forward", "lost_backward", "lost_unattributed")
DUPLICATES = ("duplicates_forward", "duplicates_backward", "duplicates_unattributed")
REJECTED = (
    "rejected_short",
    "rejected_hmac",
    "rejected_mismatch",
    "rejected_micro_session",
    "rejected_unknown_sequence",
    "rejected_expired",
)


@dataclass(frozen=True, slots=True)
class Unknown:
    """A value that cannot be known."""

    why: str
    """The reason in a few words, for the place where the value would stand."""


@dataclass(frozen=True, slots=True)
class Spread:
    """A distribution that is not empty, as a metric sees it: the packet plane's, moved by `shift_ns`."""

    distribution: Distribution
    shift_ns: int = 0

    @property
    def count(self) -> int:
        """Packets that have the value: the n of its percentiles."""
        return self.distribution.count

    def statistic(self, name: str) -> int | None:
        """`min`, `mean`, `median`, `max`, `stddev` or `pN` (a percentile such as `p99.9`), rounded to whole ns."""
        value: float | None
        match name:
            case "min":
                value = self.distribution.min_ns
            case "max":
                value = self.distribution.max_ns
            case "mean":
                value = self.distribution.mean_ns
            case "median":
                value = self.distribution.quantile(0.5)
            case "stddev":  # the one that a shift leaves alone
                value = self.distribution.stddev_ns
                return None if value is None else round(value)
            case _:
                value = self.distribution.quantile(percentile_of(name) / 100)
        return None if value is None else round(value) + self.shift_ns


def percentile_of(statistic: str) -> float:
    """The N of `pN`. Raises `ValueError` for anything else, and outside of 0 to 100."""
    digits = statistic.removeprefix("p")
    if digits == statistic or not digits.replace(".", "", 1).isdecimal() or float(digits) > 100:
        raise ValueError(f"{statistic!r} is not a percentile such as p99.9")
    return float(digits)


def percentile_name(percentile: float) -> str:
    """99.9 -> `p99.9`, 95.0 -> `p95`; always digits that `percentile_of` reads."""
    return "p" + f"{abs(percentile):.8f}".rstrip("0").rstrip(".")


def total(summary: Summary, *counters: str) -> int:
    """The sum of some of the packet plane's counters."""
    return sum(summary.counter(name) for name in counters)


def total_of(*counters: str) -> Callable[[Summary], int]:
    """A reader of a sum."""
    return lambda summary: total(summary, *counters)


def share_of(parts: tuple[str, ...], whole: tuple[str, ...]) -> Callable[[Summary], float | Unknown]:
    """A reader of the proportion of some counters in others."""

    def read(summary: Summary) -> float | Unknown:
        count = total(summary, *whole)
        if count:
            return total(summary, *parts) / count
        return Unknown("nothing sent" if summary.counter("sent") == 0 else "no packet counts here")

    return read


def missing_of(part: str, whole: str) -> Callable[[Summary], float | Unknown]:
    """A reader of what of a count did not come."""

    def read(summary: Summary) -> float | Unknown:
        count = summary.counter(whole)
        return max(0.0, 1 - summary.counter(part) / count) if count else Unknown(_NOT_TOLD)

    return read


def asked_spread(name: str) -> Callable[[Summary], Spread | Unknown]:
    """A reader of a distribution that only a TLV fills."""

    def read(summary: Summary) -> Spread | Unknown:
        distribution = summary.distribution(name)
        return Spread(distribution) if distribution.count else Unknown(_NOT_TOLD)

    return read


def name_of(name: str, names: Mapping[int, str]) -> Callable[[Summary], str | Unknown]:
    """A reader of a fact whose codes have names."""

    def read(summary: Summary) -> str | Unknown:
        code = summary.fact(name)
        return Unknown(_NOT_TOLD) if code is None else names.get(code, f"code {code}")

    return read


def location_of(name: str) -> Callable[[Summary], int | str | Unknown]:
    """A reader of a field of Location."""
    return lambda summary: summary.location.get(name, Unknown(_NOT_TOLD))


_NOT_TOLD = "no TLV told it"


def no_direction(summary: Summary) -> str | None:
    """Why nothing tells forward from backward, None where the reflector's own numbering does."""
    match summary.fact("reflector_stateful"):
        case 1:
            return None
        case 0:
            return "the reflector does not number its replies"
        case _ if total(summary, "received", "late") == 0:
            return "no replies"
        case _:
            return "the reflector may not number its replies"


def loss_of(direction: str, *whole: str) -> Callable[[Summary], float | Unknown]:
    """A reader of the loss in one direction, among packets of which it is known whether they passed it."""
    share = share_of((f"lost_{direction}",), ("received", "late", *whole))

    def read(summary: Summary) -> float | Unknown:
        why = no_direction(summary)
        if why is not None and summary.counter("lost_unattributed"):
            return Unknown(why)
        # A loss counts when it is certain, its direction when that is: of a part of a test-session they may be apart.
        if total(summary, *LOST_WAYS) != summary.counter("lost"):
            return Unknown("directions became known in another interval")
        return share(summary)

    return read


def by_direction(counter: str) -> Callable[[Summary], int | Unknown]:
    """A reader of a counter that only a reflector's own numbering can tell."""

    def read(summary: Summary) -> int | Unknown:
        why = no_direction(summary)
        count = summary.counter(counter)
        return count if count or why is None else Unknown(why)

    return read


def no_value(summary: Summary) -> str:
    """Why there is nothing in a distribution (or fact) that replies make."""
    if total(summary, "received", "late") == 0:
        return "no replies"
    if summary.counter("far_timestamps_unusable"):
        return "the reflector's timestamps are unusable"
    return "too few replies"


def not_sent(summary: Summary) -> str:
    """Why there is nothing in a distribution that departures make."""
    return "nothing sent" if summary.counter("sent") == 0 else "no departure was timed"


def spread_of(name: str, why: Callable[[Summary], str] = no_value) -> Callable[[Summary], Spread | Unknown]:
    """A reader of a distribution of the packet plane."""

    def read(summary: Summary) -> Spread | Unknown:
        distribution = summary.distribution(name)
        return Spread(distribution) if distribution.count else Unknown(why(summary))

    return read


def one_way(name: str) -> Callable[[Summary], Spread | Unknown]:
    """A reader of a one-way delay: known only where both clocks can carry it."""
    plain = spread_of(name)

    def read(summary: Summary) -> Spread | Unknown:
        why = offset_unknown(summary)
        return plain(summary) if why is None else Unknown(why)

    return read


def above_minimum(name: str) -> Callable[[Summary], Spread | Unknown]:
    """A reader of PDV (RFC 5481 section 4.2): the same distribution, moved so that its minimum is 0."""

    def read(summary: Summary) -> Spread | Unknown:
        distribution = summary.distribution(name)
        minimum = distribution.min_ns
        return Unknown(no_value(summary)) if minimum is None else Spread(distribution, -minimum)

    return read


def error_bound(summary: Summary) -> int | Unknown:
    """The bound of the error of one-way delay."""
    bound = summary.fact("one_way_error_bound_ns")
    return Unknown(offset_unknown(summary) or "offset unknown") if bound is None else bound


def fact_of(name: str, why: Callable[[Summary], str]) -> Callable[[Summary], int | Unknown]:
    """A reader of a fact that has a reason of its own for being unknown."""

    def read(summary: Summary) -> int | Unknown:
        value = summary.fact(name)
        return Unknown(why(summary)) if value is None else value

    return read


def far_error(summary: Summary) -> str:
    """Why the reflector's clock error is not known."""
    return no_value(summary) if total(summary, "received", "late") == 0 else "the reflector does not say"


def no_numbering(summary: Summary) -> str:
    """Why it is not known whether the reflector numbers its replies itself."""
    return no_value(summary) if total(summary, "received", "late") == 0 else "its numbers do not tell"
