"""The OpenAPI document as a maker of requests and as the judge of answers."""

from __future__ import annotations

import copy
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlencode

import jsonschema  # type: ignore[import-untyped]  # it has none
from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy  # noqa: TC002  (a variable is annotated with it)

from twoway.api.openapi import document

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from .asking import Answer

Schema = dict[str, Any]
MOMENTS = st.integers(0, 2**63 - 1).map(str) | st.datetimes().map(lambda at: f"{at.isoformat()}Z")
LIKELY: Mapping[str, SearchStrategy[str]] = {
    "control-connection": st.sampled_from(["core-fra", "core-par"]),
    "test-session": st.sampled_from(["voice", "bulk"]),
    "since": MOMENTS,
    "until": MOMENTS,
    "destination": st.sampled_from(["203.0.113.0/24", "203.0.113.9", "2001:db8::/32"]) | st.ip_addresses().map(str),
    "prefix": st.sampled_from(["203.0.113.0/24", "2001:db8::/32"]),
}
"""Names that the made daemon has, times and prefixes that there are: a pattern alone seldom makes them."""


def closed(schema: Any) -> Any:  # noqa: ANN401  (JSON)
    """The same schema, in which an object has no member but those that are described."""
    if isinstance(schema, list):
        return [closed(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    parts = {name: closed(part) for name, part in schema.items()}
    if isinstance(parts.get("properties"), dict):
        parts.setdefault("additionalProperties", False)
    return parts


@dataclass(frozen=True)
class Operation:
    """One request that the document describes."""

    path: str
    method: str
    described: Schema
    components: Schema

    @property
    def responses(self) -> Mapping[int, Schema]:
        return {int(status): answer for status, answer in self.described["responses"].items()}

    def judge(self, answer: Answer, *also: int) -> None:
        """That an answer is among the described ones and as described; `also` are statuses of HTTP itself."""
        if answer.status in also:
            assert answer.media == "application/problem+json"
            return
        assert answer.status in self.responses, (self.path, answer)
        content = self.responses[answer.status]["content"]
        assert answer.media in content, (self.path, answer)
        if answer.media.endswith("json"):
            schema = {**closed(content[answer.media]["schema"]), "components": self.components}
            # Not `jsonschema.validate`, which would check the schema itself each time: a test does so once.
            jsonschema.Draft202012Validator(schema).validate(answer.json)

    def values(self, schema: Schema) -> SearchStrategy[Any]:
        """Values that a schema allows."""
        if "$ref" in schema:
            return self.values(self.components["schemas"][schema["$ref"].rpartition("/")[2]])
        if "anyOf" in schema:
            return st.one_of([self.values(part) for part in schema["anyOf"]])
        if "enum" in schema:
            return st.sampled_from(schema["enum"])
        match schema.get("type"):
            case "null":
                return st.none()
            case "boolean":
                return st.booleans()
            case "integer":
                return st.integers(schema.get("minimum"), schema.get("maximum"))
            case "number":
                return st.floats(schema.get("minimum"), schema.get("maximum"), allow_nan=False)
            case "array":
                return st.lists(self.values(schema["items"]), max_size=schema["maxItems"])
            case "string":
                least, most = schema.get("minLength", 0), schema.get("maxLength", 100)
                if "pattern" not in schema:
                    return st.text(st.characters(codec="utf-8"), min_size=least, max_size=most)
                found = st.from_regex(schema["pattern"], fullmatch=True, alphabet=st.characters(codec="utf-8"))
                return found.map(lambda text: text[:most]).filter(lambda text: len(text) >= least)
            case "object":
                needed = set(schema.get("required", ()))
                members = {
                    name: LIKELY[name] | self.values(part) if name in LIKELY else self.values(part)
                    for name, part in schema["properties"].items()
                }
                return st.fixed_dictionaries(
                    {name: part for name, part in members.items() if name in needed},
                    optional={name: part for name, part in members.items() if name not in needed},
                )
        raise ValueError(f"nothing is made of {schema}")

    def _parameters(self, where: str) -> Schema:
        return {
            "type": "object",
            "properties": {p["name"]: p["schema"] for p in self.described.get("parameters", ()) if p["in"] == where},
            "required": [p["name"] for p in self.described.get("parameters", ()) if p["in"] == where and p["required"]],
        }

    def allowed(self) -> SearchStrategy[bytes]:
        """Requests as the document has them."""
        content = self.described.get("requestBody", {})
        body = content.get("content", {}).get("application/json", {}).get("schema")
        without = st.nothing() if content.get("required") else st.none()
        return st.builds(
            self._request,
            self.values(self._parameters("path")),
            self.values(self._parameters("query")),
            st.none() if body is None else without | self.values(body).map(lambda value: json.dumps(value).encode()),
        )

    def hostile(self) -> SearchStrategy[bytes]:
        """Requests as the document has them, but for some parameters: any names and values; any octets for a body."""
        known = [p["name"] for p in self.described.get("parameters", ())] + ["control-connection", "repeat", "x"]
        names = st.sampled_from(known) | st.text(st.characters(codec="utf-8"), max_size=5)
        numbers = st.integers() | st.floats()
        words = st.sampled_from(["", "null", "true", "-0", "-0.0", "1e-300", "nan", "inf", "9" * 5000, "core-fra"])
        values = words | numbers | MOMENTS | st.binary(max_size=70)
        allowed = self.values(self._parameters("query"))
        query = st.builds(
            dict.__or__, allowed, st.dictionaries(names, values | st.lists(values, max_size=20), max_size=3)
        )
        path = st.fixed_dictionaries({"what": st.text(st.characters(codec="utf-8"), min_size=1, max_size=20)})
        deep = st.integers(1, 16_000).flatmap(lambda n: st.sampled_from([b"[" * n, b'{"name":' * (n // 8), b"9" * n]))
        leaves = st.none() | numbers | st.text(max_size=10)
        tree = st.recursive(
            leaves, lambda part: st.lists(part, max_size=3) | st.dictionaries(st.sampled_from(known), part, max_size=3)
        )
        body = st.binary(max_size=200) | deep | tree.map(lambda value: json.dumps(value).encode())
        return st.builds(self._request, path, query, st.none() | body)

    def _request(self, path: Mapping[str, str], query: Mapping[str, object], body: bytes | None) -> bytes:
        target = self.path
        for name, value in path.items():
            target = target.replace(f"{{{name}}}", quote(value, safe=""))
        given = {name: _written(value) for name, value in query.items() if value is not None}
        head = f"{self.method} {target}?{urlencode(given, doseq=True)} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"
        if body is None:
            return head.encode() + b"\r\n"
        return f"{head}Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body


def _written(value: object) -> object:
    """As a query has it: booleans as JSON does."""
    if isinstance(value, list):
        return [_written(one) for one in value]
    return str(value).lower() if isinstance(value, bool) else value


def operations() -> Iterator[Operation]:
    """All that the document has."""
    body = copy.deepcopy(document())
    components = closed(body["components"])
    for path, methods in body["paths"].items():
        for method, described in methods.items():
            yield Operation(path, method.upper(), described, components)
