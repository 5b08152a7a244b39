"""What Python says of the packet plane, compared with what the packet plane says of itself."""

from __future__ import annotations

import pytest

from twoway.cli.capabilities import REMEDIES
from twoway.cli.live import EVENTS
from twoway.config import defaults
from twoway.session import PROTOCOL_FORMATS

_native = pytest.importorskip("twoway._native", reason="the extension module is not built")


def test_default_sizes_make_replies_as_long_as_requests() -> None:
    formats = _native.catalogue()["packet_formats"]
    for name, octets in defaults.PAYLOAD_LEN.items():
        assert octets == max(formats[name])
    assert set(PROTOCOL_FORMATS.values()) <= set(formats)


def test_every_feature_has_a_remedy() -> None:
    assert set(REMEDIES) == set(_native.catalogue()["capabilities"])


def test_every_event_has_words() -> None:
    assert set(EVENTS) == set(_native.catalogue()["events"])
