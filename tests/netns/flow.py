"""A TCP flow: numbered records, sent at a steady pace and echoed, which says when each came back.

Run as a program, in the namespace of either end:

    python -m netns.flow serve ADDRESS PORT              echoes whoever connects, until it is ended
    python -m netns.flow send ADDRESS PORT INTERVAL_S    sends until its input ends, then waits for all echoes

The sender prints a line of JSON at its end: records sent and echoed, and the longest time without an echo. Records that
come back in another order, or not at all, are an error.
"""

import asyncio
import json
import struct
import sys
import time

RECORD = struct.Struct("!Q1016x")
"""A number, and so much that a flow is more than acknowledgements."""
_PATIENCE_S = 60.0


async def _echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while octets := await reader.read(65536):
        writer.write(octets)
        await writer.drain()
    writer.close()


async def serve(address: str, port: int) -> None:
    """Echo."""
    server = await asyncio.start_server(_echo, address, port)
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    await server.serve_forever()


class Sender:
    """What was sent and came back."""

    def __init__(self) -> None:
        self.sent = self.echoed = 0
        self.longest_gap_s = 0.0
        self.over = asyncio.Event()

    async def send(self, writer: asyncio.StreamWriter, interval_s: float) -> None:
        while not self.over.is_set():
            writer.write(RECORD.pack(self.sent))
            self.sent += 1
            await asyncio.sleep(interval_s)
        writer.write_eof()

    async def hear(self, reader: asyncio.StreamReader) -> None:
        last = time.monotonic()
        while True:
            try:
                octets = await reader.readexactly(RECORD.size)
            except asyncio.IncompleteReadError as error:
                if error.partial:
                    raise
                return
            (number,) = RECORD.unpack(octets)
            if number != self.echoed:
                raise ValueError(f"record {number} came instead of {self.echoed}")
            self.echoed += 1
            now = time.monotonic()
            self.longest_gap_s, last = max(self.longest_gap_s, now - last), now


async def send(address: str, port: int, interval_s: float) -> None:
    """Send until the input ends, and wait for what is under way."""
    reader, writer = await asyncio.open_connection(address, port)
    sender = Sender()
    asyncio.get_running_loop().add_reader(sys.stdin.fileno(), sender.over.set)
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    hearing = asyncio.create_task(sender.hear(reader))
    await sender.send(writer, interval_s)
    async with asyncio.timeout(_PATIENCE_S):
        await hearing
    found = {"sent": sender.sent, "echoed": sender.echoed, "longest_gap_s": sender.longest_gap_s}
    sys.stdout.write(json.dumps(found) + "\n")


def main() -> None:
    what, address, port, *rest = sys.argv[1:]
    if what == "serve":
        asyncio.run(serve(address, int(port)))
    else:
        asyncio.run(send(address, int(port), float(rest[0])))


if __name__ == "__main__":
    main()
