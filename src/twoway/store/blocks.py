"""How packed summaries stand in a blob: rows of the journals and blocks of the tiers. Pure.

A *journal row* has the summaries of up to 256 test-sessions for one unit of time; a *block* those of one test-session
for the units of one span. Both are: a version octet, a count, so many numbers (test-session, or unit within the
block), so many lengths, and the packed summaries one after the other. A block is compressed where that makes it
smaller, which its version octet says. Little-endian throughout.

Whatever the octets are, reading gives entries or raises `UnreadableError`; nothing else.
"""

from __future__ import annotations

import io
import struct
import zlib
from itertools import accumulate, pairwise
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

_PLAIN, _DEFLATED = 1, 2
_COUNT = struct.Struct("<BI")
_LEVEL = 6
_MAX_OCTETS = 1 << 26
"""Largest blob after inflating: a block that claims more is damaged, not big."""


class UnreadableError(Exception):
    """Octets that are no blob of ours."""


def pack(entries: Sequence[tuple[int, bytes]]) -> bytes:
    """(number, packed summary) of each entry, as one blob."""
    count = len(entries)
    header = struct.pack(f"<{2 * count}I", *(n for n, _ in entries), *(len(packed) for _, packed in entries))
    return b"".join((_COUNT.pack(_PLAIN, count), header, *(packed for _, packed in entries)))


def deflate(blob: bytes) -> bytes:
    """The same, compressed where that pays."""
    small = bytes((_DEFLATED,)) + zlib.compress(blob, _LEVEL)
    return small if len(small) < len(blob) else blob


def unpack(blob: bytes) -> list[tuple[int, bytes]]:
    """The entries of a blob. Raises `UnreadableError`."""
    return list(_entries(_inflated(blob)))


class Stored(Protocol):
    """A blob that stays where it is, of which parts are read, as `sqlite3.Blob`."""

    def __len__(self) -> int: ...

    def seek(self, offset: int, /) -> None:
        """Read from there on."""

    def read(self, length: int, /) -> bytes:
        """So many octets, or as many as there are."""


def find(blob: Stored, number: int) -> list[bytes]:
    """What a row of a journal has of one number, of which no more is read. Raises `UnreadableError`."""
    blob.seek(0)
    numbers, lengths, begin = _directory(len(blob), blob.read)
    found = []
    place = -1
    for _ in range(numbers.count(number)):
        place = numbers.index(number, place + 1)
        blob.seek(begin + sum(lengths[:place]))
        found.append(blob.read(lengths[place]))
    return found


def _inflated(blob: bytes) -> bytes:
    if blob[:1] != bytes((_DEFLATED,)):
        return blob
    try:
        inflater = zlib.decompressobj()
        body = inflater.decompress(blob[1:], _MAX_OCTETS)
    except zlib.error as error:
        raise UnreadableError(str(error)) from None
    if not inflater.eof:
        raise UnreadableError("it is cut short, or too large")
    return body


def _directory(size: int, read: Callable[[int], bytes]) -> tuple[tuple[int, ...], tuple[int, ...], int]:
    """The numbers, the lengths of what belongs to them, and where the first of it begins. `read`: the next octets."""
    if size < _COUNT.size:
        raise UnreadableError("it is too short")
    version, count = _COUNT.unpack(read(_COUNT.size))
    begin = _COUNT.size + 8 * count
    if version != _PLAIN or begin > size:
        raise UnreadableError(f"version {version} with {count} entries")
    header = struct.unpack(f"<{2 * count}I", read(8 * count))
    numbers, lengths = header[:count], header[count:]
    if begin + sum(lengths) != size:
        raise UnreadableError("its lengths do not add up")
    return numbers, lengths, begin


def _entries(body: bytes) -> Iterator[tuple[int, bytes]]:
    numbers, lengths, begin = _directory(len(body), io.BytesIO(body).read)
    bounds = accumulate(lengths, initial=begin)
    for number, (start, end) in zip(numbers, pairwise(bounds), strict=True):
        yield number, body[start:end]
