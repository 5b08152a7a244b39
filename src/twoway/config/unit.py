"""The systemd unit of a configuration: `twoway run` with what the configuration needs, and nothing else. Pure.

Theory of operation. Everything that systemd can take away is taken away (`_ALWAYS`), except for what would make the
daemon measure badly and say so only in figures: the state of the clock, and what /proc tells of this host. What is left
to give depends on the configuration: capabilities (`config.privileges`), paths that are written to, credentials, and
the group of the API's socket. Of a configuration only the model is read, so that a unit can be made before the secrets
and the addresses of the machine it is for are there.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import TYPE_CHECKING

from twoway.config.document import MAX_OCTETS, ConfigurationError, Problem, path_text, read_document
from twoway.config.messages import validated
from twoway.config.model.file_values import Credential, Secret
from twoway.config.model.statements import Statements, hyphened
from twoway.config.privileges import PRIVILEGES

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from twoway.config.document import Path as Place
    from twoway.config.model import Configuration

NAME = "twoway"
"""Of the service, its user and its folders."""
CONFIGURATION = PurePath("/etc/twoway/twoway.yaml")
EXECUTABLE = PurePath("/usr/bin/twoway")
CREDENTIALS = PurePath("/etc/twoway/credentials")
"""Where the unit looks for the credentials that a configuration names."""
_OWN_FOLDERS: Mapping[str, PurePath] = {
    "StateDirectory": PurePath("/var/lib", NAME),
    "RuntimeDirectory": PurePath("/run", NAME),
}
"""Folders that systemd makes for the service's user."""
_HIDDEN = (PurePath("/home"), PurePath("/root"), PurePath("/run/user"), PurePath("/tmp"), PurePath("/var/tmp"))  # noqa: S108  (named, not used)
"""What ProtectHome= and PrivateTmp= hide."""
_WATCHDOG_S = 30
"""The daemon gives a sign of life each third of it."""
_STOP_S = 30
"""Results are saved and notices told within a few seconds; a disk may be slow."""

_PACKETS = "CAP_NET_RAW"
"""What frames and AF_XDP need."""

_HEAD = """\
# `twoway run` as a service: hardened, with the privileges that {of} needs.
# Made by `twoway unit`; make it again when the configuration changes what it listens on or where it writes.
"""
_ALWAYS = """\
# What a measurement does not need is taken away.
NoNewPrivileges=yes
ProtectSystem=strict
ProtectHome=yes
PrivateTmp=yes
PrivateDevices=yes
PrivateMounts=yes
ProtectHostname=yes
ProtectKernelTunables=yes
ProtectKernelModules=yes
ProtectKernelLogs=yes
ProtectControlGroups=yes
# No ProcSubset=pid: /proc/stat tells how much processor time the hypervisor took.
ProtectProc=invisible
# AF_NETLINK: the C library asks which address families there are before it resolves a name, and paths that are told ask
# for their next hop.
RestrictAddressFamilies=AF_INET AF_INET6 AF_UNIX AF_NETLINK{packet}
RestrictNamespaces=yes
RestrictRealtime=yes
RestrictSUIDSGID=yes
RemoveIPC=yes
LockPersonality=yes
MemoryDenyWriteExecute=yes
KeyringMode=private
UMask=0077
SystemCallArchitectures=native
# No ProtectClock=: it forbids reading the clock's state too (adjtimex), and one-way delays would have no error bound.
# Setting the clock stays impossible without CAP_SYS_TIME.
SystemCallFilter=@system-service
SystemCallFilter=~@privileged @resources
SystemCallFilter=adjtimex clock_adjtime{chown}
SystemCallErrorNumber=EPERM
"""


@dataclass(frozen=True, slots=True)
class Unit:
    """A unit, and what whoever installs it should know."""

    text: str
    warnings: tuple[str, ...]
    """Statements that will not work under it, with the remedy."""


def read_model(path: str) -> Configuration:
    """The statements of a file, each valid by itself; no key file is read. Raises `ConfigurationError`."""
    try:
        with Path(path).open("rb") as file:
            text = file.read(MAX_OCTETS + 1)
    except OSError as error:
        raise ConfigurationError([Problem(path, None, (), os.strerror(error.errno or 0))]) from None
    document = read_document(text, path)
    problems = list(document.problems)

    def note(place: Place, message: str) -> None:
        problems.append(Problem(path, document.line(place), place, message))

    configuration = validated(document.data, note)
    if problems:
        raise ConfigurationError(problems)
    return configuration


def unit(
    configuration: Configuration, path: PurePath = CONFIGURATION, executable: PurePath = EXECUTABLE, of: str = ""
) -> Unit:
    """The unit that runs the configuration of this path; `of` is what its head calls it instead of the path."""
    group, socket = configuration.api.group, path.parent / configuration.api.socket
    capabilities = _capabilities(configuration)
    lines = [
        _HEAD.format(of=of or path),
        "[Unit]",
        "Description=twoway: active measurement of network paths",
        "After=network-online.target time-sync.target",
        "Wants=network-online.target",
        "",
        "[Service]",
        "Type=notify",
        f"ExecStart={_quoted(executable)} run {_quoted(path)}",
        "# Fails, with the reason, when the configuration has errors; what runs goes on.",
        f"ExecReload={_quoted(executable)} request reload --api {_quoted(socket)}",
        f"WatchdogSec={_WATCHDOG_S}",
        f"TimeoutStopSec={_STOP_S}",
        "Restart=on-failure",
        "RestartSec=5",
        "# Each test-session is a socket.",
        "LimitNOFILE=524288",
        "",
        "# A user that exists while the service runs. It reads no file that is root's alone: secrets are credentials.",
        "DynamicUser=yes",
        f"User={NAME}",
        *([] if group is None else [f"SupplementaryGroups={group}"]),
        *_folders(configuration, path),
        *_credentials(configuration),
        "",
        *_granted(capabilities),
        # A user namespace of its own knows no other group, and its capabilities count for nothing on the host's ports.
        *([] if capabilities or group is not None else ["PrivateUsers=yes"]),
        "",
        _ALWAYS.format(
            chown="" if group is None else " @chown", packet=" AF_PACKET" if _PACKETS in capabilities else ""
        ),
        "[Install]",
        "WantedBy=multi-user.target",
    ]
    return Unit("\n".join(lines) + "\n", tuple(_warnings(configuration, path, executable)))


def _capabilities(configuration: Configuration) -> dict[str, list[str]]:
    """Capability -> what in the configuration needs it."""
    needed: dict[str, list[str]] = {}
    for row in PRIVILEGES:
        statements = list(row.needed_by(configuration)) if row.given else []
        if statements:
            more = f" and {len(statements) - 1} more" if len(statements) > 1 else ""
            needed.setdefault(row.capability, []).append(f"{row.purpose} ({statements[0]}{more})")
    return needed


def _granted(capabilities: Mapping[str, list[str]]) -> Iterator[str]:
    for capability, reasons in capabilities.items():
        yield from (f"# {capability} for {reason}." for reason in reasons)
    names = " ".join(capabilities)
    if names:
        yield f"AmbientCapabilities={names}"
    yield f"CapabilityBoundingSet={names}"


def _folders(configuration: Configuration, path: PurePath) -> Iterator[str]:
    """Where it writes, made by systemd where that can be."""
    yield f"ConfigurationDirectory={NAME}"
    yield f"StateDirectory={NAME}"
    yield "StateDirectoryMode=0700"
    yield f"RuntimeDirectory={NAME}"
    elsewhere = {folder for _, folder in _written(configuration, path) if _owner(folder) is None}
    yield from (f"ReadWritePaths={_quoted(folder)}" for folder in sorted(elsewhere))


def _written(configuration: Configuration, path: PurePath) -> Iterator[tuple[str, PurePath]]:
    """Statements that name a file to be written, and its folder."""
    if configuration.store is not None:
        yield "store.path", (path.parent / configuration.store.path).parent
    yield "api.socket", (path.parent / configuration.api.socket).parent


def _owner(folder: PurePath) -> str | None:
    """The setting that makes this folder."""
    return next((name for name, own in _OWN_FOLDERS.items() if folder.is_relative_to(own)), None)


def secrets(statements: Statements, place: Place = ()) -> Iterator[tuple[Place, PurePath | Credential]]:
    """Every statement that names a secret, and where the secret is."""
    for name, field in type(statements).model_fields.items():
        value, here = getattr(statements, name), (*place, hyphened(name))
        if any(isinstance(part, Secret) for part in field.metadata):
            if value is not None:
                yield here, value
        elif isinstance(value, Statements):
            yield from secrets(value, here)
        elif isinstance(value, dict | list):
            inner = value.items() if isinstance(value, dict) else enumerate(value)
            for key, held in inner:
                if isinstance(held, Statements):
                    yield from secrets(held, (*here, key))


def _credentials(configuration: Configuration) -> Iterator[str]:
    names = sorted({where.name for _, where in secrets(configuration) if isinstance(where, Credential)})
    yield from (f"LoadCredential={name}:{CREDENTIALS / name}" for name in names)
    if not names:
        yield "# A statement `key-file: {credential: keys}` gets its file by this line:"
        yield f"#LoadCredential=keys:{CREDENTIALS / 'keys'}"


def _warnings(configuration: Configuration, path: PurePath, executable: PurePath) -> Iterator[str]:
    for row in PRIVILEGES:
        if not row.given:
            for statement in row.needed_by(configuration):
                yield f"{statement}: {row.purpose} needs {row.capability}, which the unit does not give: {row.instead}"
    for place, where in secrets(configuration):
        if isinstance(where, PurePath):
            # Whoever could read it under any user would be everybody, which a key file must not allow.
            yield (
                f"{path_text(place)}: the service's user is new at each start and cannot read {where}: write "
                f"{{credential: {where.name}}}, and copy the file to {CREDENTIALS / where.name}"
            )
    written = tuple(_written(configuration, path))
    for what, used in (("the configuration", path), ("the command", executable), *written):
        for folder in _HIDDEN:
            if used.is_relative_to(folder):
                yield f"{what}: {used}: the service does not see {folder}"
    for statement, folder in written:
        if _owner(folder) is None:
            yield f"{statement}: {folder} must be there, and writable for the service's user, new at each start"


def _quoted(path: PurePath) -> str:
    """A path in a unit: a space would end it, a percent sign begin a specifier (systemd.syntax(7))."""
    text = str(path).replace("%", "%%").replace("\\", "\\\\").replace('"', '\\"')
    return f'"{text}"' if any(c in text for c in " '\"\t\\") else text
