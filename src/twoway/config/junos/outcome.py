"""What becomes of a Junos configuration, statement by statement."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from twoway.config.document import Data
    from twoway.config.junos.statement import Statement


@dataclass(frozen=True, slots=True)
class Unused:
    """A statement without equivalent."""

    statement: Statement
    reason: str
    ours: bool
    """Whether it is about TWAMP, RPM or tracked routes: all else of a router's configuration is listed in one line."""
    in_force: bool = True
    """False for what the router does not do either: inactive, deleted, set again, or a command and no statement."""


@dataclass(slots=True)
class Imported:
    """What became of a Junos configuration."""

    data: dict[str, Data] = field(default_factory=dict)
    """In our words."""
    used: list[Statement] = field(default_factory=list)
    unused: list[Unused] = field(default_factory=list)
    to_do: list[str] = field(default_factory=list)
    """What is not the same in our words, and what is to be done about it."""


class NotUsedError(Exception):
    """A statement has no equivalent; the message says why."""

    def __init__(self, why: str, *, in_force: bool = True) -> None:
        super().__init__(why)
        self.in_force = in_force
