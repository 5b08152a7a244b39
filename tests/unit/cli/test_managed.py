"""What the command line makes of `twoway server` and negotiated measurements, before anything is sent."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from twoway.cli.main import main

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["ping", "--protocol", "twamp", "--mode", "encrypted", "::1"], "--mode: encrypted needs a key"),
        (["ping", "--protocol", "owamp", "--ssid", "1", "::1"], "--ssid: it is STAMP's: OWAMP has --key-file"),
        (["ping", "--mode", "mixed", "::1"], "--mode: it is for --protocol twamp or owamp: stamp negotiates nothing"),
        (["ping", "--protocol", "twamp", "--key-id", "a", "::1"], "--key-id: it chooses a secret of --key-file"),
        (["ping", "--protocol", "owamp", "--csv", "::1"], "--sessions: several sessions have no common"),
        (["ping", "--protocol", "twamp", "--ikev2-key-file", "/", "::1"], "key file /: neither a file nor a pipe"),
        (
            ["ping", "--ikev2-key-file", "keys", "::1"],
            "--ikev2-key-file: it is for --protocol twamp or owamp: stamp negotiates nothing",
        ),
        (
            ["ping", "--reconnect", "1s", "::1"],
            "--reconnect: it is for --protocol twamp or owamp: stamp negotiates nothing",
        ),
        (["ping", "--protocol", "twamp", "--reconnect", "never", "::1"], "--reconnect: 'never' is not a duration"),
        (["server", "--mode", "mixed"], "--mode: mixed needs secrets"),
        (["server", "--port-range", "5-4"], "--port-range: 5-4 is no range"),
        (["server", "--iterations", "1025"], "--iterations: 1025 is not a power of 2"),
        (["server", "--listen", "tcp=:1"], "--listen: 'tcp=:1': 'tcp' is none of twamp, owamp"),
        (["server", "--listen", "example.net:1"], "--listen: 'example.net:1' is not a numeric address"),
    ],
)
def test_what_is_refused(arguments: list[str], words: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments) == 2
    written = capsys.readouterr()
    assert written.out == ""
    assert words in written.err
    assert len(written.err.splitlines()) == 1


@pytest.mark.parametrize("line", ["alice ssid=3 text:horse", "alice hex:0d0a"])
def test_no_message_holds_a_secret(line: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "secrets"
    file.write_text(f"{line}\n", encoding="utf-8")
    file.chmod(0o600)
    assert main(["server", "--key-file", str(file)]) == 2
    written = capsys.readouterr().err
    assert "alice" in written
    assert "horse" not in written
