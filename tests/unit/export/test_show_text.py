"""What `twoway show` prints, against files of it: every listing, whole for programs and broken for narrow terminals.

`show_golden/NAME.txt` was looked at by a person. After a change that is meant, `TWOWAY_GOLDEN=write pytest` writes them
anew, to be looked at again.
"""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from twoway.export import json_result, show_text

from ..measured import START_NS, Span
from ..watched import SECOND, FakeDaemon

if TYPE_CHECKING:
    from collections.abc import Callable

    from twoway.analysis.views import ControlView, HealthView, ProbeView, ResultsView, TestView

GOLDEN = Path(__file__).parent / "show_golden"
KEY = ("core-fra", "voice")
REASON = (
    "control connection with 198.51.100.9:862: Connection refused: nothing listens there: is the Server running on "
    "this port?"
)


def connections() -> list[ControlView]:
    """One that runs, one that waits, and one that has no addresses yet."""
    first, second = FakeDaemon().client_connections()
    return [
        replace(first, client_address="2001:db8::1", server_address="2001:db8::9"),
        replace(second, reason=REASON, retries=1234),
        replace(second, name="new", client_address="", server_address="", status="idle", mode="none", reason=None),
    ]


def sessions() -> list[TestView]:
    first, *others = FakeDaemon().client_tests()
    return [first, replace(others[0], protocol="twamp", status="waiting", reason=REASON, sender_address="", packets=0)]


def passed() -> ResultsView:
    """The usual one, with a test under way and a moving average."""
    view = FakeDaemon().results(KEY)
    current, last, every = view.collections
    current = replace(current, test=13, sent=4, received=3, ended_ns=START_NS + 3 * SECOND, loss_ratio=0.0)
    average = replace(last, collection="moving-average", test=None, sent=60, received=60)
    told = {
        "followed_up": 59,
        "not_followed_up": 0,
        "follow_up_correction": {"count": 59, "median_ns": 4100, "max_ns": 21_000},
        "direct_loss_forward_ratio": 0.0,
        "location_source": "192.0.2.1",
        "location_source_mac": None,
        "tlv_malformed": 1,
    }
    tlvs = ("location", "direct-measurement", "follow-up-telemetry")
    return replace(view, collections=[current, last, average, every], tlvs=tlvs, told=told)


def failed() -> ResultsView:
    """One with everything that can be wrong."""
    daemon = FakeDaemon(loss={KEY: 0.3})
    view = daemon.results(KEY)
    assert view.last_probe is not None
    lost = replace(view.last_probe, status="request-timed-out", received_ns=None, rtt_ns=None, t4_source=None)
    bad = [
        replace(
            each,
            late=1,
            duplicates=2,
            reordered=3,
            not_sent=4,
            lost_egress=1,
            lost_ingress=1,
            lost_unattributed=1,
            bursts=2,
            longest_burst=2,
            own_faults={"missed_slots": 4, "late_departures": 1},
            measurements=[
                replace(line, min_ns=-20_000_000, mean_ns=-15_500_000.5) if line.type == "egress" else line
                for line in each.measurements
            ],
        )
        for each in view.collections
    ]
    return replace(
        view,
        source=None,
        probe_count=0,
        verdict_reasons=("3 probes lost in a row, successive-loss is 2", "3 probes lost in the test, total-loss is 2"),
        alarms=("probe-failure", "test-failure"),
        tests_disturbed=5,
        last_probe=lost,
        collections=bad,
        clock={"local_synchronized": 1, "local_error_ns": 400_000, "far_synchronized": 0, "far_error_ns": None},
    )


def fresh() -> ResultsView:
    """One that has seen nothing yet."""
    view = FakeDaemon().results(KEY)
    empty = [
        replace(each, sent=0, received=0, lost_egress=None, lost_ingress=None, loss_ratio=None, measurements=())
        for each in view.collections
    ]
    return replace(
        view,
        verdict="unknown",
        tests_run=0,
        tests_passed=0,
        tests_failed=0,
        last_probe=None,
        collections=empty,
        clock={},
        timestamps="",
    )


def history() -> list[tuple[str, str, ProbeView]]:
    return [(*KEY, probe) for probe in FakeDaemon().history(KEY, limit=14)]


def happened() -> list[dict[str, object]]:
    return [
        {"at_ns": START_NS, "severity": "notice", "name": "started", "state": "once", "message": "twoway 0.1 runs it"},
        {
            "at_ns": START_NS + SECOND,
            "severity": "error",
            "name": "test-failure",
            "state": "raised",
            "message": f"core-par bulk to 198.51.100.9: it could not be negotiated: {REASON}",
        },
    ]


def good() -> HealthView:
    return replace(FakeDaemon().health(), api={"requests": 1, "errors": 0})


def bad() -> HealthView:
    view = FakeDaemon().health()
    return replace(
        view,
        reload_ok=False,
        reload_errors=("twoway.yaml:3: client: there is no such statement: colour", "twoway.yaml:9: it is needed"),
        sessions={"testing": 9998, "failed": 2},
        alarms=2,
        loop_lag_ns=1_600_000_000,
        cpu_steal_ratio=0.25,
        store={
            **view.store,
            "state": "degraded",
            "reason": "No space left on device",
            "lost_queue_full_seconds": 7,
            "unreadable": 1,
        },
        receivers=[{**view.receivers[0], "state": "degraded", "queued": 12, "last_error": "Connection refused"}],
        api={"requests": 77, "unauthorized": 3, "refused_connections": 1},
    )


def window() -> dict[str, object]:
    measured = Span(
        {"sent": 100, "received": 97, "late": 1, "lost_forward": 2},
        {"round_trip": [200_000 + 1000 * n for n in range(97)], "ipdv_round_trip": [-5000, 0, 7000]},
    )
    return dict(json_result.metrics(measured, [50, 95, 99, 99.9], buckets=False))


LISTINGS: dict[str, Callable[[int | None], list[str]]] = {
    "control-info": lambda width: show_text.control_info(connections(), width),
    "test-info": lambda width: show_text.test_info(sessions(), width),
    "results-brief": lambda width: show_text.results_brief([passed(), failed(), fresh()], width),
    "results-passed": lambda width: show_text.results(passed(), width),
    "results-failed": lambda width: show_text.results(failed(), width),
    "results-fresh": lambda width: show_text.results(fresh(), width),
    "history-brief": lambda _width: show_text.history_brief(history()),
    "history-detail": lambda _width: show_text.history_detail(history()),
    "events": lambda width: show_text.events(happened(), width),
    "health-good": lambda width: show_text.health(good(), START_NS + 100_000 * SECOND, width),
    "health-bad": lambda width: show_text.health(bad(), START_NS + 90 * SECOND, width),
    "window": lambda width: show_text.window(*KEY, START_NS, START_NS + 3600 * SECOND, window(), width),  # type: ignore[arg-type]  # sections
}
WIDTHS: tuple[int | None, ...] = (None, 80, 60)


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("name", LISTINGS)
def test_a_listing_is_what_it_was(name: str, width: int | None) -> None:
    text = "".join(f"{line}\n" for line in LISTINGS[name](width))
    path = GOLDEN / f"{name}{'' if width is None else f'-{width}'}.txt"
    if width is not None and text == "".join(f"{line}\n" for line in LISTINGS[name](None)):
        assert not path.exists()
        return
    if os.environ.get("TWOWAY_GOLDEN") == "write":
        path.parent.mkdir(exist_ok=True)
        path.write_text(text, encoding="utf-8")
    assert text == path.read_text(encoding="utf-8")


def test_every_file_belongs_to_a_listing() -> None:
    names = {f"{name}{'' if width is None else f'-{width}'}" for name in LISTINGS for width in WIDTHS}
    assert {path.stem for path in GOLDEN.glob("*.txt")} <= names


@pytest.mark.parametrize("width", [*range(36, 130, 7), None])
@pytest.mark.parametrize("name", LISTINGS)
def test_no_width_loses_a_word(name: str, width: int | None) -> None:
    """But percentiles, which are left out one by one."""
    whole = [word for line in LISTINGS[name](None) for word in line.split()]
    words = [word for line in LISTINGS[name](width) for word in line.split()]
    if not name.startswith(("results-passed", "results-failed", "window")):
        assert sorted(words) == sorted(whole)
    assert set(words) <= set(whole)
    assert all(line == line.rstrip() for line in LISTINGS[name](width))


def test_a_session_on_a_told_path_says_which() -> None:
    view = FakeDaemon().results(("core-fra", "voice"))
    assert not any("Path:" in line for line in show_text.results(view, None))
    told = replace(view, path="red", forward_path="srv6:2001:db8:a::1", return_path="same-link")
    assert "  Path:   red, srv6:2001:db8:a::1, back same-link" in show_text.results(told, None)
    only_back = replace(view, return_path="mpls:17")
    assert "  Path:   plain, back mpls:17" in show_text.results(only_back, None)


def test_nothing_to_show_is_a_sentence() -> None:
    assert show_text.control_info([], None) == ["No control connections."]
    assert show_text.test_info([], None) == ["No test-sessions."]
    assert show_text.results_brief([], None) == ["No results."]
    assert show_text.history_brief([]) == show_text.history_detail([]) == ["No probes in the history."]
    assert show_text.events([], None) == ["No events."]


def test_a_probe_that_was_not_sent_has_no_time() -> None:
    view = FakeDaemon().results(KEY)
    assert view.last_probe is not None
    probe = replace(view.last_probe, sent_ns=None, received_ns=None, rtt_ns=None, status="internal-error")
    lines = show_text.results(replace(view, last_probe=probe), None)
    assert f"  Last probe: {probe.sequence} (test {probe.test}), internal error: it could not be sent" in lines
    assert not any("Sent -" in line for line in lines)


def test_a_test_that_is_over_is_shown_once() -> None:
    lines = show_text.results(FakeDaemon().results(KEY), None)
    assert "  Current test: none is under way" in lines
    assert sum("Round trip time" in line for line in lines) == 2


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0, "0s"), (59, "59s"), (60, "1min"), (3661, "1h 1min"), (90_000, "1d 1h"), (86_400 * 400 + 5, "400d 5s")],
)
def test_long_times_are_in_their_two_greatest_units(seconds: int, words: str) -> None:
    (first, *_) = show_text.health(good(), START_NS + seconds * SECOND, None)
    assert f"running for {words}, " in first
