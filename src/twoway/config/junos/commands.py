"""What the lines of a `set` file do to each other: where `edit` went, what is deactivated, what is deleted. Pure.

A line is relative to where `edit`, `up`, `top` and `exit` have gone, as in configuration mode. `delete` takes away what
came before it, `deactivate` and `activate` hold for the whole file. All other commands stay as they are: who takes the
statements lists them.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from twoway.config.junos.statement import Statement

FOLLOWED = ("set", "edit", "top", "up", "exit", "delete", "deactivate", "activate", "commit")
WITHOUT_MEANING = {
    "annotate": "a comment",
    "protect": "nothing is protected here",
    "unprotect": "nothing is protected here",
    "insert": "the order means nothing here",
}
"""Command -> why it changes nothing."""
NOT_FOLLOWED = ("rename", "copy", "replace", "wildcard")
COMMANDS = (*FOLLOWED, *WITHOUT_MEANING, *NOT_FOLLOWED)
_NAMED = (
    *(
        "control-connection",
        "test-session",
        "client-list",
        "routing-instance-list",
        "authentication-key-chain",
        "key-id",
    ),
    *("probe", "test", "owner", "groups", "routing-instances", "logical-systems", "interfaces", "unit", "route"),
    *("next-hop", "qualified-next-hop", "policy", "rpm-probe"),
)
"""Levels that have a name: `up` leaves both words at once."""


def followed(lines: Iterable[Statement]) -> tuple[Statement, ...]:
    """All lines as whole statements, with what happened to each."""
    found: list[Statement] = []
    here: tuple[str, ...] = ()
    before: list[tuple[str, ...]] = []
    for line in lines:
        place, one = here, line
        if one.command == "top" and one.words[:1] and one.words[0] in COMMANDS:
            place, one = (), replace(one, command=one.words[0], words=one.words[1:])
        match one.command:
            case "edit":
                before.append(here)
                here = (*place, *one.words)
            case "top":
                here = ()
            case "up":
                here = _up(here, one.words)
            case "exit":
                here = before.pop() if before else ()
            case _:
                one = replace(one, words=(*place, *one.words))
        found.append(one)
    return tuple(_deactivated(_deleted(found)))


def _up(here: tuple[str, ...], words: tuple[str, ...]) -> tuple[str, ...]:
    levels = int(words[0]) if words and words[0].isascii() and words[0].isdigit() and len(words[0]) < 4 else 1
    for _ in range(levels):
        here = here[:-2] if here[-2:-1] and here[-2] in _NAMED else here[:-1]
    return here


def _deleted(found: list[Statement]) -> list[Statement]:
    """Each with the line of the first `delete` that came after it and names it, or what it is in."""
    gone: dict[tuple[str, ...], int] = {}
    after = []
    for one in reversed(found):
        if one.command == "delete":
            gone[one.words] = one.line
        elif one.command == "set" and gone:
            lines = [gone[place] for place in _places(one) if place in gone]
            one = replace(one, deleted=min(lines, default=None))
        after.append(one)
    return after[::-1]


def _places(one: Statement) -> Iterator[tuple[str, ...]]:
    """All that it is in, and itself."""
    return (one.words[:length] for length in range(len(one.words) + 1))


def _deactivated(found: list[Statement]) -> list[Statement]:
    off: set[tuple[str, ...]] = set()
    for one in found:
        if one.command == "deactivate":
            off.add(one.words)
        elif one.command == "activate":
            off.discard(one.words)
    if not off:
        return found
    return [
        replace(one, inactive=any(place in off for place in _places(one))) if one.command == "set" else one
        for one in found
    ]
