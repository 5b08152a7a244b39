"""File descriptors: what test-sessions leave for everything else.

Each Session-Sender has a socket. More test-sessions than descriptors would use up the last one, and then nobody could
ask the daemon what is wrong, as it accepts no connection any more.
"""

from __future__ import annotations

import contextlib
import errno
import os
import resource

from twoway.errors import PlaneError

_LEFT = 128
"""For the store, receivers of notices, control connections and whoever asks. Of a small limit a quarter."""


def leave_some() -> None:
    """Raise `PlaneError` (EMFILE) where another test-session would take what must be left."""
    limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if limit == resource.RLIM_INFINITY:
        return
    free = -1
    with contextlib.suppress(OSError):
        free = os.open("/", os.O_PATH | os.O_CLOEXEC)  # the kernel gives the least number that is free
        os.close(free)
    if not 0 <= free < limit - min(_LEFT, limit // 4):
        raise PlaneError("open socket", "", errno.EMFILE)
