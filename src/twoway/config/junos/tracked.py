"""Routes that follow a test: `sla-tracking`, `rpm-tracking` and SRX's `ip-monitoring`, in our words. Pure.

Theory of operation. What such a statement means depends on others: which test a next hop is bound to stands in two
statements, whether that test exists in another part of the configuration, and a policy of `ip-monitoring` binds all its
routes to all its probes. So statements are kept with what they are about until everything has been read. `finish` then
makes routes of them, and lists those for which there turned out to be no test.

An RPM probe is no test-session of ours. Those that routes are bound to are measured by STAMP instead (`rpm`), which
somebody has to answer: so their routes come with `dry-run`, and move nothing until the word is taken out.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from twoway.config.junos.accepting import UNKNOWN, accepted, named, number
from twoway.config.junos.outcome import NotUsedError
from twoway.config.model.route_values import canonical_prefix, next_hop_of
from twoway.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping
    from typing import Protocol

    from twoway.config.document import Data, Path
    from twoway.config.junos.statement import Statement
    from twoway.config.route_plan import TestKey

    class Drop(Protocol):
        """Lists a statement that was taken for used."""

        def __call__(self, statement: Statement, reason: str, *, again: bool = False) -> None: ...


_KINDS = ("sla-tracking", "rpm-tracking", "ip-monitoring")
_TWAMP = {"control-connection": "owner", "connection": "owner", "test-session": "test", "test": "test"}
_RPM = {"owner": "owner", "test": "test"}
_PROBE = {"rpm-probe": "owner", "rpm-test": "test"}
_NO_EQUIVALENT = {
    "description": "a comment",
    "no-preempt": "a backup goes when its tests are good again: `twoway request routes hold` keeps it",
    "interface": "interfaces are not brought up or down: a hook may do it",
    "direct-next-hop": "the kernel looks for a next hop on its links in any case: see onlink",
    "traceoptions": "events are in `twoway show events`, and with notifications: syslog in syslog or the journal",
}
_MOST_PREFERENCE = 255
"""Of our next hops."""


def tracked(words: tuple[str, ...]) -> tuple[str, tuple[str, ...]] | None:
    """Routing instance, empty for the main one, and the words from the kind of tracking on; None for all else."""
    instance = ""
    if words[:1] == ("routing-instances",) and words[2:3] == ("routing-options",):
        instance, words = words[1], words[2:]
    rest = words[1:] if words[:1] in (("routing-options",), ("services",)) else words
    return (instance, rest) if rest[:1] and rest[0] in _KINDS else None


@dataclass(slots=True)
class _Binding:
    """What test a route or a next hop is bound to, as far as it has been said."""

    kind: str = ""
    """`rpm` or `twamp`."""
    parts: dict[str, str] = field(default_factory=dict)
    statements: list[Statement] = field(default_factory=list)

    @property
    def key(self) -> TestKey:
        """As a name of an RPM or a TWAMP test."""
        return self.parts.get("owner", ""), self.parts.get("test", "")


@dataclass(slots=True)
class _Hop:
    qualified: bool = False
    values: dict[str, tuple[Data, Statement]] = field(default_factory=dict)
    binding: _Binding = field(default_factory=_Binding)
    statements: list[Statement] = field(default_factory=list)
    """That say no more than that it is there."""

    def all_statements(self) -> list[Statement]:
        """Of it and what is in it."""
        return [*self.statements, *self.binding.statements, *(one for _, one in self.values.values())]


@dataclass(slots=True)
class _Route:
    instance: str
    prefix: str
    values: dict[str, tuple[Data, Statement]] = field(default_factory=dict)
    hops: dict[str, _Hop] = field(default_factory=dict)
    binding: _Binding = field(default_factory=_Binding)
    statements: list[Statement] = field(default_factory=list)

    def all_statements(self) -> list[Statement]:
        """Of the route and what is in it."""
        found = [*self.statements, *self.binding.statements, *(one for _, one in self.values.values())]
        return found + [one for hop in self.hops.values() for one in hop.all_statements()]


@dataclass(slots=True)
class _Policy:
    """Of ip-monitoring."""

    owners: dict[str, None] = field(default_factory=dict)
    withdraw: bool = False
    routes: dict[tuple[str, str], _Route] = field(default_factory=dict)
    statements: list[Statement] = field(default_factory=list)
    """All but those of its routes."""


class Tracked:
    """All routes of a configuration, on their way."""

    def __init__(self, drop: Drop) -> None:
        self._drop = drop
        self._routes: dict[tuple[str, str], _Route] = {}
        self._policies: dict[str, _Policy] = {}

    # What a statement says.

    def take(self, instance: str, words: tuple[str, ...], statement: Statement) -> None:
        """Keep what it says. Raises `NotUsedError`."""
        match words:
            case (("sla-tracking" | "rpm-tracking"), "route", prefix, *rest):
                self._route(self._routes, instance, prefix, tuple(rest), statement)
            case ("ip-monitoring", "policy", name, *rest) if not instance:
                self._policy(name, tuple(rest), statement)
            case _:
                raise NotUsedError(_NO_EQUIVALENT.get(words[1] if len(words) > 1 else "", UNKNOWN))

    def _policy(self, name: str, words: tuple[str, ...], statement: Statement) -> None:
        policy = self._policies.get(name, _Policy())
        match words:
            case ():
                policy.statements.append(statement)
            case ("match", "rpm-probe", owner):
                policy.owners[owner] = None
                policy.statements.append(statement)
            case ("then", "preferred-route", "withdraw"):
                policy.withdraw = True
                policy.statements.append(statement)
            case ("then", "preferred-route", "routing-instances", instance, "route", prefix, *rest):
                self._route(policy.routes, instance, prefix, _of_policy(tuple(rest)), statement)
            case ("then", "preferred-route", "route", prefix, *rest):
                self._route(policy.routes, "", prefix, _of_policy(tuple(rest)), statement)
            case ("then", what, *_):
                raise NotUsedError(_NO_EQUIVALENT.get(what, UNKNOWN))
            case _:
                raise NotUsedError(_NO_EQUIVALENT.get(words[0], UNKNOWN))
        self._policies[name] = policy

    def _route(
        self,
        routes: dict[tuple[str, str], _Route],
        instance: str,
        written: str,
        words: tuple[str, ...],
        statement: Statement,
    ) -> None:
        try:
            prefix = canonical_prefix(written)
        except ConfigError as error:
            raise NotUsedError(error.reason) from None
        if instance:
            accepted(("routes", "routing-instance", named(instance), "vrf"), instance)
        route = routes.get((instance, prefix), _Route(instance, prefix))
        path: Path = ("routes", "route", prefix)
        match words:
            case ():
                route.statements.append(statement)
            case (("metric" | "preference" | "tag") as name, value):
                self._value(route.values, name, accepted((*path, name), number(value)), statement)
            case (("next-hop" | "qualified-next-hop") as kind, hop, *rest):
                self._next_hop(route, hop, tuple(rest), statement, qualified=kind == "qualified-next-hop")
            case _ if (said := _binding(words)) is not None:
                self._bind(route.binding, *said, statement)
            case _:
                raise NotUsedError(_NO_EQUIVALENT.get(words[0], UNKNOWN))
        routes[instance, prefix] = route

    def _next_hop(
        self, route: _Route, name: str, words: tuple[str, ...], statement: Statement, *, qualified: bool
    ) -> None:
        hop = route.hops.get(name, _Hop())
        hop.qualified = hop.qualified or qualified
        match words:
            case ():
                hop.statements.append(statement)
            case ("preference", value):
                path: Path = ("routes", "route", route.prefix, "next-hop", name, "preference")
                self._value(hop.values, "preference", accepted(path, number(value)), statement)
            case ("interface", device):
                self._value(hop.values, "interface", device, statement)
            case (("metric" | "tag") as what, _):
                raise NotUsedError(f"a {what} is the route's: next hops are told apart by preference")
            case _ if (said := _binding(words)) is not None:
                self._bind(hop.binding, *said, statement)
            case _:
                raise NotUsedError(_NO_EQUIVALENT.get(words[0], UNKNOWN))
        route.hops[name] = hop

    def _value(self, values: dict[str, tuple[Data, Statement]], name: str, value: Data, statement: Statement) -> None:
        if name in values:
            self._drop(values[name][1], f"set again in line {statement.line}", again=True)
        values[name] = value, statement

    def _bind(self, binding: _Binding, kind: str, parts: Mapping[str, str], statement: Statement) -> None:
        if binding.kind not in ("", kind) or any(binding.parts.get(name, part) != part for name, part in parts.items()):
            for earlier in binding.statements:
                self._drop(earlier, f"bound to another test in line {statement.line}", again=True)
            binding.parts, binding.statements = {}, []
        binding.kind = kind
        binding.parts.update(parts)
        binding.statements.append(statement)

    # Which tests are wanted.

    def rpm_tests(self, known: Collection[TestKey]) -> set[TestKey]:
        """Those of the known RPM tests that decide about a route."""
        wanted = {one.key for one in self._bindings() if one.kind == "rpm"}
        owners = {owner for policy in self._policies.values() for owner in policy.owners}
        return {test for test in known if test in wanted or test[0] in owners}

    def _bindings(self) -> Iterator[_Binding]:
        for route in self._routes.values():
            yield route.binding
            yield from (hop.binding for hop in route.hops.values())

    # What it comes to.

    def finish(self, sessions: Collection[TestKey], rpm: Mapping[TestKey, TestKey | None]) -> dict[str, Data]:
        """Our `routes`: `sessions` are the test-sessions that there are, `rpm` says which of them measures an RPM test,
        if one could."""
        tests = _Tests(sessions, rpm)
        made: dict[tuple[str, str], _Made] = {}
        for key, route in self._routes.items():
            try:
                made[key] = self._made(route, tests)
            except NotUsedError as why:
                self._drop_all(route.all_statements(), str(why))
        for policy in self._policies.values():
            self._add(made, policy, tests)
        return _arranged(made)

    def _drop_all(self, statements: list[Statement], reason: str) -> None:
        for statement in statements:
            self._drop(statement, reason)

    def _made(self, route: _Route, tests: _Tests) -> _Made:
        if not route.hops:
            raise NotUsedError("the route has no next hop")
        made = _Made()
        if route.binding.kind:
            test, made.by_stamp = tests.bound(route.binding)
            made.values["test"] = test
        ordered = any("preference" in hop.values for hop in route.hops.values())
        for written, hop in route.hops.items():
            try:
                name, inside = _next_hop(route, written, hop, ordered=ordered)
                if hop.binding.kind:
                    test, by_stamp = tests.bound(hop.binding)
                    inside = {"test": test, **inside}
                    made.by_stamp = made.by_stamp or by_stamp
            except NotUsedError as why:
                self._drop_all(hop.all_statements(), str(why))
                hop.statements, hop.values, hop.binding = [], {}, _Binding()
            else:
                made.hops[name] = inside
        if not made.hops:
            raise NotUsedError("none of the route's next hops can be used")
        if "test" not in made.values and not any("test" in inside for inside in made.hops.values()):
            raise NotUsedError("no test decides about the route: it is an ordinary static one")
        made.values.update({name: value for name, (value, _) in route.values.items()})
        return made

    def _add(self, made: dict[tuple[str, str], _Made], policy: _Policy, tests: _Tests) -> None:
        """The routes of a policy; a route to the same prefix that there is gets their next hops, too."""
        try:
            inside = tests.judging(policy)
        except NotUsedError as why:
            everything = [one for route in policy.routes.values() for one in route.all_statements()]
            self._drop_all([*policy.statements, *everything], str(why))
            return
        for key, route in policy.routes.items():
            ours = made.get(key, _Made())
            try:
                ours.hops.update(_of_policy_route(route, inside, ours.hops))
            except NotUsedError as why:
                self._drop_all(route.all_statements(), str(why))
            else:
                ours.by_stamp = True
                made[key] = ours


@dataclass(slots=True)
class _Made:
    """A route in our words."""

    hops: dict[str, dict[str, Data]] = field(default_factory=dict)
    values: dict[str, Data] = field(default_factory=dict)
    by_stamp: bool = False
    """Whether a test of it was an RPM test."""


def _next_hop(route: _Route, written: str, hop: _Hop, *, ordered: bool) -> tuple[str, dict[str, Data]]:
    """Our name of a next hop and what is in it but its tests."""
    device = hop.values["interface"][0] if "interface" in hop.values else ""
    name = f"{written}%{device}" if device else written
    _check(name)
    if "preference" in hop.values:
        return name, {"preference": hop.values["preference"][0]}
    if not ordered:
        return name, {}
    # Beside qualified next hops it has the preference of the route.
    preference = int(str(route.values["preference"][0])) if "preference" in route.values else 1
    return name, {"preference": min(max(preference, 1), _MOST_PREFERENCE)}


def _of_policy_route(route: _Route, inside: Mapping[str, Data], there: Collection[str]) -> dict[str, dict[str, Data]]:
    """The next hops of a policy's route, beside those that are there."""
    if not route.hops:
        raise NotUsedError("the route has no next hop")
    hops: dict[str, dict[str, Data]] = {}
    for hop in route.hops:
        _check(hop)
        if hop in there:
            raise NotUsedError(f"{hop} is a next hop of this route already")
        hops[hop] = dict(inside)
        if "preference" in route.values:
            hops[hop]["preference"] = route.values["preference"][0]
    return hops


class _Tests:
    """Which tests there are, by Junos's names."""

    def __init__(self, sessions: Collection[TestKey], rpm: Mapping[TestKey, TestKey | None]) -> None:
        self._sessions = sessions
        self._rpm = rpm

    def bound(self, binding: _Binding) -> tuple[str, bool]:
        """Our name of a test, and whether STAMP takes the place of RPM."""
        key = binding.key
        if not all(key):
            owner = "owner" if binding.kind == "rpm" else "control-connection"
            raise NotUsedError(f"it is not said of which {owner}" if not key[0] else "it is not said which test")
        if binding.kind == "twamp":
            if key not in self._sessions:
                raise NotUsedError(f"there is no test-session {'/'.join(key)} in this configuration")
            return "/".join(key), False
        if key not in self._rpm:
            raise NotUsedError(f"there is no RPM test {'/'.join(key)} in this configuration")
        return self._ours(key), True

    def _ours(self, rpm: TestKey) -> str:
        ours = self._rpm[rpm]
        if ours is None:
            raise NotUsedError(f"the RPM test {'/'.join(rpm)} cannot be measured by STAMP")
        return "/".join(ours)

    def judging(self, policy: _Policy) -> dict[str, Data]:
        """How the tests of a policy decide about each of its next hops.

        One failed probe is a failure, and a probe fails when all of its tests do: so of several probes with one test
        each all must be good, and of one probe with several tests one must be. Of several with several there is no
        number.
        """
        if not policy.owners:
            raise NotUsedError("the policy matches no probe")
        if not policy.routes:
            raise NotUsedError("the policy has no route")
        of_probes = [[test for test in self._rpm if test[0] == owner] for owner in policy.owners]
        for owner, found in zip(policy.owners, of_probes, strict=True):
            if not found:
                raise NotUsedError(f"there is no RPM probe {owner} in this configuration")
        tests: list[Data] = [self._ours(test) for found in of_probes for test in found]
        several = any(len(found) > 1 for found in of_probes)
        if several and len(of_probes) > 1:
            raise NotUsedError("several probes of several tests: `require` knows all, any or a number of tests")
        track: dict[str, Data] = {"require": "any"} if several else {}
        if not policy.withdraw:
            track["use-when"] = "fail"
        return {"test": tests if len(tests) > 1 else tests[0], **({"track": track} if track else {})}


def _of_policy(words: tuple[str, ...]) -> tuple[str, ...]:
    """What is in a route of ip-monitoring, as in the others. Its metric orders what policies say of one prefix."""
    match words:
        case ("discard",):
            return ("next-hop", "discard")
        case ("preferred-metric", value):
            accepted(("routes", "route", "::/0", "next-hop", "discard", "preference"), number(value))
            return ("preference", value)
        case () | ("next-hop", _):
            return words
    raise NotUsedError(_NO_EQUIVALENT.get(words[0], UNKNOWN))


def _binding(words: tuple[str, ...]) -> tuple[str, dict[str, str]] | None:
    """Kind of test, and as much of its name as is said; None if it is about something else."""
    match words:
        case ("twamp", *rest):
            kind, names = "twamp", _TWAMP
        case ("rpm", *rest):
            kind, names = "rpm", _RPM
        case (("rpm-probe" | "rpm-test"), *_):
            kind, names, rest = "rpm", _PROBE, list(words)
        case _:
            return None
    said = {names.get(name, ""): value for name, value in zip(rest[::2], rest[1::2], strict=False)}
    if len(rest) % 2 or not said or "" in said:
        raise NotUsedError(UNKNOWN)
    return kind, said


def _check(hop: str) -> None:
    try:
        next_hop_of(hop)
    except ConfigError as error:
        raise NotUsedError(error.reason) from None


def _arranged(made: Mapping[tuple[str, str], _Made]) -> dict[str, Data]:
    """Routes as they are written, by instance."""
    main: dict[str, Data] = {}
    instances: dict[str, dict[str, Data]] = {}
    for (instance, prefix), one in made.items():
        routes = instances.setdefault(instance, {}) if instance else main
        routes[prefix] = {"next-hop": dict(one.hops), **one.values, **({"dry-run": True} if one.by_stamp else {})}
    routes = {"route": main} if main else {}
    if instances:
        routes["routing-instance"] = {name: {"vrf": name, "route": found} for name, found in instances.items()}
    return routes
