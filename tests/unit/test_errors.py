"""Every error is one line that names operation, address and remedy, and carries the exit code."""

from __future__ import annotations

import errno
import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from twoway import errors
from twoway.errors import (
    REMEDIES,
    ConfigError,
    KeyFileError,
    NativeMissingError,
    OutputError,
    PermissionRefused,
    PlaneError,
    RemoteProtocolError,
    ResolveError,
    TwowayError,
    WireError,
)

EXAMPLES = [
    (WireError("HMAC does not match"), "test packet: HMAC does not match"),
    (ConfigError("ttl", "300 is not from 1 to 255"), "ttl: 300 is not from 1 to 255"),
    (KeyFileError("/etc/keys", 3, "not of the form"), "key file /etc/keys line 3: not of the form"),
    (KeyFileError("/etc/keys", None, "holds no key"), "key file /etc/keys: holds no key"),
    (ResolveError("nowhere.example", "no such name"), "resolve nowhere.example: no such name"),
    (OutputError("a.png", "no space"), "write a.png: no space"),
    (
        NativeMissingError("no module"),
        "load the packet plane: no module: reinstall with `pip install .` on this machine and Python",
    ),
    (PlaneError("bind", "192.0.2.1:862", 0, "no such worker"), "bind 192.0.2.1:862: no such worker"),
    (
        PlaneError("bind", "0.0.0.0:862", errno.EADDRINUSE),
        "bind 0.0.0.0:862: Address already in use: another program has this port: `ss -ulpn sport = :862` shows which",
    ),
    (
        PlaneError("bind to interface", "nope0", errno.ENODEV, ""),
        (
            "bind to interface nope0: No such device: "
            "no such interface or VRF in this network namespace: `ip link` lists them"
        ),
    ),
]


@pytest.mark.parametrize(("error", "text"), EXAMPLES, ids=[type(error).__name__ for error, _ in EXAMPLES])
def test_text(error: TwowayError, text: str) -> None:
    assert str(error) == text


@pytest.mark.parametrize("error", [error for error, _ in EXAMPLES], ids=lambda error: type(error).__name__)
def test_survives_pickling(error: TwowayError) -> None:
    again = pickle.loads(pickle.dumps(error))  # noqa: S301  (our own octets)
    assert type(again) is type(error)
    assert str(again) == str(error)


def test_every_class_has_an_exit_code_other_than_the_measurements_own() -> None:
    classes = [value for value in vars(errors).values() if isinstance(value, type) and issubclass(value, TwowayError)]
    assert len(classes) >= 10
    assert {kind.exit_code for kind in classes} == {errors.EXIT_ERROR}


@pytest.mark.parametrize("number", [errno.EACCES, errno.EPERM])
def test_a_refused_privilege_is_a_class_of_its_own(number: int) -> None:
    error = PlaneError("bind", "0.0.0.0:862", number)
    assert isinstance(error, PermissionRefused)
    assert "CAP_NET_BIND_SERVICE" in str(error) or number == errno.EPERM
    assert not isinstance(PlaneError("bind", "0.0.0.0:862", errno.EADDRINUSE), PermissionRefused)


def test_wire_errors_are_the_far_ends() -> None:
    assert issubclass(WireError, RemoteProtocolError)


@pytest.mark.parametrize(("operation", "number"), REMEDIES)
def test_every_remedy_is_one_line_about_the_address(operation: str | None, number: int) -> None:
    text = str(PlaneError(operation or "send", "[2001:db8::1]:8620", number))
    assert text.startswith(f"{operation or 'send'} [2001:db8::1]:8620: ")
    assert "{" not in text
    assert "\n" not in text
    assert len(text) < 260


def test_the_address_of_a_route_question_has_no_port() -> None:
    for address, bare in (("192.0.2.1:862", "192.0.2.1"), ("[2001:db8::1]:862", "2001:db8::1"), ("eth0", "eth0")):
        assert f"`ip route get {bare}`" in str(PlaneError("connect", address, errno.ENETUNREACH))


@given(st.text(), st.text(), st.integers(0, 200), st.text())
def test_nothing_from_outside_makes_a_second_line(operation: str, address: str, number: int, detail: str) -> None:
    text = str(PlaneError(operation, address, number, detail))
    assert text.isprintable()
    assert len(text.splitlines()) <= 1
