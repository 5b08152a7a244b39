"""What each STAMP TLV says is in the report, in the JSON document and in conditions."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

import jsonschema  # type: ignore[import-untyped]  # it has no types, and only tests use it
import pytest

from twoway import _native
from twoway.analysis.conditions import parse
from twoway.analysis.metrics import METRICS, Kind, Section
from twoway.export import json_result, schema
from twoway.export.text import report

from ..measured import Span, clean, result

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


@dataclass(frozen=True)
class Told:
    """What one TLV came to, and where it must be read again."""

    rows: Sequence[str]
    """Of the report, words joined by single spaces."""
    json: Mapping[str, object]
    """Metric -> what the document has."""
    counters: Mapping[str, int] = field(default_factory=dict)
    distributions: Mapping[str, Sequence[int]] = field(default_factory=dict)
    facts: Mapping[str, int] = field(default_factory=dict)
    location: Mapping[str, int | str] = field(default_factory=dict)
    far_dscp_ecn: Mapping[int, int] = field(default_factory=dict)

    def summary(self) -> Span:
        """Of ten packets that were answered in time."""
        span = clean()
        span.counters = {**span.counters, **self.counters}
        span.distributions = {**span.distributions, **self.distributions}
        span.facts = {**span.facts, **self.facts}
        span.location = dict(self.location)
        span.dscp_ecns = {**span.dscp_ecns, "far": dict(self.far_dscp_ecn)}
        return span


_REFUSED: Final = {"tlv_unrecognized": 2, "tlv_malformed": 3}
TOLD: Final[Mapping[str, Told]] = {
    "extra-padding": Told(
        (
            "TLVs unrecognised 2: replies with a TLV that the reflector does not know (U flag)",
            "TLVs malformed 3: replies with a TLV that is malformed, or said to be (M flag)",
        ),
        _REFUSED,
        counters=_REFUSED,
    ),
    "location": Told(
        (
            "seen there from 203.0.113.7",
            "from port 1234",
            "to 192.0.2.9",
            "to port 862",
            "last hop 02:00:5e:00:53:01",
            "location changes 2",
        ),
        {
            "location_source": "203.0.113.7",
            "location_source_port": 1234,
            "location_destination": "192.0.2.9",
            "location_destination_port": 862,
            "location_source_mac": "02:00:5e:00:53:01",
            "location_changes": 2,
        },
        counters={"location_changes": 2},
        location={
            "source": "203.0.113.7",
            "source_port": 1234,
            "destination": "192.0.2.9",
            "destination_port": 862,
            "source_mac": "02:00:5e:00:53:01",
        },
    ),
    "timestamp-information": Told(
        ("T2 clock ptp", "T2 taken hardware-assist", "T3 clock free-running", "T3 taken software-local"),
        {
            "far_sync_source_in": "ptp",
            "far_timestamp_in": "hardware-assist",
            "far_sync_source_out": "free-running",
            "far_timestamp_out": "software-local",
        },
        facts={"far_sync_source_in": 2, "far_timestamp_in": 1, "far_sync_source_out": 5, "far_timestamp_out": 2},
    ),
    "class-of-service": Told(
        ("remarked forward 3", "remarked backward 4", "DSCP refused 5", "DSCP/ECN ef ef x7, cs1 x3 (changed) ef"),
        {
            "remarked_forward": 3,
            "remarked_backward": 4,
            "dscp_refused": 5,
            "far_dscp_ecn": {"184": 7, "32": 3},
        },
        counters={"remarked_forward": 3, "remarked_backward": 4, "dscp_refused": 5},
        far_dscp_ecn={46 << 2: 7, 8 << 2: 3},
    ),
    "direct-measurement": Told(
        (
            "counted sent 1000",
            "counted received there 990",
            "counted sent there 980",
            "counted received 931",
            "counted loss forward 1%",
            "counted loss backward 5%",
        ),
        {
            "direct_sent": 1000,
            "direct_received": 990,
            "direct_reflected": 980,
            "direct_returned": 931,
            "direct_loss_forward_ratio": pytest.approx(0.01),
            "direct_loss_backward_ratio": pytest.approx(0.05),
        },
        counters={"direct_sent": 1000, "direct_received": 990, "direct_reflected": 980, "direct_returned": 931},
    ),
    "access-report": Told(
        ("access reports 6 acknowledged 1, given up 1",),
        {"access_reports_sent": 6, "access_reports_acknowledged": 1, "access_reports_abandoned": 1},
        counters={"access_reports_sent": 6, "access_reports_acknowledged": 1, "access_reports_abandoned": 1},
    ),
    "follow-up-telemetry": Told(
        (
            "T3 followed up 9",
            "T3 not followed up 1",
            "T3 corrected by min 5.0 µs, median 5.0 µs, p99 7.0 µs, max 7.0 µs",
        ),
        {"followed_up": 9, "not_followed_up": 1, "follow_up_correction": 7_000},
        counters={"followed_up": 9, "not_followed_up": 1},
        distributions={"follow_up_correction": [5_000] * 8 + [7_000]},
    ),
    "hmac": Told(
        (
            (
                "TLVs not authentic 4: replies whose TLVs failed the integrity check, there (I flag) or here: "
                "none of them was used"
            ),
        ),
        {"tlv_integrity_failed": 4},
        counters={"tlv_integrity_failed": 4},
    ),
    "destination-node-address": Told(("another node 8",), {"other_node": 8}, counters={"other_node": 8}),
    "return-path": Told(("return path refused 9",), {"return_path_refused": 9}, counters={"return_path_refused": 9}),
    "micro-session-id": Told(
        ("rejected 3 other member link 3",), {"rejected_micro_session": 3}, counters={"rejected_micro_session": 3}
    ),
    "reflected-test-packet-control": Told(
        (
            "further replies expected 40",
            "further replies 30",
            "loss of further replies 25%",
            "control refused 2",
            "further backward min 2.000 ms, median 2.000 ms, p99 2.100 ms, max 2.100 ms",
        ),
        {
            "further_expected": 40,
            "further_replies": 30,
            "further_loss_ratio": pytest.approx(0.25),
            "control_refused": 2,
            "further_backward": 2_100_000,
        },
        counters={"further_expected": 40, "further_replies": 30, "control_refused": 2},
        distributions={"further_backward": [2_000_000] * 29 + [2_100_000]},
    ),
    "reflected-fixed-header": Told(
        ("headers reflected 8", "headers not reflected 2", "DSCP/ECN ef ef ef"),
        {"headers_reflected": 8, "headers_refused": 2, "far_dscp_ecn": {"184": 8}},
        counters={"headers_reflected": 8, "headers_refused": 2},
        far_dscp_ecn={46 << 2: 8},
    ),
    "reflected-ipv6-extension-header": Told(
        ("headers reflected 8", "headers not reflected 2"),
        {"headers_reflected": 8, "headers_refused": 2},
        counters={"headers_reflected": 8, "headers_refused": 2},
    ),
}
"""By the registered names. Extra Padding has nothing to say, so its flags have."""


def test_every_tlv_is_here_and_everything_that_any_says() -> None:
    types = _native.catalogue()["tlv_types"]
    assert set(TOLD) == set(types)
    said = {name for told in TOLD.values() for name in told.json}
    assert said >= {metric.name for metric in METRICS if metric.section is Section.TLVS}
    assert said >= {metric.name for metric in METRICS if metric.name.startswith("tlv_")}


@pytest.mark.parametrize("name", TOLD)
def test_the_report_has_it(name: str) -> None:
    told = TOLD[name]
    lines = [" ".join(line.split()) for line in report(result(told.summary(), tlvs=(name,))).splitlines()]
    for row in told.rows:
        assert row in lines
    assert any(f"asks for {name}" in line for line in lines)
    silent = [" ".join(line.split()) for line in report(result(clean())).splitlines()]
    assert not [row for row in told.rows if row in silent and not row.startswith("DSCP/ECN")]


@pytest.mark.parametrize("name", TOLD)
def test_the_document_has_it(name: str) -> None:
    told = TOLD[name]
    document = json.loads(json.dumps(json_result.document(result(told.summary(), tlvs=(name,))), allow_nan=False))
    jsonschema.Draft202012Validator(schema.result_schema()).validate(document)
    assert document["session"]["requested"]["tlvs"] == [name]
    for metric in (metric for metric in METRICS if metric.name in told.json):
        found = document[metric.section][metric.name]
        if metric.kind is Kind.DISTRIBUTION:
            found = found["max_ns"]
        assert found == told.json[metric.name], metric.name


@pytest.mark.parametrize(
    ("condition", "name"),
    [
        ("direct-loss-forward>0.5%", "direct-measurement"),
        ("direct-loss-backward>0.5%", "direct-measurement"),
        ("remarked-forward>0", "class-of-service"),
        ("remarked-backward>0", "class-of-service"),
        ("location-changes>1", "location"),
        ("further-loss>20%", "reflected-test-packet-control"),
    ],
)
def test_a_condition_can_be_made_of_it(condition: str, name: str) -> None:
    reason = parse(condition).violated(result(TOLD[name].summary()))
    assert reason is not None
    assert "cannot be evaluated" not in reason
