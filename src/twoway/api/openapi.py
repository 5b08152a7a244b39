"""The OpenAPI document: FastAPI's, with the meaning of each field, which only the source of the views has.

A view says what a field means in the string below it, as everywhere here; Python forgets such strings, so they are read
from the source once, when somebody wants the document.
"""

from __future__ import annotations

import ast
import inspect
from collections import Counter
from functools import cache
from typing import TYPE_CHECKING, Any, cast

from pydantic import TypeAdapter

from twoway.analysis import notices, views
from twoway.api import answers

if TYPE_CHECKING:
    from collections.abc import Mapping

    from fastapi import FastAPI

    from twoway.analysis.views import Watched

API_VERSION = "1"
"""Of the paths that begin with /v1: fields may be added, none is taken away."""


def document() -> dict[str, Any]:
    """The document as it is served, and as the documents have it."""
    from twoway.api.app import Asked, application

    # Nothing is asked while it is made.
    return application(Asked(cast("Watched", None), Counter(), None, dict)).openapi()


def describe(app: FastAPI) -> None:
    """Make `app` serve the document with the meaning of each field, and with the errors that there are."""
    plain = app.openapi

    def openapi() -> dict[str, Any]:
        body = plain()
        schemas = body["components"]["schemas"]
        for name in ("HTTPValidationError", "ValidationError"):  # FastAPI's own, which nobody gets here
            schemas.pop(name, None)
        schemas["ProblemView"] = TypeAdapter(answers.ProblemView).json_schema()
        meanings = field_meanings()
        for name, schema in schemas.items():
            for field, content in schema.get("properties", {}).items():
                content.pop("title", None)  # its name again
                if meaning := meanings.get(name, {}).get(field):
                    content.setdefault("description", meaning)
        for operations in body["paths"].values():
            for operation in operations.values():
                operation["responses"].pop("422", None)
                for parameter in operation.get("parameters", ()):
                    parameter["schema"].pop("title", None)
                    parameter["schema"].pop("description", None)
        return body

    app.openapi = openapi  # type: ignore[method-assign]  # the way FastAPI names for it


@cache
def field_meanings() -> Mapping[str, Mapping[str, str]]:
    """Class -> field -> the string below it."""
    found: dict[str, dict[str, str]] = {}
    for module in (views, notices, answers):
        for node in ast.parse(inspect.getsource(module)).body:
            if isinstance(node, ast.ClassDef):
                found[node.name] = _meanings(node)
    return found


def _meanings(node: ast.ClassDef) -> dict[str, str]:
    meanings = {}
    for field, text in zip(node.body, node.body[1:], strict=False):
        if (
            isinstance(field, ast.AnnAssign)
            and isinstance(field.target, ast.Name)
            and isinstance(text, ast.Expr)
            and isinstance(text.value, ast.Constant)
            and isinstance(text.value.value, str)
        ):
            meanings[field.target.id] = inspect.cleandoc(text.value.value)
    return meanings
