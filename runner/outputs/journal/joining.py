"""What joining the journals of shards needs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from .database import Database
from .schema import DONE, PAIRS


class Joining(Database):
    """Whole jobs, taken over from other journals; and this one in the order of its plan."""

    def take_over(self, entries: Iterable[dict[str, Any]], runs: Iterable[dict[str, Any]]) -> None:
        """Enter, all or none, jobs of other journals with all that is known of them, and the runs that made them.

        Args:
            entries: {"job": row, "refused": rows, "attempt": rows} of jobs that are not done here.
            runs: rows of the table; those that are there already are not entered again.
        """
        with self.together():
            for entry in entries:
                job_id = entry["job"]["id"]
                for table in ("job", "refused", "attempt"):
                    key = "id" if table == "job" else "job"
                    self._do(f"DELETE FROM {table} WHERE {key}=?", job_id)
                    for row in [entry["job"]] if table == "job" else entry[table]:
                        names, marks = ", ".join(row), ", ".join("?" * len(row))
                        self._do(f"INSERT INTO {table}({names}) VALUES({marks})", *row.values())
            for run in runs:
                values = (run["started"], run["request"], run["version"])
                if not self._do("SELECT 1 FROM run WHERE started=? AND request=?", *values[:2]).fetchone():
                    self._do("INSERT INTO run(started, request, version) VALUES(?,?,?)", *values)

    def records_in_order(self, types: Sequence[str]) -> Iterator[str]:
        """The records of every job that is done, as JSON, in the order of a plan with these types."""
        order, values = in_plan_order(types)
        return (row[0] for row in self._do(f"SELECT record FROM job WHERE state=? {order}", DONE, *values))

    def places(self, done: bool) -> Iterator[tuple[int, str]]:
        """(number, type) of every job that is done, or of every other one."""
        rows = self._do(f"SELECT number, type FROM job WHERE state{'=' if done else '!='}? ORDER BY number", DONE)
        return ((row[0], row[1]) for row in rows)

    def number_of_states(self) -> dict[str, int]:
        return {row[0]: row[1] for row in self._do("SELECT state, COUNT(*) FROM job GROUP BY state")}

    def number_of_pairs(self) -> int:
        return int(self._do(f"SELECT COALESCE(SUM({PAIRS}), 0) FROM job WHERE state=?", DONE).fetchone()[0])


def in_plan_order(types: Sequence[str]) -> tuple[str, list[Any]]:
    """ORDER BY as a plan with these types numbers its jobs, and its values."""
    if not types:
        return "ORDER BY number, category, type", []
    cases = " ".join("WHEN ? THEN ?" for _ in types)
    values = [item for place, type_ in enumerate(types) for item in (type_, place)]
    return f"ORDER BY number, CASE type {cases} ELSE {len(types)} END, category, type", values
