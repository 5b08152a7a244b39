"""Roles that give way to others and find their addresses taken, without a socket."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING

import pytest

from twoway.config.reflection import Reflection
from twoway.config.server import ServerOptions
from twoway.daemon import roles as roles_module
from twoway.daemon.roles import Roles, RolesError
from twoway.errors import PlaneError

from .plans import plan

if TYPE_CHECKING:
    from collections.abc import Sequence

HERE = "192.0.2.1:862"


class Addresses:
    """Who has an address, and who takes it as soon as nobody has."""

    def __init__(self) -> None:
        self.taken: set[object] = set()
        self.wanted = False
        """Whether a stranger waits for whatever becomes free."""

    def take(self, listen: Sequence[object]) -> None:
        for address in listen:
            if address in self.taken:
                raise PlaneError("bind", str(address), errno.EADDRINUSE)
        self.taken |= set(listen)

    def free(self, listen: Sequence[object]) -> None:
        if not self.wanted:
            self.taken -= set(listen)


@pytest.fixture
def addresses(monkeypatch: pytest.MonkeyPatch) -> Addresses:
    made = Addresses()

    class MadeReflector:
        def __init__(self, reflection: Reflection) -> None:
            self._listen = reflection.listen
            made.take(self._listen)
            self.local_addresses = [(HERE.rpartition(":")[0], 862)]

        def start(self) -> None:
            """It has begun."""

        def stop(self) -> None:
            made.free(self._listen)

        def counters(self) -> dict[str, int]:
            return {}

        own_counters = counters

    class MadeServer:
        def __init__(self, options: ServerOptions) -> None:
            self.options = options
            self._listen = tuple(f"{host}:{port}" for _, host, port, _ in options.listen)

        async def start(self) -> None:
            made.take(self._listen)

        async def close(self) -> None:
            made.free(self._listen)

    monkeypatch.setattr(roles_module, "Reflector", MadeReflector)
    monkeypatch.setattr(roles_module, "Server", MadeServer)
    return made


async def test_a_reflector_whose_address_was_taken_while_it_gave_way_is_named_and_comes_back(
    addresses: Addresses,
) -> None:
    old = plan(reflections=(Reflection(listen=(HERE,)),))
    new = plan(reflections=(Reflection(listen=(HERE,), stateful=True),))
    roles = Roles()
    await roles.open(old)
    addresses.wanted = True
    with pytest.raises(RolesError) as refused:
        await roles.change(old, new)
    assert len(refused.value.reasons) == 2
    assert refused.value.reasons[1].startswith(f"what ran before could not begin again: bind {HERE}: ")
    assert roles.reflector_counters() == {}
    addresses.wanted = False
    addresses.taken.clear()
    await roles.change(old, new)
    assert len(roles.reflector_counters()) == 1
    await roles.close()
    assert not addresses.taken


async def test_a_server_whose_address_was_taken_while_it_gave_way_is_named_and_comes_back(
    addresses: Addresses,
) -> None:
    host, _, port = HERE.rpartition(":")
    options = ServerOptions(listen=(("twamp", host, int(port), 0),))
    other = ServerOptions(listen=(("twamp", host, int(port), 0),), maximum_sessions=7)
    old, new = plan(server=options), plan(server=other)
    roles = Roles()
    await roles.open(old)
    addresses.wanted = True
    with pytest.raises(RolesError) as refused:
        await roles.change(old, new)
    assert len(refused.value.reasons) == 2
    assert roles.server is None
    addresses.wanted = False
    addresses.taken.clear()
    # The file is as it was before: its server is missing all the same.
    await roles.change(old, old)
    assert roles.server is not None
    assert roles.server.options is options
    await roles.close()
