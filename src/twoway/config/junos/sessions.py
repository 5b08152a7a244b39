"""Statements of a test-session: of TWAMP, and of an RPM test that is measured by STAMP instead. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from twoway.config.junos.accepting import UNKNOWN, by_rule, number
from twoway.config.junos.outcome import NotUsedError
from twoway.config.junos.tables import CONNECTION, RPM_NO_EQUIVALENT, SESSION, THRESHOLDS, TIME_THRESHOLDS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from twoway.config.document import Data, Path


def twamp_session(path: Path, words: tuple[str, ...]) -> Iterator[tuple[Path, Data]]:
    """Of TWAMP."""
    match words:
        case ():
            yield path, {}
        case ("traps", trap):
            yield (*path, "traps"), [trap]
        case ("thresholds", name, "average") if name in TIME_THRESHOLDS:
            yield (*path, "thresholds", name, "average"), True
        case ("thresholds", name, "limit-value", limit) | ("thresholds", name, limit) if name in TIME_THRESHOLDS:
            yield (*path, "thresholds", name, "limit-value"), number(limit)
        case ("thresholds", *_):
            yield by_rule((*path, "thresholds"), words[1:], THRESHOLDS)
        case ("target" | "target-address", "address", address) | ("target" | "target-address", address):
            yield (*path, "target", "address"), address
        case (("target" | "target-address"), "local-link", interface) | ("local-link", interface):
            yield (*path, "target", "local-link"), interface
        case ("target" | "target-address", address, "local-link", interface):
            yield (*path, "target", "address"), address
            yield (*path, "target", "local-link"), interface
        case ("source-routing", ("forward" | "return") as way, *rest):
            yield from _nodes((*path, "source-routing", way), tuple(rest))
        case ("source-routing",):
            yield (*path, "source-routing"), {}
        case ("probe-interval", "interval", interval):
            yield (*path, "probe-interval"), number(interval)
        case _:
            yield by_rule(path, words, SESSION)


def _nodes(path: Path, words: tuple[str, ...]) -> Iterator[tuple[Path, Data]]:
    """One way of source-routing: its segments, of which Junos has one in a statement."""
    match words:
        case ():
            yield path, {}
        case (("srmpls-nodes" | "srv6-nodes") as kind, node):
            yield (*path, kind), [number(node)]
        case _:
            raise NotUsedError(UNKNOWN)


def rpm_test(connection: Path, test: str, words: tuple[str, ...]) -> Iterator[tuple[Path, Data]]:
    """Of RPM. What belongs to a control-connection of ours stands in the test there."""
    path = (*connection, "test-session", test)
    match words:
        case (("test-interval" | "routing-instance"), *_):
            yield by_rule(connection, words, CONNECTION)
        case ("target", "inet6-address", address):
            yield (*path, "target", "address"), address
        case ("inet6-options", "source-address", address):
            yield (*path, "source-address"), address
        case ("hardware-timestamp",):
            yield (*path, "offload-type"), "hardware"
        case (name, *_) if name in RPM_NO_EQUIVALENT or words[:2] == ("target", "url"):
            raise NotUsedError(RPM_NO_EQUIVALENT["url" if name == "target" else name])
        case _:
            yield from twamp_session(path, words)
