"""Asking the daemon, and what is said when it does not answer."""

from __future__ import annotations

import socket
import threading
from typing import TYPE_CHECKING

import pytest

from twoway.cli.api_client import Api
from twoway.errors import ApiError

if TYPE_CHECKING:
    from pathlib import Path

BOUND_S = 20


def test_whoever_comes_while_the_backlog_is_full_waits_for_a_place(tmp_path: Path) -> None:
    path = tmp_path / "api.sock"
    answer = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}"
    found: list[object] = []
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen(0)
        listener.settimeout(BOUND_S)
        with socket.socket(socket.AF_UNIX) as other:
            other.connect(str(path))  # the one place there is
            asking = threading.Thread(target=lambda: found.append(Api.of(str(path), None).get("/v1/health")))
            asking.start()
            listener.accept()[0].close()  # the other's, which makes room
            taken, _ = listener.accept()
            with taken:
                while not taken.recv(1 << 16).endswith(b"\r\n\r\n"):
                    pass
                taken.sendall(answer)
            asking.join(BOUND_S)
    assert found == [{}]


def test_an_answer_that_comes_before_all_was_sent_is_taken(tmp_path: Path) -> None:
    """As the daemon answers what is too long, or needs a token: it does not read what comes after the head."""
    path = tmp_path / "api.sock"
    answer = b'HTTP/1.1 413 X\r\nContent-Length: 26\r\nConnection: close\r\n\r\n{"detail": "far too long"}'
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()
        listener.settimeout(BOUND_S)

        def refuse() -> None:
            client, _ = listener.accept()
            with client:
                client.recv(1)
                client.sendall(answer)

        refusing = threading.Thread(target=refuse)
        refusing.start()
        with pytest.raises(ApiError, match="far too long") as error:
            Api.of(str(path), None).post("/v1/request/start", {"control-connection": "x" * (1 << 20)})
        refusing.join(BOUND_S)
    assert error.value.status == 413
