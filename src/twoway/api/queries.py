"""What can be asked: the parameters of each request, checked. What is not known here is refused."""

from __future__ import annotations

import ipaddress
import re
from datetime import UTC, datetime
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

_MAX_NS = 2**63 - 1
_DAY = "[0-9]{4}-[0-9]{2}-[0-9]{2}"
_TIME = r"[0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]{1,9})?([Zz]|[+-][0-9]{2}:[0-9]{2})"
_MOMENT = f"^([0-9]{{1,19}}|{_DAY}[Tt ]{_TIME})$"
_NO_MOMENT = "neither ns since the epoch nor a time as 2026-01-02T03:04:05Z"
_EPOCH = datetime.fromtimestamp(0, UTC)


def time_ns(text: str) -> int:
    """Wall time: ns since the epoch, or a date and time of RFC 3339, which has a zone. Raises `ValueError`."""
    if not re.fullmatch(_MOMENT, text):
        raise ValueError(_NO_MOMENT)
    if text.isdigit():
        since_ns = int(text)
    else:
        try:
            past = datetime.fromisoformat(text.upper()) - _EPOCH
        except ValueError:
            raise ValueError(_NO_MOMENT) from None
        since_ns = max(0, (past.days * 86_400 + past.seconds) * 1_000_000_000 + past.microseconds * 1000)
    if since_ns > _MAX_NS:
        raise ValueError("it is too far off: a time in ns has 63 bits")
    return since_ns


def _time(text: str) -> str:
    time_ns(text)
    return text


def prefix(text: str) -> str:
    """A prefix as it is known by. Raises `ValueError`."""
    try:
        return str(ipaddress.ip_network(text))
    except ValueError as error:
        raise ValueError(f"{error}: a prefix is wanted, as 203.0.113.0/24 or 2001:db8::/32") from None


def destination(text: str) -> str:
    """A prefix, or an address, as it is known by. Raises `ValueError`."""
    try:
        return prefix(text) if "/" in text else str(ipaddress.ip_address(text))
    except ValueError:
        raise ValueError(f"{text!r} is neither an address nor a prefix as 203.0.113.0/24") from None


Name = Annotated[str, Field(min_length=1, max_length=64, pattern=r"^[^\x00-\x1f\x7f]+$")]
Moment = Annotated[str, Field(max_length=40, json_schema_extra={"pattern": _MOMENT}), AfterValidator(_time)]
"""See `time_ns`."""


_ADDRESS = {"pattern": "^[0-9A-Fa-f:.]{2,45}(/[0-9]{1,3})?$"}
Prefix = Annotated[str, Field(max_length=49, json_schema_extra=_ADDRESS), AfterValidator(prefix)]
Destination = Annotated[str, Field(max_length=49, json_schema_extra=_ADDRESS), AfterValidator(destination)]
_INSTANCE = "Its routing-instance; the one without a name if not given."


class _Query(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class ConnectionQuery(_Query):
    """Of control connections."""

    control_connection: Annotated[Name | None, Field(alias="control-connection", description="Its name.")] = None


class SessionQuery(ConnectionQuery):
    """Of test-sessions."""

    test_session: Annotated[Name | None, Field(alias="test-session", description="Its name.")] = None


class ResultsQuery(SessionQuery):
    """Of results."""

    source_address: Annotated[Name | None, Field(alias="source-address", description="Source of the probes.")] = None
    target: Annotated[Name | None, Field(description="Target as configured.")] = None
    status: Annotated[
        Literal["PASS", "FAIL", "pass", "fail"] | None, Field(description="What the last test came to.")
    ] = None


class HistoryQuery(SessionQuery):
    """Of single probes."""

    source_address: Annotated[Name | None, Field(alias="source-address", description="Source of the probes.")] = None
    target: Annotated[Name | None, Field(description="Target as configured.")] = None
    since: Annotated[Moment | None, Field(description="Sent at or after: ns since the epoch, or RFC 3339.")] = None
    limit: Annotated[int | None, Field(ge=1, le=100_000, description="The latest so many of each session.")] = None


class SessionsQuery(_Query):
    """Of the table of all test-sessions."""

    filter: Annotated[
        str | None, Field(max_length=100, description="Part of connection, session or target; case does not matter.")
    ] = None
    sort: Annotated[
        Literal["name", "rtt", "max", "jitter", "loss", "alarms"], Field(description="Column to sort by.")
    ] = "name"
    reverse: Annotated[bool, Field(description="Whether the greatest come first.")] = False
    offset: Annotated[int, Field(ge=0, le=10_000_000, description="Rows to leave out at the start.")] = 0
    limit: Annotated[int, Field(ge=1, le=1000, description="Most rows of the answer.")] = 100
    recent: Annotated[
        int, Field(ge=0, le=120, description="Round-trip times of so many of the latest probes with each row.")
    ] = 0


class EventsQuery(_Query):
    """Of notices."""

    since: Annotated[Moment | None, Field(description="At or after: ns since the epoch, or RFC 3339.")] = None
    limit: Annotated[int, Field(ge=1, le=10_000, description="The latest so many.")] = 100
    name: Annotated[Name | None, Field(description="Name of the notice.")] = None
    control_connection: Annotated[Name | None, Field(alias="control-connection", description="Its name.")] = None


class WindowQuery(_Query):
    """Of any window of time."""

    control_connection: Annotated[Name, Field(alias="control-connection", description="Its name.")]
    test_session: Annotated[Name, Field(alias="test-session", description="Its name.")]
    since: Annotated[Moment, Field(description="Begin: ns since the epoch, or RFC 3339.")]
    until: Annotated[Moment | None, Field(description="End; now if it is not given.")] = None
    percentile: Annotated[
        list[Annotated[float, Field(ge=0, le=100)]],
        Field(max_length=16, description="Percentiles wanted, from 0 to 100; repeatable."),
    ] = [50, 95, 99, 99.9]


class RoutesQuery(SessionQuery):
    """Of tracked routes."""

    destination: Annotated[
        Destination | None, Field(description="The prefix of a route, or an address that routes contain.")
    ] = None
    routing_instance: Annotated[Name | None, Field(alias="routing-instance", description="Of this instance.")] = None


class ReleaseBody(_Query):
    """Which tracked route to release."""

    prefix: Annotated[Prefix, Field(description="Its prefix.")]
    routing_instance: Annotated[Name | None, Field(alias="routing-instance", description=_INSTANCE)] = None


class HoldBody(ReleaseBody):
    """Which tracked route to hold, and how."""

    next_hops: Annotated[
        list[Name] | None,
        Field(alias="next-hops", max_length=16, description="Those to use; those in use if not given; none if empty."),
    ] = None


RESOLUTIONS_S = {"1s": 1, "1min": 60, "1h": 3600, "1d": 86_400}
"""Steps of a series."""
MAX_STEPS = 1500
"""Of one series, so that an answer stays small and no question holds up the others."""


class SeriesQuery(_Query):
    """Of a window of time in steps."""

    control_connection: Annotated[Name, Field(alias="control-connection", description="Its name.")]
    test_session: Annotated[Name, Field(alias="test-session", description="Its name.")]
    since: Annotated[Moment, Field(description="Begin: ns since the epoch, or RFC 3339.")]
    until: Annotated[Moment | None, Field(description="End; now if it is not given.")] = None
    resolution: Annotated[
        Literal["1s", "1min", "1h", "1d"], Field(description=f"Length of a step; at most {MAX_STEPS} of them.")
    ] = "1min"


MAX_PROBES = 5000
"""Of one answer, for the same reason."""


class ProbesQuery(_Query):
    """Of single probes of a test-session that keeps every one."""

    control_connection: Annotated[Name, Field(alias="control-connection", description="Its name.")]
    test_session: Annotated[Name, Field(alias="test-session", description="Its name.")]
    first: Annotated[
        int, Field(ge=0, le=_MAX_NS, description="Those with this number and later ones: `next` of the last answer.")
    ] = 0
    since: Annotated[Moment | None, Field(description="Sent at or after: ns since the epoch, or RFC 3339.")] = None
    until: Annotated[Moment | None, Field(description="Sent before; now if it is not given.")] = None
    limit: Annotated[int, Field(ge=1, le=MAX_PROBES, description="Most rows of the answer.")] = 1000


class KeptEventsQuery(_Query):
    """Of notices in the store."""

    since: Annotated[Moment | None, Field(description="At or after: ns since the epoch, or RFC 3339.")] = None
    until: Annotated[Moment | None, Field(description="Before; now if it is not given.")] = None
    limit: Annotated[int, Field(ge=1, le=10_000, description="The latest so many.")] = 1000


class StartBody(_Query):
    """What to start."""

    control_connection: Annotated[
        Name | None, Field(alias="control-connection", description="Its name; all that are manual if not given.")
    ] = None
    repeat: Annotated[int | None, Field(ge=1, le=65_535, description="Tests to run.")] = None


class StopBody(ConnectionQuery):
    """What to stop."""


class ClearBody(_Query):
    """What to clear."""

    name: Annotated[
        Name | None, Field(description="A control connection, or the number of one of the Server; all if not given.")
    ] = None
