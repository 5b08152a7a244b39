"""The systemd unit of a configuration: what systemd says of it, and that it gives what is needed and nothing else."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path, PurePath

import pytest

from twoway.cli.main import main
from twoway.config.document import ConfigurationError
from twoway.config.privileges import PRIVILEGES
from twoway.config.sample import sample
from twoway.config.unit import Unit, read_model, unit

LIGHT = """\
client:
  control-connection:
    edge:
      control-type: light
      test-session: {probe: {target: 192.0.2.1%s}}
"""
ROUTED = "    core: {target: 192.0.2.1, test-session: {t: {%s}}}"
MOST_EXPOSURE = 20
"""Tenths, as `systemd-analyze security --threshold=` has them."""
needs_systemd = pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd-analyze is not installed")


def made(folder: Path, text: str) -> Unit:
    path = folder / "twoway.yaml"
    path.write_text(text)
    return unit(read_model(str(path)), PurePath("/etc/twoway/twoway.yaml"))


def settings(text: str, name: str) -> list[str]:
    """The values of a setting, in order."""
    return re.findall(rf"^{name}=(.*)$", text, re.MULTILINE)


def test_nothing_is_given_that_is_not_needed(tmp_path: Path) -> None:
    unit_ = made(tmp_path, LIGHT % "")
    assert settings(unit_.text, "CapabilityBoundingSet") == [""]
    assert settings(unit_.text, "AmbientCapabilities") == []
    assert settings(unit_.text, "PrivateUsers") == ["yes"]
    assert unit_.warnings == ()


@pytest.mark.parametrize(
    ("more", "capability", "reason"),
    [
        ("server: {light: {port: [862]}}", "CAP_NET_BIND_SERVICE", "server.light.port: 862"),
        ("server: {managed: {client-list: {a: [10.0.0.0/8]}}}", "CAP_NET_BIND_SERVICE", "server.managed.port: 862"),
        ("api: {metrics-listen: '127.0.0.1:80'}", "CAP_NET_BIND_SERVICE", "api.metrics-listen: 80"),
        ("server: {light: {port: [8620], offload-type: hardware}}", "CAP_NET_ADMIN", "server.light.offload-type"),
        (
            "routes: {route: {10.0.0.0/8: {next-hop: {192.0.2.1: {test: edge/probe}}}}}",
            "CAP_NET_ADMIN",
            'routes.route."10.0.0.0/8"',
        ),
        (
            ROUTED % "source-routing: {forward: {srmpls-nodes: [17]}}",
            "CAP_NET_RAW",
            "core.test-session.t.source-routing.forward.srmpls-nodes",
        ),
        (
            ROUTED % "path: {a: {forward: {interface: eth1}}}",
            "CAP_NET_RAW",
            "core.test-session.t.path.a.forward.interface",
        ),
        *(
            (f"server: {{light: {{port: [8620], tlvs: {{{statement}}}}}}}", "CAP_NET_RAW", f"server.light.tlvs.{name}")
            for statement, name in (
                ("location: all", "location: all"),
                ("reflect-headers: on", "reflect-headers"),
                ("micro-session: {eth1: 1}", "micro-session"),
                ("return-path-allow: 192.0.2.0/24", "return-path-allow"),
            )
        ),
    ],
)
def test_a_capability_for_each_statement_that_needs_it(tmp_path: Path, more: str, capability: str, reason: str) -> None:
    text = made(tmp_path, LIGHT % "" + more + "\n").text
    assert settings(text, "AmbientCapabilities") == settings(text, "CapabilityBoundingSet") == [capability]
    assert settings(text, "PrivateUsers") == []
    assert re.search(rf"^# {capability} for .*{re.escape(reason)}", text, re.MULTILINE)


@pytest.mark.parametrize(
    "dry", ["routes: {dry-run: on, route: {10.0.0.0/8: {}}}", "routes: {route: {10.0.0.0/8: {dry-run: on}}}"]
)
def test_routes_that_are_only_thought_of_need_nothing(tmp_path: Path, dry: str) -> None:
    assert settings(made(tmp_path, LIGHT % "" + dry + "\n").text, "CapabilityBoundingSet") == [""]


def test_frames_need_a_family_of_addresses_and_segments_nothing(tmp_path: Path) -> None:
    for way, families in (
        ("forward: {srmpls-nodes: [17]}", "AF_INET AF_INET6 AF_UNIX AF_NETLINK AF_PACKET"),
        ("return: {srmpls-nodes: [17]}", "AF_INET AF_INET6 AF_UNIX AF_NETLINK"),
        ("forward: {gateway: 192.0.2.254}", "AF_INET AF_INET6 AF_UNIX AF_NETLINK"),
    ):
        text = made(tmp_path, LIGHT % f", source-routing: {{{way}}}").text
        assert settings(text, "RestrictAddressFamilies") == [families]


def test_ports_above_1023_need_nothing(tmp_path: Path) -> None:
    assert settings(made(tmp_path, LIGHT % "" + "server: {light: {port: [8620]}}\n").text, "AmbientCapabilities") == []


def test_a_network_namespace_is_refused_with_the_way_round(tmp_path: Path) -> None:
    made_ = made(tmp_path, (LIGHT % "").replace("control-type", "routing-instance: {netns: blue}\n      control-type"))
    assert "CAP_SYS_ADMIN" not in made_.text
    (warning,) = made_.warnings
    assert warning.startswith("client.control-connection.edge.routing-instance.netns: blue: ")
    assert "NetworkNamespacePath=/run/netns/NAME" in warning


def test_secrets_are_credentials(tmp_path: Path) -> None:
    made_ = made(tmp_path, LIGHT % ", key-file: {credential: stamp}")
    assert settings(made_.text, "LoadCredential") == ["stamp:/etc/twoway/credentials/stamp"]
    assert made_.warnings == ()
    (warning,) = made(tmp_path, LIGHT % ", key-file: keys").warnings
    assert warning.startswith("client.control-connection.edge.test-session.probe.key-file: ")
    assert "write {credential: keys}" in warning


def test_what_is_written_elsewhere_is_writable(tmp_path: Path) -> None:
    made_ = made(tmp_path, "store: {path: /data/a b/results.db}\napi: {group: noc}\n")
    assert settings(made_.text, "ReadWritePaths") == ['"/data/a b"']
    assert settings(made_.text, "SupplementaryGroups") == ["noc"]
    assert "@chown" in settings(made_.text, "SystemCallFilter")[-1]
    assert [line.partition(":")[0] for line in made_.warnings] == ["store.path"]


def test_what_the_service_does_not_see_is_a_warning(tmp_path: Path) -> None:
    path = tmp_path / "twoway.yaml"
    path.write_text(LIGHT % "")
    warnings = unit(read_model(str(path)), PurePath("/home/op/twoway.yaml"), PurePath("/root/bin/twoway")).warnings
    assert warnings == (
        "the configuration: /home/op/twoway.yaml: the service does not see /home",
        "the command: /root/bin/twoway: the service does not see /root",
    )


def test_the_clock_stays_readable_and_nobody_may_set_it(tmp_path: Path) -> None:
    text = made(tmp_path, sample()).text
    assert settings(text, "ProtectClock") == settings(text, "ProcSubset") == []
    assert {"adjtimex", "clock_adjtime"} <= set(settings(text, "SystemCallFilter")[-1].split())
    assert "CAP_SYS_TIME" not in "".join(settings(text, "CapabilityBoundingSet"))


def test_the_most_dangerous_is_never_given() -> None:
    never = {row.capability for row in PRIVILEGES} - {row.capability for row in PRIVILEGES if row.given}
    assert never == {"CAP_SYS_ADMIN"}


@needs_systemd
@pytest.mark.parametrize("text", [sample(), LIGHT % ""], ids=["sample", "light"])
def test_systemd_takes_it_and_finds_it_tight(tmp_path: Path, text: str) -> None:
    path = tmp_path / "twoway.service"
    path.write_text(made(tmp_path, text).text.replace("/usr/bin/twoway", sys.executable))
    verified = subprocess.run(["systemd-analyze", "verify", str(path)], capture_output=True, text=True, check=False)
    assert verified.returncode == 0
    assert path.name not in verified.stderr
    judge = ["systemd-analyze", "security", "--offline=true", "--no-pager", f"--threshold={MOST_EXPOSURE}", str(path)]
    judged = subprocess.run(judge, capture_output=True, text=True, check=False)
    assert judged.returncode == 0, judged.stdout[-200:]


def test_the_command_prints_it_and_says_what_will_not_work(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "twoway.yaml"
    path.write_text(LIGHT % ", key-file: /etc/twoway/keys")
    assert main(["unit", str(path), "--executable", "/opt/twoway/bin/twoway"]) == 0
    out, err = capsys.readouterr()
    assert settings(out, "ExecStart") == [f"/opt/twoway/bin/twoway run {path}"]
    assert "twoway unit: warning: client.control-connection.edge.test-session.probe.key-file: " in err


def test_a_configuration_that_the_services_user_cannot_read_is_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "twoway.yaml"
    path.write_text(LIGHT % "")
    for mode, said in ((0o640, True), (0o644, False)):
        path.chmod(mode)
        assert main(["unit", str(path)]) == 0
        assert (f"`chmod a+r {path}`" in capsys.readouterr().err) is said


def test_a_configuration_with_errors_has_no_unit(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "twoway.yaml"
    path.write_text("client: {nonsense: 1}\nworkers: 0\n")
    assert main(["unit", str(path)]) == 2
    out, err = capsys.readouterr()
    assert (out, len(err.splitlines())) == ("", 2)
    with pytest.raises(ConfigurationError, match="No such file"):
        read_model(str(tmp_path / "absent"))
