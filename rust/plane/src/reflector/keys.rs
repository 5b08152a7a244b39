//! The keys of a Session-Reflector, by the SSID that they serve.

use twoway_wire::{StampKey, TestKeys};

/// Most keys that serve the same SSID (and most that serve any): what an authenticated-looking packet can cost.
pub const KEYS_PER_SSID: usize = 4;

/// A key for authenticated STAMP.
#[derive(Clone, Debug)]
pub struct ReflectorKey {
    /// The SSID it serves; `None` for any.
    pub ssid: Option<u16>,
    /// The HMAC key.
    pub key: StampKey,
}

/// Keys by the SSID that they serve.
#[derive(Debug, Default)]
pub struct KeyRing {
    /// In ascending order of SSID, those for any SSID first.
    keys: Vec<(Option<u16>, TestKeys)>,
}

/// Why a list of keys is refused: more than [`KEYS_PER_SSID`] serve this SSID (`None`: any).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooManyKeys(pub Option<u16>);

impl KeyRing {
    /// A ring of these keys.
    pub fn new(keys: impl IntoIterator<Item = ReflectorKey>) -> Result<Self, TooManyKeys> {
        let mut keys: Vec<_> = keys.into_iter().map(|key| (key.ssid, TestKeys::Stamp(key.key))).collect();
        keys.sort_by_key(|(ssid, _)| *ssid);
        match keys.chunk_by(|a, b| a.0 == b.0).find(|same| same.len() > KEYS_PER_SSID) {
            Some(same) => Err(TooManyKeys(same[0].0)),
            None => Ok(Self { keys }),
        }
    }

    /// Places of the keys that serve exactly this SSID (`None`: any SSID).
    pub(crate) fn places_of(&self, ssid: Option<u16>) -> std::ops::Range<usize> {
        let first = self.keys.partition_point(|(of, _)| *of < ssid);
        first..first + self.keys[first..].iter().take_while(|(of, _)| *of == ssid).count()
    }

    /// The key in that place.
    pub(crate) fn at(&self, place: u32) -> &TestKeys {
        &self.keys[place as usize].1
    }
}
