"""Plain data as YAML, in the form in which people write a configuration. Pure."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from twoway.config.document import Data

_PLAIN = re.compile(
    r"[A-Za-z/][A-Za-z0-9_./%+-]*(?: [A-Za-z0-9_./%+-]+)*"  # words, names, paths
    r"|[0-9]+(?:ns|us|ms|s|min|m|h|d|[kMG])"  # with a unit
    r"|[0-9]+-[0-9]+|[0-9]+(?:\.[0-9]+){3}(?:/[0-9]+)?"  # ranges and addresses
)
_NOT_TEXT = ("true", "false", "null", "on", "off", "yes", "no", "y", "n")
"""What this or another version of YAML does not take for text."""


def written(value: object) -> str:
    """A value on one line."""
    match value:
        case None:
            return ""
        case bool():
            return "on" if value else "off"
        case str():
            plain = _PLAIN.fullmatch(value) and value.lower() not in _NOT_TEXT
            return value if plain else f'"{"".join(_escaped(c) for c in value)}"'
        case dict():
            return "{" + ", ".join(f"{written(name)}: {written(inner)}" for name, inner in value.items()) + "}"
        case list() | tuple():
            return "[" + ", ".join(written(item) for item in value) + "]"
    return str(value)


def _escaped(character: str) -> str:
    if character in '"\\':
        return f"\\{character}"
    if character.isprintable():
        return character
    code = ord(character)
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def block(data: dict[str, Data], depth: int = 0) -> Iterator[str]:
    """A mapping on many lines; lists stay on one."""
    indent = "  " * depth
    for name, value in data.items():
        if isinstance(value, dict) and value:
            yield f"{indent}{written(name)}:"
            yield from block(value, depth + 1)
        else:
            yield f"{indent}{written(name)}: {'{}' if value == {} else written(value)}".rstrip()
