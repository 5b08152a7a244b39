"""A packet plane without packets for the daemon: tests end, probes are lost and sockets fail when a test says so."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from ..measured import Numbers, Span

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from twoway.analysis.result import Event
    from twoway.drivers.session_plane import News, Window
    from twoway.session import SessionSpec

COUNTERS = (
    "sent",
    "received",
    "late",
    "lost",
    "lost_forward",
    "lost_backward",
    "lost_unattributed",
    "duplicates",
    "reordered",
    "not_sent",
    "missed_slots",
    "longest_refused",
    "bursts",
    "longest_burst",
    "late_departures",
    "clock_steps",
)


@dataclass
class FakeCollection:
    """A test, or another collection."""

    test: int = 1
    start_ns: int | None = 1_800_000_000_000_000_000
    end_ns: int | None = 1_800_000_000_500_000_000
    complete: bool = True
    stateful: bool | None = None
    counts: dict[str, int] = field(default_factory=dict)
    rtt_ns: Sequence[int] = (100_000, 120_000)
    offset_ns: Sequence[int] = ()
    """One-way delays with an offset that is not known."""

    def counter(self, name: str, /) -> int:
        return self.counters()[name]

    def counters(self) -> dict[str, int]:
        received = len(self.rtt_ns)
        lost = self.counts.get("lost", 0)
        usual = {"sent": received + lost, "received": received, "longest_burst": lost}
        return {**dict.fromkeys(COUNTERS, 0), **usual, **self.counts}

    def distribution(self, name: str, /) -> Numbers:
        return Numbers(self.rtt_ns if name == "rtt" else self.offset_ns if name.endswith("_with_offset") else ())

    def interarrival_jitter_ns(self, _name: str, /) -> int | None:
        return None


@dataclass
class FakeProbes:
    """What probes showed."""

    max_rtt_ns: int | None = None
    max_egress_ns: int | None = None
    max_ingress_ns: int | None = None
    loss_run: int = 0
    longest_loss_run: int = 0
    disturbed: bool = False
    since_ns: int | None = None


class FakeColumn:
    """A column of a history."""

    def __init__(self, cells: Sequence[int]) -> None:
        self._cells = list(cells)

    def tolist(self) -> list[int]:
        return list(self._cells)


class FakeHistory:
    """Rows of (sequence, status, round trip)."""

    MISSING = -(2**63)

    def __init__(self, rows: Sequence[tuple[int, int, int]]) -> None:
        self._rows = list(rows)
        self.sequence = FakeColumn([row[0] for row in rows])
        self.status = FakeColumn([row[1] for row in rows])
        self.rtt_ns = FakeColumn([row[2] for row in rows])
        self.test = FakeColumn([1] * len(rows))
        nothing = FakeColumn([self.MISSING] * len(rows))
        self.t1_ns = self.t4_ns = self.egress_ns = self.ingress_ns = self.residence_ns = nothing
        self.rtt_jitter_ns = self.egress_jitter_ns = self.ingress_jitter_ns = nothing
        self.t1_source = self.t4_source = FakeColumn([2] * len(rows))
        self.disturbed = FakeColumn([0] * len(rows))

    def __len__(self) -> int:
        return len(self._rows)


class FakeCollections:
    """Results as a test puts them in."""

    def __init__(self, *, probe_count: int, moving_average_size: int, history_size: int) -> None:
        self.probe_count = probe_count
        self.sizes = (moving_average_size, history_size)
        self.watched: dict[str, int] = {}
        self.finished: list[FakeCollection] = []
        self.known: dict[str, FakeCollection] = {}
        self.seen = FakeProbes()
        self.rows: list[tuple[int, int, int]] = []
        self.tests = 0
        self.interruptions = self.runs_forgotten = 0
        self.cuts: list[int] = []
        self.cleared: list[str] = []
        self.restored = b""
        self.rows_kept = 0
        self.fresh: list[str] = []
        """Rows that came, as a test calls them."""
        self.rows_dropped = 0

    def watch(self, **limits: int) -> None:
        self.watched = limits

    def probes(self) -> FakeProbes:
        return self.seen

    def forget_run(self) -> None:
        self.runs_forgotten += 1

    def keep_rows(self, most: int, /) -> None:
        self.rows_kept = most

    def take_rows(self) -> list[str]:
        taken, self.fresh = self.fresh, []
        return taken

    def cut(self, wall_ns: int, /) -> None:
        self.cuts.append(wall_ns)

    def interrupt(self) -> None:
        self.interruptions += 1

    def take_finished(self) -> list[FakeCollection]:
        taken, self.finished = self.finished, []
        self.tests += len(taken)
        return taken

    def collection(self, name: str, /) -> FakeCollection | None:
        return self.known.get(name)

    def history(self, _since_ns: int | None, limit: int | None, /) -> FakeHistory:
        return FakeHistory(self.rows if limit is None else self.rows[-limit:])

    def last_probe(self) -> FakeHistory:
        return FakeHistory(self.rows[-1:])

    def resize(self, *, moving_average_size: int, history_size: int) -> None:
        self.sizes = (moving_average_size, history_size)

    def clear(self, what: str, /) -> None:
        self.cleared.append(what)

    def pack(self) -> bytes:
        return b"tests %d" % self.tests

    def restore(self, octets: bytes, /) -> None:
        self.restored = octets
        self.tests = int(octets.partition(b" ")[2])


class FakeSender:
    """A Session-Sender that sends nothing."""

    def __init__(
        self, number: int, spec: SessionSpec, group: tuple[int, int] | None, into: FakeCollections | None
    ) -> None:
        self.number = number
        self.spec = spec
        self.group = group
        self.collections = into
        self.started_ns: int | None = None
        self.in_step = False
        self.aborted = False
        self.finished = False
        self.local_address = ("127.0.0.1", 40000 + number)
        self.obtained: dict[str, str] = {}
        self.events: list[Event] = []
        self.sent = 0
        self.at_the_end: Callable[[], object] = lambda: None
        """What its last samples bring."""
        self.followed: tuple[Window, ...] | None = None
        self.before: FakeSender | None = None
        self.found: list[list[tuple[int, float | None]]] = []

    def start_at_monotonic(self, monotonic_ns: int, *, in_step: bool = False) -> None:
        self.started_ns = monotonic_ns
        self.in_step = in_step

    def abort(self) -> None:
        self.aborted = True

    def collect(self) -> None:
        self.at_the_end()

    def summary(self) -> Merging:
        return Merging({"sent": self.sent})

    def follow(self, windows: Sequence[Window], *, late_ns: int, before: FakeSender | None = None) -> None:
        assert late_ns > 0
        self.followed, self.before = tuple(windows), before

    def follow_no_more(self) -> None:
        self.followed = None

    def findings(self) -> list[list[tuple[int, float | None]]]:
        return self.found

    def take_events(self) -> list[Event]:
        taken, self.events = self.events, []
        return taken


class Merging(Span):
    """A summary of which only `sent` is merged."""

    def merge(self, other: Merging) -> Merging:
        return Merging({"sent": self.counter("sent") + other.counter("sent")})

    @staticmethod
    def unpack(octets: bytes) -> Merging:
        return Merging({"sent": int(octets)})


class FakePlane:
    """Hands out the news that a test puts in."""

    def __init__(self, *, workers: int = 1) -> None:
        self.workers = workers
        self.senders: list[FakeSender] = []
        self.refusals: list[Exception] = []
        """Raised by the next ones that are opened."""
        self.news: list[tuple[FakeSender, News]] = []
        self.faults: dict[int, int] = {}
        self.forgotten: list[FakeSender] = []
        self.closed = False
        self.alerts: list[tuple[FakeSender, News, list[list[tuple[int, float | None]]]]] = []
        self.alerted: Callable[[], object] | None = None
        self.while_taken: Callable[[], object] = lambda: None
        """What happens while the workers are asked for a second."""

    def open(
        self, spec: SessionSpec, *, group: tuple[int, int] | None = None, into: FakeCollections | None = None
    ) -> FakeSender:
        if self.refusals:
            raise self.refusals.pop(0)
        sender = FakeSender(len(self.senders), spec, group, into)
        self.senders.append(sender)
        return sender

    def forget(self, sender: FakeSender) -> None:
        self.forgotten.append(sender)

    def watch_alerts(self, callback: Callable[[], object]) -> None:
        self.alerted = callback
        if self.alerts:
            callback()

    def watch_alerts_no_more(self) -> None:
        self.alerted = None

    def take_alerts(self) -> list[tuple[FakeSender, News, list[list[tuple[int, float | None]]]]]:
        taken, self.alerts = self.alerts, []
        return taken

    def alert(self, sender: FakeSender, news: News, *found: list[tuple[int, float | None]]) -> None:
        """A followed session has something to tell."""
        sender.found = list(found)
        self.alerts.append((sender, news, sender.found))
        if self.alerted is not None:
            self.alerted()

    def collect(self) -> list[tuple[FakeSender, News]]:
        news, self.news = self.news, []
        return news

    def take_intervals(
        self, senders: Sequence[FakeSender] | None = None, *, late_ns: int = 0
    ) -> list[tuple[int, bytes, int]]:
        del late_ns
        self.while_taken()
        chosen = [sender for sender in self.senders if not sender.aborted] if senders is None else senders
        return [
            (sender.number, b"second of %d" % sender.number, self.faults.get(sender.number, 0)) for sender in chosen
        ]

    def summaries(self, senders: Sequence[FakeSender]) -> list[tuple[int, bytes]]:
        return [(sender.number, str(sender.sent).encode()) for sender in senders]

    def close(self) -> None:
        self.closed = True
