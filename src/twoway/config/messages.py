"""What pydantic finds wrong with a file's data, in our words, and the data without it. Pure.

The values' own kinds say what is wrong with a value; what is left to pydantic is structure: statements that do not
exist, that must be there, and values where statements should be.
"""

from __future__ import annotations

from difflib import get_close_matches
from typing import TYPE_CHECKING, cast

from pydantic import ValidationError

from twoway.config.model import Configuration
from twoway.config.model.description import Shape, statements_of
from twoway.config.model.values import shown

if TYPE_CHECKING:
    from collections.abc import Callable

    from twoway.config.document import Data, Path
    from twoway.config.model.statements import Statements

INSTEAD = {
    "paths": "write path",
    "target-address": "write target",
    "authentication-mode": "write authentication: {mode: …, key-file: …}",
    "authentication-key-chain": "secrets stand in a file: write key-file",
    "destination-interface": "Linux has no services interfaces: routing-instance binds to an interface",
    "client-limit": "clients are not counted: maximum-connections bounds all of them",
    "control-per-client-limit": "write maximum-connections-per-client",
    "test-per-client-limit": "write maximum-sessions-per-client",
    "control-maximum-duration": "write max-connection-duration",
    "control-inactivity-timeout": "write server-inactivity-timeout",
    "routing-instance-list": "write routing-instance, and port",
    "test-start-time": "write test-start: manual, and start tests by `twoway request start`",
    "post-cli-implicit-firewall": "twoway changes no firewall: open its ports there",
    "hardware-timestamp": "write offload-type: hardware",
    "twamp": "write test: CONTROL-CONNECTION/TEST-SESSION",
    "rpm": "write test: CONTROL-CONNECTION/TEST-SESSION",
    "qualified-next-hop": "write next-hop, and its preference",
    "interval": "write probe-interval",
    "count": "write probe-count",
    "size": "write data-size",
    "dscp": "write dscp-code-points",
    "community": "secrets stand in files: write community-file",
    "password": "secrets stand in files",
    "secret": "secrets stand in files: write key-file",
    "key": "secrets stand in files: write key-file",
    "token": "secrets stand in files: write token-file",
}
"""Statements that people bring along from elsewhere -> what to do instead."""


class Mistake:
    """One thing that is wrong with the data: where, and what."""

    __slots__ = ("message", "path")

    def __init__(self, path: Path, message: str) -> None:
        self.path = path
        self.message = message


_ROUNDS = 8
"""Most times that mistakes are taken out; two are usual."""


def validated(data: Data, note: Callable[[Path, str], None]) -> Configuration:
    """The model of all that is valid; `note` is told of everything else."""
    for _ in range(_ROUNDS):
        try:
            return Configuration.model_validate(data)
        except ValidationError as error:
            mistakes = mistakes_of(error, data)
        for mistake in mistakes:
            note(mistake.path, mistake.message)
        data = without(data, mistakes)
    return Configuration()


def mistakes_of(error: ValidationError, data: Data) -> list[Mistake]:
    """Everything that a validation found, by the paths of the file."""
    found = []
    for detail in error.errors(include_url=False, include_input=True):
        at: Path = tuple(part for part in detail["loc"] if part != "[key]")
        place = at if detail["type"] == "missing" else _in_file(at, data)
        kind, value = detail["type"], detail["input"]
        if kind == "extra_forbidden":
            message = _unknown(at)
        elif kind == "missing":
            message = "is missing"
        elif kind == "refused":
            message = detail["msg"]
        elif kind in ("model_type", "dict_type"):
            message = "has no value" if value is None else f"{shown(value)} is not a mapping of statements"
        elif kind == "list_type":
            message = "has no value" if value is None else f"{shown(value)} is not a list: begin each with `- `"
        elif kind == "too_long":
            message = f"{len(value)} are more than {detail.get('ctx', {}).get('max_length')}"
        else:
            message = detail["msg"]
        found.append(Mistake(place, message))
    return found


def _in_file(path: Path, data: Data) -> Path:
    """The longest part of a path that the file has, without the statements that a short form stands for."""
    found: Path = ()
    for part in path:
        if isinstance(part, str) and not isinstance(data, dict):
            continue
        inner = _inner(data, part)
        if inner is _NOTHING:
            break
        data = cast("Data", inner)
        found = (*found, part)
    return found


_NOTHING = object()


def _inner(data: Data, part: str | int) -> object:
    """The value of a statement or a place in a list."""
    match data, part:
        case dict(), str():
            return data.get(part, _NOTHING)
        case list(), int() if part < len(data):
            return data[part]
    return _NOTHING


def _unknown(path: Path) -> str:
    name = str(path[-1])
    if name in INSTEAD:
        return f"no such statement here: {INSTEAD[name]}"
    model = _model_at(path[:-1])
    known = [] if model is None else [statement.name for statement in statements_of(model)]
    meant = name.lower().replace("_", "-")
    homes = list(dict.fromkeys(_homes(meant, Configuration, "")))
    near = [meant] if meant in known else [] if homes else get_close_matches(meant, known, n=1)
    if near:
        return f"no such statement here: did you mean {near[0]}?"
    if homes:
        return f"no such statement here: it belongs to {' or '.join(homes[:3])}"
    return "no such statement here"


def _model_at(path: Path) -> type[Statements] | None:
    """The model of what stands at a path."""
    model: type[Statements] | None = Configuration
    named = False
    for part in path:
        if named or isinstance(part, int):
            named = False
            continue
        statement = next((one for one in (statements_of(model) if model else ()) if one.name == part), None)
        if statement is None:
            return None
        model = statement.model
        named = statement.shape is Shape.NAMED  # a name that people chose comes next
    return model


def _homes(name: str, model: type[Statements], inside: str) -> list[str]:
    """The statements that hold one of this name."""
    found = [inside] if inside and any(one.name == name for one in statements_of(model)) else []
    for statement in statements_of(model):
        if statement.model is not None:
            found += _homes(name, statement.model, statement.name)
    return found


def without(data: Data, mistakes: list[Mistake]) -> Data:
    """The data without what is wrong, so that the rest can be looked at. A list goes as a whole."""
    for mistake in mistakes:
        path = mistake.path
        numbered = next((place for place, part in enumerate(path) if isinstance(part, int)), None)
        if numbered is not None and (mistake.message == "is missing" or len(path) == numbered + 1):
            path = path[:numbered]
        elif mistake.message == "is missing":
            path = path[:-1]
        data = _pruned(data, path)
    return data


def _pruned(data: Data, path: Path) -> Data:
    if not path:
        return {}
    first, rest = path[0], path[1:]
    if isinstance(data, dict) and isinstance(first, str) and first in data:
        if rest:
            return {**data, first: _pruned(data[first], rest)}
        return {name: value for name, value in data.items() if name != first}
    if isinstance(data, list) and isinstance(first, int) and first < len(data) and rest:
        return [*data[:first], _pruned(data[first], rest), *data[first + 1 :]]
    return data
