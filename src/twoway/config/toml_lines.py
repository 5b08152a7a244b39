"""The line of each value of a TOML text, which the standard library's reader does not tell. Pure.

The text has been read by `tomllib` without complaint, so this scanner knows that what it sees is right, and needs only
as much of the grammar as says where names and values stand: headers, dotted names, the four kinds of strings, arrays
and inline tables. Other scalars are skipped.
"""

from __future__ import annotations

import re
import tomllib

_BLANK = re.compile(r"(?:[ \t\r\n]+|#[^\n]*)+")
_SPACE = re.compile(r"[ \t]+")
_BARE = re.compile(r"[A-Za-z0-9_-]+")
_STRINGS = {
    ('"', True): re.compile(r'"{3}(?:[^\\]|\\.)*?"{3,5}(?!")', re.DOTALL),
    ("'", True): re.compile(r"'{3}.*?'{3,5}(?!')", re.DOTALL),
    ('"', False): re.compile(r'"(?:[^"\\\n]|\\.)*"'),
    ("'", False): re.compile(r"'[^'\n]*'"),
}
"""(quote, whether there are three of them) -> the string."""
_OTHER = re.compile(r"[^,\]}#\r\n]+")

_Path = tuple[str | int, ...]


def lines_of(text: str) -> dict[_Path, int]:
    """Path -> line, from 1, of each table, value and element of an array of a valid TOML text."""
    scanner = _Scanner(text)
    scanner.document()
    return scanner.lines


class _Scanner:
    def __init__(self, text: str) -> None:
        self.text = text
        self.at = 0
        self.lines: dict[_Path, int] = {}
        self._counted = 0
        self._line = 1
        self._arrays: dict[_Path, int] = {}
        """Array of tables -> its number of tables so far."""

    def document(self) -> None:
        prefix: _Path = ()
        while self._skip(_BLANK) or self.at < len(self.text):
            if self.at >= len(self.text):
                return
            if self.text[self.at] == "[":
                prefix = self._header()
            else:
                self._pair(prefix)

    def _header(self) -> _Path:
        line = self._line_here()
        array = self.text.startswith("[[", self.at)
        self.at += 2 if array else 1
        names = self._names()
        self.at += 2 if array else 1
        # Each array of tables on the way stands for its last table.
        path: _Path = ()
        for name in names[:-1]:
            path = self._last((*path, name))
            self.lines.setdefault(path, line)
        path = (*path, names[-1])
        if array:
            self.lines.setdefault(path, line)
            self._arrays[path] = self._arrays.get(path, 0) + 1
        path = self._last(path)
        self.lines[path] = line
        return path

    def _last(self, path: _Path) -> _Path:
        count = self._arrays.get(path)
        return path if count is None else (*path, count - 1)

    def _pair(self, prefix: _Path) -> None:
        line = self._line_here()
        path = prefix
        for name in self._names():
            path = (*path, name)
            self.lines.setdefault(path, line)
        self.lines[path] = line
        self.at += 1  # the =
        self._skip(_SPACE)
        self._value(path)

    def _names(self) -> list[str]:
        """A name or dotted names, and the blanks around."""
        names = []
        while True:
            self._skip(_SPACE)
            if self.text[self.at] in "\"'":
                start = self.at
                self._string()
                # Escapes are the library's business.
                names.append(next(iter(tomllib.loads(f"{self.text[start : self.at]}=0"))))
            else:
                match = _BARE.match(self.text, self.at)
                if match is None:
                    raise ValueError(f"no name in line {self._line_here()} of a valid TOML text")
                names.append(match[0])
                self.at = match.end()
            self._skip(_SPACE)
            if self.text[self.at] != ".":
                return names
            self.at += 1

    def _value(self, path: _Path) -> None:
        match self.text[self.at]:
            case '"' | "'":
                self._string()
            case "[":
                self._array(path)
            case "{":
                self._table(path)
            case _:
                other = _OTHER.match(self.text, self.at)
                self.at = self.at + 1 if other is None else other.end()

    def _string(self) -> None:
        quote = self.text[self.at]
        match = _STRINGS[quote, self.text.startswith(quote * 3, self.at)].match(self.text, self.at)
        if match is None:
            raise ValueError(f"no string in line {self._line_here()} of a valid TOML text")
        self.at = match.end()

    def _array(self, path: _Path) -> None:
        self.at += 1
        place = 0
        while True:
            self._skip(_BLANK)
            match self.text[self.at]:
                case "]":
                    self.at += 1
                    return
                case ",":
                    self.at += 1
                case _:
                    self.lines[(*path, place)] = self._line_here()
                    self._value((*path, place))
                    place += 1

    def _table(self, path: _Path) -> None:
        self.at += 1
        while True:
            self._skip(_BLANK)
            match self.text[self.at]:
                case "}":
                    self.at += 1
                    return
                case ",":
                    self.at += 1
                case _:
                    self._pair(path)

    def _skip(self, pattern: re.Pattern[str]) -> bool:
        match = pattern.match(self.text, self.at)
        if match is None:
            return False
        self.at = match.end()
        return True

    def _line_here(self) -> int:
        # Counted on from the last place asked about: the scanner only moves ahead.
        self._line += self.text.count("\n", self._counted, self.at)
        self._counted = self.at
        return self._line
