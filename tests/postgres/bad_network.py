"""A network between a service and its database: it delays what passes, and what it loses comes when TCP has sent it again.

It relays TCP, and is no queueing discipline of the kernel (`tc netem`), which not every machine has. A segment that is lost is late by the
time after which TCP repeats it, and so is all that was sent behind it.
"""

import asyncio
import random
import threading
from contextlib import suppress
from dataclasses import dataclass

REPEATED_AFTER_S = 0.4
"""The round trip and the least that Linux waits on top of it: 200 ms (RFC 6298 asks for more). Twice as long for each time more."""


@dataclass(frozen=True)
class Weather:
    """Of one direction."""

    delay_s: float
    jitter_s: float
    """A delay is evenly spread over `delay_s` ± this."""
    loss: float
    """Share of what is sent that is lost, and of what is sent again."""

    def late_s(self, chance: random.Random) -> float:
        late_s, wait_s = self.delay_s + chance.uniform(-self.jitter_s, self.jitter_s), REPEATED_AFTER_S
        while chance.random() < self.loss:
            late_s, wait_s = late_s + wait_s, 2 * wait_s
        return late_s


FINE = Weather(0.0, 0.0, 0.0)


class BadNetwork:
    """Listens on `port` for what is meant for another port of this machine. `weather` may change at any time."""

    def __init__(self, to_port: int, *, seed: int) -> None:
        self.weather = FINE
        self.port = 0
        self.connected = 0
        """Connections that were opened so far."""
        self._to_port = to_port
        self._chance = random.Random(seed)
        self._loop = asyncio.new_event_loop()
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()
        assert self._ready.wait(10)

    def close(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        server = self._loop.run_until_complete(asyncio.start_server(self._relay, "127.0.0.1", 0))
        self.port = server.sockets[0].getsockname()[1]
        self._ready.set()
        self._loop.run_forever()
        server.close()
        for task in asyncio.all_tasks(self._loop):
            task.cancel()
        with suppress(asyncio.CancelledError):
            self._loop.run_until_complete(asyncio.gather(*asyncio.all_tasks(self._loop), return_exceptions=True))
        self._loop.close()

    async def _relay(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connected += 1
        await asyncio.sleep(self.weather.late_s(self._chance) + self.weather.late_s(self._chance))  # to shake hands
        try:
            there, back = await asyncio.open_connection("127.0.0.1", self._to_port)
        except OSError:
            writer.close()
            return
        with suppress(asyncio.CancelledError):  # the test is over
            await asyncio.gather(self._pass_on(reader, back), self._pass_on(there, writer))

    async def _pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """In order: what is late holds up what comes behind it."""
        queue: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue()
        sending = asyncio.ensure_future(self._send(queue, writer))
        due_s = 0.0
        with suppress(OSError):
            while data := await reader.read(65_536):
                due_s = max(due_s, self._loop.time() + self.weather.late_s(self._chance))
                queue.put_nowait((due_s, data))
        queue.put_nowait((due_s, b""))
        await sending

    async def _send(self, queue: "asyncio.Queue[tuple[float, bytes]]", writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while True:
                due_s, data = await queue.get()
                await asyncio.sleep(max(due_s - self._loop.time(), 0))
                if not data:
                    break
                writer.write(data)
                await writer.drain()
        writer.close()
