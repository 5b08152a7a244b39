"""A configuration's text, YAML or TOML, into plain data and the line of each value. Pure.

Theory of operation. What is read is untrusted only in so far as people make mistakes, but a mistake must never hang or
kill what runs: the size, the depth and the number of values are bounded, aliases count each time they are used, and
nothing but mappings, lists and scalars can come out.

YAML is 1.2 (core schema) with `<<` to take over an anchored mapping. It is not ruamel's constructor that makes values,
but the walk below, over its nodes: so each value has its line, a name is always text (`1:` is the name "1"), a number
with a leading zero stays text (`000010` is six bits), and all doubled names are found, not only the first.

TOML is read by the standard library, which forgets lines; `toml_lines` finds them again.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias, cast

from twoway.errors import ConfigError, one_line

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

Scalar = str | int | float | bool | None
Data: TypeAlias = "Scalar | list[Data] | dict[str, Data]"
Path = tuple[str | int, ...]
"""Names of statements and places in lists, from the top."""

MAX_OCTETS = 32 << 20
"""Largest configuration read: some 100,000 test-sessions."""
MAX_DEPTH = 32
"""Deepest nesting of values; the model needs 8."""
MAX_VALUES = 4_000_000
"""Most values, those of aliases counted each time."""

_INT = re.compile(r"[-+]?(?:0|[1-9][0-9_]{0,18})")
_BASED = re.compile(r"0x[0-9a-fA-F]{1,16}|0o[0-7]{1,21}")
_FLOAT = re.compile(r"[-+]?(?:\.[0-9]{1,30}|[0-9]{1,30}(?:\.[0-9]{0,30})?)(?:[eE][-+]?[0-9]{1,3})?")
_WORDS: Mapping[str, bool | None] = {
    "": None,
    "~": None,
    **dict.fromkeys(("null", "Null", "NULL")),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
}
_TAG = "tag:yaml.org,2002:"


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong, or that somebody should know, with its place."""

    source: str
    """Name of the file."""
    line: int | None
    """From 1; None where it is about the file as a whole."""
    path: Path
    message: str

    def __str__(self) -> str:
        place = self.source if self.line is None else f"{self.source}:{self.line}"
        return one_line(": ".join(part for part in (place, path_text(self.path), self.message) if part))


class ConfigurationError(ConfigError):
    """A configuration that cannot be used, with everything that is wrong with it in the order of its lines."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        first = problems[0]
        super().__init__(first.source, first.message)
        self.args = (tuple(problems),)
        self.problems = tuple(problems)

    def describe(self) -> str:
        more = len(self.problems) - 1
        return str(self.problems[0]) + (f" (and {more} more)" if more else "")


@dataclass(frozen=True, slots=True)
class Document:
    """What a file holds."""

    source: str
    data: dict[str, Data]
    lines: Mapping[Path, int] = field(repr=False)
    """Line, from 1, of each statement and each element of a list."""
    problems: tuple[Problem, ...] = ()
    """What is wrong with names and tags; the data is without it."""

    def line(self, path: Path) -> int | None:
        """The line of a statement, or of the nearest around it."""
        while path and path not in self.lines:
            path = path[:-1]
        return self.lines.get(path)


def path_text(path: Path) -> str:
    """As people point at a statement: `client.control-connection.fra.test-session.voice.traps[0]`."""
    text = ""
    for part in path:
        if isinstance(part, int):
            text += f"[{part}]"
        else:
            quoted = (
                f'"{part}"' if not part or any(c in '."[]' or not c.isprintable() or c == " " for c in part) else part
            )
            text += f".{quoted}" if text else quoted
    return text


def read_document(text: str | bytes, source: str) -> Document:
    """Read a configuration; a `source` that ends with `.toml` is TOML, all else YAML. Raises `ConfigurationError`."""
    if len(text) > MAX_OCTETS:
        raise _refused(source, None, f"larger than {MAX_OCTETS >> 20} MiB")
    if isinstance(text, bytes):
        try:
            text = text.decode("utf-8-sig")
        except UnicodeDecodeError as error:
            raise _refused(source, error.object.count(b"\n", 0, error.start) + 1, "not UTF-8") from None
    try:
        return _toml(text, source) if source.endswith(".toml") else _yaml(text, source)
    except RecursionError:
        raise _refused(source, None, f"nested deeper than {MAX_DEPTH} levels") from None


def _refused(source: str, line: int | None, message: str) -> ConfigurationError:
    return ConfigurationError([Problem(source, line, (), message)])


# TOML.


def _toml(text: str, source: str) -> Document:
    import tomllib

    from twoway.config.toml_lines import lines_of

    try:
        data = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        message, _, place = str(error).partition(" (at ")
        found = re.match(r"line ([0-9]+)", place)
        end = text.count("\n") + 1 if place.startswith("end of document") else None
        raise _refused(source, int(found[1]) if found else end, f"not TOML: {_small(message)}") from None
    except ValueError:  # a number that Python does not read, lest it take for ever
        digits = re.search(r"[0-9_]{1000,}", text)
        line = None if digits is None else text.count("\n", 0, digits.start()) + 1
        raise _refused(source, line, "not TOML: so great a number") from None
    _check_depth(data, source)
    return Document(source, cast("dict[str, Data]", data), lines_of(text))


def _check_depth(data: object, source: str) -> None:
    level = [data]
    for _ in range(MAX_DEPTH):
        level = [
            inner
            for outer in level
            for inner in (outer.values() if isinstance(outer, dict) else outer if isinstance(outer, list) else ())
        ]
        if not level:
            return
    raise _refused(source, None, f"nested deeper than {MAX_DEPTH} levels")


# YAML.


def _yaml(text: str, source: str) -> Document:
    import warnings

    try:
        from ruamel.yaml import YAML
        from ruamel.yaml.error import MarkedYAMLError, YAMLError, YAMLWarning
    except ImportError:
        raise _refused(
            source, None, "reading YAML needs a package: `pip install 'twoway[daemon]'`, or write TOML"
        ) from None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", YAMLWarning)
            root = YAML(typ="safe", pure=True).compose(text)
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        said = ", ".join(part for part in (error.context, error.problem) if part)
        if "found character '\\t'" in said:
            said = "a tab stands here, where only blanks may: indent with blanks"
        raise _refused(source, None if mark is None else mark.line + 1, f"not YAML: {_small(said)}") from None
    except (YAMLError, YAMLWarning, ValueError) as error:
        line = text.count("\n", 0, place) + 1 if isinstance(place := getattr(error, "position", None), int) else None
        said = getattr(error, "reason", None) or str(error)
        raise _refused(source, line, f"not YAML: {_small(said.strip().partition(chr(10))[0])}") from None
    reader = _Reader(source)
    data: Data = {} if root is None else reader.value(cast("_Node", root), (), 1)
    if data is None:
        data = {}
    if not isinstance(data, dict):
        raise _refused(source, 1, "holds no statements: a configuration begins with client:, server: or the like")
    return Document(source, data, reader.lines, tuple(reader.problems))


def _small(text: str) -> str:
    return text[:1].lower() + text[1:]


class _Mark(Protocol):
    line: int


class _Node(Protocol):
    """A node of ruamel's, as far as it is looked at."""

    id: str
    """`mapping`, `sequence` or `scalar`."""
    tag: object
    value: Any
    """Text, nodes, or pairs of nodes."""
    style: str | None
    start_mark: _Mark


class _TooLargeError(Exception):
    """The document grows out of bounds."""

    def __init__(self, line: int, path: Path, message: str) -> None:
        super().__init__(line, path, message)
        self.line = line
        self.path = path
        self.message = message


class _Reader:
    """Makes values of nodes, and remembers where they were."""

    def __init__(self, source: str) -> None:
        self.source = source
        self.lines: dict[Path, int] = {}
        self.problems: list[Problem] = []
        self._count = 0

    def value(self, node: _Node, path: Path, line: int) -> Data:
        """The value of a node; what is wrong with it is noted, and the walk goes on. Raises `ConfigurationError`."""
        try:
            return self._value(node, path, line)
        except _TooLargeError as error:
            at = self.lines.get(error.path, error.line)
            raise ConfigurationError([Problem(self.source, at, error.path, error.message)]) from None

    def _value(self, node: _Node, path: Path, line: int) -> Data:
        self._count += 1
        if self._count > MAX_VALUES:
            raise _TooLargeError(line, path[:1], f"aliases make this more than {MAX_VALUES} values")
        if len(path) > MAX_DEPTH:
            raise _TooLargeError(line, path[:1], f"nested deeper than {MAX_DEPTH} levels")
        kind, tag = node.id, str(node.tag)
        if not tag.startswith(_TAG) or tag.removeprefix(_TAG) not in _KNOWN_TAGS:
            self._refuse(line, path, f"the tag {one_line(tag.replace(_TAG, '!!'))} means nothing here")
            return None
        if kind == "mapping":
            return self._mapping(node, path)
        if kind == "sequence":
            items: list[Data] = []
            for place, item in enumerate(node.value):
                where = (*path, place)
                self.lines[where] = item.start_mark.line + 1
                items.append(self._value(item, where, item.start_mark.line + 1))
            return items
        return _scalar(node)

    def _mapping(self, node: _Node, path: Path) -> dict[str, Data]:
        values: dict[str, Data] = {}
        merged: list[_Node] = []
        for name, value in node.value:
            line = name.start_mark.line + 1
            if str(name.tag) == f"{_TAG}merge" and name.style is None:
                merged.append(value)
                continue
            if name.id != "scalar":
                self._refuse(line, path, "a name is text, not a list or a mapping")
                continue
            where = (*path, name.value)
            if name.value in values:
                self._refuse(line, where, f"stands here twice, first in line {self.lines[where]}")
                continue
            self.lines[where] = line
            values[name.value] = self._value(value, where, line)
        for value in merged:
            self._merge(value, values, path)
        return values

    def _merge(self, node: _Node, values: dict[str, Data], path: Path) -> None:
        """`<<: *defaults` or `<<: [*these, *those]`: what is not said here itself, the first named first."""
        for source in node.value if node.id == "sequence" else [node]:
            line = source.start_mark.line + 1
            if source.id != "mapping":
                self._refuse(line, path, "<< takes over mappings only")
                continue
            inner = _Reader(self.source)
            inner._count = self._count
            taken = inner._value(source, path, line)
            self._count = inner._count
            self.problems += inner.problems
            for name, value in (taken if isinstance(taken, dict) else {}).items():
                if name not in values:
                    values[name] = value
                    prefix = (*path, name)
                    self.lines |= {where: at for where, at in inner.lines.items() if where[: len(prefix)] == prefix}

    def _refuse(self, line: int, path: Path, message: str) -> None:
        self.problems.append(Problem(self.source, line, path, message))


_KNOWN_TAGS = ("map", "seq", "str", "int", "float", "bool", "null", "timestamp", "merge", "value")


def _scalar(node: _Node) -> Scalar:
    """A scalar by YAML 1.2's core schema; quoted, tagged `!!str` or of no such form, it is text."""
    text: str = node.value
    if node.style is not None or str(node.tag) == f"{_TAG}str":
        return text
    if text in _WORDS:
        return _WORDS[text]
    if _INT.fullmatch(text):
        return int(text)
    if _BASED.fullmatch(text):
        return int(text, 0)
    if _FLOAT.fullmatch(text) and not re.fullmatch(r"[-+]?0[0-9]+", text):
        return float(text)
    return text
