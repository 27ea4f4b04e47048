"""`rag-service serve` in a process of its own, as tests see it from outside."""

import re
import signal
import threading
from contextlib import suppress
from pathlib import Path
from queue import Empty, Queue
from subprocess import Popen


class ServerProcess:
    """A server that has just been started; `port` is known once it is ready. What it says goes on being read."""

    def __init__(self, process: "Popen[str]") -> None:
        self.pid = process.pid
        self.said: list[str] = []
        self._process = process
        self._ready: Queue[int | None] = Queue()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        try:
            port = self._ready.get(timeout=60)
        except Empty:
            port = None
        assert port is not None, f"the server did not get ready: {self.said}"
        self.port = port
        self.url = f"http://127.0.0.1:{port}"

    @property
    def runs(self) -> bool:
        return self._process.poll() is None

    def end(self, number: int = signal.SIGTERM) -> int:
        """Sends the signal and gives the exit code. What it said until its end is then in `said`."""
        self._process.send_signal(number)
        return self.ended()

    def ended(self, within_s: float = 30) -> int:
        """Waits for its end, and gives the exit code."""
        code = self._process.wait(timeout=within_s)
        self._reader.join(timeout=30)
        return code

    def most_memory_bytes(self) -> int:
        """The most resident memory that it has had so far (Linux)."""
        status = Path(f"/proc/{self.pid}/status").read_text()
        return int(re.findall(r"VmHWM:\s+(\d+) kB", status)[0]) * 1024

    def _read(self) -> None:
        assert self._process.stderr is not None
        with suppress(ValueError):  # the test is over, and has closed what is read here
            for line in self._process.stderr:
                self.said.append(line)
                if ready := re.search(r"^ready: .* at http://[^:]+:(\d+)", line):
                    self._ready.put(int(ready[1]))
        self._ready.put(None)
