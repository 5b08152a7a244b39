"""`twoway capabilities` and `twoway schema`."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from twoway.cli.capabilities import REMEDIES
from twoway.cli.main import main

if TYPE_CHECKING:
    from conftest import FakeNative


def test_a_row_for_each_feature_and_a_remedy_for_each_no(
    native: FakeNative, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "100")
    native.features = {"low_ports": (False, "Permission denied"), "receive_stamps": (True, "stamp after 3.1 us")}
    assert main(["capabilities"]) == 0
    out = capsys.readouterr().out.splitlines()
    assert out[0] == "receive stamps  yes  stamp after 3.1 us"
    assert out[1] == "low ports       no   Permission denied"
    assert out[2].startswith("                     -> a reflector on port 862 needs CAP_NET_BIND_SERVICE")
    assert max(map(len, out)) <= 100


def test_json(native: FakeNative, capsys: pytest.CaptureFixture[str]) -> None:
    native.features = {"low_ports": (False, "Permission denied"), "srv6": (True, "seen")}
    assert main(["capabilities", "lo", "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert (document["type"], document["schema"], document["interface"]) == ("capabilities", 1, "lo")
    assert document["features"] == [
        {"name": "low_ports", "available": False, "seen": "Permission denied", "remedy": REMEDIES["low_ports"]},
        {"name": "srv6", "available": True, "seen": "seen", "remedy": None},
    ]


def test_an_interface_that_is_not_there_is_an_error(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["capabilities", "nowhere0"]) == 2
    error = capsys.readouterr().err
    assert error.startswith("twoway capabilities: look at interface nowhere0: No such device: ")
    assert error.count("\n") == 1


@pytest.mark.parametrize("name", ["result", "record", "reflector"])
def test_schemas(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["schema", name]) == 0
    assert json.loads(capsys.readouterr().out)["$schema"] == "https://json-schema.org/draft/2020-12/schema"
