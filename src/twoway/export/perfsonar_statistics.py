"""Statistics as perfSONAR computes them, for its formats: percentiles from buckets of one width, its duplicates.

These are not the statistics of twoway's own reports. A percentile is the upper edge (of a negative delay: the lower) of
the bucket in which it falls, counted over all packets sent: where more are lost than the percentile leaves, there is
none. Minimum and maximum are exact, over all copies of a packet; buckets hold first copies only.
"""

from __future__ import annotations

import math
from collections import Counter, deque
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING

from twoway.export.perfsonar_records import OneWayRecord, TwoWayRecord, seconds_between

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from twoway.export.perfsonar_records import RecordedSession, Stamp

_REORDERING_PACKETS = 10
"""The least n of n-reordering that is looked for."""
_REORDERING_FACTOR = 3.5
"""Times the packets that are under way within a timeout: the largest n of n-reordering that is looked for."""


class Delay(StrEnum):
    """Which delay, by the suffix that `-M` gives its keys."""

    WHOLE = ""
    """Round trip without the time in the reflector; one-way delay of OWAMP."""
    FORWARD = "_FWD"
    BACKWARD = "_BCK"
    PROCESSING = "_PROC"
    """Inside the Session-Reflector: minimum and maximum only."""


ONE_WAY = (Delay.WHOLE,)
NETWORK = (Delay.WHOLE, Delay.FORWARD, Delay.BACKWARD)
"""Delays of TWAMP that have buckets."""


@dataclass(slots=True)
class DelayStatistics:
    """One delay, in seconds."""

    least_s: float | None = None
    most_s: float | None = None
    error_s: float = 0.0
    """Largest sum of the errors that the stamps claim."""
    buckets: Counter[int] = field(default_factory=Counter)
    """Number of the bucket -> first copies in it."""

    def take(self, delay_s: float, error_s: float) -> None:
        """Count one copy, but not yet in a bucket."""
        self.least_s = delay_s if self.least_s is None else min(self.least_s, delay_s)
        self.most_s = delay_s if self.most_s is None else max(self.most_s, delay_s)
        self.error_s = max(self.error_s, error_s)


class Statistics:
    """Of the packets `first` to `last` - 1 of a test-session (all of them where `last` is None)."""

    def __init__(
        self,
        session: RecordedSession,
        records: Sequence[OneWayRecord | TwoWayRecord],
        bucket_width_s: float,
        first: int = 0,
        last: int | None = None,
    ) -> None:
        self.session = session
        self.bucket_width_s = bucket_width_s
        self.first = first
        self.last = session.packets if last is None else last
        self.records = [record for record in records if first <= record.sequence < self.last]
        self.sent = 0
        self.lost = 0
        self.synchronized = True
        """Whether every clock was synchronised at every stamp."""
        self.clocks_differ = False
        """Whether a delay of one direction was negative."""
        self.delays = {delay: DelayStatistics() for delay in (Delay if session.twoway else ONE_WAY)}
        self.ttls: dict[Delay, Counter[int]] = {Delay.FORWARD: Counter(), Delay.BACKWARD: Counter()}
        """TTL -> first copies; OWAMP has `FORWARD` only."""
        self.forward_duplicates = 0
        self.backward_duplicates = 0
        within_timeout = session.packets_per_s * session.timeout / 2**32 * _REORDERING_FACTOR
        self.reordering_limit = max(_REORDERING_PACKETS, int(min(within_timeout, session.packets)))
        self.reordered: Counter[int] = Counter()
        """n -> packets that are n-reordered."""
        self.arrived = 0
        """Copies that arrived: n-reordering is a share of them."""
        scheduled = [record.scheduled for record in self.records]
        self.start = min(scheduled, default=session.started)
        """Timestamp at which the first packet was to leave."""
        self.end = max(scheduled, default=session.started)
        if session.twoway:
            self._take_twoway(record for record in self.records if isinstance(record, TwoWayRecord))
        else:
            self._take_oneway(record for record in self.records if isinstance(record, OneWayRecord))

    def percentile_s(self, share: float, delay: Delay = Delay.WHOLE) -> float | None:
        """The edge of the bucket in which this share (0 to 1) of the packets sent is reached, None if none is."""
        reached = 0
        buckets = self.delays[delay].buckets
        for number in sorted(self._numbers()):
            reached += buckets[number]
            if reached >= share * self.sent:
                return number * self.bucket_width_s
        return None

    def jitter_s(self, delay: Delay = Delay.WHOLE) -> float | None:
        """95th less 50th percentile."""
        most, median = self.percentile_s(0.95, delay), self.percentile_s(0.5, delay)
        return None if most is None or median is None else most - median

    def bucket_rows(self) -> list[tuple[int, ...]]:
        """Each bucket in use, in order, with the packets of each delay in it."""
        delays = NETWORK if self.session.twoway else ONE_WAY
        return [
            (number, *(self.delays[delay].buckets[number] for delay in delays)) for number in sorted(self._numbers())
        ]

    def _numbers(self) -> set[int]:
        """Buckets are common to all delays of a session."""
        return {number for statistics in self.delays.values() for number in statistics.buckets}

    def _bucket(self, delay_s: float) -> int:
        number = delay_s / self.bucket_width_s
        return math.floor(number) if number < 0 else math.ceil(number)

    def _count_lost(self, claims: Stamp, delays: Iterable[Delay]) -> None:
        self.sent += 1
        self.lost += 1
        self.synchronized &= claims.synchronized
        for delay in delays:
            self.delays[delay].error_s = max(self.delays[delay].error_s, claims.error_s)

    def _take_oneway(self, records: Iterable[OneWayRecord]) -> None:
        seen: set[int] = set()
        newest: deque[int] = deque(maxlen=self.reordering_limit)
        whole = self.delays[Delay.WHOLE]
        for record in records:
            if not record.received.happened:
                self._count_lost(record.received, ONE_WAY)
                continue
            for n, earlier in enumerate(reversed(newest), start=1):
                if record.sequence >= earlier:
                    break
                self.reordered[n] += 1
            newest.append(record.sequence)
            self.arrived += 1
            self.synchronized &= record.sent.synchronized and record.received.synchronized
            delay_s = seconds_between(record.sent.timestamp, record.received.timestamp)
            whole.take(delay_s, record.sent.error_s + record.received.error_s)
            if record.sequence in seen:
                self.forward_duplicates += 1
                continue
            seen.add(record.sequence)
            self.sent += 1
            whole.buckets[self._bucket(delay_s)] += 1
            self.ttls[Delay.FORWARD][record.ttl] += 1

    def _take_twoway(self, records: Iterable[TwoWayRecord]) -> None:
        first_reply: dict[int, int] = {}
        duplicated: set[int] = set()
        replies: set[int] = set()
        for record in records:
            if not record.returned.happened:
                self._count_lost(record.returned, NETWORK)
                continue
            stamps = (record.sent, record.reached, record.reflected, record.returned)
            self.synchronized &= all(stamp.synchronized for stamp in stamps)
            delays_s = twoway_delays_s(record)
            self.clocks_differ |= delays_s[Delay.FORWARD] < 0 or delays_s[Delay.BACKWARD] < 0
            errors_s = twoway_errors_s(record)
            for delay, delay_s in delays_s.items():
                self.delays[delay].take(delay_s, errors_s[delay])
            new_reply = record.reflector_sequence not in replies
            replies.add(record.reflector_sequence)
            if not new_reply:
                self.backward_duplicates += 1
            # The same packet under another of the reflector's numbers was reflected twice: it came there twice.
            if record.sequence not in first_reply:
                first_reply[record.sequence] = record.reflector_sequence
                self.sent += 1
            elif new_reply and first_reply[record.sequence] != record.reflector_sequence:
                self.forward_duplicates += 1
                duplicated.add(record.sequence)
            if not new_reply or record.sequence in duplicated:
                continue
            for delay in NETWORK:
                self.delays[delay].buckets[self._bucket(delays_s[delay])] += 1
            self.ttls[Delay.FORWARD][record.ttl] += 1
            self.ttls[Delay.BACKWARD][record.returned_ttl] += 1


def twoway_delays_s(record: TwoWayRecord) -> dict[Delay, float]:
    """The delays of one reply."""
    processing_s = seconds_between(record.reached.timestamp, record.reflected.timestamp)
    return {
        Delay.WHOLE: seconds_between(record.sent.timestamp, record.returned.timestamp) - processing_s,
        Delay.FORWARD: seconds_between(record.sent.timestamp, record.reached.timestamp),
        Delay.BACKWARD: seconds_between(record.reflected.timestamp, record.returned.timestamp),
        Delay.PROCESSING: processing_s,
    }


def twoway_errors_s(record: TwoWayRecord) -> dict[Delay, float]:
    """What the stamps of one reply claim for the error of each delay."""
    forward_s = record.sent.error_s + record.reached.error_s
    backward_s = record.reflected.error_s + record.returned.error_s
    return {
        Delay.WHOLE: forward_s + backward_s,
        Delay.FORWARD: forward_s,
        Delay.BACKWARD: backward_s,
        Delay.PROCESSING: 0.0,
    }
