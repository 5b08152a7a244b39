"""One-way delay and its error bound, with the kernel told that a time daemon holds the clock.

All processes here share one clock, so the true offset is zero and each one-way delay can be checked. What the kernel
believes of its clock belongs to the whole machine: it is set for a moment and put back.
"""

import ctypes
import errno
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import pytest

from .programs import TWOWAY, ForwarderProgram, ReflectorProgram, run_twoway
from .topology import SERVER, Topology

_ADJ_MAXERROR: Final = 0x0004
_ADJ_STATUS: Final = 0x0010
_STA_UNSYNC: Final = 0x0040
"""Of linux/timex.h."""
BOUND_US: Final = 40_000


class _Timex(ctypes.Structure):
    """`struct timex` of linux/timex.h, for 64-bit machines, as far as it is used here."""

    _fields_ = (
        ("modes", ctypes.c_uint),
        ("offset", ctypes.c_long),
        ("freq", ctypes.c_long),
        ("maxerror", ctypes.c_long),
        ("esterror", ctypes.c_long),
        ("status", ctypes.c_int),
        ("rest", ctypes.c_char * 160),
    )


def _adjtimex(**values: int) -> _Timex:
    timex = _Timex(**values)
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.adjtimex(ctypes.byref(timex)) < 0:
        number = ctypes.get_errno()
        if number == errno.EPERM:
            pytest.skip("adjtimex: may not tell the kernel that its clock is synchronised (CAP_SYS_TIME)")
        raise OSError(number, "adjtimex")
    return timex


@contextmanager
def believed(error_us: int) -> Iterator[None]:
    """The kernel believes that its clock is synchronised within `error_us`."""
    before = _adjtimex(modes=0)
    both = _ADJ_STATUS | _ADJ_MAXERROR
    _adjtimex(modes=both, status=before.status & ~_STA_UNSYNC, maxerror=error_us)
    try:
        yield
    finally:
        _adjtimex(modes=both, status=before.status, maxerror=before.maxerror)


def _table(value: object) -> dict[str, object]:
    assert isinstance(value, dict)
    return value


def _number(value: object) -> int:
    assert isinstance(value, int)
    return value


def test_the_error_bound_is_that_of_both_clocks_and_holds_the_truth(topology: Topology, tmp_path: Path) -> None:
    with (
        believed(BOUND_US),
        ForwarderProgram(topology.middle, tmp_path),
        ReflectorProgram(topology.server, tmp_path, "--stateful"),
    ):
        ping = topology.client.command(TWOWAY, "ping", "-c", "40", "-i", "5ms", "--json", SERVER[4])
        finished = run_twoway(ping)
    document = finished.json
    clock, delay = _table(document["clock"]), _table(document["delay"])
    bound = _number(clock["one_way_error_bound_ns"])
    assert bound == _number(clock["local_error_ns"]) + _number(clock["far_error_ns"])
    # The kernel lets its bound grow by 500 ppm, and the reflector adds what it does not know of its departures.
    for end in ("local_error_ns", "far_error_ns"):
        assert BOUND_US * 1000 <= _number(clock[end]) < 2 * BOUND_US * 1000, clock
    round_trip = _table(delay["round_trip"])
    for direction in ("forward", "backward"):
        measured = _table(delay[direction])
        # One clock: the true offset is zero, so the bound is generous and the delay itself is right.
        assert 0 < _number(measured["min_ns"]) < _number(round_trip["max_ns"]), (direction, measured)


def test_an_unsynchronised_clock_has_no_one_way_delay_and_says_why(topology: Topology, tmp_path: Path) -> None:
    before = _adjtimex(modes=0)
    if not before.status & _STA_UNSYNC:
        pytest.skip("this machine's clock is synchronised")
    with ForwarderProgram(topology.middle, tmp_path), ReflectorProgram(topology.server, tmp_path, "--stateful"):
        ping = topology.client.command(TWOWAY, "ping", "-c", "5", "-i", "5ms", "--json", SERVER[4])
        finished = run_twoway(ping)
    document = finished.json
    delay, unknown = _table(document["delay"]), _table(document["unknown"])
    assert delay["forward"] is None
    assert delay["backward"] is None
    assert "neither clock is synchronised" in str(unknown["forward"])
    assert _table(document["variation"])["pdv_forward"] is not None, "the variation needs no offset"
