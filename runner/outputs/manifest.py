"""OUT/manifest.jsonl: one line an image, with all that is needed to make the same pixels again."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from ..errors import did_you_mean, request_error
from .files import append_synced, write_whole


class Manifest:
    """Appends each job's line once. A line that a crash tore is cut off when the file is opened."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._ids = self._mend()

    def _mend(self) -> set[str]:
        if not self.path.exists():
            return set()
        ids: set[str] = set()
        whole = 0
        # The scanner below `json.loads`, which looks for blanks around every one of a hundred thousand lines.
        scan = json.JSONDecoder().scan_once  # type: ignore[attr-defined]
        with self.path.open("rb") as file:
            for line in file:
                try:
                    text = line.decode()
                    record, end = scan(text, 0)
                    found = str(record["id"])
                except (ValueError, KeyError, TypeError, RecursionError, StopIteration):
                    break
                if not text.endswith("\n") or not text[end:].isspace():
                    break
                ids.add(found)
                whole += len(line)
        if whole != self.path.stat().st_size:
            rest = self.path.read_bytes()[whole:]
            if rest.count(b"\n") > 1:
                raise request_error(
                    "out.manifest_broken",
                    "the manifest has a line that is no record",
                    where=f"{self.path}, byte {whole}",
                    expected="one JSON object a line; only the last one may be torn by a crash",
                    mend="remove that line, or choose another --out",
                )
            with self.path.open("r+b") as file:
                file.truncate(whole)
        return ids

    def append(self, *records: dict[str, Any]) -> None:
        """Write the lines of pairs that have none yet, one fsync for all. Raises OSError: the file is as before."""
        new = {record["id"]: line_of(record) for record in records if record["id"] not in self._ids}
        if not new:
            return
        append_synced(self.path, b"".join(new.values()))
        self._ids.update(new)

    def __contains__(self, pair_id: str) -> bool:
        return pair_id in self._ids

    def remove(self, job_id: str) -> None:
        """Take out the line of a job whose files somebody deleted; it is made and recorded again."""
        if job_id not in self._ids:
            return
        kept = [record for record in read(self.path) if record["id"] != job_id]
        write_whole(self.path, b"".join(map(line_of, kept)))
        self._ids.discard(job_id)


def line_of(record: dict[str, Any]) -> bytes:
    try:
        return (json.dumps(record, sort_keys=True, ensure_ascii=False) + "\n").encode()
    except UnicodeEncodeError:  # bytes of a name that are no text: JSON's own escapes keep them
        return (json.dumps(record, sort_keys=True) + "\n").encode()


def read(path: Path) -> list[dict[str, Any]]:
    """Every record.

    Raises:
        RequestError: a line is no record.
        OSError: the file cannot be read.
    """
    records = []
    # Not splitlines: a name may hold other things that count as line ends.
    for number, line in enumerate(path.read_bytes().split(b"\n"), 1):
        if not line.strip():
            continue
        try:
            record = json.loads(line)
            if not isinstance(record, dict) or not isinstance(record.get("id"), str):
                raise ValueError("it is no record of a pair")
        except (ValueError, RecursionError) as error:
            raise request_error(
                "manifest.broken",
                f"the manifest has a line that cannot be read: {error}",
                where=f"{path}, line {number}",
                expected="one JSON object a line, as a run writes it",
                mend="name another record, or run the same command again: the journal writes a lost manifest anew",
            ) from error
        records.append(record)
    return records


def select(reference: str) -> tuple[Path, list[dict[str, Any]]]:
    """Records that 'OUT/manifest.jsonl', 'OUT/manifest.jsonl:ID' or 'OUT' name. ID may be the beginning of an id, or
    the number of the picture.

    Raises:
        RequestError: no such file or record.
    """
    path, wanted = Path(reference), ""
    if not path.exists() and ":" in reference:
        head, _, wanted = reference.rpartition(":")
        path = Path(head)
    if path.is_dir():
        path = path / "manifest.jsonl"
    if not path.is_file():
        raise request_error(
            "manifest.not_found",
            f"there is no manifest '{reference}'",
            where=str(path),
            expected="OUT/manifest.jsonl of a run, or OUT/manifest.jsonl:ID for one picture of it",
            mend="check the path",
        )
    records = read(path)
    # A short number is the picture's; an id that begins with the same digits is asked for with more of them.
    chosen = [r for r in records if str(r.get("number")) == wanted] if wanted else records
    chosen = chosen or [r for r in records if r["id"].startswith(wanted)]
    if not chosen:
        raise request_error(
            "manifest.no_record",
            f"the manifest has no record '{wanted}'" if wanted else "the manifest is empty",
            where=str(path),
            expected="the beginning of an id, or the number of a picture",
            mend=did_you_mean(wanted, (str(record["id"])[:12] for record in records)),
        )
    return path, chosen
