"""`defectforge export`: a run's pairs in a format that detectors read."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from ...errors import OK, Problem, StorageError, request_error
from ...outputs.export import FORMATS
from ...outputs.export.pairs import read_pairs, split_pairs
from ...outputs.manifest import read
from ...outputs.output import MANIFEST, lies_in, no_run
from ...reporter import Reporter


def export(out: Path, to: str, dest: Path, reporter: Reporter, label: str, val: float, seed: int, link: bool) -> int:
    """Write OUT's pairs into DEST, whole or not at all.

    Raises:
        RequestError: no run, no pair with that label, DEST is not empty or lies inside OUT or its dataset.
    """
    manifest = out / MANIFEST
    if not manifest.is_file():
        raise no_run(out, "export.no_run", f"there is no {MANIFEST}")
    records = read(manifest)
    pairs, notes = read_pairs(out, records, label)
    split, more = split_pairs(pairs, val, seed, link)
    _check_dest(dest, out, Path(records[0]["data"]))
    part = dest.with_name(dest.name + ".part")
    try:
        shutil.rmtree(part, ignore_errors=True)
        part.mkdir(parents=True)
        notes = [*notes, *more, *FORMATS[to](split, part)]
        if dest.is_dir():
            dest.rmdir()
        os.replace(part, dest)
    except OSError as error:
        shutil.rmtree(part, ignore_errors=True)
        raise StorageError(
            Problem("export.write", f"the export cannot be written: {error}", str(dest), "free disk space", "make room")
        ) from error
    for note in notes:
        reporter.line(note)
    sources = [len({pair.source_sha256 for pair in side}) for side in (split.train, split.val)]
    reporter.line(
        f"{to}: {len(split.train)} pairs for training (of {sources[0]} source photos), {len(split.val)} for validation "
        f"(of {sources[1]} others); classes: {', '.join(split.classes)}; in {dest}"
    )
    return OK


def _check_dest(dest: Path, out: Path, data: Path) -> None:
    place = dest.expanduser().resolve()
    if place.exists() and (not place.is_dir() or any(place.iterdir())):
        raise request_error(
            "export.not_empty",
            "the destination is not empty",
            where=f"--dest {dest}",
            expected="a new or empty folder",
            mend="choose another --dest, or take the old one away",
        )
    for folder, what in ((out, "the run's folder"), (data, "the source dataset")):
        if lies_in(place, folder):
            raise request_error(
                "export.inside",
                f"the destination lies inside {what}",
                where=f"--dest {dest}",
                expected="a folder of its own",
                mend="choose another --dest",
            )
