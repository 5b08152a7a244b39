"""Engine IDs, boots and time of SNMPv3."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from twoway.errors import ConfigError
from twoway.notify.engine_identity import MAX_BOOTS, EngineClock, engine_id, next_boots

if TYPE_CHECKING:
    from pathlib import Path

NOW_S = 1_772_366_400.5
SINCE_2020_S = 1_772_366_400 - 1_577_836_800


def test_an_engine_id_is_as_configured() -> None:
    assert engine_id("80007ed90501020304") == bytes.fromhex("80007ed90501020304")
    assert engine_id("0x8000000001") == bytes.fromhex("8000000001")


@pytest.mark.parametrize("text", ["80", "80007ed9", "zz", "00" * 12, "ff" * 12, "80" * 33, "8"])
def test_what_is_no_engine_id_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="engine-id"):
        engine_id(text)


def test_without_one_it_is_the_machines_and_does_not_show_its_identity(tmp_path: Path) -> None:
    identity = tmp_path / "machine-id"
    identity.write_text("00112233445566778899aabbccddeeff\n")
    made = engine_id(None, identity)
    assert made == engine_id(None, identity)
    assert made[:5] == bytes.fromhex("80007ed905")
    assert len(made) == 21
    assert "00112233445566778899aabbccddeeff" not in made.hex()
    identity.write_text("00112233445566778899aabbccddee00\n")
    assert made != engine_id(None, identity)
    assert 5 <= len(engine_id(None, tmp_path / "absent")) <= 32


def test_boots_grow_with_the_clock_and_without_a_folder() -> None:
    assert next_boots(None, NOW_S) == SINCE_2020_S
    assert next_boots(None, 0.0) == 1
    assert next_boots(None, 1e12) == MAX_BOOTS


def test_boots_grow_though_the_clock_went_back(tmp_path: Path) -> None:
    first = next_boots(tmp_path, NOW_S)
    assert first == SINCE_2020_S
    assert next_boots(tmp_path, NOW_S - 3600) == first + 1
    assert next_boots(tmp_path, NOW_S - 7200) == first + 2
    assert next_boots(tmp_path, NOW_S + 3600) == first + 3600


@pytest.mark.parametrize("content", ["", "{", "[]", '{"boots": null}', '{"boots": "x"}', "\xff"])
def test_a_file_that_is_spoilt_leaves_the_clocks_word(tmp_path: Path, content: str) -> None:
    (tmp_path / "snmp-boots.json").write_text(content, encoding="latin-1")
    assert next_boots(tmp_path, NOW_S) == SINCE_2020_S
    assert json.loads((tmp_path / "snmp-boots.json").read_text()) == {"boots": SINCE_2020_S}


def test_a_link_in_the_place_of_its_file_is_replaced_and_not_followed(tmp_path: Path) -> None:
    precious = tmp_path / "precious"
    precious.write_text("of somebody else")
    for name in ("snmp-boots.json", "snmp-boots.new"):
        (tmp_path / name).symlink_to(precious)
    first = next_boots(tmp_path, NOW_S)
    assert next_boots(tmp_path, NOW_S) == first + 1
    assert precious.read_text() == "of somebody else"
    assert not (tmp_path / "snmp-boots.json").is_symlink()


def test_a_folder_that_is_not_there_leaves_the_clocks_word(tmp_path: Path) -> None:
    assert next_boots(tmp_path / "absent", NOW_S) == SINCE_2020_S


def test_time_goes_on_steadily() -> None:
    now_s = [1000.0]
    clock = EngineClock(5, lambda: now_s[0])
    assert (clock.boots, clock.time_s, clock.uptime_ticks) == (5, 0, 0)
    now_s[0] += 12.345
    assert (clock.time_s, clock.uptime_ticks) == (12, 1234)
    now_s[0] += 2**32 / 100
    assert clock.uptime_ticks == 1234
