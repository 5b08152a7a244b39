"""What every part of the planning needs: where files are, and how a refusal gets to the statement that it is about."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from twoway.config import keyfile, plan
from twoway.config.model.client import Limit as LimitModel
from twoway.config.model.file_values import Credential
from twoway.errors import ConfigError, KeyFileError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from pathlib import Path, PurePath

    from twoway.config.document import Path as Place
    from twoway.config.keyfile import Key
    from twoway.config.model.client import RoutingInstance
    from twoway.config.model.client import Thresholds as ThresholdsModel

    Refuse = Callable[[Place, str], None]
    Refused = Callable[[Place], bool]

_STATEMENTS = {
    "count": "probe-count",
    "interval_ns": "probe-interval",
    "timeout_ns": "timeout",
    "payload_len": "data-size",
    "padding_length": "data-size",
    "fill": "data-fill",
    "dscp": "dscp-code-points",
    "dscp_ecn": "dscp-code-points",
    "source": "source-address",
    "sender_address": "source-address",
    "sender_port": "source-port",
    "source_port": "source-port",
    "target_port": "destination-port",
    "timestamps": "offload-type",
    "clock_format": "clock-format",
    "timestamp_format": "clock-format",
    "reflector_mode": "reflector-mode",
    "key": "key-file",
    "stamp_key": "key-file",
    "path": "source-routing",
    "return_path": "source-routing",
    "segments": "source-routing",
    "labels": "source-routing",
    "gateway": "source-routing",
    "tlvs": "tlvs",
    "tlv_hmac": "tlvs",
    "tlv_key": "tlvs",
    "control": "tlvs",
    "control_allow": "tlvs",
    "return_path_allow": "tlvs",
    "micro_sessions": "tlvs",
    "scope_id": "target",
    "interface": "routing-instance",
    "netns": "routing-instance",
    "mode": "authentication",
    "modes": "mode",
    "secrets": "key-file",
    "listen": "address",
    "allow": "client-list",
    "port_range": "port-range",
    "max_sessions": "stateful-sequence",
    "session_timeout_ns": "session-timeout",
    "require_authentication": "require-authentication",
}
"""Field that a `ConfigError` names -> the statement it comes from."""


def statement_of(error: ConfigError) -> str:
    """The statement that a refusal of the packet plane or of a dataclass is about."""
    return "key-file" if isinstance(error, KeyFileError) else _STATEMENTS.get(error.field, error.field)


def reason_of(error: ConfigError) -> str:
    """Why, in the words of a configuration file."""
    if isinstance(error, KeyFileError):
        return str(error).removeprefix("key file ").replace("--key-id and --ssid", "key-id and ssid")
    return error.reason


class Surroundings:
    """Where paths begin, and what has been read from key files already."""

    def __init__(self, directory: Path, credentials: Path | None) -> None:
        self.directory = directory
        self.credentials = credentials
        self._files: dict[tuple[str, bool], tuple[Key, ...] | KeyFileError] = {}

    def path(self, where: PurePath | Credential) -> Path:
        """A path from the root. Raises `ConfigError`."""
        if not isinstance(where, Credential):
            return self.directory / where
        if self.credentials is None:
            how = f"LoadCredential={where.name}:PATH"
            raise ConfigError(
                "credential", f"there is no credential {where.name}: systemd gives it to a service ({how})"
            )
        return self.credentials / where.name

    def keys(self, path: Path, *, secrets: bool) -> tuple[Key, ...]:
        """The keys of a file, read once. Raises `KeyFileError`."""
        name = (str(path), secrets)
        if name not in self._files:
            try:
                self._files[name] = keyfile.read_secret_file(name[0]) if secrets else keyfile.read_key_file(name[0])
            except KeyFileError as error:
                self._files[name] = error
        found = self._files[name]
        if isinstance(found, KeyFileError):
            raise found
        return found


class Planner:
    """Makes plans, and says of each part that cannot be made where and why."""

    def __init__(self, surroundings: Surroundings, refuse: Refuse, refused: Refused) -> None:
        self.surroundings = surroundings
        self.refuse = refuse
        self.refused = refused
        """Whether a statement, or one within it, was refused: what follows from that is not said."""
        self._thresholds: dict[plan.Thresholds, plan.Thresholds] = {}
        self._traps: dict[frozenset[str], frozenset[str]] = {}

    def thresholds(self, model: ThresholdsModel) -> plan.Thresholds:
        """The thresholds of a test-session: where many have the same, these are in memory once."""
        made = _thresholds(model)
        return self._thresholds.setdefault(made, made)

    def traps(self, names: Iterable[str]) -> frozenset[str]:
        """The traps of a test-session, likewise."""
        made = frozenset(names)
        return self._traps.setdefault(made, made)

    @contextmanager
    def refusing(self, place: Place, statement: str | None = None) -> Iterator[None]:
        """Turn what is refused within into a problem of the statement that it is about, or of `statement`."""
        try:
            yield
        except ConfigError as error:
            self.refuse((*place, statement or statement_of(error)), reason_of(error))

    def file(self, place: Place, where: PurePath | Credential | None) -> Path | None:
        """The path of a statement's file, None where there is none, or none to be had."""
        if where is not None:
            with self.refusing(place[:-1], str(place[-1])):
                return self.surroundings.path(where)
        return None


def bound_to(routing: RoutingInstance | None, planner: Planner, place: Place) -> tuple[str | None, str | None]:
    """Interface and network namespace of a routing-instance."""
    if routing is None:
        return None, None
    if routing.vrf is None and routing.netns is None:
        planner.refuse((*place, "routing-instance"), "names neither a vrf nor a netns")
    return routing.vrf, routing.netns


def _thresholds(model: ThresholdsModel) -> plan.Thresholds:
    limits = {
        name: plan.Limit(value.limit_value, value.average) for name, value in model if isinstance(value, LimitModel)
    }
    return plan.Thresholds(
        **limits,
        successive_loss=model.successive_loss,
        total_loss=model.total_loss,
        control_failure=model.control_failure,
        own_faults=model.own_faults,
    )
