"""Configurations as routers have them: what each becomes, what is said of the rest, and that nothing is lost.

Beside NAME.conf stand NAME.yaml, what `twoway import junos` prints, and NAME.txt, what it says on standard error.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from twoway.cli.main import main
from twoway.config.check import check_text
from twoway.config.junos.conversion import convert
from twoway.config.junos.reading import read_statements

FOLDER = Path(__file__).resolve().parent / "configurations"
NAMES = sorted(path.name for path in FOLDER.glob("*.conf"))


@pytest.mark.parametrize("name", NAMES)
def test_what_it_becomes_and_what_is_said_of_the_rest(
    name: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(FOLDER)
    assert main(["import", "junos", name]) == 0
    captured = capsys.readouterr()
    assert captured.out == (FOLDER / name).with_suffix(".yaml").read_text()
    assert captured.err == (FOLDER / name).with_suffix(".txt").read_text()


@pytest.mark.parametrize("name", NAMES)
def test_every_line_that_says_something_is_used_or_listed(name: str) -> None:
    text = (FOLDER / name).read_text()
    imported = convert(text, name)
    accounted = {one.line for one in imported.used} | {one.statement.line for one in imported.unused}
    assert accounted == speaking_lines(text)
    assert len(imported.used) + len(imported.unused) == len(read_statements(text, name))


@pytest.mark.parametrize("name", NAMES)
def test_the_list_has_as_many_as_are_not_used(name: str) -> None:
    said = (FOLDER / name).with_suffix(".txt").read_text()
    alone = len(re.findall(r"^\S+?:\d+: not used: ", said, re.MULTILINE))
    together = sum(map(int, re.findall(r"^\S+?: not used: (\d+) of ", said, re.MULTILINE)))
    assert alone + together == len(convert((FOLDER / name).read_text(), name).unused)


@pytest.mark.parametrize("name", [name for name in NAMES if name >= "11"])
def test_what_was_imported_of_routes_passes_the_check(name: str) -> None:
    checked = check_text((FOLDER / name).with_suffix(".yaml").read_text(), "imported", FOLDER)
    assert checked.errors == ()
    assert checked.plan is not None
    assert checked.plan.routes is not None


def speaking_lines(text: str) -> set[int]:
    """Numbers of the lines that hold a statement, found without the reader."""
    bare = re.sub(r"/\*.*?\*/", lambda match: "\n" * match[0].count("\n"), text, flags=re.DOTALL)
    lines = [(number, line.strip()) for number, line in enumerate(bare.split("\n"), 1)]
    lines = [(number, line) for number, line in lines if line and not line.startswith("#")]
    if lines[0][1].startswith(("set ", "edit ")):
        return {number for number, _ in lines}
    return {number for number, line in lines if ";" in re.sub(r'"[^"]*"', "", line)}


def test_only_what_lacks_an_equivalent_is_an_error_for_strict(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "r.conf"
    fine = """\
set services rpm twamp client control-connection c target-address 192.0.2.1
set services rpm twamp client control-connection c test-session t target-address 192.0.2.2
set services rpm twamp client control-connection c test-session t target-address 192.0.2.1
set services rpm twamp client control-connection c test-session t ttl 5
set services rpm twamp client control-connection c test-session u target-address 192.0.2.1
delete services rpm twamp client control-connection c test-session t ttl
deactivate services rpm twamp client control-connection c test-session u
set system host-name r1
"""
    file.write_text(fine)
    assert main(["import", "junos", "--strict", str(file)]) == 0
    assert "ttl" not in capsys.readouterr().out
    for more in (
        "set services rpm twamp client control-connection c test-session t ttl 999",
        "rename services rpm twamp client control-connection c to control-connection d",
        "set groups g services rpm twamp client control-connection <*> test-count 1",
        "set interfaces si-0/0/0 unit 0 rpm twamp-client",
    ):
        file.write_text(f"{fine}{more}\n")
        assert main(["import", "junos", "--strict", str(file)]) == 2, more


def test_a_test_that_stamp_takes_the_place_of_is_an_error_for_strict(tmp_path: Path) -> None:
    file = tmp_path / "r.conf"
    lines = [
        "services rpm probe o test t target address 192.0.2.1",
        "routing-options rpm-tracking route 198.51.100.0/24 next-hop 192.0.2.1 rpm-probe o rpm-test t",
    ]
    file.write_text("".join(f"set {line}\n" for line in lines))
    assert convert(file.read_text(), "r").unused == []
    assert main(["import", "junos", str(file)]) == 0
    assert main(["import", "junos", "--strict", str(file)]) == 2


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        (["edit a b", "set c", "up", "set d", "top", "set e"], ["a b c", "a d", "e"]),
        (
            ["edit services rpm twamp client control-connection x test-session y", "up", "set z"],
            ["services rpm twamp client control-connection x z"],
        ),
        (["edit a", "edit b c", "exit", "set d", "exit", "set e", "exit", "set f"], ["a d", "e", "f"]),
        (["edit a b c d", "up 3", "set e", "up 99", "set f", "up x", "set g"], ["a e", "f", "g"]),
        (["edit a", "top set b", "set c", "top edit d", "set e", "exit", "set f"], ["b", "a c", "d e", "a f"]),
    ],
)
def test_lines_are_where_edit_went(lines: list[str], expected: list[str]) -> None:
    found = [one for one in read_statements("\n".join(lines), "r") if one.command == "set"]
    assert [" ".join(one.words) for one in found] == expected


def test_what_is_set_after_a_delete_is_there() -> None:
    found = read_statements("set a b c\nset a d\ndelete a b\nset a b e\ndelete\nset f\n", "r")
    deleted = {" ".join(one.words): one.deleted for one in found if one.command == "set"}
    assert deleted == {"a b c": 3, "a d": 5, "a b e": 5, "f": None}
