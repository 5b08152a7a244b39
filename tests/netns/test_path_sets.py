"""Several paths measured at once: what happens on a segment shows in the figures of the path over it, and in no other.

The forwarder sits in the link from a to c: `c` is impaired there, `d` and `plain` are not.
"""

from pathlib import Path

import pytest

from .measured import PingDocument
from .programs import Finished, ReflectorProgram, run_twoway
from .steered_network import SERVER_POP, TO_C, TO_D, Capture, SteeredNetwork
from .test_steering import ping_command

COUNT = 60
_DELAY_NS = 3_000_000
_WIRE = ("a", "c")


def _scenario(folder: Path, action: str) -> Path:
    path = folder / "impaired.toml"
    path.write_text(
        'description = "the segment from a to c"\n[measurement]\ncount = 60\ninterval = "5ms"\ntimeout = "300ms"\n'
        f'[[impairment]]\ndirection = "forward"\n{action}\n[expected]\n',
        encoding="utf-8",
    )
    return path


def _measured(network: SteeredNetwork, family: int, *paths: str) -> Finished:
    named = [word for path in paths for word in ("--path", path)]
    options = ("-c", str(COUNT), "-i", "5ms", "-W", "300ms", *named, network.target[family])
    return run_twoway(ping_command(network, *options))


def _documents(finished: Finished) -> dict[str, PingDocument]:
    assert finished.code == 0, finished.stderr
    paths = finished.json["paths"]
    assert isinstance(paths, list)
    return {path["name"]: PingDocument(path) for path in paths}


def _significant(finished: Finished) -> set[tuple[str, str]]:
    differences = finished.json["differences"]
    assert isinstance(differences, list)
    return {(each["path"], each["compared"]) for each in differences if each["significant"]}


def _estimate(finished: Finished, path: str, compared: str) -> float:
    differences = finished.json["differences"]
    assert isinstance(differences, list)
    (found,) = (each for each in differences if (each["path"], each["compared"]) == (path, compared))
    estimate = found["estimate"]
    assert isinstance(estimate, float)
    return estimate


@pytest.mark.parametrize("kind", ["srv6", "mpls"])
def test_a_delay_on_one_segment_is_that_of_the_path_over_it(tmp_path: Path, kind: str) -> None:
    scenario = _scenario(tmp_path, 'action = "delay"\ndelay = "3ms"\npackets = "0-"')
    with (
        SteeredNetwork(wires=(_WIRE,)) as network,
        network.forwarders(tmp_path, {_WIRE: scenario}),
        network.label_switching(tmp_path),
        ReflectorProgram(network.server, tmp_path),
    ):
        by = {
            "srv6": (f"c=srv6:{network.sid('c')}", f"d=srv6:{network.sid('d')}"),
            "mpls": (f"c=mpls:{TO_C},{SERVER_POP}", f"d=mpls:{TO_D},{SERVER_POP}"),
        }[kind]
        with Capture(network) as capture:
            done = _measured(network, 6, "plain=plain", *by)
            assert capture.read().seen() == {"b": (COUNT, 3 * COUNT), "c": (COUNT, 0), "d": (COUNT, 0)}
    measured = _documents(done)
    for document in measured.values():
        assert document.counters("sent", "received") == {"sent": COUNT, "received": COUNT}
    medians = {name: document.spread("round_trip")["median_ns"] for name, document in measured.items()}
    assert _DELAY_NS < medians["c"] < _DELAY_NS + medians["plain"] + 2_000_000
    assert max(medians["plain"], medians["d"]) < _DELAY_NS
    # The way there of c alone; its way back is the others'. Without synchronised clocks, since the offset cancels.
    found = _significant(done)
    assert {("c", "round_trip"), ("c", "forward")} <= found
    assert ("c", "loss") not in found
    assert ("d", "loss") not in found
    assert abs(_estimate(done, "c", "forward") - _DELAY_NS) < 1_000_000
    assert abs(_estimate(done, "c", "backward")) < 500_000


def test_loss_on_one_segment_is_that_of_the_path_over_it(tmp_path: Path) -> None:
    scenario = _scenario(tmp_path, 'action = "drop"\npackets = "every 4"')
    with (
        SteeredNetwork(wires=(_WIRE,)) as network,
        network.forwarders(tmp_path, {_WIRE: scenario}),
        ReflectorProgram(network.server, tmp_path),
    ):
        done = _measured(network, 6, "plain=plain", f"c=srv6:{network.sid('c')}", f"d=srv6:{network.sid('d')}")
    lost = {name: COUNT - document.counter("received") for name, document in _documents(done).items()}
    assert lost == {"plain": 0, "c": COUNT // 4, "d": 0}
    assert ("c", "loss") in _significant(done)
    assert ("d", "loss") not in _significant(done)
    assert _estimate(done, "c", "loss") == 0.25


def test_a_path_that_is_dead_says_so_and_leaves_the_others_alone(tmp_path: Path) -> None:
    with SteeredNetwork() as network, ReflectorProgram(network.server, tmp_path):
        dead = "fdc0:c::dead"  # c knows no such segment
        done = _measured(network, 6, "plain=plain", f"dead=srv6:{dead}", f"hop=mpls:{TO_C}@fd98:0::77")
        assert done.code == 1
        paths = done.json["paths"]
        assert isinstance(paths, list)
        documents = {path["name"]: PingDocument(path) for path in paths}
    assert documents["plain"].counters("sent", "received") == {"sent": COUNT, "received": COUNT}
    assert documents["dead"].counters("sent", "received") == {"sent": COUNT, "received": 0}
    assert documents["hop"].counters("sent", "not_sent") == {"sent": 0, "not_sent": COUNT}
    assert ("dead", "loss") in _significant(done)
