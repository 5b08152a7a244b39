"""Nokia's twampy: its controller and sender with our Server, our sender with its responder."""

from pathlib import Path
from typing import Final

import pytest

from ports import free_port

from .peers import Running, documents, run, twampy
from .relay import LOOPBACK, TWOWAY, ReflectorProcess

COUNT: Final = 5
FAST: Final = ("-c", str(COUNT), "-i", "100")
NO_LOSS: Final = "0.0%"
HOST: Final = "127.0.0.86"
"""Its controller knows no port but 862, so our Server has this one on an address of its own."""


def no_loss(text: str) -> bool:
    """Whether each direction of its table ends so."""
    rows = [line.split() for line in text.splitlines() if line.strip().startswith(("Outbound", "Inbound", "Roundtrip"))]
    return len(rows) == 3 and all(row[-1] == NO_LOSS for row in rows)


@pytest.mark.parametrize("options", [(), ("--padding", "1000", "--dscp", "ef")])
def test_its_controller_and_our_server(options: tuple[str, ...], tmp_path: Path) -> None:
    program = twampy()
    command = [TWOWAY, "server", "-v", "--listen", f"twamp={HOST}:862"]
    try:
        running = Running(command, tmp_path / "log", 862)
    except RuntimeError as error:
        pytest.skip(f"TCP port 862, twampy's only one, cannot be had: {error}: run as root, with no Server of your own")
    with running:
        text = run(program, "controller", *FAST, *options, HOST, LOOPBACK)
        assert no_loss(text), text
        # It stops no session where it has one, which is no Stop-Sessions; its results are in by then.
        assert "violated:stop_count" in running.said()


def test_its_sender_and_our_light_reflector() -> None:
    program = twampy()
    with ReflectorProcess() as reflector:
        text = run(program, "sender", *FAST, f"{LOOPBACK}:{reflector.port}", f"{LOOPBACK}:{free_port()}")
    assert no_loss(text), text


@pytest.mark.parametrize("protocol", ["stamp", "light"])
def test_our_sender_and_its_responder(protocol: str, tmp_path: Path) -> None:
    program, port = twampy(), free_port()
    with Running([program, "responder", f"{LOOPBACK}:{port}"], tmp_path / "log", port, "udp"):
        command = [TWOWAY, "ping", "--protocol", protocol, "-c", str(COUNT), "-i", "10ms", "-W", "1s", "--json"]
        (result,) = documents(run(*command, f"{LOOPBACK}:{port}"))
    assert 1 <= result["packets"]["sent"] == result["packets"]["received"] <= COUNT
