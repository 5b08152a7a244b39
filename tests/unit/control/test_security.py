"""Keys, Tokens and streams against values that were computed from the RFCs without twoway, and against recordings."""

from __future__ import annotations

import subprocess
import sys

import pytest

from twoway.control.codec import AcceptSession, ServerStart, StartSessions
from twoway.control.registry import Accept
from twoway.control.security import (
    Ikev2Credentials,
    Opener,
    Passphrase,
    Sealer,
    SessionKeys,
    ikev2_key,
    make_sid,
    make_token,
    open_token,
)
from twoway.control.stream import Outbound
from twoway.errors import ConfigError

from .conversation import Conversation, conversations

SALT, CHALLENGE = bytes(range(16)), bytes(range(0x10, 0x20))
KEYS = SessionKeys(bytes(range(0x20, 0x30)), bytes(range(0x30, 0x50)))
SID, SERVER_IV, CLIENT_IV = bytes(range(0x50, 0x60)), bytes(range(0x60, 0x70)), bytes(range(0x70, 0x80))
KEY = bytes.fromhex("6c415cc25b08d7ac917d81990047cc49")
TOKEN = bytes.fromhex(
    "f6b59d41bf8b0cd8d3202ad95e991a23dd272e1ef9895fa8830efa7c3c4a22d5"
    "a696fe8c12993b251ed8cac703ff80ae8dc94105ab1f9e9aa22cd8b7c1cc7ae0"
)
SECURE = [pytest.param(c, id=c.name) for c in conversations() if c.passphrase]


def test_rfc4656_3_1_pbkdf2() -> None:
    assert Passphrase(b"correct horse").key(SALT, 1024) == KEY


def test_rfc4656_3_1_token() -> None:
    assert make_token(KEY, CHALLENGE, KEYS) == TOKEN
    assert open_token(KEY, CHALLENGE, TOKEN) == KEYS
    assert open_token(KEY, bytes(16), TOKEN) is None
    assert open_token(bytes(16), CHALLENGE, TOKEN) is None


def test_rfc4656_3_4_the_servers_stream() -> None:
    out = Outbound()
    out.secure(Sealer(KEYS, SERVER_IV))
    out.add(ServerStart(Accept.OK, SERVER_IV, 0xE800000080000000).rest())
    out.add_segments(AcceptSession(Accept.OK, 19000, SID).segments())
    octets = out.take()
    assert octets.hex() == (
        "48a04f69c1f2b70b624b9b1f755e240fab5f054b97d57a1e46980128c58be1b1"
        "7d32f5a83d22701a09b4b7e1f64fa8c27f5ddf44e7bc62cd8d60c8d581724f63"
    )
    opener = Opener(KEYS, SERVER_IV)
    plain = opener.decrypt(octets)
    assert plain[48:].hex() == "239c412ff529de8af74b94f99f6448fb"
    opener.cover(plain[:48])
    assert opener.verify(plain[48:])
    assert not opener.verify(plain[48:])


def test_rfc4656_3_4_the_clients_stream() -> None:
    out = Outbound()
    out.secure(Sealer(KEYS, CLIENT_IV))
    out.add_segments(StartSessions().segments())
    assert out.take().hex() == "af0673cce6561ba7e97d266ab6ee5c5c095c077ff7aeabd07ea8a4c66ea4f377"


def test_rfc4656_4_1_2_keys_of_a_test_session() -> None:
    keys = KEYS.for_test(SID)
    assert keys.aes.hex() == "880bce326cf22d2858a671c1df9f59a7"
    assert keys.hmac.hex() == "ca06fd97e1c2fa60bb03055ac9c5fe7a6c07c661e0cd94eca7c8db0f74674791"


@pytest.mark.parametrize("conversation", SECURE)
def test_recorded_tokens(conversation: Conversation) -> None:
    server, client = conversation.octets("server"), conversation.octets("client")
    key = Passphrase(conversation.passphrase).key(server[32:48], conversation.count)
    keys = SessionKeys(conversation.aes_session_key, conversation.hmac_session_key)
    assert open_token(key, server[16:32], client[84:148]) == keys
    assert make_token(key, server[16:32], keys) == client[84:148]


@pytest.mark.parametrize("octets", [b"", b"two\nlines", b"two\rlines"])
def test_rfc5357_3_1_passphrases_that_cannot_be(octets: bytes) -> None:
    with pytest.raises(ConfigError) as caught:
        Passphrase(octets)
    assert repr(octets)[2:-1] not in str(caught.value) or not octets


def test_rfc7717_5_a_derived_key_is_cut_to_what_aes_takes() -> None:
    assert ikev2_key(bytes(range(32))) == bytes(range(16))
    with pytest.raises(ConfigError):
        ikev2_key(bytes(15))
    with pytest.raises(ConfigError):
        Ikev2Credentials(bytes(8), bytes(8), bytes(15))
    with pytest.raises(ConfigError):
        Ikev2Credentials(bytes(7), bytes(8), bytes(16))


def test_rfc4656_3_5_make_sid() -> None:
    ipv6 = bytes(12) + b"LAST"
    assert make_sid(ipv6, 1 << 63, b"rand...") == b"LAST" + b"\x80" + bytes(7) + b"rand"


def test_cryptography_is_only_imported_for_a_secure_connection() -> None:
    imports = "import sys, twoway.control.server, twoway.control.control_client"
    program = f"{imports}; sys.exit('cryptography' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
