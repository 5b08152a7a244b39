"""One statement of a Junos configuration."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Statement:
    """One statement, whole."""

    words: tuple[str, ...]
    line: int
    inactive: bool = False
    deleted: int | None = None
    """Line of the `delete` that took it away."""
    command: str = "set"
    """`set`, or another command that stood before it."""

    def __str__(self) -> str:
        """As a `set` line; what may be secret is not in it."""
        hidden = False
        shown = []
        for word in self.words:
            shown.append("…" if hidden or word.startswith(("$9$", "$8$", "$6$", "$5$", "$1$")) else _quoted(word))
            hidden = word in _SECRET
        return " ".join([self.command, *shown])


_SECRET = ("secret", "authentication-key", "key", "password", "encrypted-password", "community", "simple-password")


def _quoted(word: str) -> str:
    plain = word and not any(c.isspace() or c in '{}[];"#' or not c.isprintable() for c in word)
    return word if plain else '"' + word.replace("\\", "\\\\").replace('"', '\\"') + '"'
