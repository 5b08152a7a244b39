"""A daemon's store in a process of its own, for tests that kill it or take its disk away.

`python -m tests.unit.store.child write PATH` puts a second every few milliseconds, 7 s of the clock apart, and prints
each number and when it was put. `… full PATH` fills a disk that has no more room, gets room, and prints states.
"""

from __future__ import annotations

import asyncio
import json
import resource
import sys
import time
from pathlib import Path

from .counted import KEY, NOON_S, Told, packed, store


async def write(path: Path) -> None:
    kept = store(path)
    await kept.open()
    before = await kept.summary(KEY, 0, 9 * 10**18)
    number = 0 if before.summary is None else before.summary.counter("sent")
    while True:
        assert kept.put_second(NOON_S + number * 7, [(KEY, packed(number))])
        sys.stdout.write(f"{number} {time.monotonic()}\n")
        sys.stdout.flush()
        number += 1
        await asyncio.sleep(0.002)


async def full(path: Path) -> None:
    told = Told()
    kept = store(path, told.append)
    await kept.open()
    kept.put_second(NOON_S, [(KEY, packed(1))])
    await kept.flush()
    # From here on a write beyond this size fails, as on a disk without room. Python ignores SIGXFSZ.
    (unlimited, hard) = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (256 << 10, hard))
    kept.put_second(NOON_S + 1, [(KEY, packed(*range(50_000)))])
    while not told:  # noqa: ASYNC110  (the parent bounds it)
        await asyncio.sleep(0.01)
    waiting = kept.state()
    kept.put_second(NOON_S + 2, [(KEY, packed(3))])
    resource.setrlimit(resource.RLIMIT_FSIZE, (unlimited, hard))
    while len(told) < 2:  # noqa: ASYNC110  (as above)
        await asyncio.sleep(0.01)
    window = await kept.summary(KEY, 0, 9 * 10**18)
    assert window.summary is not None
    result = {
        "states": told.states,
        "message": told[0].message,
        "waiting": waiting,
        "after": kept.state(),
        "sent": window.summary.counter("sent"),
    }
    sys.stdout.write(json.dumps(result) + "\n")
    await kept.close()


if __name__ == "__main__":
    asyncio.run({"write": write, "full": full}[sys.argv[1]](Path(sys.argv[2])))
