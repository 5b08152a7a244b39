"""Man pages from the parsers of the commands and from the model of the configuration, in the macros of man(7).

What argparse shows for `--help` is taken apart again: paragraphs, indented lines (which stay as they are), "Exit code:"
and "examples:", which have sections of their own in a man page.
"""

from __future__ import annotations

import re
import textwrap
from functools import partial
from typing import TYPE_CHECKING

from twoway.cli.main import COMMANDS, USAGE
from twoway.cli.parsers import parsers
from twoway.cli.perfsonar_options import perfsonar_parser
from twoway.config.model import Configuration
from twoway.config.model.description import Shape, statements_of
from twoway.config.sample import explanation

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from twoway.config.model.statements import Statements

_CONFIGURED = ("twoway run", "twoway check", "twoway unit", "twoway import")
"""Commands about a configuration file."""


def pages() -> Mapping[str, Callable[[], str]]:
    """File below a folder of man pages -> what makes it: for each command, `twoway` itself, and the configuration."""
    lines = {shown: line for shown, (_, line) in COMMANDS.items()}
    found: dict[str, Callable[[], str]] = {
        "man1/twoway.1": partial(overview_page, lines, USAGE),
        "man5/twoway.yaml.5": configuration_page,
    }
    for (name, parser), line in zip(parsers().items(), lines.values(), strict=True):
        found[f"man1/twoway-{name}.1"] = partial(command_page, parser, line)
    for name, protocol in (("twping", "TWAMP"), ("owping", "OWAMP")):
        line = f"measure with {protocol}, as perfSONAR's program of this name"
        found[f"man1/{name}.1"] = partial(command_page, perfsonar_parser(name), line)
    return found


def command_page(parser: argparse.ArgumentParser, summary: str) -> str:
    """The page of one command. `summary` is its line in the list of commands."""
    notes, status, examples = _taken_apart(parser.epilog or "")
    also = [("twoway", 1)] + [("twoway.yaml", 5)] * (parser.prog in _CONFIGURED)
    lines = [
        *_head(parser.prog.replace(" ", "-"), 1, summary),
        ".SH SYNOPSIS",
        *_synopsis(parser),
        ".SH DESCRIPTION",
        *_prose(parser.description or ""),
        *_options(parser),
        *_section("NOTES", notes),
        *_section("EXIT STATUS", status),
        *_section("EXAMPLES", examples),
        *_see_also(also),
    ]
    return "\n".join(lines) + "\n"


def overview_page(commands: Mapping[str, str], usage: str) -> str:
    """The page of `twoway` itself. `commands`: each as it is shown, and its line; `usage`: its help."""
    _, _, examples = _taken_apart(usage[usage.index("examples:") :])
    lines = [
        *_head("twoway", 1, "measures network paths in both directions"),
        ".SH SYNOPSIS",
        r"\fBtwoway\fR \fICOMMAND\fR [\fIOPTION\fR]... [\fIARGUMENT\fR]...",
        ".SH DESCRIPTION",
        *_prose(usage.split("\n\n")[1]),
        ".SH COMMANDS",
    ]
    for shown, line in commands.items():
        lines += _item(_words(shown), f"{line}; see {_page_of(shown)}.")
    lines += _section("EXAMPLES", examples)
    names = sorted({f"twoway-{shown.partition(' ')[0]}" for shown in commands} | {"twping", "owping"})
    return "\n".join([*lines, *_see_also([(name, 1) for name in names] + [("twoway.yaml", 5)])]) + "\n"


def configuration_page() -> str:
    """The page of the configuration: each model of statements once, where it is met first."""
    text = """\
A configuration of `twoway run` is YAML, or TOML if its name ends in .toml. It says in Junos's words, where Junos has
one, what is measured, answered, tracked, told, kept and asked. NAME stands for a name that you choose.

A time is written 20ms, 1s, 5min, 2h or 14d; a bare number is seconds unless the statement says otherwise. Secrets stand
in files of mode 0600, or are credentials of systemd: `{credential: NAME}` instead of a path.

`twoway check FILE` says all that is wrong with a file, by line; `twoway check --sample` prints every statement with its
default in a file that works; `twoway schema config` prints a JSON Schema for editors.
"""
    lines = [
        *_head("twoway.yaml", 5, "what the twoway daemon is to do"),
        ".SH DESCRIPTION",
        *_prose(text),
        ".SH STATEMENTS",
        *_statements(Configuration, (), set()),
        *_see_also([("twoway", 1), ("twoway-run", 1), ("twoway-check", 1), ("twoway-import", 1), ("twoway-unit", 1)]),
    ]
    return "\n".join(lines) + "\n"


def spellings(action: argparse.Action) -> list[str]:
    """The names of an option, the last with its value; of an operand, what it is called."""
    value = action.metavar if isinstance(action.metavar, str) else "|".join(map(str, action.choices or ()))
    if not action.option_strings:
        return [value or action.dest]
    return [*action.option_strings[:-1], f"{action.option_strings[-1]} {value}".strip()]


def _head(name: str, section: int, summary: str) -> Iterator[str]:
    yield r".\" Made by `make docs`: what is changed here is lost."
    yield f'.TH {name.upper()} {section} "" twoway "twoway manual"'
    yield ".SH NAME"
    yield f"{_escaped(name)} \\- {_escaped(summary)}"


def _synopsis(parser: argparse.ArgumentParser) -> Iterator[str]:
    operands = (parser.usage or "").removeprefix(parser.prog).strip()
    yield rf"\fB{_literal(parser.prog)}\fR {_words(operands)}"


def _words(usage: str) -> str:
    """What is to be replaced in italics, what is to be written as it stands in bold."""
    return re.sub(
        r"[A-Z]{2,}|[a-z]\w+", lambda word: rf"\f{'I' if word[0].isupper() else 'B'}{word[0]}\fR", _literal(usage)
    )


def _page_of(shown: str) -> str:
    return f"twoway-{shown.partition(' ')[0]}(1)"


def _options(parser: argparse.ArgumentParser) -> Iterator[str]:
    """Operands, then options by group. argparse has no public way to list what was added to it."""
    groups = [(group.title, group._group_actions) for group in parser._action_groups]  # noqa: SLF001  (see above)
    operands = [action for _, actions in groups for action in actions if not action.option_strings]
    if operands:
        yield ".SH OPERANDS"
    for action in operands:
        yield from _described(action)
    yield ".SH OPTIONS"
    for title, actions in groups:
        options = [action for action in actions if action.option_strings]
        if options and title not in (None, "options"):
            yield f".SS {_escaped(str(title)[:1].upper() + str(title)[1:])}"
        for action in options:
            yield from _described(action)


def _described(action: argparse.Action) -> Iterator[str]:
    names = []
    for spelling in spellings(action):
        name, _, value = spelling.partition(" ")
        bold = rf"\fB{_literal(name)}\fR" if action.option_strings else rf"\fI{_literal(name)}\fR"
        names.append(bold + (rf" \fI{_literal(value)}\fR" if value else ""))
    return _item(", ".join(names), (action.help or "").replace("%%", "%"))


def _statements(model: type[Statements], path: tuple[str, ...], explained: set[type[Statements]]) -> Iterator[str]:
    explained.add(model)
    if path:
        yield f".SS {_literal(' '.join(path))}"
        yield from _prose(" ".join((model.__doc__ or "").split()))
    inner: list[tuple[type[Statements], tuple[str, ...]]] = []
    for statement in statements_of(model):
        yield from _item(rf"\fB{_literal(statement.name)}\fR", explanation(statement))
        if statement.model is not None:
            names = ("NAME",) if statement.shape is Shape.NAMED else ()
            inner.append((statement.model, (*path, statement.name, *names)))
    for below, place in inner:
        if below not in explained:
            yield from _statements(below, place, explained)


def _see_also(pages: Iterable[tuple[str, int]]) -> Iterator[str]:
    yield ".SH SEE ALSO"
    yield ",\n".join(f"\\fB{_literal(name)}\\fR({section})" for name, section in pages)


def _item(tag: str, text: str) -> Iterator[str]:
    yield ".TP"
    yield tag
    yield _paragraph(text)


def _section(title: str, text: str) -> Iterator[str]:
    if text:
        yield f".SH {title}"
        yield from _prose(text)


def _taken_apart(epilog: str) -> tuple[str, str, str]:
    """Notes, exit status and examples of an epilog."""
    notes, _, examples = epilog.partition("examples:\n")
    before, found, status = notes.partition("Exit code: ")
    status, _, after = status.partition("\n\n")
    return f"{before.rstrip()}\n\n{after}".strip("\n"), status if found else "", examples


def _prose(text: str) -> Iterator[str]:
    """Paragraphs; indented lines stay as they are."""
    for number, block in enumerate(re.split(r"\n\s*\n", text.strip("\n"))):
        kept = all(line.startswith(" ") for line in block.splitlines())
        if number:
            yield ".PP"
        if kept:
            yield ".EX"
            yield from (_guarded(_literal(line)) for line in textwrap.dedent(block).splitlines())
            yield ".EE"
        else:
            yield _paragraph(block)


def _paragraph(text: str) -> str:
    words = " ".join(text.split())
    lines = textwrap.wrap(_escaped(words), 100, break_long_words=False, break_on_hyphens=False)
    return "\n".join(map(_guarded, lines))


def _escaped(text: str) -> str:
    """Prose: what is code or an option in bold, with hyphens that can be copied."""
    parts = re.split(r"`([^`]+)`|(?<![\w-])(--?[A-Za-z0-9][\w-]*)", text)
    prose = (_ascii(part.replace("\\", r"\e")) for part in parts[::3])
    code = (rf"\fB{_literal(one or other)}\fR" for one, other in zip(parts[1::3], parts[2::3], strict=True))
    return "".join(piece for pair in zip(prose, [*code, ""], strict=True) for piece in pair)


def _literal(text: str) -> str:
    """What is to be typed as it stands: these letters would become typography otherwise (groff_char(7))."""
    escapes = {"\\": r"\e", "-": r"\-", "'": r"\(aq", "`": r"\(ga", "^": r"\(ha", "~": r"\(ti"}
    return _ascii("".join(escapes.get(letter, letter) for letter in text))


def _ascii(text: str) -> str:
    """Other letters by their number: not every troff knows which encoding a file has."""
    return "".join(letter if letter.isascii() else rf"\[u{ord(letter):04X}]" for letter in text)


def _guarded(line: str) -> str:
    """A line that begins like a request is none."""
    return rf"\&{line}" if line.startswith((".", "'")) else line
