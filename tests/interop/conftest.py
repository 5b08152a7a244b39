"""Recordings that several oracles decode, made once, and a daemon that a real Prometheus scrapes."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from .relay import Recorded, record
from .scraping import Scraped, scraped

COUNT = 5
RULES = sorted((Path(__file__).resolve().parents[2] / "monitoring").glob("*.rules.yml"))


@pytest.fixture(scope="module")
def watched(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scraped]:
    """A daemon with every role, scraped in text and natively by two real Prometheus that evaluate our rules.

    They end with the tests of a file: what they take of the processor would disturb those that measure.
    """
    with scraped(tmp_path_factory.mktemp("scraped"), RULES) as found:
        yield found


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
