"""`twoway ping --return-path`: both our ends, captures at every node, and the report of what was and was not obeyed."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from .measured import PingDocument
from .programs import Finished, ReflectorProgram, run_twoway
from .steered_network import (
    BACK_BY_C,
    BACK_BY_D,
    CLIENT_POP,
    SERVER_POP,
    TO_C,
    TO_D,
    Capture,
    LabelSwitch,
    SteeredNetwork,
    device,
)
from .test_steering import ping_command

COUNT = 20
_ALLOW = ("--return-path-allow", "10.98.0.0/16", "--return-path-allow", "fd98::/16")


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SteeredNetwork]:
    """A network with a Session-Reflector that obeys the client, and one on port 8620 that does not."""
    with SteeredNetwork() as made:
        made.client.ip(
            f"address add 10.98.0.88/24 dev {device('a')}", f"address add fd98:0::88/64 dev {device('a')} nodad"
        )
        folder = tmp_path_factory.mktemp("reflectors")
        with (
            ReflectorProgram(made.server, folder, *_ALLOW),
            ReflectorProgram(made.server, folder, "-l", ":8620", port=8620, name="strict"),
        ):
            yield made


@pytest.fixture(scope="module")
def switches(network: SteeredNetwork, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, LabelSwitch]]:
    with network.label_switching(tmp_path_factory.mktemp("switches")) as running:
        yield running


def _ping(network: SteeredNetwork, *options: str) -> Finished:
    return run_twoway(ping_command(network, "-c", str(COUNT), "-i", "5ms", "-W", "300ms", *options))


def _answered(finished: Finished, refused: int = 0) -> PingDocument:
    assert finished.code == 0, finished.stderr
    document = PingDocument(finished.json)
    names = ("sent", "received", "return_path_refused")
    assert document.counters(*names) == {"sent": COUNT, "received": COUNT, "return_path_refused": refused}
    assert document.sample_sources() == {("kernel", "kernel")}
    return document


def test_segments_lead_out_and_others_back(network: SteeredNetwork) -> None:
    out, back = f"srv6:{network.sid('c')}", f"srv6:{network.sid('d')}"
    with Capture(network) as capture:
        document = _answered(_ping(network, "--path", out, "--return-path", back, network.target[6]))
        assert capture.read().seen() == {"c": (COUNT, 0), "d": (0, COUNT)}
    session = document.document["session"]
    assert isinstance(session, dict)
    assert (session["requested"]["path"], session["requested"]["return_path"]) == (out, back)
    assert session["obtained"] == {}


@pytest.mark.parametrize("family", [4, 6])
def test_labels_lead_out_and_others_back(
    network: SteeredNetwork, switches: dict[str, LabelSwitch], family: int
) -> None:
    del switches  # running is all that is asked of them
    paths = ("--path", f"mpls:{TO_D},{SERVER_POP}", "--return-path", f"mpls:{BACK_BY_C},{CLIENT_POP}")
    # A reply goes the ordinary way, with U, while the reflector does not know its next hop's address yet.
    assert _ping(network, network.target[family]).code == 0
    with Capture(network) as capture:
        _answered(_ping(network, *paths, network.target[family]))
        assert capture.read().seen() == {"d": (COUNT, 0), "c": (0, COUNT)}


def test_replies_to_another_address_of_ours_are_received_there(network: SteeredNetwork) -> None:
    for family, address in ((4, "10.98.0.88"), (6, "fd98::88")):
        with Capture(network, "client") as capture:
            _answered(_ping(network, "--return-path", f"address:{address}", network.target[family]))
            back = capture.read().frames["client", "back"]
            assert {frame.destination[0] for frame in back} == {address}


def test_segments_and_an_address_go_together(network: SteeredNetwork) -> None:
    back = f"srv6:{network.sid('d')}@fd98::88"
    with Capture(network) as capture:
        _answered(_ping(network, "--return-path", back, network.target[6]))
        assert capture.read().seen() == {"b": (COUNT, 0), "d": (0, COUNT)}


@pytest.mark.parametrize("back", ["srv6:fdc0:d::1", "mpls:26003,28001", "address:fd98::88", "same-link"])
def test_a_reflector_that_does_not_obey_answers_the_ordinary_way_and_is_told_of(
    network: SteeredNetwork, back: str
) -> None:
    """Also where replies were to go to another address: they are received at the first one, too."""
    with Capture(network) as capture:
        done = _ping(network, "--return-path", back, f"[{network.target[6]}]:8620")
        _answered(done, refused=COUNT)
        assert capture.read().seen() == {}  # the capture is of port 862


def test_the_link_of_arrival(network: SteeredNetwork) -> None:
    _answered(_ping(network, "--return-path", "same-link", network.target[6]))


def test_no_reply_is_wanted_and_none_is_missed(network: SteeredNetwork) -> None:
    done = _ping(network, "--return-path", "none", network.target[6])
    assert done.code == 0
    document = PingDocument(done.json)
    names = ("sent", "received", "lost", "lost_unattributed", "pending", "return_path_refused")
    assert document.counters(*names) == {"sent": COUNT, **dict.fromkeys(names[1:], 0)}
    refused = _ping(network, "--return-path", "none", f"[{network.target[6]}]:8620")
    assert PingDocument(refused.json).counters("sent", "return_path_refused") == {
        "sent": COUNT,
        "return_path_refused": COUNT,
    }


def test_each_path_of_a_set_has_its_way_back(network: SteeredNetwork, switches: dict[str, LabelSwitch]) -> None:
    del switches
    options = ("--path", f"s=srv6:{network.sid('c')}", "--path", f"m=mpls:{TO_C},{SERVER_POP}", "--path", "p=plain")
    back = ("--return-path", f"s=srv6:{network.sid('d')}", "--return-path", f"m=mpls:{BACK_BY_D},{CLIENT_POP}")
    with Capture(network) as capture:
        done = _ping(network, *options, *back, network.target[6])
        assert capture.read().seen() == {"b": (COUNT, COUNT), "c": (2 * COUNT, 0), "d": (0, 2 * COUNT)}
    assert done.code == 0, done.stderr
    paths = done.json["paths"]
    assert isinstance(paths, list)
    for path in paths:
        document = PingDocument(path)
        assert document.counters("received", "return_path_refused") == {"received": COUNT, "return_path_refused": 0}


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (
            ("--return-path", "srv6:fdc0:c::1"),
            "--return-path: srv6 leads IPv6 packets, and 10.98.7.2 is an IPv4 address",
        ),
        (("--return-path", "address:fd98::88"), "--return-path: fd98::88 and 10.98.7.2 are not of the same"),
        (("--return-path", "address:10.98.0.99"), "bind 10.98.0.99:"),
        (("--return-path", "mpls:3"), "--return-path: label 3 is reserved"),
        (("--protocol", "light", "--return-path", "same-link"), "only STAMP packets have TLVs"),
    ],
)
def test_ways_back_that_cannot_be_are_refused_in_one_line(
    network: SteeredNetwork, options: tuple[str, ...], words: str
) -> None:
    done = _ping(network, *options, network.target[4])
    assert done.code == 2
    assert len(done.stderr.splitlines()) == 1
    assert words in done.stderr


def test_a_client_whose_kernel_takes_no_segments_is_told_before_it_waits(tmp_path: Path) -> None:
    with SteeredNetwork() as made, ReflectorProgram(made.server, tmp_path, *_ALLOW):
        made.client.sysctl({"net/ipv6/conf/all/seg6_enabled": "0"})
        done = _ping(made, "--return-path", f"srv6:{made.sid('c')}", made.target[6])
        assert done.code == 1
        session = done.json["session"]
        assert isinstance(session, dict)
        assert "seg6_enabled" in session["obtained"]["return-path"]
        # A segment that removes the header spares us that.
        assert _ping(made, "--return-path", f"srv6:{made.sid('c', 2)}", made.target[6]).code == 0
