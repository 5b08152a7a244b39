"""When something happens: the time is always an argument. Pure."""

from __future__ import annotations

from typing import NamedTuple


class Moment(NamedTuple):
    """Now, by both clocks."""

    monotonic_ns: int
    """What delays and penalties run by."""
    wall_ns: int
    """What is shown."""
