"""Octets to messages and back: buffering, encryption and HMACs of a connection's two directions.

`Inbound` keeps what has arrived and gives it to a reader (see `codec`) as far as it goes, so a message may come in any
pieces. Decryption happens on demand: where the encrypted part of a connection begins depends on what was read before
it. HMAC fields of a connection in the clear are not looked at (RFC 4656 section 3.2).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Generic

from twoway.control.codec import BLOCK, Field, Message, Reader, Segments
from twoway.control.rules import Rule, violate

if TYPE_CHECKING:
    from twoway.control.codec import Need
    from twoway.control.security import Opener, Sealer


class Inbound(Generic[Message]):
    """One direction's octets, as they arrive. `Message` is whatever the readers return."""

    def __init__(self) -> None:
        self._raw = bytearray()
        """As received, not decrypted."""
        self._plain = bytearray()
        self._opener: Opener | None = None
        self._reader: Reader[Message] | None = None
        self._need: Need = 0

    def __len__(self) -> int:
        return len(self._raw) + len(self._plain)

    @property
    def inside_message(self) -> bool:
        """Whether a message has begun and not ended."""
        return self._reader is not None or len(self) > 0

    def feed(self, octets: bytes) -> None:
        """Take what has arrived."""
        self._raw += octets

    def secure(self, opener: Opener) -> None:
        """What follows is encrypted."""
        self._opener = opener

    def begin(self, reader: Reader[Message]) -> None:
        """Read a message. Nothing may be half read."""
        self._reader = reader
        self._need = next(reader)

    @property
    def reading(self) -> bool:
        """Whether a reader waits for octets."""
        return self._reader is not None

    def proceed(self) -> Message | None:
        """The message, None while it is not all here. Raises `RemoteControlError`."""
        reader = self._reader
        if reader is None:
            return None
        while (taken := self._take(self._need)) is not None:
            try:
                self._need = reader.send(taken)
            except StopIteration as end:
                self._reader = None
                message: Message = end.value
                return message
        return None

    def _take(self, need: Need) -> bytes | None:
        """What a reader needs, None if it is not all here. Raises `RemoteControlError` for a wrong HMAC."""
        count = BLOCK if need is Field.HMAC else need
        if not self._decrypt(count):
            return None
        taken = bytes(self._plain[:count])
        del self._plain[:count]
        if self._opener is None:
            return taken
        if need is not Field.HMAC:
            self._opener.cover(taken)
        elif not self._opener.verify(taken):
            violate(Rule.HMAC)
        return taken

    def _decrypt(self, count: int) -> bool:
        """Bring `count` octets of plaintext together, if they are here."""
        missing = count - len(self._plain)
        if missing <= 0:
            return True
        if self._opener is not None:
            missing += -missing % BLOCK
        if len(self._raw) < missing:
            return False
        octets = bytes(self._raw[:missing])
        del self._raw[:missing]
        self._plain += octets if self._opener is None else self._opener.decrypt(octets)
        return True


class Outbound:
    """The other direction: what waits to be sent."""

    def __init__(self) -> None:
        self._waiting = bytearray()
        self._sealer: Sealer | None = None

    def __len__(self) -> int:
        return len(self._waiting)

    def secure(self, sealer: Sealer) -> None:
        """What follows is encrypted."""
        self._sealer = sealer

    def add(self, octets: bytes) -> None:
        """Octets without an HMAC field of their own, whole blocks if the stream is secure."""
        self._waiting += octets if self._sealer is None else self._sealer.cover(octets)

    def add_hmac(self) -> None:
        """The HMAC field of what was added since the last one; zeros in the clear."""
        self._waiting += bytes(BLOCK) if self._sealer is None else self._sealer.hmac()

    def add_segments(self, segments: Segments) -> None:
        """A message: each segment with its HMAC field."""
        for segment in segments:
            self.add(segment)
            self.add_hmac()

    def take(self) -> bytes:
        """What waits; it waits no longer."""
        octets = bytes(self._waiting)
        self._waiting.clear()
        return octets
