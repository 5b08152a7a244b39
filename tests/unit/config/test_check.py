"""What is said of a configuration: all that is wrong, each at its line, and what is doubtful."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from twoway.config.check import check, check_text, load
from twoway.config.document import ConfigurationError
from twoway.errors import ConfigError

if TYPE_CHECKING:
    from twoway.config.check import Checked
    from twoway.config.plan import ConnectionPlan, SessionPlan
    from twoway.config.reflection import Reflection

CASES = tomllib.loads((Path(__file__).parent / "refused.toml").read_text())["case"]
LIGHT = "client: {control-connection: {a: {control-type: light, test-session: {s: {target: 192.0.2.1%s}}}}}%s"


def checked(text: str, source: str = "f.yaml") -> Checked:
    return check_text(text.removeprefix("\n"), source, Path("/etc/twoway"))


def lines(found: Checked) -> list[str]:
    return [str(problem).removeprefix(f"{found.source}:") for problem in found.errors]


@pytest.mark.parametrize("case", CASES, ids=[case["name"] for case in CASES])
def test_everything_that_is_wrong_is_said(case: dict[str, str | list[str]]) -> None:
    source = "f.toml" if str(case["name"]).startswith("toml") else "f.yaml"
    found = checked(str(case["text"]), source)
    assert lines(found) == case["errors"]
    assert found.plan is None


@pytest.mark.parametrize(
    ("session", "rest", "warning"),
    [
        (", traps: [test-failure]", "", "client.control-connection.a.test-session.s.traps: no trap is sent: "),
        (
            ", traps: [rtt-exceeded]",
            "\nnotifications: {snmp: [{address: 192.0.2.9}]}",
            "client.control-connection.a.test-session.s.traps: rtt-exceeded is never sent: thresholds.rtt is off",
        ),
        (", probe-count: 5, thresholds: {total-loss: 6}", "", "6 is more than a test's 5 probes"),
        (", thresholds: {control-failure: on}", "", "light negotiates nothing that could fail"),
        (", data-fill: random", "", "data-fill: there is no padding to fill: data-size is 0"),
        ("", "\napi: {mode: '0666'}", "api.mode: 0666 lets everybody on this machine ask and command"),
        (
            "",
            "\nserver: {light: {tlvs: {return-path-allow: [10.0.0.0/8, '::/0']}}}",
            "allow[1]: ::/0 is everybody, forged",
        ),
        ("", "\napi: {metrics-listen: '0.0.0.0:9862'}", "api.metrics-listen: 0.0.0.0 is not loopback"),
    ],
)
def test_what_is_doubtful_is_said_and_does_not_hinder(session: str, rest: str, warning: str) -> None:
    found = checked(LIGHT % (session, rest))
    assert not found.errors
    assert found.plan is not None
    assert len(found.warnings) == 1
    assert warning in str(found.warnings[0])


def test_a_configuration_that_does_nothing_is_doubtful() -> None:
    for text in ("", "# nothing\n", "client:\nserver:\n", "---\n"):
        found = checked(text)
        assert [str(one) for one in found.warnings] == [
            "f.yaml: nothing to do: there is no control-connection and no server"
        ]
        assert found.plan is not None


def test_persistent_results_want_a_store() -> None:
    text = (LIGHT % ("", "")).replace("control-type: light", "control-type: light, persistent-results: on")
    assert "nothing survives a restart" in str(checked(text).warnings[0])
    assert not checked(f"{text}\nstore: {{path: x.db}}").warnings


def test_probes_one_by_one_want_a_store_that_keeps_them() -> None:
    text = (LIGHT % ("", "")).replace("control-type: light", "control-type: light, raw-history: on")
    assert str(checked(text).warnings[0]).endswith("raw-history: no probe is kept: there is no store")
    assert not checked(f"{text}\nstore: {{path: x.db}}").warnings
    forgetful = f"{text}\nstore: {{path: x.db, retention: {{history: 0}}}}"
    assert str(checked(forgetful).warnings[0]).endswith("no probe is kept: store.retention.history is 0")


def test_light_has_no_control_connection_to_close() -> None:
    text = (LIGHT % ("", "\nnotifications: {snmp: [{address: 192.0.2.9}]}")).replace(
        "control-type: light", "control-type: light, traps: [test-iteration-done, control-connection-closed]"
    )
    (warning,) = checked(text).warnings
    assert str(warning).startswith("f.yaml:1: client.control-connection.a.traps: control-connection-closed is never")


def test_a_good_configuration_is_not_spoken_of() -> None:
    found = checked(LIGHT % ("", ""))
    assert (found.errors, found.warnings) == ((), ())


class Refusing:
    """A packet plane that takes nothing."""

    def session(self, connection: ConnectionPlan, session: SessionPlan) -> None:
        assert session in connection.sessions
        raise ConfigError("payload_len", "45 octets leave no room")

    def reflection(self, reflection: Reflection) -> None:
        assert reflection.listen == ()
        raise ConfigError("max_sessions", "too many")


def test_what_the_packet_plane_refuses_is_said_of_its_statement() -> None:
    text = LIGHT % (", data-size: 1", "\nserver: {light: {}}")
    found = check_text(text, "f.yaml", Path(), rehearsal=Refusing())
    assert lines(found) == [
        "1: client.control-connection.a.test-session.s.data-size: 45 octets leave no room",
        "2: server.light.stateful-sequence: too many",
    ]


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    missing = tmp_path / "missing.yaml"
    assert [str(error) for error in check(missing).errors] == [f"{missing}: No such file or directory"]
    assert [str(error) for error in check(tmp_path).errors] == [f"{tmp_path}: Is a directory"]
    assert check("nul\0").errors[0].message == "is no name of a file"
    latin = tmp_path / "latin.yaml"
    latin.write_bytes(b"workers: 1\nvariables: {site: \xe9}\n")
    assert [str(error) for error in check(latin).errors] == [f"{latin}:2: not UTF-8"]


def test_load_gives_the_plan_or_raises_all_errors(tmp_path: Path) -> None:
    file = tmp_path / "twoway.yaml"
    file.write_text(LIGHT % ("", ""))
    assert [connection.name for connection in load(file).connections] == ["a"]
    file.write_text("workers: 0\ncolour: blue\n")
    with pytest.raises(ConfigurationError) as caught:
        load(file)
    assert [error.line for error in caught.value.problems] == [1, 2]
    assert str(caught.value) == f"{file}:1: workers: 0 is not from 1 to 256 (and 1 more)"


def test_a_message_is_one_line_whatever_the_file_holds() -> None:
    found = checked('"a\\nb\\e[31m": 1\nworkers: "x\\ny"\n')
    assert len(found.errors) == 2
    for error in found.errors:
        assert str(error).isprintable()


def test_without_its_packages_a_configuration_names_the_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "twoway.config.messages", None)
    found = checked(LIGHT % ("", ""))
    assert [error.message for error in found.errors] == [
        "twoway.config.messages is not installed: `pip install 'twoway[daemon]'`"
    ]
    monkeypatch.setitem(sys.modules, "ruamel.yaml", None)
    assert "or write TOML" in str(checked("workers: 1").errors[0])
