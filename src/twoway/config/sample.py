"""A sample of a configuration, made of the model: every statement with its default, its range and its meaning.

The sample is a small configuration that would run (`_STORY`), with all other statements beside it as comments. What has
been explained once is not explained again: a second test-session shows only what it says itself.
"""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING

from twoway.config.model import Configuration
from twoway.config.model.description import Shape, Statement, statements_of
from twoway.config.yaml_text import written

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from twoway.config.document import Data
    from twoway.config.model.statements import Statements

_WIDTH = 110
_HEAD = """\
# What `twoway run` does, in Junos's words where Junos has one.
#
# This is a configuration that works, with every other statement beside it as a comment, showing its default, or an
# example where it has none. A time is written 20ms, 1s, 5min, 2h or 14d; a bare number is seconds unless it says
# otherwise. Lines with ## explain; the # before others may go. Secrets stand in files of mode 0600, or are systemd's
# credentials: {credential: NAME} instead of a path.
#
#     twoway check FILE          says all that is wrong with a file, by line
#     twoway schema config       is the JSON Schema for editors
"""

_STORY: dict[str, Data] = {
    "client": {
        "control-connection": {
            "core-fra": {
                "target": "192.0.2.1",
                "test-interval": "1s",
                "test-session": {
                    "voice": {
                        "probe-count": 10,
                        "probe-interval": "100ms",
                        "dscp-code-points": "ef",
                        "thresholds": {
                            "rtt": "20ms",
                            "jitter-rtt": {"limit-value": "5ms", "average": True},
                            "total-loss": 2,
                        },
                        "traps": ["test-failure", "rtt-exceeded"],
                    }
                },
            },
            "edge": {
                "control-type": "light",
                "test-session": {
                    "access-1": {"target": "reflector.example.net", "destination-port": 862, "protocol": "stamp"},
                    "access-2": {"target": {"address": "fe80::1", "local-link": "eth0"}, "probe-count": 0},
                },
            },
        }
    },
    "server": {
        "managed": {"client-list": {"noc": ["192.0.2.0/24", "2001:db8::/32"]}},
        "light": {"stateful-sequence": {"cache-size": 65536}},
    },
    "routes": {
        "dry-run": True,
        "route": {
            "198.51.100.0/24": {
                "next-hop": {
                    "192.0.2.254": {"test": ["core-fra/voice"]},
                    "192.0.2.253": {"test": ["edge/access-1"], "preference": 2},
                },
            },
        },
        "routing-instance": {
            "backup": {
                "table": 100,
                "route": {"2001:db8:1::/48": {"next-hop": {"fe80::1%eth0": {"test": ["edge/access-2"]}}}},
            },
        },
    },
    "notifications": {
        "syslog": [{"transport": "local"}],
        "snmp": [{"address": "192.0.2.21:162", "version": "v2c"}],
    },
    "store": {"path": "/var/lib/twoway/results.db"},
    "api": {"socket": "/run/twoway/api.sock"},
    "variables": {"site": "fra"},
}


def sample() -> str:
    """The sample, as YAML."""
    return "\n".join([_HEAD.rstrip(), *_Writer().statements(Configuration, _STORY, 0)]) + "\n"


class _Writer:
    def __init__(self) -> None:
        self._explained: set[type[Statements]] = set()

    def statements(self, model: type[Statements], story: Mapping[str, Data], depth: int) -> Iterator[str]:
        """The lines of all statements of a model."""
        first = model not in self._explained
        self._explained.add(model)
        for statement in statements_of(model):
            if depth == 0:
                yield ""
            if statement.name in story:
                yield from self._explanation(statement, depth) if first else ()
                yield from self._told(statement, story[statement.name], depth)
            elif first:
                yield from self._explanation(statement, depth)
                yield from self._untold(statement, depth)

    def _told(self, statement: Statement, value: Data, depth: int) -> Iterator[str]:
        """A statement of the story."""
        indent = "  " * depth
        if statement.model is None or not isinstance(value, dict | list):
            yield f"{indent}{statement.name}: {written(value)}"
            return
        yield f"{indent}{statement.name}:"
        if isinstance(value, list):
            for inner in value:
                yield from self._listed(statement.model, inner, depth + 1)
        elif statement.shape is Shape.NAMED:
            for name, inner in value.items():
                if isinstance(inner, dict):
                    yield f"{indent}  {name}:"
                    yield from self.statements(statement.model, inner, depth + 2)
                else:
                    yield f"{indent}  {name}: {written(inner)}"
        else:
            yield from self.statements(statement.model, value, depth + 1)

    def _listed(self, model: type[Statements], value: Data, depth: int) -> Iterator[str]:
        """An element of a list: its dash stands before its first statement, after the comments on that."""
        dashed = False
        for line in self.statements(model, value if isinstance(value, dict) else {}, depth + 1):
            if dashed or line.lstrip().startswith("#"):
                yield line
            else:
                dashed = True
                yield f"{'  ' * depth}- {line.lstrip()}"

    def _untold(self, statement: Statement, depth: int) -> Iterator[str]:
        """A statement that is only shown, as a comment; what it holds, too."""
        indent, model = "  " * depth, statement.model
        example = statement.example if statement.shape is Shape.NAMED else None
        if isinstance(example, dict) and model is not None and model not in self._explained:
            yield f"{indent}# {statement.name}:"
            yield f"{indent}#   {next(iter(example))}:"
            yield from self._commented(model, indent, "    ")
            return
        if statement.example is not None:
            yield f"{indent}# {statement.name}: {written(statement.example)}"
        if model is None or model in self._explained:
            return
        if statement.example is None:
            yield f"{indent}# {statement.name}:"
        else:
            yield f"{indent}## or, with statements of its own:"
            yield f"{indent}# {statement.name}:"
        yield from self._commented(model, indent, "  ")

    def _commented(self, model: type[Statements], indent: str, inner: str) -> Iterator[str]:
        """The statements of a model, all within one comment."""
        for line in self.statements(model, {}, 1):
            text = line.lstrip()
            yield f"{indent}# {inner}{text if text.startswith('##') else text.removeprefix('# ')}"

    def _explanation(self, statement: Statement, depth: int) -> Iterator[str]:
        indent = "  " * depth
        width = max(40, _WIDTH - len(indent) - 3)
        for line in textwrap.wrap(explanation(statement), width, break_on_hyphens=False):
            yield f"{indent}## {line}"


def explanation(statement: Statement) -> str:
    """Meaning, range and default in a line or two."""
    notes = [statement.words] if statement.words and statement.shape in (Shape.VALUE, Shape.STATEMENTS) else []
    if statement.default not in (None, []):
        notes.append(f"default {written(statement.default)}")
    return f"{statement.meaning} [{'; '.join(notes)}]" if notes else statement.meaning
