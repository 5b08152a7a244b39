"""perfSONAR's programs: its daemons and our clients, its clients and our Server, in all modes that both have."""

import re
from collections.abc import Iterator
from typing import Any, Final

import pytest

from .peers import USER, Files, Running, daemon, documents, perfsonar, run, server
from .relay import TWOWAY

MODES: Final = {"O": "unauthenticated", "A": "authenticated", "E": "encrypted", "M": "mixed"}
COUNT: Final = 5
# A busy machine may be late: what is not answered in a second is lost.
SHORT: Final = ("-c", str(COUNT), "-i", "0.01f", "-L", "1")
# Our sender does not make up for a slot that a busy machine has missed.
NO_LOSS: Final = re.compile(rf"^[1-{COUNT}] sent, 0 lost", re.MULTILINE)
TWAMP: Final = [
    # Mode, family, options of ours, options of theirs.
    ("O", 4, (), ()),
    ("O", 6, ("--size", "14"), ("-s", "0")),
    ("A", 4, ("--sessions", "3"), ("-D", "EF")),
    ("A", 6, ("--size", "1048"), ("-s", "1000")),
    ("E", 4, ("--dscp", "ef", "--size", "112"), ("-s", "64", "-D", "EF")),
    ("E", 6, ("--schedule", "poisson", "--seed", "1"), ("-Z",)),
    ("M", 4, ("--dscp", "af41"), ("-s", "1000", "-D", "AF41")),
    ("M", 6, ("--sessions", "2", "--size", "1014"), ("-Z", "-s", "27")),
]
OWAMP: Final = [
    ("O", 4, ()),
    ("O", 6, ("-s", "1000")),
    ("A", 4, ("-D", "EF")),
    ("A", 6, ("-s", "64")),
    ("E", 4, ("-i", "0.005f,0.01e,0f")),
    ("E", 6, ("-i", "0.005e")),
]


Daemons = dict[tuple[str, int], tuple[Running, str]]
Servers = dict[int, tuple[Running, dict[str, str]]]


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Files:
    return Files(tmp_path_factory.mktemp("perfsonar"))


@pytest.fixture(scope="module")
def daemons() -> Iterator[Daemons]:
    """perfSONAR's, as they are asked for."""
    started: Daemons = {}
    yield started
    for running, _ in started.values():
        with running:
            pass


@pytest.fixture(scope="module")
def ours(files: Files) -> Iterator[Servers]:
    """Our Servers, one a family."""
    started = {family: server(family, files) for family in (4, 6)}
    yield started
    for running, _ in started.values():
        with running:
            pass


def listening(daemons: Daemons, files: Files, name: str, family: int) -> str:
    if (name, family) not in daemons:
        daemons[name, family] = daemon(name, family, files)
    return daemons[name, family][1]


def all_answered(result: dict[str, Any]) -> int:
    """How many packets were sent; each has come back, or over."""
    packets = result["packets"]
    assert 1 <= packets["sent"] == packets["received"] <= COUNT
    return int(packets["sent"])


def secret(mode: str, path: object) -> list[str]:
    """perfSONAR's options for the secret."""
    return [] if mode == "O" else ["-u", USER, "-k", str(path)]


@pytest.mark.parametrize(("mode", "family", "options"), [case[:3] for case in TWAMP])
def test_our_ping_and_its_twampd(
    mode: str,
    family: int,
    options: tuple[str, ...],
    files: Files,
    daemons: Daemons,
) -> None:
    where = listening(daemons, files, "twampd", family)
    keys = ["--key-file", str(files.ours), "--mode", MODES[mode]] if mode != "O" else []
    command = [TWOWAY, "ping", "--protocol", "twamp", "-c", str(COUNT), "-i", "10ms", "-W", "1s", "--json"]
    results = documents(run(*command, *keys, *options, where))
    assert len(results) == (int(options[1]) if "--sessions" in options else 1)
    for result in results:
        sent = all_answered(result)
        asked = result["session"]["requested"]
        if "--dscp" in options:
            # The far end reflects with the code point that was negotiated.
            assert result["marks"]["returned_dscp_ecn"] == {str(asked["dscp_ecn"]): sent}


@pytest.mark.parametrize(("mode", "family", "options"), [(mode, family, theirs) for mode, family, _, theirs in TWAMP])
def test_its_twping_and_our_server(
    mode: str,
    family: int,
    options: tuple[str, ...],
    files: Files,
    ours: Servers,
) -> None:
    where = ours[family][1]["twamp"]
    text = run(perfsonar("twping"), *SHORT, "-A", mode, *secret(mode, files.theirs), *options, where)
    assert NO_LOSS.search(text), text


@pytest.mark.parametrize(("mode", "family", "options"), OWAMP)
def test_our_owping_and_its_owampd(
    mode: str,
    family: int,
    options: tuple[str, ...],
    files: Files,
    daemons: Daemons,
) -> None:
    where = listening(daemons, files, "owampd", family)
    ours = TWOWAY.removesuffix("twoway") + "owping"
    text = run(ours, *SHORT, "-A", mode, *secret(mode, files.theirs), *options, where)
    assert len(NO_LOSS.findall(text)) == 2, text


@pytest.mark.parametrize(("mode", "family"), [("O", 6), ("E", 4)])
def test_our_ping_and_its_owampd(mode: str, family: int, files: Files, daemons: Daemons) -> None:
    where = listening(daemons, files, "owampd", family)
    keys = ["--key-file", str(files.ours), "--mode", MODES[mode]] if mode != "O" else []
    command = [TWOWAY, "ping", "--protocol", "owamp", "-c", str(COUNT), "-i", "10ms", "-W", "1s", "--json"]
    results = documents(run(*command, *keys, "--sessions", "2", where))
    assert len(results) == 4
    for result in results:
        all_answered(result)


@pytest.mark.parametrize(("mode", "family", "options"), OWAMP)
def test_its_owping_and_our_server(
    mode: str,
    family: int,
    options: tuple[str, ...],
    files: Files,
    ours: Servers,
) -> None:
    where = ours[family][1]["owamp"]
    text = run(perfsonar("owping"), *SHORT, "-A", mode, *secret(mode, files.theirs), *options, where)
    assert len(NO_LOSS.findall(text)) == 2, text


@pytest.mark.parametrize("name", ["twampd", "owampd"])
def test_its_daemons_refuse_a_wrong_passphrase_of_ours(name: str, files: Files, daemons: Daemons) -> None:
    where = listening(daemons, files, name, 4)
    ours = TWOWAY.removesuffix("twoway") + name.removesuffix("ampd") + "ping"
    text = run(ours, *SHORT, "-A", "E", *secret("E", files.wrong), where, code=1)
    assert "the KeyID or its secret may be wrong" in text
    assert re.search(r"battery|staple", text) is None


@pytest.mark.parametrize(("name", "protocol"), [("twping", "twamp"), ("owping", "owamp")])
def test_our_server_refuses_a_wrong_passphrase_of_its_clients(
    name: str, protocol: str, files: Files, ours: Servers
) -> None:
    running, where = ours[4]
    text = run(perfsonar(name), *SHORT, "-A", "E", *secret("E", files.wrong), where[protocol], code=None)
    assert " sent, " not in text
    assert "set_up_refused:key_id_unknown" in running.said()


def test_the_best_mode_that_both_have_is_chosen(files: Files, daemons: Daemons, ours: Servers) -> None:
    for program, where in (
        (TWOWAY.removesuffix("twoway") + "twping", listening(daemons, files, "twampd", 4)),
        (perfsonar("twping"), ours[4][1]["twamp"]),
    ):
        text = run(program, *SHORT, *secret("E", files.theirs), where)
        assert NO_LOSS.search(text), text
