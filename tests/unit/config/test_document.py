"""Texts into data: YAML and TOML, the line of each value, and bounds on everything."""

from __future__ import annotations

import pytest

from twoway.config import document
from twoway.config.document import ConfigurationError, Document, path_text, read_document
from twoway.config.toml_lines import lines_of


def yaml(text: str) -> Document:
    return read_document(text, "f.yaml")


def refusal(text: str | bytes, source: str = "f.yaml") -> str:
    with pytest.raises(ConfigurationError) as caught:
        read_document(text, source)
    return str(caught.value)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1", 1),
        ("-12", -12),
        ("0x1f", 31),
        ("0o17", 15),
        ("1_000", 1000),
        ("1.5", 1.5),
        (".5", 0.5),
        ("1e3", 1000.0),
        ("true", True),
        ("False", False),
        ("~", None),
        ("", None),
        ("null", None),
        ("000010", "000010"),
        ("0660", "0660"),
        ("'1'", "1"),
        ('"true"', "true"),
        ("!!str 1", "1"),
        ("on", "on"),
        ("no", "no"),
        ("20ms", "20ms"),
        ("1:30", "1:30"),
        ("2001:db8::1", "2001:db8::1"),
        ("192.0.2.1", "192.0.2.1"),
        ("2024-01-01", "2024-01-01"),
        (".inf", ".inf"),
        ("9" * 40, "9" * 40),
        ("[1, a]", [1, "a"]),
        ("{b: 2}", {"b": 2}),
        ("|\n  two\n  lines\n", "two\nlines\n"),
    ],
)
def test_scalars_are_those_of_yaml_1_2(text: str, value: object) -> None:
    read = yaml(f"a: {text}").data["a"]
    assert read == value
    assert type(read) is type(value)


def test_a_directive_for_yaml_1_1_changes_no_value() -> None:
    assert yaml("%YAML 1.1\n---\na: on\nb: 1:30\nc: 010\n").data == {"a": "on", "b": "1:30", "c": "010"}


def test_names_are_always_text() -> None:
    assert yaml("1: a\ntrue: b\n~: c\n").data == {"1": "a", "true": "b", "~": "c"}


def test_each_statement_and_element_has_its_line() -> None:
    read = yaml("a:\n  b: 1\n  c:\n  - x\n  - y:\n      z\n")
    assert read.lines == {
        ("a",): 1,
        ("a", "b"): 2,
        ("a", "c"): 3,
        ("a", "c", 0): 4,
        ("a", "c", 1): 5,
        ("a", "c", 1, "y"): 5,
    }
    assert read.line(("a", "c", 1, "missing", "deeper")) == 5
    assert read.line(("missing",)) is None


def test_anchored_mappings_are_taken_over_where_nothing_else_is_said() -> None:
    read = yaml("x: &x {a: 1, b: 2}\ny: &y {b: 3, c: 4}\nz:\n  <<: [*x, *y]\n  c: 5\n")
    assert read.data["z"] == {"c": 5, "a": 1, "b": 2}
    assert read.line(("z", "a")) == 1
    assert read.line(("z", "c")) == 5
    assert not read.problems


def test_what_cannot_be_taken_over_is_said() -> None:
    assert [str(one) for one in yaml("a:\n  <<: 3\n  b: 1\n").problems] == ["f.yaml:2: a: << takes over mappings only"]
    assert [str(one) for one in yaml("? [a, b]\n: 1\n").problems] == [
        "f.yaml:1: a name is text, not a list or a mapping"
    ]


def test_aliases_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(document, "MAX_VALUES", 1000)
    laughs = "a: &a [x, x, x, x, x, x, x, x, x, x]\n"
    laughs += "".join(f"{b}: &{b} [{', '.join([f'*{a}'] * 10)}]\n" for a, b in zip("abcd", "bcde", strict=True))
    assert refusal(laughs) == "f.yaml:3: c: aliases make this more than 1000 values"
    merged = "a: &a {x: 1}\nb: {<<: [" + ", ".join(["*a"] * 600) + "]}\n"
    assert refusal(merged) == "f.yaml:2: b: aliases make this more than 1000 values"


def test_a_number_that_nobody_can_read_has_its_line() -> None:
    assert refusal(f"a = 1\nb = {'9' * 5000}\n", "f.toml") == "f.toml:2: not TOML: so great a number"


def test_an_alias_to_itself_ends() -> None:
    assert refusal("a: &a [*a]\n") == "f.yaml:1: a: nested deeper than 32 levels"
    assert refusal("a: &a {b: *a}\n") == "f.yaml:1: a: nested deeper than 32 levels"
    assert refusal("a: &a\n  <<: *a\n") == "f.yaml: nested deeper than 32 levels"


@pytest.mark.parametrize("source", ["f.yaml", "f.toml"])
def test_depth_and_size_are_bounded(source: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for depth in (40, 5000):
        assert refusal(
            f"a = {'[' * depth}{']' * depth}" if source == "f.toml" else "[" * depth + "]" * depth, source
        ).endswith("nested deeper than 32 levels")
    monkeypatch.setattr(document, "MAX_OCTETS", 10)
    assert refusal(b"# 12345678901", source) == f"{source}: larger than 0 MiB"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("\0", "f.yaml:1: not YAML: special characters are not allowed"),
        ("a: 1\nb: \x07", "f.yaml:2: not YAML: special characters are not allowed"),
        ("a: *x", "f.yaml:1: not YAML: found undefined alias 'x'"),
        ("a: b: c", "f.yaml:1: not YAML: mapping values are not allowed here"),
        (b"a: 1\n\xff", "f.yaml:2: not UTF-8"),
        ("&x a: 1\n&x b: 2", "f.yaml: not YAML: "),
    ],
)
def test_what_is_no_yaml(text: str | bytes, message: str) -> None:
    assert refusal(text).startswith(message)


def test_a_byte_order_mark_is_no_matter() -> None:
    assert read_document(b"\xef\xbb\xbfa: 1", "f.yaml").data == {"a": 1}


def test_paths_are_shown_as_people_point() -> None:
    assert path_text(("a", "b", 0, "c d", "e.f", "", 'g"h')) == 'a.b[0]."c d"."e.f".""."g"h"'


TOML = """\
a = 1
[client]
x.y.z = "a]b" # c
"k.l" = 'it''
[client.control-connection."core.fra"] # = "["
l = [1,
 2, # x ]
 \"\"\"three
four ""\\\\\"\"\"", {a = 1, b.c = [2]}]
m = 2020-01-01T00:00:00Z
e = ""
f = '''
''''''
g = 9
[[n]]
q = 1
[[n]]
q = 2
[n.sub]
z = -inf
[[n.arr]]
k = 1
[[n.arr]]
k.v = {}
"""


def test_the_lines_of_toml() -> None:
    text = TOML.replace("'it''", "'it'").replace("''''''", "'''")
    import tomllib

    tomllib.loads(text)
    c = ("client", "control-connection", "core.fra")
    assert lines_of(text) == {
        ("a",): 1,
        ("client",): 2,
        ("client", "x"): 3,
        ("client", "x", "y"): 3,
        ("client", "x", "y", "z"): 3,
        ("client", "k.l"): 4,
        ("client", "control-connection"): 5,
        c: 5,
        (*c, "l"): 6,
        (*c, "l", 0): 6,
        (*c, "l", 1): 7,
        (*c, "l", 2): 8,
        (*c, "l", 3): 9,
        (*c, "l", 3, "a"): 9,
        (*c, "l", 3, "b"): 9,
        (*c, "l", 3, "b", "c"): 9,
        (*c, "l", 3, "b", "c", 0): 9,
        (*c, "m"): 10,
        (*c, "e"): 11,
        (*c, "f"): 12,
        (*c, "g"): 14,
        ("n",): 15,
        ("n", 0): 15,
        ("n", 0, "q"): 16,
        ("n", 1): 17,
        ("n", 1, "q"): 18,
        ("n", 1, "sub"): 19,
        ("n", 1, "sub", "z"): 20,
        ("n", 1, "arr"): 21,
        ("n", 1, "arr", 0): 21,
        ("n", 1, "arr", 0, "k"): 22,
        ("n", 1, "arr", 1): 23,
        ("n", 1, "arr", 1, "k"): 24,
        ("n", 1, "arr", 1, "k", "v"): 24,
    }
