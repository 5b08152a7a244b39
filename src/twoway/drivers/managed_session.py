"""One test-session of a Control-Client: its own end of it, on the packet plane."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

from twoway.config import defaults
from twoway.control.owamp_codec import SendRecord
from twoway.control.registry import Protocol
from twoway.drivers.managed_ends import SessionReceiver, SessionSender
from twoway.drivers.managed_plane import schedule_ns
from twoway.drivers.plane import result_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from twoway.analysis.result import Event, Result, SessionDescription
    from twoway.config.managed import SessionRequest
    from twoway.control.negotiated import NegotiatedSession
    from twoway.drivers.managed_ends import IntervalSummary, Recorded, SampleBatch
    from twoway.errors import SessionRefusedError


class TestSession:
    """One test-session: an asynchronous iterator of its samples, with a result that is final when that ends.

    OWAMP has no samples, but records: where we send, they are fetched once the sessions are stopped.
    """

    __test__ = False  # no test of pytest's

    def __init__(
        self,
        check: Callable[[], None],
        session: NegotiatedSession,
        request: SessionRequest,
        description: SessionDescription,
        end: SessionSender | SessionReceiver,
    ) -> None:
        self._check = check
        self._session = session
        self._request = request
        self._end = end
        self._started_ns = 0
        self._recorded: Recorded | None = None
        self._broken = False
        self._news = asyncio.Event()
        self.description = description
        """What is measured, and with what."""
        self.started = False
        """Whether it has been started."""
        self.account: SendRecord | None = None
        """OWAMP: what the Server said that it has sent."""
        self.refusal: SessionRefusedError | None = None
        """OWAMP: why the Server did not send what it received."""
        end.news = self._news.set

    @property
    def sid(self) -> bytes:
        """Its SID, 16 octets (RFC 4656 section 3.5)."""
        return self._session.sid

    @property
    def negotiated(self) -> NegotiatedSession:
        """What both ends have agreed to."""
        return self._session

    @property
    def direction(self) -> str:
        """`two-way`, `forward` (OWAMP, we send) or `backward` (OWAMP, the Server sends)."""
        if self._session.protocol is Protocol.TWAMP:
            return "two-way"
        return "backward" if self._session.request.server_sends else "forward"

    @property
    def server_octets(self) -> int:
        """What the Server wants first in the padding to be reflected (RFC 6038 section 4.3); 0: nothing."""
        return self._session.server_octets

    @property
    def finished(self) -> bool:
        """Whether nothing more can come, and all samples were taken."""
        if self._broken:
            return True
        return self._end.finished if isinstance(self._end, SessionSender) else self._end.decided

    @property
    def broken(self) -> bool:
        """Whether its connection was lost before it had ended."""
        return self._broken

    @property
    def at_rest(self) -> bool:
        """Whether its own end does nothing any more. `finished` may be earlier: a lost connection ends a session."""
        return self._end.finished if isinstance(self._end, SessionSender) else not self._end.running

    @property
    def coalesce_ns(self) -> int:
        """How long to let samples gather before the next `take`: 0 where they come slowly enough one by one."""
        return self._end.coalesce_ns if isinstance(self._end, SessionSender) else 0

    @property
    def recorded(self) -> Recorded | None:
        """OWAMP: every packet's record, once the sessions are stopped; None if they could not be had."""
        return self._recorded

    def scheduled_ns(self) -> list[int]:
        """OWAMP: the wall time at which each packet is to leave (RFC 4656 section 3.6)."""
        return [self._started_ns + due_ns for due_ns in schedule_ns(self._session)]

    def take(self) -> SampleBatch | None:
        """The samples since the last call, None where there are none."""
        if not isinstance(self._end, SessionSender):
            return None
        batch = self._end.take()
        return batch if len(batch) else None

    def take_events(self) -> list[Event]:
        """The events since the last call; the result has all of them."""
        return self._end.take_events() if isinstance(self._end, SessionSender) else []

    def summary(self) -> IntervalSummary:
        """Everything so far."""
        if self._recorded is not None:
            return self._recorded.summary(self._started_ns)
        return self._end.summary()

    def take_interval(self) -> IntervalSummary | None:
        """What came since the last call; None with OWAMP, whose numbers are known at the end."""
        if isinstance(self._end, SessionSender) and self.direction == "two-way":
            return self._end.take_interval()
        return None

    def stop(self) -> None:
        """Send no more; replies are still awaited. `ControlClient.stop` tells the Server."""
        if isinstance(self._end, SessionSender):
            self._end.stop()
        else:
            self._broken = True
            self._news.set()

    def abort(self) -> None:
        """Send no more and wait for nothing: packets still awaited become pending."""
        if isinstance(self._end, SessionSender):
            self._end.abort()
        else:
            self.stop()

    async def wait(self, timeout_ns: int | None = None) -> None:
        """Sleep until `take` has something to do, at most `timeout_ns`."""
        try:
            async with asyncio.timeout(None if timeout_ns is None else timeout_ns / defaults.NANOS):
                await self._news.wait()
        except TimeoutError:
            return
        self._news.clear()

    async def __aiter__(self) -> AsyncIterator[SampleBatch]:
        """Batches as they come; raises what ended the connection, if it ended before the test did."""
        while True:
            batch = self.take()
            if batch is not None:
                yield batch
            if self.finished:
                break
            if self.coalesce_ns:
                await asyncio.sleep(self.coalesce_ns / defaults.NANOS)
            await self.wait()
        if self._broken:
            self._check()
        elif self.direction == "forward":
            # What is still under way may yet be received (RFC 4656 section 3.8).
            await asyncio.sleep(self._request.timeout_ns / defaults.NANOS)

    def result(self, *, interrupted: bool = False) -> Result:
        """The result so far; final once the iteration has ended, with OWAMP once the sessions are stopped."""
        interrupted = interrupted or self._broken
        if isinstance(self._end, SessionSender):
            known = self.summary() if self._recorded is not None else None
            return self._end.result(interrupted=interrupted, summary=known)
        return result_of(self.description, self.summary(), self._request.percentiles, interrupted=interrupted)

    # What the Control-Client does with it.

    def close(self) -> None:
        """The connection is over: end it at once. What was measured stays."""
        if isinstance(self._end, SessionReceiver):
            self._broken = self._broken or self._recorded is None
        self._end.close()
        self._news.set()

    def prepare(self) -> None:
        """Start-Sessions is about to be sent: a Session-Receiver must be there before the first packet."""
        self._started_ns = self._request.start_ns or time.time_ns()
        if isinstance(self._end, SessionReceiver):
            self._end.start(self._request.start_ns or None)

    def begin(self) -> None:
        """The Server has acknowledged the start."""
        self.started = True
        if isinstance(self._end, SessionSender):
            self._end.start(self._request.start_ns or None)

    def connection_lost(self) -> None:
        """There will be no Stop-Sessions: nothing more can be measured."""
        if isinstance(self._end, SessionReceiver):
            self._broken = True
            if self.started and self._recorded is None:
                self._end.abandon()
                self._recorded = self._end.recorded()
        elif not self._end.finished:
            self._broken = True
            self._end.abort()
        self._news.set()

    @property
    def slots_passed(self) -> int:
        """How far its schedule has come, in packets, sent or not; where the Server sends, as far as that is known."""
        if isinstance(self._end, SessionSender):
            if self.direction == "forward":
                return self._end.progress()[0]
            summary = self._end.summary()
            return summary.counter("sent") + summary.counter("not_sent")
        return self._recorded.next_seqno if self._recorded is not None else 0

    def progress(self) -> SendRecord | None:
        """OWAMP: what we have sent, now that it ends; None where the Server sends."""
        if not isinstance(self._end, SessionSender):
            return None
        return SendRecord(self.sid, *self._end.progress())

    def settle(self) -> None:
        """OWAMP: both ends have stopped. Where we received, the account of the Server makes the records final."""
        if isinstance(self._end, SessionReceiver):
            if self.account is None:
                self._end.abandon()
            else:
                self._end.complete(self.account.next_seqno, self.account.skip_ranges)
            self._recorded = self._end.recorded()
            self._broken = False
            self._end.close()

    def fetched(self, recorded: Recorded) -> None:
        """OWAMP: the Server has sent what it received."""
        self._recorded = recorded
