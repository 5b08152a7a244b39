"""Reading the JSON documents of `twoway ping` and `twoway reflector`, with the words of the tests."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, cast

ACCOUNTING: Final = (
    "not_sent",
    "late",
    "pending",
    "lost_forward",
    "lost_backward",
    "lost_unattributed",
    "duplicates_forward",
    "duplicates_backward",
    "duplicates_unattributed",
    "reordered_round_trip",
    "rejected_short",
    "rejected_hmac",
    "rejected_mismatch",
    "rejected_unknown_sequence",
    "rejected_expired",
    "icmp_errors",
    "socket_drops",
    "samples_dropped",
)
"""Counters that are 0 unless a scenario names them."""
BY_DIRECTION: Final = ("reordered_forward", "reordered_backward")
"""The same, but null where nothing proved that the Session-Reflector numbers its replies."""
_SECTIONS: Final = ("packets", "ratios", "delay", "variation", "marks", "tlvs", "clock", "tool")
_FATES: Final = ("received", "late", "pending", "lost_forward", "lost_backward", "lost_unattributed")


@dataclass(frozen=True, slots=True)
class PingDocument:
    """What `twoway ping --json` printed."""

    document: Mapping[str, object]

    @property
    def _metrics(self) -> dict[str, object]:
        """Every metric by its name, whatever section it stands in."""
        found: dict[str, object] = {}
        for name in _SECTIONS:
            section = self.document[name]
            assert isinstance(section, dict)
            found.update(section)
        return found

    def counter(self, name: str) -> int:
        value = self._metrics[name]
        assert isinstance(value, int), f"{name} is {value!r}"
        return value

    def optional_counter(self, name: str) -> int | None:
        """None: the document says that it cannot be known, and why."""
        if self._metrics[name] is None:
            unknown = self.document["unknown"]
            assert isinstance(unknown, dict)
            assert unknown[name], f"{name} is null without a reason"
            return None
        return self.counter(name)

    def samples(self) -> list[dict[str, int]]:
        """One row for each packet (`--samples`), the columns that are numbers."""
        rows = self.document["samples"]
        assert isinstance(rows, list)
        return [{name: value for name, value in row.items() if isinstance(value, int)} for row in rows]

    def sample_sources(self) -> set[tuple[str, str]]:
        """The sources of T1 and T4 that occur in the samples."""
        rows = self.document["samples"]
        assert isinstance(rows, list)
        return {(row["t1_source"], row["t4_source"]) for row in rows}

    def counters(self, *names: str) -> dict[str, int]:
        return {name: self.counter(name) for name in names}

    def tally(self, name: str) -> dict[int, int]:
        value = self._metrics[name]
        assert isinstance(value, dict), f"{name} is {value!r}"
        return {int(number): count for number, count in value.items()}

    def spread(self, name: str) -> dict[str, int]:
        """Statistics of a distribution in ns, and its `count`."""
        value = self._metrics[name]
        assert isinstance(value, dict), f"{name} is {value!r}"
        return value

    def fact(self, name: str) -> int | None:
        value = self._metrics[name]
        assert value is None or isinstance(value, int), f"{name} is {value!r}"
        return value

    def check_accounting(self) -> None:
        """Every packet sent has exactly one fate."""
        assert self.counter("sent") == sum(self.counters(*_FATES).values()), self.counters("sent", *_FATES)


def reflector_document(text: str) -> dict[str, dict[str, int]]:
    """The last JSON document that a reflector printed."""
    decoder = json.JSONDecoder()
    documents: list[object] = []
    rest = text.strip()
    while rest:
        document, end = decoder.raw_decode(rest)
        documents.append(document)
        rest = rest[end:].lstrip()
    return cast("dict[str, dict[str, int]]", documents[-1])
