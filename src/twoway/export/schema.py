"""JSON Schema (draft 2020-12) of what `--json` and `--ndjson` print, made from the tables that print it."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from twoway.analysis.metrics import SECTIONS, Kind, Metric, Section, Unit, in_section
from twoway.analysis.reflector import DISPOSITIONS, DISTRIBUTIONS
from twoway.analysis.samples import COLUMNS, SampleColumn
from twoway.config.managed import MODES
from twoway.export import fields
from twoway.export.fields import Field, JsonValue

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

DRAFT = "https://json-schema.org/draft/2020-12/schema"
RECORD_TYPES = ("session", "packet", "event", "interval", "summary", "difference")

Schema = dict[str, JsonValue]
T = TypeVar("T")


def result_schema() -> Schema:
    """The schema of the document that `twoway.export.json_result.document` makes (`--json`)."""
    properties: dict[str, JsonValue] = {
        **_marker("result"),
        "session": _session(),
        **_outcome(),
        "samples": {"type": "array", "description": "Packet by packet, where asked for.", "items": _sample()},
    }
    body = _object("Result of one measurement.", properties, optional=("samples",))
    return {"$schema": DRAFT, "title": "twoway result", **body}


def record_schema() -> Schema:
    """The schema of one line of `--ndjson`."""
    interval = {**_described(fields.SPAN), **_measurements()}
    records = {
        "session": _object("First record.", {**_marker("session"), **_properties(_session())}),
        "packet": _object("A packet's fate, or a further reply.", {**_marker("packet"), **_properties(_sample())}),
        "event": _object("Something that happened while measuring.", {**_marker("event"), **_described(fields.EVENT)}),
        "interval": _object("What came since the last such record.", {**_marker("interval"), **interval}),
        "summary": _object("Last record: the whole measurement.", {**_marker("summary"), **_outcome()}),
        "difference": _object("Of several paths, after their summaries.", {**_marker("difference"), **_difference()}),
    }
    for name in RECORD_TYPES[:-1]:
        # With several paths each record says which it is about.
        records[name] = _with_optional(records[name], {"path": _plain("string", "Name of the path, of several.")})
    return {"$schema": DRAFT, "title": "twoway record", "oneOf": [records[name] for name in RECORD_TYPES]}


def paths_schema() -> Schema:
    """The schema of the document that `--json` prints of several paths."""
    path = _object(
        "One path.",
        {
            "name": _plain("string", "As it was asked for."),
            "session": _session(),
            **_outcome(),
            "samples": {"type": "array", "description": "Packet by packet, where asked for.", "items": _sample()},
        },
        optional=("samples",),
    )
    difference = _object("How a path differs from the first.", _difference())
    properties: dict[str, JsonValue] = {
        **_marker("paths"),
        "paths": {"type": "array", "description": "The paths, in the order asked for.", "items": path, "minItems": 2},
        "differences": {"type": "array", "description": "Of each path but the first.", "items": difference},
        "unpaired": {
            "type": "integer",
            "minimum": 0,
            "description": "Slots that could not be compared: some path's packet was not heard of in time.",
        },
    }
    body = _object("Results of several paths measured at once.", properties)
    return {"$schema": DRAFT, "title": "twoway paths", **body}


def reflector_schema() -> Schema:
    """The schema of one line of `twoway reflector --json`: `listening` once, then its counters as often as asked."""
    address = _object("One.", {"address": _plain("string", "Numeric."), "port": _plain("integer", "UDP port.")})
    dispositions: dict[str, JsonValue] = {
        name: {"type": "integer", "minimum": 0, "description": f"Packets: {words}."}
        for name, words in DISPOSITIONS.items()
    }
    packets: Schema = {"type": "integer", "minimum": 0}
    addresses: Schema = {"type": "array", "description": "Socket addresses listened on.", "items": address}
    listening = _object("Packets are answered from now on.", {**_marker("listening"), "local_addresses": addresses})
    properties: dict[str, JsonValue] = {
        **_marker("reflector"),
        "at_ns": _plain("integer", "Wall time. Unit: ns."),
        "local_addresses": addresses,
        "obtained": _obtained(),
        "received": {**packets, "description": "Packets received: the sum of `dispositions`."},
        "reflected": {**packets, "description": "Packets answered."},
        "dispositions": {
            "type": "object",
            "description": 'Packets by disposition, "reason:action"; each received packet is in exactly one.',
            "properties": dispositions,
            "additionalProperties": packets,
        },
        "own_counters": {
            "type": "object",
            "description": "The reflector's own state and faults: counts.",
            "additionalProperties": {"type": "integer"},
        },
        "distributions": {
            "type": "object",
            "description": "What the reflector knows of its own timing.",
            "properties": {
                name: {**_distribution(), "description": f"{words}. Unit: ns."} for name, words in DISTRIBUTIONS.items()
            },
            "additionalProperties": False,
        },
    }
    counters = _object("A Session-Reflector's counters.", properties)
    return {"$schema": DRAFT, "title": "twoway reflector", "oneOf": [listening, counters]}


def server_schema() -> Schema:
    """The schema of one line of `twoway server --json`: `listening` once, then its state as often as asked."""
    protocol = {"enum": ["twamp", "owamp", "light"], "description": "What is served there; light is UDP."}
    address = {"address": _plain("string", "Numeric."), "port": _plain("integer", "Port.")}
    end = _object("Address and UDP port of one end.", address)
    addresses: Schema = {
        "type": "array",
        "description": "Socket addresses listened on.",
        "items": _object("One.", {"protocol": protocol, **address}),
    }
    session = _object(
        "A test-session that has not ended.",
        {
            "sid": {"type": "string", "pattern": "^[0-9a-f]{32}$", "description": "SID, 16 octets."},
            "protocol": {"enum": ["twamp", "owamp"], "description": "Protocol."},
            "role": {"enum": ["reflector", "receiver", "sender"], "description": "What the Server is in it."},
            "connection": _plain("integer", "Number of its control connection, from 1."),
            "client": _plain("string", "Address and port of the Control-Client."),
            "mode": {"enum": list(MODES), "description": "Security mode."},
            "sender": {**end, "description": "Session-Sender."},
            "receiver": {**end, "description": "Session-Reflector or Session-Receiver."},
            "state": {"enum": ["accepted", "started", "stopping"], "description": "How far it is."},
            "packets": {**_counts(), "description": "Packets by disposition."},
            "obtained": _obtained(),
        },
    )
    properties: dict[str, JsonValue] = {
        **_marker("server"),
        "at_ns": _plain("integer", "Wall time. Unit: ns."),
        "local_addresses": addresses,
        "connections": _plain("integer", "Control connections that are open, or whose stopped sessions still run."),
        "counters": {**_counts(), "description": "How often things happened; broken rules by their names."},
        "sessions": {"type": "array", "description": "Test-sessions.", "items": session},
    }
    listening = _object("Connections are accepted from now on.", {**_marker("listening"), "local_addresses": addresses})
    return {
        "$schema": DRAFT,
        "title": "twoway server",
        "oneOf": [listening, _object("A Server's state.", properties)],
    }


def _counts() -> Schema:
    return {"type": "object", "additionalProperties": {"type": "integer", "minimum": 0}}


def _marker(kind: str) -> dict[str, JsonValue]:
    return {
        "type": {"const": kind, "description": "What this object is."},
        "schema": {"const": fields.SCHEMA_VERSION, "description": "Version of this schema."},
    }


def _object(description: str, properties: Mapping[str, JsonValue], optional: Sequence[str] = ()) -> Schema:
    return {
        "type": "object",
        "description": description,
        "properties": properties,
        "required": [name for name in properties if name not in optional],
        "additionalProperties": False,
    }


def _difference() -> dict[str, JsonValue]:
    return _described(fields.DIFFERENCE)


def _with_optional(schema: Schema, more: Mapping[str, JsonValue]) -> Schema:
    return {**schema, "properties": {**_properties(schema), **more}}


def _properties(schema: Schema) -> Mapping[str, JsonValue]:
    properties = schema["properties"]
    if not isinstance(properties, dict):
        raise TypeError("not an object's schema")
    return properties


def _described(table: Sequence[Field[T]]) -> dict[str, JsonValue]:
    return {field.name: _field(field) for field in table}


def _field(field: Field[T]) -> Schema:
    body: Schema = {
        "type": [field.type, "null"] if field.optional else field.type,
        "description": f"{field.description} Unit: {field.unit}.",
    }
    if field.values:
        body["enum"] = [*field.values, *([None] if field.optional else [])]
    if field.items:
        body["items"] = {"type": field.items}
    low, high = field.bounds
    if low is not None:
        body["minimum"] = low
    if high is not None:
        body["maximum"] = high
    return body


def _plain(kind: str, description: str) -> Schema:
    return {"type": kind, "description": description}


def _obtained() -> Schema:
    return {
        "type": "object",
        "description": "Option -> what stands instead, for each that was granted in lesser form. Empty: all granted.",
        "additionalProperties": {"type": "string"},
    }


def _session() -> Schema:
    requested = _object("What was asked for.", _described(fields.REQUESTED))
    return _object("The test-session.", {**_described(fields.ENDS), "requested": requested, "obtained": _obtained()})


def _outcome() -> dict[str, JsonValue]:
    events = _object("One event.", _described(fields.EVENT))
    outages = _object("One outage.", _described(fields.OUTAGE))
    return {
        **_described(fields.RUN),
        **_measurements(),
        "local_clock": _object("The clock here at the end, by adjtimex.", _described(fields.LOCAL_CLOCK)),
        "events": {"type": "array", "description": "What happened while measuring, in order.", "items": events},
        "outages": {
            "type": "array",
            "description": "When there was no control connection, and so no test packet: in no counter.",
            "items": outages,
        },
    }


def _measurements() -> dict[str, JsonValue]:
    sections: dict[str, JsonValue] = {}
    for section in Section:
        properties: dict[str, JsonValue] = {metric.name: _metric(metric) for metric in in_section(section)}
        if section is Section.TOOL:
            properties |= _described(fields.FALLBACK)
        sections[section] = _object(SECTIONS[section], properties)
    steps = _object("One step.", _described(fields.CLOCK_STEP))
    unknown: Schema = {
        "type": "object",
        "description": "Metric -> why it cannot be known, for each that is null.",
        "additionalProperties": {"type": "string"},
    }
    return {
        **sections,
        "clock_steps": {"type": "array", "description": "Steps of the clock here: the first 16.", "items": steps},
        "unknown": unknown,
    }


def _metric(metric: Metric) -> Schema:
    described = f"{metric.description} Unit: {metric.unit}." + (f" {metric.rfc}." if metric.rfc != "-" else "")
    match metric.kind:
        case Kind.DISTRIBUTION:
            return {**_distribution(), "description": described}
        case Kind.TALLY:
            return {
                "type": "object",
                "description": f"{described} Value -> how often.",
                "propertyNames": {"pattern": "^[0-9]+$"},
                "additionalProperties": {"type": "integer", "minimum": 1},
            }
        case Kind.RATIO:
            return {"type": ["number", "null"], "description": described, "minimum": 0}
        case Kind.COUNTER | Kind.FACT:
            kind = {Unit.STATE: "boolean", Unit.TEXT: "string"}.get(metric.unit, "integer")
            nullable = metric.read is not None or metric.kind is Kind.FACT
            body: Schema = {"type": [kind, "null"] if nullable else kind, "description": described}
            return {**body, "minimum": 0} if kind == "integer" else body


def _distribution() -> Schema:
    percentiles: Schema = {
        "type": "object",
        "description": "The percentiles asked for, by RFC 2330 section 11.3. Unit: ns.",
        "patternProperties": {"^p[0-9]+([.][0-9]+)?$": {"type": "integer"}},
        "additionalProperties": False,
    }
    bucket: Schema = {
        "type": "array",
        "prefixItems": [{"type": "integer"}, {"type": "integer"}, {"type": "integer", "minimum": 1}],
        "items": False,
    }
    histogram: Schema = {
        "type": "array",
        "description": "Histogram, ascending: [lower_ns, upper_ns, packets]. Not in interval records, nor for PDV.",
        "items": bucket,
    }
    properties = {**_described(fields.STATISTICS), "percentiles_ns": percentiles, "buckets": histogram}
    body = _object("", properties, optional=("buckets",))
    return {**body, "type": ["object", "null"]}


def _sample() -> Schema:
    return _object("One packet.", {column.name: _cell(column) for column in COLUMNS})


def _cell(column: SampleColumn) -> Schema:
    if column.names is not None:
        return {"type": "string", "description": column.description, "enum": column.names}
    if column.bits is not None:
        names: Schema = {"type": "string", "enum": column.bits}
        return {"type": "array", "description": column.description, "items": names}
    described = f"{column.description} Unit: {column.unit}."
    return {"type": ["integer", "null"] if column.optional else "integer", "description": described}
