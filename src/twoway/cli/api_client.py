"""Asking the daemon: HTTP over its Unix socket, or over TCP with a token. The standard library only, so that a command
starts at once; answers become the views that the daemon made them of.
"""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import http.client
import json
import os
import socket
import stat
import struct
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar, cast
from urllib.parse import quote, urlencode, urlsplit

from twoway.analysis.views import CollectionView, MeasurementView, NextHopView, ProbeView, ResultsView, RouteView
from twoway.errors import ApiError, ConfigError

if TYPE_CHECKING:
    import argparse
    from collections.abc import Mapping

DEFAULT_API = "/run/twoway/api.sock"
"""Also the default of `api.socket` in a configuration."""
_TIMEOUT_S = 65.0
"""More than an answer of the API ever takes."""
_MAX_OCTETS = 1 << 30

Json = dict[str, Any]
_View = TypeVar("_View")


def add_api_options(parser: argparse.ArgumentParser) -> None:
    """Where the daemon is."""
    add = parser.add_argument_group("where the daemon is").add_argument
    add("--api", metavar="PATH|URL", help=f"its Unix socket, or http://HOST:PORT ($TWOWAY_API, else {DEFAULT_API})")
    add("--token-file", metavar="FILE", help="file of mode 0600 with the token for a URL ($TWOWAY_API_TOKEN_FILE)")


class Api(NamedTuple):
    """Where the daemon is asked."""

    where: str
    """Path of a socket, or a URL."""
    token: str | None

    @staticmethod
    def of(api: str | None, token_file: str | None) -> Api:
        """From the options, else the environment. Raises `ConfigError`, and `KeyFileError` for the token's file."""
        where = api or os.environ.get("TWOWAY_API") or DEFAULT_API
        path = token_file or os.environ.get("TWOWAY_API_TOKEN_FILE")
        if "://" not in where:
            return Api(where, None)
        parts = urlsplit(where)
        try:
            known = (
                parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port is None or parts.port > 0)
            )
        except ValueError:
            known = False
        if not known or parts.path.strip("/") or parts.query or parts.username is not None:
            raise ConfigError("--api", f"{where!r} is neither a path nor http://HOST:PORT")
        if path is None:
            return Api(where, None)
        from twoway.config.keyfile import read_passphrase_file

        return Api(where, read_passphrase_file(path))

    def get(self, path: str, parameters: Mapping[str, object] | None = None) -> Json:
        """The answer to a question; parameters that are None are left out. Raises `ApiError`."""
        given = {name: value for name, value in (parameters or {}).items() if value is not None}
        return self._ask("GET", f"{path}?{urlencode(given, doseq=True)}" if given else path, None)

    def post(self, path: str, body: Mapping[str, object]) -> Json:
        """The answer to a request. Raises `ApiError`."""
        given = {name: value for name, value in body.items() if value is not None}
        return self._ask("POST", quote(path), json.dumps(given).encode() if given else b"")

    def _ask(self, method: str, target: str, body: bytes | None) -> Json:
        connection = self._connection()
        headers = {"Host": "twoway", "Accept": "application/json", "Connection": "close"}
        if body:
            headers["Content-Type"] = "application/json"
        if self.token is not None:
            headers["Authorization"] = f"Bearer {self.token}"
        try:
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # answered before it had all of it
                connection.request(method, target, body, headers)
            response = connection.getresponse()
            content = response.read(_MAX_OCTETS)
        except OSError as error:
            raise ApiError(self.where, self._remedy(error)) from None
        except http.client.HTTPException:
            raise ApiError(self.where, "what answers there is no twoway daemon, or it broke off") from None
        finally:
            connection.close()
        return self._answer(response.status, content)

    def _connection(self) -> http.client.HTTPConnection:
        if "://" not in self.where:
            return _UnixConnection(self.where)
        parts = urlsplit(self.where)
        kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
        return kind(parts.hostname or "", parts.port, timeout=_TIMEOUT_S)

    def _answer(self, status: int, content: bytes) -> Json:
        try:
            document = json.loads(content)
        except ValueError:
            document = None
        if not isinstance(document, dict):
            raise ApiError(self.where, "what answers there is no twoway daemon")
        if status == http.client.OK:
            return document
        reason = str(document.get("detail") or document.get("title") or f"HTTP status {status}")
        if status == http.client.UNAUTHORIZED:
            reason = f"{self.where} needs a token: name its file with --token-file"
        raise ApiError(self.where, reason, tuple(map(str, document.get("affected", ()))), status)

    def _remedy(self, error: OSError) -> str:
        """Why nobody answered, and what to do."""
        if isinstance(error, TimeoutError):
            return "no answer in time: is it overloaded? (`systemctl status twoway`)"
        match error.errno:
            case errno.ENOENT | errno.ECONNREFUSED:
                return (
                    "nobody is there: start it (`systemctl start twoway`, or `twoway run CONFIG`), "
                    "or say where it is with --api"
                )
            case errno.EAGAIN:
                return "no answer in time: too many ask it at once"
            case errno.EACCES | errno.EPERM:
                return f"not permitted: {_who_may(self.where)}"
        if isinstance(error, socket.gaierror):  # with numbers of its own
            return f"its name cannot be resolved: {error.strerror}"
        return os.strerror(error.errno) if error.errno else str(error)


def _who_may(path: str) -> str:
    """Who may ask at a socket, by its group."""
    import grp

    try:
        status = Path(path).stat()
        group = grp.getgrgid(status.st_gid).gr_name
    except (OSError, KeyError):
        return "ask as root, or as a member of the group in `api.group`"
    if status.st_mode & stat.S_IWGRP:
        return f"ask as root, or as a member of the group {group}"
    return "ask as the user that runs it, or set `api.group` and `api.mode`"


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: str) -> None:
        super().__init__("localhost", timeout=_TIMEOUT_S)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        # Not `settimeout` yet: a socket that does not block is refused at once while the backlog is full (unix(7)).
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, struct.pack("@ll", int(_TIMEOUT_S), 0))
        try:
            self.sock.connect(self._path)
        except OSError:
            self.sock.close()
            raise
        self.sock.settimeout(self.timeout)


def view(kind: type[_View], body: Json) -> _View:
    """A view from its JSON; what a younger daemon has more is left out. Raises `ApiError` for what is missing."""
    names = {field.name for field in dataclasses.fields(cast("Any", kind))}
    try:
        return kind(**{name: value for name, value in body.items() if name in names})
    except TypeError:
        raise ApiError("its socket", f"an answer lacks fields of {kind.__name__}: versions differ") from None


def results_view(body: Json) -> ResultsView:
    """`view` of `ResultsView`, with what is inside."""
    probe = body.get("last_probe")
    collections = [
        view(CollectionView, {**item, "measurements": [view(MeasurementView, part) for part in item["measurements"]]})
        for item in body["collections"]
    ]
    return view(ResultsView, {**body, "last_probe": probe and view(ProbeView, probe), "collections": collections})


def route_view(body: Json) -> RouteView:
    """`view` of `RouteView`, with what is inside."""
    return view(RouteView, {**body, "next_hops": [view(NextHopView, item) for item in body["next_hops"]]})
