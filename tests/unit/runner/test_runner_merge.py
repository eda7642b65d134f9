"""Shards joined: what one run would have given, and nothing guessed where they do not fit together."""

from __future__ import annotations

import contextlib
import io
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from defectforge.runner.cluster.store import as_url
from defectforge.runner.commands.running.merge_command import merge_shards
from defectforge.runner.errors import RequestError
from defectforge.runner.outputs.commit import Committer, Made
from defectforge.runner.outputs.journal import DONE, FAILED, PENDING, Journal
from defectforge.runner.outputs.manifest import Manifest, read
from defectforge.runner.outputs.output import JOURNAL, MANIFEST
from defectforge.runner.outputs.pairs import Fetched
from defectforge.runner.outputs.shards import merge as merging
from defectforge.runner.outputs.shards.reading import measured
from defectforge.runner.reporter import Reporter
from made import Job, png

JOBS = 10
PLAN = {"jobs": JOBS, "sha256": "a plan"}


def of_plan(index: int) -> Job:
    """Two types in turn, as a plan with two types numbers them."""
    return Job(index, ("hole", "crack")[index % 2], index // 2)


def picture(index: int) -> Fetched:
    mask = np.zeros((8, 8), np.uint8)
    mask[:4] = 255
    return Fetched(png(np.full((8, 8, 3), index, np.uint8)), png(mask), {"label": "given"}, (8, 8), 0.5)


Shard = Callable[..., Path]


@pytest.fixture
def shard(tmp_path: Path) -> Shard:
    """Write the output of one part of the plan, as its run would have left it."""

    def write(part: int = 1, parts: int = 1, name: str = "", skip: Any = (), fail: Any = (), **request: Any) -> Path:
        folder = tmp_path / (name or f"shard-{part}")
        folder.mkdir()
        journal = Journal(folder / JOURNAL)
        asked = {
            "pairs_a_job": 1,
            "plan": PLAN,
            "types": ["hole", "crack"],
            **({"shard": f"{part}/{parts}"} if parts > 1 else {}),
        }
        journal.start_run({**asked, **request}, "test")
        committer = Committer(folder, journal, Manifest(folder / MANIFEST))
        jobs = [of_plan(n) for n in range(JOBS) if n % parts == part - 1]
        journal.add(jobs)  # type: ignore[arg-type]
        for job in jobs:
            if job.index in fail:
                journal.submitted(job.id, "http://there", f"prompt {job.index}")
                journal.failed(job.id, "job.error", "it would not")
            elif job.index not in skip:
                journal.submitted(job.id, "http://there", f"prompt {job.index}")
                committer.commit_all([Made(job.id, (picture(job.index),), {"seed": job.index})])
        journal.close()
        (folder / "workflow-0123.json").write_text("{}")
        return folder

    return write


class Said(Reporter):
    def __init__(self) -> None:
        super().__init__(io.StringIO())
        self.lines: list[str] = []

    def line(self, text: str) -> None:
        self.lines.append(text)


@pytest.fixture
def said() -> Said:
    return Said()


def content(out: Path) -> dict[str, bytes]:
    """Every file but the journal; of the manifest what does not tell the time."""
    return {
        path.relative_to(out).as_posix(): path.read_bytes()
        for path in sorted(out.rglob("*"))
        if path.is_file() and path.suffix in (".png", ".json", ".jsonl")
    }


def rows(out: Path) -> dict[str, tuple[Any, ...]]:
    journal = Journal(out / JOURNAL)
    try:
        found = [row for state in (DONE, FAILED, PENDING) for row in journal.in_state(state)]
        return {row["id"]: (row["number"], row["type"], row["state"], row["outputs"], row["error"]) for row in found}
    finally:
        journal.close()


@pytest.mark.parametrize("parts", [2, 3, 7])
def test_merged_shards_are_what_one_run_gives(shard: Shard, said: Said, tmp_path: Path, parts: int) -> None:
    whole = shard(name="whole")
    folders = [shard(part, parts) for part in range(1, parts + 1)]
    before = [content(folder) for folder in folders]
    assert merge_shards(tmp_path / "out", folders[::-1], said) == 0
    assert content(tmp_path / "out") == content(whole)
    assert rows(tmp_path / "out") == rows(whole)
    assert [content(folder) for folder in folders] == before, "shards are only read"
    assert f"{JOBS} pairs from {JOBS} of {JOBS} jobs" in said.lines[-1]


def test_a_second_time_nothing_changes_and_later_shards_are_added(shard: Shard, said: Said, tmp_path: Path) -> None:
    whole, first, second = shard(name="whole"), shard(1, 2), shard(2, 2)
    out = tmp_path / "out"
    assert merge_shards(out, [first], said) == 1
    assert any("no folder is part 2/2 of the plan" in line for line in said.lines)
    assert merge_shards(out, [second], said) == 0, "part 1/2 is there from the first time"
    assert content(out) == content(whole), "the manifest is in one run's order"
    assert merge_shards(out, [first, second], said) == 0
    assert content(out) == content(whole)
    assert rows(out) == rows(whole)


def test_what_is_missing_is_named_and_added_when_it_is_made(shard: Shard, said: Said, tmp_path: Path) -> None:
    whole = shard(name="whole")
    halves = [shard(1, 2, skip=(2, 6), fail=(4,)), shard(2, 2)]
    out = tmp_path / "out"
    assert merge_shards(out, halves, said) == 1
    assert any("3 jobs of part 1/2 are not done" in line for line in said.lines)
    states = rows(out)
    assert states[of_plan(2).id][2] == PENDING
    assert states[of_plan(4).id][2:] == (FAILED, None, "it would not")
    shutil.rmtree(halves[0])
    assert merge_shards(out, [shard(1, 2), halves[1]], said) == 0
    assert content(out) == content(whole)
    assert rows(out) == rows(whole)


def test_what_is_still_missing_is_named_whatever_is_merged_last(shard: Shard, said: Said, tmp_path: Path) -> None:
    out = tmp_path / "out"
    first, second = shard(1, 2, skip=(2,)), shard(2, 2)
    assert merge_shards(out, [first], said) == 1
    assert merge_shards(out, [second], said) == 1
    assert said.lines[-1].startswith("9 pairs from 9 of 10 jobs")
    assert any("1 jobs of part 1/2 are not done: 2" in line for line in said.lines)


def test_a_shard_that_was_killed_before_its_first_job_counts_as_missing(
    shard: Shard, said: Said, tmp_path: Path
) -> None:
    whole, empty = shard(1, 2), shard(2, 2)
    journal = Journal(empty / JOURNAL)
    with journal._lock:
        journal._do("DELETE FROM job")
    journal.close()
    assert merge_shards(tmp_path / "out", [whole, empty], said) == 1
    assert any("5 jobs of part 2/2 are not done: 1, 3, 5, 7, 9" in line for line in said.lines)


def test_the_same_pictures_twice_are_taken_once_and_said(shard: Shard, said: Said, tmp_path: Path) -> None:
    one = shard(1, 2)
    again = shard(2, 2, name="again", skip=range(JOBS))
    whole = shard(name="whole", shard="2/2")  # a person ran everything under the second part's name
    assert merge_shards(tmp_path / "out", [one, whole], said) == 0
    assert any("5 ids are there twice with the same pictures" in line for line in said.lines)
    assert again.is_dir()


def test_two_pictures_under_one_id_are_refused(
    shard: Shard, said: Said, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = shard(1, 2)
    monkeypatch.setattr(f"{__name__}.picture", lambda index, made=picture: made(index + 100))
    other = shard(name="other", shard="2/2")
    with pytest.raises(RequestError, match="is there twice, with different pictures"):
        merge_shards(tmp_path / "out", [one, other], said)
    assert not list((tmp_path / "out").rglob("*.png")), "nothing is copied before everything fits"
    assert merge_shards(tmp_path / "out", [one], said) == 1
    with pytest.raises(RequestError, match="is there twice, with different pictures"):
        merge_shards(tmp_path / "out", [other], said)


@pytest.mark.parametrize(
    ("second", "expected"),
    [
        ({"plan": {"jobs": 10, "sha256": "another"}}, "the plan is another one"),
        ({"parts": 3}, "the number of parts is another one"),
        ({"pairs_a_job": 2}, "the number of pairs a job is another one"),
        ({"part": 1}, "two folders are part 1/2 of the plan"),
    ],
)
def test_shards_that_do_not_belong_together_are_refused(
    shard: Shard, said: Said, tmp_path: Path, second: dict[str, Any], expected: str
) -> None:
    one = shard(1, 2)
    other = shard(**{"part": 2, "parts": 2, "name": "other", **second})
    with pytest.raises(RequestError, match=expected):
        merge_shards(tmp_path / "out", [one, other], said)


def test_a_file_that_is_lost_or_changed_is_named(shard: Shard, said: Said, tmp_path: Path) -> None:
    one = shard(1, 2)
    victim = next(one.rglob("*_mask.png"))
    victim.write_bytes(b"other")
    with pytest.raises(RequestError, match="holds other bytes than the journal says"):
        merge_shards(tmp_path / "out", [one], said)
    victim.unlink()
    with pytest.raises(RequestError, match="a file of a shard is not there"):
        merge_shards(tmp_path / "out", [one], said)


def test_a_shard_that_is_still_written_is_refused(shard: Shard, said: Said, tmp_path: Path) -> None:
    one = shard(1, 2)
    (tmp_path / "nothing").mkdir()
    with pytest.raises(RequestError, match="there is no run in"):
        merge_shards(tmp_path / "out", [tmp_path / "nothing"], said)
    with pytest.raises(RequestError, match="OUT is one of the shards"):
        merge_shards(one, [one], said)


def test_looking_at_a_run_leaves_nothing_in_its_folder(shard: Shard) -> None:
    one = shard(1, 2)
    before = sorted(one.iterdir())
    assert measured(one).bytes_a_job
    assert sorted(one.iterdir()) == before


def test_a_damaged_journal_is_one_message(shard: Shard, said: Said, tmp_path: Path) -> None:
    one = shard(1, 2)
    (one / JOURNAL).write_bytes(b"this is no database" * 1000)
    with pytest.raises(RequestError, match=r"the journal cannot be used: .*\n.*run\.sqlite"):
        merge_shards(tmp_path / "out", [one], said)


@pytest.mark.parametrize("address", ["s3://bucket/prefix", "file:///folder/store", None])
def test_an_address_is_one_also_as_a_path(address: str | None) -> None:
    """click gives the shards as paths; two slashes become one there."""
    assert as_url(Path(address or "/folder/store")) == address


class Killed(BaseException):
    """kill -9: nothing after it runs, not even a handler of exceptions."""


@pytest.mark.parametrize("moment", range(0, 40, 3))
def test_killed_at_any_moment_the_same_command_goes_on(
    shard: Shard, said: Said, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, moment: int
) -> None:
    whole, shards = shard(name="whole"), [shard(1, 2), shard(2, 2)]
    out = tmp_path / "out"
    calls = 0
    real = os.replace

    def counted(*arguments: Any) -> None:
        nonlocal calls
        calls += 1
        if calls > moment:
            raise Killed
        real(*arguments)

    with monkeypatch.context() as patched:
        patched.setattr(os, "replace", counted)
        patched.setattr(merging, "COPIERS", 1)
        with contextlib.suppress(Killed):
            merge_shards(out, shards, said)
    for image in out.glob("hazelnut/test/*/*.png"):
        mask = out / "hazelnut" / "ground_truth" / image.parent.name / f"{image.stem}_mask.png"
        assert mask.exists(), "no image without its mask, at any moment"
    assert merge_shards(out, shards, said) == 0
    assert content(out) == content(whole)
    assert rows(out) == rows(whole)
    assert not list(out.rglob("*.part"))
    assert len(read(out / MANIFEST)) == JOBS
