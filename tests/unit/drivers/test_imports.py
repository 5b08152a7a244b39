"""Only a few drivers use the extension module: import-linter reads Python only."""

from __future__ import annotations

import ast
from pathlib import Path

from twoway import errors

SOURCE = Path(errors.__file__).resolve().parent


def imports_native(tree: ast.AST) -> bool:
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (
            node.module in ("twoway._native", "twoway.drivers.native")
            or (node.module == "twoway" and any(alias.name == "_native" for alias in node.names))
        ):
            return True
        if isinstance(node, ast.Import) and any(alias.name.startswith("twoway._native") for alias in node.names):
            return True
    return False


def test_only_these_import_the_extension() -> None:
    importers = {
        path.relative_to(SOURCE).as_posix()
        for path in SOURCE.rglob("*.py")
        if imports_native(ast.parse(path.read_text(encoding="utf-8")))
    }
    names = ("managed_ends", "managed_plane", "native", "path_set", "plane", "reflector", "session_plane", "sockets")
    assert importers == {f"drivers/{name}.py" for name in (*names, "summaries")}
