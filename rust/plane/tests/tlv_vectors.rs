//! `vectors/tlvs.toml`: what our Session-Sender asks for is those octets, what our Session-Reflector answers is those, and
//! what they tell the Session-Sender is what stands there.

mod asking;
mod sending;

use std::net::{IpAddr, SocketAddr};
use std::path::Path;

use serde::Deserialize;
use twoway_plane::reflector::allow::AllowList;
use twoway_plane::reflector::arrivals::{Arrival, Arrivals};
use twoway_plane::reflector::control::ControlPolicy;
use twoway_plane::reflector::dispositions::Disposition;
use twoway_plane::reflector::extensions::{LocationPolicy, TlvPolicy};
use twoway_plane::reflector::routes::PlainRoutes;
use twoway_plane::session_reflector::{RequestMeta, SessionReflector, Verdict};
use twoway_plane::session_sender::extensions::{AccessRequest, ControlRequest, TlvRequests, WayBack};
use twoway_plane::summary::Summary;
use twoway_plane::sys::LinkAddress;
use twoway_wire::mpls::LabelStackEntry;
use twoway_wire::tlv::access_report::{AccessId, ReturnCode};
use twoway_wire::tlv::{AccessReport, MicroSessionId, ReflectedControl};
use twoway_wire::{ErrorEstimate, IpHeaders, PacketFormat, WallNanos};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Vectors {
    tlv: Vec<Entry>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    name: String,
    reference: String,
    #[serde(rename = "note")]
    _note: Option<String>,
    #[serde(default)]
    over: Over,
    last_hop: Option<String>,
    arrived: Option<String>,
    arrived_dscp_ecn: Option<u8>,
    returned_dscp_ecn: Option<u8>,
    previous_left_ns: Option<i64>,
    length: Option<usize>,
    request: String,
    reply: Option<String>,
    asks: Option<Asks>,
    says: Option<toml::Table>,
}

/// The addresses of both ends.
#[derive(Clone, Copy, Default, PartialEq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Over {
    #[default]
    Ipv4,
    Ipv6,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[expect(clippy::struct_excessive_bools, reason = "each is a TLV of its own")]
struct Asks {
    location: bool,
    timestamp_information: bool,
    class_of_service: Option<u8>,
    direct_measurement: bool,
    access_report: Option<AsksAccess>,
    follow_up: bool,
    destination_node: Option<IpAddr>,
    return_path: Option<AsksWay>,
    micro_session: Option<(u16, u16)>,
    control: Option<AsksControl>,
    fixed_header: bool,
    extension_headers: Vec<u16>,
    hmac: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct AsksAccess {
    access: String,
    return_code: u8,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct AsksWay {
    kind: String,
    #[serde(default)]
    labels: Vec<u32>,
    #[serde(default)]
    segments: Vec<std::net::Ipv6Addr>,
    address: Option<IpAddr>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct AsksControl {
    count: u16,
    length: u16,
    interval_ns: u32,
    layer_2_group: Option<(String, String)>,
    layer_3_group: Option<(IpAddr, u8)>,
}

impl Asks {
    fn requests(&self, over: Over) -> TlvRequests {
        TlvRequests {
            location: self.location,
            timestamp_information: self.timestamp_information,
            class_of_service: self.class_of_service.map(|wanted| (46, wanted)),
            direct_measurement: self.direct_measurement,
            access_report: self.access_report.as_ref().map(|asked| AccessRequest {
                report: AccessReport {
                    access: AccessId::from_name(&asked.access).expect("a network"),
                    return_code: ReturnCode(asked.return_code),
                },
                // The third packet has it for the third time.
                timer_ns: sending::INTERVAL_NS,
                retransmissions: 4,
            }),
            follow_up: self.follow_up,
            destination_node: self.destination_node,
            return_path: self.return_path.as_ref().map(AsksWay::way_back),
            micro_session: self.micro_session.map(|(sender, reflector)| MicroSessionId { sender, reflector }),
            control: self.control.as_ref().map(|asked| ControlRequest {
                control: ReflectedControl { length: asked.length, count: asked.count, interval_ns: asked.interval_ns },
                layer_2: asked.layer_2_group.as_ref().map(|(mask, group)| (octets(mask), octets(group))),
                layer_3: asked.layer_3_group,
            }),
            fixed_header: self.fixed_header.then_some(if over == Over::Ipv6 { 40 } else { 20 }),
            extension_headers: self.extension_headers.clone(),
            hmac: self.hmac.then(sending::keys),
        }
    }
}

impl AsksWay {
    fn way_back(&self) -> WayBack {
        match &*self.kind {
            "none" => WayBack::NoReply,
            "same-link" => WayBack::SameLink,
            "address" => WayBack::Address(self.address.expect("an address")),
            "mpls" => {
                let entry = |(at, label): (usize, &u32)| LabelStackEntry {
                    label: *label,
                    traffic_class: 0,
                    bottom: at + 1 == self.labels.len(),
                    ttl: 255,
                };
                let octets = self.labels.iter().enumerate().flat_map(|label| entry(label).to_octets()).collect();
                WayBack::Labels(octets, self.address)
            }
            "srv6" => {
                WayBack::Segments(self.segments.iter().flat_map(std::net::Ipv6Addr::octets).collect(), self.address)
            }
            other => panic!("no kind of return path: {other}"),
        }
    }
}

fn octets(hex: &str) -> Vec<u8> {
    (0..hex.len() / 2).map(|at| u8::from_str_radix(&hex[2 * at..2 * at + 2], 16).expect("hexadecimal")).collect()
}

fn entries() -> Vec<Entry> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../vectors/tlvs.toml");
    let vectors: Vectors = toml::from_str(&std::fs::read_to_string(path).expect("readable")).expect("the schema");
    let mut names: Vec<_> = vectors.tlv.iter().map(|entry| entry.name.clone()).collect();
    names.sort();
    names.dedup();
    assert_eq!(names.len(), vectors.tlv.len(), "names are unique");
    assert!(vectors.tlv.iter().all(|entry| entry.reference.contains("section")));
    vectors.tlv
}

/// How the request of an entry came in.
struct CameIn {
    packet: Vec<u8>,
    headers: IpHeaders,
    last_hop: LinkAddress,
}

impl Arrivals for CameIn {
    fn of(&mut self, _source: SocketAddr, _payload: &[u8]) -> Option<Arrival<'_>> {
        Some(Arrival { last_hop: Some(self.last_hop), headers: &self.headers, packet: &self.packet })
    }
}

/// An IPv4 packet whose headers nobody asks for.
fn any_packet() -> Vec<u8> {
    let mut packet = vec![0; 28];
    (packet[0], packet[9]) = (0x45, 17);
    packet
}

fn policy() -> TlvPolicy {
    TlvPolicy {
        location: LocationPolicy::All,
        permitted_dscps: TlvPolicy::ANY_DSCP & !(1 << 12),
        return_paths: asking::permissive(),
        reflect_headers: true,
        micro_sessions: vec![("eth0".to_owned(), 11)],
        control: Some(ControlPolicy {
            allow: AllowList::new(&[(asking::ip("198.51.100.0"), 24)]).expect("a network"),
            most_replies: 100,
            longest_reply: 1472,
            most_octets_per_s: 1_000_000,
            most_octets: 65_536,
        }),
        ..asking::tlvs()
    }
}

/// The reply's TLVs, and its Sequence Number.
fn reflected(engine: &mut SessionReflector, sequence: u32, entry: &Entry) -> Option<(Vec<u8>, u32)> {
    let octets = asking::request_numbered(PacketFormat::Stamp, sequence, &self::octets(&entry.request));
    let mut room = vec![0xee; asking::ROOM];
    room[..octets.len()].copy_from_slice(&octets);
    let mut meta =
        RequestMeta { len: octets.len(), dscp_ecn: Some(entry.arrived_dscp_ecn.unwrap_or(0xb9)), ..asking::meta() };
    if entry.over == Over::Ipv6 {
        meta.source = asking::address("[2001:db8::9]:40000");
        meta.destination = asking::address("[2001:db8::1]:862");
    }
    let packet = entry.arrived.as_ref().map_or_else(any_packet, |hex| self::octets(hex));
    let headers = IpHeaders::find(&packet).expect("headers");
    let last_hop = match &entry.last_hop {
        None => LinkAddress { value: 0x0200_5e00_5301, is_eui_64: false },
        Some(hex) => LinkAddress { value: u64::from_str_radix(hex, 16).expect("an EUI-64"), is_eui_64: true },
    };
    let mut arrivals = CameIn { packet, headers, last_hop };
    let pending = match engine.handle(&mut room, &meta, asking::SECOND, &mut PlainRoutes, &mut arrivals) {
        Verdict::Reply(pending) => pending,
        Verdict::Drop(why) => {
            assert!(matches!(why, Disposition::NoReplyRequested | Disposition::OtherGroup), "{}: {why:?}", entry.name);
            return None;
        }
    };
    let departure = WallNanos(asking::NOW.0 + 1000);
    let sequence = engine.write(&pending, departure, ErrorEstimate::UNKNOWN, &mut room).expect("written");
    if let (Some(session), Some(left_ns)) = (pending.followed_up(), entry.previous_left_ns) {
        engine.departed(session, sequence, WallNanos(left_ns));
    }
    Some((room[44..pending.len()].to_vec(), sequence))
}

#[test]
fn a_session_reflector_answers_with_these_octets() {
    for entry in entries() {
        let mut engine = asking::engine_with(policy(), &[asking::KEY], true);
        if entry.previous_left_ns.is_some() {
            reflected(&mut engine, 1, &entry);
        }
        let reply = reflected(&mut engine, 2, &entry).map(|(chain, _)| chain);
        assert_eq!(reply, entry.reply.as_deref().map(octets), "{}", entry.name);
    }
}

#[test]
fn a_session_sender_asks_with_these_octets() {
    let mut asked = 0;
    for entry in entries() {
        let Some(asks) = &entry.asks else { continue };
        let mut session = sending::Sending::new(asks.requests(entry.over), entry.length);
        session.send();
        session.send();
        assert_eq!(session.send()[44..], octets(&entry.request), "{}", entry.name);
        asked += 1;
    }
    assert!(asked > 20);
}

#[test]
fn a_session_sender_understands_these_octets() {
    let mut read = 0;
    for entry in entries() {
        let (Some(asks), Some(reply), Some(says)) = (&entry.asks, &entry.reply, &entry.says) else { continue };
        let mut session = sending::Sending::new(asks.requests(entry.over), entry.length);
        session.send();
        session.send();
        let packet = session.send();
        let sequence = u32::from(entry.previous_left_ns.is_some());
        let reply = session.reply(&packet, sequence, &octets(reply));
        session.now_ns += 3 * sending::MS;
        session.receive(&reply, entry.returned_dscp_ecn.unwrap_or(0));
        let summary = session.summary();
        assert_eq!(summary.counter("received"), Some(1), "{}", entry.name);
        assert_eq!(summary.counter("tlv_malformed"), Some(0), "{}", entry.name);
        for (name, value) in says {
            assert_eq!(found(&summary, name), *value, "{}: {name}", entry.name);
        }
        read += 1;
    }
    assert!(read > 20);
}

/// A metric by its name in the reports.
fn found(summary: &Summary, name: &str) -> toml::Value {
    let text = |value: Option<String>| toml::Value::String(value.unwrap_or_default());
    let location = summary.location().unwrap_or_default();
    match name {
        "location_source" => text(location.source.map(|address| address.to_string())),
        "location_destination" => text(location.destination.map(|address| address.to_string())),
        "location_source_port" => i64::from(location.source_port).into(),
        "location_destination_port" => i64::from(location.destination_port).into(),
        "location_source_mac" => text(location.source_mac.map(|mac| {
            let from = if location.source_mac_is_eui_64 { 0 } else { 2 };
            mac.to_be_bytes()[from..].iter().map(|octet| format!("{octet:02x}")).collect::<Vec<_>>().join(":")
        })),
        _ => match (summary.counter(name), summary.fact(name)) {
            (Some(count), _) => i64::try_from(count).expect("few").into(),
            (None, Some(fact)) => fact.expect("known").into(),
            (None, None) => panic!("there is no metric {name}"),
        },
    }
}
