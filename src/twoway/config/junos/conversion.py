"""From Junos's statements to ours: each one is used, or listed with the reason why it is not. Pure.

Theory of operation. Tables say which of our statements a Junos statement becomes; the model says whether its value will
do. Nothing is lost in silence: every statement that came in ends in exactly one of `Imported.used` and
`Imported.unused`. Statements are taken one by one, as they stand; what one means only together with others, such as a
port that belongs to the session or to the connection, is mended at the end. Routes, which mean nothing without the
tests that they are bound to, are gathered by `tracked`.

Both hierarchies are known: `services monitoring twamp` (Junos OS Evolved) and `services rpm twamp` (Junos OS).
"""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, cast

from twoway.config.junos.accepting import UNKNOWN, accepted, by_rule, named, number
from twoway.config.junos.commands import FOLLOWED, NOT_FOLLOWED, WITHOUT_MEANING
from twoway.config.junos.outcome import Imported, NotUsedError, Unused
from twoway.config.junos.reading import read_statements
from twoway.config.junos.sessions import rpm_test, twamp_session
from twoway.config.junos.tables import (
    CONNECTION,
    ELSEWHERE,
    EVO_LIMITS,
    LIGHT,
    MANAGED,
    MOST,
    NO_EQUIVALENT,
    RPM_INTERVAL,
    RPM_OF_CONNECTION,
    RPM_TYPE,
    SERVER,
    Rule,
)
from twoway.config.junos.tracked import Tracked, tracked

if TYPE_CHECKING:
    from collections.abc import Container, Iterable, Iterator, Mapping

    from twoway.config.document import Data, Path
    from twoway.config.junos.statement import Statement
    from twoway.config.route_plan import TestKey

_Words = tuple[str, ...]
_NAMES = {
    *("twamp", "twamp-client", "twamp-server", "rpm", "rpm-probe"),
    *("rpm-tracking", "sla-tracking", "ip-monitoring"),
}
"""Words by which other parts of a configuration speak of measuring."""


def convert(text: str, source: str) -> Imported:
    """Turn a Junos configuration into ours. Raises `ConfigurationError` for what is no configuration."""
    statements = read_statements(text, source)
    conversion = _Conversion(_plain_groups(statements))
    rpm = [statement for statement in statements if _rpm_test(statement) is not None]
    for statement in statements:
        if _rpm_test(statement) is None:
            conversion.take(statement)
    conversion.take_rpm(rpm)
    return conversion.finish()


class _Conversion:
    def __init__(self, plain_groups: Container[str]) -> None:
        self.imported = Imported()
        self._plain_groups = plain_groups
        self._used: dict[int, Statement] = {}
        """By their identity: two that are equal are two."""
        self._from: dict[Path, list[Statement]] = {}
        """Our statement -> those that it came from."""
        self._incomplete: set[Path] = set()
        """Ways of source-routing with a segment that cannot be used."""
        self._tracked = Tracked(self._drop)
        self._rpm: dict[TestKey, TestKey | None] = {}
        """RPM test that decides about a route -> the test-session that measures the same, if one can."""
        self._rpm_names: dict[TestKey, TestKey] = {}
        """RPM test -> what its test-session is called."""

    def take(self, statement: Statement) -> None:
        """Use a statement, or list it."""
        route = tracked(statement.words)
        words, ours = _relative(statement.words) if route is None else (route[1], True)
        try:
            if statement.command in FOLLOWED and statement.command != "set":
                self._used[id(statement)] = statement
                return
            elsewhere, ours = not ours, ours or self._concerns(statement.words)
            _check_followed(statement, words, ours=ours, elsewhere=elsewhere)
            if route is not None:
                self._tracked.take(*route, statement)
            else:
                # All of it is looked at before anything is taken: a statement is used whole or not at all.
                for path, value in [(path, accepted(path, value)) for path, value in self._meaning(words)]:
                    self._put(path, value, statement)
        except NotUsedError as why:
            self.imported.unused.append(Unused(statement, str(why), ours, why.in_force))
            if words[5:6] == ("source-routing",) and why.in_force:
                self._incomplete.add(words[:7])
        else:
            self._used[id(statement)] = statement

    def finish(self) -> Imported:
        """What statements mean only together, and the routes."""
        self._mend()
        client = cast("dict[str, dict[str, Data]]", self.imported.data.get("client", {}))
        connections = cast("dict[str, dict[str, dict[str, Data]]]", client.get("control-connection", {}))
        sessions = {(name, test) for name, one in connections.items() for test in one.get("test-session", {})}
        routes = self._tracked.finish(sessions, self._rpm)
        if routes:
            self.imported.data["routes"] = routes
        self.imported.used = list(self._used.values())
        self.imported.unused.sort(key=lambda one: one.statement.line)
        return self.imported

    # RPM tests that decide about a route: measured by STAMP instead.

    def take_rpm(self, statements: Iterable[Statement]) -> None:
        """Use the statements of RPM tests, after all others: routes say which of them are wanted."""
        tests: dict[TestKey, dict[str, str]] = {}
        for one in statements:
            key = _rpm_test(one)
            if key is not None and one.command == "set" and one.deleted is None and not one.inactive:
                name, value = _relative(one.words)[0][-2:]
                tests.setdefault(key, {})[name] = value
        of_routes = self._tracked.rpm_tests(tests)
        wanted = {key: said for key, said in tests.items() if key in of_routes}
        self._rpm_names = self._called(wanted)
        connections = self._connections() if wanted else {}
        for connection, _ in self._rpm_names.values():
            connections.setdefault(connection, {"control-type": "light"})
        for one in statements:
            self.take(one)
        for key, said in wanted.items():
            self._rpm[key] = self._measured(self._rpm_names[key], said.get("probe-type", RPM_TYPE))
        if self.imported.data.get("client") == {"control-connection": {}}:
            del self.imported.data["client"]

    def _connections(self) -> dict[str, dict[str, Data]]:
        client = cast("dict[str, Data]", self.imported.data.setdefault("client", {}))
        return cast("dict[str, dict[str, Data]]", client.setdefault("control-connection", {}))

    def _called(self, tests: Mapping[TestKey, Mapping[str, str]]) -> dict[TestKey, TestKey]:
        """Their names: those of Junos, unless the control-connection of that name is another, or cannot be both's."""
        taken = self._connections() if tests else {}
        names: dict[TestKey, TestKey] = {}
        for owner, test in tests:
            kinds = {
                tuple(said.get(name) for name in RPM_OF_CONNECTION) for key, said in tests.items() if key[0] == owner
            }
            names[owner, test] = (owner if len(kinds) == 1 and owner not in taken else f"{owner}.{test}", test)
        return names

    def _measured(self, ours: TestKey, kind: str) -> TestKey | None:
        """The test-session that was made of an RPM test, None if there is none for want of an address or a name."""
        connection, name = ours
        connections = self._connections()
        sessions = cast("dict[str, dict[str, Data]]", connections[connection].get("test-session", {}))
        path: Path = ("client", "control-connection", connection, "test-session", name)
        if "target" in sessions.get(name, {}):
            sessions[name].setdefault("probe-interval", RPM_INTERVAL)
            target = cast("dict[str, Data]", sessions[name]["target"])
            self.imported.to_do.append(
                f"{'.'.join(map(str, path))}: was an RPM test ({kind}): have {target.get('address')} answer STAMP, and "
                "when the test passes take `dry-run` out of the routes that it decides about"
            )
            return ours
        sessions.pop(name, None)
        alone = not sessions
        for place in [one for one in self._from if one[: len(path)] == path or (alone and one[:3] == path[:3])]:
            for statement in self._from.pop(place):
                self._drop(statement, "the RPM test has no address to measure")
        if alone:
            del connections[connection]
        return None

    def _concerns(self, words: _Words) -> bool:
        """Whether a statement of another part of the configuration concerns us: it is listed by itself then."""
        if words[:1] == ("groups",):
            return bool(_NAMES & set(words[2:]))
        if words[:1] in (("apply-groups",), ("apply-groups-except",)):
            return words[-1] not in self._plain_groups
        return words[:1] == ("test-session",) or bool(_NAMES & set(words))

    # What a statement means.

    def _meaning(self, words: _Words) -> list[tuple[Path, Data]]:
        match words:
            case ("client", "control-connection", name, *rest):
                return list(self._connection(name, tuple(rest)))
            case ("client",):
                return [(("client",), {})]
            case ("server", "managed", *rest):
                return list(_server(("server", "managed"), tuple(rest), MANAGED, evo=True))
            case ("server", "light", *rest):
                return list(_server(("server", "light"), tuple(rest), LIGHT, evo=True))
            case ("server",):
                return [(("server",), {})]
            case ("server", *rest):
                return list(_server(("server", "managed"), tuple(rest), SERVER, evo=False))
            case (("probe" | "owner"), owner, "test", test, *rest) if (owner, test) in self._rpm_names:
                return list(self._rpm_statement((owner, test), tuple(rest)))
        raise NotUsedError(NO_EQUIVALENT.get(words[0] if words else "", UNKNOWN))

    def _rpm_statement(self, test: TestKey, words: _Words) -> Iterator[tuple[Path, Data]]:
        connection, name = self._rpm_names[test]
        path: Path = ("client", "control-connection", named(connection))
        yield from rpm_test(path, named(name), words)

    def _connection(self, name: str, words: _Words) -> Iterator[tuple[Path, Data]]:
        path: Path = ("client", "control-connection", named(name))
        match words:
            case ():
                yield path, {}
            case ("test-session", session, *rest):
                yield from twamp_session((*path, "test-session", named(session)), tuple(rest))
            case ("traps", trap):
                yield (*path, "traps"), [trap]
            case ("source-routing", *_):
                raise NotUsedError("it belongs to each test-session")
            case _:
                yield by_rule(path, words, CONNECTION)

    # Putting it in its place.

    def _put(self, path: Path, value: Data, statement: Statement) -> None:
        """Set one of our statements, or add to its list. What is set again replaces what came before."""
        place = self.imported.data
        for part in path[:-1]:
            place = cast("dict[str, Data]", place.setdefault(str(part), {}))
        name = str(path[-1])
        before = place.get(name)
        if isinstance(value, dict):
            place.setdefault(name, value)
        elif isinstance(value, list) and isinstance(before, list):
            before.extend(item for item in value if item not in before)
        else:
            for earlier in self._from.pop(path, []):
                self._drop(earlier, f"set again in line {statement.line}", again=True)
            place[name] = value
        if not isinstance(value, dict):
            self._from.setdefault(path, []).append(statement)

    def _drop(self, statement: Statement, reason: str, *, again: bool = False) -> None:
        """List what was used; `again` if only because it is set again."""
        if self._used.pop(id(statement), None) is not None:
            self.imported.unused.append(Unused(statement, reason, ours=True, in_force=not again))

    def _withdraw(self, path: Path, reason: str) -> None:
        """Take one of our statements out again."""
        place = self.imported.data
        for part in path[:-1]:
            place = cast("dict[str, Data]", place[str(part)])
        if str(path[-1]) in place:
            del place[str(path[-1])]
            for statement in self._from.pop(path, []):
                self._drop(statement, reason)

    def _mend(self) -> None:
        """What statements mean only together (V1, V2, V3, V5), and the short form of what says one thing only."""
        client = cast("dict[str, dict[str, Data]]", self.imported.data.get("client", {}))
        connections = cast("dict[str, dict[str, Data]]", client.get("control-connection", {}))
        for name, connection in connections.items():
            path: Path = ("client", "control-connection", name)
            light = connection.get("control-type") == "light"
            if light:
                for statement in ("target", "destination-port"):
                    self._withdraw((*path, statement), "a light control-connection has none")
                for statement in ("tcp-keepidle", "tcp-keepintvl", "tcp-keepcnt"):
                    self._withdraw((*path, statement), "a light control-connection has no TCP connection")
            sessions = cast("dict[str, dict[str, Data]]", connection.get("test-session", {}))
            for session_name, session in sessions.items():
                inside: Path = (*path, "test-session", session_name)
                if not light:
                    self._withdraw((*inside, "destination-port"), "a managed test-session negotiates its port")
                self._mend_routing((*inside, "source-routing"), session, light=light)
                if "data-fill-with-zeros" not in session and self._is_classic((*inside, "data-size")):
                    session["data-fill"] = "random"
                count = session.get("probe-count", 1)
                for place, holder in ((inside, session), (path, connection)):
                    size = holder.get("history-size")
                    if isinstance(size, int) and isinstance(count, int) and 0 < size < count:
                        self._withdraw((*place, "history-size"), f"less than the {count} probes of a test")
                _shorten(session, "target", "address")
                thresholds = cast("dict[str, Data]", session.get("thresholds", {}))
                for threshold in list(thresholds):
                    _shorten(thresholds, threshold, "limit-value")

    def _is_classic(self, path: Path) -> bool:
        """Whether one of our statements came from Junos OS, where padding is random unless it says otherwise."""
        return any(("rpm", "twamp") in pairwise(statement.words[:3]) for statement in self._from.get(path, ()))

    def _mend_routing(self, path: Path, session: dict[str, Data], *, light: bool) -> None:
        """Segments of one kind each way, and a way back only where probes can ask for it."""
        routing = cast("dict[str, dict[str, Data]]", session.get("source-routing", {}))
        for way, nodes in list(routing.items()):
            for place, kind in enumerate(list(nodes)):
                if not light and way == "return":
                    self._withdraw((*path, way, kind), "only STAMP, of a light control-connection, asks for a way back")
                elif (*path, way) in self._incomplete:
                    self._withdraw((*path, way, kind), "without one of its segments it would be another way")
                elif place > 0:
                    self._withdraw((*path, way, kind), "one way has segments of one kind")
        there, back = (list(routing.get(way, ())) for way in ("forward", "return"))
        if there and back and there != back:
            self._withdraw((*path, "return", back[0]), "there and back go by segments of one kind")
        for way in [way for way, nodes in routing.items() if not nodes]:
            del routing[way]
        if not routing:
            session.pop("source-routing", None)


def _shorten(holder: dict[str, Data], name: str, inner: str) -> None:
    """`rtt: 5ms` for `rtt: {limit-value: 5ms}`."""
    value = holder.get(name)
    if isinstance(value, dict) and list(value) == [inner]:
        holder[name] = value[inner]


def _rpm_test(statement: Statement) -> TestKey | None:
    """The RPM test that a statement is of."""
    match _relative(statement.words):
        case (("probe" | "owner"), owner, "test", test, *_), True:
            return owner, test
    return None


def _plain_groups(statements: Iterable[Statement]) -> set[str]:
    """Groups that hold nothing about us: whether they are applied is not our concern."""
    groups: dict[str, bool] = {}
    for one in statements:
        if one.words[:1] == ("groups",) and len(one.words) > 1:
            groups[one.words[1]] = groups.get(one.words[1], False) or bool(_NAMES & set(one.words[2:]))
    return {name for name, concerns in groups.items() if not concerns}


def _check_followed(statement: Statement, words: _Words, *, ours: bool, elsewhere: bool) -> None:
    """Raises `NotUsedError` for what is not about us, not in force, or about us in another part than `twamp`."""
    if not ours:
        raise NotUsedError("not about TWAMP")
    if statement.command in WITHOUT_MEANING:
        raise NotUsedError(WITHOUT_MEANING[statement.command], in_force=False)
    if statement.command in NOT_FOLLOWED:
        raise NotUsedError("it is not followed: save the configuration itself, `| display set`")
    if statement.deleted is not None:
        raise NotUsedError(f"deleted in line {statement.deleted}", in_force=False)
    if statement.inactive:
        raise NotUsedError("inactive", in_force=False)
    if "groups" in statement.words[:1] or "apply-groups" in statement.words or "apply-groups-except" in statement.words:
        raise NotUsedError("groups are not applied: have the router do it, `| display inheritance`")
    if words[:1] == ("test-session",):
        raise NotUsedError("it is not said in which control-connection: save all of `twamp`")
    if elsewhere:
        raise NotUsedError(ELSEWHERE.get(words[0], "it is no part of `twamp` or of tracked routes"))
    if not words:
        raise NotUsedError("says nothing")


def _relative(words: _Words) -> tuple[_Words, bool]:
    """The words from `client` or `server` on, and whether it is ours at all."""
    rest = words[1:] if words[:1] == ("services",) else words
    for root in (("monitoring", "twamp"), ("rpm", "twamp"), ("twamp",)):
        if rest[: len(root)] == root:
            return rest[len(root) :], True
    for root in (("monitoring", "rpm"), ("rpm",)):
        if rest[: len(root)] == root:
            return rest[len(root) :], True
    if words is rest and words[:2] in (("client", "control-connection"), ("server", "managed"), ("server", "light")):
        return words, True
    if words[:1] == ("control-connection",):
        return ("client", *words), True
    if words[:1] in (("managed",), ("light",)):
        return ("server", *words), True
    return words, False


def _server(path: Path, words: _Words, rules: dict[str, Rule], *, evo: bool) -> Iterator[tuple[Path, Data]]:
    """`evo`: whether the names and units are those of Junos OS Evolved."""
    match words:
        case ():
            yield path, {}
        case ("client-list", "address", network):
            yield (*path, "client-list", "junos"), [network]
        case ("client-list", *rest, "routing-instance", "default" | "master") if rest:
            yield from _server(path, ("client-list", *rest), rules, evo=evo)
        case ("client-list", name, "address", network):
            yield (*path, "client-list", named(name)), [network]
        case ("client-list", *rest) if "routing-instance" in rest:
            raise NotUsedError("clients of a routing-instance of their own: give them a Server of theirs")
        case ("client-list", *rest) if "prefix-list" in rest:
            raise NotUsedError("write its networks into client-list")
        case ("stateful-sequence",) if path[-1] == "light":
            yield (*path, "stateful-sequence"), {}
        case ("stateful-sequence", "cache-size", size) if path[-1] == "light":
            yield (*path, "stateful-sequence", "cache-size"), number(size)
        case ("authentication-mode", mode, *rest) if not evo:
            yield (*path, "mode"), [_mode(mode, rest)]
        case (limit, count) if evo and limit in EVO_LIMITS and path[-1] == "managed":
            name, unit = EVO_LIMITS[limit]
            if count == "0" and not unit:
                count = MOST[name]  # Junos's word for no limit
            yield (*path, name), f"{count}{unit}" if unit and count != "0" else number(count)
        case _:
            yield by_rule(path, words, rules)


def _mode(mode: str, rest: list[str]) -> str:
    """A security mode; encrypted control with plain test packets is RFC 5618's mixed one."""
    match mode, rest:
        case "none", []:
            return "unauthenticated"
        case (("authenticated" | "encrypted"), []):
            return mode
        case ("encrypted", ["control-only"]) | ("control-only-encrypted", []):
            return "mixed"
        case "authenticated", ["control-only"]:
            raise NotUsedError("no RFC has such a mode: encrypted control-only is the mixed one of RFC 5618")
    raise NotUsedError("no such mode")
