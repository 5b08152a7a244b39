"""Recorded control connections: `vectors/control-*.toml`, whose keys are explained in `vectors/README.md`."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from ipaddress import IPv4Address, ip_address
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ipaddress import IPv6Address

VECTORS = Path(__file__).resolve().parents[3] / "vectors"


@dataclass(frozen=True)
class Conversation:
    """One connection, octet for octet."""

    name: str
    protocol: str
    mode: int
    server_modes: int
    count: int
    address: IPv4Address | IPv6Address
    """Of both ends."""
    key_id: str
    passphrase: bytes
    ikev2_shared_key: bytes
    spi_i: bytes
    spi_r: bytes
    aes_session_key: bytes
    hmac_session_key: bytes
    turns: tuple[tuple[str, bytes], ...]
    plain: dict[str, bytes]

    def octets(self, who: str) -> bytes:
        """Everything that one end said."""
        return b"".join(octets for speaker, octets in self.turns if speaker == who)


def conversations() -> list[Conversation]:
    """All of them. A key that nothing here knows is an error."""
    found = []
    for path in sorted(VECTORS.glob("control-*.toml")):
        tables = tomllib.loads(path.read_text(encoding="utf-8"))
        assert set(tables) == {"conversation"}
        found += [_conversation(entry) for entry in tables["conversation"]]
    return found


def _conversation(entry: dict[str, Any]) -> Conversation:
    entry = dict(entry)
    entry.pop("reference")
    entry.pop("note")
    turns = tuple((speaker, bytes.fromhex(octets)) for speaker, octets in entry.pop("turns"))
    said = {who: b"".join(octets for speaker, octets in turns if speaker == who) for who in ("client", "server")}
    conversation = Conversation(
        name=entry.pop("name"),
        protocol=entry.pop("protocol"),
        mode=entry.pop("mode"),
        server_modes=entry.pop("server_modes"),
        count=entry.pop("count"),
        address=ip_address(entry.pop("address")),
        key_id=entry.pop("key_id", ""),
        passphrase=entry.pop("passphrase", "").encode(),
        ikev2_shared_key=bytes.fromhex(entry.pop("ikev2_shared_key", "")),
        spi_i=bytes.fromhex(entry.pop("spi_i", "")),
        spi_r=bytes.fromhex(entry.pop("spi_r", "")),
        aes_session_key=bytes.fromhex(entry.pop("aes_session_key", "")),
        hmac_session_key=bytes.fromhex(entry.pop("hmac_session_key", "")),
        turns=turns,
        plain={who: bytes.fromhex(entry.pop(f"{who}_plain", said[who].hex())) for who in ("client", "server")},
    )
    assert not entry, f"nothing checks {', '.join(entry)}"
    return conversation
