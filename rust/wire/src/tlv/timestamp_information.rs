//! Timestamp Information (RFC 8972 section 4.3): how the Session-Reflector obtained T2 and T3.

/// Octets of a Value without sub-TLVs, of which none is defined.
pub const LEAST_LEN: usize = 4;

/// A code of the STAMP Synchronization Sources (RFC 8972 section 5.4).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SyncSource(pub u8);

impl SyncSource {
    /// NTP.
    pub const NTP: Self = Self(1);
    /// PTP.
    pub const PTP: Self = Self(2);
    /// A synchronisation supply unit.
    pub const SSU_BITS: Self = Self(3);
    /// A satellite or radio receiver (GPS, GLONASS, LORAN-C, BDS, Galileo).
    pub const SATELLITE: Self = Self(4);
    /// Nothing: the clock runs by itself.
    pub const FREE_RUNNING: Self = Self(5);

    /// (code, name) of each registered source.
    pub const NAMES: [(Self, &'static str); 5] = [
        (Self::NTP, "ntp"),
        (Self::PTP, "ptp"),
        (Self::SSU_BITS, "ssu-bits"),
        (Self::SATELLITE, "gps"),
        (Self::FREE_RUNNING, "free-running"),
    ];

    /// The name, where the code is registered.
    pub fn name(self) -> Option<&'static str> {
        Self::NAMES.iter().find(|(source, _)| *source == self).map(|(_, name)| *name)
    }

    /// The source of that name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::NAMES.iter().find(|(_, known)| *known == name).map(|(source, _)| *source)
    }
}

/// A code of the STAMP Timestamping Methods (RFC 8972 section 5.5).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TimestampingMethod(pub u8);

impl TimestampingMethod {
    /// By hardware.
    pub const HARDWARE_ASSIST: Self = Self(1);
    /// By software, from the local clock.
    pub const SOFTWARE_LOCAL: Self = Self(2);
    /// From a clock elsewhere.
    pub const CONTROL_PLANE: Self = Self(3);

    /// (code, name) of each registered method.
    pub const NAMES: [(Self, &'static str); 3] = [
        (Self::HARDWARE_ASSIST, "hardware-assist"),
        (Self::SOFTWARE_LOCAL, "software-local"),
        (Self::CONTROL_PLANE, "control-plane"),
    ];

    /// The name, where the code is registered.
    pub fn name(self) -> Option<&'static str> {
        Self::NAMES.iter().find(|(method, _)| *method == self).map(|(_, name)| *name)
    }
}

/// The Value without sub-TLVs. A Session-Sender sends zeros; all four fields are about the Session-Reflector.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TimestampInformation {
    /// What the clock follows that gave T2.
    pub sync_source_in: SyncSource,
    /// How T2 was obtained.
    pub timestamp_in: TimestampingMethod,
    /// What the clock follows that gave T3.
    pub sync_source_out: SyncSource,
    /// How T3 was obtained.
    pub timestamp_out: TimestampingMethod,
}

impl TimestampInformation {
    /// Reads a Value; `None` if its Length is not one that the TLV can have.
    #[inline]
    pub const fn parse(value: &[u8]) -> Option<Self> {
        let [sync_in, method_in, sync_out, method_out, ..] = *value else { return None };
        Some(Self {
            sync_source_in: SyncSource(sync_in),
            timestamp_in: TimestampingMethod(method_in),
            sync_source_out: SyncSource(sync_out),
            timestamp_out: TimestampingMethod(method_out),
        })
    }

    /// Writes the four fields to the beginning of a Value that has room for them.
    #[inline]
    pub fn write(self, value: &mut [u8]) {
        if let Some(fields) = value.first_chunk_mut::<LEAST_LEN>() {
            *fields = [self.sync_source_in.0, self.timestamp_in.0, self.sync_source_out.0, self.timestamp_out.0];
        }
    }
}
