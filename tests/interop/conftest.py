"""Recordings that several oracles decode, made once."""

import pytest

from .relay import Recorded, record

COUNT = 5


@pytest.fixture(scope="session")
def light() -> Recorded:
    """TWAMP Light, 14-octet requests and stateful replies."""
    return record(COUNT, "--protocol", "light", "--size", "14", reflector=("--stateful",))


@pytest.fixture(scope="session")
def light_padded() -> Recorded:
    """TWAMP Light with random padding."""
    return record(COUNT, "--protocol", "light", "--size", "40", "--fill", "random")


@pytest.fixture(scope="session")
def stamp() -> Recorded:
    """STAMP with an SSID, the smallest packets."""
    return record(COUNT, "--ssid", "4660", reflector=("--stateful",))


@pytest.fixture(scope="session")
def stamp_padded() -> Recorded:
    """STAMP with an Extra Padding TLV."""
    return record(COUNT, "--ssid", "4660", "--size", "100")


@pytest.fixture(scope="session")
def stamp_ptp() -> Recorded:
    """STAMP with PTP timestamps from the Session-Sender."""
    return record(COUNT, "--clock-format", "ptp")
