"""A kernel without a kernel for `kernel.installer`: slots that behave like Linux's, interfaces, and a made netlink."""

from __future__ import annotations

import asyncio
import errno
from collections import defaultdict
from typing import TYPE_CHECKING, Any

from pyroute2.netlink.rtnl.ifinfmsg import ifinfmsg

from properties.kernel_model import OURS, THEIRS, Slot4, Slot6
from twoway.routes.kernel import messages
from twoway.routes.policy.reconciliation import How, Refusal, Request

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from twoway.config.route_plan import RouteKey
    from twoway.routes.policy.reconciliation import Hops, Slot


class MadeKernel:
    """What the kernel has. Interfaces are numbered in the order in which they came."""

    def __init__(self, *interfaces: str) -> None:
        self.slots: dict[Slot, Slot4 | Slot6] = {}
        self.interfaces = list(interfaces)
        self.vrfs: dict[str, int] = {}
        self.broken: set[str] = set()
        """Gateways that cannot be reached."""
        self.failures: list[Exception] = []
        """Raised by the next requests."""
        self.unanswered: list[Exception | None] = []
        """In place of the next answers, to requests that are carried out; None: there is never one."""
        self.refusal: int | None = None
        """errno of every request."""
        self.asked: list[Request] = []
        self.listening: MadeListening | None = None
        self.tell: dict[int, Callable[[Slot], None]] = {}
        self.dumps: dict[int, int] = defaultdict(int)

    def slot(self, slot: Slot) -> Slot4 | Slot6:
        if slot not in self.slots:
            self.slots[slot] = Slot4(broken=self.broken) if slot.family == 4 else Slot6(broken=self.broken)
        return self.slots[slot]

    def ask(self, request: Request) -> Refusal | None:
        self.asked.append(request)
        if self.refusal is not None:
            return Refusal(self.refusal, errno.errorcode[self.refusal])
        return self.slot(request.slot).ask(request)

    def ours(self, slot: Slot) -> list[Hops]:
        return self.slot(slot).dump()

    def put_theirs(self, slot: Slot, hops: Hops) -> None:
        """Somebody else adds a route, as `ip route prepend` and `ip route append` do."""
        there = self.slot(slot)
        if isinstance(there, Slot4):
            there.routes.insert(0, (THEIRS, hops))
        else:
            there.hops += [(THEIRS, hop) for hop in hops]
        self.say(slot, hops, THEIRS)

    def take_ours(self, slot: Slot) -> None:
        """Somebody deletes our route."""
        there = self.slot(slot)
        hops = there.dump()[0]
        if isinstance(there, Slot4):
            there.routes = [one for one in there.routes if one[0] != OURS]
        else:
            there.hops = [one for one in there.hops if one[0] != OURS]
        self.say(slot, hops, OURS, gone=True)

    def say(self, slot: Slot, hops: Hops, protocol: int, *, gone: bool = False) -> None:
        """A notification."""
        octets = bytearray(route_message(slot, hops, protocol))
        octets[4:6] = (messages.RTM_DELROUTE if gone else messages.RTM_NEWROUTE).to_bytes(2, "little")
        if self.listening is not None:
            self.listening.tell(messages.RTM_DELROUTE if gone else messages.RTM_NEWROUTE, memoryview(octets))

    def links_changed(self) -> None:
        """The kernel says that an address or an interface changed."""
        if self.listening is not None:
            self.listening.tell(messages.RTM_NEWADDR, memoryview(b""))


def route_message(slot: Slot, hops: Hops, protocol: int) -> bytes:
    return messages.encoded(Request(How.FIRST, slot, hops), protocol, 1)


def link_message(number: int, name: str, vrf_table: int | None = None) -> bytes:
    message = ifinfmsg()
    message["header"]["type"] = messages.RTM_NEWLINK
    message["index"], message["flags"] = number, 1
    attributes: list[tuple[str, Any]] = [("IFLA_IFNAME", name)]
    if vrf_table is not None:
        inside = [("IFLA_INFO_KIND", "vrf"), ("IFLA_INFO_DATA", {"attrs": [("IFLA_VRF_TABLE", vrf_table)]})]
        attributes.append(("IFLA_LINKINFO", {"attrs": inside}))
    message["attrs"] = attributes
    message.encode()
    return bytes(message.data)


class MadeAsking:
    """`kernel.netlink.AskingSocket`."""

    def __init__(self, kernel: MadeKernel) -> None:
        self.port = 7
        self.closed = False
        self._kernel = kernel

    async def ask(self, requests: Sequence[Request], protocol: int) -> list[Refusal | None]:
        assert protocol == OURS
        if self._kernel.failures:
            raise self._kernel.failures.pop(0)
        answers = [self._kernel.ask(request) for request in requests]
        if self._kernel.unanswered:
            error = self._kernel.unanswered.pop(0)
            if error is not None:
                raise error
            await asyncio.Event().wait()
        return answers

    async def dump(
        self, wanted: Callable[[int], bytes], keep: Callable[[memoryview], bool] = lambda _: True
    ) -> list[memoryview]:
        if self._kernel.failures:
            raise self._kernel.failures.pop(0)
        question = wanted(1)
        kind = messages.HEADER.unpack_from(question)[1]
        self._kernel.dumps[kind] += 1
        if kind == messages.RTM_GETLINK:
            listed = [link_message(number, name) for number, name in enumerate(self._kernel.interfaces, 1) if name]
            first = len(self._kernel.interfaces) + 1
            listed += [link_message(n, *vrf) for n, vrf in enumerate(self._kernel.vrfs.items(), first)]
            return [memoryview(one) for one in listed]
        family, _, protocol, _ = messages.route_head(memoryview(question))
        listed = [
            route_message(slot, hops, owner)
            for slot, there in self._kernel.slots.items()
            if slot.family == family
            for owner, hops in (
                there.routes if isinstance(there, Slot4) and not protocol else [(OURS, hops) for hops in there.dump()]
            )
        ]
        return [view for one in listed if keep(view := memoryview(one))]

    def close(self) -> None:
        self.closed = True


class MadeListening:
    """`kernel.netlink.ListeningSocket`."""

    def __init__(self, tell: Callable[[int, memoryview], None], overrun: Callable[[], None]) -> None:
        self.tell, self.overrun = tell, overrun
        self.closed = False

    def close(self) -> None:
        self.closed = True


class MadeLock:
    """`kernel.lock.ProtocolLock`."""

    def __init__(self) -> None:
        self.closed = False

    def close(self) -> None:
        self.closed = True


class Heard:
    """`kernel.installer.Listener`: what was said."""

    def __init__(self) -> None:
        self.changed: list[RouteKey] = []
        self.foreign: list[tuple[RouteKey, str]] = []
        self.troubles: list[str] = []
        self.overruns: list[int] = []

    def kernel_changed(self, key: RouteKey) -> None:
        self.changed.append(key)

    def foreign_change(self, key: RouteKey, what: str) -> None:
        self.foreign.append((key, what))

    def trouble(self, what: str) -> None:
        self.troubles.append(what)

    def overrun(self, count: int) -> None:
        self.overruns.append(count)
