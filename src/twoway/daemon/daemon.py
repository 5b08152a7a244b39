"""The daemon: every role of a plan in one process, for months, and what it shows of itself.

Theory of operation. A plan (what a configuration comes to) is run by parts that each know one thing: `connection` and
`managed` keep test-sessions going, `session` judges them, `roles` answer others, `collect` takes everything once a
second, `bulletin` tells. This module makes the parts, changes them at a reload, and answers who asks. All of it runs on
one event loop, which no packet waits for and which waits for no disk, name or peer.

A reload is atomic: the new file is read and checked whole, then sockets of roles are opened, and only when all that has
succeeded anything stops. What is refused changed nothing, and is shown until a reload succeeds.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter, defaultdict
from typing import TYPE_CHECKING, Any

from twoway.analysis.notices import Notice, State
from twoway.analysis.views import HealthView, RequestView
from twoway.aside import Aside, before
from twoway.config.plan import Plan
from twoway.daemon import probes, showing
from twoway.daemon.bulletin import REMEMBERED, Bulletin
from twoway.daemon.collect import Collector
from twoway.daemon.connection import Iterations, LightConnection, Shared, connection_notice, test_view
from twoway.daemon.managed import ManagedConnection
from twoway.daemon.names import Names
from twoway.daemon.own_faults import FAULTS, OwnFaults, SystemClocks, resident_octets
from twoway.daemon.reload import difference
from twoway.daemon.roles import Roles, RolesError
from twoway.daemon.seams import NoStore, NoTeller
from twoway.daemon.tracked import TrackedRoutes
from twoway.drivers.plane import version
from twoway.drivers.session_plane import SessionPlane, merge_packed
from twoway.errors import ConfigError, StoreError, TwowayError, one_line

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterable, Iterator, Mapping, Sequence

    from twoway.analysis.notices import Condition
    from twoway.analysis.result import Summary
    from twoway.analysis.views import ControlView, GlanceView, ProbeView, ResultsView, RouteView, TestView
    from twoway.config.plan import ConnectionPlan, SessionKey
    from twoway.daemon.connection import Connection
    from twoway.daemon.own_faults import Clocks
    from twoway.daemon.reload import Difference
    from twoway.daemon.seams import Store, Teller
    from twoway.daemon.session import WatchedSession
    from twoway.drivers.session_plane import News, PlaneSession

_SECOND_S = 1.0


class Daemon:
    """All roles of a plan: `analysis.views.Watched` for who asks. `open` and `close` are its life."""

    def __init__(
        self,
        plan: Plan,
        *,
        configuration: str = "",
        read_plan: Callable[[], Plan | Sequence[str]] | None = None,
        store: Store | None = None,
        teller: Teller | None = None,
        clocks: Clocks | None = None,
        beat: Callable[[Daemon], object] | None = None,
        taken_over: Callable[[Plan], object] | None = None,
    ) -> None:
        """`read_plan` reads the configuration again: the plan, or a line for each error. `beat` is called each second,
        `taken_over` with each plan that a reload has brought.

        Nothing is opened before `open`.
        """
        self.plan = self._begun = plan
        self._configuration = configuration
        self._read_plan = read_plan
        self._store: Store = store or NoStore()
        self._teller: Teller = teller or NoTeller()
        self._clocks: Clocks = clocks or SystemClocks()
        self._beat = beat
        self._taken_over = taken_over
        self._bulletin = Bulletin(self._store, self._teller)
        self._roles = Roles()
        self._connections: dict[str, Connection] = {}
        self._iterations: dict[str, Iterations] = {}
        self._faults = OwnFaults(self._bulletin, self._clocks)
        self._tracked = TrackedRoutes(self._bulletin, self._clocks, self._faults, self._look_at)
        self._started_ns = self._loaded_ns = self._clocks.wall_ns()
        self._reload_errors: tuple[str, ...] = ()
        self._reading = asyncio.Lock()
        self._changing = asyncio.Lock()
        self._ending = asyncio.Event()
        self._reader = Aside("read the configuration")
        self._shared: Shared | None = None
        self._collector: Collector | None = None
        self._task: asyncio.Task[None] | None = None

    # Its life.

    async def open(self) -> None:
        """Open every role and start every test-session that starts by itself. Raises `RolesError`."""
        await self._roles.open(self.plan)
        plane = SessionPlane(workers=self.plan.workers)
        try:
            await self._tracked.open(self.plan, plane)
        except TwowayError as error:
            plane.close()
            await self._roles.close()
            raise RolesError((f"routes: {error}",)) from None
        self._shared = Shared(
            plane,
            Names(),
            self._bulletin,
            self._clocks,
            self._faults.host,
            kept=dict(await self._kept()),
            follower=self._tracked,
        )
        self._collector = Collector(self._shared, self._connections, self._faults, self._store, self._completed)
        for connection in self.plan.connections:
            await self._add(connection)
        await self._take_up_conditions()
        self._tell_of_unreadable()
        unreadable = self._store.state().get("unreadable", 0)
        if isinstance(unreadable, int) and unreadable:
            self._faults.state_lost(
                f"{unreadable} rows of the store, of events or alarms, could not be read", unreadable
            )
        await self._begin(self.plan.connections)
        self._faults.lag.start()  # what the start took is no fault of any second
        asyncio.get_running_loop().set_exception_handler(self._unhandled)
        self._task = asyncio.create_task(self._run())
        self._bulletin.say("started", f"twoway {version()} runs {self._configuration}".rstrip())

    def _tell_of_unreadable(self) -> None:
        """States of sessions that have been made since the last call, and could not take up what was kept of them."""
        shared = self._running
        count, shared.unreadable = shared.unreadable, 0
        if count:
            whose = f"{count} test-session{'s' * (count != 1)}"
            self._faults.state_lost(f"saved results of {whose} could not be read: they begin anew", count)

    async def _kept(self) -> Mapping[SessionKey, bytes]:
        """What survived the last end; what cannot be read of it is told."""
        try:
            self._bulletin.remember(await self._store.notices(REMEMBERED))
        except StoreError as error:
            self._faults.state_lost(f"events of before the start: {error}")
        try:
            return await self._store.collections()
        except StoreError as error:
            self._faults.state_lost(f"results and histories of before the start: {error}")
            return {}

    async def _take_up_conditions(self) -> None:
        """What was raised when the last daemon ended goes on, or is cleared: nothing is raised twice, nor for ever."""
        try:
            kept = self._bulletin.take_up(await self._store.conditions())
        except StoreError as error:
            self._faults.state_lost(f"alarms of before the start: {error}")
            return
        alarms: defaultdict[SessionKey, list[str]] = defaultdict(list)
        for condition in kept:
            name, connection, session, _ = condition
            if connection is None or session is None:
                self._take_up_own(condition)
            elif connection not in self._connections or session not in self._connections[connection].sessions:
                message = f"{connection} {session}: it is no longer configured"
                now_ns = self._clocks.wall_ns()
                self._bulletin.post(Notice(now_ns, name, State.CLEARED, message, connection, session))
            elif name != "session-failed":  # that ends when it runs
                alarms[connection, session].append(name)
        for key, names in alarms.items():
            self._session(key).take_up(names)

    def _take_up_own(self, condition: Condition) -> None:
        """A condition of the daemon itself."""
        if condition.name == "own-fault":
            self._faults.take_up()
        elif condition.name in ("store-degraded", "receiver-degraded"):
            self._bulletin.say(condition.name, "the daemon has started anew", State.CLEARED)

    async def close(self) -> None:
        """End every session and role, having saved what survives. Idempotent."""
        shared, self._shared = self._shared, None
        if self._task is not None:
            # Not cancelled: what a second under way has taken from the packet plane would be lost with it.
            self._ending.set()
            await self._task
            self._task = None
        if shared is not None and self._collector is not None:
            self._bulletin.say("stopping", "the daemon ends")
            await self._second(self._collector)  # what it has seen so far is kept, too
            await _each(self._connections.values(), lambda connection: connection.stop("the daemon ends"))
            self._collector.last()
            await self._tracked.close()
            shared.plane.close()
        self._faults.lag.stop()
        await self._roles.close()
        asyncio.get_running_loop().set_exception_handler(None)

    async def _run(self) -> None:
        """Once a second, at the beginning of each second of the loop's clock."""
        loop = asyncio.get_running_loop()
        due = loop.time()
        while True:
            due = max(due + _SECOND_S, loop.time())
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._ending.wait(), due - loop.time())
            if self._ending.is_set():
                return
            if self._collector is not None:
                await self._second(self._collector)
            self._give_sign()

    def _give_sign(self) -> None:
        try:
            if self._beat is not None:
                self._beat(self)
        except Exception as error:  # noqa: BLE001  (seconds go on whatever became of the sign of life)
            self._faults.internal(error)

    async def _second(self, collector: Collector) -> None:
        try:
            await collector.second()
            self._tracked.second()
        except Exception as error:  # noqa: BLE001  (measuring goes on whatever one second held)
            self._faults.internal(error)

    def _unhandled(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        """Something on the event loop failed and nobody was there to see it: a callback, or a task that was let go."""
        error = context.get("exception")
        failure = error if isinstance(error, Exception) else RuntimeError(str(context.get("message")))
        if self._faults.internal(failure, written=True):
            loop.default_exception_handler(context)

    def _look_at(self, alerts: Sequence[tuple[PlaneSession, News]]) -> None:
        try:
            if self._collector is not None:
                self._collector.at_once(alerts)
        except Exception as error:  # noqa: BLE001  (measuring goes on whatever one alert held)
            self._faults.internal(error)

    async def _add(self, plan: ConnectionPlan) -> None:
        shared = self._running
        sessions = await shared.made(plan.sessions)
        made = LightConnection if plan.control is None else ManagedConnection
        self._connections[plan.name] = made(plan, shared, sessions)
        self._iterations[plan.name] = Iterations()

    async def _begin(self, plans: Iterable[ConnectionPlan]) -> None:
        for plan in plans:
            if plan.test_start == "auto":
                await self._running.pacing.step()
                self._connections[plan.name].start(None)

    @property
    def _running(self) -> Shared:
        if self._shared is None:
            raise RuntimeError("the daemon has not been opened")
        return self._shared

    def post(self, notice: Notice) -> None:
        """A notice of a part that was given to the daemon."""
        self._bulletin.post(notice)

    def _completed(self, connection: Connection, session: WatchedSession) -> None:
        plan = connection.plan
        iterations = self._iterations[plan.name]
        if iterations.completed(session.plan.name, connection.sessions) and "test-iteration-done" in plan.traps:
            message = f"every test-session completed a test ({iterations.done} times since the start)"
            self._bulletin.post(connection_notice(plan, "test-iteration-done", message, self._clocks.wall_ns()))

    # Reload.

    async def reload(self, unless: asyncio.Event | None = None) -> RequestView:
        """Read the configuration again and go on under it, or refuse it whole. Reading, which may hang, is given up
        once `unless` is set; a change that has begun is not."""
        if self._read_plan is None:
            return RequestView(ok=False, message="there is no configuration file to read again")
        async with self._reading:
            try:
                # What is slow to be read holds up no other request.
                read = await before(unless, self._reader.run(self._read_plan))
                if read is None:
                    return RequestView(ok=False, message="the daemon ends")
                async with self._changing:
                    return self._refuse(read) if not isinstance(read, Plan) else await self._change(read)
            except Exception as error:  # noqa: BLE001  (whatever was wrong with a reload, measuring goes on)
                self._faults.internal(error)
                return self._refuse((one_line(f"internal error: {type(error).__name__}: {error}: please report this"),))

    async def _change(self, plan: Plan) -> RequestView:
        """Go on under another plan, or under the one there is."""
        change = await self._reader.run(difference, self.plan, plan, self._begun)
        try:
            self._teller.reconfigure(plan.notices)
        except ConfigError as error:
            return self._refuse((str(error),))
        try:
            await self._change_roles(plan)
        except RolesError as error:
            self._teller.reconfigure(self.plan.notices)
            return self._refuse(error.reasons)
        except Exception:
            self._teller.reconfigure(self.plan.notices)
            raise
        try:
            await self._apply(plan, change)
        except Exception:
            await self._go_back(plan)
            raise
        self._reload_errors = ()
        self._loaded_ns = self._clocks.wall_ns()
        self._bulletin.say("configuration-reloaded", f"{self._configuration}: {change.describe()}")
        return RequestView(ok=True, message=change.describe())

    async def _change_roles(self, plan: Plan) -> None:
        """Open what another plan needs to be open. Raises `RolesError`, and then nothing has changed."""
        try:
            await self._tracked.prepare(plan)
        except TwowayError as error:
            raise RolesError((f"routes: {error}",)) from None
        except Exception:
            await self._tracked.abandon()
            raise
        try:
            await self._roles.change(self.plan, plan)
        except Exception:
            await self._tracked.abandon()
            raise

    def _refuse(self, errors: Sequence[str]) -> RequestView:
        self._reload_errors = tuple(errors)
        count = len(self._reload_errors)
        message = f"{self._configuration}: {count} error{'s' * (count != 1)}, nothing was changed"
        self._bulletin.say("configuration-refused", f"{message}: {errors[0]}")
        return RequestView(ok=False, message=message, affected=self._reload_errors)

    async def _apply(self, plan: Plan, change: Difference) -> None:
        gone = [self._connections.pop(old.name) for old in change.stop]
        await _each(gone, lambda connection: connection.close("it is no longer configured"))
        for one in change.change:
            connection = self._connections[one.new.name]
            await connection.change(one.new, one.stop, one.start)
            for session in one.adjust:
                connection.sessions[session.name].adjust(session)
        for new in change.start:
            await self._add(new)
        self._arrange(plan)
        self._tell_of_unreadable()
        await self._begin(change.start)
        await self._tracked.change(plan)
        if self._taken_over is not None:
            self._taken_over(plan)
        self.plan = plan

    def _arrange(self, plan: Plan) -> None:
        """Have connections in the order of the plan."""
        for connection in plan.connections:
            self._connections[connection.name] = self._connections.pop(connection.name)

    async def _go_back(self, failed: Plan) -> None:
        """A fault of ours kept another plan from being taken over whole: run the one there was, as far as it does not
        run any more. What fails of this is counted, and keeps nothing else from coming back."""
        for step in (
            self._bring_connections_back,
            lambda: self._roles.change(failed, self.plan),
            self._bring_routes_back,
            self._bring_others_back,
        ):
            with self._counting():
                await step()

    @contextlib.contextmanager
    def _counting(self) -> Iterator[None]:
        """What fails here is counted, and what comes after it is done all the same."""
        try:
            yield
        except Exception as error:  # noqa: BLE001  (as said)
            self._faults.internal(error)

    async def _bring_connections_back(self) -> None:
        wanted = {connection.name: connection for connection in self.plan.connections}
        for name, connection in list(self._connections.items()):
            if wanted.get(name) != connection.plan:
                del self._connections[name]
                with self._counting():
                    await connection.close("a reload failed")
        shared = self._running
        for number, (connection, session) in list(shared.running.items()):
            if self._connections.get(connection.plan.name) is not connection:  # it could not be closed
                with self._counting():
                    shared.end(session)
                shared.running.pop(number, None)
        missing = [connection for name, connection in wanted.items() if name not in self._connections]
        for plan in missing:
            await self._add(plan)
        self._arrange(self.plan)
        await self._begin(missing)

    async def _bring_routes_back(self) -> None:
        await self._tracked.abandon()
        await self._tracked.prepare(self.plan)
        await self._tracked.change(self.plan)

    async def _bring_others_back(self) -> None:
        self._teller.reconfigure(self.plan.notices)
        if self._taken_over is not None:
            self._taken_over(self.plan)

    # Requests.

    async def start(self, connection: str | None, repeat: int | None) -> RequestView:
        """Begin the tests of connections that do not run: those of one, or of all."""
        async with self._changing:
            begun, running = [], []
            for name, one in self._chosen(connection):
                if one.status in ("idle", "stopped"):
                    manual = one.plan.test_start == "manual"
                    one.start(repeat if repeat is not None else 1 if manual else None)
                    begun.append(name)
                else:
                    running.append(name)
            if not begun:
                what = (
                    f"{connection} runs already" if connection is not None else "nothing waits to be started: these run"
                )
                return RequestView(ok=False, message=what, affected=running)
            return RequestView(ok=True, message="started", affected=begun)

    async def stop(self, connection: str | None) -> RequestView:
        """End the tests of one connection, or of all, until they are started."""
        async with self._changing:
            chosen = [(name, one) for name, one in self._chosen(connection) if one.status not in ("idle", "stopped")]
            await _each((one for _, one in chosen), lambda connection: connection.stop("stopped on request"))
            stopped = [name for name, _ in chosen]
            if not stopped:
                what = f"{connection} does not run" if connection is not None else "nothing runs"
                return RequestView(ok=False, message=what)
            return RequestView(ok=True, message="stopped", affected=stopped)

    def _chosen(self, connection: str | None) -> list[tuple[str, Connection]]:
        if connection is None:
            return list(self._connections.items())
        return [(connection, self._connections[connection])]

    async def clear(self, what: str, name: str | None) -> RequestView:
        """Forget `results` or `history` (of a connection, or of all), `events`, or close a `server-control`."""
        if what in ("results", "history"):
            sessions = [session for _, one in self._chosen(name) for session in one.sessions.values()]
            for session in sessions:
                session.clear(what)
            affected = [f"{session.plan.connection} {session.plan.name}" for session in sessions]
            return RequestView(ok=True, message=f"{what} cleared", affected=affected)
        if what == "events":
            try:
                await self._store.clear(what)
            except StoreError as error:
                return RequestView(ok=False, message=str(error))
            return RequestView(ok=True, message=f"forgot {self._bulletin.clear()} events")
        if what == "server-control":
            return self._close_server_connections(name)
        raise KeyError(what)

    async def hold(self, prefix: str, instance: str, next_hops: Sequence[str] | None) -> RequestView:
        """Keep a tracked route as it is, or in use with these next hops. Raises `KeyError`."""
        async with self._changing:
            return self._tracked.hold(prefix, instance, next_hops)

    async def release(self, prefix: str, instance: str) -> RequestView:
        """End a hold. Raises `KeyError`."""
        async with self._changing:
            return self._tracked.release(prefix, instance)

    def _close_server_connections(self, name: str | None) -> RequestView:
        closed = self._roles.close_connections(name)
        if not closed:
            return RequestView(ok=False, message="the server has no control connection to close")
        return RequestView(ok=True, message="closed control connections", affected=closed)

    # What it shows.

    def _session(self, key: SessionKey) -> WatchedSession:
        connection = self._connections.get(key[0])
        if connection is None or key[1] not in connection.sessions:
            raise KeyError(f"{key[0]} {key[1]}")
        return connection.sessions[key[1]]

    def keys(self) -> Sequence[SessionKey]:
        """Every test-session of the client, in the order of the configuration."""
        return [session.key for one in self._connections.values() for session in one.sessions.values()]

    def client_connections(self) -> Sequence[ControlView]:
        """The control-connections of the client."""
        return [connection.view() for connection in self._connections.values()]

    def client_tests(self) -> Sequence[TestView]:
        """The test-sessions of the client."""
        return [
            test_view(session, showing.protocol_of(session))
            for one in self._connections.values()
            for session in one.sessions.values()
        ]

    def server_connections(self) -> Sequence[ControlView]:
        """The control connections of the Server."""
        return self._roles.server_connections()

    def server_tests(self) -> Sequence[TestView]:
        """The test-sessions of the Server."""
        return self._roles.server_tests()

    def results(self, key: SessionKey) -> ResultsView:
        """Everything known of a test-session. Raises `KeyError`."""
        return showing.results_view(self._session(key))

    def glance(self, key: SessionKey) -> GlanceView:
        """The little that a table can afford. Raises `KeyError`."""
        return showing.glance_view(self._session(key))

    def history(self, key: SessionKey, since_ns: int | None = None, limit: int | None = None) -> Sequence[ProbeView]:
        """The probes that are remembered, oldest first. Raises `KeyError`."""
        session = self._session(key)
        return probes.rows(session.collections.history(since_ns, limit), session.last_errno)

    def summary(self, key: SessionKey) -> Summary:
        """Everything since the daemon started. Raises `KeyError`."""
        return self._session(key).summary() or merge_packed(())

    def routes(self) -> Iterator[RouteView]:
        """Every tracked route, in the order of the configuration."""
        return self._tracked.views()

    def notices(self, since_ns: int | None, limit: int) -> Sequence[Notice]:
        """The last notices, oldest first."""
        return self._bulletin.newest(since_ns, limit)

    def notice_counts(self) -> Mapping[tuple[str, str], int]:
        """(name, state) -> how often."""
        return self._bulletin.counts

    def reflector_counters(self) -> Mapping[str, Mapping[str, int]]:
        """Addresses of each light Session-Reflector -> disposition -> packets."""
        return self._roles.reflector_counters()

    def server_counters(self) -> Mapping[str, int]:
        """Of the Server, empty without one."""
        return self._roles.server_counters()

    def alarms_raised(self) -> int:
        """Test-sessions with an alarm."""
        return sum(
            bool(session.alarms.raised) for one in self._connections.values() for session in one.sessions.values()
        )

    def health(self) -> HealthView:
        """The daemon's own state."""
        statuses = Counter(session.status for one in self._connections.values() for session in one.sessions.values())
        return HealthView(
            version=version(),
            started_ns=self._started_ns,
            configuration=self._configuration,
            configuration_loaded_ns=self._loaded_ns,
            reload_ok=not self._reload_errors,
            reload_errors=self._reload_errors,
            sessions=dict(statuses),
            own_faults={name: self._faults.counts[name] for name in FAULTS},
            loop_lag_ns=self._faults.lag.last_minute_ns,
            cpu_steal_ratio=self._faults.steal_ratio,
            rss_octets=resident_octets(),
            store=self._store.state(),
            receivers=self._teller.state(),
            routes=self._tracked.view(),
            alarms=self.alarms_raised(),
        )


async def _each(connections: Iterable[Connection], act: Callable[[Connection], Coroutine[None, None, None]]) -> None:
    """Light connections one after the other, in turns; meanwhile managed ones, all of which wait for their Servers."""
    connections = list(connections)
    waiting = [asyncio.create_task(act(one)) for one in connections if one.plan.control is not None]
    try:
        for one in connections:
            if one.plan.control is None:
                await act(one)
    finally:
        await asyncio.gather(*waiting)
