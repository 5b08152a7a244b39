"""Tracked routes in the daemon: what test-sessions come to reaches those who decide, the moment that it is known.

Theory of operation. A test-session that decides about a route is *followed*: the packet plane says at once when a test
of it has ended, and when a limit is met over its window or met no more (an *alert*), and says nothing otherwise. Nobody
waits for the daemon's second, and no packet wakes Python.

What this host disturbed decides nothing. The packet plane leaves out single probes by itself; what only the daemon can
see (stolen processor time, a stepped clock) is looked for when there is an alert, and a finding whose window it touches
is withheld until a second shows that the window is clear of it.

`twoway.routes`, and pyroute2 with it, is imported when there are routes.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from twoway.analysis.views import RequestView
from twoway.daemon.own_faults import LATE_NS
from twoway.drivers.session_plane import News
from twoway.errors import TwowayError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from twoway.analysis.views import RoutesView, RouteView
    from twoway.config.plan import Plan, SessionKey
    from twoway.config.route_plan import RoutesPlan, WindowPlan
    from twoway.daemon.bulletin import Bulletin
    from twoway.daemon.own_faults import Clocks, OwnFaults
    from twoway.drivers.session_plane import Finding, PlaneSession, SessionPlane, Window
    from twoway.routes.tracking import Tracking

_PAUSE_S = 0.005
"""After alerts others are waited for so long, however many come: at most 200 times a second somebody looks."""
_DISTURBED = "disturbed by this host"
_STATES = (None, True, False)
"""Codes of `catalogue()["watch_states"]` as whether it is good."""


class TrackedRoutes:
    """All of it; without routes it does nothing. `open` and `close` are its life."""

    def __init__(
        self,
        bulletin: Bulletin,
        clocks: Clocks,
        faults: OwnFaults,
        look: Callable[[PlaneSession, News], None],
    ) -> None:
        """`look` takes up what befell the session of a Session-Sender, as once a second."""
        self._bulletin = bulletin
        self._clocks = clocks
        self._faults = faults
        self._look = look
        self._tracking: Tracking | None = None
        self._plane: SessionPlane | None = None
        self._windows: Mapping[SessionKey, tuple[WindowPlan, ...]] = {}
        self._followed: dict[SessionKey, PlaneSession] = {}
        self._asked_of: dict[SessionKey, tuple[Window, ...]] = {}
        """What they were asked to look out for."""
        self._keys: dict[int, SessionKey] = {}
        self._senders: dict[SessionKey, PlaneSession] = {}
        """Session-Senders that run, whether or not they are followed."""
        self._withheld: set[SessionKey] = set()
        self._opened: Tracking | None = None
        """What another plan needs, while it is not taken over yet."""
        self._pause: asyncio.TimerHandle | None = None

    # Its life.

    async def open(self, plan: Plan, plane: SessionPlane) -> None:
        """Take over what the kernel has of the plan's routes. Raises `TwowayError`."""
        self._plane = plane
        if plan.routes is not None:
            self._tracking = self._made(plan.routes)
            self._tracking.sources(_sources(plan))
            await self._tracking.open()
            self._take(plan)

    def _made(self, routes: RoutesPlan) -> Tracking:
        try:
            from twoway.routes.tracking import Tracking
        except ImportError as error:
            if (error.name or "").partition(".")[0] != "pyroute2":
                raise
            raise TwowayError("pyroute2 is not installed: `pip install 'twoway[routes]'`") from None
        return Tracking(routes, self._bulletin.post, self._clocks)

    async def close(self) -> None:
        """End: the kernel's routes stay, or go, as configured. Idempotent."""
        if self._pause is not None:
            self._pause.cancel()
        if self._plane is not None:
            self._plane.watch_alerts_no_more()
        tracking, self._tracking = self._tracking, None
        if tracking is not None:
            await tracking.close()

    # Another plan.

    async def prepare(self, plan: Plan) -> None:
        """Open what the plan needs beside what is open. Raises `TwowayError`, and then nothing has changed."""
        if plan.routes is None:
            return
        if self._tracking is not None:
            await self._tracking.prepare(plan.routes)
        else:
            self._opened = self._made(plan.routes)
            self._opened.sources(_sources(plan))
            await self._opened.open()

    async def abandon(self) -> None:
        """The plan is not taken over after all."""
        opened, self._opened = self._opened, None
        if opened is not None:
            await opened.close(withdraw=True)
        if self._tracking is not None:
            await self._tracking.abandon()

    async def change(self, plan: Plan) -> None:
        """Go on under the plan that was prepared."""
        opened, self._opened = self._opened, None
        if self._tracking is None:
            self._tracking = opened
        elif plan.routes is None:
            await self._tracking.close(withdraw=True)
            self._tracking = None
        else:
            self._tracking.sources(_sources(plan))
            await self._tracking.change(plan.routes)
        self._take(plan)

    def _take(self, plan: Plan) -> None:
        """Follow the test-sessions that decide, and no others."""
        self._windows = {} if plan.routes is None else plan.routes.windows()
        if self._plane is not None:
            if self._windows:
                self._plane.watch_alerts(self._alerted)
            else:
                self._plane.watch_alerts_no_more()
        for key, sender in self._senders.items():
            if key in self._windows:
                self._follow(key, sender)
            elif key in self._followed:
                self._leave(key)
                sender.follow(None, late_ns=LATE_NS)

    # What test-sessions say (`daemon.seams.Follower`).

    def begins(self, key: SessionKey, sender: PlaneSession) -> None:
        """A Session-Sender sends the probes of a test-session from now on."""
        self._senders[key] = sender
        if key in self._windows:
            self._follow(key, sender)

    def _follow(self, key: SessionKey, sender: PlaneSession) -> None:
        known = self._followed.get(key)
        windows = tuple(_asked(window) for window in self._windows[key])
        if known is sender and self._asked_of.get(key) == windows:
            return
        self._followed[key] = sender
        self._keys[sender.number] = key
        self._asked_of[key] = windows
        sender.follow(windows, late_ns=LATE_NS)

    def _leave(self, key: SessionKey) -> None:
        sender = self._followed.pop(key, None)
        self._asked_of.pop(key, None)
        self._withheld.discard(key)
        if sender is not None:
            self._keys.pop(sender.number, None)

    def ends(self, key: SessionKey) -> None:
        """Nobody sends the probes of a test-session any more, for now."""
        self._senders.pop(key, None)
        if key in self._followed:
            self._leave(key)
            if self._tracking is not None:
                self._tracking.cancelled(key, "its test is not run now")

    def verdict(self, key: SessionKey, passed: bool | None, reason: str) -> None:
        """A test has ended; None: what it came to counts for nothing."""
        if self._tracking is not None and key in self._windows:
            self._tracking.hear_verdict(key, passed, reason)

    def unreachable(self, key: SessionKey, reason: str) -> None:
        """A whole test could not be negotiated, and that counts as failed."""
        if self._tracking is not None and key in self._windows:
            self._tracking.unreachable(key, reason)

    # Alerts.

    def _alerted(self) -> None:
        """The packet plane has something to tell. Others that come in the next moments are taken with it."""
        plane = self._plane
        if plane is None:
            return
        self._faults.glance()
        for sender, news, findings in plane.take_alerts():
            what = news & (News.TESTS | News.PROBES)
            if what:
                self._look(sender, what)
            if news & News.LIMITS:
                key = self._keys.get(sender.number)
                if key is not None:
                    self._found(key, findings)
        plane.watch_alerts_no_more()
        self._pause = asyncio.get_running_loop().call_later(_PAUSE_S, self._listen)

    def _listen(self) -> None:
        self._pause = None
        if self._plane is not None and self._windows:
            self._plane.watch_alerts(self._alerted)

    def _found(self, key: SessionKey, findings: Sequence[Sequence[Finding]]) -> None:
        """How the limits of a test-session stand."""
        if self._tracking is None:
            return
        now_ns = self._clocks.wall_ns()
        self._withheld.discard(key)
        for window, found in zip(self._windows.get(key, ()), findings, strict=False):
            if self._faults.host.overlap(now_ns - window.window_ns, now_ns):
                self._withheld.add(key)
                self._tracking.hear_window(key, window, None, _DISTURBED)
            else:
                known = [(_STATES[state], value) for state, value in found]
                self._tracking.hear_window(key, window, known, "")

    def second(self) -> None:
        """Once a second: what was withheld is looked at again."""
        for key in list(self._withheld):
            sender = self._followed.get(key)
            if sender is not None:
                self._found(key, sender.findings())

    # Who asks.

    @property
    def prefixes(self) -> list[tuple[str, str]]:
        """Every route: instance and prefix."""
        return [] if self._tracking is None else [route.key for route in self._tracking.plan.routes]

    def views(self) -> list[RouteView]:
        """Every route as it is now."""
        if self._tracking is None:
            return []
        for key, sender in self._followed.items():
            if self._windows.get(key):
                self._found(key, sender.findings())
        return self._tracking.views()

    def view(self) -> RoutesView | None:
        """Their counters; None without routes."""
        return None if self._tracking is None else self._tracking.view()

    def hold(self, prefix: str, instance: str, names: Sequence[str] | None) -> RequestView:
        """Keep a route as it is, or in use with these next hops. Raises `KeyError` for one that there is not."""
        if self._tracking is None:
            raise KeyError(prefix)
        return RequestView(ok=True, message=self._tracking.hold((instance, prefix), names), affected=(prefix,))

    def release(self, prefix: str, instance: str) -> RequestView:
        """End a hold. Raises `KeyError`."""
        if self._tracking is None:
            raise KeyError(prefix)
        return RequestView(ok=True, message=self._tracking.release((instance, prefix)), affected=(prefix,))


def _asked(window: WindowPlan) -> Window:
    """A window as the packet plane takes it."""
    return window.window_ns, tuple((one.metric, one.limit, one.recover, one.maximum) for one in window.limits)


def _sources(plan: Plan) -> dict[SessionKey, str]:
    """How each test-session measures."""
    sessions = (session for connection in plan.connections for session in connection.sessions)
    return {session.key: "twamp" if session.light is None else session.light.protocol for session in sessions}
