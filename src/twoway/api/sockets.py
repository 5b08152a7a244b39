"""The sockets that the API listens on. Who may open the Unix socket may ask, so it never exists with a wider mode."""

from __future__ import annotations

import errno
import grp
import os
import socket
import stat
from typing import TYPE_CHECKING

from twoway.errors import ConfigError, PlaneError

if TYPE_CHECKING:
    from pathlib import Path

_PROBE_S = 1.0
"""How long a listener that may be alive has to take a connection."""


def unix_listener(path: Path, mode: int, group: str | None) -> socket.socket:
    """A listening Unix socket of this mode and group. Raises `PlaneError`, and `ConfigError` for the group.

    One that nobody listens on is replaced; one that somebody listens on, or what is no socket, is left alone.
    """
    gid = _group(group)
    _make_folder(path)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        # The kernel gives the file the mode of the socket less the umask (unix(7), bind), so that it is ours alone
        # until it has its group; changing the umask would concern all threads.
        os.fchmod(listener.fileno(), 0o600)
        _bind(listener, path)
        if gid is not None:
            os.chown(path, -1, gid, follow_symlinks=False)
        path.chmod(mode)
        listener.listen(64)
        listener.setblocking(False)
    except OSError as error:
        listener.close()
        raise PlaneError("open the API's socket", str(path), error.errno or 0) from None
    except PlaneError:
        listener.close()
        raise
    return listener


def _group(name: str | None) -> int | None:
    if name is None:
        return None
    try:
        return grp.getgrnam(name).gr_gid
    except KeyError:
        raise ConfigError("api.group", f"no group {name!r} on this machine") from None


def _make_folder(path: Path) -> None:
    """The last folder on the way, as /run/twoway, which is gone after each start of the machine."""
    try:
        path.parent.mkdir(mode=0o755, exist_ok=True)
        mode = path.parent.stat().st_mode
    except OSError as error:
        raise PlaneError("make the API's folder", str(path.parent), error.errno or 0) from None
    if mode & stat.S_IWOTH and not mode & stat.S_ISVTX:
        reason = "everybody can write to it, and put another socket there: run `chmod o-w` on it"
        raise PlaneError("use the API's folder", str(path.parent), 0, reason)


def _bind(listener: socket.socket, path: Path) -> None:
    try:
        listener.bind(str(path))
    except OSError as error:
        if error.errno != errno.EADDRINUSE:
            raise
        _remove_stale(path)
        listener.bind(str(path))


def _remove_stale(path: Path) -> None:
    if not stat.S_ISSOCK(path.lstat().st_mode):
        raise PlaneError("open the API's socket", str(path), 0, "there is a file that is no socket: move it away")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(_PROBE_S)
        try:
            probe.connect(str(path))
        except ConnectionRefusedError:
            path.unlink(missing_ok=True)
            return
        except FileNotFoundError:
            return
        except OSError as error:  # a full backlog, say: somebody is there
            if error.errno not in (errno.EAGAIN, errno.ETIMEDOUT, None):
                raise
    raise PlaneError("open the API's socket", str(path), 0, "another daemon answers there: stop it, or set api.socket")


def remove_socket(path: Path, inode: int) -> None:
    """Remove the socket's file, unless it is somebody else's by now."""
    try:
        if path.lstat().st_ino == inode:
            path.unlink()
    except FileNotFoundError:
        return
    except OSError as error:
        raise PlaneError("remove the API's socket", str(path), error.errno or 0) from None


def tcp_listener(address: str, port: int) -> socket.socket:
    """A listening TCP socket. Raises `PlaneError`."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    where = f"[{address}]:{port}" if family == socket.AF_INET6 else f"{address}:{port}"
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        listener.bind((address, port))
        listener.listen(64)
        listener.setblocking(False)
    except (OSError, OverflowError, UnicodeError) as error:
        listener.close()
        raise PlaneError("bind", where, getattr(error, "errno", 0) or 0) from None
    return listener
