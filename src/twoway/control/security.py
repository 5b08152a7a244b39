"""Keys and ciphers of a control connection (RFC 4656 sections 3.1, 3.2 and 3.4).

Theory of operation. From a passphrase, with the Server's Salt and Count, comes a key-encryption key (PBKDF2); or it
comes from an IKEv2 security association (RFC 7717). Under it the Control-Client sends, as Token, the Server's Challenge
and two random session keys. These protect both directions: one endless AES-128-CBC stream each, with an IV of its own,
and HMAC-SHA1 cut to 16 octets, each over the plaintext since the HMAC before it. The keys of a test-session are the
session keys encrypted under its SID (RFC 4656 section 4.1.2).

AES comes from the package `cryptography`, imported when the first secure connection needs it. No representation of
anything here holds a secret.
"""

from __future__ import annotations

import hashlib
import hmac
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from twoway.control.codec import BLOCK, KEY_ID_LEN
from twoway.control.rules import Rule, violate
from twoway.errors import ConfigError

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.ciphers import CipherContext

KEY_LEN: Final = 16
"""Octets of an AES-128 key."""
HMAC_KEY_LEN: Final = 32
CHALLENGE_LEN: Final = 16
TOKEN_LEN: Final = CHALLENGE_LEN + KEY_LEN + HMAC_KEY_LEN
SPI_LEN: Final = 8
LEAST_COUNT: Final = 1024
"""RFC 4656 section 3.1."""
MOST_COUNT: Final = 32768
"""Default of RFC 5357 section 6."""
_ZERO_IV: Final = bytes(BLOCK)


class Passphrase:
    """A shared secret: octets without newlines. Raises `ConfigError`.

    RFC 5357 section 3.1 wants ASCII; who has other characters at both ends means their octets in UTF-8.
    """

    __slots__ = ("_octets",)

    def __init__(self, octets: bytes) -> None:
        if not octets:
            raise ConfigError("passphrase", "it is empty")
        if b"\r" in octets or b"\n" in octets:
            raise ConfigError("passphrase", "it holds a newline (RFC 5357 section 3.1)")
        self._octets = octets

    def key(self, salt: bytes, count: int) -> bytes:
        """The key-encryption key: PBKDF2 with HMAC-SHA1 (RFC 4656 section 3.1). Takes time in proportion to `count`."""
        return hashlib.pbkdf2_hmac("sha1", self._octets, salt, count, KEY_LEN)

    def __repr__(self) -> str:
        return "Passphrase(...)"


@dataclass(frozen=True, slots=True)
class PassphraseCredentials:
    """What a Control-Client proves itself with."""

    key_id: str
    """1 to 80 octets of UTF-8."""
    passphrase: Passphrase = field(repr=False)


@dataclass(frozen=True, slots=True)
class Ikev2Credentials:
    """An IKEv2 security association and the key derived from it, prf(SK_d, "IPPM") (RFC 7717 section 5.1)."""

    initiator_spi: bytes
    """SPIi, 8 octets."""
    responder_spi: bytes
    shared_key: bytes = field(repr=False)
    """16 octets or more."""

    def __post_init__(self) -> None:
        if len(self.initiator_spi) != SPI_LEN or len(self.responder_spi) != SPI_LEN:
            raise ConfigError("SPI", "an IKEv2 SPI has 8 octets (RFC 7717 section 5.3)")
        ikev2_key(self.shared_key)

    def key_id(self) -> bytes:
        """The KeyID field (RFC 7717 section 5.3)."""
        return (self.initiator_spi + self.responder_spi).ljust(KEY_ID_LEN, b"\0")


def ikev2_key(shared_key: bytes) -> bytes:
    """The key-encryption key of a key derived from IKEv2: its leftmost 16 octets. Raises `ConfigError` if it has fewer.

    RFC 7717 replaces the key that PBKDF2 makes, and leaves open what becomes of a prf's longer output.
    """
    if len(shared_key) < KEY_LEN:
        raise ConfigError("IKEv2-derived key", f"it has {len(shared_key)} octets, AES-128 needs {KEY_LEN}")
    return shared_key[:KEY_LEN]


def check_count(count: int, least: int, most: int) -> None:
    """Whether PBKDF2 may be run so often, before it is run. Raises the error that names the rule that it breaks."""
    if count > most:
        violate(Rule.COUNT_TOO_LARGE, f"{count} is more than {most}")
    if count < least:
        violate(Rule.COUNT_TOO_SMALL, f"{count} is less than {least}")
    if count & (count - 1):
        violate(Rule.COUNT_POWER_OF_TWO, f"{count}")


@dataclass(frozen=True, slots=True)
class SessionKeys:
    """The keys of one connection, or of one test-session."""

    aes: bytes = field(repr=False)
    """16 octets."""
    hmac: bytes = field(repr=False)
    """32 octets."""

    def for_test(self, sid: bytes) -> SessionKeys:
        """The keys of the test-session `sid`: the SID encrypts these (RFC 4656 section 4.1.2)."""
        return SessionKeys(_encrypt(sid, self.aes), _encrypt(sid, self.hmac))


def make_token(key: bytes, challenge: bytes, keys: SessionKeys) -> bytes:
    """The Token that carries `keys` to the Server (RFC 4656 section 3.1)."""
    return _encrypt(key, challenge + keys.aes + keys.hmac)


def open_token(key: bytes, challenge: bytes, token: bytes) -> SessionKeys | None:
    """The keys in a Token, None if it does not hold this challenge. Takes as long either way."""
    plain = _decryptor(key, _ZERO_IV).update(token)
    if not hmac.compare_digest(plain[:CHALLENGE_LEN], challenge):
        return None
    return SessionKeys(plain[CHALLENGE_LEN : CHALLENGE_LEN + KEY_LEN], plain[CHALLENGE_LEN + KEY_LEN :])


def make_sid(address: bytes, timestamp: int, random: bytes) -> bytes:
    """A SID: 4 octets of the generating machine's address, a timestamp, 4 random octets (RFC 4656 section 3.5)."""
    return address[-4:] + timestamp.to_bytes(8) + random[:4]


class Sealer:
    """The sending half of a secure stream: HMAC, then encrypt."""

    __slots__ = ("_digest", "_encryptor")

    def __init__(self, keys: SessionKeys, iv: bytes) -> None:
        self._encryptor = _encryptor(keys.aes, iv)
        self._digest = _Digest(keys.hmac)

    def cover(self, octets: bytes) -> bytes:
        """Encrypt whole blocks; the next HMAC covers them."""
        self._digest.update(octets)
        return self._encryptor.update(octets)

    def hmac(self) -> bytes:
        """The encrypted HMAC field of what was covered since the last one."""
        return self._encryptor.update(self._digest.take())


class Opener:
    """The receiving half of a secure stream: decrypt, then check the HMAC."""

    __slots__ = ("_decryptor", "_digest")

    def __init__(self, keys: SessionKeys, iv: bytes) -> None:
        self._decryptor = _decryptor(keys.aes, iv)
        self._digest = _Digest(keys.hmac)

    def decrypt(self, octets: bytes) -> bytes:
        """The plaintext of whole blocks."""
        return self._decryptor.update(octets)

    def cover(self, plain: bytes) -> None:
        """What the next HMAC must cover."""
        self._digest.update(plain)

    def verify(self, field_octets: bytes) -> bool:
        """Whether a decrypted HMAC field is that of what was covered since the last one."""
        return hmac.compare_digest(self._digest.take(), field_octets)


class _Digest:
    """HMAC-SHA1 cut to 16 octets, started anew each time it is taken (RFC 4656 section 3.2)."""

    __slots__ = ("_fresh", "_running")

    def __init__(self, key: bytes) -> None:
        self._fresh = hmac.new(key, digestmod="sha1")
        self._running = self._fresh.copy()

    def update(self, octets: bytes) -> None:
        self._running.update(octets)

    def take(self) -> bytes:
        digest = self._running.digest()[:BLOCK]
        self._running = self._fresh.copy()
        return digest


def _encryptor(key: bytes, iv: bytes) -> CipherContext:
    from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes  # not in unauthenticated mode

    return Cipher(algorithms.AES(key), modes.CBC(iv)).encryptor()


def _decryptor(key: bytes, iv: bytes) -> CipherContext:
    from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes  # not in unauthenticated mode

    return Cipher(algorithms.AES(key), modes.CBC(iv)).decryptor()


def _encrypt(key: bytes, octets: bytes) -> bytes:
    """AES-128-CBC with an IV of zero; of a single block that is AES itself."""
    return _encryptor(key, _ZERO_IV).update(octets)
