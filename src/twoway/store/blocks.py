"""How packed summaries stand in a blob: rows of the journals and blocks of the tiers. Pure.

A *journal row* has the summaries of up to 256 test-sessions for one unit of time; a *block* those of one test-session
for the units of one span. Both are: a version octet, a count, so many numbers (test-session, or unit within the
block), so many lengths, and the packed summaries one after the other. A block is compressed where that makes it
smaller, which its version octet says. Little-endian throughout.

Whatever the octets are, reading gives entries or raises `UnreadableError`; nothing else.
"""

from __future__ import annotations

import struct
import zlib
from itertools import accumulate, pairwise
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

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


def find(blob: bytes, number: int) -> list[bytes]:
    """What a blob has of one number. Raises `UnreadableError`."""
    body = _inflated(blob)
    numbers, bounds = _directory(body)
    return [body[start:end] for n, (start, end) in zip(numbers, pairwise(bounds), strict=True) if n == number]


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


def _directory(body: bytes) -> tuple[tuple[int, ...], list[int]]:
    """The numbers, and where each entry begins and the last one ends."""
    if len(body) < _COUNT.size:
        raise UnreadableError("it is too short")
    version, count = _COUNT.unpack_from(body)
    begin = _COUNT.size + 8 * count
    if version != _PLAIN or begin > len(body):
        raise UnreadableError(f"version {version} with {count} entries")
    numbers = struct.unpack_from(f"<{count}I", body, _COUNT.size)
    lengths = struct.unpack_from(f"<{count}I", body, _COUNT.size + 4 * count)
    bounds = list(accumulate(lengths, initial=begin))
    if bounds[-1] != len(body):
        raise UnreadableError("its lengths do not add up")
    return numbers, bounds


def _entries(body: bytes) -> Iterator[tuple[int, bytes]]:
    numbers, bounds = _directory(body)
    for number, (start, end) in zip(numbers, pairwise(bounds), strict=True):
        yield number, body[start:end]
