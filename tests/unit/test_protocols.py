"""What `docs/protocols.md` is made of: nothing in it is of something else, or claimed without a place to look at."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

from twoway import _native

ROOT = Path(__file__).resolve().parents[2]
PEERS = tomllib.loads((ROOT / "tests" / "interop" / "stamp_peers.toml").read_text())
EVIDENCE = {"stamp-suite": "test_stamp_suite.py", "teaparty": "test_teaparty.py"}
_CELL = re.compile(r"agrees(: .+)?|differs: .+|unknown there|not tried yet")


def test_every_tlv_has_a_word_for_each_independent_implementation() -> None:
    for name, peer in PEERS.items():
        assert set(peer["tlvs"]) == set(_native.catalogue()["tlv_types"]), name
        for cell in peer["tlvs"].values():
            assert set(cell) == {"asked", "asks"}
            for word in cell.values():
                assert _CELL.fullmatch(word), word


def test_what_was_seen_has_a_test_that_shows_it() -> None:
    assert set(PEERS) == set(EVIDENCE)
    for name, peer in PEERS.items():
        words = [word for cell in peer["tlvs"].values() for word in cell.values()]
        if any(word.startswith(("agrees", "differs")) for word in words):
            assert (ROOT / "tests" / "interop" / EVIDENCE[name]).exists()


def test_every_document_that_the_code_names_is_in_the_table() -> None:
    page = (ROOT / "docs" / "protocols.md").read_text()
    for _, reference in _native.catalogue()["tlv_types"].values():
        document = reference.partition(" section")[0]
        assert re.search(rf"^### {document}, |^\| {document} ", page, re.MULTILINE), document
