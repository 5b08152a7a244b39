"""`twoway show`: what it asks, what it prints, and what it says where it cannot."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

from twoway.analysis.notices import NOTICES
from twoway.cli.main import main
from twoway.cli.show import junos_words, moment_ns
from twoway.errors import ConfigError, PlaneError

from ..measured import START_NS
from ..watched import SECOND
from .terminal import in_terminal

if TYPE_CHECKING:
    from pathlib import Path

    from .conftest import Served

NOW_NS = 1_800_000_000 * SECOND
LISTINGS = (
    "client control-info",
    "client test-info",
    "client probe-results",
    "client probe-results brief",
    "client probe-results detail",
    "client history-results",
    "client history-results brief",
    "client history-results detail",
    f"client window --control-connection core-fra --test-session voice --since {START_NS // SECOND}s",
    "server control-info",
    "server test-info",
    "capabilities",
    "events",
    "health",
)


def shown(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    """What is printed by a command that succeeds."""
    assert main(["show", *words]) == 0
    output, errors = capsys.readouterr()
    assert errors == ""
    return output


def document(capsys: pytest.CaptureFixture[str], *words: str) -> dict[str, Any]:
    """The same with `--json`."""
    return dict(json.loads(shown(capsys, *words, "--json")))


def refused(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    """The one line of a command that fails."""
    assert main(["show", *words]) == 2
    output, errors = capsys.readouterr()
    assert output == ""
    assert errors.count("\n") == 1, errors
    assert errors.startswith("twoway show: ")
    return errors


@pytest.mark.usefixtures("served")
@pytest.mark.parametrize("what", LISTINGS)
def test_every_listing_is_printed_and_is_a_document(capsys: pytest.CaptureFixture[str], what: str) -> None:
    words = what.split()
    text = shown(capsys, *words)
    assert len(text.splitlines()) > 1
    assert "None" not in text
    assert all(line == line.rstrip() for line in text.splitlines())
    plain = [word for word in words if word not in ("brief", "detail")]
    assert document(capsys, *plain)


@pytest.mark.usefixtures("served")
def test_brief_is_a_line_for_each_session_and_says_why_one_failed(capsys: pytest.CaptureFixture[str]) -> None:
    head, *rows = shown(capsys, "client", "probe-results", "brief").splitlines()
    assert head.split()[-2:] == ["Alarms", "Reason"]
    assert len(rows) == 4
    assert [row.split()[3] for row in rows] == ["PASS", "PASS", "PASS", "FAIL"]
    assert rows[3].endswith("test-failure  total-loss: 2 of 10 probes lost")


@pytest.mark.usefixtures("served")
@pytest.mark.parametrize(
    ("words", "sessions"),
    [
        ("--status FAIL", ["core-par bulk"]),
        ("status fail", ["core-par bulk"]),
        ("control-connection core-par status PASS", ["core-par voice"]),
        ("--control-connection core-fra --test-session bulk", ["core-fra bulk"]),
        ("target 198.51.100.2", ["core-fra bulk"]),
        ("source-address 192.0.2.99", []),
    ],
)
def test_filters_work_as_options_and_as_junos_words(
    capsys: pytest.CaptureFixture[str], words: str, sessions: list[str]
) -> None:
    found = document(capsys, "client", "probe-results", *words.split())["results"]
    assert [f"{each['connection']} {each['session']}" for each in found] == sessions
    lines = shown(capsys, "client", "probe-results", "brief", *words.split()).splitlines()
    assert len(lines) == len(sessions) + bool(sessions) or lines == ["No results."]


@pytest.mark.usefixtures("served")
def test_history_is_cut_by_number_and_time(capsys: pytest.CaptureFixture[str]) -> None:
    which = ("client", "history-results", "--control-connection", "core-fra", "--test-session", "voice")
    assert len(shown(capsys, *which).splitlines()) == 21
    assert len(shown(capsys, *which, "limit", "3").splitlines()) == 4
    assert shown(capsys, *which, "--since", "2026-01-02T03:04:20Z").count("response received") == 5
    assert shown(capsys, *which, "--since", "1s") == "No probes in the history.\n"


@pytest.mark.usefixtures("served")
def test_events_are_filtered(capsys: pytest.CaptureFixture[str]) -> None:
    assert [each["name"] for each in document(capsys, "events")["events"]] == ["started", "rtt-exceeded"]
    assert [each["name"] for each in document(capsys, "events", "limit", "1")["events"]] == ["rtt-exceeded"]
    assert [each["name"] for each in document(capsys, "events", "name", "started")["events"]] == ["started"]
    assert "rtt-exceeded raised" in shown(capsys, "events", "control-connection", "core-fra")
    assert shown(capsys, "events", "--name", "stopping") == "No events.\n"


@pytest.mark.usefixtures("served")
def test_a_window_of_the_store(capsys: pytest.CaptureFixture[str]) -> None:
    which = ("client", "window", "control-connection", "core-fra", "test-session", "voice")
    text = shown(capsys, *which, "since", "2026-01-02T03:00:00Z", "until", "2026-01-02T04:00:00Z")
    assert "2026-01-02 03:00:00 to 2026-01-02 04:00:00 UTC (1h)" in text
    assert "sent 10, received 10" in text
    asked = document(capsys, *which, "since", "1h", "percentile", "90", "percentile", "99.9")
    assert list(asked["metrics"]["delay"]["round_trip"]["percentiles_ns"]) == ["p90", "p99.9"]
    assert "since: it is needed" in refused(capsys, *which)


def test_notices_need_no_daemon(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    text = shown(capsys, "notices", "--api", str(tmp_path / "nobody"))
    assert [line.split()[0] for line in text.splitlines()[1:]] == list(NOTICES)
    assert [each["name"] for each in document(capsys, "notices")["notices"]] == list(NOTICES)
    assert document(capsys, "notices")["notices"][0]["severity"] == "warning"


@pytest.mark.usefixtures("served")
@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("client", "there is no 'client' to show: there are client control-info,"),
        ("healht", "there is no 'healht' to show"),
        ("health brief", "health is neither brief nor detail"),
        ("health --status FAIL", "--status is no filter of health"),
        ("client test-info since 1h", "--since is no filter of client test-info"),
        ("client probe-results --status MAYBE", "invalid choice: 'MAYBE'"),
        ("client probe-results --control-connection x", "no control-connection 'x': there are core-fra, core-par"),
        ("client test-info control-connection core-fra test-session x", "no test-session 'x': there are voice, bulk"),
        ("client history-results since yesterday", "'yesterday' is no time as 2026-01-02.03:04:05"),
        ("events name rtt-exceded", "there is no notice 'rtt-exceded': `twoway show notices` has them all"),
        ("server test-info control-connection 99", "no control-connection '99'"),
        ("events limit 0", "'0' is not a number from 1 to 100000"),
        ("client window control-connection core-par test-session voice since 1h", "the store has nothing of core-par"),
        ("events --api http://", "'http://' is neither a path nor http://HOST:PORT"),
        ("events --api ftp://example.net", "is neither a path nor http://HOST:PORT"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_one_line(capsys: pytest.CaptureFixture[str], words: str, said: str) -> None:
    assert said in refused(capsys, *words.split())


def test_without_anything_it_says_what_is_missing(capsys: pytest.CaptureFixture[str]) -> None:
    assert refused(capsys) == ("twoway show: the following arguments are required: WHAT (see twoway show --help)\n")


def test_nobody_there(capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    missing = str(tmp_path / "api.sock")
    said = refused(capsys, "health", "--api", missing)
    assert said == (
        f"twoway show: ask the daemon at {missing}: nobody is there: start it (`systemctl start twoway`, or "
        "`twoway run CONFIG`), or say where it is with --api\n"
    )
    monkeypatch.setenv("TWOWAY_API", missing)
    assert refused(capsys, "health") == said
    with socket.socket(socket.AF_UNIX) as stale:
        stale.bind(missing)  # and nobody listens
        assert refused(capsys, "health") == said


def test_a_socket_that_others_may_not_open_says_who_may(served: Served) -> None:
    """As another user: root may open any."""
    if os.geteuid() != 0:
        pytest.skip("only root can become another user")
    served.socket.parent.chmod(0o755)
    for folder in served.socket.parents:
        if not folder.stat().st_mode & 0o001:
            folder.chmod(folder.stat().st_mode | 0o011)
    served.socket.chmod(0o660)
    code = (
        "import os, sys; os.setgroups([]); os.setgid(65534); os.setuid(65534)\n"
        "from twoway.cli.main import main; sys.exit(main(['show', 'health']))"
    )
    # What the child imports has been read by root before, so that it need not be readable to nobody.
    code = "import twoway.cli.main, twoway.cli.show, http.client, grp\n" + code
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=60)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == (
        f"twoway show: ask the daemon at {served.socket}: "
        "not permitted: ask as root, or as a member of the group root\n"
    )


def test_what_answers_is_no_daemon(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    import threading

    for octets in (
        b"SSH-2.0-x\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n[]",
        b"HTTP/1.1 200 OK\r\n\r\nhello",
    ):
        path = tmp_path / "other.sock"
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(str(path))
            listener.listen()

            def answer(listener: socket.socket = listener, octets: bytes = octets) -> None:
                client, _ = listener.accept()
                with client:
                    client.recv(4096)
                    client.sendall(octets)

            thread = threading.Thread(target=answer)
            thread.start()
            assert "what answers there is no twoway daemon" in refused(capsys, "health", "--api", str(path))
            thread.join()
        path.unlink()


def test_over_tcp_it_needs_the_token(
    served: Served, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = ("health", "--api", served.url)
    assert "needs a token: name its file with --token-file" in refused(capsys, *asked)
    assert "twoway 0.1.0" in shown(capsys, *asked, "--token-file", str(served.token_file))
    monkeypatch.setenv("TWOWAY_API_TOKEN_FILE", str(served.token_file))
    assert "twoway 0.1.0" in shown(capsys, *asked)
    served.token_file.write_text("another-token-of-some-length\n")
    assert "needs a token" in refused(capsys, *asked)
    served.token_file.chmod(0o644)
    assert "chmod 600" in refused(capsys, *asked)


def test_what_the_daemon_cannot_answer_is_its_line(served: Served, capsys: pytest.CaptureFixture[str]) -> None:
    served.daemon.failure = PlaneError("bind", "192.0.2.1:862", 98)
    assert "bind 192.0.2.1:862: Address already in use" in refused(capsys, "health")


def test_a_name_moves_no_cursor(served: Served, capsys: pytest.CaptureFixture[str]) -> None:
    served.daemon.__init__([("fra\x1b[2Jk", "a\u202eb")])  # type: ignore[misc]  # another one in its place
    text = shown(capsys, "client", "probe-results", "brief")
    assert "\x1b" not in text
    assert "fra [2Jk" in text
    assert "\u202e" not in text


@pytest.mark.parametrize("width", [50, 80, 200])
def test_in_a_terminal_lines_fit_and_nothing_is_left_out(
    served: Served, capsys: pytest.CaptureFixture[str], width: int
) -> None:
    environment = {"TWOWAY_API": str(served.socket)}
    for what in ("client control-info", "events", "client probe-results"):
        piped = shown(capsys, *what.split())
        seen = in_terminal(["show", *what.split()], width, environment)
        if what != "client probe-results":  # which has fewer percentiles
            assert sorted(seen.split()) == sorted(piped.split())
        if width > 100 or what == "client probe-results":
            assert max(map(len, seen.splitlines())) <= max(width, 66)  # a table of delays without percentiles


def test_percentiles_go_where_a_terminal_is_narrow(served: Served) -> None:
    def head(width: int) -> str:
        words = ["show", "client", "probe-results", "--control-connection", "core-fra", "--test-session", "voice"]
        seen = in_terminal(words, width, {"TWOWAY_API": str(served.socket)})
        return next(line for line in seen.splitlines() if "Deviation" in line)

    assert head(120).split()[-4:] == ["p50", "p95", "p99", "p99.9"]
    assert head(78).split()[-2:] == ["Deviation", "p99"]
    assert "p99" not in head(60)


@pytest.mark.parametrize(
    ("given", "taken"),
    [
        (["client", "probe-results"], ["client", "probe-results"]),
        (["status", "FAIL"], ["--status", "FAIL"]),
        (["--control-connection", "status"], ["--control-connection", "status"]),
        (["control-connection", "target", "target", "x"], ["--control-connection", "target", "--target", "x"]),
        (["--json", "limit", "5"], ["--json", "--limit", "5"]),
    ],
)
def test_words_of_junos_are_options_unless_they_are_values(given: list[str], taken: list[str]) -> None:
    assert junos_words(given) == taken


@pytest.mark.parametrize(
    ("text", "at_ns"),
    [
        ("2027-01-15T08:00:00Z", 1_800_000_000 * SECOND),
        ("2027-01-15T09:00:00+01:00", 1_800_000_000 * SECOND),
        ("15min", NOW_NS - 900 * SECOND),
        ("1500ms", NOW_NS - 1_500_000_000),
        ("1969-12-31T23:59:59Z", 0),
    ],
)
def test_times(text: str, at_ns: int) -> None:
    assert moment_ns(text, "--since", NOW_NS) == at_ns


def test_a_time_of_junos_is_local(monkeypatch: pytest.MonkeyPatch) -> None:
    import time

    monkeypatch.setenv("TZ", "UTC+3")
    time.tzset()
    try:
        assert moment_ns("2027-01-15.05:00:00", "--since", NOW_NS) == 1_800_000_000 * SECOND
        assert moment_ns("2027-01-15T05:00:00", "--since", NOW_NS) == 1_800_000_000 * SECOND
    finally:
        monkeypatch.undo()
        time.tzset()


@pytest.mark.parametrize("text", ["", "tomorrow", "2027-13-01T00:00:00Z", "9" * 400 + "s", "-5s", "15 parsecs"])
def test_what_is_no_time_is_one_line(text: str) -> None:
    with pytest.raises(ConfigError) as error:
        moment_ns(text, "--since", NOW_NS)
    assert "\n" not in str(error.value)
