"""What is on the screen, or goes down the pipe, while a measurement runs: one class per way of showing it."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

from twoway.analysis.result import CONTROL_EVENTS
from twoway.cli.arguments import terminal_width
from twoway.config.defaults import NANOS
from twoway.errors import REMEDIES, one_line

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from twoway.analysis.result import Event, Result, SessionDescription, Summary
    from twoway.drivers.plane import SampleBatch
    from twoway.export.ndjson import Record

LINE_INTERVAL_NS = NANOS // 20
"""Departures closer than this are too fast for a line per packet to be read."""
_REWRITE_NS = NANOS // 5
"""Between two states of the status line on a terminal."""
_LOG_NS = NANOS
"""Between two status lines where standard output is no terminal."""


EVENTS = {
    "send_error": "a packet could not be sent",
    "icmp_unreachable": "an ICMP error came back",
    "interface_down": "the interface is down",
    "clock_step": "the local clock was stepped",
    "socket_error": "the socket reported an error",
    "next_hop_unresolved": "the next hop of the path does not say its link-layer address, so nothing is sent to it",
    **CONTROL_EVENTS,
}
"""Names of events -> what a person reads; a test compares them with `catalogue()["events"]`."""


def _write_header(session: SessionDescription) -> None:
    """What is measured, as ping's first line."""
    from twoway.export.quantities import endpoint
    from twoway.export.text import PROTOCOLS

    where = endpoint(session.address, session.port)
    name = where if session.target in (session.address, where) else f"{session.target} ({where})"
    sys.stdout.write(f"{PROTOCOLS[session.protocol]} to {name}: {session.payload_len} octets of payload\n")
    sys.stdout.flush()


def _write_event(event: Event) -> None:
    what = EVENTS.get(event.name, event.name)
    why = f": {one_line(event.detail)}" if event.detail else ""
    if event.errno:
        remedy = REMEDIES.get((None, event.errno), "")
        why = f": {os.strerror(event.errno)}{': ' * bool(remedy)}{remedy}"
    sys.stdout.write(f"event: {what}{why}\n")
    sys.stdout.flush()


class Live:
    """Shows nothing: the base of all others, and `-q`, `--json`."""

    needs_samples = False
    """Whether `packets` wants to be called."""
    tick_ns: int | None = None
    """How often `tick` wants to be called."""

    def begin(self, session: SessionDescription, clock: Mapping[str, int | None]) -> None:
        """The first packet has been asked for. `clock` is the state of the local clock."""

    def packets(self, batch: SampleBatch) -> None:
        """The fate of some packets is known."""

    def event(self, event: Event) -> None:
        """Something happened that is not a packet."""

    def tick(self, summary: Summary) -> None:
        """`tick_ns` went by."""

    def clear(self) -> None:
        """Something else is about to be written: leave the cursor at the start of an empty line."""

    def end(self, result: Result) -> None:
        """Nothing more will come."""


class PacketLive(Live):
    """A line for each packet, as ping."""

    needs_samples = True

    def begin(self, session: SessionDescription, clock: Mapping[str, int | None]) -> None:
        from twoway.export.packet_lines import PacketLines

        self._lines = PacketLines(session, clock)
        _write_header(session)

    def packets(self, batch: SampleBatch) -> None:
        sys.stdout.write("".join(f"{line}\n" for line in self._lines.lines(batch)))
        sys.stdout.flush()

    def event(self, event: Event) -> None:
        _write_event(event)


class StatusLive(Live):
    """One line for the whole measurement: rewritten on a terminal, one a second elsewhere."""

    def __init__(self) -> None:
        self._terminal = sys.stdout.isatty()
        self.tick_ns = _REWRITE_NS if self._terminal else _LOG_NS
        self._shown = False
        self._last = ""

    def begin(self, session: SessionDescription, clock: Mapping[str, int | None]) -> None:  # noqa: ARG002  (part of the seam)
        _write_header(session)

    def tick(self, summary: Summary) -> None:
        from twoway.export import text

        line = text.status_line(summary)
        if line == self._last:
            return
        self._last = line
        if self._terminal:
            # Cut to the width: a wrapped line cannot be rewritten.
            sys.stdout.write(f"\r{line[: terminal_width() - 1]}\x1b[K")
            self._shown = True
        else:
            sys.stdout.write(line + "\n")
        sys.stdout.flush()

    def event(self, event: Event) -> None:
        self.clear()
        _write_event(event)

    def clear(self) -> None:
        if self._shown:
            sys.stdout.write("\r\x1b[K")
            sys.stdout.flush()
            self._shown = False

    def end(self, result: Result) -> None:
        if self._terminal:
            self.clear()
        else:
            self.tick(result.summary)


class NdjsonLive(Live):
    """A JSON record a line as things happen: session, packets and events, and the summary at the end."""

    needs_samples = True

    def begin(self, session: SessionDescription, clock: Mapping[str, int | None]) -> None:  # noqa: ARG002  (part of the seam)
        from twoway.export import ndjson

        self._write([ndjson.session(session)])

    def packets(self, batch: SampleBatch) -> None:
        from twoway.export import ndjson

        self._write(ndjson.packets(batch))

    def event(self, event: Event) -> None:
        from twoway.export import ndjson

        self._write([ndjson.event(event)])

    def end(self, result: Result) -> None:
        from twoway.export import ndjson

        self._write([ndjson.summary(result)])

    def _write(self, records: Iterable[Record]) -> None:
        from twoway.export import ndjson

        sys.stdout.write("".join(f"{ndjson.line(record)}\n" for record in records))
        sys.stdout.flush()


class CsvLive(Live):
    """A row for each packet, under a header."""

    needs_samples = True

    def begin(self, session: SessionDescription, clock: Mapping[str, int | None]) -> None:  # noqa: ARG002  (part of the seam)
        from twoway.export import csv_rows

        sys.stdout.write(csv_rows.header() + "\n")
        sys.stdout.flush()

    def packets(self, batch: SampleBatch) -> None:
        from twoway.export import csv_rows

        sys.stdout.write("".join(f"{row}\n" for row in csv_rows.rows(batch)))
        sys.stdout.flush()
