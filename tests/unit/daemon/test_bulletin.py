"""Every notice is counted, remembered, kept and told."""

from __future__ import annotations

from typing import TYPE_CHECKING

from twoway.analysis.notices import Notice, State
from twoway.daemon.bulletin import REMEMBERED, Bulletin
from twoway.daemon.seams import NoStore, NoTeller

if TYPE_CHECKING:
    import pytest

    from twoway.analysis.notices import Condition


def notice(at_ns: int, name: str = "started") -> Notice:
    return Notice(at_ns, name, State.ONCE, f"at {at_ns}")


def test_a_notice_reaches_everybody(monkeypatch: pytest.MonkeyPatch) -> None:
    kept: list[Notice] = []
    told: list[Notice] = []
    store, teller = NoStore(), NoTeller()
    monkeypatch.setattr(store, "put_notice", kept.append, raising=False)
    monkeypatch.setattr(teller, "post", told.append, raising=False)
    bulletin = Bulletin(store, teller)
    for at_ns in (1, 2):
        bulletin.post(notice(at_ns))
    bulletin.post(notice(3, "stopping"))
    assert kept == told == list(bulletin.newest(None, 10))
    assert bulletin.counts == {("started", "once"): 2, ("stopping", "once"): 1}


def test_the_end_of_what_began_before_the_start_is_owed(monkeypatch: pytest.MonkeyPatch) -> None:
    owed: list[Condition] = []
    teller = NoTeller()
    monkeypatch.setattr(teller, "owe", owed.extend, raising=False)
    bulletin = Bulletin(NoStore(), teller)
    raised, anew = (Notice(1, name, State.RAISED, name) for name in ("own-fault", "store-degraded"))
    bulletin.post(anew)
    assert bulletin.take_up([raised.condition, anew.condition]) == owed == [raised.condition]


def test_the_newest_are_shown_oldest_first() -> None:
    bulletin = Bulletin(NoStore(), NoTeller())
    for at_ns in range(1, 6):
        bulletin.post(notice(at_ns))
    assert [seen.at_ns for seen in bulletin.newest(None, 2)] == [4, 5]
    assert [seen.at_ns for seen in bulletin.newest(3, 10)] == [3, 4, 5]
    assert bulletin.newest(None, 0) == []


def test_what_was_kept_comes_before_what_happens_and_is_not_told_again() -> None:
    bulletin = Bulletin(NoStore(), NoTeller())
    bulletin.post(notice(10))
    bulletin.remember([notice(1), notice(2)])
    assert [seen.at_ns for seen in bulletin.newest(None, 10)] == [1, 2, 10]
    assert bulletin.counts == {("started", "once"): 1}


def test_what_is_kept_already_of_what_was_posted_is_shown_once() -> None:
    bulletin = Bulletin(NoStore(), NoTeller())
    bulletin.post(notice(10))
    bulletin.remember([notice(1), notice(10)])
    assert [seen.at_ns for seen in bulletin.newest(None, 10)] == [1, 10]


def test_memory_is_bounded_and_can_be_cleared() -> None:
    bulletin = Bulletin(NoStore(), NoTeller())
    for at_ns in range(REMEMBERED + 5):
        bulletin.post(notice(at_ns))
    assert len(bulletin.newest(None, 2 * REMEMBERED)) == REMEMBERED
    assert bulletin.clear() == REMEMBERED
    assert bulletin.newest(None, 10) == []
    assert bulletin.counts == {("started", "once"): REMEMBERED + 5}
