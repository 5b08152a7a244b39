"""Fixtures of the namespace tests; without root or a tool each test is skipped, by name and with the reason."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from .topology import Topology, missing_requirement, remove_stale

_HERE = Path(__file__).resolve().parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip what needs namespaces where there can be none (`needs_no_namespace` marks the rest)."""
    here = [item for item in items if _HERE in item.path.parents and not item.get_closest_marker("needs_no_namespace")]
    if not here:
        return
    reason = missing_requirement()
    if reason is not None:
        for item in here:
            item.add_marker(pytest.mark.skip(reason=f"{item.name}: {reason}"))


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "needs_no_namespace: a test of the harness itself that needs no privilege")


@pytest.fixture(scope="session", autouse=True)
def _no_stale_namespaces() -> None:
    """What a killed run left behind goes first."""
    remove_stale()


@pytest.fixture
def topology() -> Iterator[Topology]:
    """client - middle - server, fresh for each test."""
    with Topology() as made:
        yield made
