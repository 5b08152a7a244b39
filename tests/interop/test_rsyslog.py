"""What a real rsyslogd makes of our messages: header and structured data as it parses them, over each transport."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from twoway.analysis.notices import Figures, Notice, State
from twoway.config.plan import NoticePlan, SyslogPlan
from twoway.notify import link, receiver
from twoway.notify.notifier import Notifier

from .receiving import Rsyslogd, until

if TYPE_CHECKING:
    from collections.abc import Iterator

AT_NS = 1_772_366_400_123_456_789
FIGURES = Figures(
    "gw]1\\", "2001:db8::1", "response-received", 10, 9, (1, 2, 3, 4), (-5, 6, 7, 8), None, 0, 2, AT_NS
)  # fmt: skip
NOTICE = Notice(
    at_ns=AT_NS,
    name="rtt-exceeded",
    state=State.RAISED,
    message='core-fra "voice": round-trip time 6 ms met or exceeded 5 ms',
    connection="core-fra",
    session='vo"ice]\\µ',
    threshold_ns=5_000_000,
    value_ns=6_000_000,
    figures=FIGURES,
)
DATA = {
    "state": "raised",
    "connection": "core-fra",
    "session": 'vo"ice]\\µ',
    "threshold_ns": "5000000",
    "value_ns": "6000000",
    "target": "gw]1\\",
    "address": "2001:db8::1",
    "status": "response-received",
    "sent": "10",
    "received": "9",
    "rtt_min_ns": "1",
    "rtt_max_ns": "2",
    "rtt_mean_ns": "3",
    "rtt_stddev_ns": "4",
    "egress_min_ns": "-5",
    "egress_max_ns": "6",
    "egress_mean_ns": "7",
    "egress_stddev_ns": "8",
}


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """On loopback, bad news comes at once."""
    monkeypatch.setattr(link, "SETTLE_S", 0.05)


@pytest.fixture
def rsyslogd(tmp_path_factory: pytest.TempPathFactory) -> Rsyslogd:
    return Rsyslogd(tmp_path_factory.mktemp("rsyslog"))


@pytest.fixture
def listening(rsyslogd: Rsyslogd) -> Iterator[Rsyslogd]:
    with rsyslogd.running():
        yield rsyslogd


def plan_of(rsyslogd: Rsyslogd, transport: str) -> SyslogPlan:
    address = f"{rsyslogd.folder}/log" if transport == "local" else f"127.0.0.1:{rsyslogd.port}"
    return SyslogPlan(transport, address, facility=16, hostname="gw7.example.net", enterprise_number=64_999)


async def arrived(rsyslogd: Rsyslogd, count: int, notifier: Notifier) -> list[dict[str, str]]:
    await until(lambda: len(rsyslogd.messages()) >= count, lambda: f"{rsyslogd.messages()} {notifier.state()}")
    return rsyslogd.messages()


@pytest.mark.parametrize(("transport", "module"), [("udp", "imudp"), ("tcp", "imtcp"), ("local", "imuxsock")])
async def test_it_parses_what_we_said(listening: Rsyslogd, transport: str, module: str) -> None:
    told: list[Notice] = []
    notifier = Notifier(NoticePlan(syslog=(plan_of(listening, transport),)), told.append)
    await notifier.start()
    notifier.post(NOTICE)
    notifier.post(replace(NOTICE, name="started", state=State.ONCE, session=None, message="läuft", figures=None))
    first, second = await arrived(listening, 2, notifier)
    await notifier.close(5)
    assert first == {
        "severity": "warning",
        "facility": "local0",
        "timestamp": first["timestamp"],
        "hostname": "gw7.example.net",
        "app": "twoway",
        "process": str(os.getpid()),
        "msgid": "rtt-exceeded",
        "text": NOTICE.message,
        "input": module,
        "data": first["data"],
    }
    assert json.loads(first["data"]) == {"twoway@64999": DATA, "meta": {"sequenceId": "1"}}
    if transport != "local":  # there it goes by the time of the socket's credentials
        assert first["timestamp"] == "2026-03-01T12:00:00.123456Z"
    assert (second["severity"], second["msgid"], second["text"]) == ("notice", "started", "\ufeffläuft")
    assert json.loads(second["data"])["meta"] == {"sequenceId": "2"}
    assert told == []


async def test_a_daemon_that_was_away_gets_what_was_said_meanwhile(
    rsyslogd: Rsyslogd, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(receiver, "FIRST_PAUSE_S", 0.05)
    monkeypatch.setattr(receiver, "LONGEST_PAUSE_S", 0.1)
    told: list[Notice] = []
    plan = NoticePlan(syslog=tuple(plan_of(rsyslogd, transport) for transport in ("udp", "tcp", "local")))
    notifier = Notifier(plan, told.append)
    await notifier.start()
    for number in range(3):
        notifier.post(replace(NOTICE, session=str(number)))
    await until(lambda: len(told) == 3, lambda: f"each is noticed to be away: {notifier.state()}")
    with rsyslogd.running():
        await until(lambda: all(each["sent"] == 3 for each in notifier.state()), lambda: str(notifier.state()))
        messages = await arrived(rsyslogd, 9, notifier)
        await notifier.close(5)
    assert [each.state for each in told] == [State.RAISED] * 5 + [State.CLEARED]
    for module in ("imudp", "imtcp", "imuxsock"):
        sessions = [json.loads(m["data"])["twoway@64999"]["session"] for m in messages if m["input"] == module]
        assert sessions == ["0", "1", "2"]
