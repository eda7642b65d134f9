"""The draws of a job that did not get into the dataset, and why."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from .database import Database


class Draws(Database):
    """What was refused, round by round."""

    def refuse(self, job_id: str, round_: int, seed: int, refused: Iterable[dict[str, Any]], whole: bool) -> None:
        """Keep why draws of a job did not get into the dataset. Once for each round, whatever interrupts it.

        Args:
            job_id: whose draws.
            round_: of the job.
            seed: of that round.
            refused: as the saving node announces them.
            whole: no draw of the round was kept.
        """
        with self.together():
            self._do("DELETE FROM refused WHERE job=? AND round=?", job_id, round_)
            for entry in refused:
                self._do(
                    "INSERT INTO refused(job, round, draw, seed, reason, scores, whole) VALUES(?,?,?,?,?,?,?)",
                    job_id,
                    round_,
                    entry.get("draw"),
                    str(seed),
                    str(entry.get("reason", "")),
                    json.dumps(entry.get("scores", {}), sort_keys=True),
                    int(whole),
                )

    def rounds(self, job_id: str) -> int:
        """How many rounds of draws of a job were refused altogether."""
        found = self._do("SELECT COUNT(DISTINCT round) FROM refused WHERE job=? AND whole", job_id).fetchone()
        return int(found[0])

    def all_rounds(self) -> dict[str, int]:
        """`rounds` of every job that has any."""
        with self._lock:
            return dict(self._rows("SELECT job, COUNT(DISTINCT round) FROM refused WHERE whole GROUP BY job"))

    def refused(self, job_id: str | None = None) -> list[dict[str, Any]]:
        """Draws that were refused, of one job or of all."""
        where, values = ("WHERE job=?", [job_id]) if job_id else ("", [])
        rows = self._do(f"SELECT * FROM refused {where} ORDER BY job, round, draw", *values)
        return [{**dict(row), "scores": json.loads(row["scores"] or "{}")} for row in rows]
