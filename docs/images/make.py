"""Makes path.png, the picture of the README, by twoway itself: `python docs/images/make.py` as root, about 35 s.

Two network namespaces are joined by the forwarder of the tests, which does to numbered packets what it is told: 8 ms
there and 6 ms back, both with a little variation; a queue that builds up and drains on the way there between 12 and
19 s, with losses; nine packets lost on the way back at 23 s, and from then on a way back that is 1.5 ms shorter.

Prints the report of the same measurement, which docs/guide.md explains.
"""

from __future__ import annotations

import random
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent.parent / "tests"))

from netns.programs import TWOWAY, ForwarderProgram, ReflectorProgram  # noqa: E402  (the path has to be set first)
from netns.topology import SERVER, Topology  # noqa: E402  (as above)

PACKETS = 1500
QUEUE = range(600, 950)
BURST = range(1148, 1157)
HEADER = """\
description = "The picture of the README"
[measurement]
count = 1
interval = "1s"
timeout = "1s"
[expected]
"""


def scenario() -> str:
    """The forwarder's instructions; the same at every run."""
    chance = random.Random(7)  # noqa: S311  (repeatable, nothing secret)
    forward: dict[int, list[int]] = {}
    backward: dict[int, list[int]] = {}
    lost: list[int] = []
    arrived = 0  # packets are numbered as they reach the forwarder, so those lost forward take no number backward
    lost_backward: list[int] = []
    for packet in range(PACKETS):
        there_ms, back_ms = 8 + chance.expovariate(1 / 0.35), 6 + chance.expovariate(1 / 0.25)
        if packet in QUEUE:
            fill = 1 - abs(2 * (packet - QUEUE.start) / len(QUEUE) - 1)
            there_ms += 14 * fill**0.6 * chance.uniform(0.85, 1)
        if packet > BURST.stop:
            back_ms -= 1.5
        forward.setdefault(round(there_ms * 10) * 100, []).append(packet)
        if packet == 320 or (packet in QUEUE[100:280] and chance.random() < 0.05):
            lost.append(packet)
            continue
        backward.setdefault(round(back_ms * 10) * 100, []).append(arrived)
        if packet in BURST:
            lost_backward.append(arrived)
        arrived += 1
    parts = [HEADER]
    for direction, delays, drops in (("forward", forward, lost), ("backward", backward, lost_backward)):
        parts += [_impairment(direction, numbers, f'"delay"\ndelay = "{us}us"') for us, numbers in delays.items()]
        parts.append(_impairment(direction, drops, '"drop"'))
    return "\n".join(parts)


def _impairment(direction: str, packets: list[int], action: str) -> str:
    numbers = ", ".join(str(packet) for packet in packets)
    return f'[[impairment]]\ndirection = "{direction}"\npackets = "{numbers}"\naction = {action}\n'


def main() -> int:
    """Measure, draw and print."""
    with tempfile.TemporaryDirectory() as name, Topology() as topology:
        folder = Path(name)
        instructions = folder / "picture.toml"
        instructions.write_text(scenario())
        with (
            ForwarderProgram(topology.middle, folder, instructions),
            ReflectorProgram(topology.server, folder, "--stateful"),
        ):
            options = ["-q", "-c", str(PACKETS), "-i", "20ms", "--plot", str(HERE / "path.png")]
            command = topology.client.command(TWOWAY, "ping", *options, SERVER[4])
            return subprocess.run(command, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
