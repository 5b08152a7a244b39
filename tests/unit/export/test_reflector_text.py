"""A reflector's counters for people."""

from twoway.export import reflector_text

from .test_json_result import reflector


def test_only_what_occurred_is_shown_and_explained() -> None:
    assert (
        reflector_text.report(reflector())
        == """\
Session-Reflector on 192.0.2.1:862, [2001:db8::1]:862, 2026-01-02 03:04:05 UTC
1204 packets received, 1200 reflected, 4 dropped
  test_packet:reflected  1200  answered
  bad_hmac:dropped          3  wrong key, or changed on the way
  new:dropped               1
This reflector
  socket drops  0
  sessions      4
  T3 error: departure by the kernel's stamp, less the T3 written: median 700 ns, p99 900 ns, max 900 ns
  not granted: timestamps: user space instead of kernel"""
    )
