//! OWAMP's Session-Senders and Session-Receivers.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use pyo3::prelude::*;
use twoway_plane::clock::Moment;
use twoway_plane::ledger::{LedgerSpec, ReflectorMode};
use twoway_plane::managed::{ManagedReceiver as Handle, PortSpec};
use twoway_plane::path::ForwardPath;
use twoway_plane::sample::TimestampSource;
use twoway_plane::schedule::Spacing;
use twoway_plane::sender::SenderSpec as Spec;
use twoway_plane::session_receiver::ReceiverSpec;
use twoway_plane::session_sender::extensions::TlvPlan;
use twoway_plane::session_sender::{Padding, SessionSpec};
use twoway_plane::slots::{Slot, SlotList};
use twoway_wire::{PacketFormat, TestKeys, WallNanos};

use crate::buffer::{Column, Values};
use crate::errors;
use crate::fields::{self, EndFields, PortFields, STAMP_WAIT};
use crate::packet;
use crate::records::{RecordBatch, skip_ranges};
use crate::summary::IntervalSummary;

/// Slots as (type, parameter) and the SID as octets.
fn slot_list(sid: &[u8], slots: Vec<(u8, u64)>) -> PyResult<SlotList> {
    let sid = sid.try_into().map_err(|_| errors::field("sid", "must be 16 octets"))?;
    let slots = slots
        .into_iter()
        .map(|(code, parameter)| {
            Slot::from_code(code, parameter)
                .ok_or_else(|| errors::field("slots", format!("there is no slot type {code}")))
        })
        .collect::<PyResult<Vec<_>>>()?;
    SlotList::new(&slots, sid).ok_or_else(|| errors::field("slots", "at least one is needed"))
}

/// A format of OWAMP-Test, which is TWAMP's Session-Sender format, and its keys.
fn format_and_keys(name: &str, aes: Option<&[u8]>, hmac: Option<&[u8]>) -> PyResult<(PacketFormat, TestKeys)> {
    let format = packet::format(name)?;
    if format.is_stamp() {
        return Err(errors::field("format", format!("{name} is not a format of OWAMP-Test")));
    }
    Ok((format, packet::keys(format, None, aes, hmac)?))
}

/// When each packet of a schedule is due, in nanoseconds after the start.
#[pyfunction]
#[pyo3(signature = (*, sid, slots, packets))]
pub(crate) fn owamp_schedule(py: Python<'_>, sid: &[u8], slots: Vec<(u8, u64)>, packets: u32) -> PyResult<Column> {
    let slots = slot_list(sid, slots)?;
    Ok(Column::new(Values::Signed(py.detach(|| slots.offsets_ns(packets).collect()))))
}

/// What one OWAMP Session-Sender does.
#[pyclass(frozen, module = "twoway._native")]
pub(crate) struct OneWaySenderSpec(pub(crate) Spec);

#[pymethods]
impl OneWaySenderSpec {
    #[new]
    #[pyo3(signature = (*, target, target_port, scope_id, source, source_port, interface, netns, format, twamp_aes_key,
        twamp_hmac_key, timestamp_format, payload_len, fill, sid, slots, packets, seed, timeout_ns, dscp_ecn, ttl,
        timestamps, receive_buffer))]
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
        twamp_aes_key: Option<&[u8]>,
        twamp_hmac_key: Option<&[u8]>,
        timestamp_format: &str,
        payload_len: usize,
        fill: &str,
        sid: &[u8],
        slots: Vec<(u8, u64)>,
        packets: u32,
        seed: u64,
        timeout_ns: i64,
        dscp_ecn: u8,
        ttl: u8,
        timestamps: &str,
        receive_buffer: usize,
    ) -> PyResult<Self> {
        let (format, keys) = format_and_keys(format, twamp_aes_key, twamp_hmac_key)?;
        fields::check_payload_len(format, payload_len)?;
        for (name, refused) in
            [("target_port", target_port == 0), ("packets", packets == 0), ("timeout_ns", timeout_ns < 0)]
        {
            if refused {
                return Err(errors::field(name, "is out of its range"));
            }
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
        let random = fields::random_fill(fill)?;
        let timestamp_format = fields::timestamp_format(timestamp_format)?;
        let slots = slot_list(sid, slots)?;
        // Nothing is awaited, so there is nothing to keep in mind.
        let ledger = LedgerSpec {
            ring: 1,
            timeout_ns,
            reflector_mode: ReflectorMode::Stateless,
            timestamp_format,
            timestamps: TimestampSource::User,
            stamp_wait_ns: STAMP_WAIT.as_nanos() as i64,
            attribution_wait_ns: 0,
            attribution_capacity: 0,
            follow_up_wait_ns: 0,
            replies_asked: 1,
            start: WallNanos(0),
        };
        let session = SessionSpec {
            format,
            keys,
            ssid: 0,
            require_ssid: false,
            timestamp_format,
            payload_len,
            padding: Padding { random, symmetrical_size: false, server_octets: None, reflected: 0 },
            tlvs: TlvPlan::default(),
            one_way: true,
            count: Some(u64::from(packets)),
            interval_ns: slots.mean_gap_ns(),
            spacing: Spacing::Slots(slots),
            group: None,
            seed,
            dscp_ecn_monitoring: false,
            timestamps: mode,
            ledger,
            samples: false,
        };
        Ok(Self(Spec {
            session,
            socket,
            path: ForwardPath::Routed,
            next_hop_patience: Duration::ZERO,
            netns,
            sample_capacity: 0,
        }))
    }
}

/// What one OWAMP Session-Receiver does.
#[pyclass(frozen, module = "twoway._native")]
pub(crate) struct SessionReceiverSpec {
    pub(crate) port: PortSpec,
    pub(crate) receiver: ReceiverSpec,
}

#[pymethods]
impl SessionReceiverSpec {
    #[new]
    #[pyo3(signature = (*, local, local_port, scope_id, interface, netns, sender, sender_port, format, twamp_aes_key,
        twamp_hmac_key, sid, slots, packets, timeout_ns, record_capacity, timestamps, receive_buffer))]
    #[expect(clippy::too_many_arguments, reason = "keyword arguments of a Python class")]
    fn new(
        local: &str,
        local_port: u16,
        scope_id: u32,
        interface: Option<String>,
        netns: Option<String>,
        sender: &str,
        sender_port: u16,
        format: &str,
        twamp_aes_key: Option<&[u8]>,
        twamp_hmac_key: Option<&[u8]>,
        sid: &[u8],
        slots: Vec<(u8, u64)>,
        packets: u32,
        timeout_ns: i64,
        record_capacity: usize,
        timestamps: &str,
        receive_buffer: usize,
    ) -> PyResult<Self> {
        let (format, keys) = format_and_keys(format, twamp_aes_key, twamp_hmac_key)?;
        if packets == 0 || packets as usize > record_capacity {
            let reason = format!("{packets}: 1 to {record_capacity} (record_capacity) can be recorded");
            return Err(errors::field("packets", reason));
        }
        if timeout_ns < 0 {
            return Err(errors::field("timeout_ns", "must not be negative"));
        }
        let port = PortFields {
            local,
            local_port,
            scope_id,
            interface,
            netns,
            sender,
            sender_port,
            // It sends nothing.
            dscp_ecn: 0,
            ttl: 255,
            timestamps,
            receive_buffer,
        };
        let slots = slot_list(sid, slots)?;
        let receiver = ReceiverSpec { format, keys, slots, packets, timeout_ns, record_capacity };
        Ok(Self { port: port.check()?, receiver })
    }
}

/// (records, outcome, Next Seqno, Skip Ranges).
type Recorded = (RecordBatch, &'static str, u32, Vec<(u32, u32)>);

/// One OWAMP Session-Receiver.
#[pyclass(frozen, module = "twoway._native")]
pub(crate) struct SessionReceiver(pub(crate) Handle);

#[pymethods]
impl SessionReceiver {
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

    /// Its schedule begins now.
    fn start(&self) {
        self.0.start(Moment::Now);
    }

    /// Its schedule begins when the wall clock reads that.
    #[pyo3(signature = (wall_ns, /))]
    fn start_at(&self, wall_ns: i64) {
        self.0.start(Moment::Wall(WallNanos(wall_ns)));
    }

    /// Ends it now and forgets its records, unless it is complete.
    fn close(&self) {
        self.0.close();
    }

    /// Why its port was closed.
    #[getter]
    fn end(&self) -> &'static str {
        self.0.end().name()
    }

    /// Whether every packet is received or lost.
    #[getter]
    fn decided(&self) -> bool {
        self.0.is_decided()
    }

    /// Disposition -> packets.
    fn counters(&self) -> BTreeMap<&'static str, u64> {
        self.0.counters().collect()
    }

    /// Stop-Sessions came; the outcome.
    #[pyo3(signature = (next_seqno, skip_ranges, /))]
    fn complete(&self, py: Python<'_>, next_seqno: u32, skip_ranges: Vec<(u32, u32)>) -> PyResult<&'static str> {
        let skipped = self::skip_ranges(skip_ranges)?;
        let outcome = py.detach(|| self.0.complete(next_seqno, &skipped)).map_err(errors::plane)?;
        Ok(outcome.name())
    }

    /// The control connection broke; the outcome.
    fn abandon(&self, py: Python<'_>) -> PyResult<&'static str> {
        Ok(py.detach(|| self.0.abandon()).map_err(errors::plane)?.name())
    }

    /// What it has so far.
    fn recorded(&self, py: Python<'_>) -> PyResult<Recorded> {
        let recorded = py.detach(|| self.0.recorded()).map_err(errors::plane)?;
        let skipped = recorded.skipped.iter().map(|range| (range.first, range.last)).collect();
        let near = WallNanos(recorded.start.0);
        let batch = RecordBatch::new(recorded.records, near);
        Ok((batch, recorded.outcome.name(), recorded.next_sequence, skipped))
    }

    /// The records so far in numbers.
    fn summary(&self, py: Python<'_>) -> PyResult<IntervalSummary> {
        py.detach(|| self.0.summary()).map(IntervalSummary).map_err(errors::plane)
    }
}
