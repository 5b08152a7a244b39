//! The Session-Reflector of one negotiated test-session: a request's reply, without sockets and clocks.
//!
//! Read first: RFC 5357 section 4.2, RFC 6038 section 5.2, RFC 7750 section 2.2.
//!
//! A packet passes [`Reflecting::decide`], which reads it, moves its padding to where the reply has it, and says how long
//! the reply is; [`Reflecting::write`], which may be called again with a later departure; and, once the reply has left,
//! [`Reflecting::sent`]: only then its number is used up (RFC 5357 section 4.2.1). Every packet is answered, copies too.

use twoway_wire::{
    ErrorEstimate, PacketFormat, ReflectInput, SenderPacket, TestKeys, TimestampFormat, WallNanos, WireError,
    is_reply_shaped, reflect_in_place, reply_len,
};

use super::Disposition;

/// How one test-session is reflected.
#[derive(Clone, Debug)]
pub struct ReflectingSpec {
    /// Layout of the packets.
    pub format: PacketFormat,
    /// Keys that the format needs.
    pub keys: TestKeys,
    /// Format of T2 and T3 (RFC 8186).
    pub timestamp_format: TimestampFormat,
    /// Requests leave room for the reply's header (RFC 6038 section 5.1.4).
    pub symmetrical_size: bool,
    /// Replies carry DSCP and ECN as the request had them on arrival (RFC 7750).
    pub dscp_ecn_monitoring: bool,
}

/// What the host knows of a request.
#[derive(Clone, Copy, Debug)]
pub struct Arrival {
    /// T2.
    pub received: WallNanos,
    /// TTL or hop limit.
    pub ttl: Option<u8>,
    /// TOS or traffic class octet.
    pub dscp_ecn: Option<u8>,
    /// Octets.
    pub len: usize,
}

/// A request that will be answered.
#[derive(Clone, Copy, Debug)]
pub struct Pending {
    sender: SenderPacket,
    arrival: Arrival,
    len: usize,
}

impl Pending {
    /// Octets of the reply.
    pub fn reply_len(&self) -> usize {
        self.len
    }
}

/// One test-session's Session-Reflector.
#[derive(Clone, Debug)]
pub struct Reflecting {
    spec: ReflectingSpec,
    sequence: u32,
}

impl Reflecting {
    /// Counts its replies from 0.
    pub fn new(spec: ReflectingSpec) -> Self {
        Self { spec, sequence: 0 }
    }

    /// Whether writing a reply includes an HMAC.
    pub fn is_authenticated(&self) -> bool {
        self.spec.format.is_authenticated()
    }

    /// Reads the request in `room[..arrival.len]`; `room` is the place for the reply too.
    pub fn decide(&self, room: &mut [u8], arrival: Arrival) -> Result<Pending, Disposition> {
        let ReflectingSpec { format, dscp_ecn_monitoring, symmetrical_size, .. } = self.spec;
        let octets = room.get_mut(..arrival.len).ok_or(Disposition::Malformed)?;
        if is_reply_shaped(format, octets) {
            return Err(Disposition::ReplyShaped);
        }
        let sender = SenderPacket::parse(format, &self.spec.keys, octets).map_err(|error| match error {
            WireError::TooShort { .. } => Disposition::TooShort,
            _ => Disposition::BadHmac,
        })?;
        if sender.error_estimate.multiplier() == 0 {
            return Err(Disposition::ZeroMultiplier);
        }
        let len = reply_len(format, arrival.len, dscp_ecn_monitoring);
        let header = format.reflector_len_with(dscp_ecn_monitoring);
        let reply = room.get_mut(..len).ok_or(Disposition::Malformed)?;
        // What was in the buffer before must not leave with a reply that is longer than its request.
        reply[arrival.len..].fill(0);
        if !symmetrical_size {
            // Once, here: `write` may come twice.
            reply.copy_within(format.sender_len()..format.sender_len() + (len - header), header);
        }
        Ok(Pending { sender, arrival, len })
    }

    /// Writes the reply over the request, for a departure at `departure` (T3).
    pub fn write(
        &self,
        pending: &Pending,
        departure: WallNanos,
        error_estimate: ErrorEstimate,
        room: &mut [u8],
    ) -> Result<(), Disposition> {
        let input = ReflectInput {
            sequence: Some(self.sequence),
            receive_timestamp: pending.arrival.received,
            transmit_timestamp: departure,
            error_estimate: error_estimate.with_format(self.spec.timestamp_format),
            ttl: pending.arrival.ttl,
            // Where the kernel does not say, there is nothing true to write but zero.
            dscp_ecn: self.spec.dscp_ecn_monitoring.then(|| pending.arrival.dscp_ecn.unwrap_or(0)),
            symmetrical_size: true,
        };
        let reply = room.get_mut(..pending.len).ok_or(Disposition::Malformed)?;
        reflect_in_place(self.spec.format, &self.spec.keys, &pending.sender, &input, reply)
            .map_err(|_| Disposition::Malformed)
    }

    /// The reply has left.
    pub fn sent(&mut self) {
        self.sequence = self.sequence.wrapping_add(1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use twoway_wire::{RawTimestamp, ReflectorPacket, TwampKeys};

    const NOW: WallNanos = WallNanos(1_700_000_000_000_000_000);

    fn keys(format: PacketFormat) -> TestKeys {
        if format.is_authenticated() { TestKeys::Twamp(TwampKeys::new([1; 16], [2; 32])) } else { TestKeys::None }
    }

    fn spec(format: PacketFormat, symmetrical_size: bool, dscp_ecn_monitoring: bool) -> ReflectingSpec {
        let timestamp_format = TimestampFormat::Ptp;
        ReflectingSpec { format, keys: keys(format), timestamp_format, symmetrical_size, dscp_ecn_monitoring }
    }

    /// A request with `padding` octets 1, 2, 3, … after `zeros` of zero.
    fn request(format: PacketFormat, zeros: usize, padding: usize) -> Vec<u8> {
        let mut octets = vec![0; format.sender_len()];
        let packet = SenderPacket {
            sequence: 9,
            timestamp: RawTimestamp::encode(NOW, TimestampFormat::Ntp),
            error_estimate: ErrorEstimate(0x8001),
            ssid: 0,
        };
        packet.emit(format, &keys(format), &mut octets).unwrap();
        octets.resize(format.sender_len() + zeros, 0);
        octets.extend((0..padding).map(|at| at as u8 + 1));
        octets
    }

    fn reflect(spec: &ReflectingSpec, request: &[u8]) -> Vec<u8> {
        let mut room = vec![0xEE; 512];
        room[..request.len()].copy_from_slice(request);
        let reflecting = Reflecting { sequence: 3, ..Reflecting::new(spec.clone()) };
        let arrival = Arrival { received: NOW, ttl: Some(250), dscp_ecn: Some(0xb9), len: request.len() };
        let pending = reflecting.decide(&mut room, arrival).unwrap();
        // Twice, as where the kernel is given the beginning first.
        for later in [1000, 2000] {
            reflecting.write(&pending, WallNanos(NOW.0 + later), ErrorEstimate(0x8001), &mut room).unwrap();
        }
        room.truncate(pending.reply_len());
        room
    }

    #[test]
    fn padding_comes_back_after_the_longer_header_and_loses_its_end() {
        for format in [PacketFormat::Twamp, PacketFormat::TwampAuthenticated, PacketFormat::TwampEncrypted] {
            for monitoring in [false, true] {
                let header = format.reflector_len_with(monitoring);
                let request = request(format, 0, 100);
                let mut reply = reflect(&spec(format, false, monitoring), &request);
                assert_eq!(reply.len(), request.len(), "RFC 6038 section 5.2.1: exactly the header's growth is cut");
                let kept = reply.len() - header;
                assert_eq!(reply[header..], request[format.sender_len()..][..kept]);
                let packet = ReflectorPacket::parse(format, &keys(format), &mut reply, monitoring).unwrap();
                assert_eq!((packet.sequence, packet.sender_sequence, packet.sender_ttl), (3, 9, Some(250)));
                assert_eq!(packet.sender_dscp_ecn, monitoring.then_some(0xb9));
                assert_eq!(packet.error_estimate.format(), TimestampFormat::Ptp);
                let at = packet.timestamp.decode(TimestampFormat::Ptp, NOW).unwrap();
                assert_eq!(at.since(NOW), 2000);
            }
        }
    }

    #[test]
    fn symmetrical_padding_stays_where_it_is() {
        for format in [PacketFormat::Twamp, PacketFormat::TwampAuthenticated, PacketFormat::TwampEncrypted] {
            for monitoring in [false, true] {
                let zeros = format.symmetrical_mbz(monitoring).len();
                let request = request(format, zeros, 40);
                let reply = reflect(&spec(format, true, monitoring), &request);
                assert_eq!(reply.len(), request.len());
                assert_eq!(reply[format.reflector_len_with(monitoring)..], request[format.sender_len() + zeros..]);
            }
        }
    }

    #[test]
    fn a_reply_longer_than_its_request_holds_nothing_of_another_packet() {
        let request = request(PacketFormat::Twamp, 0, 3);
        let reply = reflect(&spec(PacketFormat::Twamp, false, true), &request);
        assert_eq!(reply.len(), 44);
        assert!(!reply.contains(&0xEE));
    }

    #[test]
    fn hostile_requests_are_named() {
        let decide = |format: PacketFormat, octets: &[u8]| {
            let mut room = vec![0; 256];
            room[..octets.len()].copy_from_slice(octets);
            let arrival = Arrival { received: NOW, ttl: None, dscp_ecn: None, len: octets.len() };
            Reflecting::new(spec(format, false, false)).decide(&mut room, arrival).map(|_| ()).unwrap_err()
        };
        let format = PacketFormat::TwampEncrypted;
        assert_eq!(decide(format, &request(format, 0, 0)[..47]), Disposition::TooShort);
        assert_eq!(decide(PacketFormat::Twamp, &[]), Disposition::TooShort);
        for at in 0..48 {
            let mut altered = request(format, 0, 10);
            altered[at] ^= 0x40;
            assert_eq!(decide(format, &altered), Disposition::BadHmac, "octet {at}");
        }
        let mut corrupt = request(PacketFormat::Twamp, 0, 40);
        corrupt[13] = 0;
        assert_eq!(decide(PacketFormat::Twamp, &corrupt), Disposition::ZeroMultiplier);
        let reply = reflect(&spec(PacketFormat::Twamp, false, false), &request(PacketFormat::Twamp, 0, 40));
        assert_eq!(decide(PacketFormat::Twamp, &reply), Disposition::ReplyShaped);
    }
}
