"""JSON documents and records agree with their schemas, and every metric is in both."""

import json
from collections.abc import Mapping
from dataclasses import replace

import jsonschema  # type: ignore[import-untyped]  # it has no types, and only tests use it
import pytest

from twoway.analysis.metrics import METRICS
from twoway.analysis.reflector import DISPOSITIONS, ReflectorState
from twoway.analysis.result import Event, Outage
from twoway.analysis.server import ServerState, SessionState
from twoway.export import json_result, ndjson, reflector_json, schema, server_json, server_text
from twoway.export.fields import JsonValue

from ..measured import MISSING, START_NS, Numbers, Rows, Span, clean, impaired, result, session, unanswered

SUMMARIES = {"impaired": impaired(), "clean": clean(), "unanswered": unanswered(), "nothing": Span()}
BATCH = Rows(
    {"sequence": 1, "status": 0, "round_trip_ns": 212_000, "forward_ns": -5, "flags": 3, "t1_source": 2},
    {"sequence": 2, "status": 4},
)
EVENT = Event(START_NS, "icmp_unreachable", 111)


def plain(value: Mapping[str, JsonValue]) -> dict[str, dict[str, object]]:
    """What a reader of the printed JSON gets; NaN would raise."""
    read: dict[str, dict[str, object]] = json.loads(json.dumps(value, allow_nan=False))
    return read


def check(value: Mapping[str, JsonValue], against: Mapping[str, JsonValue]) -> None:
    rules = plain(against)
    jsonschema.Draft202012Validator.check_schema(rules)
    jsonschema.Draft202012Validator(rules).validate(plain(value))


@pytest.mark.parametrize("summary", SUMMARIES.values(), ids=SUMMARIES)
def test_a_result_is_as_its_schema_says(summary: Span) -> None:
    summary.clock_steps.append((START_NS, -5))
    measured = result(summary, events=[EVENT, Event(START_NS, "clock_step", 0)], obtained={"timestamps": "kernel"})
    check(json_result.document(measured), schema.result_schema())
    check(json_result.document(measured, [BATCH, Rows()]), schema.result_schema())


def test_outages_are_in_the_document() -> None:
    outages = (Outage(START_NS, START_NS + 5, "lost"), Outage(START_NS + 9, None, "lost again"))
    events = [Event(START_NS, "connection_lost", 0, "lost")]
    document = json_result.document(replace(result(clean(), events=events), outages=outages))
    check(document, schema.result_schema())
    read = json.loads(json.dumps(document))
    assert read["outages"] == [
        {"began_ns": START_NS, "ended_ns": START_NS + 5, "reason": "lost"},
        {"began_ns": START_NS + 9, "ended_ns": None, "reason": "lost again"},
    ]
    assert read["events"][0]["detail"] == "lost"


def test_the_schema_refuses_what_is_not_in_it() -> None:
    document = json_result.document(result(clean()))
    with pytest.raises(jsonschema.ValidationError):
        check({**document, "more": 1}, schema.result_schema())
    with pytest.raises(jsonschema.ValidationError):
        check({name: value for name, value in document.items() if name != "delay"}, schema.result_schema())


def test_every_metric_is_in_the_document_and_in_the_schema() -> None:
    document, rules = plain(json_result.document(result(impaired()))), plain(schema.result_schema())
    for metric in METRICS:
        section = rules["properties"][metric.section]
        assert metric.name in document[metric.section]
        assert isinstance(section, dict)
        assert metric.unit in section["properties"][metric.name]["description"]


def test_every_property_is_described() -> None:
    def undescribed(rules: object, path: str = "") -> list[str]:
        if not isinstance(rules, dict):
            return []
        found = []
        for name, inner in rules.get("properties", {}).items():
            found += [] if inner.get("description") else [f"{path}/{name}"]
            found += undescribed(inner, f"{path}/{name}")
        return found + undescribed(rules.get("items"), f"{path}[]")

    further = [rules for made in FURTHER for rules in schemas_of(made())]
    for rules in (schema.result_schema(), *further):
        assert undescribed(plain(rules)) == []


FURTHER = (schema.record_schema, schema.reflector_schema, schema.server_schema)


def schemas_of(rules: Mapping[str, JsonValue]) -> list[Mapping[str, JsonValue]]:
    choices = rules["oneOf"]
    assert isinstance(choices, list)
    return choices


def test_what_cannot_be_known_is_null_and_has_a_reason() -> None:
    document = plain(json_result.document(result(clean())))
    assert document["delay"]["forward"] is None
    assert document["unknown"]["forward"] == "offset unknown: far clock is not synchronised"
    assert document["clock"]["far_synchronized"] is False
    for metric in METRICS:
        assert (document[metric.section][metric.name] is None) == (metric.name in document["unknown"])


def test_times_are_whole_nanoseconds_and_percentiles_those_asked_for() -> None:
    document = plain(json_result.document(result(impaired(), percentiles=(50.0, 99.99))))
    assert document["delay"]["round_trip"] == {
        "count": 96,
        "min_ns": 212_000,
        "mean_ns": 282_344,
        "median_ns": 259_000,
        "max_ns": 2_500_000,
        "stddev_ns": 229_156,
        "relative_error": 0.0,
        "percentiles_ns": {"p50": 259_000, "p99.99": 2_500_000},
        "buckets": [[212_000 + 1_000 * i, 212_000 + 1_000 * i, 1] for i in range(95)] + [[2_500_000, 2_500_000, 1]],
    }


def test_the_text_is_the_same_document_with_a_line_for_each_bucket() -> None:
    document = json_result.document(result(impaired(), target="[\n1,\n2,\n3\n]"))
    printed = json_result.text(document)
    assert json.loads(printed) == plain(document)
    assert "        [2500000, 2500000, 1]\n" in printed


def test_what_was_requested_stands_beside_what_was_obtained() -> None:
    measured = result(clean(), timestamps="hardware", obtained={"timestamps": "kernel"})
    found = plain(json_result.document(measured))
    assert found["session"]["requested"] == {
        "format": "stamp",
        "ssid": 0,
        "dscp_ecn": 184,
        "ttl": 255,
        "payload_len": 44,
        "interval_ns": 100_000_000,
        "schedule": "periodic",
        "count": 100,
        "timeout_ns": 1_000_000_000,
        "timestamps": "hardware",
        "reflector_mode": "auto",
        "tlvs": [],
        "reply_dscp": None,
        "path": "plain",
        "return_path": None,
    }
    assert found["session"]["obtained"] == {"timestamps": "kernel"}
    assert found["tool"]["t1_fell_back"] == found["tool"]["t4_fell_back"] == 10


def test_a_sample_has_null_for_unknown() -> None:
    first, second = json_result.sample_objects(BATCH)
    assert (first["status"], first["forward_ns"], first["flags"]) == ("received", -5, ("clock_step", "reordered"))
    assert (second["status"], second["round_trip_ns"], second["sender_ttl"]) == ("lost_unattributed", None, None)
    assert MISSING not in second.values()


def test_every_record_is_as_its_schema_says() -> None:
    measured = result(impaired(), events=[EVENT])
    records = [
        ndjson.session(session()),
        *ndjson.packets(BATCH),
        ndjson.event(EVENT),
        ndjson.interval(session(), impaired(), (95.0,)),
        ndjson.summary(measured),
    ]
    assert [record["type"] for record in records] == ["session", "packet", "packet", "event", "interval", "summary"]
    for record in records:
        check(record, schema.record_schema())
        assert "\n" not in ndjson.line(record)
        assert json.loads(ndjson.line(record))["schema"] == 1


def reflector() -> ReflectorState:
    return ReflectorState(
        local_addresses=[("192.0.2.1", 862), ("2001:db8::1", 862)],
        obtained={"timestamps": "user space instead of kernel"},
        counters={
            **dict.fromkeys(DISPOSITIONS, 0),
            "test_packet:reflected": 1200,
            "bad_hmac:dropped": 3,
            "new:dropped": 1,
        },
        own_counters={"socket_drops": 0, "sessions": 4, "session_evictions": 0},
        distributions={"transmit_prediction_error": Numbers([500, 700, 900]), "residence": Numbers()},
        at_ns=START_NS,
    )


def test_a_server_is_as_its_schema_says() -> None:
    where = [("twamp", "::1", 862), ("owamp", "192.0.2.1", 861)]
    session = SessionState(
        sid=bytes(range(16)),
        protocol="twamp",
        role="reflector",
        connection=1,
        client="[::1]:40000",
        mode="encrypted",
        sender=("::1", 40001),
        receiver=("::1", 20000),
        state="started",
        packets={"test_packet:reflected": 7, "bad_hmac:dropped": 0},
        obtained={"timestamps": "kernel"},
    )
    state = ServerState(where, {"connections": 1}, 1, [session], START_NS)
    check(server_json.document(state), schema.server_schema())
    check(server_json.listening([*where, ("light", "::", 862)]), schema.server_schema())
    text = server_text.report(state)
    assert "encrypted started: test_packet:reflected 7; not granted: timestamps: kernel" in text


def test_a_reflector_is_as_its_schema_says() -> None:
    document = plain(reflector_json.document(reflector()))
    check(reflector_json.document(reflector()), schema.reflector_schema())
    assert document["dispositions"]["bad_hmac:dropped"] == 3
    assert [str(document[name]) for name in ("received", "reflected")] == ["1204", "1200"]
    assert document["distributions"]["residence"] is None
    check(
        {"type": "listening", "schema": 1, "local_addresses": [{"address": "::1", "port": 8620}]},
        schema.reflector_schema(),
    )
