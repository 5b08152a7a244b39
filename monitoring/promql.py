"""Expressions of PromQL that the dashboard is made of."""

from __future__ import annotations

DAEMONS = 'instance=~"$instance"'
SESSION = f'{DAEMONS},connection="$connection",session="$session"'
"""Selects the one test-session that is looked at in depth."""
EACH = "connection, session"
RANGE = "[$__rate_interval]"


def rate(name: str, which: str) -> str:
    """Of the series of a name that a selector chooses."""
    return f"rate({name}{{{which}}}{RANGE})"


def sum_of(expression: str, *by: str) -> str:
    """By some labels, or of everything."""
    return f"sum by ({', '.join(by)}) ({expression})" if by else f"sum({expression})"


def per_minute(name: str, which: str, *by: str) -> str:
    """How many a minute."""
    return f"60 * {sum_of(rate(name, which), *by)}"


IF_ANY = " > 0 or vector(0)"
"""Behind what is mostly nothing: no line for each of a hundred names that did not happen."""


def quantile(share_below: float, name: str, which: str, *by: str) -> str:
    """Of the native histogram, or of the classic one."""
    native, classic = rate(name, which), rate(f"{name}_bucket", which)
    return (
        f"histogram_quantile({share_below}, {sum_of(native, *by)})"
        f" or histogram_quantile({share_below}, {sum_of(classic, *by, 'le')})"
    )


def mean(name: str, which: str) -> str:
    """Of a histogram's values; in text one has no sum if a value was negative."""
    native = sum_of(rate(name, which))
    classic = f"{sum_of(rate(f'{name}_sum', which))} / {sum_of(rate(f'{name}_count', which))}"
    return f"histogram_sum({native}) / histogram_count({native}) or {classic}"


def loss(which: str, *by: str) -> str:
    """Lost or late, of the packets whose fate is known (RFC 6673)."""
    lost = sum_of(rate("twoway_packets_total", f'{which},result=~"lost|late"'), *by)
    known = sum_of(rate("twoway_packets_total", f'{which},result=~"received|late|lost"'), *by)
    return f"{lost} / ({known} > 0)"


def share(which: str, part: str) -> str:
    """Packets with one fate, of those whose fate is known."""
    known = rate("twoway_packets_total", f'{which},result=~"received|late|lost"')
    return f"{sum_of(rate('twoway_packets_total', f'{which},{part}'))} / ({sum_of(known)} > 0)"
