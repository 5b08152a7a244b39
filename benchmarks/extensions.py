"""Extensions: what STAMP TLVs and steering cost for each packet, beside a plain packet of the same size.

All packets are equally long and go over one veth pair, IPv6. The Session-Reflector, on core 0, answers the octets of
real packets of ours, which `generate` sends from the last core as fast as it goes; its replies are counted at its
interface. The Session-Sender is a process of this file which runs many test-sessions in step on one worker: so what
waking up costs is shared, and does not hide what a packet costs.

Packets under labels arrive nowhere, because the kernel takes no labels off; nor does what asks for no reply come back.
They stand beside packets that are routed the ordinary way and dropped at the same place.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import socket
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from figures import Findings, Table, median
from laboratory import Process, UnavailableError, free_port, need_program, running, veth_pair, wait_until_bound
from scale import own_run_time_ns
from startup import interpreter_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from laboratory import Laboratory, Veth

    from twoway.config.measurement import Measurement

SIZE = 400
"""Octets of payload of each packet: room for all TLVs at once."""
NEAR, NEAR_TOO, FAR, FAR_TOO = "fd86:2::1", "fd86:2::3", "fd86:2::2", "fd86:2::4"
"""Two addresses of the sender's host and two of the reflector's: the second ones are segments, too."""
DROPPED_NEAR, DROPPED_FAR = "fd86:2:d1::1", "fd86:2:d2::1"
"""Behind either host, which drops what is for them without a word."""
LABELS = "mpls:16001,16002"
MPLS = "SR-MPLS labels"
INTERVAL_NS = 5_000_000
"""Of each test-session of the sender."""

TLVS: Mapping[str, str] = {
    "Location": "location",
    "Timestamp Information": "timestamps",
    "Class of Service": "cos=AF11",
    "Direct Measurement": "direct",
    "Access Report": "access-report=3gpp:available",
    "Follow-Up Telemetry": "follow-up",
    "Destination Node Address": f"node={FAR}",
}
"""What an ordinary reflector knows. Reflected Test Packet Control costs what its replies cost, and is left out."""


@dataclass(frozen=True, slots=True)
class Case:
    """A packet as `twoway ping` is asked for it, and the reflector that is to answer it."""

    name: str
    options: Sequence[str] = ()
    reflector: str = "plain"
    """A name of `reflectors`."""
    beside: str = ""
    """The case that it is compared with; none: the first of all."""


def _tlv_options(names: Sequence[str]) -> list[str]:
    return [word for name in names for word in ("--tlv", TLVS[name])]


def reflector_cases(keys: Path) -> list[Case]:
    """What the reflector is asked; the first is the baseline."""
    hmac = ["--auth-key-file", str(keys), "--tlv-hmac"]
    return [
        Case("plain, TLVs not looked at", reflector="blind"),
        Case("Extra Padding alone"),
        *(Case(name, _tlv_options([name])) for name in TLVS),
        Case("Micro-session ID", ["--tlv", "micro-session=1"], "member"),
        Case("Reflected Fixed Header Data", ["--tlv", "fixed-header"], "headers"),
        Case("HMAC over TLVs", hmac),
        Case("the seven of RFC 8972 and 9503, and HMAC", [*_tlv_options(list(TLVS)), *hmac]),
        Case("authenticated, no TLVs", ["--auth-key-file", str(keys)], "blind"),
        Case("Return Path: same link", ["--return-path", "same-link"]),
        Case("Return Path: address", ["--return-path", f"address:{NEAR_TOO}"]),
        Case("Return Path: SRv6 segment", ["--return-path", f"srv6:{NEAR_TOO}"]),
        Case("Return Path: address, dropped there", ["--return-path", f"address:{DROPPED_NEAR}"]),
        Case("Return Path: SR-MPLS labels", ["--return-path", LABELS], beside="Return Path: address, dropped there"),
    ]


def sender_cases(keys: Path, near_interface: str) -> list[Case]:
    """What the sender sends; the first is the baseline."""
    hmac = ["--auth-key-file", str(keys), "--tlv-hmac"]
    unanswered = "plain, dropped at the far end"
    return [
        Case("plain"),
        *(Case(name, _tlv_options([name])) for name in TLVS),
        Case("HMAC over TLVs", hmac),
        Case("the seven of RFC 8972 and 9503, and HMAC", [*_tlv_options(list(TLVS)), *hmac]),
        Case("authenticated, no TLVs", ["--auth-key-file", str(keys)]),
        Case("SRv6 segment", ["--path", f"srv6:{FAR_TOO}"]),
        Case("Return Path: SRv6 segment", ["--return-path", f"srv6:{NEAR_TOO}"]),
        Case("whole frames by a named link", ["--path", f"link:{near_interface}"]),
        Case(unanswered),
        Case(MPLS, ["--path", f"{LABELS}@{FAR}"], beside=unanswered),
    ]


def reflectors(lab: Laboratory, keys: Path, veth: Veth) -> dict[str, tuple[int, list[str | Path]]]:
    """Port and command of each reflector; all of them keep state."""
    options = {
        "blind": ["--no-tlvs", "--auth-key-file", str(keys)],
        "plain": ["--return-path-allow", "fd86::/16", "--auth-key-file", str(keys)],
        "headers": ["--reflect-headers"],
        "member": ["--micro-session", f"{veth.far_interface}=1"],
    }
    found: dict[str, tuple[int, list[str | Path]]] = {}
    for name, words in options.items():
        port = free_port()
        command: list[str | Path] = [lab.our_program(), "reflector", "--workers", "1", "--stateful", "--json"]
        found[name] = (port, [*command, "--listen", f"[{FAR}]:{port}", *words])
    return found


def _run(*words: str) -> None:
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise UnavailableError(f"{' '.join(words)}: {done.stderr.strip()}")


@contextlib.contextmanager
def network() -> Iterator[Veth]:
    """The veth pair with IPv6 addresses, segments taken at both ends, and neighbours known."""
    need_program("nsenter")
    with veth_pair() as veth:
        ends = (
            (veth.near, veth.near_interface, (NEAR, NEAR_TOO), DROPPED_NEAR, (DROPPED_FAR, FAR)),
            (veth.far, veth.far_interface, (FAR, FAR_TOO), DROPPED_FAR, (DROPPED_NEAR, NEAR)),
        )
        for namespace, interface, addresses, dropped, (away, gateway) in ends:
            for address in addresses:
                _run("ip", "-n", namespace, "addr", "add", f"{address}/64", "dev", interface, "nodad")
            _run("ip", "-n", namespace, "route", "add", "blackhole", f"{dropped}/128")
            _run("ip", "-n", namespace, "route", "add", f"{away}/128", "via", gateway)
            for name in ("all", interface):
                setting = f"/proc/sys/net/ipv6/conf/{name}/seg6_enabled"
                _run("nsenter", f"--net=/run/netns/{namespace}", "sh", "-c", f"echo 1 > {setting}")
        yield veth


def _child(lab: Laboratory, veth: Veth, role: str, argument: object, *, core: int | None = None) -> Process:
    """This file in the sender's namespace."""
    words = [interpreter_of(lab.our_program()), __file__, role, json.dumps(argument)]
    return Process(words, netns=veth.near, core=core)


def _sent(process: Process, interface: str) -> int:
    """Packets that an interface of the process's namespace has sent."""
    for line in Path(f"/proc/{process.pid}/net/dev").read_text().splitlines():
        name, _, counts = line.partition(":")
        if name.strip() == interface:
            return int(counts.split()[9])
    raise UnavailableError(f"no {interface} in the namespace of process {process.pid}")


def _in_turn(cases: Sequence[Case], number: int) -> list[Case]:
    turn = number % len(cases)
    return [*cases[turn:], *cases[:turn]]


def _reflector_round(
    lab: Laboratory,
    veth: Veth,
    cases: Sequence[Case],
    templates: Mapping[str, str],
    serving: Mapping[str, tuple[int, Process]],
    *,
    rate: float,
    seconds: float,
) -> dict[str, float]:
    """CPU µs for each reply, by case."""
    found = {}
    core = (os.cpu_count() or 1) - 1
    for case in cases:
        port, reflector = serving[case.reflector]
        lab.company.wait_for_quiet()
        words = [lab.program("generate"), FAR, port, free_port()]
        used, sent = 0, 0
        # The first load is to find the neighbour, the path and the caches; it is in no figure.
        for load_rate, load_s in ((5_000, 0.05), (rate, seconds)):
            used, sent = reflector.run_time_ns(), _sent(reflector, veth.far_interface)
            load = [str(word) for word in (*words, load_rate, load_s, -1, templates[case.name])]
            with running(load, netns=veth.near, core=core) as generator:
                generator.wait(load_s + 20)
            used, sent = reflector.run_time_ns() - used, _sent(reflector, veth.far_interface) - sent
        if sent < seconds * 100:
            raise UnavailableError(f"{case.name}: {sent} replies in {seconds:g} s")
        found[case.name] = used / sent / 1000
    return found


def _not_honoured(reflector: Process) -> tuple[int, int]:
    """Ends a reflector: replies that it sent, and TLVs that it returned with a flag, by its own count."""
    state = json.loads(reflector.end().splitlines()[-1])
    counters = state["own_counters"]
    refused = ("tlv_unrecognized", "tlv_malformed", "tlv_integrity_failed", "return_paths_refused", "dscps_refused")
    return state["reflected"], sum(counters[name] for name in refused)


def _add_rows(table: Table, cases: Sequence[Case], rounds: Sequence[Mapping[str, float]]) -> None:
    for case in cases:
        beside = case.beside or cases[0].name
        ratio = median(one[case.name] / one[beside] for one in rounds)
        more = median(one[case.name] - one[beside] for one in rounds)
        cost = median(one[case.name] for one in rounds)
        shown = "-" if case is cases[0] else beside
        table.add(case.name, cost, shown, ratio, None if case is cases[0] else f"{more:+.2f}")


def benchmark(lab: Laboratory, *, quick: bool) -> Findings:
    """The section "extensions" of docs/performance.md."""
    rounds, seconds, rate = (1, 0.1, 5000.0) if quick else (5, 0.5, 0.0)
    sessions = 10 if quick else 100
    findings = Findings(
        "extensions",
        f"{SIZE} octets of payload, over a veth pair, IPv6; medians of {rounds} interleaved "
        f"round{'s' if rounds > 1 else ''} of {seconds:g} s, ratios of the ratios of each round. CPU is the "
        "scheduler's run time of all threads. The reflector keeps state and is "
        f"{f'offered {rate:,.0f}/s' if rate else 'saturated'}; what its kernel does to deliver the reply at the other "
        f"end of the pair is charged to it. The sender: {sessions} test-sessions of {1e9 / INTERVAL_NS:g} packets/s "
        "each in step, on one worker, with kernel stamps of all packets. What is dropped at the far end has no reply "
        "to read.",
    )
    columns = ("packet", "CPU µs/packet", "beside", "ratio", "µs more")
    at_reflector = Table("Session-Reflector: CPU for each reply", columns)
    at_sender = Table("Session-Sender: CPU for each packet", columns)
    findings.tables += [at_reflector, at_sender]
    keys = lab.directory / "keys"
    keys.touch(mode=0o600)
    keys.write_text("bench text:a key of the benchmark\n")
    with network() as veth, contextlib.ExitStack() as processes:
        serving: dict[str, tuple[int, Process]] = {}
        for name, (port, command) in reflectors(lab, keys, veth).items():
            serving[name] = (port, processes.enter_context(running(command, netns=veth.far, core=0)))
            wait_until_bound(serving[name][1], port)
        asked, sent = reflector_cases(keys), sender_cases(keys, veth.near_interface)
        templates = json.loads(_child(lab, veth, "templates", {one.name: list(one.options) for one in asked}).wait(60))
        results: list[dict[str, float]] = []
        outcomes: list[dict[str, dict[str, float]]] = []
        for number in range(rounds):
            turned = _in_turn(asked, number)
            results.append(_reflector_round(lab, veth, turned, templates, serving, rate=rate, seconds=seconds))
            lab.company.wait_for_quiet()
            port = serving["plain"][0]
            asking = {
                one.name: [*one.options, f"[{DROPPED_FAR if 'dropped' in one.name + one.beside else FAR}]:{port}"]
                for one in _in_turn(sent, number)
            }
            argument = {"cases": asking, "sessions": sessions, "seconds": seconds}
            child = _child(lab, veth, "senders", argument, core=(os.cpu_count() or 1) - 1)
            outcomes.append(json.loads(child.wait(len(sent) * (seconds + 5))))
        ended = [_not_honoured(reflector) for _, reflector in serving.values()]
    _add_rows(at_reflector, asked, results)
    _add_rows(at_sender, sent, [{name: one["cpu_us"] for name, one in outcome.items()} for outcome in outcomes])
    replies, refused = (sum(column) for column in zip(*ended, strict=True))
    findings.goal(
        "every TLV honoured (but for labels until the next hop is known)",
        f"{refused:,} of the TLVs of {replies:,} replies were not",
        met=refused <= replies / 1000,
    )
    answerable = [
        one for outcome in outcomes for name, one in outcome.items() if "dropped" not in name and name != MPLS
    ]
    due, sent_count, received, stamped = (
        sum(one[what] for one in answerable) for what in ("due", "sent", "received", "t1_kernel")
    )
    findings.goal(
        "every packet of the sender that can be answered is sent, answered and stamped",
        f"of {due:,} sent {sent_count:,}, answered {received:,}, stamped {stamped:,}",
        met=due == sent_count == received == stamped,
    )
    return findings


def _measurement(options: Sequence[str]) -> Measurement:
    """What `twoway ping` would do for these options, the payload as long as all others."""
    from twoway.cli.ping_arguments import PingArguments, measurement_from, ping_parser

    parsed = ping_parser().parse_args(["-s", str(SIZE), "--ssid", "1", "-W", "500ms", *options], PingArguments())
    return measurement_from(parsed, keep_samples=False)


def _packed(address: str) -> bytes:
    return socket.inet_pton(socket.AF_INET6, address)


def record_templates(cases: Mapping[str, Sequence[str]]) -> dict[str, str]:
    """In the child: the octets of the first packet for each case, in hexadecimal. Where replies are to go astray, the
    address is exchanged afterwards, because nobody here has it."""
    from twoway.drivers.plane import RunningMeasurement, resolve_target

    found = {}
    with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as receiver:
        receiver.bind((NEAR, 0))
        receiver.settimeout(5)
        for name, options in cases.items():
            ours = [option.replace(DROPPED_NEAR, NEAR_TOO) for option in options]
            measurement = _measurement([*ours, "-c", "1", f"[{NEAR}]:{receiver.getsockname()[1]}"])
            with RunningMeasurement(measurement, resolve_target(measurement)) as running_one:
                running_one.start()
                octets = receiver.recv(2048)
                if any(DROPPED_NEAR in option for option in options):
                    octets = octets.replace(_packed(NEAR_TOO), _packed(DROPPED_NEAR))
                found[name] = octets.hex()
                running_one.abort()
    return found


def run_senders(cases: Mapping[str, Sequence[str]], sessions: int, seconds: float) -> dict[str, dict[str, float]]:
    """In the child: each case by `sessions` test-sessions for `seconds`."""
    from twoway import _native
    from twoway.drivers.plane import RunningMeasurement, resolve_target

    found = {}
    count = max(1, round(seconds * 1e9 / INTERVAL_NS))
    for name, options in cases.items():
        measurement = _measurement([*options[:-1], "-i", f"{INTERVAL_NS}ns", "-c", str(count), options[-1]])
        address = resolve_target(measurement)
        plane = _native.Plane(workers=1, busy_poll=False)
        try:
            running_ones = [RunningMeasurement(measurement, address, plane) for _ in range(sessions)]
            at_ns = time.monotonic_ns() + 50_000_000
            used = own_run_time_ns()
            for one in running_ones:
                one.start(at_ns)
            deadline = time.monotonic() + seconds + 5
            finished = False
            time.sleep(seconds)
            while not finished and time.monotonic() < deadline:
                time.sleep(0.02)
                for one in running_ones:
                    one.take()
                finished = all(one.finished for one in running_ones)
            used = own_run_time_ns() - used
            totals = dict.fromkeys(("sent", "received", "t1_kernel"), 0)
            for one in running_ones:
                summary = one.summary()
                for counter in totals:
                    totals[counter] += summary.counter(counter)
        finally:
            plane.close()
        found[name] = {**totals, "due": count * sessions, "cpu_us": used / 1000 / max(1, totals["sent"])}
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description="The child of the benchmark `extensions`, in the sender's namespace.")
    parser.add_argument("role", choices=["templates", "senders"])
    parser.add_argument("argument", help="JSON")
    arguments = parser.parse_args()
    argument = json.loads(arguments.argument)
    done = record_templates(argument) if arguments.role == "templates" else run_senders(**argument)
    print(json.dumps(done))
    return 0


if __name__ == "__main__":
    sys.exit(main())
