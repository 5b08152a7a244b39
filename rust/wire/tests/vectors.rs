//! Every entry of `vectors/`, in both directions. The schema is that of `vectors/README.md`; an entry, a key or a file
//! that is not read fails.

use std::collections::HashMap;
use std::path::Path;

use serde::Deserialize;
use twoway_wire::auth::derive_test_keys;
use twoway_wire::tlv::TlvMut;
use twoway_wire::{
    ErrorEstimate, PacketFormat, RawTimestamp, ReflectInput, ReflectorPacket, SenderPacket, StampKey, TestKeys,
    TimestampFormat, TlvChain, TlvFlags, TlvType, TwampKeys, WallNanos, is_reply_shaped, reflect_in_place,
    reflect_tlvs, reply_len,
};

#[derive(Deserialize)]
#[serde(default, deny_unknown_fields)]
#[derive(Default)]
struct Vectors {
    packet: Vec<PacketEntry>,
    timestamp: Vec<TimestampEntry>,
    error_estimate: Vec<ErrorEstimateEntry>,
    tlv_chain: Vec<TlvChainEntry>,
    test_keys: Vec<TestKeysEntry>,
    reflection: Vec<ReflectionEntry>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PacketEntry {
    name: String,
    reference: String,
    #[serde(rename = "note")]
    _note: Option<String>,
    format: String,
    role: String,
    stamp_key: Option<String>,
    twamp_aes_key: Option<String>,
    twamp_hmac_key: Option<String>,
    near_ns: i64,
    octets: String,
    #[serde(default)]
    dscp_ecn_monitoring: bool,
    direction: Option<String>,
    reply_to: Option<String>,
    error: Option<String>,
    fields: Option<Fields>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Fields {
    sequence: u32,
    timestamp: String,
    timestamp_ns: Option<i64>,
    error_estimate: u16,
    ssid: u16,
    receive_timestamp: Option<String>,
    receive_timestamp_ns: Option<i64>,
    sender_sequence: Option<u32>,
    sender_timestamp: Option<String>,
    sender_timestamp_ns: Option<i64>,
    sender_error_estimate: Option<u16>,
    sender_ttl: Option<u8>,
    sender_dscp_ecn: Option<u8>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct TimestampEntry {
    name: String,
    reference: String,
    format: String,
    octets: String,
    near_ns: i64,
    unix_ns: Option<i64>,
    direction: Option<String>,
    error: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ErrorEstimateEntry {
    name: String,
    reference: String,
    octets: String,
    synchronized: bool,
    format: String,
    scale: u8,
    multiplier: u8,
    error_ns: Option<u64>,
    from_error_ns: Option<FromError>,
}

#[derive(Clone, Deserialize)]
#[serde(untagged)]
enum FromError {
    Known(u64),
    Unknown(String),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct TlvChainEntry {
    name: String,
    reference: String,
    #[serde(rename = "note")]
    _note: Option<String>,
    octets: String,
    reflected: String,
    unrecognized: u32,
    malformed: bool,
    tlvs: Vec<TlvEntry>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct TlvEntry {
    flags: u8,
    r#type: u8,
    value: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct TestKeysEntry {
    name: String,
    reference: String,
    sid: String,
    control_aes_key: String,
    control_hmac_key: String,
    test_aes_key: String,
    test_hmac_key: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ReflectionEntry {
    name: String,
    reference: String,
    #[serde(rename = "note")]
    _note: Option<String>,
    format: String,
    stamp_key: Option<String>,
    twamp_aes_key: Option<String>,
    twamp_hmac_key: Option<String>,
    request: String,
    sequence: Option<u32>,
    receive_timestamp_ns: i64,
    transmit_timestamp_ns: i64,
    error_estimate: u16,
    ttl: Option<u8>,
    dscp_ecn: Option<u8>,
    #[serde(default)]
    symmetrical_size: bool,
    reply: String,
}

fn all() -> Vectors {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../vectors");
    let mut all = Vectors::default();
    for file in directory.read_dir().expect("vectors are there") {
        let path = file.expect("vectors are readable").path();
        let name = path.file_name().expect("a file has a name").to_string_lossy().into_owned();
        // Control connections have their vectors here too; their formats live in Python. Frames are read by `frame.rs`, and
        // what TLVs come to by the packet plane.
        let elsewhere = name.starts_with("control-") || ["frames.toml", "tlvs.toml"].contains(&&*name);
        if path.extension().is_none_or(|extension| extension != "toml") || elsewhere {
            continue;
        }
        let text = std::fs::read_to_string(&path).expect("vectors are text");
        let read: Vectors = toml::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        all.packet.extend(read.packet);
        all.timestamp.extend(read.timestamp);
        all.error_estimate.extend(read.error_estimate);
        all.tlv_chain.extend(read.tlv_chain);
        all.test_keys.extend(read.test_keys);
        all.reflection.extend(read.reflection);
    }
    all
}

fn octets(hex: &str) -> Vec<u8> {
    assert!(hex.len().is_multiple_of(2), "{hex}");
    (0..hex.len() / 2).map(|i| u8::from_str_radix(&hex[2 * i..2 * i + 2], 16).expect("hexadecimal")).collect()
}

fn array<const N: usize>(hex: &str) -> [u8; N] {
    octets(hex).try_into().expect("right number of octets")
}

fn raw(hex: &str) -> RawTimestamp {
    RawTimestamp(u64::from_be_bytes(array(hex)))
}

fn raw_or_zero(hex: Option<&String>) -> RawTimestamp {
    hex.map_or(RawTimestamp(0), |hex| raw(hex))
}

fn packet_format(name: &str) -> PacketFormat {
    PacketFormat::from_name(name).unwrap_or_else(|| panic!("format {name}"))
}

fn timestamp_format(name: &str) -> TimestampFormat {
    TimestampFormat::from_name(name).unwrap_or_else(|| panic!("timestamp format {name}"))
}

fn keys(stamp: Option<&String>, aes: Option<&String>, hmac: Option<&String>) -> TestKeys {
    match (stamp, aes, hmac) {
        (Some(key), None, None) => TestKeys::Stamp(StampKey::new(&octets(key)).expect("a STAMP key")),
        (None, Some(aes), Some(hmac)) => TestKeys::Twamp(TwampKeys::new(array(aes), array(hmac))),
        _ => TestKeys::None,
    }
}

impl PacketEntry {
    fn keys(&self) -> TestKeys {
        keys(self.stamp_key.as_ref(), self.twamp_aes_key.as_ref(), self.twamp_hmac_key.as_ref())
    }

    /// Both ways: `octets` to fields, and fields to the base packet.
    fn check_sender(&self, fields: &Fields, format: PacketFormat, octets: &[u8]) {
        let meant = SenderPacket {
            sequence: fields.sequence,
            timestamp: raw(&fields.timestamp),
            error_estimate: ErrorEstimate(fields.error_estimate),
            ssid: fields.ssid,
        };
        let read = SenderPacket::parse(format, &self.keys(), &mut octets.to_vec());
        assert_eq!(read, Ok(meant), "{}", self.name);
        if self.direction.as_deref() != Some("decode") {
            let mut written = octets.to_vec();
            written[..format.sender_len()].fill(0xA5);
            meant.emit(format, &self.keys(), &mut written).expect("room");
            assert_eq!(written, octets, "{}", self.name);
        }
    }

    fn check_reflector(&self, fields: &Fields, format: PacketFormat, octets: &[u8]) {
        let meant = ReflectorPacket {
            sequence: fields.sequence,
            timestamp: raw(&fields.timestamp),
            error_estimate: ErrorEstimate(fields.error_estimate),
            ssid: fields.ssid,
            receive_timestamp: raw_or_zero(fields.receive_timestamp.as_ref()),
            sender_sequence: fields.sender_sequence.expect("a reply has it"),
            sender_timestamp: raw_or_zero(fields.sender_timestamp.as_ref()),
            sender_error_estimate: ErrorEstimate(fields.sender_error_estimate.expect("a reply has it")),
            sender_ttl: fields.sender_ttl,
            sender_dscp_ecn: fields.sender_dscp_ecn,
        };
        let mut buf = octets.to_vec();
        let read = ReflectorPacket::parse(format, &self.keys(), &mut buf, self.dscp_ecn_monitoring);
        assert_eq!(read, Ok(meant), "{}", self.name);
        if self.direction.as_deref() != Some("decode") {
            let mut written = octets.to_vec();
            written[..format.reflector_len_with(self.dscp_ecn_monitoring)].fill(0xA5);
            meant.emit(format, &self.keys(), &mut written).expect("room");
            assert_eq!(written, octets, "{}", self.name);
        }
    }
}

impl Fields {
    /// The moments that the raw timestamps mean, each in the format of its own Error Estimate.
    fn check_moments(&self, name: &str, near: WallNanos) {
        let own = ErrorEstimate(self.error_estimate).format();
        let sender = ErrorEstimate(self.sender_error_estimate.unwrap_or(0)).format();
        for (field, moment_ns, format) in [
            (Some(&self.timestamp), self.timestamp_ns, own),
            (self.receive_timestamp.as_ref(), self.receive_timestamp_ns, own),
            (self.sender_timestamp.as_ref(), self.sender_timestamp_ns, sender),
        ] {
            let Some(field) = field else { continue };
            let moment = raw(field).decode(format, near).ok();
            assert_eq!(moment, moment_ns.map(WallNanos), "{name}: {field}");
        }
    }
}

#[test]
fn packets_are_read_and_written_as_they_mean() {
    let entries = all().packet;
    assert!(!entries.is_empty());
    for entry in &entries {
        assert!(!entry.reference.is_empty(), "{}", entry.name);
        let format = packet_format(&entry.format);
        let octets = octets(&entry.octets);
        match (&entry.error, &entry.fields, entry.role.as_str()) {
            (Some(error), None, "sender") => {
                let read = SenderPacket::parse(format, &entry.keys(), &mut octets.clone());
                assert_eq!(read.unwrap_err().name(), error, "{}", entry.name);
            }
            (Some(error), None, "reflector") => {
                let read = ReflectorPacket::parse(format, &entry.keys(), &mut octets.clone(), false);
                assert_eq!(read.unwrap_err().name(), error, "{}", entry.name);
            }
            (None, Some(fields), role) => {
                if role == "sender" {
                    entry.check_sender(fields, format, &octets);
                } else {
                    assert_eq!(role, "reflector", "{}", entry.name);
                    entry.check_reflector(fields, format, &octets);
                }
                fields.check_moments(&entry.name, WallNanos(entry.near_ns));
            }
            _ => panic!("{} needs fields or an error, and a role", entry.name),
        }
    }
}

#[test]
fn recorded_replies_carry_the_padding_that_ours_would() {
    let entries = all().packet;
    let by_name: HashMap<_, _> = entries.iter().map(|entry| (&entry.name, entry)).collect();
    let mut pairs = 0;
    for entry in &entries {
        let Some(request) = &entry.reply_to else {
            continue;
        };
        let request = by_name[request];
        let format = packet_format(&entry.format);
        let theirs = octets(&entry.octets);
        let mut ours = octets(&request.octets);
        let sender = SenderPacket::parse(format, &entry.keys(), &mut ours).expect("a request");
        assert_eq!(theirs.len(), reply_len(format, ours.len(), false));
        let input = ReflectInput {
            sequence: None,
            receive_timestamp: WallNanos(entry.near_ns),
            transmit_timestamp: WallNanos(entry.near_ns),
            error_estimate: ErrorEstimate::UNKNOWN,
            ttl: None,
            dscp_ecn: None,
            symmetrical_size: false,
        };
        reflect_in_place(format, &entry.keys(), &sender, &input, &mut ours).expect("room");
        let padding = format.reflector_len()..;
        assert_eq!(ours[padding.clone()], theirs[padding], "reply to {}", request.name);
        assert_eq!(is_reply_shaped(format, &theirs), format != PacketFormat::TwampEncrypted);
        pairs += 1;
    }
    assert_eq!(pairs, 8);
}

#[test]
fn timestamps_are_read_and_written_as_they_mean() {
    let entries = all().timestamp;
    assert!(!entries.is_empty());
    for entry in entries {
        assert!(!entry.reference.is_empty());
        let format = timestamp_format(&entry.format);
        let field = raw(&entry.octets);
        let read = field.decode(format, WallNanos(entry.near_ns));
        if let Some(unix_ns) = entry.unix_ns {
            assert_eq!(read, Ok(WallNanos(unix_ns)), "{}", entry.name);
            let written = RawTimestamp::encode(WallNanos(unix_ns), format);
            let both_ways = entry.direction.as_deref() != Some("decode");
            assert_eq!(written == field, both_ways, "{}", entry.name);
        } else {
            assert_eq!(entry.error.as_deref(), Some("invalid_timestamp"));
            assert!(read.is_err(), "{}", entry.name);
        }
    }
}

#[test]
fn error_estimates_are_read_and_written_as_they_mean() {
    let entries = all().error_estimate;
    assert!(!entries.is_empty());
    for entry in entries {
        assert!(!entry.reference.is_empty());
        let field = ErrorEstimate(u16::from_be_bytes(array(&entry.octets)));
        let format = timestamp_format(&entry.format);
        assert_eq!(field.synchronized(), entry.synchronized, "{}", entry.name);
        assert_eq!(field.format(), format, "{}", entry.name);
        assert_eq!(field.scale(), entry.scale, "{}", entry.name);
        assert_eq!(field.multiplier(), entry.multiplier, "{}", entry.name);
        assert_eq!(field.error_ns(), entry.error_ns, "{}", entry.name);
        let error_ns = match entry.from_error_ns {
            None => continue,
            Some(FromError::Known(error_ns)) => Some(error_ns),
            Some(FromError::Unknown(word)) => {
                assert_eq!(word, "unknown", "{}", entry.name);
                None
            }
        };
        let written = ErrorEstimate::new(entry.synchronized, format, error_ns);
        assert_eq!(written, field, "{}", entry.name);
    }
}

/// A Session-Reflector that knows Extra Padding and nothing else.
fn padding_alone(tlv: &mut TlvMut<'_>) -> TlvFlags {
    if tlv.kind == Some(TlvType::ExtraPadding) { TlvFlags::NONE } else { TlvFlags::UNRECOGNIZED }
}

#[test]
fn tlv_chains_are_read_and_reflected_as_they_mean() {
    let entries = all().tlv_chain;
    assert!(!entries.is_empty());
    for entry in entries {
        assert!(!entry.reference.is_empty());
        let mut octets = octets(&entry.octets);
        let mut meant = entry.tlvs.iter();
        let mut malformed = false;
        for tlv in TlvChain::new(&octets) {
            if let Ok(tlv) = tlv {
                let meant = meant.next().expect("as many TLVs");
                assert_eq!((tlv.flags.0, tlv.kind), (meant.flags, meant.r#type), "{}", entry.name);
                assert_eq!(tlv.value, self::octets(&meant.value), "{}", entry.name);
            } else {
                malformed = true;
            }
        }
        assert!(meant.next().is_none(), "{}", entry.name);
        assert_eq!(malformed, entry.malformed, "{}", entry.name);
        let outcome = reflect_tlvs(&mut octets, padding_alone);
        assert_eq!(octets, self::octets(&entry.reflected), "{}", entry.name);
        assert_eq!(outcome.count as usize, entry.tlvs.len(), "{}", entry.name);
        assert_eq!(outcome.unrecognized, entry.unrecognized, "{}", entry.name);
        assert_eq!(outcome.malformed, entry.malformed, "{}", entry.name);
    }
}

#[test]
fn test_session_keys_are_derived_from_the_control_connections() {
    let entries = all().test_keys;
    assert!(!entries.is_empty());
    for entry in entries {
        assert!(!entry.reference.is_empty());
        let (aes, hmac) =
            derive_test_keys(array(&entry.sid), array(&entry.control_aes_key), array(&entry.control_hmac_key));
        assert_eq!(aes[..], octets(&entry.test_aes_key), "{}", entry.name);
        assert_eq!(hmac[..], octets(&entry.test_hmac_key), "{}", entry.name);
    }
}

#[test]
fn requests_are_reflected_as_they_should_be() {
    let entries = all().reflection;
    assert!(!entries.is_empty());
    for entry in entries {
        assert!(!entry.reference.is_empty());
        let format = packet_format(&entry.format);
        let keys = keys(entry.stamp_key.as_ref(), entry.twamp_aes_key.as_ref(), entry.twamp_hmac_key.as_ref());
        let mut buf = octets(&entry.request);
        assert!(!is_reply_shaped(format, &buf), "{}", entry.name);
        let sender = SenderPacket::parse(format, &keys, &mut buf).expect(&entry.name);
        let input = ReflectInput {
            sequence: entry.sequence,
            receive_timestamp: WallNanos(entry.receive_timestamp_ns),
            transmit_timestamp: WallNanos(entry.transmit_timestamp_ns),
            error_estimate: ErrorEstimate(entry.error_estimate),
            ttl: entry.ttl,
            dscp_ecn: entry.dscp_ecn,
            symmetrical_size: entry.symmetrical_size,
        };
        // What is behind the request in a reused buffer must not come out.
        buf.resize(reply_len(format, buf.len(), entry.dscp_ecn.is_some()), 0xA5);
        reflect_in_place(format, &keys, &sender, &input, &mut buf).expect(&entry.name);
        if format.is_stamp() {
            reflect_tlvs(&mut buf[format.reflector_len()..], padding_alone);
        }
        assert_eq!(buf, octets(&entry.reply), "{}", entry.name);
    }
}
