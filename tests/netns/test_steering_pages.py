"""`docs/steering.md` and `docs/tlvs.md` as readers follow them: every command, in networks like those they speak of.

The pages' addresses and names, which are those for documentation, are replaced by those of the networks here.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

import pytest

from .lag_network import ADDRESSES as LAG_ADDRESSES
from .lag_network import LAG, MEMBERS, LagNetwork
from .page import STAYING, Reader, Section, replaced, sections
from .steered_network import SteeredNetwork, device

DOCS: Final = Path(__file__).resolve().parents[2] / "docs"
STEERING: Final = DOCS / "steering.md"
TLVS: Final = DOCS / "tlvs.md"
ROUTER: Final = "set services monitoring twamp client control-connection c1 target 192.0.2.1\n"
ALL: Final = r"20 packets transmitted, 20 received"
OBEYED: Final = rf"\A(?!(.|\n)*return path refused)(.|\n)*{ALL}"
SOUND: Final = rf"\A(?!(.|\n)*(malformed|not authentic|refused))(.|\n)*{ALL}"
OF_STEERING: Final = {
    "twoway ping -c 20 -i 20ms --path srv6:2001:db8:c::1 2001:db8:7::2": ALL,
    "twoway ping -c 20 -i 20ms --path srv6:2001:db8:d::1,2001:db8:c::1 2001:db8:7::2": ALL,
    "twoway capabilities": r"^srv6 +yes",
    "twoway ping -c 20 -i 20ms --path mpls:16003,18001 192.0.2.7": ALL,
    "twoway ping -c 20 -i 20ms --path mpls:16004,18001 2001:db8:7::2": ALL,
    "twoway ping -c 20 -i 20ms --path srv6:2001:db8:c::1 --return-path srv6:2001:db8:d::1 2001:db8:7::2": OBEYED,
    "twoway ping -c 20 -i 20ms --path mpls:16003,18001 --return-path mpls:26004,28001 192.0.2.7": OBEYED,
    "twoway ping -c 20 -i 20ms --return-path address:2001:db8:1::88 2001:db8:7::2": OBEYED,
    "twoway ping -c 20 -i 20ms --return-path same-link 2001:db8:7::2": OBEYED,
    "twoway ping -c 20 -i 20ms --return-path none 2001:db8:7::2": r"20 packets transmitted",
    "twoway ping -q -c 60 -i 20ms --path a=plain --path b=srv6:2001:db8:c::1 --path c=mpls:16004,18001 2001:db8:7::2":
        r"Difference from a\n(.|\n)*^  c  loss +0",
    "twoway schema paths": r'"differences"',
    "twoway ping -q -c 20 -i 20ms --lag bond0 192.0.2.7": r"Difference from eth1\n(.|\n)*^  eth3  loss +0",
    "twoway ping -q -c 20 -i 20ms --lag eth1=1:1,eth2=2:2 192.0.2.7": r"Difference from eth1\n(.|\n)*^  eth2  loss +0",
    "twoway check twoway.yaml": r"good: 1 control-connection, 4 test-sessions",
    "twoway show client probe-results --test-session voice:red":
        r"^  Path:   red, srv6:2001:db8:c::1, back srv6:2001:db8:d::1$(.|\n)*^ +Round trip time +\d",
    "twoway show client probe-results --test-session video":
        r"^  Path:   srv6:2001:db8:c::1, back same-link$(.|\n)*^ +Round trip time +\d",
    "twoway show client probe-results brief": r"voice:routed(.|\n)*voice:red(.|\n)*voice:labels(.|\n)*video",
    "twoway import junos router.conf": r"control-connection:\n +c1:",
    "twoway unit twoway.yaml": r"^AmbientCapabilities=CAP_NET_RAW",
    "twoway check far.yaml": r"good: .* a light Session-Reflector$",
}  # fmt: skip
OF_TLVS: Final = {
    "twoway ping -c 20 -i 20ms --tlv location --tlv timestamps --tlv direct --tlv follow-up 192.0.2.7":
        r"T3 followed up +1[89]\b\n(.|\n)*counted loss forward +0%\n(.|\n)*seen there from +198.51.100.",
    "twoway ping -c 20 -i 20ms -D ef --tlv cos=af41 192.0.2.7": SOUND,
    "twoway ping -c 20 -i 20ms --tlv access-report=3gpp:available 192.0.2.7": r"access reports +1 +.*acknowledged 1",
    "twoway ping -c 20 -i 20ms --ssid 5 --tlv node=192.0.2.7 192.0.2.7": SOUND,
    "twoway ping -c 20 -i 20ms --tlv fixed-header 192.0.2.7": r"headers reflected +20",
    "twoway ping -c 20 -i 20ms --tlv direct --fail-if 'direct-loss-forward > 1%' 192.0.2.7": SOUND,
    "twoway ping -c 20 -i 20ms --auth-key-file keys --tlv location 192.0.2.7": r"seen there from +198\.51\.100\.",
    "twoway ping -c 20 -i 20ms --auth-key-file keys --tlv-hmac --tlv location 192.0.2.7":
        r"seen there from +198\.51\.100\.",
    "twoway ping -c 20 -i 20ms --auth-key-file keys --tlv-hmac --tlv control=4x300@5ms 192.0.2.7":
        r"further replies +60",
    "twoway check twoway.yaml": r"good: 1 control-connection, 2 test-sessions",
    "twoway show client probe-results --test-session voice":
        r"^  TLVs:   location, direct-measurement, follow-up-telemetry\n  Told:   T3 followed up \d+",
    "twoway show client probe-results --test-session signed --json": r'"tlv_integrity_failed": 0',
    "twoway check far.yaml": r"good: .* a light Session-Reflector$",
}  # fmt: skip


def _mapping(network: SteeredNetwork) -> dict[str, str]:
    return {
        "2001:db8:7::2": network.target[6],
        "192.0.2.7": network.target[4],
        "2001:db8:c::1": network.sid("c"),
        "2001:db8:d::1": network.sid("d"),
        "2001:db8:1::/48": "fd98::/16",
        "2001:db8:1::88": "fd98::88",
        "198.51.100.0/24": "10.98.0.0/16",
        r"198\.51\.100\.": r"10\.98\.",
        "198.51.100.": "10.98.",
    }


def _meant(expected: Mapping[str, str], instead: Mapping[str, str]) -> dict[str, str]:
    return {replaced(command, instead): replaced(text, instead) for command, text in expected.items()}


def _staying(section: Section, begins: str) -> str:
    found: list[str] = [command for command in section.commands if command.startswith(begins)]
    assert len(found) == 1
    return found[0]


@pytest.fixture
def network(tmp_path: Path) -> Iterator[SteeredNetwork]:
    """The pages' network, and what they leave to the reader."""
    keys = tmp_path / "keys"
    keys.write_text("k1 text:a key of both ends\n", encoding="ascii")
    keys.chmod(0o600)
    (tmp_path / "router.conf").write_text(ROUTER, encoding="ascii")
    with SteeredNetwork() as made, made.label_switching(tmp_path):
        made.client.ip(f"address add fd98:0::88/64 dev {device('a')} nodad")
        yield made


@pytest.mark.needs_no_namespace
@pytest.mark.parametrize(("page", "expected"), [(STEERING, OF_STEERING), (TLVS, OF_TLVS)], ids=["steering", "tlvs"])
def test_every_command_of_the_pages_is_run(page: Path, expected: Mapping[str, str]) -> None:
    commands = {command for section in sections(page).values() for command in section.commands}
    assert {command for command in commands if not command.startswith(STAYING)} == set(expected)


def test_the_page_about_steering(network: SteeredNetwork, tmp_path: Path) -> None:
    instead = _mapping(network)
    page, expected = sections(STEERING, instead), _meant(OF_STEERING, instead)
    with Reader(page, network.server, tmp_path) as far, Reader(page, network.client, tmp_path) as near:
        back = page["Back by another way"]
        far.starts(_staying(back, "twoway reflector"), "twoway ping -q -c 1 ::1")
        for title in ("By SRv6 segments", "Under SR-MPLS labels", "Back by another way", "Several paths at once"):
            near.follows(title, expected)
        daemon = page["In the daemon"]
        for name, text in zip(("twoway.yaml", "far.yaml"), daemon.files, strict=True):
            (tmp_path / name).write_text(text, encoding="utf-8")
        near.starts(_staying(daemon, "twoway run"), "twoway show health --api ./api.sock")
        near.follows("In the daemon", expected)


def test_the_page_about_the_members_of_a_lag(tmp_path: Path) -> None:
    title = "The members of a LAG"
    names = {f"eth{number}": member for number, member in enumerate(MEMBERS, 1)}
    instead = {"bond0": LAG, "192.0.2.7": LAG_ADDRESSES["server"][4], **names}
    page, expected = sections(STEERING, instead), _meant(OF_STEERING, instead)
    with (
        LagNetwork() as network,
        Reader(page, network.server, tmp_path) as far,
        Reader(page, network.client, tmp_path) as near,
    ):
        far.starts(_staying(page[title], "twoway reflector"), "twoway ping -q -c 1 127.0.0.1")
        near.follows(title, expected)


def test_the_page_about_tlvs(network: SteeredNetwork, tmp_path: Path) -> None:
    instead = _mapping(network)
    page, expected = sections(TLVS, instead), _meant(OF_TLVS, instead)
    with Reader(page, network.server, tmp_path) as far, Reader(page, network.client, tmp_path) as near:
        far.starts(_staying(page[""], "twoway reflector"), "twoway ping -q -c 1 ::1")
        for title in ("What can be asked", "With a key", "Several replies to one packet"):
            near.follows(title, expected)
        daemon = page["In the daemon"]
        for name, text in zip(("twoway.yaml", "far.yaml"), daemon.files, strict=True):
            (tmp_path / name).write_text(text, encoding="utf-8")
        near.starts(_staying(daemon, "twoway run"), "twoway show health --api ./api.sock")
        near.follows("In the daemon", expected)
