"""Asking the daemon, and what is said when it does not answer."""

from __future__ import annotations

import socket
import threading
from typing import TYPE_CHECKING

from twoway.cli.api_client import Api

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
