"""Tracked routes as they are printed: what is decided beside what the kernel has."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest

from twoway.analysis.views import RoutesView
from twoway.export import show_routes, show_text

from ..watched import FakeDaemon, next_hop_view, route_view

VIEWS = list(FakeDaemon().routes())
AGE = "2026-01-02 03:04:05"


def test_everything_of_each_route() -> None:
    head = "Next hop|SLA source|SLA test|State|Decided|Flaps|Changed (UTC)"
    up = ("changed by: core-fra/voice: loss 0% over 10s, limit 10%", "now: core-fra/voice: loss 0% over 10s, limit 10%")
    down = [line.replace("loss 0%", "loss 34%") for line in up]
    falling = f"down, penalty 1000, up in 12.3 s|1|{AGE}"
    settings = "metric 1, preference 1, tag 7, kernel's metric 1"
    lines = show_routes.detail(VIEWS)
    assert [re.sub("  +", "|", line.strip()) for line in lines] == [
        "Routing table: main",
        f"Destination: 203.0.113.0/24, {settings}",
        f"State: active by 192.0.2.1; 2 changes, last at {AGE} UTC",
        "Reason: core-fra/voice: loss 34% over 10s, limit 10%",
        head,
        f"192.0.2.1|stamp|core-fra/voice|active|up|0|{AGE}",
        *up,
        f"192.0.2.2|stamp|core-fra/voice|inactive|{falling}",
        *down,
        "Routing table: blue",
        f"Destination: 2001:db8::/32, routing instance blue, {settings}, no preempt",
        f"State: inactive, held; 2 changes, last at {AGE} UTC",
        "Reason: core-fra/voice: loss 34% over 10s, limit 10%",
        head,
        f"fe80::1%wan0|stamp|core-fra/voice|inactive|{falling}",
        *down,
    ]


@pytest.mark.parametrize(
    ("state", "used", "kernel", "words"),
    [
        ("active", True, ["192.0.2.1"], "active by 192.0.2.1"),
        ("inactive", False, None, "inactive: no next hop is good"),
        ("degraded", True, None, "degraded: 192.0.2.1 decided, the kernel has nothing"),
        ("degraded", True, ["192.0.2.9"], "degraded: 192.0.2.1 decided, the kernel has 192.0.2.9"),
        ("degraded", False, ["192.0.2.9"], "degraded: nothing decided, the kernel has 192.0.2.9"),
        ("dry-run", True, None, "dry run, would be active by 192.0.2.1"),
        ("dry-run", False, None, "dry run, would be inactive"),
    ],
)
def test_what_packets_take_stands_first(state: str, used: bool, kernel: list[str] | None, words: str) -> None:
    hop = replace(next_hop_view("192.0.2.1"), used=used)
    view = replace(route_view("203.0.113.0/24", "", [hop]), state=state, kernel=kernel, dry_run=state == "dry-run")
    assert show_routes.detail([view])[2].startswith(f"    State: {words}; 2 changes")


def test_why_it_is_inactive() -> None:
    bad = next_hop_view("192.0.2.2", up=False)
    unknown, backup = replace(bad, state="unknown"), replace(bad, use_when="fail")
    for hop, words in ((unknown, "nothing is known yet"), (backup, "a backup, which is not needed")):
        assert f"    State: inactive: {words}; " in show_routes.detail([route_view("::/0", "", [hop])])[2]


def test_a_line_for_each_next_hop() -> None:
    head, first, second, third = show_routes.brief(VIEWS)
    assert head.split()[:4] == ["Routing", "table", "Destination", "Metric"]
    assert " ".join(first.split()) == "main 203.0.113.0/24 1 1 7 192.0.2.1 stamp core-fra/voice active up 0"
    assert second.split()[:2] == ["main", "192.0.2.2"]
    assert third.split()[:2] == ["blue", "2001:db8::/32"]


def test_there_may_be_none() -> None:
    assert show_routes.brief([]) == show_routes.detail([]) == ["No tracked routes."]


@pytest.mark.parametrize(
    ("changes", "route_changes", "state"),
    [
        ({"dead": True}, {}, "link down"),
        ({"active": False}, {}, "missing"),
        ({"active": False, "refused": "Nexthop has invalid gateway"}, {}, "refused"),
        ({"active": False}, {"refused": "another's route has its place"}, "refused"),
        ({"active": False}, {"dry_run": True}, "would be active"),
        ({"active": False, "used": False}, {"dry_run": True}, "inactive"),
        ({"active": True, "used": False}, {}, "active"),
    ],
)
def test_the_state_is_the_kernels(changes: dict[str, object], route_changes: dict[str, object], state: str) -> None:
    hop = replace(next_hop_view("192.0.2.1"), **changes)  # type: ignore[arg-type]  # fields by name
    view = replace(route_view("203.0.113.0/24", "", [hop]), **route_changes)  # type: ignore[arg-type]
    (_, line) = show_routes.brief([view])
    assert f"core-fra/voice  {state}  up" in line


def test_why_the_kernel_refuses_comes_first() -> None:
    hop = replace(next_hop_view("192.0.2.1"), active=False, refused="Nexthop has invalid gateway")
    view = replace(route_view("203.0.113.0/24", "", [hop]), refused="no room")
    lines = show_routes.detail([view])
    assert "    The kernel does not take it: no room" in lines
    assert lines[lines.index("    The kernel does not take it: no room") + 3] == (
        "      refused: Nexthop has invalid gateway"
    )


def test_several_tests_and_none() -> None:
    some = replace(next_hop_view("192.0.2.1"), tests=("a/1", "b/1", "c/1"), require=2)
    none = replace(next_hop_view("192.0.2.2"), tests=(), sla_source="", state="untracked")
    (_, first, second) = show_routes.brief([route_view("203.0.113.0/24", "", [some, none])])
    assert "a/1, b/1, c/1 (2 of 3)" in first
    assert second.split()[1:5] == ["192.0.2.2", "-", "-", "active"]


def test_health_has_a_line() -> None:
    health = FakeDaemon().health()
    (line,) = [one for one in show_text.health(health, health.started_ns, None) if one.startswith("Routes:")]
    assert line == "Routes:         protocol 94, changes 3, requests 9, refused 1, foreign changes 1, hook runs 3"
    quiet = replace(health, routes=RoutesView(94, 0, 0, 0, 0, 0, 0, 0, 0))
    assert "Routes:         protocol 94, changes 0, requests 0" in show_text.health(quiet, health.started_ns, None)
    held = replace(health, routes=RoutesView(94, 0, 0, 0, 0, 0, 0, 0, 0, {"route-held": 2, "route-unavailable": 1}))
    assert (
        "Routes:         route-held raised for 2, route-unavailable raised for 1, protocol 94, changes 0, requests 0"
    ) in show_text.health(held, health.started_ns, None)
    without = show_text.health(replace(health, routes=None), health.started_ns, None)
    assert not any(one.startswith("Routes:") for one in without)
