"""A Junos configuration, as `set` lines or in curly braces, into statements. Pure.

Both forms come to the same: a statement is its words from the top, `services rpm twamp client …`, with the line it ends
in. Lists in brackets are one statement for each of their elements; what is `inactive:`, deactivated or deleted is
marked so, and lines are where `edit` went (`commands`). Groups are not applied: whoever wants that lets the router do
it (`| display inheritance`).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from twoway.config.document import MAX_OCTETS, ConfigurationError, Problem
from twoway.config.junos.commands import COMMANDS, followed
from twoway.config.junos.statement import Statement

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

_TOKEN = re.compile(
    r"""(?P<blank>[ \t\r\f\v]+)
    |(?P<line>\n)
    |(?P<comment>/\*.*?\*/|\#[^\n]*)
    |(?P<sign>[{}\[\];])
    |"(?P<quoted>(?:[^"\\\n]|\\[^\n])*)"
    |(?P<word>(?:[^\s{}\[\];"])+)
    |(?P<wrong>.)""",
    re.VERBOSE | re.DOTALL,
)
_TAGS = ("inactive:", "active:", "protect:", "replace:", "delete:")
_AROUND = re.compile(
    r"^[ \t]*(?:[\w.-]+@[\w.:-]+[>#%].*|\{(?:master|backup|primary|secondary|line)[^{}\n]*\}"
    r"(?:\[edit[^\]\n]*\])?|\[edit[^\]\n]*\]|---\(more[^\n]*\)---)[ \t\r]*$",
    re.MULTILINE,
)
"""Lines that a terminal shows around a configuration: prompts, and who is master."""
MAX_DEPTH = 64
"""Deepest nesting of braces."""


def read_statements(text: str, source: str) -> tuple[Statement, ...]:
    """All statements of a configuration in their order. Raises `ConfigurationError`."""
    if len(text) > MAX_OCTETS:
        raise _refused(source, 1, f"larger than {MAX_OCTETS >> 20} MiB")
    text = _AROUND.sub("", text)
    tokens = list(_tokens(text, source))
    first = next((token.text for token in tokens if token.kind == "word"), "")
    if first in COMMANDS:
        return followed(_lines(tokens, source))
    if first.startswith("<"):
        raise _refused(source, 1, "this is XML: save the configuration without `| display xml`")
    if text.lstrip().startswith("{"):
        raise _refused(source, 1, "this is JSON: save the configuration without `| display json`")
    return tuple(_BraceReader(source).statements(tokens))


def _refused(source: str, line: int, message: str) -> ConfigurationError:
    return ConfigurationError([Problem(source, line, (), message)])


@dataclass(frozen=True, slots=True)
class _Token:
    kind: str
    """`word`, `sign` or `line`."""
    text: str
    line: int


def _tokens(text: str, source: str) -> Iterator[_Token]:
    line = 1
    for match in _TOKEN.finditer(text):
        kind = match.lastgroup or ""
        if kind == "word" and match[0].startswith("/*"):
            raise _refused(source, line, "a comment without its end")
        if kind == "wrong":
            what = "a quotation mark without its second" if match[0] == '"' else f"{match[0]!r} here means nothing"
            raise _refused(source, line, what)
        if kind == "quoted":
            yield _Token("word", re.sub(r"\\(.)", r"\1", match["quoted"]), line)
        elif kind in ("word", "sign", "line"):
            yield _Token(kind, match[0], line)
        line += match[0].count("\n")


# Lines.


def _lines(tokens: Iterable[_Token], source: str) -> Iterator[Statement]:
    words: list[_Token] = []
    for token in (*tokens, _Token("line", "\n", 0)):
        if token.kind != "line":
            words.append(token)
        elif words:
            yield from _line(words, source)
            words = []


def _line(tokens: list[_Token], source: str) -> Iterator[Statement]:
    command, line = tokens[0].text, tokens[0].line
    if command not in COMMANDS:
        raise _refused(source, line, f"{command!r} begins no line among `set` lines")
    words: list[str] = []
    listed: list[str] | None = None
    for token in tokens[1:]:
        if token.kind == "word":
            (words if listed is None else listed).append(token.text)
        elif token.text == "[" and listed is None:
            listed = []
        elif token.text == "]" and listed is not None and token is tokens[-1]:
            break
        else:
            raise _refused(source, line, f"{token.text!r} does not belong into a `{command}` line")
    else:
        if listed is not None:
            raise _refused(source, line, "a [ without its ]")
    for last in [()] if not listed else [(element,) for element in listed]:
        yield Statement((*words, *last), line, command=command)


# Braces.


@dataclass(frozen=True, slots=True)
class _Level:
    words: tuple[str, ...]
    inactive: bool
    line: int
    """Of its brace."""


class _BraceReader:
    """Goes through the tokens once; what is open lies on a stack, so that depth costs nothing but its bound."""

    def __init__(self, source: str) -> None:
        self._source = source
        self._levels = [_Level((), inactive=False, line=0)]
        self._words: list[str] = []
        self._elements: list[str] | None = None
        """Of the list that the statement ends with."""
        self._in_list = False
        self._empty = False
        """Whether nothing has come since the last opening brace."""

    def statements(self, tokens: Iterable[_Token]) -> Iterator[Statement]:
        line = 1
        for token in tokens:
            if token.kind == "line":
                continue
            line = token.line
            if token.kind == "word" and self._in_list and self._elements is not None:
                self._elements.append(token.text)
            elif token.kind == "word" and self._elements is None:
                self._words.append(token.text)
            elif token.text == "[" and self._words and self._elements is None:
                self._elements, self._in_list = [], True
            elif token.text == "]" and self._in_list:
                self._in_list = False
            elif token.text == ";" and not self._in_list:
                yield from self._ended(line)
            elif token.text == "{" and self._words and self._elements is None:
                self._opened(line)
            elif token.text == "}" and not self._words and len(self._levels) > 1:
                yield from self._closed(line)
            else:
                raise _refused(self._source, line, self._misplaced(token.text))
        if self._in_list:
            raise _refused(self._source, line, "a [ without its ]")
        if self._words:
            raise _refused(self._source, line, f"the last statement, {self._words[0]!r}, has no ; at its end")
        if len(self._levels) > 1:
            raise _refused(self._source, self._levels[-1].line, "a { without its }")

    def _ended(self, line: int) -> Iterator[Statement]:
        if self._words:
            words, inactive = self._here()
            for last in [()] if not self._elements else [(element,) for element in self._elements]:
                yield Statement((*words, *last), line, inactive)
        self._words, self._elements, self._empty = [], None, False

    def _opened(self, line: int) -> None:
        if len(self._levels) > MAX_DEPTH:
            raise _refused(self._source, line, f"braces within more than {MAX_DEPTH} others")
        words, inactive = self._here()
        self._levels.append(_Level(words, inactive, line))
        self._words, self._empty = [], True

    def _closed(self, line: int) -> Iterator[Statement]:
        level = self._levels.pop()
        if self._empty:
            yield Statement(level.words, line, level.inactive)
        self._empty = False

    def _here(self) -> tuple[tuple[str, ...], bool]:
        words, inactive = _untagged(self._words)
        level = self._levels[-1]
        return (*level.words, *words), inactive or level.inactive

    def _misplaced(self, sign: str) -> str:
        if sign == "}" and len(self._levels) == 1:
            return "a } without its {"
        if sign in "};" and self._in_list:
            return "a [ without its ]"
        if sign == "}":
            return f"the statement {self._words[0]!r} has no ; at its end"
        return f"{sign!r} does not belong here"


def _untagged(words: list[str]) -> tuple[tuple[str, ...], bool]:
    """A statement without `inactive:` and the like before it, and whether it is inactive."""
    at = 0
    while at < len(words) - 1 and words[at] in _TAGS:
        at += 1
    return tuple(words[at:]), bool({"inactive:", "delete:"} & set(words[:at]))
