"""The model as a table: its names are everyone's, its kinds write what they read, its JSON Schema agrees with it."""

from __future__ import annotations

import json
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jsonschema  # type: ignore[import-untyped]  # it has no types, and only tests use it
import pytest

from twoway.analysis.metrics import BY_NAME, METRICS, Section, Unit
from twoway.analysis.notices import NOTICES, Scope
from twoway.config import plan
from twoway.config.check import check_text
from twoway.config.document import read_document
from twoway.config.doubts import TRAP_THRESHOLDS
from twoway.config.messages import INSTEAD, validated
from twoway.config.model import Configuration
from twoway.config.model.client import CONNECTION_TRAPS, SESSION_TRAPS, Thresholds
from twoway.config.model.description import Shape, Statement, statements_of
from twoway.config.model.file_values import Mode, Secret, Where
from twoway.config.model.network_values import CodePoint, Host, Listening, Network, Numeric, PortRange
from twoway.config.model.route_values import (
    Amount,
    Command,
    NextHopName,
    Prefix,
    Protocol,
    Ratio,
    Require,
    TestName,
)
from twoway.config.model.routes import ROUTE_TRAPS, Limits
from twoway.config.model.schema import configuration_schema
from twoway.config.model.surroundings import FACILITIES, SEVERITIES
from twoway.config.model.values import Choice, Duration, Integer, ListOf, Octets, Switch
from twoway.config.planning_routes import METRICS as LIMIT_METRICS
from twoway.config.planning_routes import RATIO_METRICS, TOLD_BY
from twoway.config.sample import sample
from twoway.tlvs import TLVS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from twoway.config.model.statements import Statements
    from twoway.config.model.values import Kind


def everything(model: type[Statements] = Configuration, path: str = "") -> Iterator[tuple[str, Statement]]:
    """Every statement, wherever it may stand."""
    for statement in statements_of(model):
        here = f"{path}.{statement.name}".lstrip(".")
        yield here, statement
        if statement.model is not None:
            yield from everything(statement.model, here)


STATEMENTS = dict(everything())


def test_traps_are_those_of_the_notices() -> None:
    of = {scope: {name for name, row in NOTICES.items() if row.trap and row.scope is scope} for scope in Scope}
    assert set(SESSION_TRAPS) == of[Scope.SESSION]
    assert set(CONNECTION_TRAPS) == of[Scope.CONNECTION]
    assert set(ROUTE_TRAPS) == of[Scope.ROUTE]
    assert set(TRAP_THRESHOLDS) == set(SESSION_TRAPS) - {"test-completion"}
    assert set(TRAP_THRESHOLDS.values()) <= set(Thresholds.model_fields)


def test_thresholds_are_those_of_the_plan() -> None:
    assert list(Thresholds.model_fields) == [field.name for field in fields(plan.Thresholds)]
    for field in fields(plan.Thresholds):
        if not isinstance(field.default, plan.Limit):
            assert Thresholds.model_fields[field.name].default == field.default


def test_every_metric_of_a_path_can_be_a_limit_of_a_route() -> None:
    """The names are those of conditions; what this host does to its own measurement decides about no route."""
    wanted = {metric.condition for metric in METRICS if metric.condition and metric.section is not Section.TOOL}
    # That the way has changed is neither good nor bad, and further replies are under way when they are announced.
    wanted -= {"location-changes", "further-loss"}
    assert {name.replace("_", "-") for name in Limits.model_fields} == wanted
    assert set(LIMIT_METRICS) == set(Limits.model_fields)
    for statement, name in (*LIMIT_METRICS.items(), *RATIO_METRICS.items()):
        assert BY_NAME[name].condition == statement.replace("_", "-")
    assert all(BY_NAME[name].unit is Unit.RATIO for name in RATIO_METRICS.values())
    told = {name for name, metric in LIMIT_METRICS.items() if BY_NAME[metric].section is Section.TLVS}
    assert set(TOLD_BY) == told
    assert {name for name, _ in TOLD_BY.values()} <= {name for name, _ in TLVS}


def test_severities_and_facilities_have_the_numbers_of_rfc_5424() -> None:
    assert (SEVERITIES[0], SEVERITIES[3], SEVERITIES[7]) == ("emergency", "error", "debug")
    assert (FACILITIES[0], FACILITIES[3], FACILITIES[10], FACILITIES[16], FACILITIES[23]) == (
        *("kern", "daemon", "authpriv", "local0", "local7"),
    )
    assert len(FACILITIES) == 24


@pytest.mark.parametrize(("path", "statement"), STATEMENTS.items(), ids=STATEMENTS)
def test_every_statement_is_described_and_its_default_and_examples_are_valid(path: str, statement: Statement) -> None:
    assert statement.meaning.endswith("."), path
    if statement.kind is None:
        return
    assert statement.words
    shown = [value for value in (statement.default, *statement.examples) if value is not None]
    assert shown, "neither default nor example"
    for value in shown:
        if not (isinstance(value, dict) and statement.shape is Shape.STATEMENTS):
            assert statement.kind.write(statement.kind.read(value)) is not None


def test_statements_with_advice_do_not_exist_under_that_name() -> None:
    at_home = {path.rpartition(".")[2] for path in STATEMENTS}
    assert {name for name in INSTEAD if name in at_home} == set()


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        (Integer(0, 9), 5),
        (Duration(0, 10**18), "20ms"),
        (Duration(0, 10**18), "36h"),
        (Duration(0, 10**18), "90s"),
        (Duration(0, 10**18), 0),
        (Octets(0, 1 << 40), "64k"),
        (Octets(0, 1 << 40), 1500),
        (Choice(("a", "b")), "b"),
        (Switch(), True),
        (Numeric(), "2001:db8::1"),
        (Host(), "reflector.example.net"),
        (Host(), "fe80::1%eth0"),
        (Network(), "192.0.2.0/24"),
        (Listening(), "[::1]:80"),
        (CodePoint(), "ef"),
        (CodePoint(), 63),
        (PortRange(), "1-65535"),
        (Where(), "/var/lib"),
        (Secret(), "/etc/keys"),
        (Secret(), {"credential": "keys"}),
        (Mode(), "0660"),
        (ListOf(Integer(0, 9)), [1, 2]),
        (Prefix(), "2001:db8::/32"),
        (NextHopName(), "fe80::1%eth0"),
        (NextHopName(), "discard"),
        (Ratio(), "0.5%"),
        (Amount(), 3),
        (Amount(), "12.25%"),
        (TestName(), "isp-a/edge"),
        (Require(), "any"),
        (Require(), 2),
        (Command(), ["/bin/true", "a b", ""]),
        (Protocol(), 94),
    ],
)
def test_a_kind_writes_what_it_reads(kind: Kind[Any], value: object) -> None:
    assert kind.write(kind.read(value)) == value
    jsonschema.Draft202012Validator(kind.schema()).validate(value)


def accepts(data: Any) -> tuple[bool, bool]:  # noqa: ANN401  (whatever a file may hold)
    """Whether the JSON Schema takes data, and whether the model does."""
    mistakes: list[str] = []
    validated(data, lambda _, message: mistakes.append(message))
    return SCHEMA.is_valid(data), not mistakes


SCHEMA = jsonschema.Draft202012Validator(configuration_schema())


def test_the_schema_is_one() -> None:
    jsonschema.Draft202012Validator.check_schema(configuration_schema())


def test_the_schema_has_every_statement_with_its_meaning_and_default() -> None:
    schema = configuration_schema()
    for path, statement in STATEMENTS.items():
        part: dict[str, Any] = schema
        for name in path.split("."):
            part = _holder(part, schema)["properties"][name]
        assert part["description"].split() == statement.meaning.split(), path
        assert part.get("default") == statement.default, path


def _holder(part: dict[str, Any], schema: dict[str, Any]) -> dict[str, Any]:
    """The object that a part of the schema is, or holds."""
    if "properties" in part:
        return part
    inner = [*part.get("anyOf", []), part.get("additionalProperties"), part.get("items")]
    inner += [schema["$defs"][part["$ref"].rpartition("/")[2]]] if "$ref" in part else []
    inner += list(part.get("patternProperties", {}).values())
    found = [_holder(one, schema) for one in inner if isinstance(one, dict)]
    return next((one for one in found if one), {})


def test_both_validators_take_the_sample() -> None:
    assert accepts(read_document(sample(), "f.yaml").data) == (True, True)


def session(**statements: object) -> dict[str, object]:
    """A session, light if it has a target of its own."""
    written = {name.replace("_", "-"): value for name, value in statements.items()}
    kind = {"control-type": "light"} if "target" in written else {"target": "192.0.2.1"}
    return connection({"s": written}, **kind)


def connection(sessions: object, **statements: object) -> dict[str, object]:
    written = {name.replace("_", "-"): value for name, value in statements.items()}
    return {"client": {"control-connection": {"c": {**written, "test-session": sessions}}}}


def route(next_hops: dict[str, object], **statements: object) -> dict[str, object]:
    return {"routes": {"route": {"0.0.0.0/0": {"next-hop": next_hops, **statements}}}}


@pytest.mark.parametrize(
    "data",
    [
        {},
        {"client": None},
        {"server": {"light": None}},
        {"server": {"light": {"stateful-sequence": True}}},
        {"server": {"light": {"stateful-sequence": "off"}}},
        {"server": {"light": {"stateful-sequence": {"cache-size": 1000}, "port": [862]}}},
        {"server": {"managed": {"client-list": {"a": ["::/0"], "b": {"address": "192.0.2.0/24"}}}}},
        {"server": {"managed": {"client-list": {"a": "::/0"}, "server-inactivity-timeout": 0}}},
        {"api": {"mode": "0660", "listen": "[::1]:80", "token-file": {"credential": "token"}}},
        {"store": {"path": "x", "max-size": "2GiB", "retention": {"hours": 0}}},
        {"notifications": {"snmp": [{"address": "nms"}], "syslog": [{"transport": "local"}]}},
        {"variables": {"site": "fra", "asn": 64500}},
        session(target="192.0.2.1", probe_interval=0.02, timeout="500ms", traps="rtt-exceeded"),
        session(
            target={"address": "fe80::1", "local-link": "eth0"}, thresholds={"rtt": 5000, "max-rtt": {"average": "on"}}
        ),
        session(dscp_code_points=101110),
        session(target="192.0.2.1", dscp_code_points="AF41", offload_type="pfe-timestamp", key_id=7),
        session(thresholds={"rtt": "5 ms", "successive-loss": 0, "control-failure": "off"}),
        session(
            target="a", source_routing={"forward": {"srmpls-nodes": [17]}, "return": {"srv6-nodes": "2001:db8::1"}}
        ),
        session(target="a", path={"a": None, "b": {"forward": {"interface": "eth0"}, "micro-session-id": 1}}),
        route({"192.0.2.1": {"test": "a/b"}, "eth0": None, "fe80::1%eth0": {}, "discard": {"preference": 2}}),
        route({"192.0.2.1": {"track": {"limits": {"loss": "10%", "late": 3, "rtt": "5ms"}, "damping": "on"}}}),
        {"routes": {"hook": {"command": ["/bin/true", "x"]}, "routing-instance": {"b": {"table": 100}}}},
    ],
)
def test_both_validators_take_what_is_right(data: object) -> None:
    assert accepts(data) == (True, True)


@pytest.mark.parametrize(
    "data",
    [
        {"colour": "blue"},
        {"workers": None},
        {"workers": 0},
        {"workers": "2"},
        {"workers": True},
        {"client": 5},
        {"client": {"control-connection": None}},
        {"client": {"control-connection": {"a b": {}}}},
        {"client": {"control-connection": {"a": {"control-type": "lite"}}}},
        {"client": {"control-connection": {"a": {"target": None}}}},
        {"client": {"control-connection": {"a": {"test-interval": "soon"}}}},
        {"server": {"light": {"stateful-sequence": 5}}},
        {"server": {"light": {"port": [862, 862]}}},
        {"server": {"light": {"port": 80}}},
        {"server": {"managed": {"client-list": {"a": "::/0"}, "max-connection-duration": 24}}},
        {"server": {"managed": {"client-list": {"a": "::/0"}, "port-range": "many"}}},
        {"api": {"mode": 660}},
        {"api": {"token-file": {"credential": "../x"}}},
        {"api": {"token-file": {"credentials": "x"}}},
        {"store": {}},
        {"store": {"path": ""}},
        {"notifications": {"snmp": [{}]}},
        {"notifications": {"snmp": {}}},
        {"notifications": {"syslog": ["udp"]}},
        session(probe_count=-1),
        session(probe_interval=True),
        session(probe_interval=100_000),
        session(traps=["test-iteration-done"]),
        session(dscp_code_points=64),
        session(dscp_code_points="gold"),
        session(thresholds={"rtt": [1]}),
        session(thresholds={"rtt": 60_000_001}),
        session(target=["192.0.2.1"]),
        session(source_routing={"forward": {"srmpls-nodes": [15]}}),
        session(source_routing={"forward": {"srmpls-nodes": 2**20}}),
        session(source_routing={"forward": {"srv6-nodes": [17]}}),
        session(target="a", path={"a:b": {}}),
        session(target="a", path={"a": {"micro-session-id": 65536}}),
        route({"192.0.2.1/24": {}}),
        route({"192.0.2.1": {"preference": 0}}),
        route({"192.0.2.1": {"test": "a"}}),
        route({"192.0.2.1": {"track": {"require": "most"}}}),
        route({"192.0.2.1": {"track": {"limits": {"loss": 10}}}}),
        route({"192.0.2.1": {"track": {"limits": {"socket-drops": 1}}}}),
        route({"192.0.2.1": {"track": {"initial-state": "maybe"}}}),
        route({}, metric=17),
        {"routes": {"protocol": 2}},
        {"routes": {"hook": {"command": "reboot"}}},
        {"routes": {"on-exit": "burn"}},
    ],
)
def test_neither_validator_takes_what_is_wrong(data: object) -> None:
    assert accepts(data) == (False, False)


@pytest.mark.parametrize(
    "data",
    [
        connection({"s": {"destination-port": 862}}, target="192.0.2.1"),
        connection({"s": {"protocol": "stamp"}}, target="192.0.2.1"),
        connection({"s": {"ssid": 5}}, target="192.0.2.1"),
        connection({"s": None}),
        connection({}, target="192.0.2.1"),
        connection(None, target="192.0.2.1"),
        {"client": {"control-connection": {"c": None}}},
        {"client": {"control-connection": {"c": {"target": "192.0.2.1"}}}},
        connection({"s": {}}, control_type="light"),
        connection({"s": None}, control_type="light"),
        connection({"s": {"target": "192.0.2.1"}}, control_type="light", target="192.0.2.1"),
        connection({"s": {"target": "192.0.2.1"}}, control_type="light", destination_port=862),
        connection({"s": {"target": "192.0.2.1"}}, control_type="light", tcp_keepcnt=3),
        {"server": {"managed": None}},
        {"server": {"managed": {"client-list": {}}}},
        {"store": None},
        {"api": {"listen": "[::1]:80"}},
        {"notifications": {"snmp": [{"address": "nms", "user": "noc"}]}},
        {"notifications": {"snmp": [{"address": "nms", "version": "v3"}]}},
        {"notifications": {"snmp": [{"address": "nms", "version": "v3", "user": "a", "community-file": "x"}]}},
    ],
)
def test_the_schema_knows_what_belongs_to_what(data: object) -> None:
    assert not SCHEMA.is_valid(data)
    assert check_text(json.dumps(data), "f.yaml", Path("/etc/twoway")).errors


def test_ranges_of_times_with_a_unit_are_the_models_alone() -> None:
    """JSON Schema cannot say them; this is the one known difference of this sort."""
    assert accepts(session(probe_interval="25h")) == (True, False)


def test_an_import_of_the_command_line_loads_no_pydantic() -> None:
    import subprocess
    import sys

    code = "import sys, twoway.config.check, twoway.cli.check, twoway.cli.import_; sys.exit('pydantic' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_the_plan_of_the_sample_is_whole() -> None:
    found = check_text(sample(), "sample.yaml", Path("/etc/twoway"))
    assert (found.errors, found.warnings) == ((), ())
    assert found.plan is not None
    assert [connection.name for connection in found.plan.connections] == ["core-fra", "edge"]
