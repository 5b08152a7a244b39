"""The JSON Schema of a configuration, made of the model.

It says what single values may be as far as JSON Schema can: to it, a time with a unit is text of the right form; its
range is left to `twoway check`. So is most of what statements must not say together, but for that which an editor
should mark while it is written: what belongs to managed and what to light, and what has to be there.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pydantic.json_schema import GenerateJsonSchema

from twoway.config.model import Configuration
from twoway.config.model.client import ControlConnection
from twoway.config.model.description import statements_of
from twoway.config.model.server import Managed
from twoway.config.model.surroundings import Api, Snmp, Store

if TYPE_CHECKING:
    from pydantic.json_schema import JsonSchemaValue
    from pydantic_core import core_schema

    from twoway.config.model.statements import Statements
    from twoway.config.model.values import Kind


def _without(*names: str) -> dict[str, Any]:
    """None of these statements."""
    return {"properties": dict.fromkeys(names, False)}


def _some(statement: str) -> dict[str, Any]:
    """This statement, which holds something."""
    return {
        "type": "object",
        "required": [statement],
        "properties": {statement: {"minProperties": 1, "type": "object"}},
    }


def _each_session(rule: dict[str, Any]) -> dict[str, Any]:
    return {"properties": {"test-session": {"additionalProperties": rule}}}


_LIGHT = {"properties": {"control-type": {"const": "light"}}, "required": ["control-type"]}
_V3 = {"properties": {"version": {"const": "v3"}}, "required": ["version"]}
TOGETHER: dict[type[Statements], list[dict[str, Any]]] = {
    ControlConnection: [
        _some("test-session"),
        {
            "if": _LIGHT,
            "then": {
                "allOf": [
                    _without("target", "destination-port", "authentication", "dscp-code-points"),
                    _without("tcp-keepidle", "tcp-keepintvl", "tcp-keepcnt"),
                    _each_session({"type": "object", "required": ["target"]}),
                ]
            },
            "else": {
                "required": ["target"],
                **_each_session(_without("destination-port", "protocol", "key-file", "key-id", "ssid", "tlvs", "path")),
            },
        },
    ],
    Managed: [_some("client-list")],
    Store: [{"type": "object"}],
    Snmp: [
        {
            "if": _V3,
            "then": {"required": ["user"], **_without("community-file")},
            "else": _without("user", "auth-protocol", "auth-key-file", "priv-protocol", "priv-key-file", "engine-id"),
        }
    ],
    Api: [{"dependentRequired": {"listen": ["token-file"]}}],
}
"""What statements of one must say together, by the rules of `planning`: V1 to V4 and V8 among them."""


class _Generator(GenerateJsonSchema):
    def default_schema(self, schema: core_schema.WithDefaultSchema) -> JsonSchemaValue:
        """Without the default: the model has it in ns and octets, and it is to be shown as people write it."""
        return self.generate_inner(schema["schema"])


def configuration_schema() -> dict[str, Any]:
    """JSON Schema, draft 2020-12."""
    schema = Configuration.model_json_schema(by_alias=True, schema_generator=_Generator, mode="validation")
    definitions = schema.get("$defs", {})
    for model in _models(Configuration):
        _complete(schema if model is Configuration else definitions[model.__name__], model)
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Configuration of twoway",
        **{name: part for name, part in schema.items() if name != "title"},
    }


def _models(root: type[Statements]) -> list[type[Statements]]:
    found = [root]
    for model in found:
        inner = [statement.model for statement in statements_of(model) if statement.model is not None]
        found += [one for one in dict.fromkeys(inner) if one not in found]
    return found


def _complete(schema: dict[str, Any], model: type[Statements]) -> None:
    """Defaults as people write them; and statements without any of their own may be written empty."""
    schema.pop("title", None)
    schema["type"] = ["object", "null"]
    if model in TOGETHER:
        schema["allOf"] = TOGETHER[model]
    for statement in statements_of(model):
        part = schema["properties"][statement.name]
        part.pop("title", None)
        part["description"] = statement.meaning
        if statement.model in TOGETHER and statement.presence:
            # Written empty, it is there, and has nothing of what it must have.
            part["anyOf"] = [one for one in part["anyOf"] if one != {"type": "null"}]
        if statement.names is not None:
            part["propertyNames"] = {"pattern": _pattern(statement.names)}
        if statement.default is not None:
            part["default"] = statement.default


def _pattern(names: Kind[Any]) -> str:
    """What a name has to look like. One that looks like a number is text here, too."""
    schema = names.schema()
    return str(schema["anyOf"][0]["pattern"] if "anyOf" in schema else schema["pattern"])
