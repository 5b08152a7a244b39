"""Each file of `tests/scenarios/`, run with the real programs: what the forwarder did must come out exactly."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from .forwarder import ForwardedPacket
from .measured import ACCOUNTING, BY_DIRECTION, PingDocument
from .programs import TESTS, TWOWAY, Finished, ForwarderProgram, ReflectorProgram, run_twoway
from .scenario import Measurement, Scenario, load_scenario
from .topology import SERVER, Topology

_ATTEMPTS = 3
"""Packets that the machine was too busy to send in time shift the numbers on which a scenario is built: when the tool
says that this happened, the scenario is run again. What does not depend on the numbers must hold in every run."""
_KEY_LINE = "scenario hex:" + bytes(range(32)).hex() + "\n"


def _cases() -> Iterator[object]:
    for path in sorted((TESTS / "scenarios").glob("*.toml")):
        scenario = load_scenario(path)
        for family in scenario.measurement.families:
            yield pytest.param(path, scenario, family, id=f"{path.stem}-ipv{family}")


def key_file(folder: Path) -> Path:
    path = folder / "keys"
    path.write_text(_KEY_LINE, encoding="ascii")
    path.chmod(0o600)
    return path


def ping_options(measurement: Measurement, keys: Path | None) -> list[str]:
    """The command line for a scenario's `[measurement]`."""
    options = ["-c", str(measurement.count), "-i", f"{measurement.interval_ns}ns", "-W", f"{measurement.timeout_ns}ns"]
    options += ["--protocol", measurement.protocol, "--json"]
    if measurement.dscp_ecn:
        options += ["--dscp", str(measurement.dscp_ecn >> 2)]
    if measurement.ttl != 255:
        options += ["--ttl", str(measurement.ttl)]
    if measurement.dscp_ecn_monitoring:
        options += ["--dscp-ecn-monitoring"]
    if measurement.reflector_mode != "auto":
        options += ["--reflector-mode", measurement.reflector_mode]
    if keys is not None:
        options += ["--auth-key-file", str(keys)]
    return options


def _differences(scenario: Scenario, result: PingDocument) -> list[str]:
    """What the result says otherwise than the scenario, one line for each."""
    wanted: dict[str, int] = dict.fromkeys(ACCOUNTING, 0) | dict(scenario.counters)
    lines = [
        f"{name}: expected {value}, got {result.counter(name)}"
        for name, value in wanted.items()
        if name not in scenario.unchecked and result.counter(name) != value
    ]

    lines += [
        f"{name}: expected 0 or null, got {result.counter(name)}"
        for name in BY_DIRECTION
        if name not in scenario.counters and name not in scenario.unchecked and result.optional_counter(name)
    ]

    def compare(name: str, expected: Mapping[int, int] | None) -> None:
        if expected is not None and result.tally(name) != dict(expected):
            lines.append(f"{name}: expected {dict(expected)}, got {result.tally(name)}")

    compare("loss_bursts", scenario.loss_bursts)
    for kind, seen in (("ttl", scenario.ttls), ("dscp_ecn", scenario.dscp_ecns)):
        for place, expected in seen.items():
            compare(f"{place}_{kind}", expected)
    return lines


@pytest.mark.parametrize(("path", "scenario", "family"), list(_cases()))
def test_scenario(topology: Topology, tmp_path: Path, path: Path, scenario: Scenario, family: int) -> None:
    measurement = scenario.measurement
    for _ in range(_ATTEMPTS):
        done, forwarded, counted = _run(topology, tmp_path, path, measurement, family)
        assert done.code == scenario.exit_code, done.stderr
        result = PingDocument(json.loads(done.stdout))
        result.check_accounting()
        # The forwarder's own books, by its own capture: what it delivered is what the reflector counted, to the packet.
        assert sum(len(packet.out_ns) for packet in forwarded["forward"]) == sum(counted.values())
        assert len(forwarded["forward"]) == result.counter("sent")
        if result.counter("not_sent") == 0:
            break
    assert not _differences(scenario, result), _differences(scenario, result)


def _run(
    topology: Topology, folder: Path, path: Path, measurement: Measurement, family: int
) -> tuple[Finished, dict[str, list[ForwardedPacket]], dict[str, int]]:
    """One measurement: what ping said, what the forwarder did, what the reflector counted."""
    keys = key_file(folder) if measurement.authenticated else None
    reflector_options = ["--stateful"] if measurement.stateful else []
    if measurement.dscp_ecn_monitoring:
        reflector_options.append("--dscp-ecn-monitoring")
    if keys is not None:
        reflector_options += ["--auth-key-file", str(keys), "--require-auth"]
    with (
        ForwarderProgram(topology.middle, folder, path) as forwarder,
        ReflectorProgram(topology.server, folder, *reflector_options) as reflector,
    ):
        command = topology.client.command(TWOWAY, "ping", *ping_options(measurement, keys), SERVER[family])
        done = run_twoway(command)
        forwarded = forwarder.report()
        reflector.stop()
        return done, forwarded, reflector.counters()
