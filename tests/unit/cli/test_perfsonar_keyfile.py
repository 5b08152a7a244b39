"""perfSONAR's files of passphrases."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from twoway.cli.perfsonar_keyfile import find_passphrase, read_passphrase
from twoway.errors import KeyFileError

if TYPE_CHECKING:
    from pathlib import Path

CONTENT = b"# who may\n\nalice\t7365637265747061737331\n  bob   00ff\t\nali 41\n"


@pytest.mark.parametrize(("identity", "passphrase"), [("alice", b"secretpass1"), ("bob", b"\0\xff"), ("ali", b"A")])
def test_the_passphrase_of_an_identity_is_found(identity: str, passphrase: bytes) -> None:
    assert find_passphrase(CONTENT, "pfs", identity) == passphrase


def test_the_beginning_of_an_identity_is_not_the_identity() -> None:
    with pytest.raises(KeyFileError, match=r"key file pfs: holds no passphrase of al$"):
        find_passphrase(CONTENT, "pfs", "al")


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b"alice", "not of the form"),
        (b"alice 41 42", "not of the form"),
        (b"alice 414", "pairs of hexadecimal digits"),
        (b"alice 7365637265747061737331zz", "pairs of hexadecimal digits"),
        (b"alice \xff\xfe", "pairs of hexadecimal digits"),
    ],
)
def test_a_malformed_line_is_named_without_its_content(line: bytes, reason: str) -> None:
    with pytest.raises(KeyFileError, match=rf"pfs line 2: .*{reason}") as caught:
        find_passphrase(b"#\n" + line, "pfs", "alice")
    assert "7365" not in str(caught.value)


def test_a_file_is_read(tmp_path: Path) -> None:
    path = tmp_path / "pfs"
    path.write_bytes(CONTENT)
    path.chmod(0o600)
    assert read_passphrase(str(path), "alice") == b"secretpass1"


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660])
def test_a_file_that_others_can_read_is_refused(tmp_path: Path, mode: int) -> None:
    path = tmp_path / "pfs"
    path.write_bytes(CONTENT)
    path.chmod(mode)
    with pytest.raises(KeyFileError, match=f"mode {mode:04o} lets others read it"):
        read_passphrase(str(path), "alice")


def test_what_is_no_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(KeyFileError, match="No such file"):
        read_passphrase(str(tmp_path / "none"), "alice")
    with pytest.raises(KeyFileError, match="neither a file nor a pipe"):
        read_passphrase(str(tmp_path), "alice")


def test_a_file_beyond_all_measure_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "pfs"
    path.write_bytes(b"#" * ((1 << 20) + 1))
    path.chmod(0o600)
    with pytest.raises(KeyFileError, match="larger than 1048576 octets"):
        read_passphrase(str(path), "alice")
