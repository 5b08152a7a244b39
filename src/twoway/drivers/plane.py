"""The packet plane as Python sees it: measurements. `reflector` and `managed_plane` beside it have the far ends.

Theory of operation. A `Measurement` (what was asked for) and a resolved address become a `SessionSpec` (complete), and
that becomes the native specification. Worker threads of the plane own the sockets from then on; here nothing happens
but waiting for one descriptor, taking batches of samples and, at the end, one summary. No loop in this module spins:
each wait is for the plane's descriptor, bounded only by the end of a `duration_ns` that the plane does not know of.
"""

from __future__ import annotations

import functools
import os
import select
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Self, Unpack

from twoway.analysis.result import Event, Result, SessionDescription
from twoway.config import defaults
from twoway.config.endpoint import parse_endpoint
from twoway.config.measurement import Measurement
from twoway.drivers.native import _native
from twoway.drivers.resolve import Address, numeric_family, resolve
from twoway.drivers.tlvs import tlv_arguments
from twoway.errors import ConfigError
from twoway.session import SessionSpec

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

    # Others know these from here.
    from twoway._native import Distribution as Distribution
    from twoway._native import IntervalSummary as IntervalSummary
    from twoway._native import SampleBatch as SampleBatch
    from twoway.config.options import MeasurementOptions
    from twoway.tlvs import AccessReport

MAX_EVENTS = 10_000
"""Events that a result keeps; a longer list would say nothing more."""
COALESCE_NS = 20_000_000
"""With departures closer than a tenth of this, samples are taken this often and not one by one."""
_NEXT_HOP_PATIENCE_NS = defaults.NANOS // 2
"""For a neighbour to say its link-layer address: then the first packet finds its way, too."""
_FINISH_NS = 2 * defaults.NANOS
"""How long an aborted measurement may take to end: its worker has only to wake up."""


def version() -> str:
    """The version of twoway, which Python and the packet plane share."""
    return _native.__version__


def local_clock() -> dict[str, int | None]:
    """The state of the local clock, by `adjtimex`: synchronized, error_ns, …; None for what it does not know."""
    return _native.clock_state()


@functools.cache
def header_len(packet_format: str) -> int:
    """Octets of a Session-Sender's packet of that format before padding and TLVs."""
    sender_len: int = _native.catalogue()["packet_formats"][packet_format][0]
    return sender_len


def session_spec(measurement: Measurement, address: Address, next_hop_patience_ns: int = 0) -> SessionSpec:
    """The complete test-session for what was asked. Raises `ConfigError`."""
    if measurement.source is not None and numeric_family(measurement.source) is None:
        raise ConfigError("source", f"{measurement.source!r} is no numeric address")
    if measurement.source is not None and numeric_family(measurement.source) != address.family:
        raise ConfigError("source", f"{measurement.source} and {address.host} are not of the same address family")
    return SessionSpec(
        target=address.host,
        target_port=address.port,
        scope_id=address.scope_id,
        source=measurement.source,
        source_port=measurement.source_port,
        interface=measurement.interface,
        netns=measurement.netns,
        format=measurement.packet_format,
        stamp_key=measurement.key,
        twamp_aes_key=None,
        twamp_hmac_key=None,
        ssid=measurement.ssid,
        timestamp_format=measurement.clock_format,
        payload_len=measurement.packet_size,
        fill=measurement.fill,
        count=measurement.packet_count,
        schedule=measurement.schedule,
        interval_ns=measurement.interval_ns,
        seed=int.from_bytes(os.urandom(8), "big") if measurement.seed is None else measurement.seed,
        timeout_ns=measurement.timeout_ns,
        dscp_ecn=measurement.dscp_ecn,
        ttl=measurement.ttl,
        timestamps=measurement.timestamps,
        reflector_mode=measurement.reflector_mode,
        dscp_ecn_monitoring=measurement.dscp_ecn_monitoring,
        sample_capacity=measurement.sample_capacity,
        receive_buffer=measurement.receive_buffer,
        path=measurement.path,
        tlvs=measurement.tlvs,
        tlv_key=measurement.tlv_key,
        payload_grows=measurement.payload_len is None,
        next_hop_patience_ns=next_hop_patience_ns,
        require_ssid=measurement.require_ssid,
    )


def sender_spec(spec: SessionSpec) -> _native.SenderSpec:
    """As the packet plane wants it."""
    native = _native.SenderSpec(
        target=spec.target,
        target_port=spec.target_port,
        scope_id=spec.scope_id,
        source=spec.source,
        source_port=spec.source_port,
        interface=spec.interface,
        netns=spec.netns,
        format=spec.format,
        stamp_key=spec.stamp_key,
        twamp_aes_key=spec.twamp_aes_key,
        twamp_hmac_key=spec.twamp_hmac_key,
        ssid=spec.ssid,
        timestamp_format=spec.timestamp_format,
        payload_len=spec.payload_len,
        fill=spec.fill,
        count=spec.count,
        schedule=spec.schedule,
        interval_ns=spec.interval_ns,
        seed=spec.seed,
        timeout_ns=spec.timeout_ns,
        dscp_ecn=spec.dscp_ecn,
        ttl=spec.ttl,
        timestamps=spec.timestamps,
        reflector_mode=spec.reflector_mode,
        dscp_ecn_monitoring=spec.dscp_ecn_monitoring,
        sample_capacity=spec.sample_capacity,
        receive_buffer=spec.receive_buffer,
    )
    if spec.require_ssid:
        native = native.requiring_ssid()
    if spec.tlvs:
        requests = _native.TlvRequests(**tlv_arguments(spec.tlvs, spec.tlv_key))
        native = native.with_tlvs(requests, grow=spec.payload_grows)
    path = spec.path
    if path.kind == "srv6":
        return native.through_segments(path.segments)
    if path.framed:
        return native.as_frames(
            labels=path.labels,
            gateway=path.gateway,
            interface=path.interface,
            next_hop_patience_ns=spec.next_hop_patience_ns,
        )
    return native


def describe(
    spec: SessionSpec,
    protocol: str,
    target: str,
    *,
    far: tuple[str, int],
    near: tuple[str, int],
    payload_len: int,
    obtained: dict[str, str],
) -> SessionDescription:
    """What a test-session measures: `target` as it was written; `far` and `near`, addresses and ports of both ends."""
    return SessionDescription(
        protocol=protocol,
        target=target,
        address=far[0],
        port=far[1],
        local_address=near[0],
        local_port=near[1],
        ssid=spec.ssid,
        format=spec.format,
        dscp_ecn=spec.dscp_ecn,
        ttl=spec.ttl,
        payload_len=payload_len,
        interval_ns=spec.interval_ns,
        schedule=spec.schedule,
        count=spec.count,
        timeout_ns=spec.timeout_ns,
        timestamps=spec.timestamps,
        reflector_mode=spec.reflector_mode,
        tlvs=spec.tlvs.names,
        reply_dscp=spec.tlvs.class_of_service,
        path=str(spec.path),
        return_path=None if spec.tlvs.return_path is None else str(spec.tlvs.return_path),
        obtained=obtained,
    )


class RunningMeasurement:
    """One measurement with its socket open. A context manager; leaving it stops everything.

    The rhythm: `start`; then `take` and, until `finished`, wait for `fileno` at most `remaining_ns`; last, `result`.
    `measure`, `stream` and the command line all run on this.
    """

    def __init__(self, measurement: Measurement, address: Address, plane: _native.Plane | None = None) -> None:
        """Open the socket, on a plane of its own if none is given. Raises `ConfigError` or `PlaneError`."""
        self._measurement = measurement
        self._spec = session_spec(measurement, address, _NEXT_HOP_PATIENCE_NS)
        self._plane = _native.Plane(workers=1, busy_poll=measurement.busy_poll) if plane is None else plane
        try:
            native = sender_spec(self._spec)
            self._sender = self._plane.open_sender(native)
        except BaseException:
            if plane is None:
                self._plane.close()
            raise
        self._events = Events(self._sender)
        self._deadline_ns: int | None = None
        self._finished = False
        self.description = describe(
            self._spec,
            measurement.protocol,
            measurement.target,
            far=(self._spec.target, self._spec.target_port),
            near=self._sender.local_address,
            payload_len=native.payload_len if self._spec.tlvs else self._spec.payload_len,
            obtained=self._sender.obtained,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def start(self, at_monotonic_ns: int | None = None) -> None:
        """Send the first packet now, or when the monotonic clock reads that, in step with others."""
        measurement = self._measurement
        if measurement.duration_ns is not None and measurement.schedule != "periodic":
            # A periodic schedule has its duration in the count; the random one ends by the clock.
            self._deadline_ns = time.monotonic_ns() + measurement.duration_ns
        if at_monotonic_ns is None:
            self._sender.start()
        else:
            self._sender.start_at_monotonic(at_monotonic_ns, in_step=True)

    def stop(self) -> None:
        """Send no more, and go on waiting for replies as long as they may be in time."""
        self._sender.stop()

    def abort(self) -> None:
        """Stop at once: packets still awaited become pending, not lost."""
        self._sender.abort()

    def report_access(self, report: AccessReport) -> None:
        """Report that state of the access network from the next packet on, until it is acknowledged (RFC 8972 section
        4.6). Means nothing unless the measurement asks for an access report. Raises `ConfigError`."""
        self._sender.report_access(report.access, report.return_code)

    def close(self) -> None:
        """Stop the worker and close the socket."""
        self._plane.close()

    @property
    def finished(self) -> bool:
        """Whether the last `take` was the last one: the fate of every packet is known and its sample was taken."""
        return self._finished

    def fileno(self) -> int:
        """Readable when there are samples or events, or it has finished; `take` clears it."""
        return self._plane.fileno()

    def remaining_ns(self) -> int | None:
        """How long `duration_ns` still lasts where only `take` can end it, else None."""
        return None if self._deadline_ns is None else max(0, self._deadline_ns - time.monotonic_ns())

    def take(self) -> SampleBatch:
        """The samples since the last call (maybe none), after noting events and the end of `duration_ns`."""
        if self._deadline_ns is not None and self.remaining_ns() == 0:
            self._deadline_ns = None
            self.stop()
        self._plane.acknowledge()
        # In this order: news after `acknowledge` wakes the next wait, and what `finished` promises is in this batch.
        self._finished = self._sender.finished
        return self._sender.drain()

    def take_events(self) -> list[Event]:
        """The events since the last call. The result holds all of them."""
        return self._events.take()

    def take_interval(self) -> IntervalSummary:
        """What came since the last call."""
        return self._sender.take_interval()

    def summary(self) -> IntervalSummary:
        """Everything so far."""
        return self._sender.summary()

    def wait(self, timeout_ns: int | None = None) -> None:
        """Sleep until `take` has something to do, at most `timeout_ns`."""
        bounds = [bound for bound in (timeout_ns, self.remaining_ns()) if bound is not None]
        poll = select.poll()
        poll.register(self.fileno(), select.POLLIN)
        poll.poll(-(-min(bounds) // 1_000_000) if bounds else None)

    def settle(self) -> None:
        """After `abort`: wait until the worker has seen it, at most a moment."""
        deadline_ns = time.monotonic_ns() + _FINISH_NS
        while not self._sender.finished and time.monotonic_ns() < deadline_ns:
            self.wait(deadline_ns - time.monotonic_ns())
            self._plane.acknowledge()

    @property
    def coalesce_ns(self) -> int:
        """How long to let samples gather before the next `take`: 0 where they come slowly enough one by one."""
        return coalesce_ns(self._spec.interval_ns)

    def result(self, *, interrupted: bool = False) -> Result:
        """The result so far; final once `finished`."""
        self.take_events()
        return result_of(
            self.description,
            self.summary(),
            self._measurement.percentiles,
            events=self._events.kept,
            interrupted=interrupted,
        )


class Events:
    """What befell a Session-Sender; the first `MAX_EVENTS` are kept for its result."""

    def __init__(self, sender: _native.Sender) -> None:
        self._sender = sender
        self._kept: list[Event] = []

    def take(self) -> list[Event]:
        """Those since the last call."""
        fresh = [Event(*event) for event in self._sender.take_events()]
        self._kept.extend(fresh[: MAX_EVENTS - len(self._kept)])
        return fresh

    @property
    def kept(self) -> tuple[Event, ...]:
        """The first of all."""
        return tuple(self._kept)


def coalesce_ns(interval_ns: int) -> int:
    """How long to let the samples of a session gather: 0 where they come slowly enough one by one."""
    return COALESCE_NS if interval_ns * 10 < COALESCE_NS else 0


def result_of(
    description: SessionDescription,
    summary: IntervalSummary,
    percentiles: tuple[float, ...],
    *,
    events: tuple[Event, ...] = (),
    interrupted: bool,
) -> Result:
    """A result of now."""
    return Result(
        session=description,
        summary=summary,
        clock=local_clock(),
        events=events,
        started_ns=summary.start_ns,
        ended_ns=summary.end_ns,
        interrupted=interrupted,
        percentiles=percentiles,
    )


def measurement_of(target: str | Measurement, options: MeasurementOptions, *, count: int | None) -> Measurement:
    """A `Measurement` from the arguments of a call, `count` standing in where it is not said when to end."""
    if isinstance(target, Measurement):
        if options:
            raise ConfigError("options", "a Measurement has them all: use dataclasses.replace to change one")
        return target
    if "count" not in options and options.get("duration_ns") is None:
        options = {**options, "count": count}
    return Measurement(target, **options)


def resolve_target(measurement: Measurement) -> Address:
    """The address that a measurement goes to. Blocks while the resolver does. Raises `ConfigError`, `ResolveError`."""
    return resolve(parse_endpoint(measurement.target), defaults.PORT, measurement.family)


def measure(
    target: str | Measurement,
    *,
    on_samples: Callable[[SampleBatch], None] | None = None,
    **options: Unpack[MeasurementOptions],
) -> Result:
    """Measure a path and wait for the result: `measure("192.0.2.1", count=10, interval_ns=20_000_000)`.

    The options are the fields of `Measurement`; without `count` and `duration_ns`, 10 packets are sent. `on_samples`
    gets the per-packet columns as they come (`numpy.asarray(batch.round_trip_ns)` does not copy); its exceptions end
    the measurement. All times are integer nanoseconds. No reply is a result, not an error.

    Raises `ConfigError` (an option out of its range), `ResolveError` and `PlaneError` (socket, privilege, route).
    RFC 8762 section 4, RFC 5357 appendix I.
    """
    measurement = measurement_of(target, options, count=defaults.API_COUNT)
    if on_samples is None:
        measurement = replace(measurement, sample_capacity=0)
    with RunningMeasurement(measurement, resolve_target(measurement)) as running:
        running.start()
        while True:
            batch = running.take()
            if on_samples is not None and len(batch):
                on_samples(batch)
            if running.finished:
                return running.result()
            if running.coalesce_ns:
                time.sleep(running.coalesce_ns / defaults.NANOS)
            running.wait()


def capabilities(interface: str | None = None) -> dict[str, tuple[bool, str]]:
    """Feature -> (available, what was seen). Sends real packets on loopback and `interface` to see their stamps."""
    return _native.capabilities(interface)
