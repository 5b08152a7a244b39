"""Values about files: paths, secrets, permissions. Nothing is opened."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import PurePath
from typing import TYPE_CHECKING

from twoway.config.model.values import Kind, shown
from twoway.errors import ConfigError

if TYPE_CHECKING:
    from pydantic.json_schema import JsonSchemaValue


@dataclass(frozen=True, slots=True)
class Where(Kind[PurePath]):
    """A path in the file system; a relative one begins where the configuration is."""

    def read(self, value: object) -> PurePath:
        if not isinstance(value, str) or not value.strip() or "\x00" in value:
            raise self.refuse(value)
        return PurePath(value)

    @property
    def words(self) -> str:
        return "a path"

    def schema(self) -> JsonSchemaValue:
        return {"type": "string", "pattern": r"\S"}

    def write(self, value: PurePath) -> object:
        return str(value)


@dataclass(frozen=True, slots=True)
class Credential:
    """A systemd credential by name (`LoadCredential=`, systemd.exec(5))."""

    name: str


@dataclass(frozen=True, slots=True)
class Secret(Kind["PurePath | Credential"]):
    """A file that holds a secret. A secret itself never stands in a configuration."""

    def read(self, value: object) -> PurePath | Credential:
        if isinstance(value, dict) and set(value) == {"credential"}:
            name = value["credential"]
            if not isinstance(name, str) or not re.fullmatch(r"(?!\.\.?$)[!-.0-~]{1,255}", name):
                raise ConfigError("value", f"{shown(name)} is not the name of a credential")
            return Credential(name)
        if not isinstance(value, str) or not value.strip() or "\x00" in value:
            raise self.refuse(value)
        return PurePath(value)

    @property
    def words(self) -> str:
        return "a path of a file with mode 0600, or {credential: NAME} for systemd's"

    def schema(self) -> JsonSchemaValue:
        credential = {"type": "string", "pattern": r"^(?!\.\.?$)[!-.0-~]{1,255}$"}
        return {
            "anyOf": [
                {"type": "string", "pattern": r"\S"},
                {
                    "type": "object",
                    "properties": {"credential": credential},
                    "required": ["credential"],
                    "additionalProperties": False,
                },
            ]
        }

    def write(self, value: PurePath | Credential) -> object:
        return {"credential": value.name} if isinstance(value, Credential) else str(value)


@dataclass(frozen=True, slots=True)
class Mode(Kind[int]):
    """Permissions of a file."""

    def read(self, value: object) -> int:
        if isinstance(value, int) and not isinstance(value, bool):
            raise ConfigError("value", f'{value} is a number: write permissions in quotes, as "0660"')
        if not isinstance(value, str) or not re.fullmatch(r"0?[0-7]{3}", value):
            raise self.refuse(value)
        return int(value, 8)

    @property
    def words(self) -> str:
        return 'permissions such as "0660"'

    def schema(self) -> JsonSchemaValue:
        return {"type": "string", "pattern": r"^0?[0-7]{3}$"}

    def write(self, value: int) -> object:
        return f"0{value:03o}"
