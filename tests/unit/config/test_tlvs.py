"""TLVs as people write them."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from twoway.config.tlvs import FORMS, SHORT_NAMES, parse_tlvs
from twoway.errors import ConfigError
from twoway.tlvs import NO_TLVS, AccessReport, ReflectedControl, Tlvs

MS = 1_000_000


@pytest.mark.parametrize(
    ("texts", "asked"),
    [
        ([], NO_TLVS),
        (
            ["location", "timestamps", "direct"],
            Tlvs(location=True, timestamp_information=True, direct_measurement=True),
        ),
        (["timestamp-information"], Tlvs(timestamp_information=True)),
        (["cos=ef"], Tlvs(class_of_service=46)),
        (["class-of-service=0"], Tlvs(class_of_service=0)),
        (["access-report=3gpp:available"], Tlvs(access_report=AccessReport("3gpp", 1))),
        (["access-report=non-3gpp:130"], Tlvs(access_report=AccessReport("non-3gpp", 130))),
        (["follow-up"], Tlvs(follow_up=True)),
        (["node=2001:DB8::1"], Tlvs(destination_node="2001:db8::1")),
        (["micro-session=11"], Tlvs(micro_session=(11, 0))),
        (["micro-session=11:0x0c"], Tlvs(micro_session=(11, 12))),
        (["control=10"], Tlvs(control=ReflectedControl(10))),
        (["control=10x1k@2ms"], Tlvs(control=ReflectedControl(10, 1024, 2 * MS))),
        (
            ["control=2,l3=192.0.2.0/24,l2=ff:ff:00:00:00:00/02:00:00:00:00:00"],
            Tlvs(
                control=ReflectedControl(
                    2, layer_3_group=("192.0.2.0", 24), layer_2_group=(b"\xff\xff\0\0\0\0", b"\x02\0\0\0\0\0")
                )
            ),
        ),
        (
            ["fixed-header", "extension-header=24", "extension-header=8"],
            Tlvs(fixed_header=True, extension_headers=(24, 8)),
        ),
    ],
)
def test_what_is_written_is_asked_for(texts: list[str], asked: Tlvs) -> None:
    assert parse_tlvs(texts) == asked


def test_an_access_report_has_its_timer() -> None:
    parsed = parse_tlvs(["access-report=3gpp:unavailable"], access_timer_ns=5 * MS, access_retransmissions=0)
    assert parsed.access_report == AccessReport("3gpp", 2, 5 * MS, 0)


def test_short_names_stand_for_registered_ones() -> None:
    assert set(SHORT_NAMES.values()) <= set(FORMS)
    assert not set(SHORT_NAMES) & set(FORMS)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("padding", f"'padding' is none of {', '.join(FORMS.values())}"),
        ("location=1", "'location=1' is not location"),
        ("cos", "'cos' is not cos=DSCP"),
        ("cos=", "'cos=' is not cos=DSCP"),
        ("cos=gold", "'gold' is no DSCP: use ef, af11 to af43, cs0 to cs7, va, le, be or a number from 0 to 63"),
        ("access-report=wifi:available", "'wifi:available' is not 3gpp:CODE or non-3gpp:CODE"),
        ("access-report=3gpp:gone", "'gone' is none of available, unavailable, and no number from 1 to 254"),
        ("access-report=3gpp:255", "'255' is not a number from 1 to 254"),
        ("node=there", "'there' is no address"),
        ("micro-session=0", "'0' is not a number from 1 to 65535"),
        ("control=many", "'many' is not COUNT[xOCTETS][@TIME], such as 10x1400@1ms"),
        ("control=2,l4=1", "'l4=1' is neither l3=NETWORK nor l2=MASK/GROUP"),
        ("control=2,l2=ff/zz", "'zz' is not octets such as ff:ff:00:00:00:00"),
        ("extension-header=4", "'4' is not a number from 8 to 2048"),
    ],
)  # fmt: skip
def test_refusals(text: str, reason: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_tlvs([text])
    assert caught.value.reason == reason


def test_a_tlv_is_asked_for_once() -> None:
    with pytest.raises(ConfigError, match="'cos=ef': class-of-service is there already"):
        parse_tlvs(["cos=be", "cos=ef"])


@given(st.lists(st.text(max_size=20) | st.sampled_from([f"{name}=" for name in FORMS]).flatmap(
    lambda head: st.text(max_size=20).map(lambda tail: head + tail)
), max_size=3))  # fmt: skip
def test_any_text_is_taken_or_refused_in_a_line(texts: list[str]) -> None:
    assert refusal(texts).isprintable()


def refusal(texts: list[str]) -> str:
    try:
        parse_tlvs(texts)
    except ConfigError as error:
        return str(error)
    return ""


def test_the_page_about_tlvs_has_each_of_them() -> None:
    page = (Path(__file__).resolve().parents[3] / "docs" / "tlvs.md").read_text()
    for form in FORMS.values():
        assert f"| `{form}` |" in page
