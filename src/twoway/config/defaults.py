"""All defaults, each once. Rust has none; the command line's help, the Python interface and the documents read these.

Plain constants, so that importing this costs nothing. Times are integer nanoseconds.
"""

NANOS = 1_000_000_000
"""Nanoseconds in a second."""

PORT = 862
"""UDP port of a Session-Reflector: `twamp-test` (RFC 8762 section 4.1, RFC 8545 section 7)."""

PROTOCOL = "stamp"
"""`stamp` (RFC 8762) or `light` (TWAMP Light, RFC 5357 appendix I)."""

INTERVAL_NS = NANOS
"""Between departures, as ping's."""
COUNT = None
"""Packets to send; None is until stopped, as ping's."""
API_COUNT = 10
"""Packets that one call of `twoway.measure` sends: a call has to end."""
SCHEDULE = "periodic"
"""Departures at equal distances; `poisson` is RFC 2330 section 11.1.1."""

TIMEOUT_NS = 2 * NANOS
"""A reply after this is late; without one after twice this, the packet is lost (RFC 7680 section 2.8.2 leaves the
value to us)."""

PAYLOAD_LEN = {
    "stamp": 44,
    "stamp-authenticated": 112,
    "twamp": 44,
}
"""UDP payload octets by packet format: the smallest with which any reply is as long as the request (RFC 8762 section
4.2). TWAMP Light's own reflected header has 41 octets, but a STAMP Session-Reflector answers it with 44 (section 4.6),
and so many it has with DSCP and ECN (RFC 7750 section 2.2.1). A test compares this with what the packet plane knows."""
FILL = "zeros"
"""Octets beyond the header (RFC 5357 section 4.1.2 wants both); `random` defeats compression on the path."""

TTL = 255
"""TTL or hop limit of what we send (RFC 4656 section 4.1.2, RFC 5357 section 4.2.1)."""
DSCP_ECN = 0
"""Traffic class octet: best effort, Not-ECT."""
SSID = 0
"""Session-Sender identifier; 0 sends none, as RFC 8762 has it (RFC 8972 section 3 gives others their meaning)."""
CLOCK_FORMAT = "ntp"
"""Timestamp format; the default of RFC 8762 section 4.2.1, and the only one TWAMP Light reflectors must know."""

TIMESTAMPS = "kernel"
"""Where T1 and T4 are taken: by the kernel, at the device."""
REFLECTOR_MODE = "auto"
"""Whether the Session-Reflector numbers its replies itself is learnt from the replies."""

PERCENTILES = (95.0, 99.0, 99.9)
"""Percentiles of a report, beside minimum, median and maximum."""

SENDER_RECEIVE_BUFFER = 1 << 20
"""Octets of socket buffer for replies: over 1,000 of them in a burst, whatever the truesize of the driver."""
REFLECTOR_RECEIVE_BUFFER = 4 << 20
"""Octets of socket buffer per worker: some 15 ms of minimal packets at 300,000 a second."""
SAMPLE_CAPACITY = 1 << 17
"""Samples kept until Python takes them: more than a second at 100,000 packets a second."""
REPORT_INTERVAL_NS = NANOS
"""Between the summaries that `twoway.stream` yields."""

RECONNECT_NS = NANOS
"""Between two attempts to reach a Server again."""

LISTEN = (("0.0.0.0", PORT, 0), ("::", PORT, 0))  # noqa: S104  (a reflector answers on every address unless told)
"""Where a Session-Reflector listens: (address, port, scope id); both families."""
MAX_WORKERS = 4
"""Most workers a Session-Reflector starts by itself; it takes one per CPU it may run on."""
MAX_SESSIONS = 16_384
"""Test-sessions that a stateful Session-Reflector remembers."""
SESSION_TIMEOUT_NS = 900 * NANOS
"""Silence after which a test-session makes room for another: REFWAIT (RFC 5357 section 4.2)."""
RATE_LIMIT = 0
"""Packets a second that a Session-Reflector answers in all; 0 is no limit."""
RATE_LIMIT_PER_SOURCE = 0
"""Packets a second that a Session-Reflector answers per source address; 0 is no limit."""
DRAIN_NS = NANOS // 2
"""How long a Session-Reflector goes on answering what is already queued when it is told to stop."""
