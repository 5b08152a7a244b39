"""Control connections whose key comes from an IKEv2 security association (RFC 7717), over loopback."""

from __future__ import annotations

import pytest

from twoway.config.managed import ControlOptions
from twoway.drivers.control_client import ControlClient
from twoway.drivers.managed_measurement import measure_managed
from twoway.errors import ControlConnectionError, SessionRefusedError

from .serving import answered, request, serving, target

SPI_I, SPI_R, DERIVED = b"initiate", b"responds", bytes(range(20))


def by_ikev2(mode: str, protocol: str, spi_r: bytes = SPI_R, key: bytes = DERIVED) -> ControlOptions:
    return ControlOptions(protocol=protocol, modes=(mode,), features=(), ikev2=(SPI_I, spi_r, lambda: key))


def derived_key(spi_i: bytes, spi_r: bytes) -> bytes | None:
    return DERIVED if (spi_i, spi_r) == (SPI_I, SPI_R) else None


@pytest.mark.parametrize(
    ("protocol", "mode"),
    [
        ("twamp", "authenticated"),
        ("twamp", "encrypted"),
        ("twamp", "mixed"),
        ("owamp", "authenticated"),
        ("owamp", "encrypted"),
    ],
)
async def test_both_ends_have_the_key(protocol: str, mode: str) -> None:
    async with serving(protocol, secrets=(), ikev2_key_of=derived_key) as server:
        (managed,) = await measure_managed(target(server), [request()], by_ikev2(mode, protocol))
        assert managed.mode == mode
        answered(managed.result.summary, 5)


@pytest.mark.parametrize(
    ("spi_r", "key", "accept", "counted"),
    [
        (b"somebody", DERIVED, 6, "set_up_refused:ikev2_sa_unknown"),
        (SPI_R, bytes(20), 1, "set_up_refused:key_id_unknown"),
    ],
    ids=["no such association", "another key"],
)
async def test_rfc7717_5_3_what_the_server_does_not_know(spi_r: bytes, key: bytes, accept: int, counted: str) -> None:
    async with serving(secrets=(), ikev2_key_of=derived_key) as server:
        with pytest.raises(SessionRefusedError, match="IKEv2 security association") as caught:
            await ControlClient.connect(target(server), by_ikev2("encrypted", "twamp", spi_r, key))
        assert caught.value.accept == accept
        assert server.counters()[counted] == 1


async def test_a_server_without_ikev2_takes_no_key_from_it() -> None:
    async with serving() as server:
        with pytest.raises(ControlConnectionError, match="no mode that is acceptable"):
            await ControlClient.connect(target(server), by_ikev2("encrypted", "twamp"))


async def test_a_passphrase_will_do_beside_ikev2() -> None:
    wanted = ControlOptions(modes=("encrypted",), key_id="alice", passphrase=lambda: b"na\xc3\xafve horse")
    secrets = (("alice", b"na\xc3\xafve horse"),)
    async with serving(secrets=secrets, ikev2_key_of=derived_key) as server:
        (managed,) = await measure_managed(target(server), [request()], wanted)
        answered(managed.result.summary, 5)
