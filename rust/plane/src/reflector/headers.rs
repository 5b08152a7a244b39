//! Headers of the IP packet that a request came in, given to the TLVs that ask for them (draft-ietf-ippm-stamp-ext-hdr).

use twoway_wire::tlv::{HeaderKind, TlvFlags, TlvType, fill_reflected_header};

use super::arrivals::Arrival;

/// Gives the headers of one request to the TLVs that ask for them (draft-ietf-ippm-stamp-ext-hdr).
pub(super) struct Headers<'a> {
    arrival: Option<Arrival<'a>>,
    /// Those that have been given, of the fixed and of the extension headers.
    used: [u32; 2],
    /// An extension header was asked for.
    extension_asked: bool,
}

impl<'a> Headers<'a> {
    pub(super) fn new(arrival: Option<Arrival<'a>>) -> Self {
        Self { arrival, used: [0; 2], extension_asked: false }
    }

    /// Copies into a Value the header that it asks for; C if that cannot be done.
    pub(super) fn reflect(&mut self, kind: TlvType, value: &mut [u8]) -> TlvFlags {
        let extension = kind == TlvType::ReflectedIpv6ExtensionHeader;
        // All requests for a fixed header stand before those for extension headers.
        self.extension_asked |= extension;
        let in_order = extension || !self.extension_asked;
        let kind = if extension { HeaderKind::Extension } else { HeaderKind::Fixed };
        let used = &mut self.used[usize::from(extension)];
        let filled = self.arrival.filter(|_| in_order).is_some_and(|arrival| {
            fill_reflected_header(kind, value, arrival.headers.of_kind(arrival.packet, extension), used)
        });
        if filled { TlvFlags::NONE } else { TlvFlags::CONFORMANT }
    }
}
