"""What a far end can break, each rule with a stable name, one line of meaning and the section that states it.

The name (in lower case) is what counters and logs use; the errors are made here so that none lacks its section.
"""

from __future__ import annotations

from enum import Enum
from typing import NoReturn

from twoway.errors import LocalControlError, RemoteControlError


class Rule(Enum):
    """One rule: (meaning, section)."""

    # Set-up.
    MODES_ZERO = ("the Server offers no mode", "RFC 4656 section 3.1")
    NO_COMMON_MODE = ("the Server offers no mode that is acceptable here", "RFC 4656 section 3.1")
    COUNT_POWER_OF_TWO = ("Count is not a power of 2", "RFC 4656 section 3.1")
    COUNT_TOO_SMALL = ("Count is smaller than the least that is acceptable", "RFC 4656 section 3.1")
    COUNT_TOO_LARGE = ("Count is larger than the most that is acceptable", "RFC 5357 section 6")
    MODE_NOT_ONE = ("Mode does not name exactly one security mode", "RFC 4656 section 3.1")
    MODE_NOT_OFFERED = ("Mode has a bit that was not offered", "RFC 4656 section 3.1")
    IKEV2_WITHOUT_SECURITY = ("IKEv2Derived stands beside the unauthenticated mode", "RFC 7717 section 5.1")
    KEY_ID_UNKNOWN = ("the KeyID or its secret is wrong", "RFC 4656 section 3.1")
    IKEV2_SA_UNKNOWN = ("no IKEv2 security association has these SPIs", "RFC 7717 section 5.3")
    SERVER_REFUSED = ("the Server does not accept the connection", "RFC 4656 section 3.1")
    # Octets.
    HMAC = ("an HMAC does not match", "RFC 4656 section 3.2")
    UNEXPECTED_OCTETS = ("octets came when the peer has nothing to say", "RFC 4656 section 3.4")
    TOO_MUCH_UNREAD = ("more octets came than may wait here", "RFC 4656 section 6.5")
    TRUNCATED = ("the connection ended inside a message", "RFC 4656 section 3")
    MESSAGE_TOO_SLOW = ("a message did not arrive in time", "RFC 4656 section 3")
    # Commands.
    COMMAND_UNEXPECTED = ("a command that is not allowed now", "RFC 5357 section 3.5")
    COMMAND_UNKNOWN = ("a command number without a meaning here", "RFC 5357 section 3.5")
    # Requests.
    CONF_NOT_ZERO = ("Conf-Sender or Conf-Receiver is not zero", "RFC 5357 section 3.5")
    SCHEDULE_NOT_ZERO = ("Number of Schedule Slots or of Packets is not zero", "RFC 5357 section 3.5")
    IP_VERSION = ("IPVN is neither 4 nor 6, or not that of the addresses", "RFC 4656 section 3.5")
    ADDRESS_POLICY = ("an address is neither the Control-Client's nor the Server's", "RFC 4656 section 6.2")
    SENDER_PORT_ZERO = ("a port that packets are to be sent to is zero", "RFC 5357 section 3.5")
    TYPE_P = ("Type-P is not a DSCP", "RFC 5357 section 3.5")
    PADDING_TOO_LONG = ("Padding Length is larger than a test packet can be", "RFC 4656 section 6.5")
    PADDING_TOO_SHORT = ("Padding Length has no room for what is to be reflected", "RFC 6038 section 4.3")
    TIMEOUT_TOO_LONG = ("Timeout is longer than what is acceptable", "RFC 4656 section 6.5")
    TOO_MANY_SESSIONS = ("the connection has as many sessions as it may have", "RFC 4656 section 6.5")
    CONF_NEITHER = ("neither Conf-Sender nor Conf-Receiver is set", "RFC 4656 section 3.5")
    CONF_BOTH = ("Conf-Sender and Conf-Receiver are both set", "RFC 4656 section 3.5")
    NO_SLOTS = ("Number of Schedule Slots or of Packets is zero", "RFC 4656 section 3.5")
    TOO_MANY_SLOTS = ("more schedule slots than are acceptable", "RFC 4656 section 6.5")
    TOO_MANY_PACKETS = ("more packets than are acceptable", "RFC 4656 section 6.5")
    SLOT_TYPE = ("a schedule slot is of no known type", "RFC 4656 section 3.6")
    SID_IN_USE = ("the SID is that of another session", "RFC 4656 section 3.5")
    # Answers.
    PORT_ZERO = ("a session is accepted without a port", "RFC 5357 section 3.5")
    # Start and Stop.
    NOTHING_TO_START = ("there is no accepted session to start", "RFC 4656 section 3.7")
    STOP_COUNT = ("Stop-Sessions does not account for exactly the sessions in progress", "RFC 5357 section 3.8")
    STOP_SESSION_UNKNOWN = ("Stop-Sessions describes a session that is not the sender's", "RFC 4656 section 3.8")
    SKIP_RANGES = ("skip ranges overlap, are out of order or beyond the last packet", "RFC 4656 section 3.8")
    TOO_MANY_SKIP_RANGES = ("more skip ranges than are acceptable", "RFC 4656 section 6.5")
    NO_SIDS = ("Number of Sessions is zero", "RFC 5938 section 3.2")
    TOO_MANY_SIDS = ("more SIDs than sessions can exist", "RFC 5938 section 3.2")
    SID_UNKNOWN = ("a SID that names no session in this state", "RFC 5938 section 3.2")
    ACK_UNEXPECTED = ("an acknowledgement of something that was not asked", "RFC 5938 section 3.3")
    # Fetch-Session.
    FETCH_INCOMPLETE = ("a complete session is asked for that has not ended normally", "RFC 4656 section 3.9")
    TOO_MANY_RECORDS = ("more packet records than are acceptable", "RFC 4656 section 6.5")
    FETCH_REQUEST = ("the reproduced Request-Session is not one", "RFC 4656 section 3.9")

    @property
    def meaning(self) -> str:
        """One line for people."""
        return self.value[0]

    @property
    def section(self) -> str:
        """Where the rule stands."""
        return self.value[1]

    @property
    def counter(self) -> str:
        """The stable name."""
        return self.name.lower()


def remote_error(rule: Rule, detail: str = "") -> RemoteControlError:
    """The error that says that the far end broke `rule`. `detail` never holds a secret or the peer's own words."""
    return RemoteControlError(rule.counter, rule.meaning, rule.section, detail)


def violate(rule: Rule, detail: str = "") -> NoReturn:
    """Raise that error."""
    raise remote_error(rule, detail)


def misuse(operation: str, reason: str, section: str) -> LocalControlError:
    """The error that says that our caller asked for what the protocol forbids."""
    return LocalControlError(operation, reason, section)
