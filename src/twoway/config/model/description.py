"""The model as a table of statements, for those who describe it: JSON Schema, sample, documents and messages."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Any

from twoway.config.model.statements import Presence, Short, Statements
from twoway.config.model.values import Kind

if TYPE_CHECKING:
    from pydantic.fields import FieldInfo


class Shape(Enum):
    """What stands under a statement that holds others."""

    VALUE = "a value"
    STATEMENTS = "statements"
    NAMED = "statements under names"
    LIST = "a list of statements"
    WORDS = "values under names"


@dataclass(frozen=True, slots=True)
class Statement:
    """One statement."""

    name: str
    meaning: str
    """A sentence or two."""
    shape: Shape
    kind: Kind[Any] | None
    """Of its value; None where it holds statements only."""
    model: type[Statements] | None
    """Of what it holds."""
    default: object
    """As it would be written; None if there is none."""
    examples: tuple[object, ...]
    required: bool
    presence: bool
    """Whether it says something just by being there."""
    names: Kind[Any] | None = None
    """Of the names under it, where people choose them."""

    @property
    def example(self) -> object:
        """A value to show: the first example, else the default."""
        return self.examples[0] if self.examples else self.default

    @property
    def words(self) -> str:
        """What its value may be."""
        return "" if self.kind is None else self.kind.words


@functools.cache
def statements_of(model: type[Statements]) -> tuple[Statement, ...]:
    """The statements of a model, in their order."""
    return tuple(_statement(name, field) for name, field in model.model_fields.items())


def _statement(name: str, field: FieldInfo) -> Statement:
    kind = next((part for part in field.metadata if isinstance(part, Kind)), None)
    kind = kind or next((part.kind for part in field.metadata if isinstance(part, Short)), None)
    models = _models(field.annotation)
    origin = getattr(field.annotation, "__origin__", None)
    shape = Shape.VALUE
    if origin is dict:
        shape = Shape.NAMED if models else Shape.WORDS
    elif origin is list and models:
        shape = Shape.LIST
    elif models:
        shape = Shape.STATEMENTS
    default = None
    if not models and kind is not None and not field.is_required() and field.default is not None:
        default = kind.write(field.default)
    return Statement(
        name=field.alias or name,
        meaning=" ".join((field.description or "").split()),
        shape=shape,
        kind=kind,
        model=models[0] if models else None,
        default=default,
        examples=tuple(field.examples or ()),
        required=field.is_required(),
        presence=any(isinstance(part, Presence) for part in field.metadata),
        names=_names(field.annotation) if origin is dict else None,
    )


def _names(annotation: object) -> Kind[Any] | None:
    """The kind of a mapping's names."""
    (key, _) = getattr(annotation, "__args__", (None, None))
    return next((part for part in getattr(key, "__metadata__", ()) if isinstance(part, Kind)), None)


def _models(annotation: object) -> list[type[Statements]]:
    """The models that an annotation speaks of."""
    if isinstance(annotation, type) and issubclass(annotation, Statements):
        return [annotation]
    return [model for part in getattr(annotation, "__args__", ()) for model in _models(part)]
