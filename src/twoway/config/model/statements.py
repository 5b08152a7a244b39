"""What all statements that hold others have in common.

A model's fields are statements: `probe_count` is written `probe-count`, its docstring is its meaning, its annotation
its kind (`values`), its default the default. Nothing else knows them: the JSON Schema, the sample and the documents are
made of the models.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict, model_validator
from pydantic_core import core_schema

if TYPE_CHECKING:
    from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler
    from pydantic.json_schema import JsonSchemaValue

    from twoway.config.model.values import Kind


def hyphened(name: str) -> str:
    """A field's name as it is written."""
    return name.replace("_", "-")


class Statements(BaseModel):
    """A statement that holds others. Without any it may be written empty (`voice:`)."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        alias_generator=hyphened,
        use_attribute_docstrings=True,
        arbitrary_types_allowed=True,
    )

    @model_validator(mode="before")
    @classmethod
    def _empty(cls, value: Any) -> Any:  # noqa: ANN401  (whatever the file says)
        return {} if value is None else value

    def written(self, statement: str) -> bool:
        """Whether a statement, by its field's name, is in the file."""
        return statement in self.model_fields_set


@dataclass(frozen=True)
class Presence:
    """For statements whose being there says something: written empty, they are there; not written, they are None."""

    switch: bool = False
    """Whether `on` and `off` say the same."""

    def __get_pydantic_core_schema__(self, source: object, handler: GetCoreSchemaHandler) -> core_schema.CoreSchema:
        return core_schema.no_info_wrap_validator_function(self._there, handler(source))

    def __get_pydantic_json_schema__(
        self, schema: core_schema.CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        return {"anyOf": [handler(schema), {"enum": [True, False, "on", "off"]}]} if self.switch else handler(schema)

    def _there(self, value: object, handler: core_schema.ValidatorFunctionWrapHandler) -> object:
        if self.switch and (value is False or value == "off"):
            return None
        bare = value is None or (self.switch and (value is True or value == "on"))
        return handler({} if bare else value)


@dataclass(frozen=True)
class Short:
    """For statements that may be written as the value of one of those they hold: `rtt: 5ms` for its limit-value."""

    statement: str
    kind: Kind[Any]

    def __get_pydantic_core_schema__(self, source: object, handler: GetCoreSchemaHandler) -> core_schema.CoreSchema:
        return core_schema.no_info_before_validator_function(self._widened, handler(source))

    def __get_pydantic_json_schema__(
        self, schema: core_schema.CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        return {"anyOf": [self.kind.schema(), handler(schema)], "not": {"type": "null"}}

    def _widened(self, value: object) -> object:
        return value if isinstance(value, dict) else {self.statement: value}
