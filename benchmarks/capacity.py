"""Reflector capacity: packets/s and CPU per packet, saturated and at 20,000/s, and loss at 60 % of the saturated rate.

The reflector is pinned to core 0 and the generator to the last core, over loopback. CPU per packet is the scheduler's
run time of all the reflector's threads over the replies that came back. On loopback a reflector is also charged for
delivering its reply to the generator's socket, so ratios say more than absolute values.
"""

from __future__ import annotations

import json
import os
import socket
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from figures import Findings, Table, median, median_rows
from laboratory import Laboratory, UnavailableError, free_port, need_program, running, wait_until_bound

if TYPE_CHECKING:
    from collections.abc import Sequence

ADDRESS = "127.0.0.1"
STAMP_TEMPLATE = bytes(12) + b"\x3f\xff" + bytes(30)
"""RFC 8762 section 4.2.1, 44 octets, the error unknown."""
SOCKPERF_TEMPLATE = bytes(8) + b"\x00\x03\x00\x00\x00\x2c" + bytes(30)
"""44 octets with the flags "from a client" and "reply wanted"."""


@dataclass(frozen=True, slots=True)
class Subject:
    """A reflector under load."""

    name: str
    command: Sequence[str]
    template: bytes = STAMP_TEMPLATE
    sequence: str = "0"


@dataclass(frozen=True, slots=True)
class Outcome:
    """One run: what was offered and what came back."""

    sent: int
    replies: int
    rate: float
    cpu_us: float
    waited_share: float
    """Share of the run in which the reflector was ready, but others had its core."""


def irtt_template(address: str, port: int, source_port: int) -> bytes:
    """Open an irtt session from `source_port`, as its client does, and return an echo packet of it (60 octets)."""
    hour = bytes.fromhex("028080c58bc6d101")  # parameter 2, one hour as a zigzag varint of nanoseconds
    request = b"\x14\xa7\x5b\x01\x01\x02" + hour + bytes.fromhex("0380dac409050606060706")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as opener:
        opener.bind((address, source_port))
        opener.connect((address, port))
        opener.settimeout(0.5)
        for _ in range(10):
            opener.send(request)
            try:
                reply = opener.recv(2048)
            except (TimeoutError, ConnectionRefusedError):
                continue
            if reply[3] & 0b11 == 0b11:
                return b"\x14\xa7\x5b\x00" + reply[4:12] + bytes(48)
    raise UnavailableError("irtt's server opened no session")


def subjects(lab: Laboratory, port: int, findings: Findings) -> list[Subject]:
    """The reflectors that are here, the bare echo first; what is missing goes by name into `findings`."""
    echo = str(lab.program("echo"))
    found = [Subject("echo", [echo, ADDRESS, str(port)]), Subject("echo_cmsg", [echo, ADDRESS, str(port), "control"])]
    try:
        ours = [str(lab.our_program()), "reflector", "--listen", f"{ADDRESS}:{port}"]
        found += [Subject("twoway", ours), Subject("twoway --stateful", [*ours, "--stateful"])]
    except UnavailableError as error:
        findings.skipped.append(f"twoway ({error})")
    try:
        found.append(
            Subject("irtt", [need_program("irtt"), "server", "-b", f"{ADDRESS}:{port}", "-i", "0"], b"", "12l")
        )
    except UnavailableError as error:
        findings.skipped.append(str(error))
    try:
        command = [need_program("sockperf"), "server", "-i", ADDRESS, "-p", str(port)]
        found.append(Subject("sockperf", command, SOCKPERF_TEMPLATE, "4"))
    except UnavailableError as error:
        findings.skipped.append(str(error))
    return found


def offer(lab: Laboratory, subject: Subject, port: int, *, rate: float, seconds: float) -> Outcome:
    """Start the reflector, load it once, and end it."""
    source_port = free_port()
    lab.company.wait_for_quiet()
    with running(subject.command, core=0) as reflector:
        wait_until_bound(reflector, port)
        template = subject.template or irtt_template(ADDRESS, port, source_port)
        generator = [lab.program("generate"), ADDRESS, port, source_port]
        common = [subject.sequence, template.hex()]
        core = (os.cpu_count() or 1) - 1
        with running([str(word) for word in [*generator, 20_000, 0.2, *common]], core=core) as warm_up:
            warm_up.wait(10)
        time.sleep(0.1)
        before, waited, began = reflector.run_time_ns(), reflector.waiting_time_ns(), time.monotonic()
        with running([str(word) for word in [*generator, rate, seconds, *common]], core=core) as load:
            result = json.loads(load.wait(seconds + 20))
        used = reflector.run_time_ns() - before
        waited_share = (reflector.waiting_time_ns() - waited) / 1e9 / (time.monotonic() - began)
    replies = result["replies"]
    return Outcome(
        result["sent"],
        replies,
        result["replies_in_time"] / result["seconds"],
        used / replies / 1000 if replies else float("nan"),
        waited_share,
    )


def benchmark(lab: Laboratory, *, quick: bool) -> Findings:
    """The section "reflector" of docs/performance.md."""
    runs, seconds, lossless_seconds = (1, 0.3, 0.5) if quick else (5, 1.5, 10.0)
    findings = Findings(
        "reflector",
        f"44-octet packets (irtt 60) over loopback, reflector pinned to core 0, generator to the last core; medians of "
        f"{runs} interleaved run{'s' if runs > 1 else ''} of {seconds:g} s. CPU is the scheduler's run time of the "
        f"reflector's threads.",
    )
    port = free_port()
    found = subjects(lab, port, findings)
    saturated: dict[str, list[Outcome]] = {subject.name: [] for subject in found}
    paced: dict[str, list[Outcome]] = {subject.name: [] for subject in found}
    for number in range(runs):
        turn = number % len(found)
        for subject in (*found[turn:], *found[:turn]):
            saturated[subject.name].append(offer(lab, subject, port, rate=0, seconds=seconds))
            paced[subject.name].append(offer(lab, subject, port, rate=20_000, seconds=seconds))

    table = Table(
        "CPU per packet and rate",
        (
            "reflector", "saturated µs/packet", "/ echo", "/ echo_cmsg", "saturated packets/s",
            "at 20,000/s µs/packet", "/ echo", "/ echo_cmsg", "lost of 20,000/s %",
        ),
        note="Ratios are medians of the ratios of each round.",
    )  # fmt: skip
    ratios: dict[str, list[float]] = {}
    for subject in found:
        name = subject.name
        per_round = [
            [
                ours.cpu_us / saturated["echo"][number].cpu_us,
                ours.cpu_us / saturated["echo_cmsg"][number].cpu_us,
                paced[name][number].cpu_us / paced["echo"][number].cpu_us,
                paced[name][number].cpu_us / paced["echo_cmsg"][number].cpu_us,
            ]
            for number, ours in enumerate(saturated[name])
        ]
        ratios[name] = median_rows(per_round)
        table.add(
            name,
            median(outcome.cpu_us for outcome in saturated[name]),
            ratios[name][0],
            ratios[name][1],
            median(outcome.rate for outcome in saturated[name]),
            median(outcome.cpu_us for outcome in paced[name]),
            ratios[name][2],
            ratios[name][3],
            median(100 * (1 - outcome.replies / outcome.sent) for outcome in paced[name] if outcome.sent),
        )
    findings.tables.append(table)

    loss = Table(
        f"Loss in {lossless_seconds:g} s at 60 % of its own saturated rate",
        ("reflector", "offered packets/s", "sent", "lost", "%", "its core taken by others %"),
    )
    losses: dict[str, int] = {}
    for subject in found:
        rate = 0.6 * median(outcome.rate for outcome in saturated[subject.name])
        tries = 3 if subject.name.startswith("twoway") and not quick else 1
        outcomes = [offer(lab, subject, port, rate=rate, seconds=lossless_seconds) for _ in range(tries)]
        sent, lost = sum(one.sent for one in outcomes), sum(one.sent - one.replies for one in outcomes)
        losses[subject.name] = lost
        loss.add(
            subject.name,
            rate,
            f"{sent:,}",
            f"{lost:,}",
            100 * lost / sent if sent else None,
            100 * max(one.waited_share for one in outcomes),
        )
    findings.tables.append(loss)

    for name in ("twoway", "twoway --stateful"):
        if name not in ratios:
            continue
        for limit, index, when in ((1.15, 1, "saturated"), (1.05, 3, "at 20,000/s")):
            ratio = ratios[name][index]
            findings.goal(f"{name}: CPU per packet ≤ {limit} of echo_cmsg {when}", f"{ratio:.2f}", met=ratio <= limit)
        for peer in ("irtt", "sockperf"):
            if peer in ratios:
                ratio_saturated, ratio_paced = ratios[name][1] / ratios[peer][1], ratios[name][3] / ratios[peer][3]
                findings.goal(
                    f"{name}: CPU per packet below {peer}'s",
                    f"{ratio_saturated:.2f} saturated, {ratio_paced:.2f} at 20,000/s",
                    met=ratio_saturated < 1 and ratio_paced < 1,
                )
        findings.goal(
            f"{name}: no loss in {lossless_seconds:g} s at 60 % of its saturated rate",
            f"{losses[name]:,} lost",
            met=losses[name] == 0,
        )
    return findings
