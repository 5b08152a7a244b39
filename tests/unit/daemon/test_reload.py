"""What a reload disturbs, and what it leaves alone."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from twoway.config.check import check_text
from twoway.config.plan import Limit, NoticePlan, StorePlan, Thresholds
from twoway.config.reflection import Reflection
from twoway.config.server import ServerOptions
from twoway.daemon.reload import difference

from .plans import connection, light, managed, plan

if TYPE_CHECKING:
    from twoway.config.plan import Plan

OTHER = "another"


def test_only_the_token_of_the_api_is_taken_over_at_once() -> None:
    old = plan(connection(light()))
    token = difference(old, replace(old, api=replace(old.api, token=OTHER)))
    assert (token.token, token.next_start) == (True, ())
    assert token.describe() == "no test-session differs; the API's token differs"
    both = difference(old, replace(old, api=replace(old.api, token=OTHER, mode=0o600)))
    assert (both.token, both.next_start) == (True, ("api",))


def test_an_equal_plan_changes_nothing() -> None:
    change = difference(plan(connection(light())), plan(connection(light())))
    assert (change.stop, change.start, change.change) == ((), (), ())
    assert not change.server
    assert change.describe() == "no test-session differs"


def test_what_decides_packets_starts_a_session_anew_and_leaves_its_neighbours_alone() -> None:
    old = connection(light("a"), light("b"), light("c"))
    for different in (
        light("b", interval_ns=30_000_000),
        light("b", target="127.0.0.2:862"),
        light("b", probe_count=6),
        light("b", test_interval_ns=1),
        light("b", test_count=3),
    ):
        (change,) = difference(plan(old), plan(connection(light("a"), different, light("c")))).change
        assert [session.name for session in change.stop] == ["b"]
        assert change.start == (different,)
        assert change.adjust == ()


def test_the_first_session_is_one_like_the_others() -> None:
    def written(*sessions: str) -> Plan:
        text = "client: {control-connection: {near: {control-type: light, test-session: {%s}}}}"
        found = check_text(text % ", ".join(sessions), "f.yaml", Path("/etc/twoway")).plan
        assert found is not None
        return found

    first, second = "a: {target: 192.0.2.1}", "b: {target: 192.0.2.2}"
    old = written(first, second)
    for new, stopped, started in (
        (written(second, first), [], []),
        (written(second), ["a"], []),
        (written("a: {target: 192.0.2.9}", second), ["a"], ["a"]),
        (written("c: {target: 192.0.2.3}", first, second), [], ["c"]),
    ):
        change = difference(old, new)
        assert (change.stop, change.start) == ((), ())
        (one,) = change.change
        assert [session.name for session in one.stop] == stopped
        assert [session.name for session in one.start] == started
        assert one.adjust == ()


def test_how_results_are_read_is_adjusted_in_place() -> None:
    old = connection(light("a"), light("b"))
    adjusted = light(
        "b",
        thresholds=Thresholds(rtt=Limit(5)),
        history_size=7,
        moving_average_size=3,
        traps=frozenset({"test-completion"}),
        persistent=True,
    )
    (change,) = difference(plan(old), plan(connection(light("a"), adjusted))).change
    assert (change.stop, change.start, change.adjust) == ((), (), (adjusted,))


def test_sessions_of_a_managed_connection_come_and_go_without_it() -> None:
    old = connection(managed("a"), managed("b"))
    new = connection(managed("b"), managed("c"), traps=frozenset({"control-connection-closed"}))
    change = difference(plan(old), plan(new))
    assert (change.stop, change.start) == ((), ())
    (one,) = change.change
    assert [session.name for session in one.stop] == ["a"]
    assert [session.name for session in one.start] == ["c"]
    assert change.describe() == "test-sessions: 1 started, 1 stopped"


def test_a_connection_whose_own_statements_differ_is_another() -> None:
    old, new = connection(managed()), connection(managed(), target="127.0.0.9:862")
    change = difference(plan(old), plan(new))
    assert (change.stop, change.start, change.change) == ((old,), (new,), ())
    manual = difference(plan(connection(light())), plan(connection(light(), test_start="manual")))
    assert len(manual.stop) == len(manual.start) == 1


def test_connections_that_are_new_or_gone_do_not_touch_others() -> None:
    kept, gone, new = (connection(light(connection=name)) for name in ("kept", "gone", "new"))
    change = difference(plan(kept, gone), plan(new, kept))
    assert (change.stop, change.start, change.change) == ((gone,), (new,), ())


def test_reflectors_and_server_are_compared_by_value() -> None:
    old = plan(server=ServerOptions(port_range=(1, 5)), reflections=(Reflection(listen=("a",)), Reflection()))
    new = plan(server=ServerOptions(port_range=(1, 5)), reflections=(Reflection(), Reflection(listen=("b",))))
    change = difference(old, new)
    assert not change.server
    assert change.stop_reflections == (Reflection(listen=("a",)),)
    assert change.start_reflections == (Reflection(listen=("b",)),)
    assert difference(old, plan()).server


def test_what_waits_for_the_next_start_is_named() -> None:
    old = plan(connection(light()))
    change = difference(old, replace(old, workers=3, notices=NoticePlan(rate_limit=1)))
    assert change.next_start == ("workers",)
    assert change.describe() == (
        "no test-session differs; receivers of notices differ; taken over at the next start: workers"
    )


def test_what_waits_for_the_next_start_waits_until_then() -> None:
    begun = plan(connection(light()))
    waiting = replace(begun, store=StorePlan(Path("/elsewhere.db")))
    assert difference(waiting, replace(waiting, notices=NoticePlan(rate_limit=1)), begun).next_start == ("store",)
    assert difference(waiting, begun, begun).next_start == ()
