"""`twoway top`: the table where there is no terminal, and its life in one."""

from __future__ import annotations

import re
import signal
import sys
from typing import TYPE_CHECKING

import pytest

from twoway.cli.main import main
from twoway.cli.top import SORTS, Look, codes_of, key_of

from .terminal import terminal

if TYPE_CHECKING:
    from collections.abc import Mapping

    from .conftest import Served

_ESCAPE = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


def printed(capsys: pytest.CaptureFixture[str], *words: str) -> list[str]:
    assert main(["top", *words]) == 0
    output, errors = capsys.readouterr()
    assert errors == ""
    return output.splitlines()


@pytest.fixture
def environment(served: Served) -> Mapping[str, str]:
    return {"TWOWAY_API": str(served.socket)}


@pytest.mark.usefixtures("served")
def test_without_a_terminal_the_table_is_printed_once_and_whole(capsys: pytest.CaptureFixture[str]) -> None:
    head, rule, *rows = printed(capsys)
    names = ["Connection▾", "Session", "Target", "Result", "RTT", "Max", "Jitter", "Egress", "Ingress", "Loss"]
    assert head.split() == [*names, "Tests", "Latest", "Alarms"]
    assert set(rule.strip()) == {"─"}
    assert [row.split()[:4] for row in rows] == [
        ["core-fra", "bulk", "198.51.100.2", "PASS"],
        ["core-fra", "voice", "198.51.100.1", "PASS"],
        ["core-par", "bulk", "198.51.100.4", "FAIL"],
        ["core-par", "voice", "198.51.100.3", "PASS"],
    ]
    assert rows[2].split()[-1] == "test-failure"
    assert "\x1b" not in "".join([head, *rows])


def test_a_long_name_is_whole_where_a_program_reads_it(served: Served, capsys: pytest.CaptureFixture[str]) -> None:
    name = "connection-" + "x" * 53
    served.daemon.__init__([(name, "s")])  # type: ignore[misc]  # another one in its place
    assert printed(capsys)[2].startswith(name)


@pytest.mark.usefixtures("served")
def test_sorting_and_filtering_are_the_daemons(capsys: pytest.CaptureFixture[str]) -> None:
    def sessions(*words: str) -> list[str]:
        return ["/".join(row.split()[:2]) for row in printed(capsys, *words)[2:]]

    assert sessions("--sort", "loss")[0] == "core-par/bulk"
    assert sessions("--sort", "rtt") == ["core-par/bulk", "core-par/voice", "core-fra/bulk", "core-fra/voice"]
    assert sessions("--sort", "rtt", "--reverse")[0] == "core-fra/voice"
    assert sessions("--sort", "name", "--reverse")[0] == "core-par/voice"
    assert sessions("--filter", "FRA") == ["core-fra/bulk", "core-fra/voice"]
    assert sessions("--filter", "198.51.100.3") == ["core-par/voice"]
    assert sessions("--filter", "nobody") == []


def test_more_than_a_page_is_said(served: Served, capsys: pytest.CaptureFixture[str]) -> None:
    served.daemon.__init__([(f"c{number:04}", "s") for number in range(1500)])  # type: ignore[misc]  # as above
    lines = printed(capsys)
    assert len(lines) == 2 + 1000 + 1
    assert lines[-1] == "500 more: narrow it with --filter"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("--sort colour", "invalid choice: 'colour'"),
        ("--interval 0", "'0'"),
        ("--api /nonexistent/api.sock", "nobody is there"),
        ("everything", "unrecognized arguments"),
    ],
)
def test_what_is_wrong_is_one_line(capsys: pytest.CaptureFixture[str], words: str, said: str) -> None:
    assert main(["top", *words.split()]) == 2
    output, errors = capsys.readouterr()
    assert (output, errors.count("\n")) == ("", 1)
    assert said in errors


def test_without_its_package_it_names_the_remedy(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for module in [module for module in sys.modules if module.partition(".")[0] == "rich"]:
        monkeypatch.setitem(sys.modules, module, None)
    monkeypatch.delitem(sys.modules, "twoway.export.top_table", raising=False)
    assert main(["top"]) == 2
    remedy = "twoway top: write the table: rich is not installed: `pip install 'twoway[daemon]'`\n"
    assert capsys.readouterr() == ("", remedy)


def test_in_a_terminal_it_lives_until_it_is_left(environment: Mapping[str, str]) -> None:
    with terminal(["top", "--interval", "100ms"], 120, environment) as opened:
        first = _ESCAPE.sub("", opened.until("q quit"))
        assert "4 test-sessions, 1 failing, 1 alarm" in first
        assert "1-4 of 4, by name" in first
        opened.type("s")
        opened.until("by rtt")
        opened.type("SS")
        opened.until("by alarms")
        opened.type("r")
        opened.until("by alarms, reversed")
        opened.type("/fr")
        opened.until("filter: fr_")
        opened.type("\r")
        opened.until("1-2 of 2, with 'fr'")
        opened.type("/k g\r")  # at once, as it comes from a slow line: none of it is a command
        opened.until("with 'frk g'")
        opened.type("\x1b")
        opened.until("1-4 of 4")
        opened.type("q")
        assert opened.end() == 0
        assert opened.seen.endswith(("\x1b[?25h", "\x1b[?1049l", "\r\n")) or "\x1b[?1049l" in opened.seen


def test_it_pages(served: Served, environment: Mapping[str, str]) -> None:
    served.daemon.__init__([(f"c{number:04}", "s") for number in range(100)])  # type: ignore[misc]  # as above
    with terminal(["top", "--interval", "100ms"], 100, environment) as opened:
        opened.until("1-20 of 100")
        for key, page in (("\x1b[6~", "21-40"), (" ", "41-60"), ("\x1b[A", "40-59"), ("G", "81-100"), ("g", "1-20")):
            opened.type(key)
            opened.until(f"{page} of 100")
        opened.resize(100, 14)
        opened.until("1-10 of 100")
        opened.type("q")
        assert opened.end() == 0


def test_a_daemon_that_goes_is_said_and_waited_for(served: Served, environment: Mapping[str, str]) -> None:
    moved = served.socket.with_name("moved.sock")
    with terminal(["top", "--interval", "50ms"], 200, environment) as opened:
        opened.until("4 test-sessions")
        served.socket.rename(moved)
        opened.until("nobody is there")
        moved.rename(served.socket)
        opened.until("4 test-sessions")
        opened.type("\x03")
        assert opened.end() == 0


def test_the_end_of_the_terminal_ends_it(environment: Mapping[str, str]) -> None:
    with terminal(["top"], 80, environment) as opened:
        opened.until("q quit")
        opened.process.send_signal(signal.SIGINT)
        assert opened.end() == 0


LOOK = Look("name", reverse=False, filter="", offset=0, height=10)


@pytest.mark.parametrize(
    ("keys", "offset"),
    [
        (["down"], 1),
        (["up"], 0),
        (["pagedown", "pagedown"], 20),
        (["end"], 15),
        (["end", "up"], 14),
        (["end", "home"], 0),
        (["end", "down", "pagedown"], 15),
        (["down", "s"], 0),
        (["down", "r"], 0),
        (["x", "\t", "z"], 0),
    ],
)
def test_keys_page_within_what_there_is(keys: list[str], offset: int) -> None:
    look = LOOK
    for key in keys:
        look = look.after(key, 25)
    assert look.offset == min(offset, 15)


def test_sorting_goes_round_in_both_directions() -> None:
    look = LOOK
    seen = [look.sort]
    for _ in SORTS:
        look = look.after("s", 5)
        seen.append(look.sort)
    assert seen == [*SORTS, SORTS[0]]
    assert LOOK.after("S", 5).sort == SORTS[-1]


def test_a_filter_is_typed_taken_and_left() -> None:
    look = LOOK
    for key in ["/", "f", "x", "backspace", "r", "a", "s", "\x07"]:
        look = look.after(key, 5)
    assert (look.typing, look.filter, look.sort) == ("fras", "", "name")
    assert look.after("escape", 5).typing is None
    taken = look.after("enter", 5)
    assert (taken.filter, taken.typing, taken.offset) == ("fras", None, 0)
    assert taken.after("escape", 5).filter == ""
    assert len(look.after("enter", 5).after("/", 5).typing or "") == 4


@pytest.mark.parametrize(
    ("text", "typing", "keys"),
    [
        ("s\x1b[Bq\x1b[5~\x1b", False, ["s", "down", "q", "pageup", "escape"]),
        ("gj ", False, ["home", "down", "pagedown"]),
        ("gkj \x7f\r", True, ["g", "k", "j", " ", "backspace", "enter"]),
    ],
)
def test_keys_in_what_a_terminal_sends(text: str, typing: bool, keys: list[str]) -> None:
    assert [key_of(code, typing=typing) for code in codes_of(text)] == keys


def test_letters_are_letters_from_the_slash_to_the_enter_that_come_with_them() -> None:
    look = LOOK
    for code in codes_of("/gjk\rs"):
        look = look.after(key_of(code, typing=look.typing is not None), 5)
    assert (look.filter, look.typing, look.sort) == ("gjk", None, SORTS[1])


def test_the_worst_come_first_but_for_names() -> None:
    assert LOOK.parameters()["reverse"] == "false"
    assert LOOK.after("s", 5).parameters()["reverse"] == "true"
    assert LOOK.after("s", 5).after("r", 5).parameters()["reverse"] == "false"
