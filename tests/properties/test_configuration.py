"""Whatever a file holds, reading it ends with data or with a clear refusal; and nothing of a Junos one is lost."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING

from hypothesis import given
from hypothesis import strategies as st

from twoway.config.check import check_text
from twoway.config.document import ConfigurationError, read_document
from twoway.config.junos.conversion import convert
from twoway.config.junos.reading import read_statements
from twoway.config.toml_lines import lines_of
from twoway.config.yaml_text import block

if TYPE_CHECKING:
    from twoway.config.document import Data

PIECES = st.sampled_from(
    [
        *(
            "client",
            "server",
            "control-connection",
            "test-session",
            "target",
            "traps",
            "a",
            "0",
            "1s",
            "on",
            "-1",
            "1e9",
        ),
        *(
            ": ",
            ":\n",
            ": {",
            "}",
            "[",
            "]",
            ", ",
            "\n",
            "\n  ",
            "\n    ",
            "- ",
            "&x ",
            "*x",
            "<<: ",
            "!t ",
            "'",
            '"',
            "# ",
        ),
        *(
            "{",
            ";",
            "services",
            "monitoring",
            "rpm",
            "twamp",
            "set ",
            "inactive: ",
            "managed",
            "light",
            " = ",
            "[[",
            "]]",
            '"""',
        ),
    ]
)
SOUP = st.lists(PIECES | st.text(max_size=5), max_size=40).map("".join)


@given(SOUP, st.sampled_from(["f.yaml", "f.toml"]))
def test_any_text_is_checked_to_the_end(text: str, source: str) -> None:
    found = check_text(text, source, Path("/"))
    assert (found.plan is None) == bool(found.errors)
    for problem in (*found.errors, *found.warnings):
        assert str(problem).startswith(source)
        assert str(problem).isprintable()
        assert problem.line is None or 1 <= problem.line <= text.count("\n") + 1 + text.count("\r")


@given(st.binary(max_size=60))
def test_any_octets_are_checked_to_the_end(octets: bytes) -> None:
    check_text(octets, "f.yaml", Path("/"))


NAMES = st.text(max_size=6)
SCALARS = st.booleans() | st.integers(-(2**40), 2**40) | NAMES
VALUES = st.recursive(SCALARS, lambda inner: st.dictionaries(NAMES, inner, max_size=3), max_leaves=12)


@given(st.dictionaries(NAMES, VALUES, max_size=4))
def test_what_we_write_as_yaml_is_read_back(data: dict[str, Data]) -> None:
    text = "\n".join(block(data))
    assert _switched(read_document(text, "f.yaml").data) == _switched(data)


def _switched(value: object) -> object:
    """on and off for true and false, as they are written."""
    if isinstance(value, dict):
        return {name: _switched(inner) for name, inner in value.items()}
    return {True: "on", False: "off"}[value] if isinstance(value, bool) else value


TOML_KEYS = st.text("abcxyz-_019", min_size=1, max_size=4) | st.sampled_from(['"a.b"', "'c d'", '"\\u00e9"'])
TOML_VALUES = st.recursive(
    st.sampled_from(
        [
            "1",
            "-2.5",
            "true",
            '"s"',
            "'[#'",
            '"\\"]"',
            '"""x\n"]"""',
            "'''y\n\n'''",
            "2020-01-01",
            "0x1f",
            '""',
            "''",
            '""""a"""""',
        ]
    ),
    lambda inner: (
        st.lists(inner, max_size=3).map(lambda items: "[" + ",\n # ]\n".join(items) + "\n]")
        | st.lists(inner.filter(lambda text: "\n" not in text), max_size=2).map(
            lambda items: "{" + ", ".join(f"k{n} = {item}" for n, item in enumerate(items)) + "}"
        )
    ),
    max_leaves=6,
)
TOML_LINES = st.one_of(
    st.builds("{} = {} # c".format, st.lists(TOML_KEYS, min_size=1, max_size=3).map(" . ".join), TOML_VALUES),
    st.lists(TOML_KEYS, min_size=1, max_size=3).map(lambda keys: f"[{'.'.join(keys)}]"),
    st.lists(TOML_KEYS, min_size=1, max_size=2).map(lambda keys: f"[[ {' . '.join(keys)} ]] # d"),
    st.sampled_from(["", "# e = 1", "\t"]),
)


@given(st.lists(TOML_LINES, max_size=8).map("\n".join))
def test_every_value_of_a_toml_text_has_its_line(text: str) -> None:
    try:
        data = tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        return
    lines = lines_of(text)
    assert set(lines) == set(_paths(data, ()))
    for path, line in lines.items():
        assert 1 <= line <= text.count("\n") + 1
        name = next(part for part in reversed(path) if isinstance(part, str))
        if re.fullmatch(r"[abcxyz_019-]+", name) and isinstance(path[-1], str):
            assert name in text.split("\n")[line - 1]


def _paths(value: object, path: tuple[str | int, ...]) -> list[tuple[str | int, ...]]:
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [found for name, one in inner for found in ((*path, name), *_paths(one, (*path, name)))]


@given(SOUP)
def test_any_text_is_a_junos_configuration_or_is_refused(text: str) -> None:
    try:
        statements = read_statements(text, "router.conf")
    except ConfigurationError as error:
        said = str(error)
    else:
        said = ""
    if said:
        assert said.isprintable()
        return
    imported = convert(text, "router.conf")
    fates = [*imported.used, *(one.statement for one in imported.unused)]
    assert sorted(fates, key=repr) == sorted(statements, key=repr)
    assert all(one.reason for one in imported.unused)


WORDS = st.sampled_from(
    [
        *(
            "target",
            "target-address",
            "address",
            "probe-count",
            "probe-interval",
            "interval",
            "ttl",
            "thresholds",
            "rtt",
        ),
        *("limit-value", "average", "successive-loss", "traps", "rtt-exceeded", "test-iteration-done", "history-size"),
        *(
            "test-interval",
            "control-type",
            "light",
            "managed",
            "10",
            "0",
            "192.0.2.1",
            "ge-0/0/0",
            "test-session",
            "t1",
        ),
        *("port", "862", "client-list", "192.0.2.0/24", "destination-port", "source-routing", "traps", "x"),
    ]
)
HEADS = st.sampled_from(
    [
        "services monitoring twamp client control-connection c1",
        "services monitoring twamp client control-connection c1 test-session t1",
        "services rpm twamp client control-connection c2 test-session t1",
        "services monitoring twamp server managed",
        "services rpm twamp server",
        "services monitoring twamp server light",
        "system",
    ]
)
SET_LINES = st.lists(
    st.builds(lambda head, words: " ".join(["set", head, *words]), HEADS, st.lists(WORDS, max_size=4)), max_size=12
)


@given(SET_LINES)
def test_no_statement_of_a_junos_configuration_is_lost(lines: list[str]) -> None:
    imported = convert("\n".join(lines), "router.conf")
    fates = [*imported.used, *(one.statement for one in imported.unused)]
    assert sorted(one.line for one in fates) == list(range(1, len(lines) + 1))
    # What is taken over may lack something, but each value of it is one that our own loader takes.
    ours = "\n".join(block(imported.data))
    for problem in check_text(ours, "f.yaml", Path("/")).errors:
        assert re.search(
            "there is none: a control-connection|link-local and needs its interface|names nobody|"
            "needs the address|has no address|no use for|not of the same|secrets|light",
            problem.message,
        ), problem
