"""How well the runner keeps servers busy: servers that sleep, so that the cores of this machine do not matter.

    python tests/benchmarks/bench_servers.py OBJECT_INFO [--jobs 30]

OBJECT_INFO is a file with what a server with this pack answers to /object_info. Prints the idle time between two jobs
of 0.5 s, from the server's own clock, at 0 and at 50 ms of latency; and how many times faster two servers are than one.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib.util
import itertools
import json
import queue
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

HERE = Path(__file__).resolve().parent
STUB = HERE.parent / "chaos" / "stub_server.py"
spec = importlib.util.spec_from_file_location("bench_runner", HERE / "bench_runner.py")
assert spec is not None and spec.loader is not None
bench_runner = importlib.util.module_from_spec(spec)
sys.modules["bench_runner"] = bench_runner
spec.loader.exec_module(bench_runner)


@contextlib.contextmanager
def stub(folder: Path, object_info: Path, seconds: float) -> Iterator[str]:
    program = [sys.executable, str(STUB), "0", str(folder), str(object_info), str(seconds)]
    with subprocess.Popen(program, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield process.stdout.readline().strip()
        finally:
            process.kill()


class Delayed:
    """A proxy: each byte arrives `seconds` later, in both directions; nothing else is slower."""

    def __init__(self, url: str, seconds: float) -> None:
        self._target = ("127.0.0.1", int(url.rpartition(":")[2]))
        self._seconds = seconds
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                here, _ = self._listener.accept()
                there = socket.create_connection(self._target)
                for source, sink in ((here, there), (there, here)):
                    source.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                    self._pump(source, sink)

    def _pump(self, source: socket.socket, sink: socket.socket) -> None:
        late: queue.SimpleQueue[tuple[float, bytes]] = queue.SimpleQueue()

        def read() -> None:
            part = b"x"
            while part:
                try:
                    part = source.recv(1 << 18)
                except OSError:
                    part = b""
                late.put((time.monotonic() + self._seconds, part))

        def write() -> None:
            with contextlib.suppress(OSError):
                while True:
                    due, part = late.get()
                    time.sleep(max(0.0, due - time.monotonic()))
                    if not part:
                        sink.shutdown(socket.SHUT_WR)
                        return
                    sink.sendall(part)

        threading.Thread(target=read, daemon=True).start()
        threading.Thread(target=write, daemon=True).start()


def gaps(url: str) -> list[float]:
    """Milliseconds between the end of each job and the beginning of the next one, by the server's clock."""
    times = json.loads(urllib.request.urlopen(f"{url}/stub/times").read())
    return [1000 * (after[0] - before[1]) for before, after in itertools.pairwise(times)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("object_info", type=Path)
    parser.add_argument("--jobs", type=int, default=30)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="defectforge-bench-") as name:
        folder = Path(name)
        for latency in (0.0, 0.05):
            with stub(folder / f"gap-{latency}", options.object_info, 0.5) as url:
                # Half of it on the way there, half on the way back.
                bench_runner.measure((Delayed(url, latency / 2).url,), options.jobs, folder)
                found = gaps(url)
                most = f"{statistics.median(found):5.1f} ms between two (median), {max(found):5.1f} ms at most"
                print(f"0.5 s jobs, {1000 * latency:3.0f} ms latency: idle {most}", flush=True)
        with contextlib.ExitStack() as stack:
            urls = tuple(
                stack.enter_context(stub(folder / f"two-{place}", options.object_info, 0.3)) for place in range(2)
            )
            walls = []
            for some in (urls[:1], urls):
                meter = bench_runner.measure(some, 2 * options.jobs, folder)
                walls.append(meter.last[0] - meter.first[0])
            print(f"two servers of 0.3 s jobs: {walls[0] / walls[1]:.2f} times one")


if __name__ == "__main__":
    main()
