//! Writes the seed corpus of every fuzz target from `vectors/`: `seeds VECTORS CORPUS`.

use std::path::{Path, PathBuf};
use std::{env, fs};

use toml::{Table, Value};
use twoway_plane::packed::pack_summary;
use twoway_plane::session_receiver::{Record, summarize};
use twoway_wire::{ErrorEstimate, PacketFormat, RawTimestamp, TimestampFormat, TlvChain, WallNanos};

fn main() {
    let mut arguments = env::args_os().skip(1).map(PathBuf::from);
    let (Some(vectors), Some(corpus)) = (arguments.next(), arguments.next()) else {
        panic!("usage: seeds VECTORS CORPUS");
    };
    let mut written = 0;
    for file in fs::read_dir(&vectors).expect("the vectors are readable") {
        let path = file.expect("the vectors are readable").path();
        if path.extension().is_none_or(|extension| extension != "toml") {
            continue;
        }
        let text = fs::read_to_string(&path).expect("the vectors are readable");
        let table: Table = text.parse().expect("the vectors are TOML");
        let stem = path.file_stem().expect("a file has a name").to_string_lossy().into_owned();
        for entry in entries(&table, "packet") {
            let packet = octets(entry, "octets");
            if text_of(entry, "role") == "sender" {
                written += seed(&corpus, "sender_packet", &stem, entry, &packet);
                written += seed(&corpus, "reflect_in_place", &stem, entry, &packet);
            } else {
                written += seed(&corpus, "reflector_packet", &stem, entry, &packet);
            }
        }
        for entry in entries(&table, "reflection") {
            written += seed(&corpus, "reflect_in_place", &stem, entry, &octets(entry, "request"));
            written += seed(&corpus, "reflector_packet", &stem, entry, &octets(entry, "reply"));
        }
        for entry in entries(&table, "tlv_chain") {
            let name = format!("{stem}-{}", text_of(entry, "name"));
            written += write(&corpus, "tlv_chain", &name, &octets(entry, "octets"));
        }
        for entry in entries(&table, "tlv") {
            written += tlvs(&corpus, &format!("{stem}-{}", text_of(entry, "name")), entry);
        }
    }
    written += packed_results(&corpus);
    written += frames(&corpus);
    println!("{written} seeds");
}

/// The Values of a request and its reply; the request for a Session-Reflector, the reply for a Session-Sender.
fn tlvs(corpus: &Path, name: &str, entry: &Table) -> usize {
    let request = octets(entry, "request");
    let reply = if entry.contains_key("reply") { octets(entry, "reply") } else { Vec::new() };
    let mut written = 0;
    for (which, chain) in [("request", &request), ("reply", &reply)] {
        written += write(corpus, "tlv_chain", &format!("{name}-{which}"), chain);
        for (at, tlv) in TlvChain::new(chain).flatten().enumerate() {
            let value = [&[tlv.kind][..], tlv.value].concat();
            written += write(corpus, "tlv_values", &format!("{name}-{which}-{at}"), &value);
        }
    }
    // Stateful, and signed if there is an HMAC TLV.
    written += write(corpus, "reflector_tlvs", name, &[&[0b1010][..], &request].concat());
    // Two replies, signed or not.
    let one = [&[4][..], &(reply.len() as u16).to_le_bytes(), &reply].concat();
    written + write(corpus, "sender_tlvs", name, &[&[u8::from(entry_signs(entry))][..], &one, &one].concat())
}

fn entry_signs(entry: &Table) -> bool {
    entry.get("asks").and_then(Value::as_table).is_some_and(|asks| asks.contains_key("hmac"))
}

/// Paths of no, one and the most labels, in both families, under payloads of even and odd length.
fn frames(corpus: &Path) -> usize {
    let paths = [(0, 0), (1, 44), (2, 45), (30, 100)].into_iter().flat_map(|path| [(path, 0), (path, 1)]);
    let written = paths.map(|((labels, payload), family)| {
        let mut input = vec![labels << 1 | family, 0xB8, 255];
        input.extend((0..36).map(|octet| 0x20 + octet));
        input.extend((0..labels).flat_map(|label| (16_000 + u32::from(label)).to_be_bytes()));
        input.extend(0..payload);
        write(corpus, "frame", &format!("{labels}-labels-{family}"), &input)
    });
    written.sum()
}

/// Summaries of a few, of many and of no values.
fn packed_results(corpus: &Path) -> usize {
    let lengths = [0, 1, 2, 3, 50];
    let seeds = lengths.map(|length| {
        let packets: Vec<Record> = (0..length).map(record).collect();
        let start = WallNanos(1_700_000_000_000_000_000);
        let summary = summarize(&packets, &[], start, WallNanos(start.0 + 1_000_000_000));
        write(corpus, "packed_results", &length.to_string(), &pack_summary(&summary))
    });
    seeds.into_iter().sum()
}

/// A packet that took about 100 us.
fn record(sequence: u32) -> Record {
    let sent = WallNanos(1_700_000_000_000_000_000 + i64::from(sequence) * 1_000_000);
    let delay_ns = 100_000 + i64::from(sequence * 7919 % 20_011);
    let error = ErrorEstimate::new(true, TimestampFormat::Ntp, Some(1_000_000));
    Record {
        sequence,
        send_error_estimate: error,
        receive_error_estimate: error,
        send_timestamp: RawTimestamp::encode(sent, TimestampFormat::Ntp),
        receive_timestamp: RawTimestamp::encode(WallNanos(sent.0 + delay_ns), TimestampFormat::Ntp),
        ttl: 64,
    }
}

/// The format's number and a choice octet of 0 before the packet.
fn seed(corpus: &Path, target: &str, stem: &str, entry: &Table, packet: &[u8]) -> usize {
    let format = text_of(entry, "format");
    let index =
        PacketFormat::ALL.iter().position(|known| known.name() == format).expect("the vectors name known formats");
    let mut input = vec![index as u8, 0];
    input.extend_from_slice(packet);
    write(corpus, target, &format!("{stem}-{}", text_of(entry, "name")), &input)
}

fn write(corpus: &Path, target: &str, name: &str, input: &[u8]) -> usize {
    let directory = corpus.join(target);
    fs::create_dir_all(&directory).expect("the corpus is writable");
    fs::write(directory.join(name), input).expect("the corpus is writable");
    1
}

fn entries<'a>(table: &'a Table, kind: &str) -> impl Iterator<Item = &'a Table> {
    table.get(kind).and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_table)
}

fn text_of<'a>(entry: &'a Table, key: &str) -> &'a str {
    entry[key].as_str().expect("the vectors keep to their schema")
}

fn octets(entry: &Table, key: &str) -> Vec<u8> {
    let hex = text_of(entry, key);
    (0..hex.len() / 2)
        .map(|i| u8::from_str_radix(&hex[2 * i..2 * i + 2], 16).expect("octets are hexadecimal"))
        .collect()
}
