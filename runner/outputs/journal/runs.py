"""The runs on a folder: what each was asked for, and how the present one and its servers are doing."""

from __future__ import annotations

import json
import os
import socket
import time
from typing import Any

from .database import Database


class Runs(Database):
    """For the next run, and for whoever looks on."""

    def start_run(self, request: dict[str, Any], version: str) -> None:
        self._do("INSERT INTO run(started, request, version) VALUES(?,?,?)", time.time(), json.dumps(request), version)

    def kept_before(self) -> int | None:
        """How many pairs a job of earlier runs on this folder could give; None if there was no run."""
        found = self._do("SELECT request FROM run ORDER BY id DESC LIMIT 1").fetchone()
        try:
            return int(json.loads(found["request"]).get("pairs_a_job", 1)) if found else None
        except (TypeError, ValueError, AttributeError):
            return 1

    def requests(self) -> list[dict[str, Any]]:
        """What every run here was asked for."""
        return [json.loads(row[0]) for row in self._do("SELECT request FROM run ORDER BY id")]

    def server_stands(self, url: str, state: str, text: str) -> None:
        """How a server is doing, for whoever looks on."""
        with self.together(durable=False):
            sql = "INSERT OR REPLACE INTO server(url, state, since, text) VALUES(?,?,?,?)"
            self._do(sql, url, state, time.time(), text.encode("utf-8", "backslashreplace").decode())

    def forget_servers(self) -> None:
        """Those of an earlier run."""
        self._do("DELETE FROM server")

    def beat(self, total: int, ended: str | None = None) -> None:
        """This process is at it, or has ended, and with what words."""
        now = time.time()
        with self.together(durable=False):
            self._do(
                "INSERT OR REPLACE INTO beat(one, host, pid, total, time, ended, text) VALUES(1,?,?,?,?,?,?)",
                socket.gethostname(),
                os.getpid(),
                total,
                now,
                None if ended is None else now,
                ended,
            )
