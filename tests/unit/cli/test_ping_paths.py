"""`twoway ping` over several paths, which on loopback are all plain: what is printed, refused, and returned."""

from __future__ import annotations

import csv
import io
import json
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import jsonschema  # type: ignore[import-untyped]  # it has no types, and only tests use it
import pytest

from twoway.cli.main import main
from twoway.export import schema

_native = pytest.importorskip("twoway._native", reason="the extension module is not built")

from twoway.drivers.path_set import measure_paths  # noqa: E402  (needs the extension)
from twoway.drivers.reflector import Reflector  # noqa: E402  (as above)
from twoway.errors import ConfigError  # noqa: E402  (as above)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    Ping = Callable[..., tuple[int, str, str]]

SET = ("--path", "a=plain", "--path", "b=plain")


def _plain(described: Mapping[str, object]) -> dict[str, object]:
    """The schema as it is printed."""
    plain: dict[str, object] = json.loads(json.dumps(described))
    return plain


def _where(reflector: Reflector) -> str:
    address, port = reflector.local_addresses[0]
    return f"{address}:{port}"


@pytest.fixture
def ping(capsys: pytest.CaptureFixture[str]) -> Ping:
    def run(*arguments: str, answered: bool = True) -> tuple[int, str, str]:
        with Reflector(listen=["127.0.0.1:0"]) as reflector:
            target = _where(reflector) if answered else "127.0.0.1:1"
            code = main(["ping", "-c", "20", "-i", "2ms", "-W", "100ms", *arguments, target])
        out, err = capsys.readouterr()
        return code, out, err

    return run


def test_the_document_has_both_paths_and_their_differences(ping: Ping) -> None:
    code, out, err = ping(*SET, "--json", "--samples")
    assert (code, err) == (0, "")
    document = json.loads(out)
    jsonschema.validate(document, _plain(schema.paths_schema()))
    assert [path["name"] for path in document["paths"]] == ["a", "b"]
    assert [len(path["samples"]) for path in document["paths"]] == [20, 20]
    assert [difference["compared"] for difference in document["differences"]] == [
        "round_trip",
        "forward",
        "backward",
        "loss",
    ]
    assert {difference["pairs"] for difference in document["differences"]} == {20}


def test_packets_of_the_paths_leave_in_turn_within_an_interval(ping: Ping) -> None:
    document = json.loads(ping(*SET, "--json", "--samples")[1])
    first, second = (
        [
            # A slot that this host missed has no departure.
            None if sample["t1_ns"] is None else sample["t1_ns"] - sample["send_lateness_ns"]
            for sample in path["samples"]
        ]
        for path in document["paths"]
    )
    # Half an interval apart, but for what a clock reading and a departure differ by.
    pairs = zip(first, second, strict=True)
    apart = sorted(later - sooner for sooner, later in pairs if sooner is not None and later is not None)
    assert abs(apart[len(apart) // 2] - 1_000_000) < 200_000


def test_the_report_and_the_streams(ping: Ping) -> None:
    code, out, _ = ping(*SET)
    assert code == 0
    assert out.startswith("STAMP to 127.0.0.1:")
    assert "Difference from a" in out
    _, out, _ = ping(*SET, "--ndjson")
    records = [json.loads(line) for line in out.splitlines()]
    described = jsonschema.Draft202012Validator(_plain(schema.record_schema()))
    for record in records:
        described.validate(record)
    kinds = [record["type"] for record in records]
    assert [kinds.count(kind) for kind in ("session", "packet", "summary", "difference")] == [2, 40, 2, 4]
    _, out, _ = ping(*SET, "--csv")
    rows = list(csv.DictReader(io.StringIO(out)))
    assert sorted(row["path"] for row in rows) == ["a"] * 20 + ["b"] * 20


def test_exit_codes(ping: Ping) -> None:
    assert ping(*SET, "-q", answered=False)[0] == 1
    code, _, err = ping(*SET, "-q", "--fail-if", "loss<1%")
    assert code == 3
    assert err.splitlines() == [
        "twoway ping: --fail-if on a: loss<1%: loss is 0%",
        "twoway ping: --fail-if on b: loss<1%: loss is 0%",
    ]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--path", "plain", "--path", "b=plain"), "--path: of several paths each has a name, as in a=plain"),
        (("--path", "a=plain", "--path", "a=plain"), "--path: 'a=plain': there is another one named a"),
        ((*SET, "--plot", "x.png"), "--plot: several paths have no common one"),
        ((*SET, "--histogram"), "--histogram: several paths have no common one"),
        ((*SET, "--source-port", "4000"), "--source-port: several paths need a port each"),
        (("--path", "srv6:fd00::1"), "--path: srv6 leads IPv6 packets, and 127.0.0.1 is an IPv4 address"),
        (("--protocol", "twamp", *SET), "--path: several paths at once are for STAMP and light"),
        (("--lag", "a,b", "--path", "plain"), "--path: packets go out and back by the members of --lag"),
        (("--lag", "a,b", "--return-path", "none"), "--return-path: packets go out and back by the members of --lag"),
        (("--lag", "a,b", "--protocol", "light"), "--lag: only STAMP packets carry the numbers of its members"),
        (("--lag", "a,b", "--protocol", "twamp"), "--lag: only STAMP packets carry the numbers of its members"),
        (("--protocol", "owamp", "--path", "plain"), "--path: OWAMP packets go as they are routed"),
        (("--protocol", "twamp", "--return-path", "none"), "--return-path: it is STAMP's"),
    ],
)
def test_what_makes_no_sense_is_refused_in_one_line(ping: Ping, arguments: tuple[str, ...], message: str) -> None:
    code, out, err = ping(*arguments)
    assert (code, out) == (2, "")
    assert len(err.splitlines()) == 1
    assert message in err


def test_ctrl_c_ends_with_the_report() -> None:
    with Reflector(listen=["127.0.0.1:0"]) as reflector:
        command = [
            str(Path(sys.executable).with_name("twoway")),
            "ping",
            *SET,
            "-i",
            "5ms",
            "--ndjson",
            _where(reflector),
        ]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            seen = [process.stdout.readline() for _ in range(6)]
            process.send_signal(signal.SIGINT)
            rest = process.stdout.read().splitlines()
            assert process.wait(20) == 0
    assert json.loads(seen[0])["type"] == "session"
    assert [json.loads(line)["type"] for line in rest[-6:]] == ["summary"] * 2 + ["difference"] * 4


def test_the_python_interface() -> None:
    batches: list[str] = []
    with Reflector(listen=["127.0.0.1:0"]) as reflector:
        measured = measure_paths(
            _where(reflector),
            {"a": "plain", "b": "plain", "c": "plain"},
            count=20,
            interval_ns=2_000_000,
            schedule="poisson",
            on_samples=lambda name, _batch: batches.append(name),
        )
    assert measured.reference == "a"
    assert set(batches) == {"a", "b", "c"}
    assert [result.summary.counter("received") for result in measured.results.values()] == [20, 20, 20]
    assert {(difference.path, difference.pairs) for difference in measured.differences} == {("b", 20), ("c", 20)}
    for paths, options in (({"a": "plain"}, {}), ({"a": "plain", "b": "plain"}, {"path": "plain"})):
        with pytest.raises(ConfigError):
            measure_paths("127.0.0.1:1", paths, **options)  # type: ignore[arg-type]
