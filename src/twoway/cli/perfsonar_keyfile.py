"""perfSONAR's files of passphrases, as its `pfstore` writes them: identity, white space, passphrase in hexadecimal.

Lines that begin with `#` are comments. As with twoway's own key files, the file must belong to the user or to root and
be readable by nobody else. No message ever holds a passphrase.
"""

from __future__ import annotations

import os
import stat

from twoway.errors import KeyFileError

_MAX_OCTETS = 1 << 20


def read_passphrase(path: str, identity: str) -> bytes:
    """The passphrase of an identity. Raises `KeyFileError`, which names the line."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOCTTY)
    except OSError as error:
        raise KeyFileError(path, None, os.strerror(error.errno or 0)) from None
    try:
        _check_access(path, os.fstat(descriptor))
        with os.fdopen(descriptor, "rb", closefd=False) as file:
            content = file.read(_MAX_OCTETS + 1)
    finally:
        os.close(descriptor)
    if len(content) > _MAX_OCTETS:
        raise KeyFileError(path, None, f"larger than {_MAX_OCTETS} octets")
    return find_passphrase(content, path, identity)


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


def _check_access(path: str, status: os.stat_result) -> None:
    """Checked on the open file, so that nobody can exchange it between the check and the reading."""
    if not (stat.S_ISREG(status.st_mode) or stat.S_ISFIFO(status.st_mode)):
        raise KeyFileError(path, None, "neither a file nor a pipe")
    if status.st_uid not in (os.geteuid(), 0):
        raise KeyFileError(path, None, f"belongs to user {status.st_uid}: it must be yours or root's")
    if status.st_mode & 0o077:
        mode = stat.S_IMODE(status.st_mode)
        raise KeyFileError(path, None, f"mode {mode:04o} lets others read it: run `chmod 600` on it")
