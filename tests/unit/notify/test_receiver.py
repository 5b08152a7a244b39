"""One receiver's queue and patience, with an outlet that fails as the test says."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, cast

import pytest

from twoway.analysis.notices import Notice, State
from twoway.errors import OutputError
from twoway.notify import limit, receiver
from twoway.notify.receiver import Receiver, Waiting

from .made import notice, until

if TYPE_CHECKING:
    from collections.abc import Callable

ONCE = notice("test-completion", State.ONCE)


class FakeOutlet:
    """Delivers to a list, or fails with `failure`."""

    label = "fake"

    def __init__(self) -> None:
        self.failure: Exception | None = None
        self.delivered: list[Notice] = []
        self.careful: list[bool] = []
        self.opened = self.closed = 0
        self.gate = asyncio.Event()
        self.gate.set()

    def wants(self, notice: Notice) -> bool:
        return notice.name != "started"

    async def open(self) -> None:
        self.opened += 1
        if self.failure is not None:
            raise self.failure

    async def deliver(self, notice: Notice, *, careful: bool) -> None:
        await self.gate.wait()
        if self.failure is not None:
            raise self.failure
        self.delivered.append(notice)
        self.careful.append(careful)

    def close(self) -> None:
        self.closed += 1


def made(
    outlet: FakeOutlet,
    rate_limit: int = 0,
    queue: int = 1000,
    on_change: Callable[[Receiver, bool], None] | None = None,
) -> Receiver:
    under_test = Receiver(outlet, rate_limit, on_change or (lambda _receiver, _degraded: None), queue)
    under_test.start()
    return under_test


def counters(under_test: Receiver) -> dict[str, int]:
    state = under_test.state()
    return {name: cast("int", state[name]) for name in ("sent", "queued", "suppressed", "dropped")}


@pytest.fixture(autouse=True)
def _short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(receiver, "FIRST_PAUSE_S", 0.01)
    monkeypatch.setattr(receiver, "LONGEST_PAUSE_S", 0.02)


async def test_notices_arrive_in_order_and_only_those_that_are_wanted() -> None:
    outlet = FakeOutlet()
    under_test = made(outlet)
    for name in ("rtt-exceeded", "started", "test-completion"):
        under_test.post(notice(name))
    await until(lambda: len(outlet.delivered) == 2, "both arrived")
    assert [each.name for each in outlet.delivered] == ["rtt-exceeded", "test-completion"]
    assert outlet.careful == [True, False]
    assert outlet.opened == 1
    await under_test.close(5)
    assert counters(under_test) == {"sent": 2, "queued": 0, "suppressed": 0, "dropped": 0}


async def test_nothing_is_opened_before_there_is_something_to_say() -> None:
    outlet = FakeOutlet()
    under_test = made(outlet)
    await under_test.close(5)
    assert outlet.opened == 0


async def test_a_receiver_that_is_away_is_tried_again_and_loses_nothing() -> None:
    outlet, changes = FakeOutlet(), list[bool]()
    outlet.failure = OutputError("fake", "away")
    under_test = made(outlet, on_change=lambda _receiver, degraded: changes.append(degraded))
    for _ in range(5):
        under_test.post(ONCE)
    await until(lambda: outlet.opened > 3, "it was tried again")
    assert under_test.state()["state"] == "degraded"
    assert under_test.state()["last_error"] == "write fake: away"
    outlet.failure = None
    await until(lambda: len(outlet.delivered) == 5, "all arrived")
    assert changes == [True, False]
    assert under_test.state()["state"] == "ok"
    await under_test.close(5)
    assert counters(under_test) == {"sent": 5, "queued": 0, "suppressed": 0, "dropped": 0}


async def test_a_dead_receivers_troubles_are_kept_from_it() -> None:
    outlet = FakeOutlet()
    outlet.failure = OSError(111, "Connection refused")

    def tell(told: Receiver, degraded: bool) -> None:
        told.post(notice("receiver-degraded", State.RAISED if degraded else State.CLEARED, None))

    under_test = made(outlet, on_change=tell)
    under_test.post(ONCE)
    await until(lambda: under_test.degraded, "it is degraded")
    assert under_test.state()["last_error"] == "Connection refused"
    assert under_test.state()["queued"] == 1
    outlet.failure = None
    await until(lambda: len(outlet.delivered) == 2, "it is back, and told that it was away")
    assert outlet.delivered[1].state is State.CLEARED
    await under_test.close(5)


async def test_a_full_queue_gives_up_its_oldest_but_no_end() -> None:
    outlet = FakeOutlet()
    outlet.gate.clear()
    under_test = made(outlet, queue=3)
    head, end = notice("probe-failure"), notice("jitter-exceeded", State.CLEARED)
    under_test.post(head)
    await until(lambda: outlet.opened == 1, "the first is on its way")
    for each in (end, *[notice(session=str(number)) for number in range(5)]):
        under_test.post(each)
    assert counters(under_test) == {"sent": 0, "queued": 4, "suppressed": 0, "dropped": 3}
    outlet.gate.set()
    await until(lambda: len(outlet.delivered) == 4, "what was kept arrived")
    assert outlet.delivered[:2] == [head, end]
    assert [each.session for each in outlet.delivered[2:]] == ["3", "4"]
    await under_test.close(5)
    assert counters(under_test) == {"sent": 4, "queued": 0, "suppressed": 0, "dropped": 3}


def test_a_queue_of_ends_gives_up_the_oldest_end() -> None:
    waiting = Waiting(2)
    ends = [notice(state=State.CLEARED, session=str(number)) for number in range(3)]
    other = notice(session="other")
    assert [waiting.put(each) for each in (*ends, other)] == [None, None, ends[0], ends[1]]
    assert waiting.put(ends[0]) is other
    assert [waiting.take(), waiting.take()] == [ends[2], ends[0]]
    assert len(waiting) == 0


async def test_what_is_over_the_limit_is_summed_up_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limit, "MINUTE_NS", 50_000_000)
    outlet = FakeOutlet()
    under_test = made(outlet, rate_limit=1)
    for _ in range(4):
        under_test.post(ONCE)
    await until(lambda: len(outlet.delivered) == 2, "the summary arrived")
    summary = outlet.delivered[1]
    assert (summary.name, summary.count) == ("notices-suppressed", 3)
    await under_test.close(5)
    assert counters(under_test) == {"sent": 2, "queued": 0, "suppressed": 3, "dropped": 0}


async def test_the_end_drops_what_a_receiver_that_is_away_did_not_take() -> None:
    outlet = FakeOutlet()
    outlet.failure = OSError(111, "Connection refused")
    under_test = made(outlet)
    under_test.post(ONCE)
    await until(lambda: under_test.degraded, "it is degraded")
    under_test.post(ONCE)
    await asyncio.wait_for(under_test.close(20), 5)
    assert counters(under_test) == {"sent": 0, "queued": 0, "suppressed": 0, "dropped": 2}
    under_test.post(ONCE)
    assert counters(under_test)["queued"] == 0


async def test_the_end_waits_for_a_receiver_that_hangs_no_longer_than_it_may() -> None:
    outlet = FakeOutlet()
    outlet.gate.clear()
    under_test = made(outlet)
    under_test.post(ONCE)
    await under_test.close(0.05)
    assert counters(under_test) == {"sent": 0, "queued": 0, "suppressed": 0, "dropped": 1}
    assert outlet.closed


async def test_what_was_queued_before_the_end_is_delivered() -> None:
    outlet = FakeOutlet()
    under_test = made(outlet)
    for _ in range(100):
        under_test.post(ONCE)
    await under_test.close(5)
    assert counters(under_test) == {"sent": 100, "queued": 0, "suppressed": 0, "dropped": 0}


async def test_a_notice_that_cannot_be_said_does_not_silence_the_next() -> None:
    outlet = FakeOutlet()
    outlet.failure = ValueError("cannot be encoded")
    under_test = made(outlet)
    under_test.post(notice("probe-failure"))
    await until(lambda: counters(under_test)["dropped"] == 1, "the first was given up")
    outlet.failure = None
    under_test.post(ONCE)
    await until(lambda: outlet.delivered == [ONCE], "the second arrived")
    await under_test.close(5)
    assert counters(under_test) == {"sent": 1, "queued": 0, "suppressed": 0, "dropped": 1}
