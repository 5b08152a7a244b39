"""SNMP messages, decoded octet by octet with pyasn1: what a receiver judges a sender by."""

from __future__ import annotations

import asyncio
import builtins
import contextlib
import os
import socket
import tempfile
from typing import TYPE_CHECKING, Any

import pytest
from pyasn1.codec.ber import decoder
from pysnmp.proto.api import v2c
from pysnmp.proto.mpmod.rfc3412 import SNMPv3Message

from twoway.config.plan import TrapPlan
from twoway.errors import KeyFileError, OutputError
from twoway.notify.engine_identity import EngineClock
from twoway.notify.snmp import SnmpOutlet

from .made import notice

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

ENGINE_ID = "80007ed90501020304"


@pytest.fixture
def far() -> Iterator[socket.socket]:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as opened:
        opened.bind(("127.0.0.1", 0))
        opened.settimeout(10)
        yield opened


def plan_of(far: socket.socket, **changes: object) -> TrapPlan:
    return TrapPlan(f"127.0.0.1:{far.getsockname()[1]}", **changes)  # type: ignore[arg-type]  # fields by name


def secret(folder: Path, text: str) -> Path:
    path = folder / f"secret-{len(text)}"
    path.write_text(text)
    path.chmod(0o600)
    return path


async def delivered(outlet: SnmpOutlet, far: socket.socket) -> bytes:
    await outlet.open()
    await outlet.deliver(notice("probe-failure"), careful=False)
    octets = await asyncio.to_thread(far.recv, 4096)
    outlet.close()
    return octets


def decoded(octets: bytes, form: Any = None) -> Any:  # noqa: ANN401  (pyasn1 has no types)
    whole, rest = decoder.decode(octets, asn1Spec=form)
    assert not rest
    return whole


async def test_a_trap_of_v2c_has_its_community(far: socket.socket, tmp_path: Path) -> None:
    outlet = SnmpOutlet(plan_of(far, version="v2c", community_file=secret(tmp_path, "hidden\n")), EngineClock(1))
    message = decoded(await delivered(outlet, far), v2c.Message())
    assert int(message[0]) == 1
    assert bytes(message[1]) == b"hidden"


async def test_a_trap_of_v3_has_our_boots_and_a_time_that_no_wall_clock_moves(
    far: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    now_s = [100.0]
    clock = EngineClock(4711, lambda: now_s[0])
    outlet = SnmpOutlet(plan_of(far, version="v3", user="alice", engine_id=ENGINE_ID), clock)
    seen = []
    for later_s, wall_s in ((0, 1.8e9), (300, 1.8e9 - 3600), (60, 1.8e9 + 86400)):
        now_s[0] += later_s
        monkeypatch.setattr("time.time", lambda wall_s=wall_s: wall_s)
        message = decoded(await delivered(outlet, far), SNMPv3Message())
        assert int(message[0]) == 3
        security = decoded(bytes(message[2]))
        assert bytes(security[0]).hex() == ENGINE_ID
        assert bytes(security[3]) == b"alice"
        seen.append((int(security[1]), int(security[2])))
    assert seen == [(4711, 0), (4711, 300), (4711, 360)]


async def test_pysnmp_keeps_nothing_in_the_folder_for_temporary_files(
    far: socket.socket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    outlet = SnmpOutlet(plan_of(far, version="v3", user="alice", engine_id=ENGINE_ID), EngineClock(1))
    await delivered(outlet, far)
    assert os.listdir(tmp_path) == []  # noqa: PTH208  (not async, as pathlib's would be)


async def test_an_inform_without_an_answer_is_retried_and_then_a_failure(
    far: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("twoway.notify.snmp.INFORM_TIMEOUT_S", 0.2)
    outlet = SnmpOutlet(plan_of(far, version="v2c", inform=True), EngineClock(1))
    await outlet.open()
    with pytest.raises(OutputError, match="No SNMP response received before timeout"):
        await outlet.deliver(notice("probe-failure"), careful=False)
    outlet.close()
    far.setblocking(False)
    datagrams = 0
    with contextlib.suppress(BlockingIOError):
        while far.recv(4096):
            datagrams += 1
    assert datagrams == 3


async def test_what_is_no_snmp_is_no_answer_and_no_harm(far: socket.socket, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("twoway.notify.snmp.INFORM_TIMEOUT_S", 0.2)
    faults: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _loop, context: faults.append(context))
    outlet = SnmpOutlet(plan_of(far, version="v2c", inform=True), EngineClock(1))
    await outlet.open()
    delivery = asyncio.ensure_future(outlet.deliver(notice("probe-failure"), careful=False))
    octets, address = await asyncio.to_thread(far.recvfrom, 4096)
    for answer in (
        b"",
        b"\x30",
        b"\x30\x03\x02\x01\x01",
        b"nonsense",
        octets,
        octets[:-1],
        b"\x30\x84\xff\xff\xff\xff",
    ):
        far.sendto(answer, address)
    with pytest.raises(OutputError, match="No SNMP response"):
        await delivery
    outlet.close()
    assert faults == []


@pytest.mark.parametrize(
    ("text", "reason"),
    [("short", "at least 8 characters"), ("", "exactly one line"), ("one\ntwo\n", "exactly one line")],
)
async def test_a_passphrase_has_a_file_a_line_and_a_length(
    far: socket.socket, tmp_path: Path, text: str, reason: str
) -> None:
    plan = plan_of(far, version="v3", user="a", auth_protocol="sha256", auth_key_file=secret(tmp_path, text))
    with pytest.raises(KeyFileError, match=reason):
        await SnmpOutlet(plan, EngineClock(1)).open()


async def test_without_pysnmp_there_is_one_line_with_the_remedy(
    far: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = builtins.__import__

    def refuse(name: str, *arguments: Any) -> Any:  # noqa: ANN401  (as the built-in one)
        if name.startswith("pysnmp"):
            raise ModuleNotFoundError("No module named 'pysnmp'", name="pysnmp")
        return real(name, *arguments)

    monkeypatch.setattr(builtins, "__import__", refuse)
    with pytest.raises(OutputError, match=r"pysnmp is not installed: `pip install 'twoway\[snmp\]'`"):
        await SnmpOutlet(plan_of(far, version="v2c"), EngineClock(1)).open()
