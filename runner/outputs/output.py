"""The folder that a run writes into: where it may be, whether there is room, what an earlier run left in it."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from ..errors import RequestError, request_error
from ..plans.jobs import Jobs
from ..plans.plan import Plan

JOURNAL, MANIFEST = "run.sqlite", "manifest.jsonl"
# A result PNG beside its photo: generated noise packs worse than a photo, the mask packs to almost nothing.
GROWTH = 1.5
RESERVE = 64 << 20


def check_place(out: Path, data: Path) -> None:
    """Refuse a folder inside the source dataset (or around it), and one that holds somebody else's files.

    Raises:
        RequestError.
    """
    place = resolved(out)
    if lies_in(place, data):
        raise request_error(
            "out.inside_data",
            "the output folder lies inside the source dataset",
            where=f"--out {out}, --data {data}",
            expected="a folder of its own: generated pictures must never mix with real ones",
            mend="choose another --out",
        )
    check_ours(place)
    check_writable(place)


def check_ours(place: Path) -> None:
    """Refuse a file, and a folder that holds something other than a run."""
    if place.exists() and not place.is_dir():
        raise request_error("out.not_a_folder", f"{place} is a file", expected="a folder", mend="choose another")
    if place.is_dir() and any(place.iterdir()) and not (place / JOURNAL).exists():
        raise request_error(
            "out.not_ours",
            f"the output folder is not empty and holds no run of ours (there is no {JOURNAL} in it)",
            where=str(place),
            expected="a new or empty folder, or the folder of an earlier run",
            mend="choose another --out",
        )


def no_run(out: Path, code: str, what: str) -> RequestError:
    """The error of a command that reads a run, where `out` is none."""
    return request_error(
        code, what, where=str(out), expected="the folder given to `defectforge run --out`", mend="check the path"
    )


def lies_in(place: Path, folder: Path) -> bool:
    """Whether a path is a folder or below it, with links and ~ followed. Raises RequestError as `resolved`."""
    return resolved(place).is_relative_to(resolved(folder))


def check_writable(place: Path) -> None:
    """Without making anything: the nearest folder that exists has to be writable."""
    parent = nearest_existing(place)
    if not os.access(parent, os.W_OK | os.X_OK):
        raise request_error(
            "out.not_writable",
            f"the output folder cannot be written: no permission in '{parent}'",
            where=f"--out {place}",
            expected="write permission",
            mend="choose another --out, or change the permission",
        )


def check_space(out: Path, plan: Plan) -> None:
    """Raise RequestError if the pairs that are still to be made will hardly fit on the disk."""
    needed = expected_bytes(plan) + RESERVE
    free = shutil.disk_usage(nearest_existing(resolved(out))).free
    if free < needed:
        raise request_error(
            "out.no_space",
            f"about {needed >> 20} MB are needed, {free >> 20} MB are free",
            where=f"--out {out}",
            expected=f"room for {len(plan.jobs)} pairs",
            mend="make room, choose another --out, or lower --count",
        )


def expected_bytes(plan: Plan) -> int:
    """Of the pictures of a plan, by the size of their photos: an assumption, no measurement."""
    jobs = plan.jobs
    total = jobs.source_bytes if isinstance(jobs, Jobs) else sum(job.source.bytes for job in jobs)
    return int(total * GROWTH)


def resolved(path: Path) -> Path:
    """The path with links and ~ followed.

    Raises:
        RequestError: it leads nowhere (a circle of links, a user that does not exist, a zero byte).
    """
    try:
        return path.expanduser().resolve()
    except (RuntimeError, ValueError) as error:
        raise request_error(
            "path.leads_nowhere",
            f"the path leads nowhere: {error}",
            where=str(path),
            expected="a path of this machine",
            mend="check the path",
        ) from error


def nearest_existing(path: Path) -> Path:
    return next(parent for parent in (path, *path.parents) if parent.exists())
