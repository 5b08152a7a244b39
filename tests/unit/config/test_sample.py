"""The sample: it works, it has every statement, and each of its comments can be made a statement."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

from twoway.config.check import check_text
from twoway.config.document import read_document
from twoway.config.messages import validated
from twoway.config.model import Configuration
from twoway.config.model.description import statements_of
from twoway.config.sample import explanation, sample

if TYPE_CHECKING:
    from twoway.config.model.statements import Statements

TEXT = sample()


def test_the_sample_is_a_good_configuration() -> None:
    found = check_text(TEXT, "sample.yaml", Path("/etc/twoway"))
    assert (found.errors, found.warnings) == ((), ())


def test_every_statement_is_in_it() -> None:
    written = set(re.findall(r"^[ #-]*([a-z][a-z0-9-]+):", TEXT, re.MULTILINE))
    models: list[type[Statements]] = [Configuration]
    for model in models:
        for statement in statements_of(model):
            assert statement.name in written, statement.name
            if statement.model is not None and statement.model not in models:
                models.append(statement.model)
    assert len(models) == 40


def test_its_lines_fit_a_terminal() -> None:
    assert max(len(line) for line in TEXT.splitlines()) <= 125
    assert not [line for line in TEXT.splitlines() if line != line.rstrip()]


def test_its_comments_are_statements_but_for_their_sign() -> None:
    """Without the first `#`, every shown statement is valid; those with a short form are shown in both."""
    head, _, body = TEXT.partition("\n\n")
    assert all(line.startswith("#") for line in head.splitlines())
    shown = re.sub(r"^( *)# (?=[a-z ])", r"\1", body, flags=re.MULTILINE)
    short = re.sub(r"^ *## or, with statements of its own:\n( *)[a-z-]+:\n(?:\1 .*\n)*", "", shown, flags=re.MULTILINE)
    mistakes: list[str] = []
    read = read_document(short, "f.yaml")
    assert not read.problems
    validated(read.data, lambda path, message: mistakes.append(f"{path}: {message}"))
    assert not mistakes
    longer = re.sub(r"^( *)[a-z-]+: .*\n *## or, with statements of its own:\n", "", shown, flags=re.MULTILINE)
    read = read_document(longer, "f.yaml")
    assert not read.problems
    validated(read.data, lambda path, message: mistakes.append(f"{path}: {message}"))
    assert not mistakes


def test_an_explanation_has_meaning_range_and_default() -> None:
    workers = next(one for one in statements_of(Configuration) if one.name == "workers")
    assert explanation(workers) == "Threads that send probes. [a number from 1 to 256; default 1]"
