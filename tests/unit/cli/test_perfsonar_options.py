"""The options of `twping` and `owping`, and the test-sessions that they come to."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from twoway.cli.perfsonar_command import Connected, control_options, session_requests, style_of
from twoway.cli.perfsonar_options import PerfsonarArguments, Slot, parse
from twoway.config.managed import SessionRequest
from twoway.errors import ConfigError, KeyFileError
from twoway.export.perfsonar_text import UNITS

if TYPE_CHECKING:
    from pathlib import Path

SECOND = 1_000_000_000
NOW_NS = 1_800_000_000 * SECOND
ROUND_TRIP_NS = 3_000_000


def asked(*arguments: str, program: str = "twping") -> PerfsonarArguments:
    return parse(program, [*arguments, "192.0.2.1"])


def requests(*arguments: str, program: str = "twping", mode: str = "unauthenticated") -> list[SessionRequest]:
    return session_requests(program, asked(*arguments, program=program), connected(mode))


def connected(mode: str = "unauthenticated") -> Connected:
    return Connected(mode, "192.0.2.7", "192.0.2.1", ROUND_TRIP_NS, NOW_NS)


def test_without_options_all_is_as_perfsonar_has_it() -> None:
    assert requests() == [
        SessionRequest(
            count=100,
            interval_ns=SECOND // 10,
            schedule="poisson",
            timeout_ns=2 * SECOND + ROUND_TRIP_NS,
            padding_length=27,
            sender_address="192.0.2.7",
            receiver_address="192.0.2.1",
            percentiles=(),
        )
    ]
    options = asked()
    assert (options.ports, options.unit, options.bucket_width_s) == ((8760, 9960), "m", 0.0001)
    assert control_options("twping", options).modes == ("unauthenticated",)


@pytest.mark.parametrize(
    ("arguments", "field", "value"),
    [
        ("-c 5", "count", 5),
        ("-c5", "count", 5),
        ("-i 0.02", "interval_ns", 20_000_000),
        ("-i 0.02f", "schedule", "periodic"),
        ("-i 0.02e", "schedule", "poisson"),
        ("-i1F", "schedule", "periodic"),
        ("-s 100", "padding_length", 100),
        ("-s 70000", "padding_length", 65000),
        ("-L 0.5", "timeout_ns", SECOND // 2),
        ("-L.5", "timeout_ns", SECOND // 2),
        ("-z 2.5", "start_ns", NOW_NS + 5 * SECOND // 2),
        ("-D EF", "dscp", 46),
        ("-D 0x2e", "dscp", 46),
        ("-D 056", "dscp", 46),
        ("-D af41", "dscp", 34),
        ("-D none", "dscp", 0),
    ],
)
def test_an_option_is_a_field_of_the_request(arguments: str, field: str, value: object) -> None:
    (request,) = requests(*arguments.split())
    assert getattr(request, field) == value


def test_a_schedule_may_have_several_steps() -> None:
    assert asked("-i", "0.1,0.2f,0.3e").slots == (
        Slot("exponential", SECOND // 10),
        Slot("fixed", SECOND // 5),
        Slot("exponential", 3 * SECOND // 10),
    )
    (request, _) = requests("-i", "0.1,0.3f", program="owping")
    assert request.slots == (("exponential", SECOND // 10), ("fixed", 3 * SECOND // 10))
    assert request.interval_ns == SECOND // 5


@pytest.mark.parametrize(
    ("arguments", "delay_ns"), [("", SECOND), ("-z 0.5", SECOND), ("-z 2", 2 * SECOND - 9_000_000)]
)
def test_the_schedule_of_owping_begins_when_both_ends_are_ready(arguments: str, delay_ns: int) -> None:
    asked_for = requests(*arguments.split(), program="owping")
    assert {request.start_ns for request in asked_for} == {NOW_NS + delay_ns + 3 * ROUND_TRIP_NS}


@pytest.mark.parametrize(("mode", "padding"), [("mixed", 27), ("authenticated", 64), ("encrypted", 64)])
def test_padding_makes_requests_as_long_as_replies(mode: str, padding: int) -> None:
    (request,) = requests(mode=mode)
    assert request.padding_length == padding


@pytest.mark.parametrize(
    ("arguments", "directions"),
    [("", [False, True]), ("-t", [False]), ("-f", [True]), ("-f -t", [False, True]), ("-ft", [False, True])],
)
def test_owping_measures_to_and_from_unless_told(arguments: str, directions: list[bool]) -> None:
    asked_for = requests(*arguments.split(), program="owping")
    assert [request.server_sends for request in asked_for] == directions
    assert {request.padding_length for request in asked_for} == {0}


def test_options_may_be_joined_and_follow_operands() -> None:
    options = parse("twping", ["-QR4c", "7", "probe:9000", "-nu", "server", "-P8800-8810"])
    assert (options.quiet, options.raw, options.ip4, options.count, options.unit) == (True, True, True, 7, "u")
    assert (options.test_address, options.server_address, options.ports) == ("probe:9000", "server", (8800, 8810))


def test_a_number_of_lines_is_glued_or_absent() -> None:
    assert asked().packets is None
    assert asked("-v").packets == 0
    assert asked("-v25").packets == 25
    options = parse("twping", ["-v", "25"])
    assert (options.packets, options.test_address) == (0, "25")
    assert style_of(asked("-v")).packets_limit is None
    assert style_of(asked("-Mv25")).packets_limit == 25


def test_the_style_is_taken_from_the_options() -> None:
    style = style_of(asked("-nN", "-a", "5,50", "-a99.9", "-b", "0.00001", "-N", "10", "-U", "-M"))
    assert (style.unit, style.percentiles, style.bucket_width_s) == (UNITS["n"], (5.0, 50.0, 99.9), 0.00001)
    assert (style.part_packets, style.unix, style.machine, style.raw, style.packets) == (10, True, True, False, False)


@pytest.mark.parametrize(("text", "ports"), [("0", (0, 0)), ("9000", (9000, 9000)), ("1-65535", (1, 65535))])
def test_ports(text: str, ports: tuple[int, int]) -> None:
    assert asked("-P", text).ports == ports


@pytest.mark.parametrize(
    ("program", "arguments", "message"),
    [
        ("twping", "-x host", "no option -x"),
        ("twping", "-Mx host", "no option -x"),
        ("twping", "--count 5 host", "no option --count"),
        ("twping", "-f host", "no option -f: it is owping's"),
        ("twping", "-T file host", "no option -T: it is owping's"),
        ("owping", "-Z host", "no option -Z: it is twping's"),
        ("twping", "-F file host", "-F is not supported: no session files are written: use -R for all records"),
        ("owping", "-T file host", "-T is not supported: no session files are written: use -R for all records"),
        ("twping", "-p host", "-p is not supported: no files are written: redirect the output"),
        ("twping", "host -c", "-c needs a value"),
        ("twping", "-c 0 host", "argument -c: '0' is not a number from 1 to 4294967295"),
        ("twping", "-c many host", "argument -c: 'many' is not a number from 1 to 4294967295"),
        ("twping", "-vM host", "argument -v: 'M' is not a number from 0 to 4294967295"),
        ("twping", "-L -1 host", "argument -L: '-1' is not a number of seconds"),
        ("twping", "-z nan host", "argument -z: 'nan' is not a number of seconds"),
        ("twping", "-b 0 host", "argument -b: '0' is not more than 0"),
        ("twping", "-L 0.001 -b 0.01 host", "-L is less than -b"),
        ("twping", "-i 0.1x host", "argument -i: '0.1x' is not a number of seconds"),
        ("twping", "-i 0,0f host", "argument -i: '0,0f' takes no time"),
        ("twping", "-D 64 host", "argument -D: '64' is no DSCP"),
        ("twping", "-P 9-8 host", "argument -P: '9-8' is not a range of ports such as 8760-9960"),
        ("twping", "-P 0-8 host", "argument -P: '0-8' is not a range of ports such as 8760-9960"),
        ("twping", "-A X host", "argument -A: 'X' is not made of the letters A, E, M and O"),
        ("twping", "-A E host", "-A E needs a user: -u USER"),
        ("owping", "-A M -u me host", "-A M: OWAMP has no mixed mode"),
        ("twping", "-a 101 host", "argument -a: '101' has more than 100"),
        ("twping", "-n x host", "argument -n: 'x' is none of n, u, m and s"),
        ("twping", "-4 -6 host", "-4 and -6 go not together"),
        ("twping", "", "the following arguments are required: TESTADDR"),
        ("twping", "a b c", "unrecognized arguments: c"),
    ],
)
def test_what_cannot_be_used_is_one_line_and_exit_code_1(
    program: str, arguments: str, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        parse(program, arguments.split())
    assert ended.value.code == 1
    output = capsys.readouterr()
    assert output.out == ""
    assert output.err.startswith(f"{program}: {message}")
    assert output.err.count("\n") == 1


@pytest.mark.parametrize("option", ["-h", "--help"])
def test_help_goes_to_standard_output(option: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        parse("owping", [option])
    assert ended.value.code == 0
    assert "usage: owping [OPTION]... TESTADDR [SERVADDR]" in capsys.readouterr().out


@pytest.fixture
def passphrases(tmp_path: Path) -> str:
    path = tmp_path / "pfs"
    path.write_text("alice\t7365637265747061737331\n")
    path.chmod(0o600)
    return str(path)


@pytest.mark.parametrize(
    ("letters", "modes"),
    [
        (None, ("encrypted", "authenticated", "mixed", "unauthenticated")),
        ("OA", ("authenticated", "unauthenticated")),
        ("ME", ("encrypted", "mixed")),
        ("e", ("encrypted",)),
    ],
)
def test_the_strictest_mode_is_wanted_first(letters: str | None, modes: tuple[str, ...], passphrases: str) -> None:
    letter_options = ["-A", letters] if letters else []
    options = control_options("twping", asked("-u", "alice", "-k", passphrases, *letter_options))
    assert options.modes == modes
    assert options.key_id == "alice"
    assert options.passphrase is not None
    assert options.passphrase() == b"secretpass1"
    assert "secretpass1" not in repr(options)


def test_owamp_has_no_mixed_mode(passphrases: str) -> None:
    options = control_options("owping", asked("-u", "alice", "-k", passphrases, program="owping"))
    assert options.modes == ("encrypted", "authenticated", "unauthenticated")
    assert options.protocol == "owamp"


def test_without_a_user_only_the_open_mode_is_left() -> None:
    assert control_options("twping", asked("-A", "AEO")).modes == ("unauthenticated",)


def test_the_open_mode_reads_no_passphrase() -> None:
    options = control_options("twping", asked("-u", "alice", "-k", "no such file", "-A", "O"))
    assert options.passphrase is None


def test_a_user_without_passphrase_is_an_error(passphrases: str) -> None:
    with pytest.raises(KeyFileError, match="holds no passphrase of bob"):
        control_options("twping", asked("-u", "bob", "-k", passphrases))


def test_without_a_file_the_terminal_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    prompts: list[str] = []

    def typed(prompt: str) -> str:
        prompts.append(prompt)
        return "open sesame"

    monkeypatch.setattr("getpass.getpass", typed)
    options = control_options("twping", asked("-u", "alice"))
    assert prompts == ["Enter passphrase for identity 'alice': "]
    assert options.passphrase is not None
    assert options.passphrase() == b"open sesame"


def test_without_a_terminal_there_is_a_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    def closed(_prompt: str) -> str:
        raise EOFError

    monkeypatch.setattr("getpass.getpass", closed)
    with pytest.raises(ConfigError, match="-u: no passphrase: give -k FILE"):
        control_options("twping", asked("-u", "alice"))


def test_a_source_is_an_address_or_an_interface() -> None:
    by_address = control_options("twping", asked("-S", "192.0.2.9"))
    assert (by_address.source, by_address.interface) == ("192.0.2.9", None)
    by_name = control_options("twping", asked("-S", "lo"))
    assert (by_name.source, by_name.interface) == (None, "lo")
    both = control_options("twping", asked("-S", "192.0.2.9", "-B", "eth7"))
    assert (both.source, both.interface) == ("192.0.2.9", "eth7")


@pytest.mark.parametrize(("option", "family"), [("-4", 4), ("-6", 6), ("-c1", None)])
def test_the_family(option: str, family: int | None) -> None:
    assert control_options("twping", asked(option)).family == family


def test_both_addresses_are_named_to_the_server_unless_told_not_to() -> None:
    def addresses(program: str, *arguments: str) -> list[tuple[str | None, str | None]]:
        requested = session_requests(program, parse(program, list(arguments)), connected())
        return [(request.sender_address, request.receiver_address) for request in requested]

    ours, server, other = "192.0.2.7", "192.0.2.1", "198.51.100.1"
    assert addresses("twping", "server") == [(ours, server)]
    assert addresses("twping", f"{other}:9000", "server") == [(ours, other)]
    assert addresses("twping", "-Z", f"{other}:9000", "server") == [(None, None)]
    assert addresses("owping", "server") == [(ours, server), (server, ours)]
    assert addresses("owping", other, "server") == [(ours, other), (other, ours)]


def test_only_owping_has_schedules_of_several_times() -> None:
    with pytest.raises(ConfigError, match="-i: a schedule of several times is owping's"):
        requests("-i", "0.1,0.2f")
