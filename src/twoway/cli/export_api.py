"""What a running daemon's store kept, by its management API: for who may ask it, but not read its file."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from twoway.errors import ApiError
from twoway.export.kept import PROBE_COLUMNS, SUMMARY_COLUMNS

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from twoway.cli.api_client import Api
    from twoway.config.plan import SessionKey
    from twoway.export.kept import Cell

_EVENTS = 10_000
"""Of one question."""
PROBES = 5000
"""Likewise."""


class KeptByDaemon:
    """`cli.export.Source` of a daemon. Raises `ApiError`."""

    def __init__(self, api: Api) -> None:
        self.where = api.where
        self._api = api

    def keys(self) -> list[SessionKey]:
        """All test-sessions that its store has heard of."""
        return [(one["connection"], one["session"]) for one in self._rows("/v1/store/sessions", "sessions")]

    def series(self, key: SessionKey, since_ns: int, until_ns: int, resolution: str) -> Iterator[Sequence[Cell]]:
        """Start, end and `SUMMARY_COLUMNS`; a column that an older daemon does not have is empty."""
        asked = {"control-connection": key[0], "test-session": key[1], "since": since_ns, "until": until_ns}
        body = self._api.get("/v1/store/series", {**asked, "resolution": resolution})
        columns = body.get("columns", ())
        for row in self._listed(body, "rows"):
            known = dict(zip(columns, row, strict=False))
            yield [known.get(name) for name in ("start_ns", "end_ns", *SUMMARY_COLUMNS)]

    def probes(self, key: SessionKey, since_ns: int, until_ns: int) -> Iterator[Sequence[Cell]]:
        """`PROBE_COLUMNS` of single probes: by their numbers each comes once, whatever the store does meanwhile."""
        asked: dict[str, int | str] = {"control-connection": key[0], "test-session": key[1]}
        asked |= {"since": since_ns, "until": until_ns, "limit": PROBES}
        first, more = 0, True
        while more:
            body = self._api.get("/v1/store/probes", {**asked, "first": first})
            columns = body.get("columns", ())
            for row in self._listed(body, "rows"):
                known = dict(zip(columns, row, strict=False))
                yield [known.get(name) for name in PROBE_COLUMNS]
            first, more = int(body.get("next", first)), bool(body.get("more"))

    def events(self, since_ns: int, until_ns: int) -> Iterator[Sequence[Cell]]:
        """All notices, oldest first: the API has the newest, so they are asked for from behind."""
        pages: list[list[dict[str, Any]]] = []
        seen: set[int] = set()
        while until_ns > since_ns:
            asked = {"since": since_ns, "until": until_ns, "limit": _EVENTS}
            page = self._rows("/v1/store/events", "events", asked)
            pages.append([event for event in page if event["number"] not in seen])
            if len(page) < _EVENTS or not pages[-1]:
                break
            seen = {event["number"] for event in page}
            until_ns = int(page[0]["at_ns"]) + 1  # others of this moment may be on the next page
        for page in reversed(pages):
            for event in page:
                texts = [event[name] for name in ("name", "state", "connection", "session", "message")]
                yield (event["at_ns"], *texts)

    def _rows(self, path: str, name: str, asked: dict[str, int] | None = None) -> list[Any]:
        return self._listed(self._api.get(path, asked), name)

    def _listed(self, body: dict[str, Any], name: str) -> list[Any]:
        found = body.get(name)
        if not isinstance(found, list):
            raise ApiError(self.where, f"its answer has no {name}: is it of another version?")
        return found
