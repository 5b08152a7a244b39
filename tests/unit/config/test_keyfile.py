"""Key files: what they may say, who may read them, and that no message gives a key away."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from twoway.config.keyfile import (
    Ikev2Key,
    Key,
    choose_key,
    parse_keys,
    read_ikev2_file,
    read_key_file,
    read_passphrase_file,
    read_secret_file,
)
from twoway.errors import KeyFileError

if TYPE_CHECKING:
    from pathlib import Path

GOOD = """\
# a comment
paris  hex:000102030405060708090a0b0c0d0e0f

lyon   ssid=4660  text:correct horse # battery
nice.1 ssid=0x10 hex:ff FF
"""
KEYS = (
    Key("paris", None, bytes(range(16))),
    Key("lyon", 4660, b"correct horse # battery"),
    Key("nice.1", 16, b"\xff\xff"),
)

TWO_KEYS = (KEYS[0], Key("b", None, b"b"))


def written(path: Path, text: str | bytes, mode: int = 0o600) -> str:
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    path.chmod(mode)
    return str(path)


def test_a_key_file(tmp_path: Path) -> None:
    assert read_key_file(written(tmp_path / "keys", GOOD)) == KEYS


@pytest.mark.parametrize("mode", [0o600, 0o400])
def test_modes_that_keep_a_secret(tmp_path: Path, mode: int) -> None:
    assert read_key_file(written(tmp_path / "keys", GOOD, mode)) == KEYS


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o644, 0o601, 0o660])
def test_modes_that_do_not(tmp_path: Path, mode: int) -> None:
    path = written(tmp_path / "keys", GOOD, mode)
    with pytest.raises(KeyFileError) as caught:
        read_key_file(path)
    assert str(caught.value) == f"key file {path}: mode {mode:04o} lets others read it: run `chmod 600` on it"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
def test_somebody_elses_file_is_refused(tmp_path: Path) -> None:
    path = written(tmp_path / "keys", GOOD)
    os.chown(path, 12345, -1)
    with pytest.raises(KeyFileError, match="belongs to user 12345: it must be yours or root's"):
        read_key_file(path)


def test_a_credential_of_systemd_is_kept_by_systemd(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "credentials"
    folder.mkdir()
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(folder))
    assert read_key_file(written(folder / "keys", GOOD, 0o440)) == KEYS
    for outside in (tmp_path / "keys", tmp_path / "credentials-of-others"):
        with pytest.raises(KeyFileError, match="lets others read it"):
            read_key_file(written(outside, GOOD, 0o440))


@pytest.mark.parametrize("text", ["hidden words", "hidden words\n"])
def test_a_file_of_one_passphrase(tmp_path: Path, text: str) -> None:
    assert read_passphrase_file(written(tmp_path / "passphrase", text)) == "hidden words"


@pytest.mark.parametrize("text", ["", "\n", "hidden\nwords\n", "\nhidden"])
def test_a_file_of_no_or_several_passphrases(tmp_path: Path, text: str) -> None:
    with pytest.raises(KeyFileError, match="does not hold exactly one line") as caught:
        read_passphrase_file(written(tmp_path / "passphrase", text))
    assert "hidden" not in str(caught.value).partition(": ")[2]


def test_a_pipe_will_do() -> None:
    read, write = os.pipe()
    os.write(write, GOOD.encode())
    os.close(write)
    try:
        assert read_key_file(f"/dev/fd/{read}") == KEYS
    finally:
        os.close(read)


def test_other_files(tmp_path: Path) -> None:
    with pytest.raises(KeyFileError, match="No such file or directory"):
        read_key_file(str(tmp_path / "missing"))
    with pytest.raises(KeyFileError, match="neither a file nor a pipe"):
        read_key_file("/dev/null")
    with pytest.raises(KeyFileError, match="neither a file nor a pipe"):
        read_key_file(str(tmp_path))
    with pytest.raises(KeyFileError, match="larger than 1048576 octets"):
        read_key_file(written(tmp_path / "large", b"#" * (1 << 20) + b"\n"))
    with pytest.raises(KeyFileError, match="line 2: not UTF-8"):
        read_key_file(written(tmp_path / "binary", b"# x\n\xff\xfe\n"))


FORM = "not of the form `KEY-ID [ssid=N] hex:OCTETS` or `KEY-ID [ssid=N] text:PASSPHRASE`"


@pytest.mark.parametrize(
    ("text", "line", "reason"),
    [
        ("", None, "holds no key"),
        ("# only a comment", None, "holds no key"),
        ("paris secret", 1, FORM),
        ("\n\nparis", 3, FORM),
        ("pa/ris hex:00", 1, FORM),
        ("paris hex:0", 1, "hex: is not followed by pairs of hexadecimal digits"),
        ("paris hex:secret", 1, "hex: is not followed by pairs of hexadecimal digits"),
        ("paris hex:", 1, "a key has 1 to 64 octets, this one 0"),
        ("paris text:" + "x" * 65, 1, "a key has 1 to 64 octets, this one 65"),
        ("paris ssid=0 hex:00", 1, "ssid is not a number from 1 to 65535"),
        ("paris ssid=65536 hex:00", 1, "ssid is not a number from 1 to 65535"),
        ("paris ssid=x hex:00", 1, "ssid is not a number from 1 to 65535"),
        ("paris hex:00\nparis hex:01", 2, "key paris is here twice"),
        ("paris ssid=1 hex:00\nlyon ssid=1 hex:01", 2, "SSID 1 has two keys"),
    ],
)
def test_errors_name_the_line(text: str, line: int | None, reason: str) -> None:
    with pytest.raises(KeyFileError) as caught:
        parse_keys(text, "keys")
    where = "keys" if line is None else f"keys line {line}"
    assert str(caught.value) == f"key file {where}: {reason}"


def test_no_representation_holds_a_key() -> None:
    assert "secret" not in repr(Key("paris", None, b"secret"))
    assert str(b"secret") not in str(Key("paris", None, b"secret"))


def keys_or_refusal(text: str) -> tuple[Key, ...] | str:
    try:
        return parse_keys(text, "keys")
    except KeyFileError as error:
        return str(error)


@given(st.text(alphabet="abc123#:= \n\txhetsid", max_size=60))
def test_any_text_is_keys_or_one_line_without_secrets(text: str) -> None:
    outcome = keys_or_refusal(text)
    assert outcome
    if isinstance(outcome, str):
        assert outcome.isprintable()
        assert len(outcome) < 160


@pytest.mark.parametrize(
    ("key_id", "ssid", "chosen"),
    [("paris", None, "paris"), ("paris", 9, "paris"), ("lyon", 4660, "lyon"), (None, 16, "nice.1"), (None, 9, "paris")],
)
def test_choosing(key_id: str | None, ssid: int | None, chosen: str) -> None:
    assert choose_key(KEYS, key_id, ssid, "keys").key_id == chosen


@pytest.mark.parametrize(
    ("keys", "key_id", "ssid", "reason"),
    [
        (KEYS, "rome", None, "holds no key rome"),
        (KEYS, "lyon", 9, "holds no key for SSID 9"),
        (TWO_KEYS, None, None, "holds several keys that would do: choose one with --key-id and --ssid"),
    ],
)
def test_choosing_in_vain(keys: tuple[Key, ...], key_id: str | None, ssid: int | None, reason: str) -> None:
    with pytest.raises(KeyFileError) as caught:
        choose_key(keys, key_id, ssid, "keys")
    assert str(caught.value) == f"key file keys: {reason}"


def test_the_only_key_needs_no_name_even_with_an_ssid() -> None:
    assert choose_key((KEYS[1],), None, None, "keys") == KEYS[1]


def test_a_secret_may_have_any_letters(tmp_path: Path) -> None:
    (key,) = read_secret_file(written(tmp_path / "secrets", "alice text:naïve horse"))
    assert key.octets == "naïve horse".encode()


@pytest.mark.parametrize("line", ["alice hex:410a", "alice hex:0d", "alice ssid=1 text:horse"])
def test_what_no_secret_can_be(line: str, tmp_path: Path) -> None:
    with pytest.raises(KeyFileError, match="key alice"):
        read_secret_file(written(tmp_path / "secrets", line))


def test_a_file_of_ikev2_keys(tmp_path: Path) -> None:
    text = (
        f"# from charon\n0011223344556677 8899aabbCCDDEEFF hex:{'5a' * 20}\n\n{'0' * 16} {'1' * 16}  hex:{'00' * 16}\n"
    )
    assert read_ikev2_file(written(tmp_path / "keys", text)) == (
        Ikev2Key(bytes.fromhex("0011223344556677"), bytes.fromhex("8899aabbccddeeff"), b"Z" * 20),
        Ikev2Key(bytes(8), b"\x11" * 8, bytes(16)),
    )


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("# none", "holds no key"),
        ("0011 8899aabbccddeeff hex:00", "line 1: not of the form `SPI-I SPI-R hex:OCTETS`"),
        (f"{'0' * 16} {'1' * 16} text:passphrase-of-16", "line 1: not of the form"),
        (f"{'0' * 16} {'1' * 16} hex:xyz", "line 1: hex: is not followed by pairs"),
        (f"{'0' * 16} {'1' * 16} hex:{'5a' * 15}", "line 1: a derived key has 16 to 64 octets, this one 15"),
        (f"{'0' * 16} {'1' * 16} hex:{'5a' * 65}", "line 1: a derived key has 16 to 64 octets, this one 65"),
        (f"{'0' * 16} {'1' * 16} hex:{'5a' * 16}\n" * 2, "line 2: its security association is here twice"),
    ],
)
def test_what_is_no_ikev2_key(text: str, reason: str, tmp_path: Path) -> None:
    with pytest.raises(KeyFileError) as caught:
        read_ikev2_file(written(tmp_path / "keys", text))
    assert reason in str(caught.value)
    assert "5a5a" not in str(caught.value)
    assert "passphrase-of" not in str(caught.value)


def test_no_representation_holds_an_ikev2_key() -> None:
    assert "secret" not in repr(Ikev2Key(bytes(8), bytes(8), b"a secret of 16 o"))
