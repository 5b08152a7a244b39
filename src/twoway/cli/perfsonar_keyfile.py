"""perfSONAR's files of passphrases, as its `pfstore` writes them: identity, white space, passphrase in hexadecimal.

Lines that begin with `#` are comments. As with twoway's own key files, the file must belong to the user or to root and
be readable by nobody else. No message ever holds a passphrase.
"""

from __future__ import annotations

from twoway.config.keyfile import read_private
from twoway.errors import KeyFileError


def read_passphrase(path: str, identity: str) -> bytes:
    """The passphrase of an identity. Raises `KeyFileError`, which names the line."""
    return find_passphrase(read_private(path), path, identity)


def find_passphrase(content: bytes, path: str, identity: str) -> bytes:
    """The passphrase of an identity in the file's `content`; all lines must be well formed. Raises `KeyFileError`."""
    found: bytes | None = None
    wanted = identity.encode()
    for number, line in enumerate(content.split(b"\n"), start=1):
        words = line.split()
        if not words or words[0].startswith(b"#"):
            continue
        if len(words) != 2:
            raise KeyFileError(path, number, "not of the form `IDENTITY PASSPHRASE-IN-HEXADECIMAL`")
        try:
            passphrase = bytes.fromhex(words[1].decode("ascii"))
        except ValueError:
            raise KeyFileError(path, number, "the passphrase is not pairs of hexadecimal digits") from None
        if words[0] == wanted and found is None:
            found = passphrase
    if found is None:
        raise KeyFileError(path, None, f"holds no passphrase of {identity}")
    return found
