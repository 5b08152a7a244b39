"""Calls that hang, in threads of their own."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading

import pytest

from twoway.aside import Aside

PATIENCE_S = 20

HANGS = """
import asyncio, threading
from twoway.aside import Aside

async def main():
    hanging = Aside("hang", 64)
    waiting = [asyncio.ensure_future(hanging.run(threading.Event().wait)) for _ in range(64)]
    while hanging._room._value:
        await asyncio.sleep(0)
    # The loop's own threads are all there for others.
    print(await asyncio.to_thread(lambda: "served"))
    for one in waiting:
        one.cancel()

asyncio.run(main())
"""


async def test_it_returns_what_the_call_returns_and_raises_what_it_raises() -> None:
    aside = Aside("test")
    assert await aside.run(divmod, 7, 2) == (3, 1)
    assert await aside.run(int, "z", base=36) == 35
    with pytest.raises(ZeroDivisionError):
        await aside.run(divmod, 7, 0)
    assert await aside.run(threading.current_thread) is not threading.current_thread()


async def test_a_call_keeps_its_room_until_it_ends_though_nobody_waits_for_it_any_more() -> None:
    aside, end, begun = Aside("test"), threading.Event(), threading.Event()

    def hang() -> None:
        begun.set()
        end.wait(PATIENCE_S)

    first = asyncio.ensure_future(aside.run(hang))
    await asyncio.to_thread(begun.wait, PATIENCE_S)
    first.cancel()
    with pytest.raises(asyncio.CancelledError):
        await first
    second = asyncio.ensure_future(aside.run(threading.Event))
    for _ in range(10):
        await asyncio.sleep(0)
    assert not second.done()
    end.set()
    await asyncio.wait_for(second, PATIENCE_S)


def test_calls_that_hang_for_ever_hold_up_neither_others_nor_the_end() -> None:
    done = subprocess.run(
        [sys.executable, "-c", HANGS], capture_output=True, text=True, timeout=PATIENCE_S, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "served\n", "")
