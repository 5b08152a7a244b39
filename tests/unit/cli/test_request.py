"""`twoway request` and `twoway clear`: what is asked of the daemon, and what came of it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from twoway.analysis.views import RequestView
from twoway.cli.main import main

if TYPE_CHECKING:
    from pathlib import Path

    from .conftest import Served


@pytest.mark.parametrize(
    ("words", "asked"),
    [
        ("request start", ("start", None, None)),
        ("request start --control-connection core-fra --repeat 10", ("start", "core-fra", 10)),
        ("request start control-connection core-fra repeat 10", ("start", "core-fra", 10)),
        ("request stop", ("stop", None)),
        ("request stop control-connection core-par", ("stop", "core-par")),
        ("request reload", ("reload",)),
        ("clear results", ("clear", "results", None)),
        ("clear results core-fra", ("clear", "results", "core-fra")),
        ("clear history core-par", ("clear", "history", "core-par")),
        ("clear events", ("clear", "events", None)),
        ("clear server-control 7", ("clear", "server-control", "7")),
    ],
)
def test_what_is_asked_and_what_came_of_it(
    served: Served, capsys: pytest.CaptureFixture[str], words: str, asked: tuple[object, ...]
) -> None:
    assert main(words.split()) == 0
    assert capsys.readouterr() == ("done: core-fra\n", "")
    assert main([*words.split(), "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"ok": True, "message": "done", "affected": ["core-fra"]}
    assert served.daemon.requests == [asked, asked]


def test_of_many_it_names_the_first(served: Served, capsys: pytest.CaptureFixture[str]) -> None:
    names = tuple(f"c{number}" for number in range(10_000))
    served.daemon.answer = RequestView(ok=True, message="started", affected=names)
    assert main(["request", "start"]) == 0
    assert capsys.readouterr().out == f"started: {', '.join(names[:12])} and 9988 more\n"
    served.daemon.answer = RequestView(ok=True, message="no test-session differs")
    assert main(["request", "reload"]) == 0
    assert capsys.readouterr().out == "no test-session differs\n"


@pytest.mark.parametrize("words", ["request reload", "request reload --json", "clear results"])
def test_a_refusal_is_told_with_its_reasons_and_a_code_of_its_own(
    served: Served, capsys: pytest.CaptureFixture[str], words: str
) -> None:
    lines = ("a.yaml:3: no \x1b[2Jsuch statement", "a.yaml:9: it is needed")
    served.daemon.answer = RequestView(ok=False, message="2 errors, nothing was changed", affected=lines)
    assert main(words.split()) == 1
    output, errors = capsys.readouterr()
    assert output == ""
    command = words.split()[0]
    assert errors.splitlines() == [
        f"twoway {command}: 2 errors, nothing was changed",
        "  a.yaml:3: no  [2Jsuch statement",
        "  a.yaml:9: it is needed",
    ]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("request", "the following arguments are required: ACTION"),
        ("request restart", "there is no 'restart': there are start, stop, reload, routes hold PREFIX"),
        ("request start repeat 0", "'0' is not a number from 1 to 65535"),
        ("request stop repeat 3", "--repeat is of start, not of stop"),
        ("request reload control-connection core-fra", "--control-connection is of start and stop, not of reload"),
        ("request start control-connection nope", "no control-connection 'nope': there are core-fra, core-par"),
        ("request stop control-connection nope", "no control-connection 'nope': there are core-fra, core-par"),
        ("clear", "the following arguments are required: WHAT"),
        ("clear everything", "invalid choice: 'everything'"),
        ("clear events core-fra", "events are of the whole daemon: there is no NAME"),
        ("clear results nope", "no control-connection 'nope': there are core-fra, core-par"),
        ("clear server-control 8", "no control-connection '8': there are 7"),
    ],
)
def test_what_is_wrong_is_one_line_and_asks_nothing(
    served: Served, capsys: pytest.CaptureFixture[str], words: str, said: str
) -> None:
    assert main(words.split()) == 2
    output, errors = capsys.readouterr()
    assert output == ""
    assert errors.count("\n") == 1
    assert said in errors
    assert served.daemon.requests == []


@pytest.mark.parametrize("words", ["request reload", "clear results"])
def test_nobody_there(capsys: pytest.CaptureFixture[str], tmp_path: Path, words: str) -> None:
    assert main([*words.split(), "--api", str(tmp_path / "api.sock")]) == 2
    assert "nobody is there: start it" in capsys.readouterr().err
