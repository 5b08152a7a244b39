"""What `twoway show` prints of what it was told."""

from __future__ import annotations

from dataclasses import replace

from twoway.export import show_text

from ..watched import FakeDaemon


def test_a_session_on_a_told_path_says_which() -> None:
    view = FakeDaemon().results(("core-fra", "voice"))
    assert not any("Path:" in line for line in show_text.results(view))
    told = replace(view, path="red", forward_path="srv6:2001:db8:a::1", return_path="same-link")
    assert "  Path:   red, srv6:2001:db8:a::1, back same-link" in show_text.results(told)
    only_back = replace(view, return_path="mpls:17")
    assert "  Path:   plain, back mpls:17" in show_text.results(only_back)
