"""`docs/monitor.md` as its reader follows it: every command, in order, with a real rsyslogd, snmptrapd and Prometheus.

Two things are done here that the page leaves to the reader: to put files where it names them, and to end the reflector.
"""

import re
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from twoway.notify.notifications import NOTIFICATIONS

from .page import STAYING, Reader, sections
from .programs import Program, bound_ports, until
from .topology import Namespace

ROOT: Final = Path(__file__).resolve().parents[2]
PAGE: Final = sections(ROOT / "docs" / "monitor.md")
RECEIVER: Final = "192.0.2.7"
ROUTER: Final = "set services monitoring twamp client control-connection c1 target 192.0.2.1\n"
RSYSLOG: Final = """
module(load="imudp")
template(name="line" type="string" string="%syslogseverity-text% %app-name% %msgid%%msg%\\n")
ruleset(name="all") {{ action(type="omfile" file="{folder}/messages" template="line") }}
input(type="imudp" address="{address}" port="514" ruleset="all")
"""
TEST_FAILURE: Final = f".1.3.6.1.6.3.1.1.4.1.0 = .{'.'.join(map(str, NOTIFICATIONS['test-failure'].oid))}"
EXPECTED: Final = {
    "twoway check twoway.yaml": r"twoway.yaml: good: 1 control-connection, 1 test-session",
    "twoway check --sample": r"^client:",
    "twoway schema config": r'"control-connection"',
    "twoway import junos router.conf": r"control-connection:\n +c1:",
    "twoway unit twoway.yaml": r"^Type=notify",
    "twoway show client control-info": r"^site-b .* testing +none",
    "twoway show client probe-results": r"Result: PASS\n(.|\n)*^ +Round trip time +\d",
    "twoway show client history-results --control-connection site-b": r"^site-b +voice .* response received",
    "twoway show events": r" notice +started +twoway .* runs twoway.yaml",
    "twoway show health": r"^Test-sessions: +testing 1\nAlarms: +none",
    "twoway top": r"^site-b +voice +127.0.0.1 +PASS",
    "twoway request stop": r"^stopped: site-b$",
    "twoway request start": r"^started: site-b$",
    "twoway clear results": r"^results cleared: site-b voice$",
    "twoway request reload": r"^no test-session differs",
    "twoway show events --name test-failure": r" error +test-failure raised +site-b voice .* total-loss is 2",
    "twoway show client probe-results brief --status FAIL": r"^site-b +voice .* FAIL .* test-failure .*-loss is",
    "twoway export --resolution 1min --format csv": r"^connection,session,(.|\n)*^site-b,voice,",
    "twoway export --store results.db --what events --format ndjson": r'"name":"test-failure","state":"raised"',
    "twoway export --what history": r"^site-b,voice,",
    "promtool check config monitoring/prometheus.yml": r"SUCCESS: 2 rule files found",
}  # fmt: skip


@pytest.fixture
def namespace() -> Iterator[Namespace]:
    """One machine, which has the receivers' address, too."""
    made = Namespace("page")
    try:
        made.ip("link set lo up", f"address add {RECEIVER}/32 dev lo")
        yield made
    finally:
        made.delete()


@pytest.mark.needs_no_namespace
def test_every_command_of_the_page_is_run() -> None:
    commands = {command for section in PAGE.values() for command in section.commands}
    assert {command for command in commands if not command.startswith(STAYING)} == set(EXPECTED)
    assert [section.settings for section in PAGE.values() if section.settings] == [{"TWOWAY_API": "./api.sock"}]


def test_the_page(namespace: Namespace, tmp_path: Path) -> None:
    for program in ("rsyslogd", "snmptrapd", "prometheus", "promtool"):
        if shutil.which(program, path="/usr/bin:/usr/sbin") is None:
            pytest.skip(f"the program {program} is not installed")
    with Reader(PAGE, namespace, tmp_path) as reader:
        follow(reader, tmp_path)


def follow(reader: Reader, folder: Path) -> None:
    """From nothing to an alarm, and what came of it."""
    titles = iter(PAGE)
    assert next(titles) == ""
    (listening,) = PAGE[next(titles)].commands
    port = int(listening.rpartition(":")[2])
    reflector = reader.starts(listening, f"twoway ping -q -c 1 127.0.0.1:{port}")

    configuration = folder / "twoway.yaml"
    (text,) = PAGE[title := next(titles)].files
    configuration.write_text(text, encoding="utf-8")
    (folder / "router.conf").write_text(ROUTER, encoding="ascii")
    reader.follows(title, EXPECTED)

    title = next(titles)
    (running,) = (command for command in PAGE[title].commands if command.startswith("twoway run"))
    daemon = reader.starts(running, "twoway show health --api ./api.sock")
    asking = next(titles)
    reader.follows(asking, EXPECTED)
    reader.follows(title, EXPECTED)

    (more,) = PAGE[title := next(titles)].files
    configuration.write_text(text.replace("      test-session:", "      raw-history: on\n      test-session:") + more)
    messages, traps = receivers(reader, folder)
    reader.follows(
        title, {**EXPECTED, "twoway request reload": r"^test-sessions: 1 adjusted; receivers of notices differ$"}
    )

    reflector.signal(signal.SIGTERM)
    assert reflector.wait() == 0
    reader.follows(next(titles), EXPECTED)
    until(lambda: "err twoway test-failure" in messages.read_text(), "the syslog server is told")
    until(lambda: TEST_FAILURE in traps.stdout, "snmptrapd is told")
    # The store has a loss when it is certain, though its direction may be known later.
    window = "twoway show client window --control-connection site-b --test-session voice --since 10min"
    reader.sees(window, r"sent \d+, received \d+, lost [1-9]\d*")
    reader.starts(listening, f"twoway ping -q -c 1 127.0.0.1:{port}")
    reader.sees("twoway show events --name test-failure", r" test-failure cleared ")
    reader.sees("twoway show health", r"^Alarms: +none")

    reader.follows(next(titles), EXPECTED)

    (folder / "monitoring").symlink_to(ROOT / "monitoring")
    title = next(titles)
    (scraping,) = (command for command in PAGE[title].commands if command.startswith("prometheus"))
    reader.starts(scraping, "promtool query instant http://127.0.0.1:9090 up")
    reader.follows(title, EXPECTED)
    reader.sees('promtool query instant http://127.0.0.1:9090 "twoway_packets_total"', r'session="voice"')
    assert next(titles, None) is None

    assert daemon.stop() == 0
    assert re.search(r"err twoway test-failure", messages.read_text())


def receivers(reader: Reader, folder: Path) -> tuple[Path, Program]:
    """A syslog server and a receiver of notifications, where the page has them: the first's file, and the second."""
    (folder / "rsyslog.conf").write_text(RSYSLOG.format(folder=folder, address=RECEIVER), encoding="ascii")
    (folder / "snmptrapd.conf").write_text("disableAuthorization yes\n", encoding="ascii")
    server = reader.starts(f"rsyslogd -n -C -f {folder}/rsyslog.conf -i {folder}/rsyslog.pid", "true")
    options = f"-f -Lo -On -OQ -C -c {folder}/snmptrapd.conf -m '' udp:{RECEIVER}:162"
    traps = reader.starts(f"env SNMP_PERSISTENT_DIR={folder}/snmp snmptrapd {options}", "true")
    until(lambda: {514, 162} <= bound_ports(server.process.pid), "both listen")
    return folder / "messages", traps
