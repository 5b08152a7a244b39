//! Access Report (RFC 8972 section 4.6): the state of an access network, told to the Session-Reflector.

/// Octets of the Value.
pub const LEN: usize = 4;

/// Which access network (RFC 8972 section 4.6).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum AccessId {
    /// A 3GPP network.
    ThreeGpp = 1,
    /// Any other network.
    NonThreeGpp = 2,
}

impl AccessId {
    /// Both of them.
    pub const ALL: [Self; 2] = [Self::ThreeGpp, Self::NonThreeGpp];

    /// "3gpp" or "non-3gpp".
    pub const fn name(self) -> &'static str {
        match self {
            Self::ThreeGpp => "3gpp",
            Self::NonThreeGpp => "non-3gpp",
        }
    }

    /// The network of that name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|id| id.name() == name)
    }
}

/// A code of the STAMP Return Codes (RFC 8972 section 5.6).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct ReturnCode(pub u8);

impl ReturnCode {
    /// The network is available.
    pub const AVAILABLE: Self = Self(1);
    /// The network is not available.
    pub const UNAVAILABLE: Self = Self(2);
}

/// The Value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct AccessReport {
    /// The access network.
    pub access: AccessId,
    /// Its state.
    pub return_code: ReturnCode,
}

impl AccessReport {
    /// Reads a Value; `None` if its Length is wrong, or the Access ID is none of the two: such a TLV is to be discarded.
    #[inline]
    pub fn parse(value: &[u8]) -> Option<Self> {
        let [id, return_code, _, _] = *value else { return None };
        let access = match id >> 4 {
            1 => AccessId::ThreeGpp,
            2 => AccessId::NonThreeGpp,
            _ => return None,
        };
        Some(Self { access, return_code: ReturnCode(return_code) })
    }

    /// Writes a Value of the right Length, reserved fields zero.
    #[inline]
    pub fn write(self, value: &mut [u8]) {
        if let Some(value) = value.first_chunk_mut::<LEN>() {
            *value = [(self.access as u8) << 4, self.return_code.0, 0, 0];
        }
    }
}
