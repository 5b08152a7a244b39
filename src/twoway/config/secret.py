"""A shared secret that is read when it is needed: comparable, and in no representation."""

from __future__ import annotations

from dataclasses import dataclass

from twoway.config.keyfile import choose_key, read_secret_file


@dataclass(frozen=True, slots=True)
class SecretOf:
    """A secret of a key file. Two are equal if they are of the same file and KeyID, whatever the file holds by then."""

    path: str
    key_id: str

    def __call__(self) -> bytes:
        """The secret as the file has it now. Raises `KeyFileError`."""
        return choose_key(read_secret_file(self.path), self.key_id, None, self.path).octets
