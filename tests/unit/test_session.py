"""A test-session is complete and legal, or it is refused by the field's name."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from twoway.errors import ConfigError
from twoway.path import PLAIN
from twoway.session import ReflectorSpec, SessionSpec
from twoway.tlvs import NO_TLVS, ReflectedControl, Tlvs

if TYPE_CHECKING:
    from collections.abc import Callable

SPEC = SessionSpec(
    target="192.0.2.1",
    target_port=862,
    scope_id=0,
    source=None,
    source_port=0,
    interface=None,
    netns=None,
    format="stamp",
    stamp_key=None,
    twamp_aes_key=None,
    twamp_hmac_key=None,
    ssid=0,
    timestamp_format="ntp",
    payload_len=44,
    fill="zeros",
    count=None,
    schedule="periodic",
    interval_ns=1_000_000_000,
    seed=0,
    timeout_ns=2_000_000_000,
    dscp_ecn=0,
    ttl=255,
    timestamps="kernel",
    reflector_mode="auto",
    dscp_ecn_monitoring=False,
    sample_capacity=0,
    receive_buffer=65536,
    tlvs=NO_TLVS,
    tlv_key=None,
    payload_grows=False,
    path=PLAIN,
    next_hop_patience_ns=0,
    require_ssid=False,
)
REFLECTOR = ReflectorSpec(
    listen=(("127.0.0.1", 8620, 0),),
    interface=None,
    netns=None,
    workers=1,
    stateful=False,
    max_sessions=10,
    session_timeout_ns=1,
    keys=(),
    require_authentication=False,
    allow=(),
    rate_limit=0,
    rate_limit_per_source=0,
    dscp=None,
    larger_replies=True,
    tlvs=None,
    dscp_ecn_monitoring=False,
    timestamps="kernel",
    receive_buffer=65536,
)


def changed(make: Callable[..., object], spec: SessionSpec | ReflectorSpec, name: str, value: object) -> object:
    """`spec` with one field exchanged, whatever the type of the value."""
    return make(**{**{field.name: getattr(spec, field.name) for field in dataclasses.fields(spec)}, name: value})


@pytest.mark.parametrize("kind", [SessionSpec, ReflectorSpec])
def test_nothing_is_left_to_a_default(kind: type) -> None:
    for field in dataclasses.fields(kind):
        assert field.default is dataclasses.MISSING
        assert field.default_factory is dataclasses.MISSING


@pytest.mark.parametrize(
    ("field", "value", "text"),
    [
        ("target_port", 0, "target_port: 0 is not from 1 to 65535"),
        ("source_port", 65536, "source_port: 65536 is not from 0 to 65535"),
        ("ssid", 65536, "ssid: 65536 is not from 0 to 65535"),
        ("payload_len", 65508, "payload_len: 65508 is not from 1 to 65507"),
        ("interval_ns", 0, "interval_ns: 0 is not from 1 to 4611686018427387904"),
        ("timeout_ns", 0, "timeout_ns: 0 is not from 1 to 2305843009213693952"),
        ("dscp_ecn", 256, "dscp_ecn: 256 is not from 0 to 255"),
        ("ttl", 0, "ttl: 0 is not from 1 to 255"),
        ("count", 0, "count: 0 is not from 1 to 4294967296"),
        ("fill", "ones", "fill: 'ones' is none of zeros, random"),
        ("schedule", "burst", "schedule: 'burst' is none of periodic, poisson"),
        ("timestamp_format", "utc", "timestamp_format: 'utc' is none of ntp, ptp"),
        ("timestamps", "xdp", "timestamps: 'xdp' is none of kernel, hardware, user"),
        ("reflector_mode", "both", "reflector_mode: 'both' is none of auto, stateless, stateful"),
        ("format", "stamp-authenticated", "stamp_key: authenticated STAMP needs one"),
        ("stamp_key", b"k", "stamp_key: the format stamp has no use for it"),
        (
            "dscp_ecn_monitoring",
            True,
            "dscp_ecn_monitoring: only TWAMP packets carry it (RFC 7750); STAMP has a TLV for it",
        ),
    ],
)
def test_refusals(field: str, value: object, text: str) -> None:
    with pytest.raises(ConfigError) as caught:
        changed(SessionSpec, SPEC, field, value)
    assert str(caught.value) == text


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"tlvs": Tlvs(location=True), "format": "twamp"}, "tlvs: only STAMP packets have TLVs"),
        ({"tlvs": Tlvs(hmac=True)}, "tlv_hmac: an HMAC over the TLVs needs a key"),
        (
            {"tlvs": Tlvs(destination_node="192.0.2.1")},
            "ssid: a destination node address goes with an SSID (RFC 9503 section 3)",
        ),
        (
            {"tlvs": Tlvs(control=ReflectedControl(3, interval_ns=60)), "interval_ns": 100},
            (
                "tlvs: 3 replies take 120 ns, so the next packet would come before they are all sent (interval 100 ns; "
                "RFC 10052 section 5)"
            ),
        ),
        (
            {
                "tlvs": Tlvs(control=ReflectedControl(3, interval_ns=60)),
                "interval_ns": 1000,
                "timeout_ns": 100,
            },
            "tlvs: 3 replies take 120 ns, longer than the timeout (100 ns)",
        ),
    ],
)
def test_tlvs_that_do_not_go_with_the_session(changes: dict[str, object], text: str) -> None:
    with pytest.raises(ConfigError) as caught:
        dataclasses.replace(SPEC, **changes)  # type: ignore[arg-type]  # tests name fields of known types
    assert str(caught.value) == text


def test_only_stamp_carries_an_ssid() -> None:
    assert dataclasses.replace(SPEC, ssid=7, require_ssid=True).require_ssid
    with pytest.raises(ConfigError, match="require_ssid: it is about the replies to packets with an SSID"):
        dataclasses.replace(SPEC, ssid=0, require_ssid=True)
    assert dataclasses.replace(SPEC, ssid=7).ssid == 7
    with pytest.raises(ConfigError, match="ssid: only STAMP packets carry one"):
        dataclasses.replace(SPEC, format="twamp", ssid=7)


@pytest.mark.parametrize(
    ("field", "value", "text"),
    [
        ("listen", (), "listen: at least one address is needed"),
        ("listen", (("::", 65536, 0),), "listen: 65536 is not from 0 to 65535"),
        ("workers", 0, "workers: 0 is not from 1 to 256"),
        ("max_sessions", 0, "max_sessions: 0 is not from 1 to 16777216"),
        ("dscp", 64, "dscp: 64 is not from 0 to 63"),
        ("require_authentication", True, "require_authentication: it is required, but there is no key"),
    ],
)
def test_reflector_refusals(field: str, value: object, text: str) -> None:
    with pytest.raises(ConfigError) as caught:
        changed(ReflectorSpec, REFLECTOR, field, value)
    assert str(caught.value) == text


def test_no_key_in_a_representation() -> None:
    sender = dataclasses.replace(SPEC, format="stamp-authenticated", stamp_key=b"secret")
    reflector = dataclasses.replace(REFLECTOR, keys=(("a", None, b"secret"),))
    assert "secret" not in repr(sender) + repr(reflector)


@given(st.sampled_from([f.name for f in dataclasses.fields(SessionSpec)]), st.integers() | st.text() | st.none())
def test_a_refusal_is_one_line(field: str, value: object) -> None:
    assert refusal(field, value).isprintable()


def refusal(field: str, value: object) -> str:
    try:
        changed(SessionSpec, SPEC, field, value)
    except ConfigError as error:
        return str(error)
    except (TypeError, AttributeError):
        return ""  # of another type than declared: the type checker's business
    return ""
