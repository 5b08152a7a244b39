"""A Session-Reflector's counters for people: every disposition that occurred, then the reflector's own state."""

from __future__ import annotations

from typing import TYPE_CHECKING

from twoway.analysis.reading import Spread
from twoway.analysis.reflector import DISPOSITIONS, DISTRIBUTIONS
from twoway.export.quantities import duration, endpoint, moment, plural

if TYPE_CHECKING:
    from collections.abc import Sequence

    from twoway.analysis.reflector import ReflectorState


def report(state: ReflectorState) -> str:
    """What was received and what became of it. No newline at the end."""
    where = ", ".join(endpoint(address, port) for address, port in state.local_addresses)
    dropped = state.received - state.reflected
    lines = [
        f"Session-Reflector on {where}, {moment(state.at_ns)}",
        f"{plural(state.received, 'packet')} received, {state.reflected} reflected, {dropped} dropped",
    ]
    order = {name: index for index, name in enumerate(DISPOSITIONS)}
    counted = sorted(state.counters.items(), key=lambda item: order.get(item[0], len(order)))
    lines += _table([(name, count, DISPOSITIONS.get(name, "")) for name, count in counted if count])
    own = [(name.replace("_", " "), count, "") for name, count in state.own_counters.items()]
    lines += ["This reflector", *_table([row for row in own if row[1] or row[0] == "socket drops"])]
    for name, distribution in state.distributions.items():
        if distribution.count:
            spread = Spread(distribution)
            values = (f"{key} {duration(spread.statistic(key) or 0)}" for key in ("median", "p99", "max"))
            lines.append(f"  {DISTRIBUTIONS.get(name, name)}: {', '.join(values)}")
    lines += [f"  not granted: {option}: {instead}" for option, instead in sorted(state.obtained.items())]
    return "\n".join(lines)


def _table(rows: Sequence[tuple[str, int, str]]) -> list[str]:
    if not rows:
        return []
    name_width = max(len(name) for name, _, _ in rows)
    count_width = max(len(str(count)) for _, count, _ in rows)
    return [f"  {name:<{name_width}}  {count:>{count_width}}  {words}".rstrip() for name, count, words in rows]
