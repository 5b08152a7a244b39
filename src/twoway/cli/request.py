"""`twoway request`: start or stop the daemon's tests, hold tracked routes, or have it read its configuration again."""

from __future__ import annotations

import argparse
import json
import sys

from twoway.cli.api_client import Api, add_api_options
from twoway.cli.arguments import Parser, value_of
from twoway.config import units
from twoway.errors import ApiError, one_line

_DESCRIPTION = """\
Tell the daemon to do something, and hear what came of it.

  start     run the tests of control connections with `test-start: manual`
  stop      stop the tests of control connections
  reload    read the configuration again: all of it is taken over, or nothing
  routes hold PREFIX      keep a tracked route as it is, or in use with the next hops given
  routes release PREFIX   end that: the best next hops are used, penalties are forgiven
"""
_EPILOG = """\
Exit code: 0 if it was done, 1 if the daemon refused (the reason is printed), 2 if it cannot be asked.

examples:
  twoway request start --control-connection core-fra --repeat 10
  twoway request reload
  twoway request routes hold 203.0.113.0/24 --next-hop 192.0.2.1
"""
_ROUTES = "routes"
_NO_NEXT_HOP = "none"
_OPTIONS: dict[str, tuple[str, ...]] = {
    "start": ("control-connection", "repeat"),
    "stop": ("control-connection",),
    "reload": (),
    f"{_ROUTES} hold": ("routing-instance", "next-hop"),
    f"{_ROUTES} release": ("routing-instance",),
}
"""What can be done -> its options."""
_ALL = tuple(dict.fromkeys(name for names in _OPTIONS.values() for name in names))
_REFUSED = 1
_NAMED = 12
"""Names that are printed of what a request concerned."""
_CONFLICT = 409


class _Arguments(argparse.Namespace):
    """The options as parsed, with their types."""

    action: list[str]
    control_connection: str | None
    repeat: int | None
    routing_instance: str | None
    next_hop: list[str] | None
    json: bool
    api: str | None
    token_file: str | None


def request_parser() -> Parser:
    parser = Parser("twoway request", "start|stop|reload|routes", _DESCRIPTION, _EPILOG)
    parser.add_argument("action", nargs="+", metavar="ACTION", help="see above")
    add = parser.add_argument_group("which").add_argument
    add("--control-connection", metavar="NAME", help="of this control connection alone (all)")
    add("--repeat", type=value_of(units.parse_integer, 1, 65_535), metavar="N", help="tests to run (as configured)")
    add("--routing-instance", metavar="NAME", help="where the tracked route is (the instance without a name)")
    add(
        "--next-hop",
        action="append",
        metavar="HOP",
        help="to use while the route is held, or `none`; repeatable (those in use)",
    )
    parser.add_argument_group("output").add_argument("--json", action="store_true", help="the API's JSON document")
    add_api_options(parser)
    return parser


def run(arguments: list[str]) -> int:
    """The command. Returns its exit code."""
    parser = request_parser()
    options = parser.parse_args(_junos_words(arguments), _Arguments())
    action, prefix = _action(options.action)
    if action not in _OPTIONS or (prefix is not None) != action.startswith(_ROUTES):
        parser.error(
            f"there is no {' '.join(options.action)!r}: there are start, stop, reload, {_ROUTES} hold PREFIX "
            f"and {_ROUTES} release PREFIX"
        )
    given = {name: getattr(options, name.replace("-", "_")) for name in _ALL}
    for name, value in given.items():
        if value is not None and name not in _OPTIONS[action]:
            of = " and ".join(action for action, names in _OPTIONS.items() if name in names)
            parser.error(f"--{name} is of {of}, not of {action}")
    body = {name: given[name] for name in _OPTIONS[action]}
    if "next-hop" in body:
        body["next-hops"] = _next_hops(body.pop("next-hop"))
    if prefix is not None:
        body["prefix"] = prefix
    path = "/v1/reload" if action == "reload" else f"/v1/request/{action.replace(' ', '/')}"
    return act(Api.of(options.api, options.token_file), path, body, as_json=options.json, prog=parser.prog)


def _action(words: list[str]) -> tuple[str, str | None]:
    """What is to be done, and with which prefix."""
    return (" ".join(words[:2]), words[2]) if words[0] == _ROUTES and len(words) == 3 else (" ".join(words), None)


def _next_hops(names: list[str] | None) -> list[str] | None:
    return [] if names == [_NO_NEXT_HOP] else names


def act(api: Api, path: str, body: dict[str, object], *, as_json: bool, prog: str) -> int:
    """Send a request, print what came of it, and return the exit code."""
    try:
        answer = api.post(path, body)
    except ApiError as error:
        if error.status != _CONFLICT:
            raise
        for line in (f"{prog}: {error}", *(f"  {item}" for item in error.affected)):
            sys.stderr.write("".join(c if c.isprintable() else " " for c in line) + "\n")
        return _REFUSED
    if as_json:
        sys.stdout.write(json.dumps(answer, indent=2) + "\n")
        return 0
    sys.stdout.write(one_line(f"{answer['message']}{_named(list(map(str, answer['affected'])))}") + "\n")
    return 0


def _named(names: list[str]) -> str:
    """What it concerned; of many the first and how many more."""
    if not names:
        return ""
    more = len(names) - _NAMED
    return f": {', '.join(names[:_NAMED])}" + (f" and {more} more" if more > 0 else "")


def _junos_words(arguments: list[str]) -> list[str]:
    """`control-connection X` and the others without dashes, as Junos has them."""
    words, value_next = [], False
    for argument in arguments:
        known = argument.removeprefix("--") in _ALL
        words.append(f"--{argument}" if known and not value_next and not argument.startswith("-") else argument)
        value_next = known and not value_next
    return words
