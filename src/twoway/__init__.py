"""twoway measures network paths in both directions with OWAMP, TWAMP, TWAMP Light and STAMP.

    >>> import twoway
    >>> result = twoway.measure("192.0.2.1", count=10, interval_ns=20_000_000)
    >>> result.summary.distribution("round_trip").quantile(0.5)  # nanoseconds

Everything here is loaded when it is first used: importing twoway costs nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from twoway.analysis.comparison import Difference, PathSetResult
    from twoway.analysis.result import Result
    from twoway.config.managed import ControlOptions, SessionRequest
    from twoway.config.measurement import Measurement
    from twoway.config.reflection import Reflection
    from twoway.config.server import ServerOptions
    from twoway.drivers.asynchronous import Interval, MeasurementStream, measure_async, stream
    from twoway.drivers.control_client import ControlClient
    from twoway.drivers.managed_measurement import ManagedMeasurement, ManagedResult, MeasuredSession, measure_managed
    from twoway.drivers.managed_plane import ReceiverPlane, SenderPlane
    from twoway.drivers.managed_session import TestSession
    from twoway.drivers.path_set import measure_lag, measure_paths
    from twoway.drivers.plane import capabilities, measure
    from twoway.drivers.reflector import Reflector
    from twoway.drivers.server import Server
    from twoway.errors import (
        ConfigError,
        ControlConnectionError,
        LocalProtocolError,
        PlaneError,
        RemoteProtocolError,
        ResolveError,
        SessionRefusedError,
        TwowayError,
        WireError,
    )
    from twoway.path import ForwardPath, ReturnPath

    __version__: str

__all__ = [
    "ConfigError",
    "ControlClient",
    "ControlConnectionError",
    "ControlOptions",
    "Difference",
    "ForwardPath",
    "Interval",
    "LocalProtocolError",
    "ManagedMeasurement",
    "ManagedResult",
    "MeasuredSession",
    "Measurement",
    "MeasurementStream",
    "PathSetResult",
    "PlaneError",
    "ReceiverPlane",
    "Reflection",
    "Reflector",
    "RemoteProtocolError",
    "ResolveError",
    "Result",
    "ReturnPath",
    "SenderPlane",
    "Server",
    "ServerOptions",
    "SessionRefusedError",
    "SessionRequest",
    "TestSession",
    "TwowayError",
    "WireError",
    "__version__",
    "capabilities",
    "measure",
    "measure_async",
    "measure_lag",
    "measure_managed",
    "measure_paths",
    "stream",
]

_HOMES = {
    "ControlClient": "twoway.drivers.control_client",
    "ControlOptions": "twoway.config.managed",
    "ManagedMeasurement": "twoway.drivers.managed_measurement",
    "ManagedResult": "twoway.drivers.managed_measurement",
    "MeasuredSession": "twoway.drivers.managed_measurement",
    "ReceiverPlane": "twoway.drivers.managed_plane",
    "SenderPlane": "twoway.drivers.managed_plane",
    "Server": "twoway.drivers.server",
    "ServerOptions": "twoway.config.server",
    "SessionRequest": "twoway.config.managed",
    "TestSession": "twoway.drivers.managed_session",
    "measure_managed": "twoway.drivers.managed_measurement",
    "Difference": "twoway.analysis.comparison",
    "ForwardPath": "twoway.path",
    "Interval": "twoway.drivers.asynchronous",
    "PathSetResult": "twoway.analysis.comparison",
    "ReturnPath": "twoway.path",
    "measure_lag": "twoway.drivers.path_set",
    "measure_paths": "twoway.drivers.path_set",
    "Measurement": "twoway.config.measurement",
    "MeasurementStream": "twoway.drivers.asynchronous",
    "Reflection": "twoway.config.reflection",
    "Reflector": "twoway.drivers.reflector",
    "Result": "twoway.analysis.result",
    "capabilities": "twoway.drivers.plane",
    "measure": "twoway.drivers.plane",
    "measure_async": "twoway.drivers.asynchronous",
    "stream": "twoway.drivers.asynchronous",
}
"""Public name -> the module it lives in; whatever is not here is an error class of `twoway.errors`."""


def __getattr__(name: str) -> object:
    """Load a public name when it is first asked for (PEP 562)."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    import importlib

    if name == "__version__":
        value: object = importlib.import_module("twoway.drivers.plane").version()
    else:
        value = getattr(importlib.import_module(_HOMES.get(name, "twoway.errors")), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
