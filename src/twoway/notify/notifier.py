"""All receivers of notices. `post` is called from anywhere on the event loop, and neither waits nor fails."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

from twoway.analysis.notices import Notice, State
from twoway.config.plan import NoticePlan, SyslogPlan, TrapPlan

from .engine_identity import EngineClock, next_boots
from .receiver import Receiver
from .snmp import SnmpOutlet
from .syslog import SyslogOutlet

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from pathlib import Path

    from twoway.analysis.notices import Condition

CLOSE_S = 5.0
"""How long a receiver that a new plan no longer has may take for what is queued for it."""

_Key = tuple[SyslogPlan | TrapPlan, int]


class Notifier:
    """Those who are told, as `plan` says.

    `on_notice` gets the notices that are about receivers themselves (`receiver-degraded`); it may post them again: they
    are kept from the receiver they are about. `state_folder` is where the count of starts is kept that SNMPv3 needs;
    None: the clock alone must do (`engine_identity`).
    """

    def __init__(self, plan: NoticePlan, on_notice: Callable[[Notice], None], state_folder: Path | None = None) -> None:
        """Raises `ConfigError` for an address or an engine ID that is none."""
        self._plan = plan
        self._on_notice = on_notice
        self._state_folder = state_folder
        self._clock = EngineClock(0)  # until `start` knows better
        self._receivers: dict[_Key, Receiver] = {}
        self._leaving: set[asyncio.Task[None]] = set()
        _outlets(plan, self._clock)  # whatever is wrong with the plan comes to light here

    async def start(self) -> None:
        """Begin to deliver. Nothing is opened before there is a notice for it."""
        self._clock = EngineClock(await asyncio.to_thread(next_boots, self._state_folder, time.time()))
        self.reconfigure(self._plan)

    def reconfigure(self, plan: NoticePlan) -> None:
        """Go over to another plan. Receivers that are equal in both are undisturbed, queues and connections included.

        Raises `ConfigError` before anything changed.
        """
        outlets = _outlets(plan, self._clock)
        gone = [self._receivers.pop(key) for key in list(self._receivers) if key not in outlets]
        for receiver in gone:
            leaving = asyncio.get_running_loop().create_task(receiver.close(CLOSE_S))
            self._leaving.add(leaving)
            leaving.add_done_callback(self._leaving.discard)
        for key, outlet in outlets.items():
            if key in self._receivers:
                self._receivers[key].limit.per_minute = plan.rate_limit
            else:
                self._receivers[key] = Receiver(outlet, plan.rate_limit, self._changed)
                self._receivers[key].start()
        self._plan = plan
        if any(each.degraded for each in gone) and not any(each.degraded for each in self._receivers.values()):
            self._tell(State.CLEARED, "no receiver that did not take notices is left in the configuration")

    def post(self, notice: Notice) -> None:
        """Tell everybody whom it is for. Never blocks and never raises; what cannot be told is counted."""
        for receiver in self._receivers.values():
            receiver.post(notice)

    def owe(self, conditions: Iterable[Condition]) -> None:
        """These began before the daemon did, and receivers may have been told: each is to hear of the end."""
        conditions = list(conditions)
        for receiver in self._receivers.values():
            receiver.limit.owe(conditions)

    async def close(self, bound_s: float) -> None:
        """Deliver what is queued, no longer than so many seconds, and end."""
        closing = [receiver.close(bound_s) for receiver in self._receivers.values()]
        await asyncio.gather(*closing, *self._leaving)

    def state(self) -> list[Mapping[str, int | str]]:
        """A line for each receiver, as `analysis.views.HealthView.receivers` has them."""
        return [receiver.state() for receiver in self._receivers.values()]

    def _changed(self, receiver: Receiver, degraded: bool) -> None:
        """One receiver went or came back. The condition is the daemon's: it ends when all of them take notices."""
        if receiver not in self._receivers.values():
            return  # on its way out
        away = [each.label for each in self._receivers.values() if each.degraded]
        if degraded:
            self._tell(State.RAISED, f"{receiver.label} does not take notices: {receiver.last_error}")
        elif away:
            self._tell(State.RAISED, f"{receiver.label} takes notices again, but not {', '.join(away)}")
        else:
            self._tell(State.CLEARED, f"{receiver.label} takes notices again")

    def _tell(self, state: State, message: str) -> None:
        self._on_notice(Notice(at_ns=time.time_ns(), name="receiver-degraded", state=state, message=message))


def _outlets(plan: NoticePlan, clock: EngineClock) -> dict[_Key, SyslogOutlet | SnmpOutlet]:
    """What there is to send by. A receiver that is written twice is told twice."""
    outlets: dict[_Key, SyslogOutlet | SnmpOutlet] = {}
    receivers: list[SyslogPlan | TrapPlan] = [*plan.syslog, *plan.snmp]
    for each in receivers:
        number = sum(other == each for other, _ in outlets)
        outlets[(each, number)] = SyslogOutlet(each) if isinstance(each, SyslogPlan) else SnmpOutlet(each, clock)
    return outlets
