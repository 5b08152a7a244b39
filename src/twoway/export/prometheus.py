"""What Prometheus scrapes: text (0.0.4), OpenMetrics 1.0, and protobuf with native histograms, by what it accepts.

Theory of operation. `expose` goes through `analysis.exposition` family by family, because all samples of a family must
stand together, and for each through the test-sessions. With ten thousand of them that is some hundred megabytes of
text, so it is a generator of pieces: whoever sends them decides how long to go on before letting others run. A piece
may be empty; a test-session that goes meanwhile is left out of what follows.

A classic bucket's count is exact, see `analysis.exposition`. A histogram that holds a negative value has no `_sum` in
text, where it would have to be a counter.
"""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING, Protocol

from twoway.analysis.exposition import (
    CONNECTION,
    DAEMON,
    GLANCE,
    ROUTE,
    SUMMARY,
    Delays,
    Family,
    SummaryFamily,
    Tally,
    Type,
)
from twoway.export.prometheus_buckets import at_bounds, count_and_sum
from twoway.export.prometheus_protobuf import ProtobufRenderer

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from twoway.analysis.exposition import Value
    from twoway.analysis.views import HealthView, Watched
    from twoway.config.plan import SessionKey

    _Labels = tuple[tuple[str, str], ...]


class Exposition(Enum):
    """A format: its media type, as it is answered."""

    TEXT = "text/plain; version=0.0.4; charset=utf-8"
    OPENMETRICS = "application/openmetrics-text; version=1.0.0; charset=utf-8"
    PROTOBUF = "application/vnd.google.protobuf; proto=io.prometheus.client.MetricFamily; encoding=delimited"


class Renderer(Protocol):
    """One format. `labels` are (name, value) pairs."""

    def begin(self, family: Family) -> bytes: ...
    def sample(self, labels: Sequence[tuple[str, str]], value: Value) -> bytes: ...
    def end(self) -> bytes:
        """Of the family."""

    def close(self) -> bytes:
        """Of the whole."""


def negotiate(accept: str) -> Exposition:
    """The format that an `Accept` header likes best (RFC 9110 section 12.5.1); text where it names none of ours."""
    best, best_quality = Exposition.TEXT, 0.0
    for item in accept.split(",")[:32]:
        media, *parameters = (part.strip().lower() for part in item.split(";"))
        values = dict(parameter.partition("=")[::2] for parameter in parameters)
        found = {
            "text/plain": Exposition.TEXT,
            "application/openmetrics-text": Exposition.OPENMETRICS,
            "application/vnd.google.protobuf": Exposition.PROTOBUF,
        }.get(media)
        if found is Exposition.OPENMETRICS and values.get("version", "1.0.0") not in ("1.0.0", "0.0.1"):
            continue
        if found is Exposition.PROTOBUF and (
            values.get("proto") != "io.prometheus.client.metricfamily" or values.get("encoding") != "delimited"
        ):
            continue
        quality = _quality(values.get("q", "1"))
        if found is not None and quality > best_quality:
            best, best_quality = found, quality
    return best


def _quality(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        return 0.0
    return value if 0 <= value <= 1 else 0.0


def expose(watched: Watched, exposition: Exposition, health: HealthView | None = None) -> Iterator[bytes]:
    """Everything, in pieces: one or none for each test-session and family. `health`: None for the daemon's own."""
    renderer: Renderer
    match exposition:
        case Exposition.PROTOBUF:
            renderer = ProtobufRenderer()
        case Exposition.OPENMETRICS:
            renderer = TextRenderer(openmetrics=True)
        case Exposition.TEXT:
            renderer = TextRenderer(openmetrics=False)
    yield from _daemon(watched, health or watched.health(), renderer)
    yield from _connections(watched, renderer)
    yield from _routes(watched, renderer)
    keys = watched.keys()
    own: dict[SessionKey, _Labels] = {}
    asked: dict[SessionKey, Sequence[str]] = {}
    yield from _glances(watched, keys, renderer, own, asked)
    for family in SUMMARY:
        yield renderer.begin(family)
        yield from _summaries(watched, {key: own[key] for key in own if family.of(asked[key])}, family, renderer)
        yield renderer.end()
    yield renderer.close()


def _daemon(watched: Watched, health: HealthView, renderer: Renderer) -> Iterator[bytes]:
    for family in DAEMON:
        yield renderer.begin(family)
        for values, value in family.read(watched, health):
            yield renderer.sample(tuple(zip(family.labels, values, strict=True)), value)
        yield renderer.end()


def _connections(watched: Watched, renderer: Renderer) -> Iterator[bytes]:
    views = watched.client_connections()
    for family in CONNECTION:
        yield renderer.begin(family)
        for view in views:
            for values, value in family.read(view):
                labels = (("connection", view.name), *zip(family.labels, values, strict=True))
                yield renderer.sample(labels, value)
        yield renderer.end()


def _routes(watched: Watched, renderer: Renderer) -> Iterator[bytes]:
    views = []
    for view in watched.routes():
        views.append(view)
        yield b""
    for family in ROUTE:
        yield renderer.begin(family)
        for view in views:
            head = (("prefix", view.destination), ("routing_instance", view.instance))
            pieces = (
                renderer.sample((*head, *zip(family.labels, values, strict=True)), value)
                for values, value in family.read(view)
            )
            yield b"".join(pieces)
        yield renderer.end()


def _glances(
    watched: Watched,
    keys: Sequence[SessionKey],
    renderer: Renderer,
    own: dict[SessionKey, _Labels],
    asked: dict[SessionKey, Sequence[str]],
) -> Iterator[bytes]:
    """`own` takes in the labels of each test-session that is there, `asked` the TLVs that it asks for."""
    views = []
    for key in keys:
        try:
            view = watched.glance(key)
        except KeyError:
            continue
        path = () if view.path is None else (("path", view.path),)
        own[key] = (("connection", view.connection), ("session", view.session), *path)
        asked[key] = view.tlvs
        views.append((own[key], view))
        yield b""
    for family in GLANCE:
        yield renderer.begin(family)
        for labels, view in views:
            for values, value in family.read(view):
                yield renderer.sample((*labels, *zip(family.labels, values, strict=True)), value)
        yield renderer.end()


def _summaries(
    watched: Watched, own: Mapping[SessionKey, _Labels], family: SummaryFamily, renderer: Renderer
) -> Iterator[bytes]:
    for key, labels in own.items():
        try:
            summary = watched.summary(key)
        except KeyError:
            continue
        for values, value in family.read(summary):
            yield renderer.sample((*labels, *zip(family.labels, values, strict=True)), value)


class TextRenderer:
    """Text 0.0.4 (Prometheus' exposition formats) or OpenMetrics 1.0 (its sections 5.1 and 6)."""

    def __init__(self, *, openmetrics: bool) -> None:
        self._openmetrics = openmetrics
        self._family: Family | None = None
        self._name = ""
        self._bounds: list[str] = []

    def begin(self, family: Family) -> bytes:
        self._family = family
        self._name = family.sample_name
        self._bounds = [f'le="{bound!r}"}} ' for bound in family.bounds] + ['le="+Inf"} ']
        name = family.name if self._openmetrics else family.sample_name
        kind = "gauge" if family.type is Type.INFO and not self._openmetrics else family.type
        lines = [f"# HELP {name} {_escaped(family.meaning, quotes=self._openmetrics)}", f"# TYPE {name} {kind}"]
        if self._openmetrics and family.unit and family.type is not Type.INFO:
            lines.append(f"# UNIT {name} {family.unit}")
        return "".join(f"{line}\n" for line in lines).encode()

    def sample(self, labels: Sequence[tuple[str, str]], value: Value) -> bytes:
        inner = ",".join(f'{name}="{_escaped(text, quotes=True)}"' for name, text in labels)
        if isinstance(value, (Delays, Tally)):
            return self._histogram(inner, value).encode()
        where = f"{{{inner}}}" if inner else ""
        return f"{self._name}{where} {value}\n".encode()

    def _histogram(self, inner: str, value: Delays | Tally) -> str:
        if self._family is None:
            raise TypeError("a sample before its family")
        count, total = count_and_sum(value)
        counts = [*at_bounds(value, self._family.bounds), count]
        head = f"{self._name}_bucket{{{inner},"
        text = "".join(f"{head}{bound}{number}\n" for bound, number in zip(self._bounds, counts, strict=True))
        signed = self._family.bounds[0] < 0 or (isinstance(value, Delays) and (value.distribution.min_ns or 0) < 0)
        if not signed:
            text += f"{self._name}_sum{{{inner}}} {total!r}\n"
        return f"{text}{self._name}_count{{{inner}}} {count}\n"

    def end(self) -> bytes:
        return b""

    def close(self) -> bytes:
        return b"# EOF\n" if self._openmetrics else b""


def _escaped(text: str, *, quotes: bool) -> str:
    escaped = text.replace("\\", r"\\").replace("\n", r"\n")
    return escaped.replace('"', r"\"") if quotes else escaped
