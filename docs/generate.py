"""Writes the parts of the documents that a table in the code already says: options, metrics, counters, formats.

    generate.py            write them
    generate.py --check    change nothing; fail and name the documents that differ

Some documents are generated as a whole (`FILES`). In the others a part stands between `<!-- generated: NAME -->` and
`<!-- end -->`, and NAME is a function's name in `PARTS`. What is written by hand stays by hand; what is copied by hand
goes stale, so nothing is.
"""

from __future__ import annotations

import errno
import json
import re
import sys
import tomllib
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import man_pages
from protocol_rows import DOCUMENTS, EVIDENCE

from twoway.analysis.conditions import SUBJECTS
from twoway.analysis.exposition import SCOPES
from twoway.analysis.metrics import METRICS, SECTIONS, Kind, in_section
from twoway.analysis.notices import NOTICES
from twoway.analysis.reflector import DISPOSITIONS, DISTRIBUTIONS
from twoway.analysis.samples import COLUMNS
from twoway.cli.capabilities import REMEDIES as FEATURES
from twoway.cli.parsers import parsers
from twoway.config.model.description import statements_of
from twoway.config.model.routes import Damping, Limits
from twoway.config.planning_routes import METRICS as METRICS_OF_LIMITS
from twoway.config.privileges import PRIVILEGES
from twoway.config.route_plan import MOST_METRIC, MOST_PREFERENCE, priority_of
from twoway.config.tlvs import FORMS
from twoway.control.transitions import COMMANDS, SESSION, SET_UP
from twoway.errors import REMEDIES
from twoway.export import fields
from twoway.notify.message import PARAMETERS
from twoway.notify.notifications import NOTIFICATIONS
from twoway.routes.hooks import ENVIRONMENT

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from enum import Enum

    from twoway.export.fields import Field

DOCS = Path(__file__).resolve().parent
ROOT = DOCS.parent
_PART = re.compile(r"(<!-- generated: (?P<name>[a-z-]+) -->\n).*?(<!-- end -->)", re.DOTALL)


def _table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    lines = ["| " + " | ".join(head) + " |", "|" + " --- |" * len(head)]
    lines += ["| " + " | ".join(str(cell).replace("|", "\\|") for cell in row) + " |" for row in rows]
    return "\n".join(lines)


def _options(parser: argparse.ArgumentParser) -> str:
    """A table for each group of options. argparse has no public way to list what was added to it."""
    blocks = []
    for group in parser._action_groups:  # noqa: SLF001  (see above)
        rows, title = [], group.title or ""
        for action in group._group_actions:  # noqa: SLF001  (see above)
            if not action.option_strings or action.dest == "help":
                continue
            spelt = ", ".join(f"`{name}`" for name in man_pages.spellings(action))
            rows.append((spelt, (action.help or "").replace("%%", "%")))
        if rows:
            blocks.append(f"**{title[:1].upper()}{title[1:]}**\n\n" + _table(("Option", "Meaning (default)"), rows))
    return "\n\n".join(blocks)


def _dispositions() -> str:
    rows = ((f"`{name}`", words[:1].upper() + words[1:]) for name, words in DISPOSITIONS.items())
    return _table(("Counter", "What became of the packet"), rows)


def _features() -> str:
    return _table(("Feature", 'What a "no" means, and what to do'), ((f"`{n}`", text) for n, text in FEATURES.items()))


def _remedies() -> str:
    rows = (
        (operation or "any other", errno.errorcode[number], text.replace("{host}", "HOST").replace("{port}", "PORT"))
        for (operation, number), text in REMEDIES.items()
    )
    return _table(("Operation", "Error", "What to do"), rows)


def _privileges() -> str:
    rows = (
        (f"`{row.feature}`", f"`{row.capability}`", row.purpose, "where needed" if row.given else "never", row.instead)
        for row in PRIVILEGES
    )
    return _table(("Feature", "Capability", "Asked for", "In the unit", "Without it"), rows)


def _priorities() -> str:
    """Linux's metric for some of Junos's preferences and metrics."""
    pairs = ((0, 1), (1, 1), (1, 2), (1, MOST_METRIC), (2, 1), (5, 1), (5, 3), (100, 1), (MOST_PREFERENCE, MOST_METRIC))
    rows = ((p, m, priority_of(4, p, m), priority_of(6, p, m)) for p, m in pairs)
    return _table(("`preference`", "`metric`", "IPv4: metric", "IPv6: metric"), rows)


def _hook_environment() -> str:
    rows = ((f"`{name}`", meaning) for name, meaning in ENVIRONMENT.items())
    return _table(("Variable", "What it says"), rows)


def _route_limits() -> str:
    rows = (
        (f"`{one.name}`", one.meaning, f"`{METRICS_OF_LIMITS[one.name.replace('-', '_')]}`", one.words)
        for one in statements_of(Limits)
    )
    return _table(("Limit", "Of what", "Metric", "Value"), rows)


def _damping() -> str:
    rows = ((f"`{one.name}`", one.meaning, one.default) for one in statements_of(Damping))
    return _table(("Statement", "Meaning", "Default"), rows)


def _metrics() -> str:
    blocks = []
    for section, meaning in SECTIONS.items():
        rows = [
            (
                f"`{metric.name}`",
                metric.kind,
                metric.unit,
                metric.direction,
                metric.rfc,
                metric.description,
                f"`{metric.condition}`" if metric.condition else "",
            )
            for metric in in_section(section)
        ]
        head = ("Name", "Kind", "Unit", "Direction", "Defined by", "Meaning", "In conditions")
        blocks.append(f"## `{section}`\n\n{meaning}\n\n{_table(head, rows)}")
    return "\n\n".join(blocks)


def _views() -> str:
    """What the daemon shows of a test-session: each field with the string below it."""
    from twoway.analysis import views  # here: the strings are read by what needs FastAPI
    from twoway.api.openapi import field_meanings

    blocks = []
    for heading, view in (
        ("Of a test-session", views.ResultsView),
        ("Of a collection", views.CollectionView),
        ("Of `measurements`", views.MeasurementView),
        ("Of a probe", views.ProbeView),
    ):
        meanings = field_meanings()[view.__name__]
        rows = [(f"`{name}`", " ".join(meanings[name].split())) for name in view.__dataclass_fields__]
        blocks.append(f"### {heading}\n\n{_table(('Name', 'Meaning'), rows)}")
    return "\n\n".join(blocks)


def _conditions() -> str:
    defaults = {m.condition: m.statistic for m in METRICS if m.condition and m.kind is Kind.DISTRIBUTION}
    rows = ((f"`{name}`", f"`{defaults[name]}`" if name in defaults else "") for name in SUBJECTS)
    return _table(("Subject", "Statistic, where none is written"), rows)


def _distributions() -> str:
    return _table(("In `distributions`", "Meaning"), ((f"`{name}`", words) for name, words in DISTRIBUTIONS.items()))


_FIELD_HEAD = ("Name", "Type", "Unit", "Meaning")


def _fields(table: Sequence[Field[Any]]) -> str:
    rows = (
        (
            f"`{field.name}`",
            field.type + " or null" * field.optional,
            field.unit,
            field.description + (f" One of {_codes(field.values)}." if field.values else ""),
        )
        for field in table
    )
    return _table(_FIELD_HEAD, rows)


def _samples() -> str:
    rows = []
    for column in COLUMNS:
        kind = "string" if column.names else "array" if column.bits else "integer" + " or null" * column.optional
        choice = f" One of {_codes(column.names)}." if column.names else ""
        choice += f" Any of {_codes(column.bits)}." if column.bits else ""
        rows.append((f"`{column.name}`", kind, column.unit, column.description + choice))
    return _table(_FIELD_HEAD, rows)


def _codes(names: Iterable[str]) -> str:
    return ", ".join(f"`{name}`" for name in names)


def _packet_formats() -> str:
    from twoway import _native  # here, so that all other parts can be written without it

    formats: Mapping[str, tuple[int, int]] = _native.catalogue()["packet_formats"]
    return _table(
        ("Format", "Session-Sender header, octets", "Session-Reflector header, octets"),
        ((f"`{name}`", sender, reflector) for name, (sender, reflector) in formats.items()),
    )


def _tlv_types() -> str:
    """The catalogue, with who verified what: vectors are counted, independent implementations have a table."""
    from twoway import _native  # here, as above

    types: Mapping[str, tuple[int, str]] = _native.catalogue()["tlv_types"]
    cases = [case["name"] for case in tomllib.loads((ROOT / "vectors" / "tlvs.toml").read_text())["tlv"]]
    peers = _peers()
    asked = {name: f"`--tlv {form}`" for name, form in FORMS.items()}
    asked |= {"extra-padding": "`-s`", "hmac": "`--tlv-hmac`, `--auth-key-file`", "return-path": "`--return-path`"}
    rows = []
    for name, (code, reference) in sorted(types.items(), key=lambda item: item[1]):
        seen = (_seen(peer["tlvs"].get(name, {})) for peer in peers.values())
        vectors = sum(case.startswith(name.removesuffix("-header")) for case in cases)
        rows.append((code, f"`{name}`", reference, asked[name], vectors, *seen))
    heads = (f"{name} {peer['version']}" for name, peer in peers.items())
    return _table(("Type", "Name", "Defined in", "Asked for by `twoway ping`", "Vectors", *heads), rows)


def _seen(cell: Mapping[str, str]) -> str:
    """What became of one TLV with another implementation."""
    ours, theirs = (cell.get(way, "not tried yet") for way in ("asked", "asks"))
    return ours if ours == theirs else f"asked by us: {ours}; asking us: {theirs}"


def _peers() -> Mapping[str, Any]:
    """Independent implementations of STAMP's extensions, and what was seen of each TLV with them."""
    return tomllib.loads((ROOT / "tests" / "interop" / "stamp_peers.toml").read_text())


def _verified(by: Sequence[str]) -> list[str]:
    """Without implementations with which nothing was tried yet."""
    tried = ("agrees", "differs")
    idle = {
        name
        for name, peer in _peers().items()
        if not any(word.startswith(tried) for cell in peer["tlvs"].values() for word in cell.values())
    }
    return [name for name in by if name not in idle]


def _protocol_sections() -> str:
    blocks = []
    for document, rows in DOCUMENTS.items():
        cells: list[tuple[str, ...]] = []
        for row in rows:
            unknown = set(row.by) - set(EVIDENCE)
            if unknown or (row.supported == "no") == bool(row.by):
                raise ValueError(f"{document} {row.sections}: {unknown or row.by} shows what is {row.supported!r}")
            cells.append((row.sections, row.what, row.supported, ", ".join(_verified(row.by)), row.note))
        blocks.append(f"### {document}\n\n{_table(('Sections', 'What', 'Supported', 'Verified by', 'Note'), cells)}")
    return "\n\n".join(blocks)


def _evidence() -> str:
    for _, where in EVIDENCE.values():
        if not (ROOT / where).exists():
            raise FileNotFoundError(where)
    rows = ((name, words, f"[{where}](../{where})") for name, (words, where) in EVIDENCE.items())
    return _table(("Verified by", "What that is", "Where"), rows)


def _diagram(table: Mapping[Any, Mapping[Any, Enum]], start: Enum) -> str:
    """A state machine as Mermaid draws it; `start` has the arrow from nowhere."""
    states = list(dict.fromkeys([start, *table, *(end for steps in table.values() for end in steps.values())]))
    lines = ["```mermaid", "stateDiagram-v2"]
    lines += [f'    state "{state.value}" as {state.name.lower()}' for state in states]
    lines.append(f"    [*] --> {start.name.lower()}")
    for state, steps in table.items():
        lines += [f"    {state.name.lower()} --> {end.name.lower()}: {step.value}" for step, end in steps.items()]
    return "\n".join([*lines, "```"])


def _set_up_states() -> str:
    return "\n\n".join(f"**{role.value}**\n\n{_diagram(table, next(iter(table)))}" for role, table in SET_UP.items())


def _command_states() -> str:
    blocks = []
    for role, variants in COMMANDS.items():
        for variant, table in variants.items():
            blocks.append(f"**{role.value}, {variant.value}**\n\n{_diagram(table, next(iter(table)))}")
    return "\n\n".join(blocks)


def _session_states() -> str:
    return _diagram(SESSION, next(iter(SESSION)))


def _notices() -> str:
    rows = (
        (
            f"`{kind.name}`",
            kind.scope.value,
            kind.severity.name.lower(),
            "raised, cleared" if kind.lasts else "once",
            "yes" if kind.trap else "",
            kind.meaning,
        )
        for kind in NOTICES.values()
    )
    return _table(("Notice", "About", "Severity", "State", "In `traps`", "Meaning"), rows)


def _structured_data() -> str:
    return _table(("Parameter", "Meaning"), ((f"`{name}`", words) for name, words in PARAMETERS.items()))


def _dotted(oid: Sequence[int]) -> str:
    return f"`{'.'.join(map(str, oid))}`"


def _notifications() -> str:
    rows = (
        (f"`{notice}`", sent.name, sent.module, _dotted(sent.oid), ", ".join(each.name for each in sent.objects))
        for notice, sent in NOTIFICATIONS.items()
    )
    return _table(("Notice", "Notification", "Module", "OID", "Objects, in order"), rows)


def _notification_objects() -> str:
    objects = {each.oid: each for sent in NOTIFICATIONS.values() for each in sent.objects}
    rows = ((each.name, _dotted(oid), each.syntax) for oid, each in sorted(objects.items()))
    return _table(("Object", "OID without instance", "Type"), rows)


def _families() -> str:
    blocks = []
    for heading, (labels, families) in SCOPES.items():
        rows = [
            (
                f"`{family.sample_name}`",
                family.type,
                ", ".join(f"`{label}`" for label in (*labels, *family.labels)),
                family.meaning,
            )
            for family in families
        ]
        blocks.append(f"### {heading}\n\n{_table(('Metric', 'Type', 'Labels', 'Meaning'), rows)}")
    return "\n\n".join(blocks)


PARTS: Mapping[str, Callable[[], str]] = {
    **{f"{name}-options": partial(_options, parser) for name, parser in parsers().items()},
    "dispositions": _dispositions,
    "features": _features,
    "privileges": _privileges,
    "remedies": _remedies,
    "metrics": _metrics,
    "views": _views,
    "conditions": _conditions,
    "result-run": partial(_fields, fields.RUN),
    "result-ends": partial(_fields, fields.ENDS),
    "result-requested": partial(_fields, fields.REQUESTED),
    "result-local-clock": partial(_fields, fields.LOCAL_CLOCK),
    "result-event": partial(_fields, fields.EVENT),
    "result-clock-step": partial(_fields, fields.CLOCK_STEP),
    "result-fallback": partial(_fields, fields.FALLBACK),
    "result-distribution": partial(_fields, fields.STATISTICS),
    "samples": _samples,
    "distributions": _distributions,
    "packet-formats": _packet_formats,
    "route-priorities": _priorities,
    "route-limits": _route_limits,
    "damping": _damping,
    "hook-environment": _hook_environment,
    "tlv-types": _tlv_types,
    "protocol-sections": _protocol_sections,
    "evidence": _evidence,
    "set-up-states": _set_up_states,
    "command-states": _command_states,
    "session-states": _session_states,
    "families": _families,
    "notices": _notices,
    "structured-data": _structured_data,
    "notifications": _notifications,
    "notification-objects": _notification_objects,
}


def _openapi() -> str:
    from twoway.api.openapi import document  # here: it needs FastAPI

    return json.dumps(document(), indent=2) + "\n"


def _sample() -> str:
    from twoway.config.sample import sample  # here: it needs the extra `daemon`

    return sample()


def _systemd_unit() -> str:
    from twoway.config.document import read_document  # here: they need the extra `daemon`
    from twoway.config.model import Configuration
    from twoway.config.sample import sample
    from twoway.config.unit import unit

    configuration = Configuration.model_validate(read_document(sample(), "the sample").data)
    return unit(configuration, of="the sample of a configuration (`twoway check --sample`)").text


def _dashboard() -> str:
    sys.path.insert(0, str(DOCS.parent / "monitoring"))
    import dashboard  # here: its folder is no package

    return dashboard.text()


FILES: Mapping[str, Callable[[], str]] = {
    **{f"../packaging/wheel/data/share/man/{page}": make for page, make in man_pages.pages().items()},
    "api/openapi.json": _openapi,
    "examples/twoway.yaml": _sample,
    "../packaging/systemd/twoway.service": _systemd_unit,
    "../monitoring/dashboard.json": _dashboard,
}
"""Files that are generated as a whole; paths begin in this folder."""


def generated(text: str) -> str:
    """`text` with its generated parts as they should be."""
    return _PART.sub(lambda match: f"{match[1]}\n{PARTS[match['name']]()}\n\n{match[3]}", text)


def main(arguments: Sequence[str]) -> int:
    """Write or check all documents. Returns the exit code."""
    check = list(arguments) == ["--check"]
    if arguments and not check:
        sys.stderr.write("usage: generate.py [--check]\n")
        return 2
    stale = []
    texts = {path: generated(path.read_text()) for path in sorted(DOCS.rglob("*.md"))}
    texts |= {(DOCS / name).resolve(): make() for name, make in FILES.items()}
    for path, wanted in texts.items():
        if not path.exists() or path.read_text() != wanted:
            stale.append(path.relative_to(DOCS.parent))
            if not check:
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(wanted)
    for path in stale:
        sys.stdout.write(f"{path}: {'stale: run `make docs`' if check else 'written'}\n")
    return 1 if check and stale else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
