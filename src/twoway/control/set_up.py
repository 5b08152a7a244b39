"""Connection set-up: which mode a Control-Client chooses, and whom a Server lets in (RFC 4656 section 3.1)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from twoway.control.events import SetUpRefused
from twoway.control.registry import OWAMP_MODES, SECURITY_MODES, Accept, Mode, Protocol, modes_from_wire
from twoway.control.rules import Rule
from twoway.control.security import KEY_LEN, SPI_LEN, Passphrase, SessionKeys, ikev2_key, open_token

if TYPE_CHECKING:
    from twoway.control.codec import ServerGreeting, SetUpResponse
    from twoway.control.configuration import ClientConfiguration, ServerConfiguration

PassphraseOf = Callable[[bytes], Passphrase | None]
"""The passphrase of a KeyID, which comes without the zeros that fill its field."""
Ikev2KeyOf = Callable[[bytes, bytes], bytes | None]
"""The key derived from the IKEv2 security association with this SPIi and SPIr."""

_NOBODYS_PASSPHRASE = Passphrase(b"nobody has this one")
"""In the place of an unknown KeyID's, so that it takes as long to refuse as a wrong passphrase."""


def choose_mode(greeting: ServerGreeting, ours: ClientConfiguration) -> Mode | Rule:
    """The best mode that both ends have, with the features that both want; or the rule by which there is none."""
    if not greeting.modes:
        return Rule.MODES_ZERO
    offered = modes_from_wire(ours.protocol, greeting.modes)
    wanted = ours.features | ours.required
    if ours.ikev2 is not None:
        wanted |= Mode.IKEV2_DERIVED
    if ours.protocol is Protocol.OWAMP:
        wanted &= OWAMP_MODES
    for security in ours.preference:
        features = offered & wanted
        if security is Mode.UNAUTHENTICATED:
            features &= ~Mode.IKEV2_DERIVED
        secret = security is Mode.UNAUTHENTICATED or features & Mode.IKEV2_DERIVED or ours.credentials is not None
        if offered & security and secret and not ours.required & ~features:
            return security | features
    return Rule.NO_COMMON_MODE


@dataclass(frozen=True, slots=True)
class Granted:
    """A Control-Client that a Server lets in."""

    mode: Mode
    key_id: bytes
    """KeyID without trailing zeros, or SPIi and SPIr; empty if unauthenticated."""
    keys: SessionKeys | None = field(repr=False)


def judge_set_up(
    message: SetUpResponse,
    greeting: ServerGreeting,
    ours: ServerConfiguration,
    passphrase: PassphraseOf,
    ikev2_shared_key: Ikev2KeyOf,
) -> Granted | SetUpRefused:
    """Whether to go on with a Control-Client that gives this answer to `greeting`; its Mode is not zero."""
    mode = modes_from_wire(ours.protocol, message.mode)
    security = mode & SECURITY_MODES
    if security.bit_count() != 1:
        return SetUpRefused(Accept.NOT_SUPPORTED, Rule.MODE_NOT_ONE)
    if mode & ~ours.modes:
        return SetUpRefused(Accept.NOT_SUPPORTED, Rule.MODE_NOT_OFFERED)
    if security is Mode.UNAUTHENTICATED:
        if mode & Mode.IKEV2_DERIVED:
            return SetUpRefused(Accept.NOT_SUPPORTED, Rule.IKEV2_WITHOUT_SECURITY)
        return Granted(mode, b"", None)
    if mode & Mode.IKEV2_DERIVED:
        key_id = message.key_id[: 2 * SPI_LEN]
        shared_key = ikev2_shared_key(key_id[:SPI_LEN], key_id[SPI_LEN:])
        if shared_key is None or len(shared_key) < KEY_LEN:
            return SetUpRefused(Accept.NO_IKEV2_SA, Rule.IKEV2_SA_UNKNOWN)
        keys = open_token(ikev2_key(shared_key), greeting.challenge, message.token)
    else:
        key_id = message.key_id.rstrip(b"\0")
        secret = passphrase(key_id)
        key = (secret or _NOBODYS_PASSPHRASE).key(greeting.salt, greeting.count)
        keys = open_token(key, greeting.challenge, message.token)
        if secret is None:
            keys = None
    return SetUpRefused(Accept.FAILURE, Rule.KEY_ID_UNKNOWN) if keys is None else Granted(mode, key_id, keys)
