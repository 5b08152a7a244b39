"""Notices for tests, and patience that ends."""

from __future__ import annotations

import asyncio
import time
from dataclasses import replace
from typing import TYPE_CHECKING

from twoway.analysis.notices import Figures, Notice, State

if TYPE_CHECKING:
    from collections.abc import Callable

AT_NS = 1_772_366_400_123_456_789
"""2026-03-01 12:00:00.123456789 UTC."""
FIGURES = Figures(
    target="gw.example.net:862",
    address="192.0.2.1",
    status="response-received",
    sent=10,
    received=9,
    rtt=(1_234_567, 9_876_543, 5_000_400, 12_345),
    egress=(-5_000, 1_000_000, 500_000, 100_000),
    ingress=(2_000, 3_000, 2_500, 400),
    rtt_sum_of_squares_ms2=250,
    last_rtt_ns=1_500_000,
    last_good_ns=AT_NS,
)
PATIENCE_S = 20.0

NOTICE = Notice(
    at_ns=AT_NS,
    name="rtt-exceeded",
    state=State.RAISED,
    message="core-fra voice: round-trip time 6 ms met or exceeded 5 ms",
    connection="core-fra",
    session="voice",
    threshold_ns=5_000_000,
    value_ns=6_000_000,
    figures=FIGURES,
    trap=True,
)


def notice(name: str = "rtt-exceeded", state: State = State.RAISED, session: str | None = "voice") -> Notice:
    """One of this name, state and session."""
    return replace(NOTICE, name=name, state=state, session=session)


async def until(condition: Callable[[], bool], what: str) -> None:
    """Poll until `condition` holds."""
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline, f"not within {PATIENCE_S:g} s: {what}"
        await asyncio.sleep(0.005)
