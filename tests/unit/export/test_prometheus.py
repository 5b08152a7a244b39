"""What a scraper is given: the format it asks for, each family of the table whole and once, and promtool's opinion."""

from __future__ import annotations

import re
import shutil
import subprocess
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import pytest

from twoway import _native
from twoway.analysis.exposition import FAMILIES, SCOPES, Type
from twoway.export.prometheus import Exposition, expose, negotiate
from twoway.tlvs import TLVS

from ..measured import Span
from ..watched import FakeDaemon

if TYPE_CHECKING:
    from twoway.analysis.views import HealthView

PROMETHEUS_2_42 = (
    "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited,"
    "application/openmetrics-text;version=1.0.0;q=0.8,application/openmetrics-text;version=0.0.1;q=0.75,"
    "text/plain;version=0.0.4;q=0.5,*/*;q=0.1"
)
_SAMPLE = re.compile(r"(?P<name>[a-z0-9_]+)(?:\{(?P<labels>.*)\})? (?P<value>\S+)")
_LABEL = re.compile(r'([a-z_]+)="((?:[^"\\]|\\.)*)"(?:,|$)')


@dataclass
class NativeSpan(Span):
    """A `Span` whose distributions are those of the packet plane."""

    def distribution(self, name: str, /) -> _native.Distribution:  # type: ignore[override]  # as `Summary` has it
        return _native.Distribution.of(list(self.distributions.get(name, ())))


def asked(daemon: FakeDaemon) -> HealthView:
    """Its health as the API fills it in."""
    return replace(daemon.health(), api={"requests": 5})


def text_of(daemon: FakeDaemon, exposition: Exposition = Exposition.TEXT) -> str:
    return b"".join(expose(daemon, exposition, asked(daemon))).decode()


def series(text: str) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    """(name, labels) -> value; each series may be there but once."""
    found = {}
    for line in text.splitlines():
        if line.startswith("#"):
            continue
        match = _SAMPLE.fullmatch(line)
        assert match, line
        labels = frozenset(_LABEL.findall(match["labels"] or ""))
        assert _LABEL.sub("", match["labels"] or "") == "", line
        assert (match["name"], labels) not in found, line
        found[match["name"], labels] = float(match["value"])
    return found


def value(text: str, name: str, /, **labels: str) -> float:
    """Of the one series that has these labels."""
    (found,) = [
        number
        for (called, its), number in series(text).items()
        if called == name and labels.items() <= dict(its).items()
    ]
    return found


@pytest.mark.parametrize(
    ("accept", "expected"),
    [
        ("", Exposition.TEXT),
        ("*/*", Exposition.TEXT),
        ("text/html", Exposition.TEXT),
        (PROMETHEUS_2_42, Exposition.PROTOBUF),
        (PROMETHEUS_2_42.partition(",")[2], Exposition.OPENMETRICS),
        ("application/openmetrics-text;version=2.0.0, text/plain;q=0.1", Exposition.TEXT),
        ("application/openmetrics-text; q=0.2, text/plain; q=0.3", Exposition.TEXT),
        ("application/openmetrics-text; q=nonsense", Exposition.TEXT),
        ("application/openmetrics-text; q=7", Exposition.TEXT),
        ("application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=text", Exposition.TEXT),
        ("application/vnd.google.protobuf", Exposition.TEXT),
        (",;=,;q=;;" * 100, Exposition.TEXT),
    ],
)
def test_the_format_that_is_liked_best(accept: str, expected: Exposition) -> None:
    assert negotiate(accept) is expected


@pytest.mark.parametrize("exposition", [Exposition.TEXT, Exposition.OPENMETRICS])
def test_each_family_stands_once_and_whole_with_the_labels_of_the_table(exposition: Exposition) -> None:
    tlvs = [name for name, _ in TLVS]
    text = text_of(FakeDaemon(loss={("core-fra", "bulk"): 0.2}, tlvs=tlvs), exposition)
    types = re.findall(r"^# TYPE (\S+) (\S+)$", text, re.MULTILINE)
    openmetrics = exposition is Exposition.OPENMETRICS
    assert [name for name, _ in types] == [each.name if openmetrics else each.sample_name for each in FAMILIES]
    assert openmetrics == text.endswith("# EOF\n")
    own = {family: labels for labels, families in SCOPES.values() for family in families}
    blocks = re.split(r"^# HELP ", text, flags=re.MULTILINE)[1:]
    for family, block in zip(FAMILIES, blocks, strict=True):
        found = series(block.partition("\n")[2])
        assert found, f"{family.name} has no sample of a daemon that has everything"
        for name, labels in found:
            assert name in family.series_names
            assert {label for label, _ in labels} - {"le"} == {*own[family], *family.labels}


def test_one_of_several_paths_has_its_name_as_a_label() -> None:
    key = ("core-fra", "voice:red")
    text = text_of(FakeDaemon(sessions=[key, ("core-fra", "bulk")], paths={key: "red"}))
    for name in ("twoway_test_passed", "twoway_send_lateness_seconds_count"):
        assert value(text, name, connection="core-fra", session="voice:red", path="red") >= 0
        assert value(text, name, connection="core-fra", session="bulk") >= 0


def test_tlvs_have_samples_of_the_sessions_that_ask_for_them() -> None:
    summary = Span(
        {"followed_up": 7, "direct_sent": 5, "direct_returned": 4, "tlv_malformed": 3, "location_changes": 2}
    )
    text = text_of(FakeDaemon(sessions=[("core-fra", "voice")], measured=summary, tlvs=("follow-up-telemetry",)))
    labels = {"connection": "core-fra", "session": "voice"}
    assert value(text, "twoway_follow_up_replies_total", **labels, result="followed_up") == 7
    assert value(text, "twoway_follow_up_correction_seconds_count", **labels) == 0
    assert value(text, "twoway_tlv_replies_total", **labels, outcome="malformed") == 3
    for name in ("twoway_direct_measurement_packets_total", "twoway_location_changes_total"):
        assert f"# TYPE {name} counter\n" in text
        assert f"\n{name}{{" not in text
    text = text_of(
        FakeDaemon(sessions=[("core-fra", "voice")], measured=summary, tlvs=("direct-measurement", "location"))
    )
    name = "twoway_direct_measurement_packets_total"
    assert value(text, name, **labels, direction="forward", result="sent") == 5
    assert value(text, name, **labels, direction="backward", result="received") == 4
    assert value(text, "twoway_location_changes_total", **labels) == 2


def test_numbers_are_those_of_the_daemon_in_base_units() -> None:
    text = text_of(FakeDaemon())
    one = {"connection": "core-fra", "session": "voice"}
    assert value(text, "twoway_build_info", version="0.1.0") == 1
    assert value(text, "twoway_event_loop_lag_seconds") == 0.0012
    assert value(text, "twoway_notices_total", name="rtt-exceeded", state="raised") == 1
    assert value(text, "twoway_notices_total", name="rtt-exceeded", state="cleared") == 0
    assert value(text, "twoway_sessions", status="testing") == 4
    assert value(text, "twoway_sessions", status="failed") == 0
    assert value(text, "twoway_reflector_packets_total", reason="too_short", action="dropped") == 3
    assert value(text, "twoway_reflector_events_total", event="socket_drops") == 5
    assert value(text, "twoway_reflector_sessions") == 2
    assert value(text, "twoway_receiver_notices_total", result="dropped") == 1
    assert value(text, "twoway_control_connection_up", connection="core-par") == 0
    assert value(text, "twoway_packets_total", **one, direction="roundtrip", result="sent") == 1000
    assert value(text, "twoway_packets_total", **one, direction="forward", result="lost") == 5
    assert value(text, "twoway_last_test_delay_seconds", **one) == 0.0002215005
    assert value(text, "twoway_clock_error_seconds", **one, end="far") == 0.00025
    assert value(text, "twoway_session_info", **one, target="198.51.100.1", protocol="stamp") == 1


def test_replies_by_another_member_link_are_rejected_packets() -> None:
    text = text_of(FakeDaemon([("a", "b")], NativeSpan({"rejected_micro_session": 5})))
    assert value(text, "twoway_packets_rejected_total", reason="micro_session") == 5


def test_packets_of_a_reflector_sum_up_to_those_received() -> None:
    found = series(text_of(FakeDaemon()))
    assert sum(number for (name, _), number in found.items() if name == "twoway_reflector_packets_total") == 80


@pytest.mark.parametrize("seed", [1, 77])
def test_classic_buckets_are_exact(seed: int) -> None:
    delays = [(seed * 2_654_435_761 * n) % 5_000_000_000 >> n % 20 for n in range(1, 4000)] + [4096, 4097, 8192, 0]
    daemon = FakeDaemon([("a", "b")], NativeSpan({}, {"round_trip": delays}))
    text = text_of(daemon)
    bounds = next(family.bounds for family in FAMILIES if family.name == "twoway_delay_seconds")
    for bound in bounds:
        exact = sum(delay <= round(bound * 1e9) for delay in delays)
        assert value(text, "twoway_delay_seconds_bucket", direction="roundtrip", le=repr(bound)) == exact
    assert value(text, "twoway_delay_seconds_bucket", direction="roundtrip", le="+Inf") == len(delays)
    assert value(text, "twoway_delay_seconds_count", direction="roundtrip") == len(delays)
    assert value(text, "twoway_delay_seconds_sum", direction="roundtrip") == pytest.approx(sum(delays) / 1e9)


def test_classic_buckets_never_fall_when_the_histogram_becomes_coarser() -> None:
    fine = [100_000 + 37 * n for n in range(500)]
    spread = [*fine, 1, 9 * 10**18]  # a range that halves the resolution several times
    before = _native.Distribution.of(fine)
    assert _native.Distribution.of(spread).scale < before.scale
    counts = []
    for delays in (fine, spread):
        found = series(text_of(FakeDaemon([("a", "b")], NativeSpan({}, {"round_trip": delays}))))
        counts.append({key: number for key, number in found.items() if key[0] == "twoway_delay_seconds_bucket"})
    assert counts[0].keys() == counts[1].keys()
    assert all(counts[1][key] >= number for key, number in counts[0].items())


def test_signed_values_have_buckets_of_either_sign_and_no_sum_in_text() -> None:
    daemon = FakeDaemon([("a", "b")], NativeSpan({}, {"ipdv_round_trip": [-9000, -9000, 0, 5000], "forward": [-5, 7]}))
    text = text_of(daemon)
    below, zero = repr(-(2**12) / 1e9), repr(0.0)
    assert value(text, "twoway_delay_variation_seconds_bucket", direction="roundtrip", le=below) == 2
    assert value(text, "twoway_delay_variation_seconds_bucket", direction="roundtrip", le=zero) == 3
    assert value(text, "twoway_delay_variation_seconds_count", direction="roundtrip") == 4
    assert "twoway_delay_variation_seconds_sum" not in text
    assert 'twoway_delay_seconds_sum{connection="a",session="b",direction="forward"}' not in text


def test_what_cannot_be_known_has_no_sample() -> None:
    text = text_of(FakeDaemon([("a", "b")], Span({"sent": 3, "lost_unattributed": 3})))
    assert 'direction="forward",le=' not in text
    assert value(text, "twoway_delay_seconds_count", direction="roundtrip") == 0


def test_labels_are_escaped() -> None:
    name = 'a"b\\c\nd'
    for exposition in (Exposition.TEXT, Exposition.OPENMETRICS):
        text = text_of(FakeDaemon([(name, "é")]), exposition)
        assert r'connection="a\"b\\c\nd",session="é"' in text
        assert series(text)


def test_ten_thousand_sessions_come_in_small_pieces() -> None:
    daemon = FakeDaemon([(f"connection-{number}", "s") for number in range(300)])
    for exposition in Exposition:
        assert max(map(len, expose(daemon, exposition))) < 256 << 10


@pytest.mark.parametrize("measured", [Span(), FakeDaemon().measured])
def test_promtool_has_nothing_to_say(measured: Span) -> None:
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("the program promtool is not installed (Debian package prometheus)")
    text = text_of(FakeDaemon(measured=measured, loss={("core-fra", "bulk"): 0.2}))
    done = subprocess.run([promtool, "check", "metrics"], input=text, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


def test_the_table_names_things_as_prometheus_does() -> None:
    assert len({name for family in FAMILIES for name in family.series_names}) == sum(
        len(family.series_names) for family in FAMILIES
    )
    for family in FAMILIES:
        assert re.fullmatch(r"twoway(_[a-z]+)+", family.name)
        assert not family.name.endswith(("_total", "_info", "_bucket", "_count", "_sum"))
        assert family.meaning.endswith(".")
        assert list(family.bounds) == sorted(set(family.bounds))
        assert bool(family.bounds) == (family.type is Type.HISTOGRAM)
