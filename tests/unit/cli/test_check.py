"""`twoway check`, `twoway schema config` and `twoway import junos` as a person runs them."""

from __future__ import annotations

import io
import json
import sys
from typing import TYPE_CHECKING

from twoway.cli.main import main

if TYPE_CHECKING:
    from pathlib import Path

    import pytest

GOOD = "client: {control-connection: {a: {control-type: light, test-session: {s: {target: ref.example.net%s}}}}}\n"


def written(path: Path, text: str) -> str:
    path.write_text(text)
    return str(path)


def test_a_good_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = written(tmp_path / "f.yaml", GOOD % "" + "server: {light: {}}\n")
    assert main(["check", file]) == 0
    assert capsys.readouterr() == (
        f"{file}: good: 1 control-connection, 1 test-session, a light Session-Reflector\n",
        "",
    )


def test_each_error_and_warning_is_a_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = written(tmp_path / "f.yaml", GOOD % ", data-fill: random" + "workers: 0\ncolour: blue\n")
    assert main(["check", file]) == 2
    told = capsys.readouterr()
    assert told.out == f"{file}: 2 errors\n"
    assert told.err.splitlines() == [
        f"{file}:2: workers: 0 is not from 1 to 256",
        f"{file}:3: colour: no such statement here",
        (
            f"{file}:1: warning: client.control-connection.a.test-session.s.data-fill: "
            "there is no padding to fill: data-size is 0"
        ),
    ]


def test_strict_takes_warnings_for_errors(tmp_path: Path) -> None:
    file = written(tmp_path / "f.yaml", GOOD % ", data-fill: random")
    assert main(["check", file]) == 0
    assert main(["check", "--strict", file]) == 2


def test_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = written(tmp_path / "f.toml", "workers = 0\n")
    assert main(["check", "--json", file]) == 2
    found = json.loads(capsys.readouterr().out)
    assert found["errors"] == [{"line": 1, "path": ["workers"], "message": "0 is not from 1 to 256"}]
    assert found["ok"] is False


def test_what_only_the_packet_plane_knows_is_found_too(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A STAMP TLV cannot have one octet. The target's name is not resolved for it."""
    file = written(tmp_path / "f.yaml", GOOD % ", data-size: 1")
    assert main(["check", file]) == 2
    place = "client.control-connection.a.test-session.s.data-size"
    assert capsys.readouterr().err == (
        f"{file}:1: {place}: 45 octets: STAMP has 44, or 48 and more (RFC 8972 section 4.1)\n"
    )


def test_tlvs_have_to_fit_the_packet_and_the_interval(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for statements, problem in (
        ("data-size: 4, tlvs: follow-up", "data-size: 48 octets: with these TLVs a packet has 64, or 68 and more"),
        (
            "tlvs: control=3@1s",
            (
                "tlvs: 3 replies take 2000000000 ns, so the next packet would come before they are all sent "
                "(interval 1000000000 ns; RFC 10052 section 5)"
            ),
        ),
    ):
        file = written(tmp_path / "f.yaml", GOOD % f", {statements}")
        assert main(["check", file]) == 2
        assert capsys.readouterr().err == f"{file}:1: client.control-connection.a.test-session.s.{problem}\n"


def test_managed_sessions_are_built_too(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = "client: {control-connection: {a: {target: ref.example.net, test-session: {s: {data-size: %d}}}}}"
    assert main(["check", written(tmp_path / "f.yaml", text % 65_400)]) == 0
    assert main(["check", written(tmp_path / "f.yaml", text.replace("data-size: %d", "schedule: sometimes"))]) == 2
    assert "'sometimes' is not periodic or poisson" in capsys.readouterr().err


def test_the_sample_passes_its_own_check(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", "--sample"]) == 0
    assert main(["check", written(tmp_path / "sample.yaml", capsys.readouterr().out)]) == 0
    assert capsys.readouterr().err == ""


def test_one_of_both_is_needed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check"]) == 2
    assert "name one FILE" in capsys.readouterr().err


def test_the_schema_of_a_configuration(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["schema", "config"]) == 0
    assert json.loads(capsys.readouterr().out)["$schema"] == "https://json-schema.org/draft/2020-12/schema"


JUNOS = """\
set services rpm twamp client control-connection c1 control-type light
set services rpm twamp client control-connection c1 test-session t1 probe-count 3
set services rpm twamp client control-connection c1 destination-interface si-0/0/0.0
set system host-name r1
"""


def test_import(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    file = written(tmp_path / "router.conf", JUNOS)
    assert main(["import", "junos", file]) == 0
    told = capsys.readouterr()
    assert told.out == (
        "client:\n  control-connection:\n    c1:\n      control-type: light\n"
        "      test-session:\n        t1:\n          probe-count: 3\n"
    )
    place = "client.control-connection.c1.test-session.t1.target"
    assert told.err.splitlines() == [
        (
            f"{file}:3: not used: set services rpm twamp client control-connection c1 destination-interface "
            "si-0/0/0.0: Linux has no services interfaces"
        ),
        f"{file}: not used: 1 of system: not about TWAMP",
        f"to be mended: {place}: a light test-session needs the address of its Session-Reflector",
        f"{file}: 2 statements used, 2 not",
    ]
    assert main(["import", "junos", "--strict", file]) == 2
    capsys.readouterr()
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(JUNOS.encode())))
    assert main(["import", "junos", "-"]) == 0
    assert capsys.readouterr().out == told.out


def test_what_is_no_junos_configuration_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = written(tmp_path / "router.conf", "services {\n")
    assert main(["import", "junos", file]) == 2
    assert capsys.readouterr().err == f"twoway import: {file}:1: a {{ without its }}\n"
