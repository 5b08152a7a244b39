//! Keys of test-sessions, and what they do to a packet: HMAC and encryption.
//!
//! TWAMP (RFC 4656 section 4.1.2, RFC 5357 section 4.2.1): HMAC-SHA1 cut to 16 octets over the plain text, then AES-128
//! over the same octets, CBC with a zero IV that starts anew for each packet. One block of that equals ECB, so
//! authenticated mode (one block) and encrypted mode (two or six) are the same code with another length. Both directions
//! use the same two keys, which are derived from the control connection's with the SID as the cipher key.
//!
//! STAMP (RFC 8762 section 4.4): HMAC-SHA-256 cut to 16 octets, no encryption.
//!
//! Key schedules and the keyed HMAC state are computed once for each `TestKeys` and copied for each packet. All of them
//! are overwritten when dropped, copies included. Comparison takes the same time wherever the first difference is.

use core::fmt;

use aes::Aes128;
use cbc::cipher::{Array, BlockModeDecrypt, BlockModeEncrypt, InnerIvInit, KeyInit, KeyIvInit};
use hmac::{Hmac, Mac};
use sha1::Sha1;
use sha2::Sha256;
use subtle::ConstantTimeEq;
use zeroize::{ZeroizeOnDrop, Zeroizing};

use crate::error::{KeyError, WireError};

/// Octets of an HMAC field: the leftmost ones of the digest.
pub const HMAC_LEN: usize = 16;
/// Octets of an AES block.
const BLOCK_LEN: usize = 16;
/// Octets of the longest STAMP key: the block of SHA-256.
const STAMP_KEY_MAX: usize = 64;

type Block = Array<u8, cbc::cipher::consts::U16>;

/// The keys of one test-session. Cloning copies the schedules without computing them again.
#[derive(Clone)]
pub enum TestKeys {
    /// No keys: the unauthenticated formats.
    None,
    /// Authenticated STAMP.
    Stamp(StampKey),
    /// Authenticated and encrypted TWAMP-Test and OWAMP-Test.
    Twamp(TwampKeys),
}

/// Keyed HMAC-SHA-256 of a STAMP session.
#[derive(Clone)]
pub struct StampKey {
    hmac: Hmac<Sha256>,
}

/// AES schedule and keyed HMAC-SHA1 of a TWAMP or OWAMP test-session.
#[derive(Clone)]
pub struct TwampKeys {
    // Boxed so that the many sessions without keys do not carry the room for two schedules.
    aes: Box<Aes128>,
    hmac: Hmac<Sha1>,
}

// These hold through features of the crates underneath; without them the next lines do not compile. A keyed HMAC is two
// hash states.
const _: fn() = || {
    const fn overwritten_when_dropped<T: ZeroizeOnDrop>() {}
    overwritten_when_dropped::<Sha256>();
    overwritten_when_dropped::<Sha1>();
    overwritten_when_dropped::<Aes128>();
    overwritten_when_dropped::<cbc::Encryptor<Aes128>>();
};

impl StampKey {
    /// A key of 1 to 64 octets. How it reaches both ends is outside STAMP (RFC 8762 section 4.4).
    pub fn new(key: &[u8]) -> Result<Self, KeyError> {
        if key.is_empty() {
            return Err(KeyError::Empty);
        }
        if key.len() > STAMP_KEY_MAX {
            return Err(KeyError::TooLong { have: key.len() });
        }
        Ok(Self { hmac: keyed_hmac(key) })
    }

    fn hmac(&self, octets: &[u8]) -> [u8; HMAC_LEN] {
        self.hmac_over(&[octets])
    }

    /// HMAC over the parts as if they were one.
    #[inline]
    pub(crate) fn hmac_over(&self, parts: &[&[u8]]) -> [u8; HMAC_LEN] {
        let mut hmac = self.hmac.clone();
        for part in parts {
            hmac.update(part);
        }
        leftmost(&hmac.finalize().into_bytes())
    }
}

impl TwampKeys {
    /// The test-session's own keys.
    pub fn new(aes: [u8; 16], hmac: [u8; 32]) -> Self {
        let (aes, hmac) = (Zeroizing::new(aes), Zeroizing::new(hmac));
        Self { aes: Box::new(Aes128::new(&Array(*aes))), hmac: keyed_hmac(&*hmac) }
    }

    /// The test-session's keys from its SID and the control connection's AES and HMAC session keys
    /// (RFC 4656 section 4.1.2).
    pub fn derive(sid: [u8; 16], aes_ctl: [u8; 16], hmac_ctl: [u8; 32]) -> Self {
        let (aes, hmac) = derive_test_keys(sid, aes_ctl, hmac_ctl);
        Self::new(*aes, *hmac)
    }

    fn hmac(&self, octets: &[u8]) -> [u8; HMAC_LEN] {
        let digest = self.hmac.clone().chain_update(octets).finalize();
        leftmost(&digest.into_bytes())
    }

    /// `octets`: whole blocks.
    fn encrypt(&self, octets: &mut [u8]) {
        let mut cbc = cbc::Encryptor::inner_iv_init(&*self.aes, &Block::default());
        for block in octets.chunks_exact_mut(BLOCK_LEN) {
            if let Ok(block) = <&mut Block>::try_from(block) {
                cbc.encrypt_block(block);
            }
        }
    }

    /// `octets`: whole blocks.
    fn decrypt(&self, octets: &mut [u8]) {
        let mut cbc = cbc::Decryptor::inner_iv_init(&*self.aes, &Block::default());
        for block in octets.chunks_exact_mut(BLOCK_LEN) {
            if let Ok(block) = <&mut Block>::try_from(block) {
                cbc.decrypt_block(block);
            }
        }
    }
}

/// Octets of the test-session keys (AES, HMAC): the control connection's keys encrypted under the SID, the first by ECB,
/// the second by CBC with a zero IV (RFC 4656 section 4.1.2).
pub fn derive_test_keys(
    sid: [u8; 16],
    aes_ctl: [u8; 16],
    hmac_ctl: [u8; 32],
) -> (Zeroizing<[u8; 16]>, Zeroizing<[u8; 32]>) {
    let under_sid = || cbc::Encryptor::<Aes128>::new(&Array(sid), &Block::default());
    let mut aes = Zeroizing::new(aes_ctl);
    let mut hmac = Zeroizing::new(hmac_ctl);
    // One block of CBC with a zero IV is ECB.
    for key in [&mut aes[..], &mut hmac[..]] {
        let mut cbc = under_sid();
        for block in key.chunks_exact_mut(BLOCK_LEN) {
            if let Ok(block) = <&mut Block>::try_from(block) {
                cbc.encrypt_block(block);
            }
        }
    }
    (aes, hmac)
}

/// What a format asks of the keys: how much of the base packet is protected, and by what.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Protection {
    /// Nothing is protected, and any key is ignored.
    None,
    /// HMAC-SHA-256 over the first `covered` octets.
    Stamp { covered: usize },
    /// HMAC-SHA1 over the first `covered` octets, which are then encrypted.
    Twamp { covered: usize },
}

impl TestKeys {
    fn stamp(&self) -> Result<&StampKey, WireError> {
        match self {
            Self::Stamp(key) => Ok(key),
            Self::None => Err(WireError::MissingKey),
            Self::Twamp(_) => Err(WireError::WrongKeyKind),
        }
    }

    fn twamp(&self) -> Result<&TwampKeys, WireError> {
        match self {
            Self::Twamp(keys) => Ok(keys),
            Self::None => Err(WireError::MissingKey),
            Self::Stamp(_) => Err(WireError::WrongKeyKind),
        }
    }

    /// Whether these keys can serve `protection`, without touching a packet.
    pub(crate) fn check(&self, protection: Protection) -> Result<(), WireError> {
        match protection {
            Protection::None => Ok(()),
            Protection::Stamp { .. } => self.stamp().map(drop),
            Protection::Twamp { .. } => self.twamp().map(drop),
        }
    }

    /// Write the HMAC at `hmac_at`, then encrypt. `base` is the base packet in the clear.
    #[inline]
    pub(crate) fn seal(&self, protection: Protection, hmac_at: usize, base: &mut [u8]) -> Result<(), WireError> {
        let hmac = match protection {
            Protection::None => return Ok(()),
            Protection::Stamp { covered } => self.stamp()?.hmac(&base[..covered]),
            Protection::Twamp { covered } => {
                let keys = self.twamp()?;
                let hmac = keys.hmac(&base[..covered]);
                keys.encrypt(&mut base[..covered]);
                hmac
            }
        };
        base[hmac_at..hmac_at + HMAC_LEN].copy_from_slice(&hmac);
        Ok(())
    }

    /// Decrypt in place, then verify the HMAC at `hmac_at`. After a failure the protected octets are of no use.
    #[inline]
    pub(crate) fn open(&self, protection: Protection, hmac_at: usize, base: &mut [u8]) -> Result<(), WireError> {
        let hmac = match protection {
            Protection::None => return Ok(()),
            Protection::Stamp { covered } => self.stamp()?.hmac(&base[..covered]),
            Protection::Twamp { covered } => {
                let keys = self.twamp()?;
                keys.decrypt(&mut base[..covered]);
                keys.hmac(&base[..covered])
            }
        };
        if same_octets(&hmac, &base[hmac_at..hmac_at + HMAC_LEN]) { Ok(()) } else { Err(WireError::BadHmac) }
    }
}

impl fmt::Debug for TestKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::None => "TestKeys::None",
            Self::Stamp(_) => "TestKeys::Stamp(..)",
            Self::Twamp(_) => "TestKeys::Twamp(..)",
        })
    }
}

impl fmt::Debug for StampKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("StampKey(..)")
    }
}

impl fmt::Debug for TwampKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TwampKeys(..)")
    }
}

fn keyed_hmac<M: Mac + KeyInit>(key: &[u8]) -> M {
    <M as KeyInit>::new_from_slice(key).expect("HMAC takes a key of any length")
}

/// Whether they are the same; takes the same time wherever they are not.
#[inline]
pub(crate) fn same_octets(ours: &[u8], theirs: &[u8]) -> bool {
    ours.ct_eq(theirs).into()
}

fn leftmost(digest: &[u8]) -> [u8; HMAC_LEN] {
    let mut hmac = [0; HMAC_LEN];
    hmac.copy_from_slice(&digest[..HMAC_LEN]);
    hmac
}
