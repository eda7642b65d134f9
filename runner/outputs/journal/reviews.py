"""What reviews want of pairs, until it is done; see `outputs.review`."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from .database import Database


class Reviews(Database):
    """Remembered before anything is moved."""

    def reviews(self) -> list[dict[str, Any]]:
        """What reviews want of pairs; see `outputs.review`."""
        return [dict(row) for row in self._do("SELECT * FROM review ORDER BY position")]

    def want(self, reviews: Iterable[dict[str, Any]]) -> None:
        """Remember, all or none, what is wanted of pairs, before anything is moved."""
        names = ("pair", "job", "kind", "type", "position", "line", "places")
        with self.together():
            for review in reviews:
                values = [review[name] for name in names]
                self._do(f"INSERT OR REPLACE INTO review({', '.join(names)}, settled) VALUES(?,?,?,?,?,?,?,0)", *values)

    def settle(self, jobs: dict[str, tuple[str, str]]) -> None:
        """Everything lies where reviews want it: these jobs have these records and outputs (as JSON) now."""
        with self.together():
            for job_id, (record, outputs) in jobs.items():
                self._do("UPDATE job SET record=?, outputs=? WHERE id=?", record, outputs, job_id)
            self._do("DELETE FROM review WHERE kind='none'")
            self._do("UPDATE review SET settled=1")
