//! Session-Senders: specification in, handles out.

use std::collections::HashMap;
use std::net::Ipv6Addr;
use std::time::Duration;

use pyo3::prelude::*;
use pyo3::types::PyBytes;
use twoway_plane::clock::Moment;
use twoway_plane::ledger::{LedgerSpec, ReflectorMode};
use twoway_plane::path::{ForwardPath, FramePath};
use twoway_plane::sample::TimestampSource;
use twoway_plane::schedule::{Group, Spacing};
use twoway_plane::sender::bulk::Packed;
use twoway_plane::sender::{Plane as Threads, Sender as Handle, SenderSpec as Spec};
use twoway_plane::session_sender::extensions::TlvPlan;
use twoway_plane::session_sender::{Padding, SessionSpec};
use twoway_plane::sys::TimestampMode;
use twoway_plane::watch::{Finding, Limit, Metric};
use twoway_wire::WallNanos;

use crate::collections::Collections;
use crate::errors;
use crate::fields::{self, EndFields, STAMP_WAIT};
use crate::owamp::OneWaySenderSpec;
use crate::packet;
use crate::samples::SampleBatch;
use crate::summary::IntervalSummary;
use crate::tlvs::{self, TlvRequests};

/// Losses that may wait for their direction at once: what bounds a session's memory in an outage.
const ATTRIBUTION_CAPACITY: usize = 1024;
/// How long they wait in a session without end; one with an end can wait for it.
const ATTRIBUTION_WAIT: Duration = Duration::from_secs(60);
/// Most packets that a session keeps in mind at once.
const LARGEST_RING: i64 = 1 << 20;

/// Two timeouts of packets, as many as there will be at the most.
fn ring(timeout_ns: i64, interval_ns: i64, count: Option<u64>) -> usize {
    let ring = (timeout_ns.saturating_mul(2) / interval_ns + 8).min(LARGEST_RING) as u64;
    count.map_or(ring, |count| ring.min(count.max(1))) as usize
}

/// How packets are spaced, by name.
fn spacing(name: &str) -> PyResult<Spacing> {
    match name {
        "periodic" => Ok(Spacing::Periodic),
        "poisson" => Ok(Spacing::Poisson),
        other => Err(errors::field("schedule", format!("{other:?} is neither periodic nor poisson"))),
    }
}

/// What one Session-Sender does.
#[pyclass(frozen, module = "twoway._native")]
pub(crate) struct SenderSpec(Spec);

#[pymethods]
impl SenderSpec {
    #[new]
    #[pyo3(signature = (*, target, target_port, scope_id, source, source_port, interface, netns, format, stamp_key,
        twamp_aes_key, twamp_hmac_key, ssid, timestamp_format, payload_len, fill, count, schedule, interval_ns, seed,
        timeout_ns, dscp_ecn, ttl, timestamps, reflector_mode, dscp_ecn_monitoring, sample_capacity, receive_buffer))]
    #[expect(clippy::too_many_arguments, reason = "keyword arguments of a Python class")]
    fn new(
        target: &str,
        target_port: u16,
        scope_id: u32,
        source: Option<&str>,
        source_port: u16,
        interface: Option<String>,
        netns: Option<String>,
        format: &str,
        stamp_key: Option<&[u8]>,
        twamp_aes_key: Option<&[u8]>,
        twamp_hmac_key: Option<&[u8]>,
        ssid: u16,
        timestamp_format: &str,
        payload_len: usize,
        fill: &str,
        count: Option<u64>,
        schedule: &str,
        interval_ns: i64,
        seed: u64,
        timeout_ns: i64,
        dscp_ecn: u8,
        ttl: u8,
        timestamps: &str,
        reflector_mode: &str,
        dscp_ecn_monitoring: bool,
        sample_capacity: usize,
        receive_buffer: usize,
    ) -> PyResult<Self> {
        let format = packet::format(format)?;
        let keys = packet::keys(format, stamp_key, twamp_aes_key, twamp_hmac_key)?;
        fields::check_payload_len(format, payload_len)?;
        let base = format.sender_len();
        if format.is_stamp() && (1..4).contains(&(payload_len - base)) {
            let reason =
                format!("{payload_len} octets: STAMP has {base}, or {} and more (RFC 8972 section 4.1)", base + 4);
            return Err(errors::field("payload_len", reason));
        }
        if target_port == 0 {
            return Err(errors::field("target_port", "must not be 0"));
        }
        if interval_ns <= 0 {
            return Err(errors::field("interval_ns", "must be positive"));
        }
        if timeout_ns <= 0 {
            return Err(errors::field("timeout_ns", "must be positive"));
        }
        let mode = fields::timestamps(timestamps)?;
        let socket = EndFields {
            target,
            target_port,
            scope_id,
            source,
            source_port,
            interface,
            dscp_ecn,
            ttl,
            timestamps: mode,
            receive_buffer,
        };
        let socket = socket.check()?;
        let spacing = spacing(schedule)?;
        let random = fields::random_fill(fill)?;
        let timestamp_format = fields::timestamp_format(timestamp_format)?;
        let reflector_mode = ReflectorMode::from_name(reflector_mode).ok_or_else(|| {
            errors::field("reflector_mode", format!("{reflector_mode:?} is none of auto, stateless, stateful"))
        })?;
        let best = match mode {
            TimestampMode::User => TimestampSource::User,
            TimestampMode::Kernel => TimestampSource::Kernel,
            TimestampMode::Hardware => TimestampSource::Hardware,
        };
        let ledger = LedgerSpec {
            ring: ring(timeout_ns, interval_ns, count),
            timeout_ns,
            reflector_mode,
            timestamp_format,
            timestamps: best,
            stamp_wait_ns: STAMP_WAIT.as_nanos() as i64,
            attribution_wait_ns: if count.is_some() { i64::MAX } else { ATTRIBUTION_WAIT.as_nanos() as i64 },
            attribution_capacity: ATTRIBUTION_CAPACITY,
            follow_up_wait_ns: 0,
            replies_asked: 1,
            start: WallNanos(0),
        };
        let session = SessionSpec {
            format,
            keys,
            ssid,
            require_ssid: false,
            timestamp_format,
            payload_len,
            padding: Padding { random, symmetrical_size: true, server_octets: None, reflected: 0 },
            tlvs: TlvPlan::default(),
            one_way: false,
            count,
            spacing,
            group: None,
            interval_ns,
            seed,
            dscp_ecn_monitoring,
            timestamps: mode,
            ledger,
            samples: sample_capacity > 0,
        };
        Ok(Self(Spec {
            session,
            socket,
            path: ForwardPath::Routed,
            next_hop_patience: Duration::ZERO,
            netns,
            sample_capacity,
        }))
    }

    /// The same with what a control connection negotiated for the padding (RFC 6038).
    #[pyo3(signature = (*, symmetrical_size, server_octets, reflected))]
    fn negotiated(&self, symmetrical_size: bool, server_octets: Option<&[u8]>, reflected: u16) -> PyResult<Self> {
        let mut spec = self.0.clone();
        let session = &mut spec.session;
        if session.format.is_stamp() {
            return Err(errors::field("format", "STAMP is not negotiated"));
        }
        let server_octets = match server_octets {
            None => None,
            Some(octets) => Some(octets.try_into().map_err(|_| errors::field("server_octets", "must be 2 octets"))?),
        };
        let zeros = session.format.symmetrical_mbz(session.dscp_ecn_monitoring).len();
        let padding = session.payload_len - session.format.sender_len();
        let needed = if symmetrical_size { zeros } else { 0 } + if server_octets.is_some() { 2 } else { 0 };
        if padding < needed {
            let reason = format!("{padding} octets of padding: {needed} are needed (RFC 6038 section 4.2)");
            return Err(errors::field("payload_len", reason));
        }
        session.padding = Padding { symmetrical_size, server_octets, reflected: reflected.into(), ..session.padding };
        Ok(Self(spec))
    }

    /// The same, but a reply without SSID ends the session.
    fn requiring_ssid(&self) -> Self {
        let mut spec = self.0.clone();
        spec.session.require_ssid = true;
        Self(spec)
    }

    /// The same by way of segments of `SRv6`.
    #[pyo3(signature = (segments, /))]
    #[expect(clippy::needless_pass_by_value, reason = "as PyO3 hands arguments over")]
    fn through_segments(&self, segments: Vec<String>) -> PyResult<Self> {
        let segments: Result<Vec<Ipv6Addr>, _> = segments
            .iter()
            .map(|text| text.parse().map_err(|_| errors::field("path", format!("{text:?} is not an IPv6 address"))))
            .collect();
        self.on(ForwardPath::Segments(segments?), 0)
    }

    /// The same as whole frames, under a label stack or none.
    #[pyo3(signature = (*, labels, gateway, interface, next_hop_patience_ns))]
    fn as_frames(
        &self,
        labels: Vec<u32>,
        gateway: Option<&str>,
        interface: Option<String>,
        next_hop_patience_ns: u64,
    ) -> PyResult<Self> {
        let gateway = gateway.map(|text| fields::address("path", text)).transpose()?;
        self.on(ForwardPath::Frames(FramePath { labels, gateway, interface }), next_hop_patience_ns)
    }

    /// The same with STAMP TLVs, the rest of the payload filled with Extra Padding. With `grow`, the payload becomes as long
    /// as they need if it is shorter.
    #[pyo3(signature = (requests, /, *, grow))]
    fn with_tlvs(&self, requests: &TlvRequests, grow: bool) -> PyResult<Self> {
        let mut spec = self.0.clone();
        requests.ask(&mut spec, grow)?;
        Ok(Self(spec))
    }

    /// Octets of UDP payload of each packet.
    #[getter]
    fn payload_len(&self) -> usize {
        self.0.session.payload_len
    }

    /// The same with a pause after each `count` packets.
    #[pyo3(signature = (count, pause_ns, /))]
    fn grouped(&self, count: u64, pause_ns: i64) -> PyResult<Self> {
        if count == 0 {
            return Err(errors::field("count", "a group has at least one packet"));
        }
        if pause_ns <= 0 {
            return Err(errors::field("pause_ns", "must be positive"));
        }
        let mut spec = self.0.clone();
        spec.session.group = Some(Group { count, pause_ns });
        Ok(Self(spec))
    }
}

impl SenderSpec {
    fn on(&self, path: ForwardPath, next_hop_patience_ns: u64) -> PyResult<Self> {
        let mut spec = self.0.clone();
        path.check(spec.socket.local.is_ipv6()).map_err(|error| errors::field("path", error.detail))?;
        spec.path = path;
        spec.next_hop_patience = Duration::from_nanos(next_hop_patience_ns);
        Ok(Self(spec))
    }
}

/// One Session-Sender.
#[pyclass(frozen, module = "twoway._native")]
pub(crate) struct Sender(Handle);

#[pymethods]
impl Sender {
    #[getter]
    fn id(&self) -> u64 {
        self.0.id()
    }

    #[getter]
    fn local_address(&self) -> (String, u16) {
        fields::endpoint(self.0.local())
    }

    /// What was obtained in lesser form.
    #[getter]
    fn obtained(&self) -> HashMap<&'static str, String> {
        fields::obtained(self.0.obtained())
    }

    /// Sends the first packet now.
    fn start(&self) {
        self.0.start(Moment::Now);
    }

    /// Begins its schedule when the wall clock reads that.
    #[pyo3(signature = (wall_ns, /))]
    fn start_at(&self, wall_ns: i64) {
        self.0.start(Moment::Wall(WallNanos(wall_ns)));
    }

    /// Begins its schedule when the monotonic clock reads that; `in_step`: or a whole number of intervals later.
    #[pyo3(signature = (monotonic_ns, /, *, in_step))]
    fn start_at_monotonic(&self, monotonic_ns: i64, in_step: bool) {
        self.0.start(if in_step { Moment::InStep(monotonic_ns) } else { Moment::Monotonic(monotonic_ns) });
    }

    /// (Next Seqno, Skip Ranges): how far its schedule got.
    fn progress(&self, py: Python<'_>) -> PyResult<(u32, Vec<(u32, u32)>)> {
        let progress = py.detach(|| self.0.progress()).map_err(errors::plane)?;
        Ok((progress.next_sequence, progress.skipped.iter().map(|range| (range.first, range.last)).collect()))
    }

    /// Sends no more, and awaits what is outstanding.
    fn stop(&self) {
        self.0.stop();
    }

    /// Ends at once.
    fn abort(&self) {
        self.0.abort();
    }

    /// Reports that state of the access network from the next packet on.
    #[pyo3(signature = (access, return_code, /))]
    fn report_access(&self, access: &str, return_code: u8) -> PyResult<()> {
        self.0.report_access(tlvs::access_report(access, return_code)?);
        Ok(())
    }

    #[getter]
    fn finished(&self) -> bool {
        self.0.is_finished()
    }

    /// Takes the samples gathered so far.
    fn drain(&self, py: Python<'_>) -> PyResult<SampleBatch> {
        SampleBatch::new(py, self.0.take_samples())
    }

    /// The whole session so far.
    fn summary(&self, py: Python<'_>) -> PyResult<IntervalSummary> {
        py.detach(|| self.0.summary()).map(IntervalSummary).map_err(errors::plane)
    }

    /// What came since the last of these.
    fn take_interval(&self, py: Python<'_>) -> PyResult<IntervalSummary> {
        py.detach(|| self.0.take_interval()).map(IntervalSummary).map_err(errors::plane)
    }

    /// Its samples go there by `Plane.collect`.
    #[pyo3(signature = (collections, /))]
    fn attach(&self, collections: &Collections) {
        self.0.attach(collections.0.clone());
    }

    /// Moves what it has by now into its collections.
    fn collect(&self, py: Python<'_>) {
        py.detach(|| self.0.collect());
    }

    /// Look out for limits, and alert at once of what is notable; `before` sent the probes of the same test-session.
    #[pyo3(signature = (windows, /, *, late_ns, before = None))]
    fn follow(
        &self,
        py: Python<'_>,
        windows: Vec<Window>,
        late_ns: i64,
        before: Option<&Bound<'_, Self>>,
    ) -> PyResult<()> {
        let asked = windows.into_iter().map(limits).collect::<PyResult<Vec<_>>>()?;
        let before = before.map(|before| &before.get().0);
        py.detach(|| self.0.follow(asked, late_ns, before));
        Ok(())
    }

    /// Look out for nothing any more.
    fn follow_no_more(&self) {
        self.0.follow_no_more();
    }

    /// How the limits stood last.
    fn findings(&self) -> Found {
        found(self.0.findings())
    }

    /// What befell it: (wall time, event, errno), each kind once.
    fn take_events(&self) -> Vec<(i64, &'static str, i32)> {
        self.0.take_events().into_iter().map(|event| (event.at.0, event.kind.name(), event.errno)).collect()
    }
}

/// A window in ns, and its limits: metric, limit, recover, whether the greatest value is compared.
type Window = (i64, Vec<(String, f64, f64, bool)>);

fn limits((length_ns, limits): Window) -> PyResult<(i64, Vec<Limit>)> {
    if length_ns <= 0 {
        return Err(errors::field("window", "must be positive"));
    }
    let limit = |(name, limit, recover, maximum): (String, f64, f64, bool)| {
        let metric = Metric::from_name(&name)
            .ok_or_else(|| errors::field("metric", format!("{name:?} cannot be looked out for")))?;
        Ok(Limit { metric, limit, recover, maximum })
    };
    Ok((length_ns, limits.into_iter().map(limit).collect::<PyResult<_>>()?))
}

/// How the limits of each window stand: a code of `State`, and the value.
type Found = Vec<Vec<(u8, Option<f64>)>>;

fn found(findings: Vec<Vec<Finding>>) -> Found {
    let window = |limits: Vec<Finding>| limits.into_iter().map(|one| (one.state as u8, one.value)).collect();
    findings.into_iter().map(window).collect()
}

/// Worker threads that own Session-Senders.
#[pyclass(frozen, module = "twoway._native")]
pub(crate) struct Plane(Threads);

#[pymethods]
impl Plane {
    #[new]
    #[pyo3(signature = (*, workers, busy_poll))]
    fn new(workers: usize, busy_poll: bool) -> PyResult<Self> {
        Threads::new(workers, busy_poll).map(Self).map_err(errors::plane)
    }

    /// Opens a Session-Sender's socket; the session waits to be started.
    #[pyo3(signature = (spec, /))]
    fn open_sender(&self, py: Python<'_>, spec: &SenderSpec) -> PyResult<Sender> {
        let spec = spec.0.clone();
        py.detach(|| self.0.open_sender(spec)).map(Sender).map_err(errors::plane)
    }

    /// Opens an OWAMP Session-Sender's socket; the session waits to be started.
    #[pyo3(signature = (spec, /))]
    fn open_one_way_sender(&self, py: Python<'_>, spec: &OneWaySenderSpec) -> PyResult<Sender> {
        let spec = spec.0.clone();
        py.detach(|| self.0.open_sender(spec)).map(Sender).map_err(errors::plane)
    }

    fn fileno(&self) -> i32 {
        self.0.fd()
    }

    /// Ids of the Session-Senders with news since the last call.
    fn acknowledge(&self) -> Vec<u64> {
        self.0.acknowledge()
    }

    /// All samples to their collections; (id, bits of what is notable) of the Session-Senders to look at.
    fn collect(&self, py: Python<'_>) -> Vec<(u64, u8)> {
        py.detach(|| self.0.collect())
    }

    fn alert_fileno(&self) -> i32 {
        self.0.alert_fd()
    }

    /// Alerts since the last call: (id, bits of what is notable, how the limits stand).
    fn take_alerts(&self) -> Vec<(u64, u8, Found)> {
        self.0.take_alerts().into_iter().map(|(id, notable, findings)| (id, notable, found(findings))).collect()
    }

    /// What came since the last of these, packed: (id, octets, bits of own faults).
    #[pyo3(signature = (ids, /, *, late_ns))]
    fn take_intervals<'py>(
        &self,
        py: Python<'py>,
        ids: Option<Vec<u64>>,
        late_ns: i64,
    ) -> PyResult<Vec<(u64, Bound<'py, PyBytes>, u8)>> {
        let packed = py.detach(move || self.0.take_intervals(ids.as_deref(), late_ns)).map_err(errors::plane)?;
        let parts = packed.iter().flat_map(Packed::iter);
        Ok(parts.map(|(id, octets, own_faults)| (id, PyBytes::new(py, octets), own_faults)).collect())
    }

    /// Everything so far, packed: (id, octets).
    #[pyo3(signature = (ids, /))]
    fn summaries<'py>(&self, py: Python<'py>, ids: Option<Vec<u64>>) -> PyResult<Vec<(u64, Bound<'py, PyBytes>)>> {
        let packed = py.detach(move || self.0.summaries(ids.as_deref())).map_err(errors::plane)?;
        let parts = packed.iter().flat_map(Packed::iter);
        Ok(parts.map(|(id, octets, _)| (id, PyBytes::new(py, octets))).collect())
    }

    /// Ends all threads.
    fn close(&self, py: Python<'_>) {
        py.detach(|| self.0.close());
    }
}
