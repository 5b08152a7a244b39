"""`twoway show`: what the daemon knows, in Junos's words."""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from twoway.analysis.notices import NOTICES
from twoway.analysis.views import ControlView, HealthView, ProbeView, RoutesView, TestView
from twoway.cli.api_client import Api, Json, add_api_options, results_view, route_view, view
from twoway.cli.arguments import Parser, terminal_width, value_of
from twoway.config import units
from twoway.errors import ConfigError
from twoway.export import show_routes, show_text

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

_DESCRIPTION = """\
Show what the daemon measures and how it is.

  client control-info        control connections of the client
  client test-info           its test-sessions
  client probe-results       results of its tests: last probe and the four collections
  client history-results     single probes
  client window              any window of time from the store: counters, ratios, percentiles
  server control-info        control connections of the Server
  server test-info           its test-sessions
  routes [DESTINATION]       tracked routes: what was decided, why, and what the kernel has;
                             also as `route sla-tracking`
  capabilities               what the daemon can measure with, in its sandbox
  events                     notices: alarms raised and cleared, and what happened
  notices                    every notice that there is, and what it means
  health                     the daemon's own state
"""
_EPILOG = """\
TIME is as Junos has it, 2026-01-02.03:04:05 in local time, or 2026-01-02T03:04:05Z, or a
duration before now, as 15min. The words of Junos work as well as options: `show client
probe-results control-connection core-fra status FAIL`. DESTINATION is a prefix, or an address
that routes contain.

Exit code: 0; 2 if the daemon cannot be asked, or has no such name.

examples:
  twoway show client probe-results brief
  twoway show client history-results --control-connection core-fra --since 15min
  twoway show client window --control-connection core-fra --test-session voice --since 1h
  twoway show routes brief
  twoway show route sla-tracking 203.0.113.0/24 --json
  twoway show events --json
"""
_FILTERS = (
    "control-connection",
    "test-session",
    "source-address",
    "target",
    "status",
    "since",
    "until",
    "limit",
    "name",
    "percentile",
    "routing-instance",
    "destination",
)
_ACCEPTS: dict[tuple[str, ...], tuple[str, ...]] = {
    ("client", "control-info"): ("control-connection",),
    ("client", "test-info"): ("control-connection", "test-session"),
    ("client", "probe-results"): ("control-connection", "test-session", "source-address", "target", "status"),
    ("client", "history-results"): (
        "control-connection",
        "test-session",
        "source-address",
        "target",
        "since",
        "limit",
    ),
    ("client", "window"): ("control-connection", "test-session", "since", "until", "percentile"),
    ("server", "control-info"): ("control-connection",),
    ("server", "test-info"): ("control-connection", "test-session"),
    ("routes",): ("destination", "control-connection", "test-session", "routing-instance"),
    ("capabilities",): (),
    ("events",): ("since", "limit", "name", "control-connection"),
    ("notices",): (),
    ("health",): (),
}
"""What can be shown -> its filters."""
_STYLED = (("client", "probe-results"), ("client", "history-results"), ("routes",))
"""What can be shown brief or in detail."""


class _Arguments(argparse.Namespace):
    """The options as parsed, with their types."""

    what: list[str]
    json: bool
    api: str | None
    token_file: str | None
    control_connection: str | None
    test_session: str | None
    source_address: str | None
    target: str | None
    status: str | None
    since: str | None
    until: str | None
    limit: int | None
    name: str | None
    percentile: list[str] | None
    routing_instance: str | None
    destination: str | None


def show_parser() -> Parser:
    parser = Parser("twoway show", "WHAT [brief|detail]", _DESCRIPTION, _EPILOG)
    parser.add_argument("what", nargs="+", metavar="WHAT", help="see above; then `brief` or `detail`")
    add = parser.add_argument_group("which").add_argument
    add("--control-connection", metavar="NAME", help="of this control connection")
    add("--test-session", metavar="NAME", help="of this test-session")
    add("--source-address", metavar="ADDR", help="probes from this address")
    add("--target", metavar="ADDR", help="to this target, as configured")
    add("--status", choices=("PASS", "FAIL", "pass", "fail"), help="whose last test passed, or failed")
    add("--since", metavar="TIME", help="not before")
    add("--until", metavar="TIME", help="of a window: its end (now)")
    add("--limit", type=value_of(units.parse_integer, 1, 100_000), metavar="N", help="the latest so many")
    add("--name", metavar="NOTICE", help="events of this name")
    add("--percentile", action="append", metavar="P", help="of a window: percentile wanted; repeatable (50 95 99 99.9)")
    add("--destination", metavar="DESTINATION", help="tracked routes of this prefix, or that contain this address")
    add("--routing-instance", metavar="NAME", help="tracked routes of this routing-instance")
    parser.add_argument_group("output").add_argument("--json", action="store_true", help="the API's JSON document")
    add_api_options(parser)
    return parser


def run(arguments: list[str]) -> int:
    """The command. Returns its exit code."""
    parser = show_parser()
    options = parser.parse_args(junos_words(_source_words(arguments)), _Arguments())
    what = tuple(options.what)
    style = what[-1] if what[-1] in ("brief", "detail") else None
    what, destination = _routes_words(what[:-1] if style else what)
    options.destination = options.destination if destination is None else destination
    if what not in _ACCEPTS:
        known = ", ".join(" ".join(words) for words in _ACCEPTS)
        parser.error(f"there is no {' '.join(what)!r} to show: there are {known}")
    if style and what not in _STYLED:
        parser.error(f"{' '.join(what)} is neither brief nor detail")
    given = {name: getattr(options, name.replace("-", "_")) for name in _FILTERS}
    for name, value in given.items():
        if value is not None and name not in _ACCEPTS[what]:
            parser.error(f"--{name} is no filter of {' '.join(what)}")
    for name in ("since", "until"):
        if given[name] is not None:
            given[name] = moment_ns(given[name], f"--{name}", time.time_ns())
    if what == ("notices",) and not options.json:
        return _print(show_text.notices(_width()))
    body = _notices() if what == ("notices",) else Api.of(options.api, options.token_file).get(_path(what), given)
    if options.json:
        sys.stdout.write(json.dumps(body, indent=2) + "\n")
        return 0
    return _print(_LISTINGS[what](body, style))


def _source_words(arguments: Sequence[str]) -> list[str]:
    """Of `show route sla-tracking`: which test, as Junos says it."""
    words, result = list(arguments), []
    while words:
        match words:
            case ["twamp", "control-connection", connection, "test-session", session, *words]:
                result += ["--control-connection", connection, "--test-session", session]
            case ["rpm", "owner", connection, "test", session, *words]:
                result += ["--control-connection", connection, "--test-session", session]
            case [word, *words]:
                result.append(word)
    return result


def _routes_words(what: tuple[str, ...]) -> tuple[tuple[str, ...], str | None]:
    """`route sla-tracking DESTINATION` as `routes`, and the destination."""
    if what[:2] == ("route", "sla-tracking"):
        what = ("routes", *what[2:])
    return (("routes",), what[1]) if what[:1] == ("routes",) and len(what) == 2 else (what, None)


def junos_words(arguments: Sequence[str]) -> list[str]:
    """`control-connection core-fra` as `--control-connection core-fra`; a value is never taken for a word."""
    result: list[str] = []
    value_next = False
    for argument in arguments:
        known = argument.removeprefix("--") in _FILTERS
        result.append(f"--{argument}" if known and not value_next and not argument.startswith("-") else argument)
        value_next = known and not value_next
    return result


def moment_ns(text: str, field: str, now_ns: int) -> int:
    """A wall time in ns from Junos's form, RFC 3339 or a duration before now. Raises `ConfigError`."""
    try:
        return _epoch_ns(datetime.strptime(text, "%Y-%m-%d.%H:%M:%S").astimezone())
    except (ValueError, OverflowError):
        pass
    try:
        moment = datetime.fromisoformat(text)
        return _epoch_ns(moment if moment.tzinfo else moment.astimezone())
    except (ValueError, OverflowError):
        pass
    try:
        return max(0, now_ns - units.parse_duration_ns(text, field))
    except ConfigError:
        reason = f"{text!r} is no time as 2026-01-02.03:04:05 or 2026-01-02T03:04:05Z, and no duration as 15min"
        raise ConfigError(field, reason) from None


def _epoch_ns(moment: datetime) -> int:
    past = moment - datetime.fromtimestamp(0, UTC)
    return max(0, (past.days * 86_400 + past.seconds) * 1_000_000_000 + past.microseconds * 1000)


def _notices() -> Json:
    """The table of notices as a document: it is ours, no daemon is asked."""
    rows = ({**dataclasses.asdict(kind), "severity": kind.severity.name.lower()} for kind in NOTICES.values())
    return {"notices": list(rows)}


def _path(what: tuple[str, ...]) -> str:
    return "/v1/store/window" if what[-1] == "window" else f"/v1/{'/'.join(what)}"


def _width() -> int | None:
    """Columns of the terminal, None where there is none: then nobody has to look at it."""
    return terminal_width(most=1000) if sys.stdout.isatty() else None


def _print(lines: Sequence[str]) -> int:
    """Whatever a name or an error from elsewhere holds, it moves no cursor."""
    clean = ("".join(c if c.isprintable() else " " for c in line) for line in lines)
    sys.stdout.write("".join(f"{line}\n" for line in clean))
    return 0


def _control_info(body: Json, _style: str | None) -> list[str]:
    return show_text.control_info([view(ControlView, item) for item in body["connections"]], _width())


def _test_info(body: Json, _style: str | None) -> list[str]:
    return show_text.test_info([view(TestView, item) for item in body["sessions"]], _width())


def _probe_results(body: Json, style: str | None) -> list[str]:
    views = [results_view(item) for item in body["results"]]
    if style == "brief" or not views:
        return show_text.results_brief(views, _width())
    lines: list[str] = []
    for item in views:
        lines += ([""] if lines else []) + show_text.results(item, _width())
    return lines


def _history_results(body: Json, style: str | None) -> list[str]:
    def rows() -> Iterator[tuple[str, str, ProbeView]]:
        for history in body["histories"]:
            for probe in history["probes"]:
                yield history["connection"], history["session"], view(ProbeView, probe)

    return show_text.history_detail(rows()) if style == "detail" else show_text.history_brief(rows())


def _window(body: Json, _style: str | None) -> list[str]:
    span = body["start_ns"], body["end_ns"]
    return show_text.window(body["connection"], body["session"], *span, body["metrics"], _width())


def _routes(body: Json, style: str | None) -> list[str]:
    views = [route_view(item) for item in body["routes"]]
    return show_routes.brief(views) if style == "brief" else show_routes.detail(views)


def _capabilities(body: Json, _style: str | None) -> list[str]:
    from twoway.cli.capabilities import ordered, table

    return table(ordered({item["name"]: (item["available"], item["seen"]) for item in body["features"]}))


def _events(body: Json, _style: str | None) -> list[str]:
    return show_text.events(body["events"], _width())


def _health(body: Json, _style: str | None) -> list[str]:
    routes = body.get("routes")
    health = view(HealthView, {**body, "routes": None if routes is None else view(RoutesView, routes)})
    return show_text.health(health, time.time_ns(), _width())


_LISTINGS: dict[tuple[str, ...], Callable[[Json, str | None], list[str]]] = {
    ("client", "control-info"): _control_info,
    ("client", "test-info"): _test_info,
    ("client", "probe-results"): _probe_results,
    ("client", "history-results"): _history_results,
    ("client", "window"): _window,
    ("server", "control-info"): _control_info,
    ("server", "test-info"): _test_info,
    ("routes",): _routes,
    ("capabilities",): _capabilities,
    ("events",): _events,
    ("health",): _health,
}
