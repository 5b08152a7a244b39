"""The contract between Python and the packet plane (`rust/bindings`).

Every specification field is required: defaults live in `twoway.config`, never in Rust. Times are integer nanoseconds;
wall times count from the Unix epoch (UTC), monotonic times are CLOCK_MONOTONIC. `None` means that a value cannot be
known. No call here is on the path of a packet: worker threads own the sockets and never wait for Python.
"""

from collections.abc import Sequence
from typing import Any, Final, Self, final

__version__: Final[str]

@final
class Column:
    """One column of a batch: a read-only, one-dimensional buffer (PEP 688) of fixed-width integers.

    `memoryview(column)` and `numpy.asarray(column)` read it without a copy. `format` is the struct code: "q", "Q", "I"
    or "B".
    """

    @property
    def format(self) -> str: ...
    def __len__(self) -> int: ...
    def __buffer__(self, flags: int, /) -> memoryview: ...
    def tolist(self) -> list[int]: ...

@final
class SampleBatch:
    """Per-packet results, one row for each packet whose fate is known (and one for each duplicate or late reply).

    Nanosecond columns are "q" and hold `MISSING` where a value cannot be known. `status` holds the codes of
    `catalogue()["sample_status"]`; `flags` the bits of `catalogue()["sample_flags"]`; `*_source` the codes of
    `catalogue()["timestamp_source"]`. TTL and DSCP/ECN columns are "I" with 0xFFFFFFFF for unknown.
    """

    MISSING: Final[int]
    UNKNOWN: Final[int]
    def __len__(self) -> int: ...
    @property
    def sequence(self) -> Column: ...
    """Session-Sender sequence number ("I")."""
    @property
    def status(self) -> Column: ...
    @property
    def flags(self) -> Column: ...
    @property
    def t1_ns(self) -> Column: ...
    """Departure at the Session-Sender, wall clock."""
    @property
    def t2_ns(self) -> Column: ...
    """Arrival at the Session-Reflector, its wall clock."""
    @property
    def t3_ns(self) -> Column: ...
    """Departure at the Session-Reflector, its wall clock."""
    @property
    def t4_ns(self) -> Column: ...
    """Arrival at the Session-Sender, wall clock."""
    @property
    def round_trip_ns(self) -> Column: ...
    """(T4 - T1) - (T3 - T2)."""
    @property
    def forward_ns(self) -> Column: ...
    """T2 - T1: carries the offset between both clocks; negative values are kept."""
    @property
    def backward_ns(self) -> Column: ...
    @property
    def residence_ns(self) -> Column: ...
    """T3 - T2."""
    @property
    def send_lateness_ns(self) -> Column: ...
    """Departure after the scheduled moment. Of a packet that was not sent: how late it was when it was given up, or
    `MISSING` if the kernel refused it."""
    @property
    def reflector_sequence(self) -> Column: ...
    @property
    def t1_source(self) -> Column: ...
    @property
    def t3_source(self) -> Column:
        """Codes of `catalogue()["departure_source"]` ("B")."""
    @property
    def t4_source(self) -> Column: ...
    @property
    def sender_ttl(self) -> Column: ...
    """TTL or hop limit that the far end saw on our packet."""
    @property
    def returned_ttl(self) -> Column: ...
    @property
    def far_dscp_ecn(self) -> Column: ...
    """Traffic class octet as the far end saw it (RFC 7750), where it says so."""
    @property
    def returned_dscp_ecn(self) -> Column: ...

@final
class Distribution:
    """A mergeable distribution of nanosecond values: exact count, minimum, maximum, mean and deviation; quantiles
    from a base-2 exponential histogram within `relative_error`."""

    @property
    def count(self) -> int: ...
    @property
    def min_ns(self) -> int | None: ...
    @property
    def max_ns(self) -> int | None: ...
    @property
    def mean_ns(self) -> float | None: ...
    @property
    def stddev_ns(self) -> float | None: ...
    """Population standard deviation."""
    @property
    def relative_error(self) -> float: ...
    @property
    def scale(self) -> int: ...
    @property
    def zero_count(self) -> int: ...
    def quantile(self, q: float, /) -> int | None:
        """Smallest value x with F(x) >= q (RFC 2330 section 11.3), 0 <= q <= 1; None when empty."""
    def buckets(self) -> list[tuple[float, float, int]]:
        """Non-empty buckets in ascending order as (lower_ns, upper_ns, count)."""
    def merge(self, other: Distribution, /) -> Distribution: ...
    @staticmethod
    def of(values: Sequence[int], /) -> Distribution: ...
    def pack(self) -> bytes:
        """All of it, in a few octets for a few values."""
    @staticmethod
    def unpack(octets: bytes, /) -> Distribution:
        """What `pack` made. Raises `errors.WireError`."""

@final
class IntervalSummary:
    """Everything known about a span of a test-session. Summaries of adjoining spans merge exactly.

    `counters` maps each name of `catalogue()["summary_counters"]` to an integer, `distributions` each name of
    `catalogue()["summary_distributions"]` to a `Distribution`, `facts` each name of `catalogue()["summary_facts"]` to
    an integer or None (None: cannot be known).
    """

    @property
    def start_ns(self) -> int: ...
    """Wall time at which the span began."""
    @property
    def end_ns(self) -> int: ...
    def counter(self, name: str, /) -> int: ...
    def distribution(self, name: str, /) -> Distribution: ...
    def fact(self, name: str, /) -> int | None: ...
    @property
    def loss_bursts(self) -> dict[int, int]: ...
    """Length of a run of lost packets -> how many such runs (RFC 3357)."""
    @property
    def ttls(self) -> dict[str, dict[int, int]]: ...
    """For "far" and "returned": TTL value -> packets."""
    @property
    def dscp_ecns(self) -> dict[str, dict[int, int]]: ...
    """For "far" and "returned": traffic class octet -> packets."""
    @property
    def location(self) -> dict[str, int | str]:
        """What the far end sees of the last hop (RFC 8972 section 4.2), empty where it has not said: `source`,
        `source_port`, `destination`, `destination_port`, `source_mac`, each where it is known."""
    @property
    def clock_steps(self) -> list[tuple[int, int]]: ...
    """(wall time in ns, step in ns) of each step of the local clock; at most 16 are kept, all are counted."""
    def merge(self, other: IntervalSummary, /) -> IntervalSummary: ...
    def coarsened(self, max_buckets: int, /) -> IntervalSummary:
        """The same with histograms of fewer buckets: the resolution is halved until the range of either sign fits into
        `max_buckets`, but not below scale 2 (`relative_error` 8.6 %). All else stays exact. Coarse summaries merge,
        with others too, and the order of coarsening and merging does not matter once the whole is coarsened."""
    def pack(self) -> bytes:
        """All of it: about 60 octets for one packet, a few for an idle span."""
    @staticmethod
    def unpack(octets: bytes, /) -> IntervalSummary:
        """What `pack` made. Raises `errors.WireError`."""
    @staticmethod
    def made(
        *, start_ns: int, interval_ns: int, round_trips_ns: Sequence[int | None], forward_ns: int, per_summary: int
    ) -> list[bytes]:
        """Packed summaries of probes that were never sent, `per_summary` probes each, with these round trips (None:
        lost), of which the way there is `forward_ns` and some of what is more than twice that: for tests and benchmarks
        of what keeps summaries."""
    @staticmethod
    def merge_packed(packed: Sequence[bytes], /) -> IntervalSummary:
        """All of them as one, without an object for each. Raises `errors.WireError`. Releases the interpreter lock."""

@final
class SenderSpec:
    """What one Session-Sender does. Refused by `Plane.open_sender` with the field's name if it cannot be honoured."""

    def __new__(
        cls,
        *,
        target: str,
        target_port: int,
        scope_id: int,
        source: str | None,
        source_port: int,
        interface: str | None,
        netns: str | None,
        format: str,
        stamp_key: bytes | None,
        twamp_aes_key: bytes | None,
        twamp_hmac_key: bytes | None,
        ssid: int,
        timestamp_format: str,
        payload_len: int,
        fill: str,
        count: int | None,
        schedule: str,
        interval_ns: int,
        seed: int,
        timeout_ns: int,
        dscp_ecn: int,
        ttl: int,
        timestamps: str,
        reflector_mode: str,
        dscp_ecn_monitoring: bool,
        sample_capacity: int,
        receive_buffer: int,
    ) -> Self:
        """`target`, `source`: numeric addresses. `interface`: device or VRF to bind to. `netns`: name or path.

        `format`: a name of `catalogue()["packet_formats"]`. `fill`: "zeros" | "random". `schedule`: "periodic" |
        "poisson". `count` None: until stopped. `timestamps`: "kernel" | "hardware" | "user". `reflector_mode`: "auto" |
        "stateless" | "stateful". `sample_capacity`: samples kept until drained (0: none; more are dropped and counted).
        """

    def negotiated(self, *, symmetrical_size: bool, server_octets: bytes | None, reflected: int) -> SenderSpec:
        """The same with what a control connection negotiated for the padding (RFC 6038): zeros where the reply has its
        longer header, the Server octets first in the padding, and how much of it replies must bring back. Without this
        call TWAMP packets have those zeros."""
    def through_segments(self, segments: Sequence[str], /) -> SenderSpec:
        """The same by way of SRv6 segments, IPv6 addresses, first one first. Raises `ConfigError` for what is none."""
    def as_frames(
        self, *, labels: Sequence[int], gateway: str | None, interface: str | None, next_hop_patience_ns: int
    ) -> SenderSpec:
        """The same as whole frames, under a label stack (top first) or, by a named interface, under none. They go to
        `gateway`, or as the kernel would route to the target. Opening waits at most `next_hop_patience_ns` for the next
        hop's link-layer address. Raises `ConfigError` for labels that cannot be segments."""
    def requiring_ssid(self) -> SenderSpec:
        """The same, but a reply whose SSID is zero ends the session (RFC 8972 section 3)."""
    def with_tlvs(self, requests: TlvRequests, /, *, grow: bool) -> SenderSpec:
        """The same with STAMP TLVs, the rest of the payload filled with Extra Padding. With `grow`, the payload becomes
        as long as they need if it is shorter. Raises `ConfigError`."""
    @property
    def payload_len(self) -> int:
        """Octets of UDP payload of each packet."""
    def grouped(self, count: int, pause_ns: int, /) -> SenderSpec:
        """The same with a pause: after each `count` packets the next gap is `pause_ns`. A packet that could not be sent
        counts as one of its group."""

@final
class TlvRequests:
    """STAMP TLVs to ask for."""

    def __new__(
        cls,
        *,
        location: bool,
        timestamp_information: bool,
        class_of_service: int | None,
        direct_measurement: bool,
        access_report: tuple[str, int, int, int] | None,
        follow_up: bool,
        destination_node: str | None,
        return_path: tuple[str, str | None, Sequence[int], Sequence[str]] | None,
        micro_session: tuple[int, int] | None,
        control: tuple[int, int, int] | None,
        layer_2_group: tuple[bytes, bytes] | None,
        layer_3_group: tuple[str, int] | None,
        fixed_header: bool,
        extension_headers: Sequence[int],
        hmac: bool,
        hmac_key: bytes | None,
    ) -> Self:
        """`access_report`: (network, return code, timer in ns, retransmissions). `return_path`: (`none`, `same-link`,
        `address`, `mpls` or `srv6`; address, labels, segments). `control`: (length, count, interval in ns). Groups:
        (mask, group) and (prefix, prefix length). `hmac_key`: where packets are not authenticated themselves.
        """

@final
class OneWaySenderSpec:
    """What one OWAMP Session-Sender does."""

    def __new__(
        cls,
        *,
        target: str,
        target_port: int,
        scope_id: int,
        source: str | None,
        source_port: int,
        interface: str | None,
        netns: str | None,
        format: str,
        twamp_aes_key: bytes | None,
        twamp_hmac_key: bytes | None,
        timestamp_format: str,
        payload_len: int,
        fill: str,
        sid: bytes,
        slots: Sequence[tuple[int, int]],
        packets: int,
        seed: int,
        timeout_ns: int,
        dscp_ecn: int,
        ttl: int,
        timestamps: str,
        receive_buffer: int,
    ) -> Self:
        """`format`: a "twamp" one, whose Session-Sender packets are OWAMP's; `payload_len`: its 14 or 48 octets and the
        padding. `slots`: (type 0 exponential or 1 fixed, 64-bit parameter as on the wire), RFC 4656 section 3.6. A
        packet late by more than `timeout_ns` is not sent.
        """

@final
class ReflectorSpec:
    """What one Session-Reflector does."""

    def __new__(
        cls,
        *,
        listen: Sequence[tuple[str, int, int]],
        interface: str | None,
        netns: str | None,
        workers: int,
        stateful: bool,
        max_sessions: int,
        session_timeout_ns: int,
        keys: Sequence[tuple[str, int | None, bytes]],
        require_authentication: bool,
        allow: Sequence[tuple[str, int]],
        rate_limit: int,
        rate_limit_per_source: int,
        dscp: int | None,
        larger_replies: bool,
        dscp_ecn_monitoring: bool,
        timestamps: str,
        receive_buffer: int,
    ) -> Self:
        """`listen`: (numeric address, port, scope id). `keys`: (key id, SSID or None for any, HMAC key) for
        authenticated STAMP. `allow`: (network address, prefix length), empty for all. Rates in packets/s, 0 for none.
        `dscp`: of the replies, None to echo. `larger_replies`: whether a request shorter than the shortest reply is
        answered. What follows the base packet of STAMP is sent back as it came.
        """

    def with_tlvs(
        self,
        *,
        require_hmac: bool,
        location: str,
        permitted_dscps: Sequence[int] | None,
        sync_source: str | None,
        return_paths_authenticated: bool,
        return_paths_allow: Sequence[tuple[str, int]],
        reflect_headers: bool,
        micro_sessions: Sequence[tuple[str, int]],
        control: tuple[Sequence[tuple[str, int]], int, int, int, int] | None,
    ) -> ReflectorSpec:
        """The same, but STAMP TLVs are processed. `location`: `all`, `addresses`, `ports` or `nothing` is told.
        `permitted_dscps`: None for all. `sync_source`: None for what the kernel knows.
        `micro_sessions`: (device, Micro-session ID).
        `control`: (whom several replies are sent to, most of them, octets of each, octets a second, octets in all).
        """

@final
class HistoryBatch:
    """Probes whose fate is known, as columns, in the order of sending. Codes and `MISSING` as in `SampleBatch`."""

    MISSING: Final[int]
    def __len__(self) -> int: ...
    @property
    def sequence(self) -> Column: ...
    @property
    def test(self) -> Column:
        """Number of the test, from 1 ("I")."""
    @property
    def status(self) -> Column: ...
    @property
    def flags(self) -> Column: ...
    @property
    def t1_ns(self) -> Column:
        """Departure, by the wall clock."""
    @property
    def t4_ns(self) -> Column:
        """Arrival of the reply, by the wall clock."""
    @property
    def rtt_ns(self) -> Column: ...
    @property
    def egress_ns(self) -> Column:
        """To the Session-Reflector, where both clocks can carry it; so is `ingress_ns`."""
    @property
    def ingress_ns(self) -> Column: ...
    @property
    def residence_ns(self) -> Column: ...
    @property
    def rtt_jitter_ns(self) -> Column:
        """Signed difference from the probe received before it, of whichever test; its magnitude is Junos's jitter."""
    @property
    def egress_jitter_ns(self) -> Column: ...
    @property
    def ingress_jitter_ns(self) -> Column: ...
    @property
    def t1_source(self) -> Column: ...
    @property
    def t4_source(self) -> Column: ...
    @property
    def disturbed(self) -> Column:
        """1 if this host disturbed it: it left late, its moment passed, or the clock stepped."""

@final
class Collection:
    """Results of some probes in a row: of a test, of the last so many probes, or of all."""

    @property
    def test(self) -> int:
        """Number of the test, from 1; of "moving-average" and "all-tests" that of the newest."""
    @property
    def start_ns(self) -> int | None:
        """Wall time of the first departure."""
    @property
    def end_ns(self) -> int | None:
        """Wall time of the last departure or arrival."""
    @property
    def complete(self) -> bool:
        """Of a test: the fate of each of its probes is known. False for one that runs, and for one that was
        interrupted."""
    @property
    def stateful(self) -> bool | None:
        """True if the Session-Reflector numbers its replies; None as long as nothing shows it."""
    def counter(self, name: str, /) -> int:
        """A name of `catalogue()["collection_counters"]`."""
    def counters(self) -> dict[str, int]: ...
    def distribution(self, name: str, /) -> Distribution:
        """A name of `catalogue()["collection_distributions"]`: rtt, rtt_jitter, egress, … Jitter is the absolute
        difference from the probe received before. `egress` and `ingress` are of probes of which both clocks can carry
        them; those of the others, which include an unknown offset, are `egress_with_offset`, `ingress_with_offset`."""
    def interarrival_jitter_ns(self, name: str, /) -> int | None:
        """RFC 3550 jitter at the end; `name`: rtt, egress or ingress."""

@final
class Probes:
    """What probes showed since the last look: those that met a limit."""

    @property
    def decided(self) -> int:
        """Probes whose fate became known, whether they met a limit or not."""
    @property
    def max_rtt_ns(self) -> int | None:
        """Greatest round trip that met its limit; egress and ingress are like it, where both clocks can carry them."""
    @property
    def max_egress_ns(self) -> int | None: ...
    @property
    def max_ingress_ns(self) -> int | None: ...
    @property
    def loss_run(self) -> int:
        """Probes lost in a row that end with the last one whose fate is known, whether that met a limit or not."""
    @property
    def longest_loss_run(self) -> int:
        """Most probes lost in a row, or refused by the kernel, among the runs that met the limit."""
    @property
    def disturbed(self) -> bool:
        """This host disturbed one of them: it left late, or the clock stepped."""
    @property
    def since_ns(self) -> int | None:
        """Wall time at which the first of them left; of probes lost in a row, the first of those."""

@final
class Collections:
    """The results of one test-session as tests: current test, last test, moving average, all tests and history.

    A test is `probe_count` consecutive probes, or, if that is 0, what was sent from one `cut` to the next. A probe
    enters when its fate is known, so a lost one enters up to four timeouts after it was sent, when probes of
    later tests have entered already; each test therefore is open until all of its probes are there. Safe to use from
    several threads.
    """

    def __new__(cls, *, probe_count: int, moving_average_size: int, history_size: int) -> Self: ...
    def add(self, batch: SampleBatch, /) -> None: ...
    def watch(self, *, rtt_ns: int, egress_ns: int, ingress_ns: int, loss_run: int, late_ns: int) -> None:
        """Limits for single probes, 0 for none: a probe that meets one is reported by `Plane.collect`. A departure
        later than `late_ns` is this host's fault."""
    def probes(self) -> Probes:
        """What probes showed since the last call."""
    def forget_run(self) -> None:
        """What was lost so far proves nothing: the runs of losses of `probes` begin anew."""
    def cut(self, wall_ns: int, /) -> None:
        """What leaves from now on belongs to the next test (of a session with `probe_count` 0)."""
    def interrupt(self) -> None:
        """Its Session-Sender has ended, or is another from now on, whose sequence numbers begin anew: open tests end
        as they are. `Sender.attach` does this, too."""
    def keep_rows(self, most: int, /) -> None:
        """Rows are also kept as they come, at most so many until `take_rows`; 0: they are not."""
    def take_rows(self) -> SampleBatch:
        """The rows that came since the last call, in the order in which fates became known."""
    @property
    def rows_dropped(self) -> int:
        """Rows that nobody took before there were too many."""
    def take_finished(self) -> list[Collection]:
        """The tests that ended since the last call, in their order."""
    def collection(self, name: str, /) -> Collection | None:
        """ "current-test", "last-test", "moving-average" or "all-tests"; None before there is one. The current test is
        the newest of which a probe is known, and has the probes that are known."""
    @property
    def tests(self) -> int:
        """Tests that ended, over restarts; the number of the last of them."""
    @property
    def untaken(self) -> int:
        """Tests that nobody took before there were too many."""
    def history(self, since_ns: int | None, limit: int | None, /) -> HistoryBatch:
        """The last probes, those that left since `since_ns`, at most the `limit` last ones."""
    def last_probe(self) -> HistoryBatch:
        """The last probe sent whose fate is known, however small the history; empty before there is one."""
    def resize(self, *, moving_average_size: int, history_size: int) -> None: ...
    def clear(self, what: str, /) -> None:
        """ "results": last test, moving average and all tests begin anew, running tests go on; or "history"."""
    def pack(self) -> bytes:
        """What survives a restart: all tests, last test, history and the number of tests."""
    def restore(self, octets: bytes, /) -> None:
        """What `pack` made, before the first probe. Raises `errors.WireError`, and then nothing changed."""
    def memory_bytes(self) -> int: ...

@final
class Sender:
    """One running Session-Sender."""

    @property
    def id(self) -> int: ...
    @property
    def local_address(self) -> tuple[str, int]: ...
    @property
    def obtained(self) -> dict[str, str]: ...
    """What was asked for but obtained in lesser form: option -> what stands instead (empty when all was granted)."""
    def start(self) -> None:
        """Begin the schedule now. Of several starts the first counts."""
    def start_at(self, wall_ns: int, /) -> None:
        """Begin when the wall clock reads that. What has passed means now, but for OWAMP, whose schedule the other end
        follows too: it begins then, and what is late by more than the timeout is skipped."""
    def start_at_monotonic(self, monotonic_ns: int, /, *, in_step: bool) -> None:
        """Begin when the monotonic clock reads that. What has passed means now; with `in_step`, a whole number of
        intervals later."""
    def progress(self) -> tuple[int, list[tuple[int, int]]]:
        """(Next Seqno, Skip Ranges as (first, last)) for Stop-Sessions (RFC 4656 section 3.8): final after `stop` or
        the end. Skip Ranges are of OWAMP alone."""
    def stop(self) -> None:
        """Send no more; replies are still awaited for the timeout. Idempotent."""
    def report_access(self, access: str, return_code: int, /) -> None:
        """Report that state of the access network from the next packet on. Raises `ConfigError`."""
    def abort(self) -> None:
        """Stop at once: packets still awaited become pending, not lost."""
    @property
    def finished(self) -> bool: ...
    def drain(self) -> SampleBatch:
        """Take the samples gathered so far (may be empty). Never blocks on the worker."""
    def summary(self) -> IntervalSummary:
        """The whole test-session so far. Releases the interpreter lock."""
    def take_interval(self) -> IntervalSummary:
        """What came since the last `take_interval` (or the start)."""
    def take_events(self) -> list[tuple[int, str, int]]:
        """(wall time ns, event name of `catalogue()["events"]`, errno or 0), bounded; repeated events are counted."""
    def follow(
        self,
        windows: Sequence[tuple[int, Sequence[tuple[str, float, float, bool]]]],
        /,
        *,
        late_ns: int,
        before: Sender | None = None,
    ) -> None:
        """Somebody acts on what it shows: from now on its samples go to its collections at once, and the end of a
        test, a probe that meets a limit of `Collections.watch` and a limit of `windows` that is met, or met no more,
        are alerts of the plane.

        A window is (length in ns, limits), a limit is (a name of `catalogue()["watch_metrics"]`, value that is met,
        value below which it is met no more, whether the greatest value is compared and not the mean). Departures later
        than `late_ns` are this host's fault and say nothing. `before` sent the probes of the same test-session: what
        it saw of the same windows goes on here. Waits for its worker; releases the interpreter lock."""
    def follow_no_more(self) -> None:
        """Nobody acts on what it shows."""
    def findings(self) -> list[list[tuple[int, float | None]]]:
        """How each limit of each window stood last: (code of `catalogue()["watch_states"]`, value if known)."""
    def attach(self, collections: Collections, /) -> None:
        """Its samples go there by `Plane.collect`. Tests that an earlier Session-Sender left open are interrupted."""
    def collect(self) -> None:
        """Moves what it has by now into its collections. After the end these belong to another, if there is one."""

@final
class Plane:
    """Worker threads that own Session-Senders. Dropping it stops them."""

    def __new__(cls, *, workers: int, busy_poll: bool) -> Self: ...
    def open_sender(self, spec: SenderSpec, /) -> Sender: ...
    def open_one_way_sender(self, spec: OneWaySenderSpec, /) -> Sender:
        """Its session ends with its last packet: nobody answers."""
    def fileno(self) -> int:
        """Readable when any Session-Sender has samples, events or has finished; `acknowledge` clears it."""
    def acknowledge(self) -> list[int]:
        """Ids of the Session-Senders with news since the last call."""
    def collect(self) -> list[tuple[int, int]]:
        """`acknowledge`, and all samples go to the `Collections` attached. Returns (id, news) of the Session-Senders
        that somebody should look at: bit n of `news` is the n-th name of `catalogue()["news"]`. Releases the
        interpreter lock."""
    def alert_fileno(self) -> int:
        """Readable when there are alerts of Session-Senders that are followed; `take_alerts` clears it."""
    def take_alerts(self) -> list[tuple[int, int, list[list[tuple[int, float | None]]]]]:
        """(id, news, findings) of Session-Senders with alerts since the last call: bit n of `news` is the n-th name of
        `catalogue()["news"]`, `findings` as `Sender.findings`."""
    def take_intervals(self, ids: Sequence[int] | None, /, *, late_ns: int) -> list[tuple[int, bytes, int]]:
        """`take_interval` of these Session-Senders, or of all that have been started, packed: (id, octets, own
        faults). Bit n of the faults is the n-th name of `catalogue()["own_faults"]`; departures later than `late_ns`
        are one. Never holds up a packet. Releases the interpreter lock."""
    def summaries(self, ids: Sequence[int] | None, /) -> list[tuple[int, bytes]]:
        """`summary` of these Session-Senders, or of all that have been started, packed."""
    def close(self) -> None: ...

@final
class Reflector:
    """A running Session-Reflector."""

    def __new__(cls, spec: ReflectorSpec, /) -> Self:
        """Opens and binds all sockets; raises at the first that fails."""
    def start(self) -> None: ...
    def change(self, spec: ReflectorSpec, /) -> None:
        """Goes by the keys, allow list, rate limits and need of authentication of `spec` from the next packet on.

        All else has to be as it was, and that there are keys. Raises as at the beginning; then nothing has changed.
        """
    @property
    def local_addresses(self) -> list[tuple[str, int]]: ...
    @property
    def obtained(self) -> dict[str, str]: ...
    def counters(self) -> dict[str, int]:
        """Disposition "reason:action" -> packets: each received packet is in exactly one.

        `catalogue()["dispositions"]` has their names.
        """
    def own_counters(self) -> dict[str, int]:
        """The reflector's own state: socket_drops, send_errors, sessions, session_evictions, larger_replies, …"""
    def distribution(self, name: str, /) -> Distribution:
        """ "transmit_prediction_error": departure by the kernel's stamp minus the T3 written; "residence"."""
    def stop(self, drain_ns: int, /) -> None:
        """Answer what is already queued for at most `drain_ns`, then end the workers."""

@final
class ManagedReflectorSpec:
    """What the Session-Reflector of one negotiated test-session does (RFC 5357 section 4.2)."""

    def __new__(
        cls,
        *,
        local: str,
        local_port: int,
        scope_id: int,
        interface: str | None,
        netns: str | None,
        sender: str,
        sender_port: int,
        format: str,
        twamp_aes_key: bytes | None,
        twamp_hmac_key: bytes | None,
        timestamp_format: str,
        symmetrical_size: bool,
        dscp_ecn_monitoring: bool,
        dscp_ecn: int,
        ttl: int,
        timeout_ns: int,
        refwait_ns: int | None,
        timestamps: str,
        receive_buffer: int,
    ) -> Self:
        """`local_port` 0: any free one. Sessions with the same `local` and `local_port` share a socket, and are told
        apart by their senders. `sender`: who alone is answered; it must be an address, so zero is replaced by the
        control connection's first. `sender_port` 0: any port of that address. `format`: a "twamp" one. `dscp_ecn`:
        traffic class octet of the replies. `timeout_ns`: how long to answer after `stop`. `refwait_ns`: REFWAIT, None
        for no end.
        """

@final
class ManagedReflector:
    """The Session-Reflector of one negotiated test-session. Dropping it closes its port."""

    @property
    def id(self) -> int: ...
    @property
    def local_address(self) -> tuple[str, int]:
        """For Accept-Session."""
    @property
    def obtained(self) -> dict[str, str]: ...
    def start(self) -> None:
        """Before Start-Ack is sent: packets before it are dropped. Of several starts the first counts."""
    def start_at(self, wall_ns: int, /) -> None: ...
    def stop(self) -> None:
        """Stop-Sessions was exchanged: answer for the timeout still, then end. Before a start: end now."""
    def close(self) -> None:
        """End now and close the port."""
    @property
    def end(self) -> str:
        """Why it ended: "running", "stopped", "refwait", "closed" or "failed" (`catalogue()["managed_ends"]`)."""
    def counters(self) -> dict[str, int]:
        """Disposition -> packets (`catalogue()["managed_dispositions"]`): each packet on its port is in exactly one."""

@final
class SessionReceiverSpec:
    """What one OWAMP Session-Receiver does (RFC 4656 section 4.2)."""

    def __new__(
        cls,
        *,
        local: str,
        local_port: int,
        scope_id: int,
        interface: str | None,
        netns: str | None,
        sender: str,
        sender_port: int,
        format: str,
        twamp_aes_key: bytes | None,
        twamp_hmac_key: bytes | None,
        sid: bytes,
        slots: Sequence[tuple[int, int]],
        packets: int,
        timeout_ns: int,
        record_capacity: int,
        timestamps: str,
        receive_buffer: int,
    ) -> Self:
        """Port and sender as in `ManagedReflectorSpec`, schedule as in `OneWaySenderSpec`. `record_capacity`: records
        kept, 32 octets each; it must hold a record for each of `packets`, what is more is for duplicates.
        """

@final
class RecordBatch:
    """Packet records of an OWAMP test-session in the order of arrival, losses where they became known.

    `send_ns` and `receive_ns` hold `MISSING` where there is no valid timestamp, as in the `receive_ns` of a lost
    packet.
    """

    MISSING: Final[int]
    def __len__(self) -> int: ...
    @property
    def sequence(self) -> Column: ...
    @property
    def lost(self) -> Column:
        """1 for a packet that did not come ("B")."""
    @property
    def send_ns(self) -> Column:
        """Departure, by the Session-Sender's wall clock; the scheduled time of a lost packet."""
    @property
    def receive_ns(self) -> Column: ...
    @property
    def send_timestamp(self) -> Column:
        """As on the wire ("Q")."""
    @property
    def receive_timestamp(self) -> Column: ...
    @property
    def send_error_estimate(self) -> Column:
        """As on the wire ("I")."""
    @property
    def receive_error_estimate(self) -> Column: ...
    @property
    def ttl(self) -> Column:
        """TTL or hop limit on arrival, 255 if unknown or lost ("B")."""
    def between(self, begin: int, end: int, /) -> RecordBatch:
        """Those with these sequence numbers, both included (Fetch-Session's Begin Seq and End Seq)."""
    def octets(self) -> bytes:
        """As Fetch-Session carries them (RFC 4656 section 3.9): 25 octets each, without the padding to a block."""
    @staticmethod
    def parse(octets: bytes, /, *, near_ns: int) -> RecordBatch:
        """Fetched records. `near_ns`: a wall time within 68 years. Raises `errors.WireError` for a part of one."""
    def summary(self, *, skip_ranges: Sequence[tuple[int, int]], start_ns: int, end_ns: int) -> IntervalSummary:
        """The records in numbers: `forward` and its variation, losses, duplicates and reordering forward."""

@final
class SessionReceiver:
    """One OWAMP Session-Receiver. Dropping it closes its port and forgets its records."""

    @property
    def id(self) -> int: ...
    @property
    def local_address(self) -> tuple[str, int]: ...
    @property
    def obtained(self) -> dict[str, str]: ...
    def start(self) -> None: ...
    def start_at(self, wall_ns: int, /) -> None:
        """The schedule begins when the wall clock reads that: the same moment as at the Session-Sender."""
    def close(self) -> None:
        """Close the port; records are forgotten unless it was complete or abandoned."""
    @property
    def end(self) -> str: ...
    @property
    def decided(self) -> bool:
        """Every packet of the schedule is received or lost (two timeouts after the last one is due)."""
    def counters(self) -> dict[str, int]: ...
    def complete(self, next_seqno: int, skip_ranges: Sequence[tuple[int, int]], /) -> str:
        """Stop-Sessions came, and said so of the Session-Sender. Closes the port, discards what must not count (RFC
        4656 section 3.8) and returns the outcome, a name of `catalogue()["receiver_outcomes"]`: "complete", or
        "invalid" if more came than was sent. The first end stands."""
    def abandon(self) -> str:
        """The control connection broke: losses after the last packet that came are left out."""
    def recorded(self) -> tuple[RecordBatch, str, int, list[tuple[int, int]]]:
        """(records so far, outcome, Next Seqno, Skip Ranges); "running", 0 and [] before the end."""
    def summary(self) -> IntervalSummary: ...

@final
class ManagedPlane:
    """Worker threads that own the ports of managed test-sessions. Dropping it ends them."""

    def __new__(cls, *, workers: int) -> Self: ...
    def open_reflector(self, spec: ManagedReflectorSpec, /) -> ManagedReflector:
        """Opens its port; raises if that is not to be had. It answers nobody before it is started."""
    def open_receiver(self, spec: SessionReceiverSpec, /) -> SessionReceiver: ...
    def fileno(self) -> int:
        """Readable when a session has ended or a Session-Receiver is decided; `acknowledge` clears it."""
    def acknowledge(self) -> list[int]:
        """Ids of the sessions with news since the last call."""
    def counters(self) -> dict[str, int]:
        """The plane's own state (`catalogue()["managed_counters"]`): unmatched, socket_drops, send_errors, …"""
    def transmit_prediction_error(self) -> Distribution:
        """Departure of replies by the kernel's stamp minus the T3 written."""
    def close(self) -> None: ...

def owamp_schedule(*, sid: bytes, slots: Sequence[tuple[int, int]], packets: int) -> Column:
    """When each packet is due, in nanoseconds after the start ("q"): RFC 4656 sections 3.6 and 5. 8 octets a packet."""

@final
class DecodedPacket:
    """Meaning of a test packet's octets, for tests and troubleshooting."""

    @property
    def fields(self) -> dict[str, int | None]: ...
    @property
    def tlvs(self) -> list[tuple[int, int, bytes]]: ...
    """(flags, type, value) of each TLV after the STAMP base packet."""

def decode_test_packet(
    octets: bytes,
    *,
    format: str,
    role: str,
    stamp_key: bytes | None,
    twamp_aes_key: bytes | None,
    twamp_hmac_key: bytes | None,
    near_ns: int,
) -> DecodedPacket:
    """`role`: "sender" | "reflector". Raises `twoway.errors.WireError` naming the rule that failed."""

def encode_test_packet(
    fields: dict[str, int],
    *,
    format: str,
    role: str,
    stamp_key: bytes | None,
    twamp_aes_key: bytes | None,
    twamp_hmac_key: bytes | None,
    payload_len: int,
) -> bytes: ...
def derive_twamp_test_keys(sid: bytes, aes_key: bytes, hmac_key: bytes, /) -> tuple[bytes, bytes]:
    """Test-session keys from the control connection's (RFC 4656 section 4.1.2)."""

@final
class PathComparison:
    """Compares paths that were measured at the same moments, slot by slot."""

    def __new__(cls, *, paths: int) -> Self: ...
    def add(self, path: int, batch: SampleBatch, /) -> None:
        """Takes samples of the path of that number, in the order in which its Session-Sender gave them."""
    @property
    def unpaired(self) -> int:
        """Slots of which some path was not heard of in time to be compared."""
    def differences(
        self,
    ) -> list[tuple[int, str, int, int, float | None, tuple[float, float] | None, float | None, float | None]]:
        """(path, a name of `catalogue()["compared"]`, pairs, stretches, estimate, interval, p-value, p-value adjusted
        for the number of paths) of each path but the first; times in ns, loss as a share. None: not enough pairs."""

def make_frame(
    payload: bytes,
    /,
    *,
    source_mac: bytes,
    destination_mac: bytes,
    labels: Sequence[int],
    source: tuple[str, int],
    destination: tuple[str, int],
    dscp_ecn: int,
    ttl: int,
) -> bytes:
    """The Ethernet frame that carries a UDP payload under an MPLS label stack, or under none, for tests."""

def make_routing_header(segments: Sequence[str], /) -> bytes:
    """The segment routing header (RFC 8754) for a list of IPv6 addresses, as a socket is given it, for tests."""

def lag_members(interface: str, /, *, netns: str | None) -> list[str]:
    """Names of the interfaces that are members of a bond, a team or a bridge. Raises `PlaneError`."""

def clock_state() -> dict[str, int | None]:
    """`adjtimex`: synchronized (0 or 1), error_ns (maximum error or None), estimated_error_ns, offset_ns,
    frequency_ppb, tai_offset_s."""

def open_socket(netns: str, /, *, ipv6: bool, stream: bool) -> int:
    """The descriptor of a new TCP (`stream`) or UDP socket of a network namespace (name or path), non-blocking, which
    is the caller's. Only a thread of its own enters the namespace."""

def capabilities(interface: str | None, /) -> dict[str, tuple[bool, str]]:
    """Feature -> (available, what was seen). Sends real packets on loopback (and on `interface`) to see which stamps
    arrive."""

def catalogue() -> dict[str, Any]:
    """All names and code points that the packet plane knows; Python's tables are compared with it by a test."""
