"""A Session-Reflector's counters as one JSON document: integers, nanoseconds, never a NaN."""

from __future__ import annotations

from typing import TYPE_CHECKING

from twoway.analysis.reading import Spread
from twoway.export.fields import SCHEMA_VERSION, STATISTICS, JsonValue, document_of

if TYPE_CHECKING:
    from twoway.analysis.reflector import ReflectorState
    from twoway.analysis.result import Distribution

PERCENTILES = ("p95", "p99", "p99.9")


def document(state: ReflectorState) -> dict[str, JsonValue]:
    """Everything that `state` knows. `dispositions` sum up to `received`."""
    return {
        "type": "reflector",
        "schema": SCHEMA_VERSION,
        "at_ns": state.at_ns,
        "local_addresses": [{"address": address, "port": port} for address, port in state.local_addresses],
        "obtained": dict(state.obtained),
        "received": state.received,
        "reflected": state.reflected,
        "dispositions": dict(state.counters),
        "own_counters": dict(state.own_counters),
        "distributions": {name: _distribution(values) for name, values in state.distributions.items()},
    }


def _distribution(values: Distribution) -> dict[str, JsonValue] | None:
    if not values.count:
        return None
    spread = Spread(values)
    percentiles: dict[str, JsonValue] = {name: spread.statistic(name) for name in PERCENTILES}
    return {**document_of(STATISTICS, spread), "percentiles_ns": percentiles}
