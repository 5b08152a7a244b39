"""Names of Differentiated Services code points. Pure.

RFC 2474 (class selectors), RFC 2597 (AF), RFC 3246 (EF), RFC 5865 (VOICE-ADMIT), RFC 8622 (LE).
"""

from __future__ import annotations

from twoway.errors import ConfigError

DSCP: dict[str, int] = {
    "be": 0,
    "le": 1,
    **{f"cs{n}": n << 3 for n in range(8)},
    **{f"af{c}{d}": (c << 3) | (d << 1) for c in (1, 2, 3, 4) for d in (1, 2, 3)},
    "va": 44,
    "ef": 46,
}
"""Name -> code point; the first name of a code point is the one printed."""

_ALIASES = {"default": 0, "df": 0, "voice-admit": 44}
_NAMES = {value: name for name, value in reversed(DSCP.items())}


def parse_dscp(text: str, field: str = "dscp") -> int:
    """`ef`, `af41`, `cs1`, `le`, … or a number from 0 to 63: the code point. Raises `ConfigError`."""
    name = text.strip().lower()
    value = DSCP.get(name, _ALIASES.get(name))
    if value is None:
        try:
            value = int(name, 0)
        except ValueError:
            value = -1
    if not 0 <= value <= 63:
        raise ConfigError(
            field, f"{text!r} is no DSCP: use ef, af11 to af43, cs0 to cs7, va, le, be or a number from 0 to 63"
        )
    return value


def dscp_name(value: int) -> str:
    """The code point's name, or its number where it has none."""
    return _NAMES.get(value, str(value))
