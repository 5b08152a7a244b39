"""What Python says of the packet plane, compared with what the packet plane says of itself."""

from __future__ import annotations

import pytest

from twoway.analysis.result import CONTROL_EVENTS
from twoway.cli.capabilities import REMEDIES
from twoway.cli.live import EVENTS
from twoway.config import defaults
from twoway.session import PROTOCOL_FORMATS

_native = pytest.importorskip("twoway._native", reason="the extension module is not built")


def test_default_sizes_make_replies_as_long_as_requests() -> None:
    formats = _native.catalogue()["packet_formats"]
    shortest = {name: max(formats[name]) for name in defaults.PAYLOAD_LEN}
    # A STAMP Session-Reflector answers TWAMP Light with its own header.
    shortest["twamp"] = max(shortest["twamp"], shortest["stamp"])
    assert shortest == defaults.PAYLOAD_LEN
    assert set(PROTOCOL_FORMATS.values()) <= set(formats)


def test_every_feature_has_a_remedy() -> None:
    assert set(REMEDIES) == set(_native.catalogue()["capabilities"])


def test_every_event_has_words() -> None:
    assert set(EVENTS) == {*_native.catalogue()["events"], *CONTROL_EVENTS}
