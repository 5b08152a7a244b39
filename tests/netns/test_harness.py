"""The harness is worth what it is itself checked for: scenario files, impairments, and the forwarder's stamps."""

import socket
from pathlib import Path

import pytest

from .forwarder import read_tap, tap_socket
from .frame import UdpFrame, build_udp_frame, internet_checksum
from .impairment import ImpairedDirection
from .programs import TESTS, ForwarderProgram, until
from .scenario import Impairment, PacketNumbers, ScenarioError, load_scenario
from .topology import CLIENT, CLIENT_DEVICE, SERVER, SERVER_DEVICE, Topology, remove_stale, run

_SCENARIOS = sorted((TESTS / "scenarios").glob("*.toml"))
_MEASUREMENT = '[measurement]\ncount = 1\ninterval = "1ms"\ntimeout = "1ms"\n'


@pytest.mark.needs_no_namespace
@pytest.mark.parametrize("path", _SCENARIOS, ids=lambda path: path.stem)
def test_every_scenario_file_is_read(path: Path) -> None:
    assert load_scenario(path).description


@pytest.mark.needs_no_namespace
@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("surprise = 1\n" + _MEASUREMENT + "[expected.counters]\n", "unknown surprise"),
        (_MEASUREMENT + "surprise = 1\n[expected.counters]\n", "measurement: unknown surprise"),
        (_MEASUREMENT + "[expected]\nsurprise = 1\n[expected.counters]\n", "expected: unknown surprise"),
        (
            _MEASUREMENT + '[[impairment]]\ndirection = "forward"\naction = "drop"\npackets = "1"\ncopies = 2\n'
            "[expected.counters]\n",
            "impairment 0: unknown copies",
        ),
        (
            _MEASUREMENT + '[[impairment]]\ndirection = "sideways"\naction = "drop"\npackets = "1"\n[expected]\n',
            "unknown direction 'sideways'",
        ),
        (
            _MEASUREMENT + '[[impairment]]\ndirection = "forward"\naction = "eat"\npackets = "1"\n[expected]\n',
            "unknown action 'eat'",
        ),
        (
            _MEASUREMENT + '[[impairment]]\ndirection = "forward"\naction = "drop"\npackets = "x"\n[expected]\n',
            "'x' is not a packet number",
        ),
        (_MEASUREMENT.replace('"1ms"', '"1"', 1) + "[expected]\n", "'1' is not a duration"),
    ],
)
def test_a_scenario_file_with_an_unknown_word_is_refused(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "wrong.toml"
    path.write_text('description = "wrong"\n' + text, encoding="utf-8")
    with pytest.raises(ScenarioError, match=message):
        load_scenario(path)


@pytest.mark.needs_no_namespace
def test_packet_numbers() -> None:
    numbers = PacketNumbers.parse("1, 4-6, 20-", "test")
    assert [number for number in range(23) if number in numbers] == [1, 4, 5, 6, 20, 21, 22]
    assert [number for number in range(8) if number in PacketNumbers.parse("every 3", "test")] == [0, 3, 6]


def _frame(number: int, source: str = CLIENT[4], destination: str = SERVER[4]) -> UdpFrame:
    octets = build_udp_frame(
        source_mac=bytes(6),
        destination_mac=bytes(6),
        source=(source, 1),
        destination=(destination, 2),
        payload=bytes([number]) * 20,
    )
    frame = UdpFrame.parse(octets)
    assert frame is not None
    return frame


@pytest.mark.needs_no_namespace
def test_impairments_by_number() -> None:
    def impair(numbers: str, action: str, **fields: int) -> Impairment:
        return Impairment("forward", PacketNumbers.parse(numbers, "test"), action, **fields)

    direction = ImpairedDirection(
        [
            impair("1", "drop"),
            impair("2", "duplicate", copies=2),
            impair("3", "reorder", behind=2),
            impair("6", "delay", delay_ns=70),
            impair("7", "drop"),
            impair("7", "duplicate"),
        ]
    )
    left = [[(each.number, each.copy, each.due_ns) for each in direction.arrive(_frame(n), 100 * n)] for n in range(8)]
    assert left == [
        [(0, 0, 0)],
        [],
        [(2, 0, 200), (2, 1, 200), (2, 2, 200)],
        [],
        [(4, 0, 400)],
        [(5, 0, 500), (3, 0, 500)],
        [(6, 0, 670)],
        [],
    ]
    assert direction.dropped == [1, 7]


@pytest.mark.needs_no_namespace
@pytest.mark.parametrize("version", [4, 6])
def test_changed_frames_have_valid_checksums(version: int) -> None:
    def impair(action: str, **fields: int) -> Impairment:
        return Impairment("forward", PacketNumbers.parse("0", "test"), action, **fields)

    direction = ImpairedDirection(
        [impair("remark", value=0xB9), impair("set_ttl", value=70), impair("corrupt", offset=3, xor=1)]
    )
    frame = _frame(0x55, CLIENT[version], SERVER[version])
    addresses = frame.source, frame.destination
    (departure,) = direction.arrive(frame, 0)
    changed = UdpFrame.parse(departure.octets)
    assert changed is not None
    assert (changed.traffic_class, changed.ttl) == (0xB9, 70)
    assert changed.payload == b"\x55\x55\x55\x54" + b"\x55" * 16
    assert (changed.source, changed.destination) == addresses
    octets = departure.octets
    if version == 4:
        assert internet_checksum(octets[14:34]) == 0
        pseudo = octets[26:34]
    else:
        pseudo = octets[22:54]
    pseudo += (28).to_bytes(4) + bytes([0, 0, 0, 17])
    assert internet_checksum(pseudo + octets[changed.udp_offset :]) == 0


@pytest.mark.needs_no_namespace
def test_what_is_not_plain_udp_is_left_alone() -> None:
    udp = bytes(_frame(1).octets)
    fragment = bytearray(udp)
    fragment[20] |= 0x20
    tcp = bytearray(udp)
    tcp[23] = 6
    for octets in (b"", udp[:30], bytes(fragment), bytes(tcp), bytes(60)):
        assert UdpFrame.parse(octets) is None


@pytest.mark.parametrize("version", [4, 6])
def test_forwarder_knows_its_own_delay(topology: Topology, tmp_path: Path, version: int) -> None:
    """Each stamp lies between the stamps of the captures at both ends, which are the same kernel's."""
    scenario = tmp_path / "scenario.toml"
    scenario.write_text(
        'description = "delay, drop and duplicate"\n' + _MEASUREMENT + '[[impairment]]\ndirection = "forward"\n'
        'action = "delay"\npackets = "10-19"\ndelay = "3ms"\n[[impairment]]\ndirection = "forward"\n'
        'action = "drop"\npackets = "20"\n[[impairment]]\ndirection = "forward"\naction = "duplicate"\npackets = "21"\n'
        "[expected]\n[expected.counters]\n",
        encoding="utf-8",
    )
    family = socket.AF_INET if version == 4 else socket.AF_INET6
    with ForwarderProgram(topology.middle, tmp_path, scenario) as forwarder:
        client_tap = topology.client.inside(lambda: tap_socket(CLIENT_DEVICE))
        server_tap = topology.server.inside(lambda: tap_socket(SERVER_DEVICE))
        with (
            client_tap,
            server_tap,
            topology.client.socket(family, socket.SOCK_DGRAM) as client,
            topology.server.socket(family, socket.SOCK_DGRAM) as server,
        ):
            server.bind((SERVER[version], 5000))
            server.settimeout(5)
            for number in range(30):
                client.sendto(bytes([number]) * 30, (SERVER[version], 5000))
                if number != 20:
                    assert server.recv(100) == bytes([number]) * 30
                if number == 21:
                    assert server.recv(100) == bytes([number]) * 30
            sent: dict[int, int] = {}
            arrived: dict[int, list[int]] = {}

            def collect() -> bool:
                while (tapped := read_tap(client_tap)) is not None:
                    frame = UdpFrame.parse(tapped.octets)
                    if frame is not None and tapped.outgoing:
                        sent[frame.payload[0]] = tapped.stamp_ns
                while (tapped := read_tap(server_tap)) is not None:
                    frame = UdpFrame.parse(tapped.octets)
                    if frame is not None and not tapped.outgoing:
                        arrived.setdefault(frame.payload[0], []).append(tapped.stamp_ns)
                return len(sent) == 30 and sum(map(len, arrived.values())) == 30

            until(collect, "30 packets in both captures")
        packets = forwarder.report()["forward"]
    assert [packet.number for packet in packets] == list(range(30))
    for packet in packets:
        assert len(packet.out_ns) == (0 if packet.number == 20 else 2 if packet.number == 21 else 1)
        assert sent[packet.number] <= packet.in_ns
        for out_ns, arrived_ns in zip(packet.out_ns, arrived.get(packet.number, []), strict=True):
            assert packet.in_ns <= out_ns <= arrived_ns
            if 10 <= packet.number < 20:
                assert out_ns - packet.in_ns >= 3_000_000


def test_namespaces_of_dead_processes_are_removed() -> None:
    dead = "twoway-test-999999999-0-client"  # no process id is as large (proc(5): at most 2^22)
    run("ip", "netns", "add", dead)
    assert dead in remove_stale()
    assert not Path("/run/netns", dead).exists()


def test_namespaces_are_removed_after_a_failure() -> None:
    names: list[str] = []

    def fail() -> None:
        with Topology() as topology:
            names.extend(each.name for each in (topology.client, topology.middle, topology.server))
            raise RuntimeError("as a failing test does")

    with pytest.raises(RuntimeError, match="as a failing test does"):
        fail()
    assert names
    assert not [name for name in names if Path("/run/netns", name).exists()]
