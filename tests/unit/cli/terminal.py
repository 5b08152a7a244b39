"""Commands in a terminal of any size."""

from __future__ import annotations

import contextlib
import fcntl
import os
import pty
import select
import struct
import subprocess
import sys
import termios
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

PATIENCE_S = 30.0


class Terminal:
    """A pseudo-terminal with a command in it."""

    def __init__(self, words: Sequence[str], width: int, environment: Mapping[str, str], height: int) -> None:
        self._master, slave = pty.openpty()
        self.resize(width, height)
        around = {name: value for name, value in os.environ.items() if name not in ("COLUMNS", "LINES")}
        self.process = subprocess.Popen(
            ["setsid", "--ctty", sys.executable, "-m", "twoway", *words],  # so that Ctrl-C is a signal
            stdin=slave,
            stdout=slave,
            stderr=slave,
            env={**around, "TERM": "xterm", **environment},
        )
        os.close(slave)
        self.seen = ""

    def resize(self, width: int, height: int) -> None:
        fcntl.ioctl(self._master, termios.TIOCSWINSZ, struct.pack("HHHH", height, width, 0, 0))

    def type(self, keys: str) -> None:
        os.write(self._master, keys.encode())

    def read(self) -> bool:
        """Take what was written; False once the command has ended."""
        if not select.select([self._master], [], [], 0.05)[0]:
            return self.process.poll() is None
        try:
            octets = os.read(self._master, 1 << 16)
        except OSError:  # EIO: the other end is closed
            return False
        self.seen += octets.decode(errors="replace")
        return bool(octets)

    def until(self, text: str) -> str:
        """What was written until this came, which is taken away."""
        deadline = time.monotonic() + PATIENCE_S
        while text not in self.seen:
            assert self.read(), f"it ended without {text!r}: {self.seen[-2000:]!r}"
            assert time.monotonic() < deadline, f"no {text!r} in {self.seen[-2000:]!r}"
        before, _, self.seen = self.seen.partition(text)
        return before

    def end(self) -> int:
        """The exit code."""
        deadline = time.monotonic() + PATIENCE_S
        while self.read():
            assert time.monotonic() < deadline, f"it does not end: {self.seen[-2000:]!r}"
        return self.process.wait(PATIENCE_S)

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        os.close(self._master)


@contextlib.contextmanager
def terminal(words: Sequence[str], width: int, environment: Mapping[str, str], height: int = 24) -> Iterator[Terminal]:
    """A command in a terminal until the block ends."""
    opened = Terminal(words, width, environment, height)
    try:
        yield opened
    finally:
        opened.close()


def in_terminal(words: Sequence[str], width: int, environment: Mapping[str, str]) -> str:
    """What a command that succeeds writes there."""
    with terminal(words, width, environment) as opened:
        code = opened.end()
        assert code == 0, opened.seen
        return opened.seen.replace("\r\n", "\n")
