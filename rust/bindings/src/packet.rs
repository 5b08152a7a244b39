//! Test packets from and to octets, for tests and troubleshooting.

use std::collections::BTreeMap;

use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict};
use twoway_wire::{
    ErrorEstimate, PacketFormat, RawTimestamp, ReflectorPacket, SenderPacket, StampKey, TestKeys, TlvChain, TwampKeys,
    WallNanos, write_extra_padding,
};

use crate::errors;

/// A packet format by name.
pub(crate) fn format(name: &str) -> PyResult<PacketFormat> {
    PacketFormat::from_name(name).ok_or_else(|| {
        let known: Vec<_> = PacketFormat::ALL.iter().map(|format| format.name()).collect();
        errors::field("format", format!("{name:?} is none of {}", known.join(", ")))
    })
}

/// The keys that `format` needs, from what the caller has.
pub(crate) fn keys(
    format: PacketFormat,
    stamp: Option<&[u8]>,
    twamp_aes: Option<&[u8]>,
    twamp_hmac: Option<&[u8]>,
) -> PyResult<TestKeys> {
    let missing = |name| errors::field(name, format!("the format {} needs it", format.name()));
    if !format.is_authenticated() {
        return Ok(TestKeys::None);
    }
    if format.is_stamp() {
        let key = stamp.ok_or_else(|| missing("stamp_key"))?;
        return Ok(TestKeys::Stamp(StampKey::new(key).map_err(|error| errors::field("stamp_key", error.to_string()))?));
    }
    let aes = twamp_aes.ok_or_else(|| missing("twamp_aes_key"))?;
    let hmac = twamp_hmac.ok_or_else(|| missing("twamp_hmac_key"))?;
    let aes = aes.try_into().map_err(|_| errors::field("twamp_aes_key", "must be 16 octets"))?;
    let hmac = hmac.try_into().map_err(|_| errors::field("twamp_hmac_key", "must be 32 octets"))?;
    Ok(TestKeys::Twamp(TwampKeys::new(aes, hmac)))
}

/// Meaning of a test packet's octets.
#[pyclass(frozen, module = "twoway._native")]
pub(crate) struct DecodedPacket {
    fields: BTreeMap<&'static str, Option<i128>>,
    tlvs: Vec<(u8, u8, Vec<u8>)>,
}

#[pymethods]
impl DecodedPacket {
    /// Field name -> value; timestamps both raw and, where valid, in nanoseconds.
    #[getter]
    fn fields<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let dict = PyDict::new(py);
        for (name, value) in &self.fields {
            dict.set_item(name, value)?;
        }
        Ok(dict)
    }

    /// (flags, type, value) of each TLV after the STAMP base packet.
    #[getter]
    fn tlvs<'py>(&self, py: Python<'py>) -> Vec<(u8, u8, Bound<'py, PyBytes>)> {
        self.tlvs.iter().map(|(flags, kind, value)| (*flags, *kind, PyBytes::new(py, value))).collect()
    }

    fn __repr__(&self) -> String {
        format!("DecodedPacket({:?}, {} TLVs)", self.fields, self.tlvs.len())
    }
}

/// A raw timestamp and the moment it means, if any.
struct Stamp(&'static str, &'static str, RawTimestamp, ErrorEstimate);

impl DecodedPacket {
    fn new() -> Self {
        Self { fields: BTreeMap::new(), tlvs: Vec::new() }
    }

    fn set(&mut self, name: &'static str, value: impl Into<i128>) {
        self.fields.insert(name, Some(value.into()));
    }

    fn stamp(&mut self, Stamp(raw_name, name, raw, estimate): Stamp, near: WallNanos) {
        self.fields.insert(raw_name, Some(i128::from(raw.0)));
        self.fields.insert(name, raw.decode(estimate.format(), near).ok().map(|moment| i128::from(moment.0)));
    }

    fn estimate(&mut self, name: &'static str, error_name: &'static str, estimate: ErrorEstimate) {
        self.set(name, estimate.0);
        self.fields.insert(error_name, estimate.error_ns().map(i128::from));
    }
}

/// Reads `octets` as a packet of `format` from `role`.
#[pyfunction]
#[pyo3(signature = (octets, *, format, role, stamp_key, twamp_aes_key, twamp_hmac_key, near_ns))]
pub(crate) fn decode_test_packet(
    octets: &[u8],
    format: &str,
    role: &str,
    stamp_key: Option<&[u8]>,
    twamp_aes_key: Option<&[u8]>,
    twamp_hmac_key: Option<&[u8]>,
    near_ns: i64,
) -> PyResult<DecodedPacket> {
    let format = self::format(format)?;
    let keys = keys(format, stamp_key, twamp_aes_key, twamp_hmac_key)?;
    let (mut octets, near) = (octets.to_vec(), WallNanos(near_ns));
    let mut decoded = DecodedPacket::new();
    let base = match role {
        "sender" => {
            let packet = SenderPacket::parse(format, &keys, &mut octets).map_err(errors::wire)?;
            decoded.set("sequence", packet.sequence);
            decoded.stamp(Stamp("timestamp", "timestamp_ns", packet.timestamp, packet.error_estimate), near);
            decoded.estimate("error_estimate", "error_ns", packet.error_estimate);
            decoded.set("ssid", packet.ssid);
            format.sender_len()
        }
        "reflector" => {
            // Where there is an octet for S-DSCP-ECN it is read: its meaning depends on the session (RFC 7750).
            let monitoring = octets.len() >= format.reflector_len_with(true);
            let packet = ReflectorPacket::parse(format, &keys, &mut octets, monitoring).map_err(errors::wire)?;
            decoded.set("sequence", packet.sequence);
            decoded.stamp(Stamp("timestamp", "timestamp_ns", packet.timestamp, packet.error_estimate), near);
            decoded.estimate("error_estimate", "error_ns", packet.error_estimate);
            decoded.set("ssid", packet.ssid);
            let received = packet.receive_timestamp;
            decoded.stamp(Stamp("receive_timestamp", "receive_timestamp_ns", received, packet.error_estimate), near);
            decoded.set("sender_sequence", packet.sender_sequence);
            let (sent, estimate) = (packet.sender_timestamp, packet.sender_error_estimate);
            decoded.stamp(Stamp("sender_timestamp", "sender_timestamp_ns", sent, estimate), near);
            decoded.estimate("sender_error_estimate", "sender_error_ns", estimate);
            decoded.fields.insert("sender_ttl", packet.sender_ttl.map(i128::from));
            decoded.fields.insert("sender_dscp_ecn", packet.sender_dscp_ecn.map(i128::from));
            format.reflector_len()
        }
        other => return Err(errors::field("role", format!("{other:?} is neither sender nor reflector"))),
    };
    if format.is_stamp()
        && let Some(rest) = octets.get(base..)
    {
        decoded.tlvs =
            TlvChain::new(rest).map_while(Result::ok).map(|tlv| (tlv.flags.0, tlv.kind, tlv.value.to_vec())).collect();
    }
    Ok(decoded)
}

const SENDER_FIELDS: &[&str] = &["sequence", "timestamp", "error_estimate", "ssid"];
const REFLECTOR_FIELDS: &[&str] = &[
    "sequence",
    "timestamp",
    "error_estimate",
    "ssid",
    "receive_timestamp",
    "sender_sequence",
    "sender_timestamp",
    "sender_error_estimate",
    "sender_ttl",
    "sender_dscp_ecn",
];

/// The field's value, if it is there and fits.
fn optional<T: TryFrom<u64>>(fields: &Bound<'_, PyDict>, name: &'static str) -> PyResult<Option<T>> {
    let Some(value) = fields.get_item(name)? else { return Ok(None) };
    let fits = value.extract::<u64>().ok().and_then(|value| T::try_from(value).ok());
    fits.map(Some).ok_or_else(|| errors::field(name, format!("{value} does not fit {} bits", 8 * size_of::<T>())))
}

fn number<T: TryFrom<u64> + Default>(fields: &Bound<'_, PyDict>, name: &'static str) -> PyResult<T> {
    Ok(optional(fields, name)?.unwrap_or_default())
}

/// Writes the packet that `fields` describe; absent fields are zero.
#[pyfunction]
#[pyo3(signature = (fields, *, format, role, stamp_key, twamp_aes_key, twamp_hmac_key, payload_len))]
#[expect(clippy::too_many_arguments, reason = "keyword arguments of a Python function")]
pub(crate) fn encode_test_packet<'py>(
    py: Python<'py>,
    fields: &Bound<'py, PyDict>,
    format: &str,
    role: &str,
    stamp_key: Option<&[u8]>,
    twamp_aes_key: Option<&[u8]>,
    twamp_hmac_key: Option<&[u8]>,
    payload_len: usize,
) -> PyResult<Bound<'py, PyBytes>> {
    let format = self::format(format)?;
    let keys = keys(format, stamp_key, twamp_aes_key, twamp_hmac_key)?;
    let known: &[&str] = if role == "sender" { SENDER_FIELDS } else { REFLECTOR_FIELDS };
    for name in fields.keys() {
        let name: String = name.extract()?;
        if !known.contains(&name.as_str()) {
            return Err(errors::field("fields", format!("{name:?} is none of {}", known.join(", "))));
        }
    }
    let mut octets = vec![0; payload_len];
    match role {
        "sender" => {
            let packet = SenderPacket {
                sequence: number(fields, "sequence")?,
                timestamp: RawTimestamp(number(fields, "timestamp")?),
                error_estimate: ErrorEstimate(number(fields, "error_estimate")?),
                ssid: number(fields, "ssid")?,
            };
            if format.is_stamp()
                && let Some(padding) = octets.get_mut(format.sender_len()..)
            {
                write_extra_padding(padding, |value| value.fill(0)).map_err(errors::wire)?;
            }
            packet.emit(format, &keys, &mut octets).map_err(errors::wire)?;
        }
        "reflector" => {
            let packet = ReflectorPacket {
                sequence: number(fields, "sequence")?,
                timestamp: RawTimestamp(number(fields, "timestamp")?),
                error_estimate: ErrorEstimate(number(fields, "error_estimate")?),
                ssid: number(fields, "ssid")?,
                receive_timestamp: RawTimestamp(number(fields, "receive_timestamp")?),
                sender_sequence: number(fields, "sender_sequence")?,
                sender_timestamp: RawTimestamp(number(fields, "sender_timestamp")?),
                sender_error_estimate: ErrorEstimate(number(fields, "sender_error_estimate")?),
                sender_ttl: optional(fields, "sender_ttl")?,
                sender_dscp_ecn: optional(fields, "sender_dscp_ecn")?,
            };
            packet.emit(format, &keys, &mut octets).map_err(errors::wire)?;
        }
        other => return Err(errors::field("role", format!("{other:?} is neither sender nor reflector"))),
    }
    Ok(PyBytes::new(py, &octets))
}

/// Keys of a test-session from those of its control connection (RFC 4656 section 4.1.2).
#[pyfunction]
#[pyo3(signature = (sid, aes_key, hmac_key, /))]
pub(crate) fn derive_twamp_test_keys<'py>(
    py: Python<'py>,
    sid: &[u8],
    aes_key: &[u8],
    hmac_key: &[u8],
) -> PyResult<(Bound<'py, PyBytes>, Bound<'py, PyBytes>)> {
    let sid = sid.try_into().map_err(|_| errors::field("sid", "must be 16 octets"))?;
    let aes = aes_key.try_into().map_err(|_| errors::field("aes_key", "must be 16 octets"))?;
    let hmac = hmac_key.try_into().map_err(|_| errors::field("hmac_key", "must be 32 octets"))?;
    let (aes, hmac) = twoway_wire::auth::derive_test_keys(sid, aes, hmac);
    Ok((PyBytes::new(py, &aes[..]), PyBytes::new(py, &hmac[..])))
}
