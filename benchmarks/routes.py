"""Tracked routes: how soon the kernel's table follows what is measured, and what ten thousand of them cost.

A daemon in one namespace measures what is in another, across a veth pair, and withdraws routes. At the other end is
this program itself (`far_end.py`), which chooses the probe that is one too many, and hears of every route from the
kernel. So both moments are of one clock, and what is between them is the way of an answer, the packet plane, the
policy, the daemon and netlink. A notification has come when it is read, a little later than the change.
"""

from __future__ import annotations

import contextlib
import json
import random
import statistics
import tempfile
import time
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from far_end import AT_ONCE, NEVER, NS_PER_MS, Answer, FarEnd, Later, Probe
from figures import Findings, Table, quantile
from laboratory import NS_PER_S, UnavailableError, running, veth_pair

if TYPE_CHECKING:
    from collections.abc import Iterator

    from laboratory import Laboratory, Process, Veth

GOAL_BEYOND_MS, GOAL_WITHDRAW_S = 50, 2.0
ROUTES, TESTS = 10_000, 100
_FIRST_PORT = 20_000
_PATIENCE_S = 60.0
_CORES = (0, 1)
"""Of the daemon, and of the other end."""

# How soon.
_WINDOW_MS, _GAP_MS, _TIMEOUT_MS = 1000, 20, 200
_LATE_MS, _LIMIT_MS = 60, 40
"""How long the answer is put off that is one too many, and what is too long."""
_AT_ONCE = 10
"""Sessions of each kind."""


@dataclass(frozen=True, slots=True)
class Kind:
    """A way in which a limit is met."""

    name: str
    limits: dict[str, object]
    since: str
    """From when it is counted."""
    allowed_ms: int
    """What must pass before anybody can know; the goal allows more, a whole window in any case."""


LONG = Kind(
    "an answer that took too long",
    {"rtt": {"limit-value": f"{_LIMIT_MS}ms", "maximum": True}},
    "that answer leaves",
    0,
)
LOST = Kind("one probe lost, where one is too many", {"loss": "1%"}, "that probe arrives", _TIMEOUT_MS)
HOLE = Kind("a black hole, where 10 % are too many", {"loss": "10%"}, "the first lost probe arrives", _WINDOW_MS)
KINDS = (LONG, LOST, HOLE)


@contextlib.contextmanager
def _daemon(
    lab: Laboratory, veth: Veth, sessions: int, probe: dict[str, object], routes: dict[str, object] | None
) -> Iterator[Process]:
    """One that measures the ports of the other end, each as a test-session `cN/s`."""
    session = {"target": veth.far_address, "probe-count": 0, "thresholds": {"own-faults": True}, **probe}
    connections = {
        f"c{number}": {
            "control-type": "light",
            "test-session": {"s": {**session, "destination-port": _FIRST_PORT + number}},
        }
        for number in range(sessions)
    }
    with tempfile.TemporaryDirectory(prefix="twoway-bench-") as name:
        folder = Path(name)
        document: dict[str, object] = {
            "client": {"control-connection": connections},
            "store": {"path": str(folder / "results.db")},
            "api": {"socket": str(folder / "api.sock")},
        }
        if routes is not None:
            document["routes"] = {"on-exit": "withdraw", **routes}
        file = folder / "twoway.yaml"
        file.write_text(json.dumps(document))
        with running([lab.our_program(), "run", file], netns=veth.near, core=_CORES[0]) as process:
            yield process


def _prefix(number: int) -> str:
    """Of a route, none of which holds an address of ours."""
    return f"10.{100 + (number >> 8)}.{number & 255}.0/24"


@dataclass(slots=True)
class Trial:
    """One session, its route, and what is done to it."""

    kind: Kind
    there: bool = False
    since_ns: int | None = None
    """When what is one too many happened; None: nothing is done to it now."""
    put_off: bool = False
    """Whether an answer of it waits."""
    next_ns: int = 0
    """When something is done to it next."""
    took_ms: list[float] = field(default_factory=list)
    unheard: int = 0
    """Trials at which nothing came of it."""


class Reaction:
    """All trials at once, each at a moment of its own."""

    def __init__(self, seed: int) -> None:
        self.trials = [Trial(kind) for kind in KINDS for _ in range(_AT_ONCE)]
        self._by_prefix = {_prefix(number): trial for number, trial in enumerate(self.trials)}
        self._random = random.Random(seed)  # noqa: S311  (it draws moments)
        self.begun = False

    def heard(self, probe: Probe) -> Answer:
        trial = self.trials[probe.session]
        if trial.since_ns is not None:
            if not self._is_given_up(trial, probe.at_ns):
                return NEVER if trial.kind is HOLE and trial.there else AT_ONCE
            trial.since_ns = None
        if not self.begun or not trial.there or trial.put_off or probe.at_ns < trial.next_ns:
            return AT_ONCE
        if trial.kind is LONG:
            trial.put_off = True
            return Later(_LATE_MS * NS_PER_MS)
        trial.since_ns = probe.at_ns
        return NEVER

    @staticmethod
    def _is_given_up(trial: Trial, now_ns: int) -> bool:
        """A probe that left late is no fact, however late: then nothing comes of it."""
        if trial.since_ns is None or now_ns < trial.since_ns + 3 * _WINDOW_MS * NS_PER_MS:
            return False
        trial.unheard += 1
        return True

    def sent(self, session: int, at_ns: int) -> None:
        """The answer that took too long has left. If the route has gone meanwhile, something else took it."""
        trial = self.trials[session]
        trial.put_off = False
        trial.since_ns = at_ns if trial.there else None

    def routed(self, prefix: str, there: bool, at_ns: int) -> None:
        trial = self._by_prefix[prefix]
        trial.there = there
        if there:  # the window is clear of it; the next moment is any within a window and more
            pause_ms = self._random.uniform(_GAP_MS, _WINDOW_MS / 2)
            trial.next_ns = at_ns + round(pause_ms * NS_PER_MS)
        elif trial.since_ns is not None:
            trial.took_ms.append((at_ns - trial.since_ns) / NS_PER_MS)
            trial.since_ns = None

    def took_ms(self, kind: Kind) -> list[float]:
        return [took for trial in self.trials if trial.kind is kind for took in trial.took_ms]


def react(lab: Laboratory, veth: Veth, samples: int) -> Reaction:
    """Do it to all kinds until each has so many samples."""
    reaction = Reaction(samples)
    far = FarEnd(veth.far, veth.near, veth.far_address, _FIRST_PORT, len(reaction.trials))
    try:
        far.heard, far.sent, far.routed = reaction.heard, reaction.sent, reaction.routed
        routes: dict[str, object] = {
            "route": {
                _prefix(number): {
                    "next-hop": {
                        veth.far_address: {
                            "test": f"c{number}/s",
                            "track": {"window": f"{_WINDOW_MS}ms", "limits": trial.kind.limits},
                        }
                    }
                }
                for number, trial in enumerate(reaction.trials)
            }
        }
        probe: dict[str, object] = {"probe-interval": f"{_GAP_MS}ms", "timeout": f"{_TIMEOUT_MS}ms"}
        lab.company.wait_for_quiet()
        with _daemon(lab, veth, len(reaction.trials), probe, routes):
            far.serve(lambda: all(trial.there for trial in reaction.trials), _PATIENCE_S, "all routes are there")
            reaction.begun = True
            patience_s = _PATIENCE_S + 5 * samples / _AT_ONCE * _WINDOW_MS / 1000
            far.serve(
                lambda: all(len(reaction.took_ms(kind)) >= samples for kind in KINDS), patience_s, "enough samples"
            )
    finally:
        far.close()
    return reaction


@dataclass(slots=True)
class Mass:
    """Many routes, and when they change."""

    there: dict[str, bool] = field(default_factory=dict)
    changed_ns: list[int] = field(default_factory=list)
    silent: bool = False
    _there: int = 0

    def heard(self, _probe: Probe) -> Answer:
        return NEVER if self.silent else AT_ONCE

    def routed(self, prefix: str, there: bool, at_ns: int) -> None:
        before, self.there[prefix] = self.there.get(prefix, False), there
        self._there += there - before
        self.changed_ns.append(at_ns)

    def is_at(self, count: int) -> bool:
        """Whether so many are there."""
        return self._there == count


@dataclass(slots=True)
class Moves:
    """What it took to install or to withdraw all routes, each time."""

    took_s: list[float] = field(default_factory=list)
    """From the first change in the kernel to the last."""
    cpu_s: list[float] = field(default_factory=list)
    """CPU of the daemon meanwhile."""


@dataclass(frozen=True, slots=True)
class Masses:
    """What many routes cost."""

    install: Moves
    withdraw: Moves
    idle: float
    """Share of a core, with routes that do not move."""
    idle_without: float
    """The same daemon without routes."""


def masses(lab: Laboratory, veth: Veth, routes: int, tests: int, rounds: int, seconds: float) -> Masses:
    """Withdraw and install all routes so many times, and look at them at rest."""
    gap_ms, timeout_ms = 100, 200
    probe: dict[str, object] = {"probe-interval": f"{gap_ms}ms", "timeout": f"{timeout_ms}ms"}
    document: dict[str, object] = {
        "track": {"window": "1s", "limits": {"loss": "20%"}},
        "route": {
            _prefix(number): {"next-hop": {veth.far_address: {"test": f"c{number % tests}/s"}}}
            for number in range(routes)
        },
    }
    mass, install, withdraw = Mass(), Moves(), Moves()
    far = FarEnd(veth.far, veth.near, veth.far_address, _FIRST_PORT, tests)
    try:
        far.heard, far.routed = mass.heard, mass.routed
        with _daemon(lab, veth, tests, probe, document) as process:
            far.serve(partial(mass.is_at, routes), _PATIENCE_S, f"{routes} routes are there")
            lab.company.wait_for_quiet()
            idle = _idle(far, process, seconds)
            for _ in range(rounds):
                for moves, silent in ((withdraw, True), (install, False)):
                    mass.changed_ns.clear()
                    mass.silent = silent
                    far.serve(lambda: bool(mass.changed_ns), _PATIENCE_S, "a test fails, or is well again")
                    used = process.run_time_ns()
                    wanted = 0 if silent else routes
                    far.serve(partial(mass.is_at, wanted), _PATIENCE_S, f"{wanted} routes are there")
                    moves.cpu_s.append((process.run_time_ns() - used) / NS_PER_S)
                    moves.took_s.append((mass.changed_ns[-1] - mass.changed_ns[0]) / NS_PER_S)
                    far.serve_for(2.0)
        with _daemon(lab, veth, tests, probe, None) as process:
            begun = far.answered
            far.serve(lambda: far.answered >= begun + 10 * tests, _PATIENCE_S, "all tests run")
            lab.company.wait_for_quiet()
            without = _idle(far, process, seconds)
    finally:
        far.close()
    return Masses(install, withdraw, idle, without)


def _idle(far: FarEnd, process: Process, seconds: float) -> float:
    """Share of a core that the daemon uses while nothing but probes comes and goes."""
    far.serve_for(seconds / 2)  # until what was told is in the store, too
    since, used = time.monotonic(), process.run_time_ns()
    far.serve_for(seconds)
    return (process.run_time_ns() - used) / NS_PER_S / (time.monotonic() - since)


def benchmark(lab: Laboratory, *, quick: bool) -> Findings:
    """The section "routes" of docs/performance.md."""
    try:
        import pyroute2  # noqa: F401  (whether it is there)
    except ImportError:
        raise UnavailableError("no pyroute2: pip install 'twoway[routes]'") from None
    samples, routes, tests, rounds, seconds = (20, 500, 10, 1, 2.0) if quick else (500, ROUTES, TESTS, 5, 30.0)
    findings = Findings(
        "routes",
        f"One daemon on core 0 in a namespace; at the other end of a veth pair, on core 1, what answers its probes and "
        f"hears the kernel's routes. How soon: {len(KINDS) * _AT_ONCE} sessions of a probe each {_GAP_MS} ms with a "
        f"timeout of {_TIMEOUT_MS} ms, each with a route and a window of {_WINDOW_MS} ms. Many: {routes:,} routes on "
        f"{tests} tests of a probe each 100 ms.",
    )
    with veth_pair() as veth:
        reaction = react(lab, veth, samples)
        _tell_reaction(findings, reaction)
        many = masses(lab, veth, routes, tests, rounds, seconds)
    _tell_masses(findings, many, routes)
    return findings


def _tell_reaction(findings: Findings, reaction: Reaction) -> None:
    table = Table(
        "From the packet that is one too many to the route's change in the kernel, ms",
        ("what", "counted from", "samples", "p50", "p99", "max", "came to nothing"),
        note=f"A lost probe is one only after its timeout of {_TIMEOUT_MS} ms. Came to nothing: the probe had left "
        "late, and what this host disturbed decides nothing.",
    )
    findings.tables.append(table)
    for kind in KINDS:
        took = reaction.took_ms(kind)
        p50, p99 = quantile(took, 0.5), quantile(took, 0.99)
        unheard = sum(trial.unheard for trial in reaction.trials if trial.kind is kind)
        table.add(kind.name, kind.since, f"{len(took):,}", p50, p99, max(took), f"{unheard:,}")
        words = {0: "", _TIMEOUT_MS: "the timeout and ", _WINDOW_MS: "the window and "}[kind.allowed_ms]
        findings.goal(
            f"{kind.name}: p99 within {words}{GOAL_BEYOND_MS} ms ({kind.allowed_ms + GOAL_BEYOND_MS:,} ms)",
            f"{p99:,.1f} ms",
            met=p99 <= kind.allowed_ms + GOAL_BEYOND_MS,
        )


def _tell_masses(findings: Findings, many: Masses, routes: int) -> None:
    table = Table(
        f"{routes:,} routes, s",
        ("what", "times", "min", "median", "max", "CPU of the daemon, median"),
        note="From the first change in the kernel to the last. Tests fail and pass within 100 ms of each other.",
    )
    findings.tables.append(table)
    for name, moves in (("withdraw all", many.withdraw), ("install all", many.install)):
        took, cpu = moves.took_s, statistics.median(moves.cpu_s)
        table.add(name, f"{len(took)}", min(took), statistics.median(took), max(took), cpu)
    table = Table("At rest, share of a core", ("what", "CPU"))
    findings.tables.append(table)
    table.add(f"with {routes:,} routes", f"{many.idle:.2%}")
    table.add("the same tests without routes", f"{many.idle_without:.2%}")
    if routes == ROUTES:
        findings.goal(
            f"{routes:,} routes on {TESTS} tests: all withdrawn in less than {GOAL_WITHDRAW_S:g} s",
            f"{max(many.withdraw.took_s):.2f} s at most",
            met=max(many.withdraw.took_s) < GOAL_WITHDRAW_S,
        )
