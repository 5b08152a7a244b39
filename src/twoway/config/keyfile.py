"""Files of keys for authenticated test packets (RFC 8762 section 4.4). Keys never stand on a command line.

One key a line; `#` starts a comment at the start of a line:

    KEY-ID [ssid=N] hex:OCTETS | text:PASSPHRASE

KEY-ID is a name of letters, digits, `.`, `_` and `-`. `ssid=N` ties the key to the test-sessions with this SSID (RFC
8972 section 3). `hex:` takes pairs of hexadecimal digits, `text:` the rest of the line as UTF-8. A key has 1 to 64
octets. Shared secrets of control connections stand in such files too (`read_secret_file`); keys from IKEv2 have files
of their own (`read_ikev2_file`).

The file must belong to the user who runs twoway, or to root, and nobody else may read it (mode 0600 or less); a pipe of
the same sort, such as a shell's `<(…)`, will do, and so will a credential of systemd, which has access lists of its
own. No message, representation or log ever holds a key.
"""

from __future__ import annotations

import os
import re
import stat
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from twoway.errors import KeyFileError

if TYPE_CHECKING:
    from collections.abc import Iterator

MAX_OCTETS = 1 << 20
"""Largest key file read."""
MAX_KEY_OCTETS = 64
"""Longest HMAC-SHA-256 key that is used as it is (RFC 2104 section 3)."""

_LINE = re.compile(r"(?P<id>[A-Za-z0-9._-]{1,64})\s+(?:ssid=(?P<ssid>\S+)\s+)?(?P<kind>hex|text):(?P<value>.*)")


_IKEV2_LINE = re.compile(r"(?P<spi_i>[0-9A-Fa-f]{16})\s+(?P<spi_r>[0-9A-Fa-f]{16})\s+hex:(?P<value>.*)")


@dataclass(frozen=True, slots=True)
class Key:
    """One key. Its octets are in no representation."""

    key_id: str
    ssid: int | None
    """The SSID it is for, None for any."""
    octets: bytes = field(repr=False)


MAX_SECRET_OCTETS = 256
"""Longest shared secret of a control connection (Junos: secret, 1 to 256)."""


def read_secret_file(path: str) -> tuple[Key, ...]:
    """The shared secrets of control connections by KeyID (RFC 4656 section 3.1). Raises `KeyFileError`.

    Lines are those of other key files, without an SSID; a secret has 1 to 256 octets, none of them a line end.
    """
    keys = parse_keys(_text(path), path, MAX_SECRET_OCTETS)
    for key in keys:
        if key.ssid is not None:
            raise KeyFileError(path, None, f"key {key.key_id} has an SSID, which control connections do not know")
        if b"\r" in key.octets or b"\n" in key.octets:
            raise KeyFileError(path, None, f"key {key.key_id} holds a line end (RFC 5357 section 3.1)")
    return keys


def read_passphrase_file(path: str) -> str:
    """The only line of a file that holds one secret, such as a community or a passphrase. Raises `KeyFileError`."""
    lines = _text(path).splitlines()
    if len(lines) != 1 or not lines[0]:
        raise KeyFileError(path, None, "does not hold exactly one line")
    return lines[0]


MIN_TOKEN = 16
"""Characters of a token: shorter ones are guessed."""


def read_token_file(path: str) -> str:
    """The token of the management API that a file holds. Raises `KeyFileError`."""
    token = read_passphrase_file(path)
    if len(token) < MIN_TOKEN or not token.isascii() or not token.isprintable() or " " in token:
        raise KeyFileError(path, None, f"the token needs at least {MIN_TOKEN} printable ASCII characters")
    return token


@dataclass(frozen=True, slots=True)
class Ikev2Key:
    """The key derived from an IKEv2 security association (RFC 7717 section 5.1). It is in no representation."""

    initiator_spi: bytes
    """SPIi, 8 octets."""
    responder_spi: bytes
    octets: bytes = field(repr=False)
    """16 to 64."""


def read_ikev2_file(path: str) -> tuple[Ikev2Key, ...]:
    """The keys of IKEv2 security associations, at least one. Raises `KeyFileError`, which names the line.

    A line is `SPI-I SPI-R hex:OCTETS`: both SPIs as 16 hexadecimal digits, and prf(SK_d, "IPPM") of their association.
    """
    keys: list[Ikev2Key] = []
    for number, line in _lines(_text(path)):
        match = _IKEV2_LINE.fullmatch(line)
        if match is None:
            raise KeyFileError(path, number, "not of the form `SPI-I SPI-R hex:OCTETS`, with 16 digits for each SPI")
        try:
            octets = bytes.fromhex(match["value"])
        except ValueError:
            raise KeyFileError(path, number, "hex: is not followed by pairs of hexadecimal digits") from None
        if not 16 <= len(octets) <= MAX_KEY_OCTETS:
            raise KeyFileError(path, number, f"a derived key has 16 to {MAX_KEY_OCTETS} octets, this one {len(octets)}")
        key = Ikev2Key(bytes.fromhex(match["spi_i"]), bytes.fromhex(match["spi_r"]), octets)
        if any(other.initiator_spi + other.responder_spi == key.initiator_spi + key.responder_spi for other in keys):
            raise KeyFileError(path, number, "its security association is here twice")
        keys.append(key)
    if not keys:
        raise KeyFileError(path, None, "holds no key")
    return tuple(keys)


def read_key_file(path: str) -> tuple[Key, ...]:
    """The keys of a file, at least one. Raises `KeyFileError`, which names the line."""
    return parse_keys(_text(path), path)


def read_private(path: str) -> bytes:
    """The content of a file that nobody else can read. Raises `KeyFileError`."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOCTTY)
    except OSError as error:
        raise KeyFileError(path, None, os.strerror(error.errno or 0)) from None
    try:
        # Checked on the open file, so that nobody can exchange it between the check and the reading.
        _check_access(path, os.fstat(descriptor))
        with os.fdopen(descriptor, "rb", closefd=False) as file:
            content = file.read(MAX_OCTETS + 1)
    finally:
        os.close(descriptor)
    if len(content) > MAX_OCTETS:
        raise KeyFileError(path, None, f"larger than {MAX_OCTETS} octets")
    return content


def _text(path: str) -> str:
    content = read_private(path)
    try:
        return content.decode()
    except UnicodeDecodeError as error:
        raise KeyFileError(path, content[: error.start].count(b"\n") + 1, "not UTF-8") from None


def _check_access(path: str, status: os.stat_result) -> None:
    if not (stat.S_ISREG(status.st_mode) or stat.S_ISFIFO(status.st_mode)):
        raise KeyFileError(path, None, "neither a file nor a pipe")
    credentials = os.environ.get("CREDENTIALS_DIRECTORY")
    if credentials and os.path.realpath(path).startswith(os.path.realpath(credentials) + os.sep):
        return  # systemd shows these to this service alone, by access lists that the mode does not tell of
    if status.st_uid not in (os.geteuid(), 0):
        raise KeyFileError(path, None, f"belongs to user {status.st_uid}: it must be yours or root's")
    if status.st_mode & 0o077:
        mode = stat.S_IMODE(status.st_mode)
        raise KeyFileError(path, None, f"mode {mode:04o} lets others read it: run `chmod 600` on it")


def _lines(text: str) -> Iterator[tuple[int, str]]:
    """The lines that say something, with their numbers."""
    for number, line in enumerate(text.split("\n"), start=1):
        bare = line.strip()
        if bare and not bare.startswith("#"):
            yield number, bare


def parse_keys(text: str, path: str, most_octets: int = MAX_KEY_OCTETS) -> tuple[Key, ...]:
    """The keys in `text`, of at most so many octets; `path` is for messages only. Raises `KeyFileError`."""
    keys: list[Key] = []
    for number, line in _lines(text):
        key = _parse_line(line, path, number, most_octets)
        if any(other.key_id == key.key_id and other.ssid == key.ssid for other in keys):
            raise KeyFileError(path, number, f"key {key.key_id} is here twice")
        if any(other.ssid == key.ssid is not None for other in keys):
            raise KeyFileError(path, number, f"SSID {key.ssid} has two keys")
        keys.append(key)
    if not keys:
        raise KeyFileError(path, None, "holds no key")
    return tuple(keys)


def _parse_line(line: str, path: str, number: int, most_octets: int) -> Key:
    match = _LINE.fullmatch(line)
    if match is None:
        raise KeyFileError(
            path, number, "not of the form `KEY-ID [ssid=N] hex:OCTETS` or `KEY-ID [ssid=N] text:PASSPHRASE`"
        )
    ssid: int | None = None
    if match["ssid"] is not None:
        try:
            ssid = int(match["ssid"], 0)
        except ValueError:
            ssid = 0
        if not 1 <= ssid <= 0xFFFF:
            raise KeyFileError(path, number, "ssid is not a number from 1 to 65535")
    if match["kind"] == "text":
        octets = match["value"].encode()
    else:
        try:
            octets = bytes.fromhex(match["value"])
        except ValueError:
            raise KeyFileError(path, number, "hex: is not followed by pairs of hexadecimal digits") from None
    if not 1 <= len(octets) <= most_octets:
        raise KeyFileError(path, number, f"a key has 1 to {most_octets} octets, this one {len(octets)}")
    return Key(match["id"], ssid, octets)


def choose_key(keys: tuple[Key, ...], key_id: str | None, ssid: int | None, path: str) -> Key:
    """The key with this id and for this SSID; without an id, the file's only key. Raises `KeyFileError`."""
    candidates = [key for key in keys if key_id in (None, key.key_id)]
    if not candidates:
        raise KeyFileError(path, None, f"holds no key {key_id}")
    exact = [key for key in candidates if ssid is not None and key.ssid == ssid]
    fitting = exact or [key for key in candidates if ssid is None or key.ssid is None]
    if not fitting:
        raise KeyFileError(path, None, f"holds no key for SSID {ssid}")
    if len(fitting) > 1:
        raise KeyFileError(path, None, "holds several keys that would do: choose one with --key-id and --ssid")
    return fitting[0]
