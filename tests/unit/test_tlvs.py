"""What may be asked for in TLVs, and what not."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from twoway.errors import ConfigError
from twoway.path import ReturnPath
from twoway.tlvs import NO_TLVS, AccessReport, ReflectedControl, Tlvs

if TYPE_CHECKING:
    from collections.abc import Callable


def test_nothing_is_asked_for_unless_it_is() -> None:
    assert not NO_TLVS
    assert not Tlvs().names
    assert Tlvs(location=True)
    assert Tlvs(hmac=True, follow_up=True, location=True).names == ("location", "follow-up-telemetry", "hmac")


def test_every_tlv_that_is_asked_for_has_the_registrys_name() -> None:
    from twoway import _native

    everything = Tlvs(
        location=True,
        timestamp_information=True,
        class_of_service=0,
        direct_measurement=True,
        access_report=AccessReport("3gpp", 1),
        follow_up=True,
        destination_node="::1",
        return_path=ReturnPath("same-link"),
        micro_session=(1, 0),
        fixed_header=True,
        extension_headers=(8,),
        hmac=True,
    )
    several = Tlvs(control=ReflectedControl(2))
    names = _native.catalogue()["tlv_types"]
    assert {*everything.names, *several.names, "extra-padding"} == set(names)
    codes = [names[name][0] for name in everything.names]
    assert codes == sorted(codes)


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda: AccessReport("wifi", 1), "access_report: 'wifi' is none of 3gpp, non-3gpp"),
        (lambda: AccessReport("3gpp", 0), "access_report: 0 is not from 1 to 254"),
        (lambda: AccessReport("3gpp", 1, timer_ns=0), "access_timer_ns: 0 is not from 1 to 2305843009213693952"),
        (lambda: ReflectedControl(0), "control: 0 is not from 1 to 1000"),
        (lambda: ReflectedControl(2, length=65508), "control: 65508 is not from 0 to 65507"),
        (
            lambda: ReflectedControl(2, layer_2_group=(b"\xff" * 6, b"\x00" * 5)),
            "control: a group of MAC addresses has a mask and a group of 2, 6 or 8 octets",
        ),
        (lambda: Tlvs(class_of_service=64), "class_of_service: 64 is not from 0 to 63"),
        (lambda: Tlvs(micro_session=(0, 1)), "micro_session: 0 is not from 1 to 65535"),
        (
            lambda: Tlvs(extension_headers=(12,)),
            "extension_headers: 12 octets: an extension header has 8, 16, … 2048",
        ),
        (
            lambda: Tlvs(control=ReflectedControl(2), return_path=ReturnPath("none")),
            "control: it goes with no return path that asks for no reply (RFC 10052 section 4.3)",
        ),
        (
            lambda: Tlvs(control=ReflectedControl(2), follow_up=True),
            "control: it does not go with follow-up: the reply before is one of several",
        ),
    ],
)
def test_refusals(make: Callable[[], object], text: str) -> None:
    with pytest.raises(ConfigError) as caught:
        make()
    assert str(caught.value) == text
