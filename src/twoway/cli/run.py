"""`twoway run`: the daemon, with every role that its configuration asks for, until SIGTERM or SIGINT."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import gc
import resource
import sys
import time
from functools import partial
from typing import TYPE_CHECKING

from twoway.cli.arguments import Parser, abandon_output
from twoway.errors import EXIT_ERROR

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from twoway.analysis.notices import Notice
    from twoway.config.plan import Plan
    from twoway.daemon.daemon import Daemon
    from twoway.daemon.kept import DaemonStore
    from twoway.daemon.service import ServiceManager
    from twoway.store.store import Store

_DESCRIPTION = """\
Run the daemon: the client's control-connections and test-sessions, the server, light reflectors,
results in a store, notices, and the management API, as the configuration says.
"""
_EPILOG = """\
SIGHUP, or `twoway request reload`, reads the configuration again: what is wrong with it changes
nothing, and test-sessions that are the same in both go on undisturbed. SIGTERM and SIGINT end it.

examples:
  twoway check /etc/twoway/twoway.yaml && twoway run /etc/twoway/twoway.yaml
"""
_FLUSH_S = 5.0
"""How long notices may take to be told when the daemon ends."""
_SWITCH_S = 0.001
"""How long a thread that computes (it reads a configuration, or packs probes for the store) keeps the event loop
waiting each time the loop has let go of the interpreter, as it does at many system calls. Python's own is five times
as long."""


class _Arguments(argparse.Namespace):
    """The options as parsed, with their types."""

    configuration: str


def run_parser() -> Parser:
    """All options of the command."""
    parser = Parser("twoway run", "CONFIG", _DESCRIPTION, _EPILOG)
    parser.add_argument("configuration", metavar="CONFIG", help="configuration file, YAML or TOML")
    return parser


def run(arguments: list[str]) -> int:
    """The command. Returns its exit code."""
    parsed = run_parser().parse_args(arguments, _Arguments())
    plan = _read(parsed.configuration)
    if isinstance(plan, tuple):
        return _say_all(plan)
    _raise_limits()
    sys.setswitchinterval(_SWITCH_S)
    return asyncio.run(_serve(plan, parsed.configuration))


def _read(path: str) -> Plan | tuple[str, ...]:
    """The plan of the file, or a line for each of its errors."""
    from twoway.config.check import check
    from twoway.drivers.rehearsal import NativeRehearsal

    checked = check(path, NativeRehearsal())
    return tuple(map(str, checked.errors)) if checked.plan is None else checked.plan


def _say_all(lines: Sequence[str]) -> int:
    for line in lines:
        sys.stderr.write(f"twoway run: {line}\n")
    return EXIT_ERROR


def _say_running(path: str, plan: Plan) -> None:
    """One line for who started it by hand, and for the journal; what happens from now on, notices say."""
    line = f"{path} runs; `twoway show health --api {plan.api.socket}` says how it is"
    try:
        print(line, flush=True)
    except OSError:  # whoever read it has gone, which is no reason not to measure
        abandon_output()


def _raise_limits() -> None:
    """Each test-session is a socket: as many descriptors as the system lets us have."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


async def _serve(plan: Plan, path: str) -> int:
    from twoway.daemon.roles import RolesError
    from twoway.daemon.service import ServiceManager, Signals

    manager = ServiceManager()
    async with contextlib.AsyncExitStack() as stack:
        # Signals first: one that comes while sockets are being opened must not kill what is half there.
        signals = Signals()
        try:
            daemon = await _opened(plan, path, manager, stack)
        except RolesError as error:
            return _say_all(error.reasons)
        _say_running(path, plan)
        await signals.serve(daemon, manager, lambda answer: _say_all((answer.message, *answer.affected)))
    return 0


async def _opened(plan: Plan, path: str, manager: ServiceManager, stack: contextlib.AsyncExitStack) -> Daemon:
    """The daemon with all its parts, each closed by `stack` after those that need it."""
    from twoway.api.service import ManagementApi
    from twoway.daemon.daemon import Daemon
    from twoway.daemon.service import Pulse
    from twoway.drivers.plane import capabilities
    from twoway.notify.notifier import Notifier

    early: list[Notice] = []
    post: Callable[[Notice], None] = early.append  # until there is a daemon to post to

    def posted(notice: Notice) -> None:
        post(notice)

    store = await _store(plan, posted, stack)
    notifier = Notifier(plan.notices, posted, None if plan.store.path is None else plan.store.path.parent)
    await notifier.start()
    stack.push_async_callback(notifier.close, _FLUSH_S)
    daemon = Daemon(
        plan,
        configuration=path,
        read_plan=partial(_read, path),
        store=store,
        teller=notifier,
        beat=Pulse(manager).beat,
        taken_over=lambda changed: api.change(changed.api),
    )
    api = ManagementApi(plan.api, daemon, store, capabilities)
    api.build()
    stack.push_async_callback(daemon.close)
    await daemon.open()
    # Not before: what it reads of the time before its start is what others kept, not what has just been told.
    post = daemon.post
    for notice in early:
        post(notice)
    _look_at_clock(daemon.post)
    stack.push_async_callback(api.close)
    await api.start()
    # What is there now stays: the collector of garbage need not look at it again, which would hold up the loop.
    gc.collect()
    gc.freeze()
    return daemon


def _look_at_clock(post: Callable[[Notice], None]) -> None:
    """Say so at once if the state of the clock is hidden: nothing else would, but one-way delays without a bound."""
    from twoway.analysis.notices import Notice, State
    from twoway.cli.capabilities import REMEDIES
    from twoway.drivers.plane import local_clock

    if local_clock()["synchronized"] is None:
        line = f"clock state unreadable: {REMEDIES['clock_readable']}"
        sys.stderr.write(f"twoway run: {line}\n")
        post(Notice(time.time_ns(), "own-fault", State.ONCE, line))


async def _store(plan: Plan, posted: Callable[[Notice], None], stack: contextlib.AsyncExitStack) -> DaemonStore | None:
    if plan.store.path is None:
        return None
    from twoway.daemon.kept import DaemonStore
    from twoway.drivers.summaries import PackedSummaries
    from twoway.store.store import Store

    store = Store(plan.store, PackedSummaries(), posted)
    await store.open()
    stack.push_async_callback(_close, store)
    return DaemonStore(store)


async def _close(store: Store) -> None:
    """Write what waits; what could not be written is said, as nobody can ask any more."""
    await store.close()
    state = store.state()
    left = int(state["lost_at_close"]) + int(state["queue_items"])
    if left:
        why = state["reason"] or "it took too long"
        sys.stderr.write(f"twoway run: store {state['path']}: {left} entries could not be written at the end: {why}\n")
