"""Junos's TWAMP in our words: both hierarchies, both forms, and a reason for each statement that is not used."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from twoway.config.check import check_text
from twoway.config.document import ConfigurationError
from twoway.config.junos.conversion import convert
from twoway.config.junos.reading import read_statements
from twoway.config.yaml_text import block

BRACES = """\
## Last changed: 2026-01-01
services {
    monitoring {
        twamp {
            client {
                control-connection c1 {
                    target 192.0.2.2; /* the core */
                    routing-instance blue;
                    test-interval 5;
                    traps [ test-iteration-done control-connection-closed ];
                    test-session t1 {
                        target { address 192.0.2.2; }
                        destination-port 50000;
                        offload-type inline-timestamping;
                        dscp-code-points 101110;
                        probe-count 10;
                        probe-interval { interval 2; }
                        history-size 5;
                        source-routing { forward { srmpls-nodes [ 1000 2000 ]; } }
                        thresholds {
                            rtt { limit-value 5000; average; }
                            jitter-rtt { limit-value 200; }
                            control-failure off;
                        }
                    }
                    inactive: test-session t2 { target { address 192.0.2.3; } }
                }
                control-connection l1 {
                    control-type light;
                    target 192.0.2.9;
                    test-session t1 { target { address fe80::1; local-link eth0; } destination-port 862; }
                }
            }
            server {
                managed {
                    client-list { address 192.0.2.0/24; }
                    client-limit 10;
                    control-per-client-limit 0;
                    control-inactivity-timeout 600;
                }
                light { port [ 862 50000 ]; stateful-sequence { cache-size 5000; } }
            }
        }
    }
    rpm { probe p { test t { probe-type icmp-ping; } } }
}
system { host-name r1; }
apply-groups [ a b ];
"""
FROM_BRACES = {
    "client": {
        "control-connection": {
            "c1": {
                "target": "192.0.2.2",
                "routing-instance": "blue",
                "test-interval": "5s",
                "traps": ["test-iteration-done", "control-connection-closed"],
                "test-session": {
                    "t1": {
                        "target": "192.0.2.2",
                        "offload-type": "hardware",
                        "dscp-code-points": "ef",
                        "probe-count": 10,
                        "probe-interval": "2s",
                        "source-routing": {"forward": {"srmpls-nodes": [1000, 2000]}},
                        "thresholds": {
                            "rtt": {"limit-value": "5ms", "average": True},
                            "jitter-rtt": "200us",
                            "control-failure": False,
                        },
                    }
                },
            },
            "l1": {
                "control-type": "light",
                "test-session": {
                    "t1": {"target": {"address": "fe80::1", "local-link": "eth0"}, "destination-port": 862},
                },
            },
        }
    },
    "server": {
        "managed": {
            "client-list": {"junos": ["192.0.2.0/24"]},
            "maximum-connections-per-client": 10_000,
            "server-inactivity-timeout": "10min",
        },
        "light": {"port": [862, 50_000], "stateful-sequence": {"cache-size": 5000}},
    },
}
SET = """\
set services rpm twamp server authentication-mode none
set services rpm twamp server authentication-key-chain kc key-id k1 secret "$9$xyz abc"
set services rpm twamp server port 862
set services rpm twamp server max-connection-duration 24
set services rpm twamp server server-inactivity-timeout 15
set services rpm twamp server client-list a address [ 192.0.2.0/24 198.51.100.0/24 ]
set services rpm twamp client control-connection c1 target-address 192.0.2.2
set services rpm twamp client control-connection c1 destination-interface si-0/0/0.0
set services rpm twamp client control-connection c1 persistent-results
set services rpm twamp client control-connection c1 test-session t1 target-address 192.0.2.2
set services rpm twamp client control-connection c1 test-session t1 probe-count 100
set services rpm twamp client control-connection c1 test-session t1 probe-count 20
set services rpm twamp client control-connection c1 test-session t1 data-fill-with-zeros
set services rpm twamp client control-connection c1 test-session t1 thresholds std-dev-rtt 100
set services rpm twamp client control-connection c1 test-session t1 ttl 999
set services rpm twamp client control-connection c2 target-address 192.0.2.3
deactivate services rpm twamp client control-connection c2
"""
FROM_SET = {
    "server": {
        "managed": {
            "mode": ["unauthenticated"],
            "port": [862],
            "max-connection-duration": "1d",
            "server-inactivity-timeout": "15min",
            "client-list": {"a": ["192.0.2.0/24", "198.51.100.0/24"]},
        }
    },
    "client": {
        "control-connection": {
            "c1": {
                "target": "192.0.2.2",
                "persistent-results": True,
                "test-session": {
                    "t1": {
                        "target": "192.0.2.2",
                        "probe-count": 20,
                        "data-fill-with-zeros": True,
                        "thresholds": {"std-dev-rtt": "100us"},
                    }
                },
            }
        }
    },
}


@pytest.mark.parametrize(("text", "ours"), [(BRACES, FROM_BRACES), (SET, FROM_SET)], ids=["evo", "classic"])
def test_what_has_an_equivalent_is_used_and_our_loader_takes_it(text: str, ours: dict[str, object]) -> None:
    imported = convert(text, "router.conf")
    assert imported.data == ours
    assert check_text("\n".join(block(imported.data)), "f.yaml", Path("/")).errors == ()


def test_what_has_none_is_listed_with_its_line_and_reason() -> None:
    unused = [(one.statement.line, one.statement.words[-1], one.reason) for one in convert(BRACES, "r").unused]
    assert unused == [
        (13, "50000", "a managed test-session negotiates its port"),
        (18, "5", "less than the 10 probes of a test"),
        (26, "192.0.2.3", "inactive"),
        (30, "192.0.2.9", "a light control-connection has none"),
        (37, "10", "clients are not counted: maximum-connections bounds all of them"),
        (
            45,
            "icmp-ping",
            "an RPM probe (ping, HTTP, plain UDP or TCP): only TWAMP, TWAMP Light and STAMP are measured",
        ),
        (47, "r1", "not about TWAMP"),
        (48, "a", "groups are not applied: have the router do it, `| display inheritance`"),
        (48, "b", "groups are not applied: have the router do it, `| display inheritance`"),
    ]


def test_what_is_set_again_out_of_range_or_deactivated_is_listed() -> None:
    unused = {one.statement.line: one.reason for one in convert(SET, "r").unused}
    assert unused == {
        2: "a secret: write it into a file of mode 0600 and name that as key-file",
        8: "Linux has no services interfaces",
        11: "set again in line 12",
        15: "999 is not from 1 to 255",
        16: "inactive",
    }


ROUTED = """\
set client control-connection c control-type light
set client control-connection c test-session t target 2001:db8::1
set client control-connection c test-session t source-routing forward srv6-nodes 2001:db8:a::1
set client control-connection c test-session t source-routing forward srv6-nodes [ 2001:DB8:b::1 ]
set client control-connection c test-session t source-routing return srv6-nodes [ 2001:db8:b::1 2001:db8:a::1 ]
"""


def routed(more: str) -> tuple[object, dict[str, str]]:
    """The source-routing of test-session t, and why statements were not used, by their last word."""
    imported = convert(ROUTED + "".join(f"set client control-connection {line}\n" for line in more.split("; ")), "r")
    assert check_text("\n".join(block(imported.data)), "f.yaml", Path("/")).errors == ()
    found: Any = imported.data
    for part in ("client", "control-connection", "c", "test-session", "t"):
        found = found[part]
    return found.get("source-routing"), {one.statement.words[-1]: one.reason for one in imported.unused}


BACK = {"srv6-nodes": ["2001:db8:b::1", "2001:db8:a::1"]}
THERE = {"srv6-nodes": ["2001:db8:a::1", "2001:db8:b::1"]}


@pytest.mark.parametrize(
    ("more", "ours", "unused"),
    [
        ("c test-session t ttl 9", {"forward": THERE, "return": BACK}, {}),
        (
            "c test-session t source-routing forward srmpls-nodes 17001",
            {"forward": THERE, "return": BACK},
            {"17001": "one way has segments of one kind"},
        ),
        (
            "c test-session t source-routing forward srv6-nodes 10.0.0.1",
            {"return": BACK},
            {
                "10.0.0.1": "'10.0.0.1' is no IPv6 address: the segments of srv6 are IPv6 addresses",
                "2001:db8:a::1": "without one of its segments it would be another way",
                "2001:DB8:b::1": "without one of its segments it would be another way",
            },
        ),
        (
            "c test-session t source-routing sideways",
            {"forward": THERE, "return": BACK},
            {"sideways": "no such statement is known"},
        ),
        (
            "c control-type managed; c target 2001:db8::1",
            {"forward": THERE},
            {
                "2001:db8:b::1": "only STAMP, of a light control-connection, asks for a way back",
                "2001:db8:a::1": "only STAMP, of a light control-connection, asks for a way back",
                "light": "set again in line 6",
            },
        ),
    ],
)
def test_segments_are_taken_over_whole_or_not_at_all(more: str, ours: object, unused: dict[str, str]) -> None:
    assert routed(more) == (ours, unused)


def test_there_and_back_go_by_segments_of_one_kind() -> None:
    lines = ["control-type light", "test-session t target 2001:db8::1"]
    lines += [
        f"test-session t source-routing {way}" for way in ("forward srv6-nodes fd00::1", "return srmpls-nodes 17")
    ]
    imported = convert("".join(f"set client control-connection c {line}\n" for line in lines), "r")
    assert [(one.statement.line, one.reason) for one in imported.unused] == [
        (4, "there and back go by segments of one kind")
    ]


def test_no_secret_is_repeated() -> None:
    shown = [str(one.statement) for one in convert(SET, "r").unused]
    assert shown[0] == "set services rpm twamp server authentication-key-chain kc key-id k1 secret …"
    assert "$9$" not in "".join(shown)


def test_what_a_router_shows_of_a_part_is_known_too() -> None:
    part = "control-connection c1 {\n target 192.0.2.2;\n test-session t1;\n}\n"
    assert convert(part, "r").data == {
        "client": {"control-connection": {"c1": {"target": "192.0.2.2", "test-session": {"t1": {}}}}}
    }


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a {\n b;\n", "r:1: a { without its }"),
        ("a;\n}\n", "r:2: a } without its {"),
        ("a {\n b\n}\n", "r:3: the statement 'b' has no ; at its end"),
        ("a {\n b;\n c", "r:3: the last statement, 'c', has no ; at its end"),
        ("a [ b;", "r:1: a [ without its ]"),
        ('a "b;\n', "r:1: a quotation mark without its second"),
        ("set a\nb c\n", "r:2: 'b' begins no line among `set` lines"),
        ("set a {\n", "r:1: '{' does not belong into a `set` line"),
        ("a {" * 70, "r:1: braces within more than 64 others"),
        ("a;\nb; /* c\nd;\n", "r:2: a comment without its end"),
        (
            "<configuration>\n<a/>\n</configuration>\n",
            "r:1: this is XML: save the configuration without `| display xml`",
        ),
    ],
)
def test_what_is_no_configuration_is_refused_at_its_line(text: str, message: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        read_statements(text, "r")
    assert str(caught.value) == message


def test_both_forms_come_to_the_same_statements() -> None:
    braces = read_statements('a { b { c "d e"; } f [ g h ]; i { } }', "r")
    lines = read_statements('set a b c "d e"\nset a f [ g h ]\nset a i\n', "r")
    assert [one.words for one in braces] == [one.words for one in lines]
