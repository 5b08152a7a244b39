//! MPLS label stack entries (RFC 3032 section 2.1, RFC 5462): what SR-MPLS puts before an IP packet.
//!
//! ```text
//! | 0 ... 19 | 20 ... 22     | 23             | 24 ... 31 |
//! | Label    | Traffic Class | Bottom of Stack | TTL       |
//! ```

use core::fmt;

/// Octets of one entry.
pub const ENTRY_LEN: usize = 4;
/// Most labels of a stack that we push: as many as Linux pushes itself (`MAX_NEW_LABELS`).
pub const LONGEST_STACK: usize = 30;
/// Labels below this have a meaning of their own (RFC 3032 section 2.1, RFC 7274): no segment has one.
pub const FIRST_ORDINARY_LABEL: u32 = 16;
/// Labels have 20 bits.
pub const LARGEST_LABEL: u32 = 0xF_FFFF;

/// Why labels cannot be a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LabelError {
    /// There is none.
    Empty,
    /// More than [`LONGEST_STACK`].
    TooMany {
        /// Labels that are there.
        have: usize,
    },
    /// More than 20 bits.
    TooLarge {
        /// The label.
        label: u32,
    },
    /// Below [`FIRST_ORDINARY_LABEL`].
    SpecialPurpose {
        /// The label.
        label: u32,
    },
}

impl fmt::Display for LabelError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => f.write_str("there is no label"),
            Self::TooMany { have } => write!(f, "{have} labels are more than {LONGEST_STACK}"),
            Self::TooLarge { label } => write!(f, "label {label} is more than {LARGEST_LABEL} (20 bits)"),
            Self::SpecialPurpose { label } => {
                write!(f, "label {label} is reserved: labels 0 to 15 are special-purpose (RFC 7274)")
            }
        }
    }
}

impl core::error::Error for LabelError {}

/// Whether these labels, top first, can be the segments of a path.
pub fn check_labels(labels: impl ExactSizeIterator<Item = u32>) -> Result<(), LabelError> {
    let have = labels.len();
    if have == 0 {
        return Err(LabelError::Empty);
    }
    if have > LONGEST_STACK {
        return Err(LabelError::TooMany { have });
    }
    for label in labels {
        if label > LARGEST_LABEL {
            return Err(LabelError::TooLarge { label });
        }
        if label < FIRST_ORDINARY_LABEL {
            return Err(LabelError::SpecialPurpose { label });
        }
    }
    Ok(())
}

/// One entry of a label stack.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LabelStackEntry {
    /// 20 bits.
    pub label: u32,
    /// Traffic Class, 3 bits (RFC 5462).
    pub traffic_class: u8,
    /// S: the last entry, after which the IP packet begins.
    pub bottom: bool,
    /// Time to live.
    pub ttl: u8,
}

impl LabelStackEntry {
    /// As octets; bits beyond a field's width are cut off.
    pub const fn to_octets(self) -> [u8; ENTRY_LEN] {
        let word = (self.label & LARGEST_LABEL) << 12
            | (self.traffic_class as u32 & 7) << 9
            | (self.bottom as u32) << 8
            | self.ttl as u32;
        word.to_be_bytes()
    }

    /// From octets.
    pub const fn from_octets(octets: [u8; ENTRY_LEN]) -> Self {
        let word = u32::from_be_bytes(octets);
        Self { label: word >> 12, traffic_class: (word >> 9) as u8 & 7, bottom: word & 0x100 != 0, ttl: word as u8 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_keeps_each_field_in_its_place() {
        let entry = LabelStackEntry { label: 0xABCDE, traffic_class: 5, bottom: true, ttl: 64 };
        assert_eq!(entry.to_octets(), [0xAB, 0xCD, 0xEB, 0x40]);
        assert_eq!(LabelStackEntry::from_octets(entry.to_octets()), entry);
    }

    #[test]
    fn labels_that_are_no_segment_are_refused_by_name() {
        let check = |labels: &[u32]| check_labels(labels.iter().copied());
        assert_eq!(check(&[16, LARGEST_LABEL]), Ok(()));
        assert_eq!(check(&[]), Err(LabelError::Empty));
        assert_eq!(check(&[16, 15]), Err(LabelError::SpecialPurpose { label: 15 }));
        assert_eq!(check(&[LARGEST_LABEL + 1]), Err(LabelError::TooLarge { label: LARGEST_LABEL + 1 }));
        assert_eq!(check(&[16; LONGEST_STACK]), Ok(()));
        assert_eq!(check(&[16; LONGEST_STACK + 1]), Err(LabelError::TooMany { have: LONGEST_STACK + 1 }));
    }
}
