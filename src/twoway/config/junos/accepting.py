"""A value of Junos's as our model takes it. Pure. What it does not take is a `NotUsedError` with the reason."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from twoway.config.junos.outcome import NotUsedError
from twoway.config.junos.tables import NO_EQUIVALENT, Rule
from twoway.config.model import Configuration
from twoway.config.model.description import Shape, statements_of
from twoway.config.model.values import NAME
from twoway.errors import ConfigError

if TYPE_CHECKING:
    from twoway.config.document import Data, Path
    from twoway.config.model.statements import Statements
    from twoway.config.model.values import Kind

UNKNOWN = "no such statement is known"


def named(text: str) -> str:
    """A name that both have."""
    try:
        return NAME.read(text)
    except ConfigError as error:
        raise NotUsedError(error.reason) from None


def by_rule(path: Path, words: tuple[str, ...], rules: dict[str, Rule]) -> tuple[Path, Data]:
    """Our statement and its value for one that stands by itself."""
    if not words:
        return path, {}
    rule = rules.get(words[0])
    if rule is None:
        raise NotUsedError(NO_EQUIVALENT.get(words[0], UNKNOWN))
    if rule.flag:
        if len(words) != 1:
            raise NotUsedError(f"{words[0]} takes no value")
        return (*path, rule.name), True
    if len(words) != 2:
        raise NotUsedError(f"{words[0]} takes one value")
    value: Data = number(words[1])
    if rule.unit and value != 0:
        value = f"{words[1]}{rule.unit}"
    return (*path, rule.name), [value] if rule.several else value


def number(word: str) -> Data:
    """A number as one, anything else as it is."""
    return (
        int(word) if word.isascii() and word.isdigit() and len(word) < 16 and (word == "0" or word[0] != "0") else word
    )


def accepted(path: Path, value: Data) -> Data:
    """A value as the model takes it and we write it."""
    model: type[Statements] = Configuration
    is_name = False
    kind: Kind[Any] | None = None
    for part in path:
        if is_name:
            is_name = False
            continue
        statement = next((one for one in statements_of(model) if one.name == part), None)
        if statement is None:
            raise NotUsedError(NO_EQUIVALENT.get(str(part), UNKNOWN))
        kind = statement.kind
        if statement.model is not None:
            model, is_name = statement.model, statement.shape is Shape.NAMED
    if path[-2:-1] == ("client-list",):
        kind = next(one.kind for one in statements_of(model) if one.name == "address")
    if isinstance(value, dict) or kind is None:
        return value
    if path[-1] == "local-link" and "/" in str(value):
        raise NotUsedError("an interface of the router: name the one of this host")
    try:
        return cast("Data", kind.write(kind.read(value)))
    except ConfigError as error:
        raise NotUsedError(error.reason) from None
