"""Tracked routes: each statement reaches its place in the plan, and what is doubtful is said."""

from __future__ import annotations

from pathlib import Path

import pytest

from twoway.config.check import check_text
from twoway.config.route_plan import (
    MOST_METRIC,
    MOST_PREFERENCE,
    DampingPlan,
    HookPlan,
    InstancePlan,
    LimitPlan,
    NextHopPlan,
    RoutePlan,
    RoutesPlan,
    TrackPlan,
    WindowPlan,
    priority_of,
)

MS, S = 1_000_000, 1_000_000_000
CLIENT = """
client:
  control-connection:
    a:
      control-type: light
      routing-instance: wan-a
      test-session:
        t: {target: 203.0.113.9, probe-interval: 20ms}
        u: {target: 203.0.113.9, probe-interval: 20ms}
    b/c: {control-type: light, routing-instance: wan-b, test-session: {t: {target: "2001:db8::9"}}}
"""


def planned(text: str) -> RoutesPlan:
    found = check_text(CLIENT + text, "f.yaml", Path("/"))
    assert found.plan is not None, [str(error) for error in found.errors]
    assert found.plan.routes is not None
    return found.plan.routes


def warnings(text: str, client: str = CLIENT) -> list[str]:
    found = check_text(client + text, "f.yaml", Path("/"))
    assert found.plan is not None, [str(error) for error in found.errors]
    return [str(warning).partition(": ")[2] for warning in found.warnings]


def test_a_route_with_nothing_said() -> None:
    plan = planned("routes: {route: {10.0.0.0/8: {next-hop: {192.0.2.1: {test: a/t}}}}}")
    assert plan == RoutesPlan(
        routes=(
            RoutePlan(
                "", "10.0.0.0/8", (NextHopPlan("192.0.2.1", "192.0.2.1", None, TrackPlan((("a", "t"),), 1, None)),)
            ),
        ),
        instances=(InstancePlan(""),),
    )


def test_everything_said() -> None:
    plan = planned("""
routes:
  protocol: 200
  on-exit: withdraw
  foreign-change: report
  traps: [route-changed, route-held]
  hook: {command: [/bin/echo, a b], timeout: 2s, queue: 5}
  track: {window: 3s, limits: {loss: 10%}, up-delay: 9s, damping: on, require: any}
  route:
    0.0.0.0/0:
      metric: 3
      preference: 7
      tag: 9
      no-preempt: on
      dry-run: on
      test: [a/t, a/u]
      track:
        up-delay: 5s
        down-delay: 500ms
        limits: {rtt: {limit-value: 80ms, maximum: on, recover: 60ms}, late: 2%, reordered: 7}
      next-hop:
        192.0.2.1: {weight: 3}
        192.0.2.2%wan-b:
          {preference: 2, onlink: on, test: [b/c/t], track: {damping: off, use-when: fail, initial-state: up}}
        discard:
          preference: 3
          test: a/t
          track: {require: 1, damping: {half-life: 1min, reuse: 500, suppress: 900, max-suppress: 5min}}
  routing-instance:
    blue: {netns: blue, table: 100, route: {"2001:DB8::/32": {next-hop: {"fe80::1%eth0": {test: a/t}}}}}
    red: {vrf: red, route: {}}
""")
    limits = (
        LimitPlan("late_ratio", 0.02, 0.02),
        LimitPlan("reordered_round_trip", 7, 7),
        LimitPlan("round_trip", 80 * MS, 60 * MS, maximum=True),
    )
    window = WindowPlan(3 * S, limits)
    junos = DampingPlan(900 * S, 750, 3000, 3600 * S)
    first, second, third = plan.routes[0].next_hops
    assert first == NextHopPlan(
        "192.0.2.1",
        "192.0.2.1",
        None,
        TrackPlan((("a", "t"), ("a", "u")), 1, window, 5 * S, 500 * MS, junos),
        weight=3,
    )
    assert second == NextHopPlan(
        "192.0.2.2%wan-b",
        "192.0.2.2",
        "wan-b",
        TrackPlan((("b/c", "t"),), 1, window, 5 * S, 500 * MS, None, "up", inverted=True),
        preference=2,
        onlink=True,
    )
    assert third.discards
    assert third.track is not None
    assert third.track.damping == DampingPlan(60 * S, 500, 900, 300 * S)
    whole = plan.routes[0]
    assert (whole.metric, whole.preference, whole.tag, whole.no_preempt, whole.dry_run) == (3, 7, 9, True, True)
    assert plan.routes[1].key == ("blue", "2001:db8::/32")
    assert plan.instances == (
        InstancePlan(""),
        InstancePlan("blue", "blue", None, 100),
        InstancePlan("red", None, "red"),
    )
    assert (plan.protocol, plan.withdraw_on_exit, plan.restore) == (200, True, False)
    assert plan.hook == HookPlan(("/bin/echo", "a b"), 2 * S, 5)
    assert plan.traps == {"route-changed", "route-held"}
    assert plan.windows()["b/c", "t"] == (window,)
    assert plan.windows()["a", "t"] == (window, WindowPlan(3 * S, (LimitPlan("loss_ratio", 0.1, 0.1),)))


def test_judgements_that_are_equal_are_one() -> None:
    many = ", ".join(f"10.{n}.0.0/16: {{next-hop: {{192.0.2.1: {{test: a/t}}}}}}" for n in range(50))
    plan = planned(f"routes: {{route: {{{many}}}}}")
    assert len({id(hop.track) for route in plan.routes for hop in route.next_hops}) == 1
    assert len(plan.tracks()) == 1


def test_a_dry_run_of_all() -> None:
    plan = planned("routes: {dry-run: on, route: {10.0.0.0/8: {next-hop: {192.0.2.1: {test: a/t}}}}}")
    assert plan.routes[0].dry_run


@pytest.mark.parametrize(
    ("family", "preference", "metric", "priority"),
    [
        (4, 1, 1, 0),
        (4, 0, 1, 0),
        (4, 1, 16, 15),
        (4, 2, 1, 16),
        (4, 5, 1, 64),
        (6, 1, 1, 1),
        (6, 2, 3, 19),
        (4, 2**28 - 1, 16, 2**32 - 17),
    ],
)
def test_one_metric_is_made_of_preference_and_metric(family: int, preference: int, metric: int, priority: int) -> None:
    assert priority_of(family, preference, metric) == priority
    assert priority_of(family, preference, metric) < 2**32


def test_ten_thousand_routes_are_taken_and_no_more() -> None:
    def many(count: int) -> str:
        rows = "\n".join(f"    10.{n >> 8}.{n & 255}.0/24: *r" for n in range(1, count))
        return f"routes:\n  route:\n    10.0.0.0/24: &r {{next-hop: {{192.0.2.1: {{test: a/t}}}}}}\n{rows}\n"

    assert len(planned(many(10_000)).routes) == 10_000
    found = check_text(CLIENT + many(10_001), "f.yaml", Path("/"))
    assert [error.message for error in found.errors] == ["10001 routes are more than 10000"]


def test_seventeen_next_hops_are_too_many() -> None:
    hops = ", ".join(f"192.0.2.{n}: {{test: a/t}}" for n in range(1, 18))
    found = check_text(CLIENT + f"routes: {{route: {{10.0.0.0/8: {{next-hop: {{{hops}}}}}}}}}", "f.yaml", Path("/"))
    assert [error.message for error in found.errors] == ["17 next hops are more than 16"]


def test_a_window_that_holds_too_many_probes() -> None:
    text = CLIENT.replace("20ms", "1ms", 1)
    text += (
        "routes: {route: {10.0.0.0/8: {next-hop: {192.0.2.1: {test: a/t, track: {window: 1h, limits: {loss: 5%}}}}}}}"
    )
    found = check_text(text, "f.yaml", Path("/"))
    assert [error.message for error in found.errors] == ["holds 3600000 probes of a/t, more than 100000"]


TOLD = """
routes:
  track: {window: 2s, limits: {%s}}
  route: {10.0.0.0/8: {next-hop: {192.0.2.1: {test: a/t}}}}
"""
ASKED = CLIENT.replace(
    "probe-interval: 20ms", "probe-interval: 20ms, data-size: 50, tlvs: [cos=ef, direct-measurement]", 1
)


def test_what_tlvs_tell_can_decide() -> None:
    limits = "remarked-forward: 5, remarked-backward: {limit-value: 9, recover: 2}, "
    limits += "direct-loss-forward: 10%, direct-loss-backward: {limit-value: 20%, recover: 5%}"
    found = check_text(ASKED + TOLD % limits, "f.yaml", Path("/"))
    assert found.plan is not None, [str(error) for error in found.errors]
    assert found.plan.routes is not None
    (track,) = found.plan.routes.tracks()
    assert track.window == WindowPlan(
        2 * S,
        (
            LimitPlan("remarked_forward", 5, 5),
            LimitPlan("remarked_backward", 9, 2),
            LimitPlan("direct_loss_forward_ratio", 0.1, 0.1),
            LimitPlan("direct_loss_backward_ratio", 0.2, 0.05),
        ),
    )


@pytest.mark.parametrize(
    ("limit", "asked"),
    [
        ("remarked-forward: 5", "cos=DSCP"),
        ("remarked-backward: 5", "cos=DSCP"),
        ("direct-loss-forward: 5%", "direct-measurement"),
        ("direct-loss-backward: 5%", "direct-measurement"),
    ],
)
def test_what_the_test_does_not_ask_for_decides_nothing(limit: str, asked: str) -> None:
    found = check_text(CLIENT + TOLD % limit, "f.yaml", Path("/"))
    (error,) = found.errors
    assert error.message == f"a/t does not ask for it: its tlvs are to have {asked}"
    assert str(error).startswith(f"f.yaml:13: routes.track.limits.{limit.partition(':')[0]}: ")
    for other in ("cos=ef", "direct-measurement"):
        text = CLIENT.replace("probe-interval: 20ms", f"data-size: 50, tlvs: [{other}]", 1)
        assert bool(check_text(text + TOLD % limit, "f.yaml", Path("/")).errors) is (asked[:3] != other[:3])


def test_a_test_that_goes_by_two_names() -> None:
    session = "{target: 192.0.2.9}}}"
    names = ("a: {control-type: light, test-session: {b/c: ", "a/b: {control-type: light, test-session: {c: ")
    client = f"client: {{control-connection: {{{', '.join(name + session for name in names)}}}}}\n"
    found = check_text(
        client + "routes: {route: {10.0.0.0/8: {next-hop: {192.0.2.1: {test: a/b/c}}}}}", "f.yaml", Path("/")
    )
    assert [error.message for error in found.errors] == ["a/b/c is the name of two tests"]


ROUTE = "routes: {route: {%s: {next-hop: {%s}}}}"


def test_probes_that_take_the_route_they_decide_about() -> None:
    loose = CLIENT.replace("      routing-instance: wan-a\n", "")
    (warning,) = warnings(ROUTE % ("0.0.0.0/0", "192.0.2.1: {test: a/t}"), loose)
    assert warning.startswith(
        'routes.route."0.0.0.0/0".next-hop."192.0.2.1".test: probes of a/t to 203.0.113.9 take this route themselves'
    )
    assert warnings(ROUTE % ("0.0.0.0/0", "192.0.2.1: {test: a/t}")) == []
    assert warnings(ROUTE % ("10.0.0.0/8", "192.0.2.1: {test: a/t}"), loose) == []
    # A gateway is on the link: no route of ours leads to it.
    assert warnings(ROUTE % ("0.0.0.0/0", "203.0.113.9: {test: a/t}"), loose) == []


@pytest.mark.parametrize(
    ("hops", "warning"),
    [
        (
            "192.0.2.1: {test: a/t, preference: 2}, 192.0.2.2: {}",
            "is never used: no test decides about 192.0.2.2 before it",
        ),
        ("192.0.2.1: {test: a/t, track: {window: 100ms, limits: {rtt: 5ms}}}", "holds 5 probes of a/t: chance decides"),
        (
            "192.0.2.1: {test: a/t, track: {window: 1s, limits: {loss: 4%}}}",
            "holds 50 probes of a/t, of which 2 lost meet a limit of 0.04: chance decides",
        ),
    ],
)
def test_what_is_doubtful(hops: str, warning: str) -> None:
    (said,) = warnings(ROUTE % ("10.0.0.0/8", hops))
    assert said.endswith(f": {warning}")


def test_a_test_that_cannot_fail() -> None:
    client = CLIENT.replace("probe-interval: 20ms", "thresholds: {successive-loss: 0, total-loss: 0}", 1)
    (said,) = warnings(ROUTE % ("10.0.0.0/8", "192.0.2.1: {test: a/t}"), client)
    assert said.endswith(": a/t cannot fail: its thresholds are all off")


def test_a_test_that_waits_for_its_start() -> None:
    client = CLIENT.replace("routing-instance: wan-a", "test-start: manual")
    (said,) = warnings(ROUTE % ("10.0.0.0/8", "192.0.2.1: {test: a/t}"), client)
    assert said.endswith(": decides about a route, and does not run before `twoway request start`")


def test_traps_without_a_receiver() -> None:
    (said,) = warnings("routes: {traps: route-changed, route: {10.0.0.0/8: {next-hop: {192.0.2.1: {test: a/t}}}}}")
    assert said == "routes.traps: no trap is sent: notifications has no snmp receiver"


def test_the_kernels_metric_is_what_the_documents_say() -> None:
    """`(max(preference, 1) - 1) * 16 + (metric - 1)`, and 1 more for IPv6; it fits, and no two pairs are the same."""
    pairs = [(preference, metric) for preference in range(1, 40) for metric in range(1, MOST_METRIC + 1)]
    for family, more in ((4, 0), (6, 1)):
        assert [priority_of(family, *pair) for pair in pairs] == [(p - 1) * 16 + (m - 1) + more for p, m in pairs]
        assert priority_of(family, 0, 3) == priority_of(family, 1, 3)
        assert priority_of(family, MOST_PREFERENCE, MOST_METRIC) < 2**32
    assert len({priority_of(4, *pair) for pair in pairs}) == len(pairs)
