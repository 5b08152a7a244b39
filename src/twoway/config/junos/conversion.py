"""From Junos's statements to ours: each one is used, or listed with the reason why it is not. Pure.

Theory of operation. Tables say which of our statements a Junos statement becomes; the model says whether its value will
do. Nothing is lost in silence: every statement that came in ends in exactly one of `Imported.used` and
`Imported.unused`. Statements are taken one by one, as they stand; what one means only together with others, such as a
port that belongs to the session or to the connection, is mended at the end.

Both hierarchies are known: `services monitoring twamp` (Junos OS Evolved) and `services rpm twamp` (Junos OS).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, cast

from twoway.config.junos.commands import FOLLOWED, NOT_FOLLOWED, WITHOUT_MEANING
from twoway.config.junos.reading import read_statements
from twoway.config.junos.tables import (
    CONNECTION,
    ELSEWHERE,
    EVO_LIMITS,
    LIGHT,
    MANAGED,
    MOST,
    NO_EQUIVALENT,
    SERVER,
    SESSION,
    THRESHOLDS,
    TIME_THRESHOLDS,
    Rule,
)
from twoway.config.model import Configuration
from twoway.config.model.description import Shape, statements_of
from twoway.config.model.values import NAME
from twoway.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Container, Iterable, Iterator

    from twoway.config.document import Data, Path
    from twoway.config.junos.statement import Statement
    from twoway.config.model.statements import Statements
    from twoway.config.model.values import Kind

_Words = tuple[str, ...]
_NAMES = {
    *("twamp", "twamp-client", "twamp-server", "rpm", "rpm-probe"),
    *("rpm-tracking", "sla-tracking", "ip-monitoring"),
}
"""Words by which other parts of a configuration speak of measuring."""


@dataclass(frozen=True, slots=True)
class Unused:
    """A statement without equivalent."""

    statement: Statement
    reason: str
    ours: bool
    """Whether it is about TWAMP or RPM: all else of a router's configuration is listed in one line."""
    in_force: bool = True
    """False for what the router does not do either: inactive, deleted, set again, or a command and no statement."""


@dataclass(slots=True)
class Imported:
    """What became of a Junos configuration."""

    data: dict[str, Data] = field(default_factory=dict)
    """In our words."""
    used: list[Statement] = field(default_factory=list)
    unused: list[Unused] = field(default_factory=list)


class _NotUsedError(Exception):
    """A statement has no equivalent; the message says why."""

    def __init__(self, why: str, *, in_force: bool = True) -> None:
        super().__init__(why)
        self.in_force = in_force


def convert(text: str, source: str) -> Imported:
    """Turn a Junos configuration into ours. Raises `ConfigurationError` for what is no configuration."""
    statements = read_statements(text, source)
    conversion = _Conversion(_plain_groups(statements))
    for statement in statements:
        conversion.take(statement)
    conversion.mend()
    conversion.imported.unused.sort(key=lambda one: one.statement.line)
    return conversion.imported


class _Conversion:
    def __init__(self, plain_groups: Container[str]) -> None:
        self.imported = Imported()
        self._plain_groups = plain_groups
        self._from: dict[Path, list[Statement]] = {}
        """Our statement -> those that it came from."""
        self._incomplete: set[Path] = set()
        """Ways of source-routing with a segment that cannot be used."""

    def take(self, statement: Statement) -> None:
        """Use a statement, or list it."""
        words, ours = _relative(statement.words)
        try:
            if statement.command in FOLLOWED and statement.command != "set":
                self.imported.used.append(statement)
                return
            elsewhere, ours = not ours, ours or self._concerns(statement.words)
            _check_followed(statement, words, ours=ours, elsewhere=elsewhere)
            # All of it is looked at before anything is taken: a statement is used whole or not at all.
            for path, value in [(path, _accepted(path, value)) for path, value in self._meaning(words)]:
                self._put(path, value, statement)
        except _NotUsedError as why:
            self.imported.unused.append(Unused(statement, str(why), ours, why.in_force))
            if words[5:6] == ("source-routing",) and why.in_force:
                self._incomplete.add(words[:7])
        else:
            self.imported.used.append(statement)

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
        raise _NotUsedError(NO_EQUIVALENT.get(words[0] if words else "", "no such statement is known"))

    def _connection(self, name: str, words: _Words) -> Iterator[tuple[Path, Data]]:
        path: Path = ("client", "control-connection", _name(name))
        match words:
            case ():
                yield path, {}
            case ("test-session", session, *rest):
                yield from _session((*path, "test-session", _name(session)), tuple(rest))
            case ("traps", trap):
                yield (*path, "traps"), [trap]
            case _:
                yield _by_rule(path, words, CONNECTION)

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
        if statement in self.imported.used:
            self.imported.used.remove(statement)
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

    def mend(self) -> None:
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
                count = session.get("probe-count", 1)
                for place, holder in ((inside, session), (path, connection)):
                    size = holder.get("history-size")
                    if isinstance(size, int) and isinstance(count, int) and 0 < size < count:
                        self._withdraw((*place, "history-size"), f"less than the {count} probes of a test")
                _shorten(session, "target", "address")
                thresholds = cast("dict[str, Data]", session.get("thresholds", {}))
                for threshold in list(thresholds):
                    _shorten(thresholds, threshold, "limit-value")

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


def _plain_groups(statements: Iterable[Statement]) -> set[str]:
    """Groups that hold nothing about us: whether they are applied is not our concern."""
    groups: dict[str, bool] = {}
    for one in statements:
        if one.words[:1] == ("groups",) and len(one.words) > 1:
            groups[one.words[1]] = groups.get(one.words[1], False) or bool(_NAMES & set(one.words[2:]))
    return {name for name, concerns in groups.items() if not concerns}


def _check_followed(statement: Statement, words: _Words, *, ours: bool, elsewhere: bool) -> None:
    """Raises `_NotUsedError` for what is not about us, not in force, or about us in another part than `twamp`."""
    if not ours:
        raise _NotUsedError("not about TWAMP")
    if statement.command in WITHOUT_MEANING:
        raise _NotUsedError(WITHOUT_MEANING[statement.command], in_force=False)
    if statement.command in NOT_FOLLOWED:
        raise _NotUsedError("it is not followed: save the configuration itself, `| display set`")
    if statement.deleted is not None:
        raise _NotUsedError(f"deleted in line {statement.deleted}", in_force=False)
    if statement.inactive:
        raise _NotUsedError("inactive", in_force=False)
    if "groups" in statement.words[:1] or "apply-groups" in statement.words or "apply-groups-except" in statement.words:
        raise _NotUsedError("groups are not applied: have the router do it, `| display inheritance`")
    if words[:1] == ("test-session",):
        raise _NotUsedError("it is not said in which control-connection: save all of `twamp`")
    if elsewhere:
        raise _NotUsedError(ELSEWHERE.get(words[0], "it is no part of `twamp`"))
    if not words:
        raise _NotUsedError("says nothing")


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


def _name(text: str) -> str:
    try:
        return NAME.read(text)
    except ConfigError as error:
        raise _NotUsedError(error.reason) from None


def _session(path: Path, words: _Words) -> Iterator[tuple[Path, Data]]:
    match words:
        case ():
            yield path, {}
        case ("traps", trap):
            yield (*path, "traps"), [trap]
        case ("thresholds", name, "average") if name in TIME_THRESHOLDS:
            yield (*path, "thresholds", name, "average"), True
        case ("thresholds", name, "limit-value", limit) | ("thresholds", name, limit) if name in TIME_THRESHOLDS:
            yield (*path, "thresholds", name, "limit-value"), _number(limit)
        case ("thresholds", *_):
            yield _by_rule((*path, "thresholds"), words[1:], THRESHOLDS)
        case ("target" | "target-address", "address", address) | ("target" | "target-address", address):
            yield (*path, "target", "address"), address
        case (("target" | "target-address"), "local-link", interface) | ("local-link", interface):
            yield (*path, "target", "local-link"), interface
        case ("target" | "target-address", address, "local-link", interface):
            yield (*path, "target", "address"), address
            yield (*path, "target", "local-link"), interface
        case ("source-routing", ("forward" | "return") as way, *rest):
            yield from _nodes((*path, "source-routing", way), tuple(rest))
        case ("source-routing",):
            yield (*path, "source-routing"), {}
        case ("probe-interval", "interval", interval):
            yield (*path, "probe-interval"), _number(interval)
        case _:
            yield _by_rule(path, words, SESSION)


def _nodes(path: Path, words: _Words) -> Iterator[tuple[Path, Data]]:
    """One way of source-routing: its segments, of which Junos has one in a statement."""
    match words:
        case ():
            yield path, {}
        case (("srmpls-nodes" | "srv6-nodes") as kind, node):
            yield (*path, kind), [_number(node)]
        case _:
            raise _NotUsedError("no such statement is known")


def _server(path: Path, words: _Words, rules: dict[str, Rule], *, evo: bool) -> Iterator[tuple[Path, Data]]:
    """`evo`: whether the names and units are those of Junos OS Evolved."""
    match words:
        case ():
            yield path, {}
        case ("client-list", "address", network):
            yield (*path, "client-list", "junos"), [network]
        case ("client-list", name, "address", network):
            yield (*path, "client-list", _name(name)), [network]
        case ("client-list", *_):
            raise _NotUsedError("clients of a routing-instance of their own: give them a Server of theirs")
        case ("stateful-sequence",) if path[-1] == "light":
            yield (*path, "stateful-sequence"), {}
        case ("stateful-sequence", "cache-size", size) if path[-1] == "light":
            yield (*path, "stateful-sequence", "cache-size"), _number(size)
        case ("authentication-mode", mode, *rest) if not evo:
            yield (*path, "mode"), [_mode(mode, rest)]
        case (limit, number) if evo and limit in EVO_LIMITS and path[-1] == "managed":
            name, unit = EVO_LIMITS[limit]
            if number == "0" and not unit:
                number = MOST[name]  # Junos's word for no limit
            yield (*path, name), f"{number}{unit}" if unit and number != "0" else _number(number)
        case _:
            yield _by_rule(path, words, rules)


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
            raise _NotUsedError("no RFC has such a mode: encrypted control-only is the mixed one of RFC 5618")
    raise _NotUsedError("no such mode")


def _by_rule(path: Path, words: _Words, rules: dict[str, Rule]) -> tuple[Path, Data]:
    if not words:
        return path, {}
    rule = rules.get(words[0])
    if rule is None:
        raise _NotUsedError(NO_EQUIVALENT.get(words[0], "no such statement is known"))
    if rule.flag:
        if len(words) != 1:
            raise _NotUsedError(f"{words[0]} takes no value")
        return (*path, rule.name), True
    if len(words) != 2:
        raise _NotUsedError(f"{words[0]} takes one value")
    value: Data = _number(words[1])
    if rule.unit and value != 0:
        value = f"{words[1]}{rule.unit}"
    return (*path, rule.name), [value] if rule.several else value


def _number(word: str) -> Data:
    return (
        int(word) if word.isascii() and word.isdigit() and len(word) < 16 and (word == "0" or word[0] != "0") else word
    )


def _accepted(path: Path, value: Data) -> Data:
    """A value as the model takes it and we write it. Raises `_NotUsedError`."""
    model: type[Statements] = Configuration
    named = False
    kind: Kind[Any] | None = None
    for part in path:
        if named:
            named = False
            continue
        statement = next((one for one in statements_of(model) if one.name == part), None)
        if statement is None:
            raise _NotUsedError(NO_EQUIVALENT.get(str(part), "no such statement is known"))
        kind = statement.kind
        if statement.model is not None:
            model, named = statement.model, statement.shape is Shape.NAMED
    if path[-2:-1] == ("client-list",):
        kind = next(one.kind for one in statements_of(model) if one.name == "address")
    if isinstance(value, dict) or kind is None:
        return value
    try:
        return cast("Data", kind.write(kind.read(value)))
    except ConfigError as error:
        raise _NotUsedError(error.reason) from None
