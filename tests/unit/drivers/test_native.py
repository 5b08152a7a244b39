"""Where the extension module cannot be loaded, one line says so and what to do, whichever program it is."""

from __future__ import annotations

import subprocess
import sys

import pytest

_COMMANDS = {
    "ping": ("twoway.cli.main", ["ping", "192.0.2.1"]),
    "reflector": ("twoway.cli.main", ["reflector"]),
    "server": ("twoway.cli.main", ["server"]),
    "twping": ("twoway.cli.twping", ["192.0.2.1"]),
    "owping": ("twoway.cli.owping", ["192.0.2.1"]),
}


@pytest.mark.parametrize("name", _COMMANDS)
def test_a_program_without_the_extension_says_what_to_do(name: str) -> None:
    module, arguments = _COMMANDS[name]
    program = f"""
import sys
sys.modules["twoway._native"] = None
from {module} import main
sys.exit(main({arguments!r}))
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode != 0
    (line,) = done.stderr.splitlines()
    assert ": load the packet plane: " in line
    assert "reinstall with `pip install .`" in line
