"""OWAMP's Stop-Sessions: whether it accounts for exactly what it must (RFC 4656 section 3.8)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from twoway.control.owamp_codec import SendRecord, ordered
from twoway.control.rules import Rule, misuse

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


def records_problem(records: Sequence[SendRecord], sending: Mapping[bytes, int]) -> Rule | None:
    """The rule that `records` break as the description of sessions `sending` (SID -> Number of Packets), None if none.

    Skip ranges lie before Next Seqno, and that not beyond the Number of Packets: it is the number that "would have been
    sent" next.
    """
    if len(records) != len(sending):
        return Rule.STOP_COUNT
    if {record.sid for record in records} != set(sending):
        return Rule.STOP_SESSION_UNKNOWN
    for record in records:
        beyond = record.next_seqno > sending[record.sid]
        if beyond or not ordered(record.skip_ranges):
            return Rule.SKIP_RANGES
        if record.skip_ranges and record.skip_ranges[-1].last >= record.next_seqno:
            return Rule.SKIP_RANGES
    return None


def check_records(records: Sequence[SendRecord], sending: Mapping[bytes, int]) -> None:
    """The same of our own. Raises `LocalControlError`."""
    rule = records_problem(records, sending)
    if rule is not None:
        raise misuse("stop sessions", rule.meaning, rule.section)
