//! Test-packet formats of OWAMP, TWAMP and STAMP: octets to meaning and back.
//!
//! Everything that goes into the payload of a test packet is defined here and nowhere else: layouts, timestamps, Error
//! Estimates, authentication and TLV framing. The crate does no I/O, reads no clock and does not allocate while it
//! parses, emits or reflects. RFCs to read first: 4656 section 4, 5357 section 4, 6038, 7750, 8186, 8762, 8972, 9503, 9534, 10052.
//!
//! Panic contract: no function here panics on octets that came from the network, whatever their number or value.
#![forbid(unsafe_code)]

pub mod auth;
pub mod error;
pub mod error_estimate;
pub mod exponential;
pub mod frame;
pub mod ip_headers;
pub mod layout;
pub mod mpls;
pub mod owamp_test;
pub mod packet;
pub mod reflect;
pub mod srv6;
pub mod stamp;
pub mod timestamp;
pub mod tlv;
pub mod twamp_test;

pub use auth::{StampKey, TestKeys, TwampKeys};
pub use error::{InvalidTimestamp, KeyError, WireError};
pub use error_estimate::ErrorEstimate;
pub use exponential::ExponentialGenerator;
pub use frame::{FrameError, FrameHeader, FrameSpec};
pub use ip_headers::IpHeaders;
pub use packet::{PacketFormat, ReflectorPacket, SenderPacket};
pub use reflect::{ReflectInput, is_reply_shaped, reflect_in_place, reply_len};
pub use timestamp::{RawTimestamp, TimestampFormat, WallNanos};
pub use tlv::{Tlv, TlvChain, TlvFlags, TlvOutcome, TlvType, TlvWriter, reflect_tlvs, survey, write_extra_padding};
