"""The scripted server of the tests as a process of its own, with its files on the disk: to be killed, and to be fast.

    python stub_server.py PORT FOLDER OBJECT_INFO [SECONDS]

A job sleeps for SECONDS. GET /stub/times gives when each job of this process began and ended.
"""

from __future__ import annotations

import importlib.util
import json
import os
import sys
import threading
from collections.abc import Iterator, MutableMapping
from pathlib import Path
from typing import Any

from aiohttp import web

FAULTY = Path(__file__).resolve().parents[1] / "server" / "runner" / "faulty.py"


class Folder(MutableMapping[str, bytes]):
    """Files by their path below a folder; they outlive the process."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def __getitem__(self, name: str) -> bytes:
        try:
            return (self._root / name).read_bytes()
        except FileNotFoundError as error:
            raise KeyError(name) from error

    def __setitem__(self, name: str, data: bytes) -> None:
        path = self._root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_name(path.name + ".new")
        part.write_bytes(data)
        os.replace(part, path)

    def __delitem__(self, name: str) -> None:
        (self._root / name).unlink()

    def __iter__(self) -> Iterator[str]:
        # Inputs only: a job looks for its photo among them, and outputs become many.
        found = (path for path in (self._root / "input").rglob("*") if path.is_file())
        return (path.relative_to(self._root).as_posix() for path in found)

    def __len__(self) -> int:
        return sum(1 for _ in self)


def main(port: int, folder: Path, object_info: Path, seconds: float = 0.02) -> None:
    spec = importlib.util.spec_from_file_location("faulty", FAULTY)
    assert spec is not None and spec.loader is not None
    faulty: Any = importlib.util.module_from_spec(spec)
    sys.modules["faulty"] = faulty
    spec.loader.exec_module(faulty)

    def times(request: web.Request) -> web.Response | None:
        return web.json_response(server.times) if request.path == "/stub/times" else None

    script = faulty.Script(seconds=seconds, announce=True, intercept=times)
    server = faulty.FaultyServer(json.loads(object_info.read_text()), script, Folder(folder), port)
    print(server.url, flush=True)
    threading.Event().wait()


if __name__ == "__main__":
    main(int(sys.argv[1]), Path(sys.argv[2]), Path(sys.argv[3]), *map(float, sys.argv[4:]))
