"""The parsers of all commands at once, for documents and tests; no command imports it."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

from twoway.cli.main import COMMANDS

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable, Mapping


def parsers() -> Mapping[str, argparse.ArgumentParser]:
    """Name of a command of `twoway` -> its parser. The module of each has `NAME_parser`."""
    found = {}
    for shown, (module, _) in COMMANDS.items():
        name = shown.partition(" ")[0]
        make: Callable[[], argparse.ArgumentParser]
        make = getattr(importlib.import_module(f"twoway.cli.{module}"), f"{name}_parser")
        found[name] = make()
    return found
