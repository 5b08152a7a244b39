"""All receivers together, over real sockets on loopback."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from twoway.analysis.notices import Notice, State
from twoway.config.plan import NoticePlan, SyslogPlan, TrapPlan
from twoway.errors import ConfigError
from twoway.notify import link, receiver
from twoway.notify.notifier import Notifier

from .made import NOTICE, notice, until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """On loopback, bad news comes at once."""
    monkeypatch.setattr(link, "SETTLE_S", 0.05)


@pytest.fixture
def far() -> Iterator[socket.socket]:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as opened:
        opened.bind(("127.0.0.1", 0))
        opened.setblocking(False)
        yield opened


def address(opened: socket.socket) -> str:
    return f"127.0.0.1:{opened.getsockname()[1]}"


@contextlib.asynccontextmanager
async def running(plan: NoticePlan, told: list[Notice] | None = None) -> AsyncIterator[Notifier]:
    notifier = Notifier(plan, (told if told is not None else []).append)
    await notifier.start()
    yield notifier
    await notifier.close(5)


def taken(opened: socket.socket) -> list[bytes]:
    messages = []
    with contextlib.suppress(BlockingIOError):
        while True:
            messages.append(opened.recv(4096))
    return messages


async def test_each_receiver_gets_what_is_important_enough_for_it(far: socket.socket) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
        other.bind(("127.0.0.1", 0))
        other.setblocking(False)
        important = SyslogPlan("udp", address(far), min_severity=3)
        plan = NoticePlan(syslog=(important, SyslogPlan("udp", address(other), facility=16, hostname="gw7")))
        async with running(plan) as notifier:
            notifier.post(notice("test-failure"))
            notifier.post(notice("test-completion", State.ONCE))
            notifier.post(notice("test-failure", State.CLEARED))
        assert [message.split()[5] for message in taken(far)] == [b"test-failure", b"test-failure"]
        messages = taken(other)
        assert [message.split()[0] for message in messages] == [b"<131>1", b"<134>1", b"<133>1"]
        assert [message.split()[2] for message in messages] == [b"gw7"] * 3
        assert [message.rpartition(b"sequenceId=")[2][:3] for message in messages] == [b'"1"', b'"2"', b'"3"']


async def test_a_receiver_that_is_away_is_told_of_once_and_not_told_itself(
    far: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(receiver, "FIRST_PAUSE_S", 0.01)
    dead = SyslogPlan("tcp", "127.0.0.1:1")
    told: list[Notice] = []
    async with running(NoticePlan(syslog=(SyslogPlan("udp", address(far)), dead)), told) as notifier:
        notifier.post(NOTICE)
        await until(lambda: len(told) == 1, "the dead one was noticed")
        notifier.post(told[0])
        await until(lambda: notifier.state()[0]["sent"] == 2, "the other was told")
        dead_state = notifier.state()[1]
        assert (dead_state["state"], dead_state["queued"]) == ("degraded", 1)
        assert told[0].message == "syslog tcp 127.0.0.1:1 does not take notices: Connection refused"
    assert b"receiver-degraded" in taken(far)[1]
    assert notifier.state()[1]["dropped"] == 1


async def test_a_receiver_that_comes_back_gets_everything(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(receiver, "FIRST_PAUSE_S", 0.01)
    monkeypatch.setattr(receiver, "LONGEST_PAUSE_S", 0.05)
    with socket.socket() as reserved:
        reserved.bind(("127.0.0.1", 0))
        port = reserved.getsockname()[1]
    told: list[Notice] = []
    async with running(NoticePlan(syslog=(SyslogPlan("tcp", f"127.0.0.1:{port}"),)), told) as notifier:
        for number in range(3):
            notifier.post(replace(NOTICE, session=str(number)))
        await until(lambda: bool(told), "it was missed")
        octets = bytearray()

        async def take(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            octets.extend(await reader.read())
            writer.close()

        async with await asyncio.start_server(take, "127.0.0.1", port):
            await until(lambda: notifier.state()[0]["sent"] == 3, "it was told")
            assert [each.state for each in told] == [State.RAISED, State.CLEARED]
            await notifier.close(5)
            await until(lambda: octets.count(b"rtt-exceeded") == 3, "everything arrived")


async def test_a_receiver_that_restarts_between_two_notices_is_not_worth_a_notice() -> None:
    octets, connections = bytearray(), list[asyncio.StreamWriter]()

    async def take(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connections.append(writer)
        while more := await reader.read(4096):
            octets.extend(more)
        writer.close()

    server = await asyncio.start_server(take, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        told: list[Notice] = []
        async with running(NoticePlan(syslog=(SyslogPlan("tcp", f"127.0.0.1:{port}"),)), told) as notifier:
            notifier.post(NOTICE)
            await until(lambda: octets.count(b"rtt-exceeded") == 1, "the first arrived")
            connections[0].close()
            await until(lambda: _ended(notifier), "the end was noticed")
            notifier.post(NOTICE)
            await until(lambda: octets.count(b"rtt-exceeded") == 2, "the second arrived")
            assert told == []
            assert len(connections) == 2


def _ended(notifier: Notifier) -> bool:
    (only,) = notifier._receivers.values()  # noqa: SLF001  (to see what asyncio told its link)
    return only._outlet._link._end is not None  # type: ignore[attr-defined]  # noqa: SLF001  (as above)


async def test_the_condition_ends_when_every_receiver_is_well_or_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(receiver, "FIRST_PAUSE_S", 0.01)
    monkeypatch.setattr(receiver, "LONGEST_PAUSE_S", 0.05)
    told: list[Notice] = []
    with socket.socket() as first, socket.socket() as second:
        first.bind(("127.0.0.1", 0))
        second.bind(("127.0.0.1", 0))
        plans = tuple(SyslogPlan("tcp", address(each)) for each in (first, second))
        async with running(NoticePlan(syslog=plans), told) as notifier:
            notifier.post(NOTICE)
            await until(lambda: len(told) == 2, "both are away")
            first.listen()
            await until(lambda: len(told) == 3, "one is back")
            assert [each.state for each in told] == [State.RAISED] * 3
            labels = [f"syslog tcp {each.address}" for each in plans]
            assert told[2].message == f"{labels[0]} takes notices again, but not {labels[1]}"
            notifier.reconfigure(NoticePlan(syslog=plans[:1]))
            assert [each.state for each in told[3:]] == [State.CLEARED]


async def test_another_plan_leaves_what_is_equal_undisturbed(far: socket.socket) -> None:
    stays = SyslogPlan("udp", address(far))
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
        other.bind(("127.0.0.1", 0))
        other.setblocking(False)
        goes = SyslogPlan("udp", address(other))
        async with running(NoticePlan(syslog=(goes, stays), rate_limit=1)) as notifier:
            notifier.post(notice("test-completion", State.ONCE))
            await until(lambda: [each["sent"] for each in notifier.state()] == [1, 1], "both were told")
            notifier.reconfigure(NoticePlan(syslog=(stays, replace(goes, facility=1)), rate_limit=0))
            states = {each["sent"] for each in notifier.state()}
            assert states == {1, 0}
            notifier.post(notice("test-completion", State.ONCE))
            await until(lambda: sorted(each["sent"] for each in notifier.state()) == [1, 2], "both were told again")
        assert [m.rpartition(b"sequenceId=")[2][:3] for m in taken(far)] == [b'"1"', b'"2"']
        assert [message.split()[0] for message in taken(other)] == [b"<30>1", b"<14>1"]


async def test_a_plan_that_is_wrong_changes_nothing(far: socket.socket) -> None:
    good = NoticePlan(syslog=(SyslogPlan("udp", address(far)),))
    with pytest.raises(ConfigError, match="syslog address"):
        Notifier(NoticePlan(syslog=(SyslogPlan("udp", "nms:port"),)), lambda _notice: None)
    async with running(good) as notifier:
        with pytest.raises(ConfigError, match="engine-id"):
            notifier.reconfigure(replace(good, snmp=(TrapPlan("127.0.0.1", "v3", engine_id="nothing"),)))
        notifier.post(NOTICE)
        await until(lambda: notifier.state()[0]["sent"] == 1, "it works on")


async def test_a_receiver_that_is_written_twice_is_told_twice(far: socket.socket) -> None:
    twice = SyslogPlan("udp", address(far))
    async with running(NoticePlan(syslog=(twice, twice))) as notifier:
        notifier.post(NOTICE)
    assert len(taken(far)) == 2


async def test_a_receiver_whose_community_has_changed_gets_notices_with_the_new_one(
    far: socket.socket, tmp_path: Path
) -> None:
    def asked(community: str) -> NoticePlan:
        secret = tmp_path / "community"
        secret.write_text(f"{community}\n")
        secret.chmod(0o600)
        return NoticePlan(snmp=(TrapPlan(address(far), "v2c", community_file=secret, held=(community,)),))

    async with running(asked("old-community")) as notifier:
        for community in ("old-community", "new-community", "new-community"):
            notifier.reconfigure(asked(community))
            notifier.post(notice("probe-failure"))
            async with asyncio.timeout(20):
                assert community.encode() in await asyncio.get_running_loop().sock_recv(far, 4096)


async def test_a_passphrase_that_others_can_read_is_refused_by_name(tmp_path: Path) -> None:
    secret = tmp_path / "community"
    secret.write_text("hidden-word\n")
    secret.chmod(0o644)
    told: list[Notice] = []
    plan = NoticePlan(snmp=(TrapPlan("127.0.0.1:1", "v2c", community_file=secret),))
    async with running(plan, told) as notifier:
        notifier.post(notice("probe-failure"))
        await until(lambda: bool(told), "it was refused")
    assert told[0].message == (
        f"snmp v2c 127.0.0.1:1 does not take notices: key file {secret}: mode 0644 lets others read it: "
        "run `chmod 600` on it"
    )
    assert "hidden-word" not in repr(notifier.state())
