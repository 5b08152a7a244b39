"""Every entry of `vectors/`, read through the Python bindings. The Rust tests read the same files.

Each kind of entry has one check below, which takes all of its keys: a kind, or a key, that nothing here knows fails, so
no entry can lie there unread.
"""

import socket
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final, cast

import pytest

from twoway._native import catalogue, derive_twamp_test_keys, make_frame, make_routing_header
from twoway.errors import TwowayError

from .packets import REFLECTOR_LEN, SENDER_LEN, Keys, decode, encode
from .reflection import LoopbackReflector
from .tlv_exchange import ATTEMPTS, BASE, FarEnd, ask, asks, disturbed, found

VECTORS: Final = Path(__file__).resolve().parent.parent.parent / "vectors"
_ERRORS: Final = {
    "too_short": "shorter",
    "bad_hmac": "HMAC",
    "missing_key": "key",
    "wrong_key_kind": "key",
}
"""Name of the broken rule -> a word of the message that states it."""


class Entry:
    """One vector whose keys must all be taken."""

    def __init__(self, table: dict[str, object]) -> None:
        self._table = dict(table)

    def text(self, key: str) -> str:
        value = self._table.pop(key)
        assert isinstance(value, str), f"{key}: {value!r} is not a string"
        return value

    def optional_text(self, key: str) -> str | None:
        return self.text(key) if key in self._table else None

    def octets(self, key: str) -> bytes:
        return bytes.fromhex(self.text(key))

    def optional_octets(self, key: str) -> bytes | None:
        return self.octets(key) if key in self._table else None

    def integer(self, key: str) -> int:
        value = self._table.pop(key)
        assert isinstance(value, int), f"{key}: {value!r} is not an integer"
        return value

    def optional_integer(self, key: str) -> int | None:
        return self.integer(key) if key in self._table else None

    def flag(self, key: str) -> bool:
        return bool(self._table.pop(key, False))

    def any(self, key: str) -> object:
        return self._table.pop(key, None)

    def keys(self) -> Keys:
        return Keys(
            self.optional_octets("stamp_key"),
            self.optional_octets("twamp_aes_key"),
            self.optional_octets("twamp_hmac_key"),
        )

    def close(self) -> None:
        for comment in ("name", "reference", "note"):
            self._table.pop(comment, None)
        assert not self._table, f"nothing checks {', '.join(self._table)}"


def _number(value: object) -> int:
    """A field's value: an integer, or a timestamp's octets in hex."""
    return int(value, 16) if isinstance(value, str) else cast("int", value)


def _packet(entry: Entry) -> None:
    """`octets` mean `fields` (and the other way round, unless only `decode` holds), or break the rule `error`."""
    packet_format, role, octets = entry.text("format"), entry.text("role"), entry.octets("octets")
    keys, near_ns = entry.keys(), entry.integer("near_ns")
    error, fields = entry.optional_text("error"), entry.any("fields")
    both = entry.optional_text("direction") != "decode"
    monitoring = entry.flag("dscp_ecn_monitoring")
    tlvs = entry.any("tlvs")
    entry.optional_text("reply_to")  # the pairs are checked together below
    entry.close()
    if error is not None:
        assert fields is None
        with pytest.raises(TwowayError, match=_ERRORS[error]):
            decode(octets, packet_format, role, keys, near_ns)
        return
    wanted = {name: _number(value) for name, value in cast("dict[str, object]", fields).items()}
    read = decode(octets, packet_format, role, keys, near_ns)
    assert {name: read.fields[name] for name in wanted} == wanted
    if "timestamp_ns" not in wanted:
        assert read.fields["timestamp_ns"] is None, "a timestamp without a meaning"
    if role == "reflector" and "sender_ttl" not in wanted:
        assert read.fields["sender_ttl"] is None
    if tlvs is not None:
        assert read.tlvs == _tlvs(tlvs)
    if both:
        raw = {name: value for name, value in wanted.items() if not name.endswith("_ns")}
        base = (SENDER_LEN if role == "sender" else REFLECTOR_LEN)[packet_format]
        if monitoring and packet_format == "twamp":
            base = 44  # RFC 7750 section 2.2.1
        assert encode(raw, packet_format, role, base, keys) == octets[:base]


def _tlvs(raw: object) -> list[tuple[int, int, bytes]]:
    tables = cast("list[dict[str, object]]", raw)
    for table in tables:
        assert set(table) == {"flags", "type", "value"}
    return [(_number(t["flags"]), _number(t["type"]), bytes.fromhex(str(t["value"]))) for t in tables]


def _timestamp(entry: Entry) -> None:
    """Eight octets and the moment that they mean near another; read as the timestamp of a STAMP packet."""
    octets, near_ns, ptp = entry.octets("octets"), entry.integer("near_ns"), entry.text("format") == "ptp"
    unix_ns, error = entry.optional_integer("unix_ns"), entry.optional_text("error")
    entry.optional_text("direction")  # writing is checked in Rust: no Python call writes a timestamp
    entry.close()
    assert (unix_ns is None) == (error is not None)
    fields = {"timestamp": int.from_bytes(octets), "error_estimate": 0x4001 if ptp else 0x0001}
    packet = encode(fields, "stamp", "sender", 44)
    assert packet[4:12] == octets
    assert decode(packet, "stamp", "sender", near_ns=near_ns).fields["timestamp_ns"] == unix_ns


def _error_estimate(entry: Entry) -> None:
    """Two octets, their parts, and the error in ns that they declare."""
    octets = entry.octets("octets")
    error_ns = entry.optional_integer("error_ns")
    synchronized, ptp = entry.flag("synchronized"), entry.text("format") == "ptp"
    scale, multiplier = entry.integer("scale"), entry.integer("multiplier")
    entry.any("from_error_ns")  # writing is checked in Rust: no Python call writes an Error Estimate from an error
    entry.close()
    # RFC 4656 section 4.1.2 and RFC 8186 section 2.3, most significant bit first: S, Z, Scale (6), Multiplier (8).
    raw = synchronized << 15 | ptp << 14 | scale << 8 | multiplier
    assert raw.to_bytes(2) == octets
    packet = encode({"error_estimate": raw}, "stamp", "sender", 44)
    assert packet[12:14] == octets
    read = decode(packet, "stamp", "sender").fields
    assert (read["error_estimate"], read["error_ns"]) == (raw, error_ns)


def _test_keys(entry: Entry) -> None:
    sid, aes, hmac = entry.octets("sid"), entry.octets("control_aes_key"), entry.octets("control_hmac_key")
    wanted = (entry.octets("test_aes_key"), entry.octets("test_hmac_key"))
    entry.close()
    assert derive_twamp_test_keys(sid, aes, hmac) == wanted


def _reflection(entry: Entry) -> None:
    """The reply says of the request what it must, and its octets are those of exactly these fields."""
    packet_format, keys = entry.text("format"), entry.keys()
    request, reply = entry.octets("request"), entry.octets("reply")
    t2_ns, t3_ns = entry.integer("receive_timestamp_ns"), entry.integer("transmit_timestamp_ns")
    sequence, ttl = entry.optional_integer("sequence"), entry.optional_integer("ttl")
    dscp_ecn, error_estimate = entry.optional_integer("dscp_ecn"), entry.integer("error_estimate")
    symmetrical = entry.flag("symmetrical_size")
    entry.close()
    asked = decode(request, packet_format, "sender", keys, t2_ns).fields
    said = decode(reply, packet_format, "reflector", keys, t2_ns).fields
    assert said["sequence"] == (asked["sequence"] if sequence is None else sequence)
    # An NTP fraction is a quarter of a nanosecond; rounding may not move a stamp by a whole one.
    for name, wanted in (("receive_timestamp_ns", t2_ns), ("timestamp_ns", t3_ns)):
        got = said[name]
        assert got is not None
        assert abs(got - wanted) <= 1
    assert said["error_estimate"] == error_estimate
    assert said["ssid"] == asked["ssid"]
    for name in ("sequence", "timestamp", "error_estimate"):
        assert said[f"sender_{name}"] == asked[name]
    assert said["sender_ttl"] == (255 if ttl is None else ttl)
    fields = {name: value for name, value in said.items() if value is not None and not name.endswith("_ns")}
    base = REFLECTOR_LEN[packet_format]
    if dscp_ecn is None:
        fields.pop("sender_dscp_ecn", None)
    else:
        assert said["sender_dscp_ecn"] == dscp_ecn
        base = max(base, 44)
    assert encode(fields, packet_format, "reflector", base, keys) == reply[:base]
    # RFC 5357 section 4.2.1, RFC 6038 section 5.2.2, RFC 8762 section 4.3: as long as the request if that is possible.
    assert len(reply) == max(len(request), base)
    if packet_format.startswith("twamp"):
        kept = reply[base:]
        start = base if symmetrical else SENDER_LEN[packet_format]
        assert kept == request[start : start + len(kept)]


def _tlv_chain(entry: Entry) -> None:
    """What follows a STAMP packet: how it is read, and what a running Session-Reflector makes of it."""
    octets, reflected = entry.octets("octets"), entry.octets("reflected")
    unrecognized, malformed, tlvs = entry.integer("unrecognized"), entry.flag("malformed"), _tlvs(entry.any("tlvs"))
    entry.close()
    base = encode({"sequence": 3, "timestamp": 1 << 63, "error_estimate": 1}, "stamp", "sender", 44)
    assert decode(base + octets, "stamp", "sender").tlvs == tlvs
    # The whole chain is read, or it is malformed where reading stopped.
    assert (sum(4 + len(value) for _, _, value in tlvs) == len(octets)) != malformed
    with LoopbackReflector() as reflector:
        reply = reflector.exchange(base + octets)
    assert reply[44:] == reflected
    returned = decode(reply, "stamp", "reflector").tlvs
    if not malformed:
        assert sum(bool(flags & 0x80) for flags, _, _ in returned) == unrecognized  # U (RFC 8972 section 4)


def _frame(entry: Entry) -> None:
    """A payload in its frame, as an independent program built it."""
    labels = cast("list[int]", entry.any("labels"))
    made = make_frame(
        entry.octets("payload"),
        source_mac=entry.octets("source_mac"),
        destination_mac=entry.octets("destination_mac"),
        labels=labels,
        source=(entry.text("source"), entry.integer("source_port")),
        destination=(entry.text("destination"), entry.integer("destination_port")),
        dscp_ecn=entry.integer("dscp_ecn"),
        ttl=entry.integer("ttl"),
    )
    octets = entry.octets("octets")
    entry.close()
    assert made == octets


def _routing_header(entry: Entry) -> None:
    segments = cast("list[str]", entry.any("segments"))
    octets = entry.octets("octets")
    entry.close()
    assert make_routing_header(segments) == octets


def _tlv(entry: Entry) -> None:
    """Our Session-Sender asks with `request` and reads `reply`; a Session-Reflector's side is checked in Rust."""
    request, reply = entry.octets("request"), entry.optional_octets("reply")
    asked, says = entry.any("asks"), entry.any("says")
    length, previous = entry.optional_integer("length"), entry.optional_integer("previous_left_ns")
    returned = entry.optional_integer("returned_dscp_ecn") or 0
    over = entry.optional_text("over")
    for far in ("arrived", "last_hop"):
        entry.optional_octets(far)
    entry.optional_integer("arrived_dscp_ecn")
    entry.close()
    if asked is None:
        return
    tlvs = asks(cast("dict[str, object]", asked))
    back = tlvs.return_path
    ipv6 = over == "ipv6" or (back is not None and back.kind == "srv6")
    family = socket.AF_INET6 if ipv6 else socket.AF_INET
    for _ in range(ATTEMPTS):
        with FarEnd(0 if previous is None else 1, reply, returned, family) as far_end:
            result = ask(far_end, tlvs, None if length is None else BASE + length)
        if not disturbed(result):
            break
    assert far_end.asked[-1] == request
    for name, value in cast("dict[str, object]", says or {}).items():
        assert found(result, name) == value, name


_CHECKS: Final[dict[str, Callable[[Entry], None]]] = {
    "packet": _packet,
    "timestamp": _timestamp,
    "error_estimate": _error_estimate,
    "test_keys": _test_keys,
    "reflection": _reflection,
    "tlv_chain": _tlv_chain,
    "tlv": _tlv,
    "frame": _frame,
    "routing_header": _routing_header,
}


def _files() -> list[Path]:
    """All but those of control connections, which `tests/unit/control` reads."""
    return [path for path in sorted(VECTORS.glob("*.toml")) if not path.name.startswith("control-")]


def _entries() -> Iterator[object]:
    for path in _files():
        for kind, entries in tomllib.loads(path.read_text(encoding="utf-8")).items():
            for entry in entries:
                yield pytest.param(kind, entry, id=f"{path.stem}-{entry['name']}")


@pytest.mark.parametrize(("kind", "table"), list(_entries()))
def test_vector(kind: str, table: dict[str, object]) -> None:
    assert kind in _CHECKS, f"nothing checks entries of the kind {kind}"
    _CHECKS[kind](Entry(table))


def test_there_are_vectors_of_every_kind_for_every_format() -> None:
    kinds: dict[str, set[str]] = {}
    for path in _files():
        for kind, entries in tomllib.loads(path.read_text(encoding="utf-8")).items():
            kinds.setdefault(kind, set()).update(str(entry.get("format")) for entry in entries)
    assert set(kinds) == set(_CHECKS)
    assert kinds["packet"] == set(SENDER_LEN)
    assert kinds["reflection"] == set(SENDER_LEN)


_SUB_TLVS: Final = {
    "location": (4, {1, 4, 7}, {2, 3, 5, 6, 8, 9}),
    "return-path": (0, {1, 2, 3, 4}, {1, 2, 3, 4}),
    "reflected-test-packet-control": (8, {10, 11, 240}, {10, 11, 240}),
}
"""Type -> where sub-TLVs begin in the Value, their types in requests, and in replies."""
_FLAGS: Final = {0x80: "U", 0x40: "M", 0x20: "I", 0x10: "C"}


def _chain(octets: bytes) -> list[tuple[int, int, bytes]]:
    """(Flags, Type, Value) of TLVs, or of sub-TLVs, up to what is malformed."""
    found = []
    while len(octets) >= 4 and (end := 4 + int.from_bytes(octets[2:4])) <= len(octets):
        found.append((octets[0], octets[1], octets[4:end]))
        octets = octets[end:]
    return found


def test_every_tlv_has_octets_in_both_directions() -> None:
    """Each type of the catalogue is asked for by our Session-Sender and honoured; each sub-TLV and each flag occurs."""
    types = {name: code for name, (code, _) in catalogue()["tlv_types"].items()}
    entries = tomllib.loads((VECTORS / "tlvs.toml").read_text(encoding="utf-8"))["tlv"]
    asked, answered, flags = set(), set(), set()
    sub_asked: dict[int, set[int]] = {}
    sub_answered: dict[int, set[int]] = {}
    begins = {types[name]: at for name, (at, _, _) in _SUB_TLVS.items()}
    for entry in entries:
        request, reply = (_chain(bytes.fromhex(entry.get(side, ""))) for side in ("request", "reply"))
        # Extra Padding is no request of its own: it makes packets longer.
        if "asks" in entry:
            asked |= {kind for _, kind, _ in request}
        answered |= {kind for of_it, kind, _ in reply if not of_it}
        flags |= {bit for of_it, _, _ in reply for bit in _FLAGS if of_it & bit}
        for chain, subs in ((request, sub_asked), (reply, sub_answered)):
            for _, kind, value in chain:
                if kind in begins:
                    subs.setdefault(kind, set()).update(sub for _, sub, _ in _chain(value[begins[kind] :]))
    assert asked == answered == set(types.values())
    assert {_FLAGS[bit] for bit in flags} == set(_FLAGS.values())
    for name, (_, in_requests, in_replies) in _SUB_TLVS.items():
        assert sub_asked[types[name]] >= in_requests, name
        assert sub_answered[types[name]] >= in_replies, name


def test_a_reply_of_the_recorded_peer_answers_its_request() -> None:
    """`reply_to` pairs: the copied fields, and the padding, which is the beginning of the request's."""
    entries: dict[str, dict[str, object]] = {}
    for path in _files():
        for entry in tomllib.loads(path.read_text(encoding="utf-8")).get("packet", []):
            entries[entry["name"]] = entry
    pairs = [(entry, entries[str(entry["reply_to"])]) for entry in entries.values() if "reply_to" in entry]
    assert pairs
    for reply, request in pairs:
        said, asked = cast("dict[str, object]", reply["fields"]), cast("dict[str, object]", request["fields"])
        for name in ("sequence", "timestamp", "error_estimate"):
            assert said[f"sender_{name}"] == asked[name]
        base = REFLECTOR_LEN[str(reply["format"])]
        padding = bytes.fromhex(str(request["octets"]))[SENDER_LEN[str(request["format"])] :]
        kept = bytes.fromhex(str(reply["octets"]))[base:]
        assert padding.startswith(kept)
