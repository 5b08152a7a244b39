"""What all commands share of argument parsing: one-line errors, help without start-up cost, and typed values."""

from __future__ import annotations

import argparse
import os
import sys
from typing import TYPE_CHECKING, NoReturn, TypeVar

from twoway.errors import EXIT_ERROR, ConfigError, one_line

if TYPE_CHECKING:
    from collections.abc import Callable

_Value = TypeVar("_Value")


class HelpFormatter(argparse.RawDescriptionHelpFormatter):
    """argparse's, with the width of the terminal asked for directly: argparse would import half of `shutil` for it."""

    def __init__(self, prog: str) -> None:
        super().__init__(prog, max_help_position=30, width=terminal_width() - 2)


def terminal_width(most: int = 120) -> int:
    """Columns of the terminal, from 40 to `most`; 80 where there is none."""
    try:
        columns = int(os.environ.get("COLUMNS", "0")) or os.get_terminal_size(sys.stdout.fileno()).columns
    except (ValueError, OSError):
        columns = 0
    return max(40, min(most, columns or 80))


class Parser(argparse.ArgumentParser):
    """A parser of one command, whose errors are one line that says where help is."""

    def __init__(self, prog: str, operands: str, description: str, epilog: str) -> None:
        super().__init__(
            prog=prog,
            usage=f"{prog} [OPTION]... {operands}".rstrip(),
            description=description,
            epilog=epilog,
            formatter_class=HelpFormatter,
            allow_abbrev=False,
        )

    def error(self, message: str) -> NoReturn:
        """Print one line on standard error and exit with 2."""
        self.exit(EXIT_ERROR, f"{self.prog}: {one_line(message)} (see {self.prog} --help)\n")


def value_of(parse: Callable[..., _Value], *arguments: int) -> Callable[[str], _Value]:
    """An argparse type from a function of `twoway.config`, which says itself what is wrong with a text."""

    def convert(text: str) -> _Value:
        try:
            return parse(text, "value", *arguments)
        except ConfigError as error:
            raise argparse.ArgumentTypeError(error.reason) from None

    return convert


def abandon_output() -> None:
    """Point standard output nowhere: what is still buffered for a reader who left must not raise again at the end."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
