"""`twping`: measure with TWAMP (RFC 5357), as users of perfSONAR's program of this name and their scripts know it."""

from __future__ import annotations

import sys

from twoway.cli import perfsonar_command


def main(arguments: list[str] | None = None) -> int:
    """Run one command line. Returns the exit code."""
    return perfsonar_command.main("twping", sys.argv[1:] if arguments is None else arguments)
