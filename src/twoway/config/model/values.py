"""What a statement's value may be: each kind reads it, says in words what it takes, and writes it back.

A kind stands in the annotation of a model's field. pydantic asks it for the value, so that messages are ours; the JSON
Schema, the commented sample and the import from Junos ask it for the rest. Numbers come out in the unit of the model:
times in ns, sizes in octets.
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, Generic, TypeVar

from pydantic_core import PydanticCustomError, core_schema

from twoway.config import units
from twoway.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler
    from pydantic.json_schema import JsonSchemaValue

_T = TypeVar("_T")
_SHOWN = 60
"""Most characters of a wrong value that a message repeats."""


def refusal(reason: str) -> PydanticCustomError:
    """An error in our own words, braces and all."""
    return PydanticCustomError("refused", "{reason}", {"reason": reason})


def shown(value: object) -> str:
    """A value as a message repeats it, in the file's terms rather than Python's."""
    match value:
        case None:
            return "nothing"
        case bool():
            return str(value).lower()
        case str():
            return repr(value if len(value) <= _SHOWN else f"{value[:_SHOWN]}…")
        case dict():
            return "a mapping"
        case list() | tuple():
            return "a list"
        case int() | float():
            return str(value) if abs(value) < 1e30 else "so great a number"
    return f"a {type(value).__name__}"


class Kind(ABC, Generic[_T]):
    """A kind of value. The methods are what everyone uses; each subclass has its own reading, words and schema."""

    @abstractmethod
    def read(self, value: object) -> _T:
        """The value as the model has it. Raises `ConfigError`, whose reason is what is wrong."""

    @property
    @abstractmethod
    def words(self) -> str:
        """What may be written, after "is not "."""

    @abstractmethod
    def schema(self) -> JsonSchemaValue:
        """JSON Schema of what may be written."""

    def write(self, value: _T) -> object:
        """As a person would write it: `read` gives it back."""
        return value

    def refuse(self, value: object) -> ConfigError:
        """The usual message."""
        return ConfigError("value", "has no value" if value is None else f"{shown(value)} is not {self.words}")

    def _validated(self, value: object) -> _T:
        try:
            return self.read(value)
        except ConfigError as error:
            raise refusal(error.reason) from None

    def __get_pydantic_core_schema__(self, source: object, handler: GetCoreSchemaHandler) -> core_schema.CoreSchema:
        return core_schema.no_info_plain_validator_function(self._validated)

    def __get_pydantic_json_schema__(
        self, schema: core_schema.CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        return self.schema()


@dataclass(frozen=True, slots=True)
class Integer(Kind[int]):
    """A whole number."""

    low: int
    high: int
    zero: str = ""
    """What 0 means, if it means something else than none."""

    def read(self, value: object) -> int:
        if not isinstance(value, int) or isinstance(value, bool):
            raise self.refuse(value)
        if not self.low <= value <= self.high:
            raise ConfigError("value", f"{shown(value)} is not {self.words.removeprefix('a number ')}")
        return value

    @property
    def words(self) -> str:
        return f"a number from {self.low} to {self.high}"

    def schema(self) -> JsonSchemaValue:
        return {"type": "integer", "minimum": self.low, "maximum": self.high}


_BARE_SECONDS = "s"
_BARE_MICROS = "us"
_NUMBER = r"^\s*([0-9]{1,20}(\.[0-9]{0,20})?|\.[0-9]{1,20})\s*"
_UNIT = r"([nN][sS]|[uUµμ][sS]|[mM][sS]|[sS]|[mM]|[mM][iI][nN]|[hH]|[dD])"


@dataclass(frozen=True, slots=True)
class Duration(Kind[int]):
    """A time with its unit, into ns."""

    low_ns: int
    high_ns: int
    bare: str | None = _BARE_SECONDS
    """Unit of a bare number. None: a number needs its unit, because Junos counts otherwise than seconds here."""
    off: bool = False
    """Whether 0 is taken too."""

    def read(self, value: object) -> int:
        if isinstance(value, bool) or not isinstance(value, int | float | str):
            raise self.refuse(value)
        text = value if isinstance(value, str) else _decimal(value)
        if self.bare is None and re.fullmatch(r"[0-9.]+", text.strip()) and text.strip() != "0":
            raise ConfigError(
                "value", f"{shown(value)} needs its unit, as in {text.strip()}h, {text.strip()}min or {text.strip()}s"
            )
        if re.fullmatch(r"[0-9.]+", text.strip()):
            text += self.bare or ""
        try:
            value_ns = units.parse_duration_ns(text)
        except ConfigError:
            raise self.refuse(value) from None
        if not (self.low_ns <= value_ns <= self.high_ns or (self.off and value_ns == 0)):
            raise ConfigError("value", f"{shown(value)} is not {self._range}")
        return value_ns

    @property
    def _range(self) -> str:
        return f"from {self.write(self.low_ns)} to {self.write(self.high_ns)}" + (", or 0" if self.off else "")

    @property
    def words(self) -> str:
        bare = {_BARE_SECONDS: "; a bare number is seconds", _BARE_MICROS: "; a bare number is µs"}.get(
            self.bare or "", ""
        )
        return f"a time {self._range}{bare}"

    def schema(self) -> JsonSchemaValue:
        if self.bare is None:
            return {"anyOf": [{"const": 0}, {"type": "string", "pattern": rf"{_NUMBER}{_UNIT}\s*$|^\s*0\s*$"}]}
        text = {"type": "string", "pattern": rf"{_NUMBER}{_UNIT}?\s*$"}
        unit_ns = units.parse_duration_ns(f"1{self.bare}")
        low = 0 if self.off else self.low_ns / unit_ns
        return {"anyOf": [{"type": "number", "minimum": low, "maximum": self.high_ns / unit_ns}, text]}

    def write(self, value: int) -> object:
        for unit, length_s in (("d", 86_400), ("h", 3_600), ("min", 60)):
            if value and value % (length_s * 10**9) == 0:
                return f"{value // (length_s * 10**9)}{unit}"
        return units.duration_text(value) if value else 0


def _decimal(value: float) -> str:
    """A number without an exponent, which durations do not have."""
    return str(value) if isinstance(value, int) else f"{value:.12f}".rstrip("0").rstrip(".")


@dataclass(frozen=True, slots=True)
class Octets(Kind[int]):
    """A size."""

    low: int
    high: int

    def read(self, value: object) -> int:
        if isinstance(value, bool) or not isinstance(value, int | str):
            raise self.refuse(value)
        try:
            octets = units.parse_octets(str(value))
        except ConfigError:
            raise self.refuse(value) from None
        if not self.low <= octets <= self.high:
            raise ConfigError("value", f"{shown(value)} is not from {self.write(self.low)} to {self.write(self.high)}")
        return octets

    @property
    def words(self) -> str:
        return f"a size from {self.write(self.low)} to {self.write(self.high)} in octets; k, M and G are powers of 1024"

    def schema(self) -> JsonSchemaValue:
        text = {"type": "string", "pattern": rf"{_NUMBER}([bB]|[kKmMgG]([iI][bB])?)?\s*$"}
        return {"anyOf": [{"type": "integer", "minimum": self.low, "maximum": self.high}, text]}

    def write(self, value: int) -> object:
        text = units.octets_text(value)
        return value if text.isdigit() else text


@dataclass(frozen=True, slots=True)
class Choice(Kind[str]):
    """One of a few words."""

    names: tuple[str, ...]
    aliases: Mapping[str, str] | None = None
    """Other words, such as Junos's -> ours."""

    def read(self, value: object) -> str:
        name = (self.aliases or {}).get(value, value) if isinstance(value, str) else value
        if not isinstance(name, str) or name not in self.names:
            raise self.refuse(value)
        return name

    @property
    def words(self) -> str:
        return f"{', '.join(self.names[:-1])} or {self.names[-1]}"

    def refuse(self, value: object) -> ConfigError:
        if value is None or len(self.names) == 2:
            return Kind.refuse(self, value)
        return ConfigError("value", f"{shown(value)} is none of {', '.join(self.names)}")

    def schema(self) -> JsonSchemaValue:
        return {"enum": [*self.names, *(self.aliases or {})]}


@dataclass(frozen=True, slots=True)
class Switch(Kind[bool]):
    """On or off."""

    def read(self, value: object) -> bool:
        if isinstance(value, bool):
            return value
        if value in ("on", "off"):
            return value == "on"
        raise self.refuse(value)

    @property
    def words(self) -> str:
        return "on (true) or off (false)"

    def schema(self) -> JsonSchemaValue:
        return {"enum": [True, False, "on", "off"]}

    def write(self, value: bool) -> object:
        return value


@dataclass(frozen=True, slots=True)
class Text(Kind[str]):
    """A word or a line."""

    pattern: str
    """Regular expression of the whole, understood by ECMA-262 too."""
    meaning: str
    numbers: bool = True
    """Whether what looks like a number is taken for its digits."""

    def read(self, value: object) -> str:
        number = self.numbers and isinstance(value, int) and not isinstance(value, bool)
        text = str(value) if number else value
        if not isinstance(text, str) or re.fullmatch(self.pattern, text) is None:
            raise self.refuse(value)
        return text

    @property
    def words(self) -> str:
        return self.meaning

    def schema(self) -> JsonSchemaValue:
        text = {"type": "string", "pattern": f"^(?:{self.pattern})$"}
        return {"anyOf": [text, {"type": "integer"}]} if self.numbers else text


NAME = Text(r"[!-~]{1,32}", "a name: 1 to 32 letters, digits and signs of ASCII without blanks")
"""Of a control-connection or a test-session, as Junos and DISMAN-PING-MIB bound it."""


@dataclass(frozen=True, slots=True)
class ListOf(Kind[tuple[_T, ...]]):
    """Values of one kind; a single one needs no brackets."""

    kind: Kind[_T]
    longest: int = 1000
    unique: bool = True
    """Whether a value may stand there once only."""

    def read(self, value: object) -> tuple[_T, ...]:
        return self._gathered([self.kind.read(item) for item in self._items(value)])

    def _items(self, value: object) -> list[object]:
        return value if isinstance(value, list) else [value]

    def _gathered(self, items: list[_T]) -> tuple[_T, ...]:
        if len(items) > self.longest:
            raise ConfigError("value", f"{len(items)} values are more than {self.longest}")
        for place, item in enumerate(items):
            if self.unique and item in items[:place]:
                raise ConfigError("value", f"{self.kind.write(item)} stands here twice")
        return tuple(items)

    def _checked(self, items: list[_T]) -> tuple[_T, ...]:
        try:
            return self._gathered(items)
        except ConfigError as error:
            raise refusal(error.reason) from None

    def __get_pydantic_core_schema__(self, source: object, handler: GetCoreSchemaHandler) -> core_schema.CoreSchema:
        # pydantic goes through the list, so that each wrong element has its own message and line.
        elements = core_schema.list_schema(self.kind.__get_pydantic_core_schema__(source, handler))
        spread = core_schema.no_info_before_validator_function(self._items, elements)
        return core_schema.no_info_after_validator_function(self._checked, spread)

    @property
    def words(self) -> str:
        return f"a list, each {self.kind.words}"

    def schema(self) -> JsonSchemaValue:
        one = self.kind.schema()
        items = {"type": "array", "items": one, "maxItems": self.longest, "uniqueItems": self.unique}
        return {"anyOf": [one, items]}

    def write(self, value: tuple[_T, ...]) -> object:
        return [self.kind.write(item) for item in value]
