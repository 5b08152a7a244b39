"""What was asked for: defaults, sizes, counts, and options that stay one list."""

from __future__ import annotations

import dataclasses
from typing import get_type_hints

import pytest

from twoway.config import defaults
from twoway.config.measurement import Measurement
from twoway.config.options import MeasurementOptions, ReflectionOptions
from twoway.config.reflection import Reflection
from twoway.errors import ConfigError


@pytest.mark.parametrize(("model", "options"), [(Measurement, MeasurementOptions), (Reflection, ReflectionOptions)])
def test_the_keyword_arguments_are_the_fields(model: type, options: type) -> None:
    fields = {field.name for field in dataclasses.fields(model)} - {"target"}
    assert set(options.__annotations__) == fields


@pytest.mark.parametrize(
    ("measurement", "packet_format", "size"),
    [
        (Measurement("h"), "stamp", 44),
        (Measurement("h", key=b"k"), "stamp-authenticated", 112),
        (Measurement("h", protocol="light"), "twamp", 44),
        (Measurement("h", protocol="light", dscp_ecn_monitoring=True), "twamp", 44),
        (Measurement("h", protocol="light", payload_len=14), "twamp", 14),
    ],
)
def test_format_and_size(measurement: Measurement, packet_format: str, size: int) -> None:
    assert (measurement.packet_format, measurement.packet_size) == (packet_format, size)


@pytest.mark.parametrize(
    ("count", "duration_ns", "schedule", "packets"),
    [
        (None, None, "periodic", None),
        (5, None, "periodic", 5),
        (None, 1_000, "periodic", 10),
        (None, 1_001, "periodic", 11),
        (None, 1, "periodic", 1),
        (5, 1_000, "periodic", 5),
        (50, 1_000, "periodic", 10),
        (50, 1_000, "poisson", 50),
        (None, 1_000, "poisson", None),
    ],
)
def test_packets_to_send(count: int | None, duration_ns: int | None, schedule: str, packets: int | None) -> None:
    measurement = Measurement("h", count=count, duration_ns=duration_ns, interval_ns=100, schedule=schedule)
    assert measurement.packet_count == packets


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"protocol": "icmp"}, "protocol: 'icmp' is none of stamp, light"),
        ({"family": 5}, "family: 5 is neither 4 nor 6"),
        ({"interval_ns": 0}, "interval_ns: 0 ns is not more than 0"),
        ({"duration_ns": -1}, "duration_ns: -1 ns is not more than 0"),
        (
            {"protocol": "light", "key": b"k"},
            "key: only STAMP packets can be authenticated without a control connection",
        ),
    ],
)
def test_refusals(options: MeasurementOptions, text: str) -> None:
    with pytest.raises(ConfigError) as caught:
        Measurement("h", **options)
    assert str(caught.value) == text


def test_no_key_in_a_representation() -> None:
    assert "secret" not in repr(Measurement("h", key=b"secret"))
    assert "secret" not in repr(Reflection(keys=[("a", None, b"secret")]))


def test_defaults_are_the_constants() -> None:
    measurement = Measurement("h")
    assert measurement.interval_ns == defaults.INTERVAL_NS == 1_000_000_000
    assert measurement.count is None
    assert measurement.ttl == 255
    assert get_type_hints(Measurement)["timeout_ns"] is int
