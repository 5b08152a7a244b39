"""Tracked routes in the daemon: what test-sessions come to reaches those who decide, the moment that it is known.

Theory of operation. A test-session that decides about a route is *followed*: the packet plane says at once when a test
of it has ended, and when a limit is met over its window or met no more (an *alert*), and says nothing otherwise. Nobody
waits for the daemon's second, and no packet wakes Python.

What this host disturbed decides nothing. The packet plane leaves out single probes by itself; what only the daemon can
see (stolen processor time, a stepped clock) is looked for when there is an alert, and a finding whose window it touches
is withheld until a second shows that the window is clear of it. So is the verdict of a test (`session`).

A test-session outlives its Session-Senders. One that is opened anew goes on with what was seen before; one that has no
Session-Sender any longer says nothing; and one whose packets have no way out of this host counts as failed.

`twoway.routes`, and pyroute2 with it, is imported when there are routes.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

from twoway.analysis.views import RequestView
from twoway.daemon.own_faults import LATE_NS
from twoway.drivers.session_plane import News
from twoway.errors import TwowayError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

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
        look: Callable[[Sequence[tuple[PlaneSession, News]]], None],
    ) -> None:
        """`look` is called for sessions of which tests ended, or a probe met a limit."""
        self._bulletin = bulletin
        self._clocks = clocks
        self._faults = faults
        self._look = look
        self._tracking: Tracking | None = None
        self._opened: Tracking | None = None
        """What another plan needs, while it is not taken over yet."""
        self._plane: SessionPlane | None = None
        self._windows: Mapping[SessionKey, tuple[WindowPlan, ...]] = {}
        """What decides, by test-session; none for one that is only judged by its tests."""
        self._unforgiving: frozenset[SessionKey] = frozenset()
        """Those that are judged although this host disturbed them."""
        self._senders: dict[SessionKey, PlaneSession] = {}
        """Session-Senders that run, whether or not they are followed."""
        self._followed: dict[SessionKey, tuple[PlaneSession, tuple[Window, ...]]] = {}
        """Who is followed, and for what."""
        self._keys: dict[int, SessionKey] = {}
        """Number of a Session-Sender that is followed -> its test-session."""
        self._withheld: set[SessionKey] = set()
        self._ended: set[SessionKey] = set()
        """Test-sessions that have lost their Session-Sender in this turn of the event loop."""
        self._pause: asyncio.TimerHandle | None = None
        self._settling: asyncio.Handle | None = None

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
        for handle in (self._pause, self._settling):
            if handle is not None:
                handle.cancel()
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
            await self._opened.prepare(plan.routes)

    async def abandon(self) -> None:
        """The plan is not taken over after all."""
        opened, self._opened = self._opened, None
        if opened is not None:
            await opened.abandon()
        if self._tracking is not None:
            await self._tracking.abandon()

    async def change(self, plan: Plan) -> None:
        """Go on under the plan that was prepared."""
        opened, self._opened = self._opened, None
        if self._tracking is None:
            self._tracking = opened
            if opened is not None:
                opened.sources(_sources(plan))
                opened.begin()
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
        self._unforgiving = frozenset(
            session.key
            for connection in plan.connections
            for session in connection.sessions
            if session.thresholds.own_faults
        )
        if self._plane is not None:
            if self._windows:
                self._plane.watch_alerts(self._alerted)
            else:
                self._plane.watch_alerts_no_more()
        for key, sender in self._senders.items():
            if key in self._windows:
                self._follow(key, sender)
            elif self._leave(key):
                sender.follow_no_more()

    # What test-sessions say (`daemon.seams.Follower`).

    def begins(self, key: SessionKey, sender: PlaneSession) -> None:
        """A Session-Sender sends the probes of a test-session from now on."""
        self._senders[key] = sender
        self._ended.discard(key)
        if key in self._windows:
            self._follow(key, sender)

    def _follow(self, key: SessionKey, sender: PlaneSession) -> None:
        windows = tuple(_asked(window) for window in self._windows[key])
        before, asked = self._followed.get(key, (None, None))
        if before is sender and asked == windows:
            return
        if before is not None:
            self._keys.pop(before.number, None)
        self._followed[key] = sender, windows
        self._keys[sender.number] = key
        sender.follow(windows, late_ns=LATE_NS, before=None if before is sender else before)

    def _leave(self, key: SessionKey) -> bool:
        """Forget who was followed; whether anybody was."""
        self._withheld.discard(key)
        sender, _ = self._followed.pop(key, (None, ()))
        if sender is None:
            return False
        self._keys.pop(sender.number, None)
        return True

    def ends(self, key: SessionKey) -> None:
        """Nobody sends the probes of a test-session any more, unless somebody begins at once."""
        self._senders.pop(key, None)
        if key in self._windows:
            self._ended.add(key)
            if self._settling is None:
                self._settling = asyncio.get_running_loop().call_soon(self._settle)

    def _settle(self) -> None:
        """Who has ended and not begun again says nothing from now on."""
        self._settling = None
        ended, self._ended = self._ended, set()
        for key in ended:
            self._leave(key)
            if self._tracking is not None:
                self._tracking.cancelled(key, "its test is not run now")

    def verdict(self, key: SessionKey, passed: bool | None, reason: str) -> None:
        """A test has ended; None: what it came to counts for nothing."""
        if self._tracking is not None and key in self._windows:
            self._tracking.hear_verdict(key, passed, reason)

    def unreachable(self, key: SessionKey, reason: str) -> None:
        """A whole test could not be negotiated, or no packet can leave: it counts as failed."""
        self._ended.discard(key)
        self._leave(key)
        if self._tracking is not None and key in self._windows:
            self._tracking.unreachable(key, reason)

    # Alerts.

    def _alerted(self) -> None:
        """The packet plane has something to tell. Others that come in the next moments are taken with it."""
        plane = self._plane
        if plane is None:
            return
        alerts = plane.take_alerts()
        self._look([(sender, news) for sender, news, _ in alerts])
        for sender, news, findings in alerts:
            key = self._keys.get(sender.number)
            if news & News.LIMITS and key is not None:
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
            if key not in self._unforgiving and self._faults.host.overlap(now_ns - window.window_ns, now_ns):
                self._withheld.add(key)
                self._tracking.hear_window(key, window, None, _DISTURBED)
            else:
                known = [(_STATES[state], value) for state, value in found]
                self._tracking.hear_window(key, window, known, "")

    def _ask(self, keys: Iterable[SessionKey]) -> None:
        for key in list(keys):
            sender, _ = self._followed.get(key, (None, ()))
            if sender is not None and self._windows[key]:
                self._found(key, sender.findings())

    def second(self) -> None:
        """Once a second: what was withheld is looked at again."""
        self._ask(self._withheld)

    # Who asks.

    def views(self) -> Iterator[RouteView]:
        """Every route, each as it is when it is asked for."""
        if self._tracking is None:
            return iter(())
        self._ask(self._followed)
        return self._tracking.views()

    def view(self) -> RoutesView | None:
        """Their counters; None without routes."""
        return None if self._tracking is None else self._tracking.view()

    def hold(self, prefix: str, instance: str, names: Sequence[str] | None) -> RequestView:
        """Keep a route as it is, or in use with these next hops. Raises `KeyError` for what there is not."""
        with _named(prefix, instance):
            return RequestView(ok=True, message=self._ours.hold((instance, prefix), names), affected=())

    def release(self, prefix: str, instance: str) -> RequestView:
        """End a hold. Raises `KeyError`."""
        with _named(prefix, instance):
            return RequestView(ok=True, message=self._ours.release((instance, prefix)), affected=())

    @property
    def _ours(self) -> Tracking:
        if self._tracking is None:
            raise KeyError(())
        return self._tracking


@contextlib.contextmanager
def _named(prefix: str, instance: str) -> Iterator[None]:
    """A `KeyError` of a route names it as people do."""
    try:
        yield
    except KeyError as error:
        route = f"tracked route {prefix}{'@' * bool(instance)}{instance}"
        if isinstance(error.args[0], str):
            raise KeyError(f"next hop {error.args[0]} of {route}: `twoway show routes {prefix}` has them") from None
        raise KeyError(f"{route}: `twoway show routes` lists those there are") from None


def _asked(window: WindowPlan) -> Window:
    """A window as the packet plane takes it."""
    return window.window_ns, tuple((one.metric, one.limit, one.recover, one.maximum) for one in window.limits)


def _sources(plan: Plan) -> dict[SessionKey, str]:
    """How each test-session measures."""
    sessions = (session for connection in plan.connections for session in connection.sessions)
    return {session.key: "twamp" if session.light is None else session.light.protocol for session in sessions}
