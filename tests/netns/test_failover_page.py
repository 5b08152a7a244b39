"""`docs/failover.md` as its reader follows it: every command, in order, and its output where the page shows it.

The site of the page is made by its own script, under names of this test. Left to the reader, and done here, are: to put
files where the page names them, to take lines in and out of the configuration, to end programs. One line is added that
the page has not: the machine that runs tests is shared, so what it disturbs itself is judged, too.
"""

import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

import pytest

from .page import STAYING, Reader, prints, sections
from .programs import Program
from .router import Router, missing_router
from .topology import PREFIX, Namespace

ROOT: Final = Path(__file__).resolve().parents[2]
PAGE: Final = sections(ROOT / "docs" / "failover.md")
SCRIPT: Final = ROOT / "docs" / "examples" / "two-uplinks.sh"
NAMES: Final = ("site", "isp-a", "isp-b", "far")
EXPECTED: Final = {
    "sh two-uplinks.sh": "",
    "sh two-uplinks.sh delete": "",
    "ip route add 203.0.113.1 via 192.0.2.1": "",
    "ip route add 203.0.113.2 via 198.51.100.1": "",
    "ip netns exec isp-a nft -f lossy.nft": "",
    "ip netns exec isp-a nft delete table inet lossy": "",
    "ip route flush proto 94": "",
    "ip route del default proto boot": "",
    "twoway ping -q -c 5 -i 100ms -I wan-a 203.0.113.1": "5 received, 0% packet loss",
    "twoway ping -q -c 5 -i 100ms -I wan-b 203.0.113.2": "5 received, 0% packet loss",
    "twoway show routes brief": r"^main .* 198\.51\.100\.1 .* inactive +up",
    "twoway show routes --json": r'"state": "dry-run"',
    "twoway show route sla-tracking": r"^    State: dry run, would be active by 192\.0\.2\.1",
    "twoway show events --name route-changed": r" route-changed +0\.0\.0\.0/0: dry run: .*-> 192\.0\.2\.1: 192",
}
"""What a command prints of which the page shows nothing."""


class Lab:
    """The namespaces of the page's script, by names that no other test has."""

    def __init__(self, folder: Path) -> None:
        # A namespace whose name is made as all of a test's are: `remove_stale` knows them.
        self._first = Namespace("")
        self.prefix = self._first.name
        assert self.prefix.startswith(f"{PREFIX}-{os.getpid()}-")
        self.script = folder / SCRIPT.name
        self.script.write_bytes(SCRIPT.read_bytes())

    def delete(self) -> None:
        """Remove what is still there."""
        for name in NAMES:
            subprocess.run(["ip", "netns", "delete", f"{self.prefix}{name}"], capture_output=True, check=False)
        self._first.delete()


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    """The site, before its script has run."""
    if shutil.which("nft", path="/usr/bin:/usr/sbin") is None:
        pytest.skip("the program nft is not installed (Debian package nftables)")
    made = Lab(tmp_path)
    try:
        yield made
    finally:
        made.delete()


@pytest.fixture
def reader(lab: Lab, tmp_path: Path) -> Iterator[Reader]:
    """Somebody on the site's router, once it is there."""
    with Reader(PAGE, None, tmp_path) as made:
        made.environment["TWOWAY_LAB"] = lab.prefix
        made.elsewhere = {f"netns exec {name} ": f"netns exec {lab.prefix}{name} " for name in NAMES}
        made.elsewhere |= {"/usr/local/sbin/": f"{tmp_path}/", "/var/log/": f"{tmp_path}/"}
        yield made


@pytest.mark.needs_no_namespace
def test_every_command_of_the_page_is_run() -> None:
    commands = {
        command
        for section in PAGE.values()
        for command in section.commands
        if command not in section.shown and not command.startswith(STAYING)
    }
    assert commands == set(EXPECTED)
    assert [section.settings for section in PAGE.values() if section.settings] == [{"TWOWAY_API": "./api.sock"}]


@pytest.mark.needs_no_namespace
def test_what_differs_from_what_is_shown_is_seen() -> None:
    shown = "…\n192.0.2.1  up  loss 0% over 3s,  flaps 1\n"
    assert prints(shown, "192.0.2.1 up loss 12.5% over 300 ms, flaps 1\n")
    assert prints(shown, "one\ntwo\n192.0.2.1 up loss 12.5% over 300 ms, flaps 1\n")
    for other in ("192.0.2.2 up loss 0% over 3s, flaps 1", "192.0.2.1 up loss 0% over 3s, flaps 2", ""):
        assert not prints(shown, f"{other}\n")
    assert not prints(shown, "192.0.2.1 up loss 0% over 3s, flaps 1\nmore\n")


def begin(reader: Reader, lab: Lab, titles: Iterator[str]) -> str:
    """Sections 1 to 3, and the start of the daemon. Returns the configuration."""
    assert next(titles) == ""
    making, *_ = PAGE[title := next(titles)].commands
    reader.sees(making, EXPECTED[making])
    reader.namespace = Namespace.existing(f"{lab.prefix}site")
    for command, shown in PAGE[title].shown.items():
        reader.sees_shown(command, shown)

    title = next(titles)
    (listening,) = (one for one in PAGE[title].commands if one.startswith(STAYING))
    reader.starts(listening, "ip netns exec far twoway ping -q -c 1 203.0.113.1")
    reader.follows(title, EXPECTED)

    (text,) = PAGE[title := next(titles)].files
    configuration: str = text.replace(
        "          probe-count", "          thresholds: {own-faults: on}\n          probe-count"
    )
    assert configuration.count("own-faults") == 2
    write(reader, configuration)
    reader.follows(title, EXPECTED)
    return configuration


def write(reader: Reader, configuration: str) -> None:
    """Put the configuration, and what it names, where the page has it."""
    for said, called in reader.elsewhere.items():
        configuration = configuration.replace(said, called)
    (reader.folder / "failover.yaml").write_text(configuration, encoding="utf-8")


def run(reader: Reader, title: str) -> Program:
    """Start the daemon as a section says."""
    (running,) = (one for one in PAGE[title].commands if one.startswith("twoway run"))
    return reader.starts(running, "twoway show health --api ./api.sock")


def test_the_page(reader: Reader, lab: Lab) -> None:
    titles = iter(PAGE)
    configuration = begin(reader, lab, titles)
    daemon = run(reader, title := next(titles))
    reader.follows(title, EXPECTED)

    configuration = configuration.replace("  dry-run: on\n", "")
    write(reader, configuration)
    reader.follows(next(titles), EXPECTED)

    (lossy,) = PAGE[title := next(titles)].files
    (reader.folder / "lossy.nft").write_text(lossy, encoding="ascii")
    reader.follows(title, EXPECTED)
    reader.follows(next(titles), EXPECTED)
    reader.follows(next(titles), EXPECTED)

    hook, script = PAGE[title := next(titles)].files
    program = reader.folder / "uplink-changed"
    program.write_text(script.replace("/var/log/", f"{reader.folder}/"), encoding="ascii")
    program.chmod(0o755)
    configuration = configuration.replace("store:\n", f"{hook}store:\n")
    write(reader, configuration)
    reader.follows(title, EXPECTED)

    (damping,) = PAGE[title := next(titles)].files
    configuration = configuration.replace("    up-delay: 5s\n", f"    up-delay: 5s\n{damping}")
    assert "damping" in configuration
    write(reader, configuration)
    reader.follows(title, EXPECTED)

    ended(reader, daemon, next(titles), configuration)
    reader.follows(next(titles), EXPECTED)
    assert next(titles).endswith("FRR")  # the next test
    removing, *_ = PAGE[next(titles)].commands
    reader.namespace = None
    reader.sees(removing, EXPECTED[removing])
    assert next(titles, None) is None


def ended(reader: Reader, daemon: Program, title: str, configuration: str) -> None:
    """The daemon ends in all ways that the page names, and what it left is taken over."""
    routes = "ip route show default"
    (flushing,) = (one for one in PAGE[title].commands if "flush" in one)
    shown = PAGE[title].shown[routes]
    for number in (signal.SIGINT, signal.SIGKILL):
        daemon.signal(number)
        daemon.wait()
        reader.sees_shown(routes, shown)
        daemon = run(reader, title)
        reader.sees_shown(routes, shown)
        reader.sees("twoway show routes", r"active by 192\.0\.2\.1; ")
    write(reader, configuration.replace("routes:\n", "routes:\n  on-exit: withdraw\n"))
    reader.sees("twoway request reload", "differ")
    assert daemon.stop() == 0
    ordinary = r"\A" + PAGE["1. A site to try it on"].shown[routes].strip().replace(".", r"\.") + r" *\n\Z"
    reader.sees(routes, ordinary)
    write(reader, configuration)
    daemon = run(reader, title)
    reader.sees_shown(routes, shown)
    daemon.signal(signal.SIGKILL)
    daemon.wait()
    reader.sees(flushing, EXPECTED[flushing])
    reader.sees(routes, ordinary)


@pytest.mark.skipif(missing_router() is not None, reason=str(missing_router()))
def test_beside_frr(reader: Reader, lab: Lab) -> None:
    titles = iter(PAGE)
    configuration = begin(reader, lab, titles)
    write(reader, configuration.replace("  dry-run: on\n", ""))
    run(reader, next(titles))
    reader.environment["TWOWAY_API"] = "./api.sock"
    (title,) = (one for one in PAGE if one.endswith("FRR"))
    (text,) = PAGE[title].files
    site = reader.namespace
    assert site is not None
    reader.sees("twoway show routes", r"active by 192\.0\.2\.1; ")
    removing, *_ = PAGE[title].commands
    reader.sees(removing, EXPECTED[removing])
    # FRR's user may not look below pytest's folder.
    with TemporaryDirectory(prefix="twoway-frr-") as folder, Router(site, Path(folder), text).running():
        reader.elsewhere["vtysh "] = f"vtysh --vty_socket {folder} "
        (command,) = PAGE[title].shown
        reader.sees_shown(command, PAGE[title].shown[command])
        reader.sees("vtysh -c 'show bgp ipv4 unicast 0.0.0.0/0'", r"Origin incomplete, .* sourced, best")
        reader.sees("twoway request routes hold 0.0.0.0/0 --next-hop none", "is held: without a next hop")
        reader.sees("vtysh -c 'show ip route 0.0.0.0/0'", r'Known via "static", distance 10, .* best')
        reader.sees("vtysh -c 'show bgp ipv4 unicast'", "^No BGP prefixes displayed, 0 exist$")
        reader.sees("twoway request routes release 0.0.0.0/0", "is released: 192.0.2.1")
        # The upper octet of the kernel's metric is zebra's distance (docs/routes.md).
        distant = configuration.replace("    0.0.0.0/0:\n", f"    0.0.0.0/0:\n      preference: {20 * 2**20 + 2}\n")
        write(reader, distant.replace("  dry-run: on\n", ""))
        reader.sees("twoway request reload", "tracked routes differ")
        reader.sees("vtysh -c 'show ip route 0.0.0.0/0'", r'Known via "kernel", distance 20, metric 16$')
        reader.sees("vtysh -c 'show ip route 0.0.0.0/0'", r'Known via "static", distance 10, .* best')
