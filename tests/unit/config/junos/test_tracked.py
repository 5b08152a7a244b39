"""Routes of Junos in our words: what they are bound to, in both forms, and those that are bound to nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from twoway.config.check import check_text
from twoway.config.junos.conversion import convert
from twoway.config.route_plan import MOST_NEXT_HOPS, MOST_ROUTES
from twoway.config.yaml_text import block

TWAMP = """\
set services monitoring twamp client control-connection c control-type light
set services monitoring twamp client control-connection c test-session s target 192.0.2.1
"""
RPM = """\
set services rpm probe o test t target address 192.0.2.1
set services rpm probe p test t target address 192.0.2.2
set services rpm probe p test u target address 192.0.2.3
"""


def routes_of(text: str) -> Any:  # noqa: ANN401  (a document)
    """Our `routes`, which our own check takes, or `{}`."""
    data = convert(text, "r").data
    checked = check_text("\n".join(block(data)), "f.yaml", Path("/"))
    assert [str(one) for one in checked.errors if "routes" in str(one)] == []
    return data.get("routes", {})


def reasons(text: str) -> dict[str, str]:
    """Last word of a statement that was not used -> why."""
    return {one.statement.words[-1]: one.reason for one in convert(text, "r").unused}


def lines(*words: str) -> str:
    return "".join(f"set {line}\n" for line in words)


@pytest.mark.parametrize(
    "said",
    [
        ("twamp control-connection c test-session s",),
        ("twamp connection c test s",),
        ("twamp control-connection c", "twamp test-session s"),
        ("twamp test-session s", "twamp control-connection c"),
    ],
)
def test_every_way_to_say_which_twamp_test(said: tuple[str, ...]) -> None:
    hop = "routing-options sla-tracking route 198.51.100.0/24 next-hop 192.0.2.254"
    assert routes_of(TWAMP + lines(*(f"{hop} {words}" for words in said))) == {
        "route": {"198.51.100.0/24": {"next-hop": {"192.0.2.254": {"test": "c/s"}}}}
    }


@pytest.mark.parametrize(
    "said",
    [
        ("sla-tracking", "rpm owner o test t"),
        ("sla-tracking", "rpm owner o", "rpm test t"),
        ("rpm-tracking", "rpm-probe o rpm-test t"),
        ("rpm-tracking", "rpm-probe o", "rpm-test t"),
    ],
)
def test_every_way_to_say_which_rpm_test(said: tuple[str, ...]) -> None:
    kind, *bound = said
    hop = f"routing-options {kind} route 2001:db8::/32 next-hop fe80::1"
    text = RPM + lines(f"{hop} interface eth0", *(f"{hop} {words}" for words in bound))
    assert routes_of(text) == {
        "route": {"2001:db8::/32": {"next-hop": {"fe80::1%eth0": {"test": "o/t"}}, "dry-run": True}}
    }


def test_both_forms_and_a_part_by_itself_come_to_the_same() -> None:
    braces = """\
sla-tracking {
    route 0.0.0.0/0 {
        next-hop 192.0.2.1 { twamp { control-connection c; test-session s; } }
        qualified-next-hop 192.0.2.5 { preference 5; interface eth5; twamp control-connection c test-session s; }
        metric 4;
        preference 2;
        tag 9;
    }
}
control-connection c { control-type light; test-session s { target { address 192.0.2.1; } } }
"""
    route = "routing-options sla-tracking route 0.0.0.0/0"
    text = TWAMP + lines(
        f"{route} next-hop 192.0.2.1 twamp control-connection c test-session s",
        f"{route} qualified-next-hop 192.0.2.5 preference 5",
        f"{route} qualified-next-hop 192.0.2.5 interface eth5",
        f"{route} qualified-next-hop 192.0.2.5 twamp control-connection c test-session s",
        f"{route} metric 4",
        f"{route} preference 2",
        f"{route} tag 9",
    )
    assert routes_of(text) == routes_of(braces)
    assert routes_of(text)["route"]["0.0.0.0/0"] == {
        "next-hop": {
            "192.0.2.1": {"test": "c/s", "preference": 2},
            "192.0.2.5%eth5": {"test": "c/s", "preference": 5},
        },
        "metric": 4,
        "preference": 2,
        "tag": 9,
    }


POLICY = "services ip-monitoring policy"


@pytest.mark.parametrize(
    ("probes", "withdraw", "test", "track"),
    [
        (["o"], False, "o/t", {"use-when": "fail"}),
        (["o"], True, "o/t", None),
        (["p"], False, ["p/t", "p/u"], {"require": "any", "use-when": "fail"}),
        (["p"], True, ["p/t", "p/u"], {"require": "any"}),
        (["o", "q"], False, ["o/t", "q/t"], {"use-when": "fail"}),
    ],
)
def test_a_policy_decides_by_any_probe_and_a_probe_by_all_of_its_tests(
    probes: list[str], withdraw: bool, test: object, track: object
) -> None:
    text = RPM + lines(
        "services rpm probe q test t target address 192.0.2.4",
        *(f"{POLICY} x match rpm-probe {probe}" for probe in probes),
        f"{POLICY} x then preferred-route route 198.51.100.0/24 next-hop 192.0.2.254",
        *([f"{POLICY} x then preferred-route withdraw"] if withdraw else []),
    )
    hop = routes_of(text)["route"]["198.51.100.0/24"]["next-hop"]["192.0.2.254"]
    assert (hop["test"], hop.get("track")) == (test, track)


def test_a_policy_that_no_number_of_good_tests_says_is_listed_whole() -> None:
    text = RPM + lines(
        f"{POLICY} x match rpm-probe [ o p ]",
        f"{POLICY} x then preferred-route route 198.51.100.0/24 next-hop 192.0.2.254",
    )
    assert routes_of(text) == {}
    assert set(reasons(text)) == {"o", "p", "192.0.2.254"}


def test_policies_of_one_prefix_share_a_route_in_the_order_of_their_metrics() -> None:
    text = RPM + lines(
        *(f"{POLICY} {name} match rpm-probe o" for name in "xyz"),
        f"{POLICY} x then preferred-route route ::/0 next-hop 2001:db8::1",
        f"{POLICY} x then preferred-route route ::/0 preferred-metric 2",
        f"{POLICY} y then preferred-route route ::/0 discard",
        f"{POLICY} y then preferred-route route ::/0 preferred-metric 255",
        f"{POLICY} z then preferred-route route ::/0 next-hop 2001:db8::1",
    )
    hops = routes_of(text)["route"]["::/0"]["next-hop"]
    assert {name: hop["preference"] for name, hop in hops.items()} == {"2001:db8::1": 2, "discard": 255}
    assert reasons(text)["2001:db8::1"] == "2001:db8::1 is a next hop of this route already"


@pytest.mark.parametrize(
    ("said", "unused"),
    [
        ("next-hop 192.0.2.9", {"192.0.2.9": "no test decides about the route: it is an ordinary static one"}),
        ("metric 3", {"3": "the route has no next hop"}),
        ("twamp control-connection c test-session s", {"s": "the route has no next hop"}),
        ("next-hop 192.0.2.9 twamp control-connection c", {"c": "it is not said which test"}),
        ("next-hop 192.0.2.9 twamp test-session s", {"s": "it is not said of which control-connection"}),
        ("next-hop 192.0.2.9 rpm test t", {"t": "it is not said of which owner"}),
        ("next-hop 192.0.2.9 twamp c s", {"s": "no such statement is known"}),
        ("next-hop 192.0.2.9 twamp", {"twamp": "no such statement is known"}),
        (
            "next-hop 192.0.2.9 rpm owner o test x",
            {"x": "there is no RPM test o/x in this configuration"},
        ),
        (
            "next-hop 192.0.2.9 twamp control-connection c test-session x",
            {"x": "there is no test-session c/x in this configuration"},
        ),
        (
            "next-hop 224.0.0.1 twamp control-connection c test-session s",
            {"s": "'224.0.0.1' cannot be the address of a gateway"},
        ),
    ],
)
def test_what_is_bound_to_nothing_is_no_tracked_route(said: str, unused: dict[str, str]) -> None:
    text = TWAMP + lines(f"routing-options sla-tracking route 198.51.100.0/24 {said}")
    assert routes_of(text) == {}
    assert reasons(text) == unused


def test_a_next_hop_that_cannot_be_used_leaves_the_others() -> None:
    hop = "routing-options sla-tracking route 198.51.100.0/24 next-hop"
    text = TWAMP + lines(
        f"{hop} 192.0.2.9 twamp control-connection c test-session s",
        f"{hop} 192.0.2.10 twamp control-connection c test-session x",
    )
    assert list(routes_of(text)["route"]["198.51.100.0/24"]["next-hop"]) == ["192.0.2.9"]
    assert set(reasons(text)) == {"x"}


def test_a_test_is_called_otherwise_where_a_control_connection_has_its_name() -> None:
    text = lines(
        "services rpm twamp client control-connection o target-address 192.0.2.1",
        "services rpm twamp client control-connection o test-session t target-address 192.0.2.1",
        "services rpm probe o test t target address 192.0.2.1",
        "routing-options rpm-tracking route 198.51.100.0/24 next-hop 192.0.2.9 rpm-probe o rpm-test t",
    )
    assert routes_of(text)["route"]["198.51.100.0/24"]["next-hop"]["192.0.2.9"] == {"test": "o.t/t"}


def test_names_beyond_ours_are_listed() -> None:
    owner = "o" * 33
    text = lines(
        f"services rpm probe {owner} test t target address 192.0.2.1",
        f"routing-options rpm-tracking route 198.51.100.0/24 next-hop 192.0.2.9 rpm-probe {owner} rpm-test t",
    )
    assert convert(text, "r").data == {}
    assert set(reasons(text)) == {"192.0.2.1", "t"}


def test_as_many_as_junos_allows() -> None:
    text = [TWAMP]
    for number in range(MOST_ROUTES):
        prefix = f"10.{number >> 8}.{number & 255}.0/24"
        text += [
            f"set routing-options sla-tracking route {prefix} next-hop 192.0.2.{hop + 1} twamp connection c test s\n"
            for hop in range(MOST_NEXT_HOPS if number == 0 else 1)
        ]
    imported = convert("".join(text), "r")
    assert imported.unused == []
    routes: Any = imported.data["routes"]
    assert len(routes["route"]) == MOST_ROUTES
    assert len(routes["route"]["10.0.0.0/24"]["next-hop"]) == MOST_NEXT_HOPS


def test_as_many_without_their_tests_are_all_listed() -> None:
    text = "".join(
        f"set routing-options sla-tracking route 10.{number >> 8}.{number & 255}.0/24 next-hop 192.0.2.1 {said}\n"
        for number in range(MOST_ROUTES)
        for said in ("twamp connection c", "twamp test s")
    )
    imported = convert(text, "r")
    assert imported.data == {}
    assert len(imported.unused) == 2 * MOST_ROUTES
