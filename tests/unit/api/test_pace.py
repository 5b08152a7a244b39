"""Turns: however many make long answers, the loop is held up by one turn of one of them."""

from __future__ import annotations

import asyncio
from itertools import groupby
from typing import TYPE_CHECKING

import pytest

from twoway.api import pace
from twoway.api.pace import CHUNK, Pace

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(autouse=True)
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each item is a turn of its own."""
    monkeypatch.setattr(pace, "TURN_NS", -1)


async def test_all_who_wait_have_a_turn_before_anybody_has_another() -> None:
    paced = Pace()
    order: list[int] = []

    async def ask(number: int) -> None:
        def items() -> Iterator[int]:
            for _ in range(50):
                order.append(number)
                yield number

        async for batch in paced.batches(items()):
            assert batch == [number]

    await asyncio.gather(*(ask(number) for number in range(20)))
    assert len(order) == 20 * 50
    assert [sorted(order[at : at + 20]) for at in range(0, len(order), 20)] == [list(range(20))] * 50


async def test_between_two_turns_of_anybody_the_loop_runs_the_rest() -> None:
    paced = Pace()
    moments: list[str] = []

    async def ask() -> None:
        def items() -> Iterator[None]:
            for _ in range(30):
                moments.append("turn")
                yield None

        async for _ in paced.batches(items()):
            pass

    asking = asyncio.gather(*(ask() for _ in range(10)))
    while not asking.done():
        moments.append("rest")
        await asyncio.sleep(0)
    assert max(len(list(run)) for what, run in groupby(moments) if what == "turn") == 1


async def test_what_hangs_up_in_its_turn_lets_the_next_one_go_on() -> None:
    paced = Pace()
    first = paced.batches(range(3))
    assert await anext(first) == [0]
    second = asyncio.create_task(_all(paced, 5))
    await asyncio.sleep(0)
    second.cancel()
    await asyncio.gather(second, return_exceptions=True)
    await first.aclose()  # type: ignore[attr-defined]  # it is a generator
    assert await _all(paced, 5) == [0, 1, 2, 3, 4]


async def _all(paced: Pace, count: int) -> list[int]:
    return [item async for batch in paced.batches(range(count)) for item in batch]


async def test_pieces_come_in_chunks_that_are_worth_sending() -> None:
    pieces = [bytes([number]) * 1000 for number in range(200)]
    found = [chunk async for chunk in Pace().chunks([b"", *pieces, b""])]
    assert b"".join(found) == b"".join(pieces)
    assert all(CHUNK <= len(chunk) < CHUNK + 1000 for chunk in found[:-1])
    assert [chunk async for chunk in Pace().chunks([b"", b""])] == []
