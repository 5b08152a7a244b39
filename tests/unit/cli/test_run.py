"""`twoway run` as a process: errors, signals and the end."""

from __future__ import annotations

import contextlib
import http.client
import signal
import socket
import subprocess
import sys
from typing import TYPE_CHECKING

from ports import free_port
from twoway.cli import run as command
from twoway.drivers import plane

from .service import PATIENCE_S, Service, configuration, running

if TYPE_CHECKING:
    from pathlib import Path

    import pytest

    from twoway.analysis.notices import Notice


def test_it_runs_reloads_refuses_and_ends(tmp_path: Path) -> None:
    port = free_port()
    file = configuration(tmp_path, port)
    with running(file) as service:
        assert service.hears("READY=1") == "READY=1\nSTATUS=1 of 1 test-sessions run"
        assert service.hears("WATCHDOG=1").endswith("1 of 1 test-sessions run")
        file.write_text(file.read_text().replace("probe-count: 5", "probe-count: none\n          colour: red"))
        service.process.send_signal(signal.SIGHUP)
        service.hears("RELOADING=1\nMONOTONIC_USEC=")
        assert "has errors" in service.hears("READY=1")
        health = service.ask("/v1/health")
        assert health["reload_ok"] is False
        assert len(health["reload_errors"]) == 2
        configuration(tmp_path, port, "    other: {control-type: light, test-session: {a: {target: 127.0.0.1}}}")
        service.process.send_signal(signal.SIGHUP)
        assert service.hears("READY=1").endswith("2 of 2 test-sessions run")
        service.process.send_signal(signal.SIGTERM)
        service.hears("STOPPING=1")
        output, errors = service.process.communicate(timeout=PATIENCE_S)
        assert service.process.returncode == 0
        assert output == f"{file} runs; `twoway show health --api {tmp_path}/api.sock` says how it is\n"
        # Who sent the signal got no answer: it is where the daemon says what keeps it from starting.
        refused, *lines = errors.splitlines()
        assert refused == f"twoway run: {file}: 2 errors, nothing was changed"
        assert [line.startswith(f"twoway run: {file}:") for line in lines] == [True, True]
    assert not (tmp_path / "api.sock").exists()


def test_results_history_and_events_survive_a_restart(tmp_path: Path) -> None:
    def tests(service: Service) -> int:
        (results,) = service.ask("/v1/client/probe-results?control-connection=near")["results"]
        return int(results["tests_passed"])

    file = configuration(tmp_path, free_port())
    with running(file) as service:
        service.hears("READY=1")
        service.eventually(lambda: tests(service) >= 3)
        service.process.send_signal(signal.SIGTERM)
        service.process.communicate(timeout=PATIENCE_S)
    with running(file) as service:
        service.hears("READY=1")
        assert tests(service) >= 3
        events = [event["name"] for event in service.ask("/v1/events")["events"]]
        assert events.count("started") == 2
        assert "stopping" in events


def test_no_secret_is_in_what_the_daemon_says_or_keeps(tmp_path: Path) -> None:
    secrets = {name: f"{name}-abcdefghijklmnop" for name in ("community", "auth", "priv", "token", "reflector")}
    kept = tmp_path / "secrets"
    kept.mkdir()
    for name, secret in secrets.items():
        (kept / name).write_text(f"site text:{secret}\n" if name == "reflector" else f"{secret}\n")
        (kept / name).chmod(0o600)
    port = free_port()
    file = configuration(tmp_path, port, "          traps: [test-failure]\n")
    file.write_text(
        file.read_text()
        .replace("address: 127.0.0.1}", f"address: 127.0.0.1, key-file: {kept}/reflector}}")
        .replace("api: {", f"api: {{listen: '127.0.0.1:{free_port()}', token-file: {kept}/token, ")
        + f"""
notifications:
  snmp:
    - {{address: "127.0.0.1:1", version: v2c, community-file: {kept}/community}}
    - {{address: "127.0.0.1:1", version: v3, user: noc, auth-protocol: sha256, auth-key-file: {kept}/auth,
       priv-protocol: aes, priv-key-file: {kept}/priv}}
"""
    )
    with running(file) as service:
        service.hears("READY=1")
        said: list[object] = [service.ask("/v1/health")]
        (kept / "community").write_text(f"{secrets['community']}\nand another line\n")
        (kept / "reflector").write_text(f"site {secrets['reflector']}\n")
        service.process.send_signal(signal.SIGHUP)
        said.append(service.hears("READY=1"))
        client = ("control-info", "test-info", "probe-results", "history-results", "sessions")
        said.extend(service.ask(f"/v1/client/{path}") for path in client)
        said.extend(service.ask(f"/v1/{path}") for path in ("events", "server/control-info", "server/test-info"))
        health = service.ask("/v1/health")
        assert len(health["reload_errors"]) >= 2
        said.append(health)
        service.process.send_signal(signal.SIGTERM)
        said.append(service.process.communicate(timeout=PATIENCE_S))
    octets = repr(said).encode() + b"".join(file.read_bytes() for file in tmp_path.iterdir() if file.is_file())
    for secret in secrets.values():
        assert secret.encode() not in octets
        assert secret.encode().hex().encode() not in octets


def test_a_reload_reads_the_token_anew(tmp_path: Path) -> None:
    token, port = tmp_path / "token", free_port()
    token.write_text("the-first-token-of-all\n")
    token.chmod(0o600)
    file = configuration(tmp_path, free_port())
    file.write_text(file.read_text().replace("api: {", f"api: {{listen: '127.0.0.1:{port}', token-file: {token}, "))

    def status(bearer: str) -> int:
        with contextlib.closing(http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE_S)) as client:
            client.request("GET", "/v1/health", headers={"Authorization": f"Bearer {bearer}"})
            return client.getresponse().status

    with running(file) as service:
        service.hears("READY=1")
        assert [status("the-first-token-of-all"), status("another-token-instead")] == [200, 401]
        token.write_text("another-token-instead\n")
        service.process.send_signal(signal.SIGHUP)
        service.hears("RELOADING=1")
        service.hears("READY=1")
        assert [status("the-first-token-of-all"), status("another-token-instead")] == [401, 200]
        token.write_text("short\n")
        service.process.send_signal(signal.SIGHUP)
        assert "has errors" in service.hears("READY=1")
        assert status("another-token-instead") == 200


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "twoway", "run", *arguments], capture_output=True, text=True, timeout=60, check=False
    )


def test_a_configuration_with_errors_is_refused_with_a_line_for_each(tmp_path: Path) -> None:
    file = configuration(tmp_path, free_port())
    file.write_text(file.read_text().replace("probe-count: 5", "probe-count: none\n          colour: red"))
    done = run(str(file))
    assert done.returncode == 2
    lines = done.stderr.splitlines()
    assert len(lines) == 2
    assert all(line.startswith(f"twoway run: {file}:") for line in lines)


def test_a_role_that_cannot_begin_ends_it_with_its_line(tmp_path: Path) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        done = run(str(configuration(tmp_path, port)))
    assert done.returncode == 2
    assert done.stderr.startswith(f"twoway run: light server: bind 127.0.0.1:{port}: ")
    assert len(done.stderr.splitlines()) == 1


def test_a_file_that_is_not_there_is_one_line(tmp_path: Path) -> None:
    done = run(str(tmp_path / "absent.yaml"))
    assert done.returncode == 2
    assert done.stderr == f"twoway run: {tmp_path}/absent.yaml: No such file or directory\n"


def test_a_clock_whose_state_is_hidden_is_told_at_once(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    told: list[Notice] = []
    monkeypatch.setattr(plane, "local_clock", lambda: {"synchronized": None})
    command._look_at_clock(told.append)  # noqa: SLF001  (no sandbox is made for it here)
    (notice,) = told
    assert (notice.name, notice.state) == ("own-fault", "once")
    assert notice.message.startswith("clock state unreadable: ")
    assert capsys.readouterr().err == f"twoway run: {notice.message}\n"
    monkeypatch.setattr(plane, "local_clock", lambda: {"synchronized": 0})
    command._look_at_clock(told.append)  # noqa: SLF001  (as above)
    assert len(told) == 1
