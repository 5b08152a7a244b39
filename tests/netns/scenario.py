"""Scenario files: what the forwarder does to which packets, and what the measurement must say about it.

A scenario is a TOML file in `tests/scenarios/`. Every key is known here; an unknown one is refused with its path, so a
typing error cannot turn a test into one that asserts nothing. Durations are strings with a unit ("5ms").

Packets are numbered from 0 in the order in which the forwarder receives the UDP packets of one direction: "forward" is
from the Session-Sender to the Session-Reflector, "backward" the way back. A duplicate or a held packet takes no number.
"""

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Self

DIRECTIONS: Final = ("forward", "backward")
ACTIONS: Final = ("drop", "delay", "duplicate", "reorder", "remark", "set_ttl", "decrement_ttl", "corrupt")
_UNITS: Final = {"ns": 1, "us": 1_000, "ms": 1_000_000, "s": 1_000_000_000}


class ScenarioError(ValueError):
    """A scenario file says something that this harness does not understand."""


def duration_ns(text: object, where: str) -> int:
    """A duration such as "200ms" in nanoseconds."""
    match = re.fullmatch(r"(\d+)(ns|us|ms|s)", text) if isinstance(text, str) else None
    if match is None:
        raise ScenarioError(f"{where}: {text!r} is not a duration such as '200ms'")
    return int(match[1]) * _UNITS[match[2]]


@dataclass(frozen=True, slots=True)
class PacketNumbers:
    """A set of packet numbers, written "3, 10-14, 20-" (the last without end) or "every 7" (0, 7, 14, ...)."""

    ranges: tuple[tuple[int, int | None], ...]
    every: int | None = None

    @classmethod
    def parse(cls, text: object, where: str) -> Self:
        if not isinstance(text, str):
            raise ScenarioError(f"{where}: {text!r} is not a string of packet numbers")
        if match := re.fullmatch(r"every ([1-9]\d*)", text):
            return cls((), int(match[1]))
        ranges: list[tuple[int, int | None]] = []
        for part in text.split(","):
            match = re.fullmatch(r"\s*(\d+)(-(\d*))?\s*", part)
            if match is None:
                raise ScenarioError(f"{where}: {part!r} is not a packet number or a range")
            first = int(match[1])
            last = first if match[2] is None else int(match[3]) if match[3] else None
            ranges.append((first, last))
        return cls(tuple(ranges))

    def __contains__(self, number: int) -> bool:
        if self.every is not None:
            return number % self.every == 0
        return any(first <= number and (last is None or number <= last) for first, last in self.ranges)


@dataclass(frozen=True, slots=True)
class Impairment:
    """One thing done to some packets of one direction. Fields other than the action's own keep their neutral value."""

    direction: str
    packets: PacketNumbers
    action: str
    delay_ns: int = 0
    """`delay`: how long the packet is held."""
    copies: int = 1
    """`duplicate`: how many extra copies leave right behind the packet."""
    behind: int = 1
    """`reorder`: how many later packets of this direction leave first."""
    value: int = 0
    """`remark`: the new octet of DSCP and ECN; `set_ttl`: the TTL; `decrement_ttl`: by how much."""
    offset: int = 0
    """`corrupt`: the octet of the UDP payload that is changed, with a checksum that is valid again."""
    xor: int = 0xFF


@dataclass(frozen=True, slots=True)
class Measurement:
    """How `twoway ping` is run."""

    count: int
    interval_ns: int
    timeout_ns: int
    protocol: str = "stamp"
    stateful: bool = True
    families: tuple[int, ...] = (4, 6)
    dscp_ecn: int = 0
    ttl: int = 255
    authenticated: bool = False
    dscp_ecn_monitoring: bool = False
    reflector_mode: str = "auto"
    """"stateful" where nothing in the replies could prove that the Session-Reflector numbers them itself."""


@dataclass(frozen=True, slots=True)
class Scenario:
    """One scenario file."""

    name: str
    description: str
    measurement: Measurement
    impairments: tuple[Impairment, ...]
    counters: Mapping[str, int]
    """Expected value of each summary counter named; the accounting counters that are not named must be 0."""
    unchecked: tuple[str, ...]
    """Counters that this scenario says nothing about, because RFCs leave them open in its case."""
    loss_bursts: Mapping[int, int] | None
    ttls: Mapping[str, Mapping[int, int]] = field(default_factory=dict)
    dscp_ecns: Mapping[str, Mapping[int, int]] = field(default_factory=dict)
    exit_code: int = 0


class _Table:
    """A TOML table from which every key must be taken."""

    def __init__(self, table: object, where: str) -> None:
        if not isinstance(table, dict):
            raise ScenarioError(f"{where}: a table is needed")
        self._table: dict[str, object] = dict(table)
        self.where = where

    def take(self, key: str, default: object = None) -> object:
        if key not in self._table and default is None:
            raise ScenarioError(f"{self.where}: {key} is missing")
        return self._table.pop(key, default)

    def has(self, key: str) -> bool:
        return key in self._table

    def integer(self, key: str, default: int | None = None) -> int:
        value = self.take(key, default)
        if not isinstance(value, int) or isinstance(value, bool):
            raise ScenarioError(f"{self.where}.{key}: {value!r} is not an integer")
        return value

    def text(self, key: str, default: str | None = None) -> str:
        value = self.take(key, default)
        if not isinstance(value, str):
            raise ScenarioError(f"{self.where}.{key}: {value!r} is not a string")
        return value

    def flag(self, key: str, *, default: bool) -> bool:
        value = self.take(key, default)
        if not isinstance(value, bool):
            raise ScenarioError(f"{self.where}.{key}: {value!r} is not true or false")
        return value

    def histogram(self, key: str) -> dict[int, int]:
        value = self.take(key)
        if not isinstance(value, dict) or not all(isinstance(count, int) for count in value.values()):
            raise ScenarioError(f"{self.where}.{key}: a table of number = packets is needed")
        return {int(number, 0): count for number, count in value.items()}

    def close(self) -> None:
        if self._table:
            raise ScenarioError(f"{self.where}: unknown {', '.join(sorted(self._table))}")


def _impairment(raw: object, where: str) -> Impairment:
    table = _Table(raw, where)
    direction, action = table.text("direction"), table.text("action")
    if direction not in DIRECTIONS:
        raise ScenarioError(f"{where}: unknown direction {direction!r}")
    packets = PacketNumbers.parse(table.take("packets"), f"{where}.packets")
    match action:
        case "drop":
            made = Impairment(direction, packets, action)
        case "delay":
            made = Impairment(direction, packets, action, delay_ns=duration_ns(table.take("delay"), f"{where}.delay"))
        case "duplicate":
            made = Impairment(direction, packets, action, copies=table.integer("copies", 1))
        case "reorder":
            made = Impairment(direction, packets, action, behind=table.integer("behind", 1))
        case "remark" | "set_ttl" | "decrement_ttl":
            made = Impairment(direction, packets, action, value=table.integer("value"))
        case "corrupt":
            offset = table.integer("offset")
            made = Impairment(direction, packets, action, offset=offset, xor=table.integer("xor", 0xFF))
        case _:
            raise ScenarioError(f"{where}: unknown action {action!r}; known: {', '.join(ACTIONS)}")
    table.close()
    return made


def _measurement(raw: object, where: str) -> Measurement:
    table = _Table(raw, where)
    families = table.take("families", [4, 6])
    if not isinstance(families, list) or not set(families) <= {4, 6}:
        raise ScenarioError(f"{where}.families: a list of 4 and 6 is needed")
    made = Measurement(
        count=table.integer("count"),
        interval_ns=duration_ns(table.take("interval"), f"{where}.interval"),
        timeout_ns=duration_ns(table.take("timeout"), f"{where}.timeout"),
        protocol=table.text("protocol", "stamp"),
        stateful=table.flag("stateful", default=True),
        families=tuple(families),
        dscp_ecn=table.integer("dscp_ecn", 0),
        ttl=table.integer("ttl", 255),
        authenticated=table.flag("authenticated", default=False),
        dscp_ecn_monitoring=table.flag("dscp_ecn_monitoring", default=False),
        reflector_mode=table.text("reflector_mode", "auto"),
    )
    table.close()
    return made


def load_scenario(path: Path) -> Scenario:
    """Read one file; raises `ScenarioError` with the path of the key at fault."""
    top = _Table(tomllib.loads(path.read_text(encoding="utf-8")), path.name)
    description = top.text("description")
    measurement = _measurement(top.take("measurement"), f"{path.name}: measurement")
    raw = top.take("impairment", [])
    if not isinstance(raw, list):
        raise ScenarioError(f"{path.name}: impairment is written [[impairment]]")
    impairments = tuple(_impairment(each, f"{path.name}: impairment {number}") for number, each in enumerate(raw))
    expected = _Table(top.take("expected"), f"{path.name}: expected")
    counters_table = expected.take("counters", {})
    if not isinstance(counters_table, dict) or not all(isinstance(value, int) for value in counters_table.values()):
        raise ScenarioError(f"{path.name}: expected.counters: a table of name = packets is needed")
    unchecked = expected.take("unchecked", [])
    if not isinstance(unchecked, list) or not all(isinstance(name, str) for name in unchecked):
        raise ScenarioError(f"{path.name}: expected.unchecked: a list of counter names is needed")
    bursts = expected.histogram("loss_bursts") if expected.has("loss_bursts") else None
    seen: dict[str, dict[str, dict[int, int]]] = {}
    for key in ("ttls", "dscp_ecns"):
        where = _Table(expected.take(key, {}), f"{path.name}: expected.{key}")
        seen[key] = {place: where.histogram(place) for place in ("far", "returned") if where.has(place)}
        where.close()
    scenario = Scenario(
        name=path.stem,
        description=description,
        measurement=measurement,
        impairments=impairments,
        counters=counters_table,
        unchecked=tuple(unchecked),
        loss_bursts=bursts,
        ttls=seen["ttls"],
        dscp_ecns=seen["dscp_ecns"],
        exit_code=expected.integer("exit_code", 0),
    )
    expected.close()
    top.close()
    return scenario
