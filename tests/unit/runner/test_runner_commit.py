"""A pair appears whole or not at all, once, wherever the runner is killed."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from defectforge.runner.errors import RequestError, StorageError
from defectforge.runner.outputs import commit as module
from defectforge.runner.outputs.commit import Committer
from defectforge.runner.outputs.journal import DONE, PENDING, Journal
from defectforge.runner.outputs.manifest import Manifest, read
from defectforge.runner.outputs.pairs import Fetched, NotAPair, NothingKept, announced, names, verify
from made import Job, png


class Killed(BaseException):
    """Stands for kill -9: nothing in the runner may catch it."""


def mask_array(value: int = 255) -> np.ndarray:
    mask = np.zeros((16, 24), np.uint8)
    mask[3:7, 3:9] = value
    return mask


IMAGE = png(np.full((16, 24, 3), 90, np.uint8))
MASK = png(mask_array())
PAIR = Fetched(IMAGE, MASK, {}, (24, 16), 24 / 384)


class Place:
    """An output folder as one runner process sees it."""

    def __init__(self, out: Path) -> None:
        out.mkdir(exist_ok=True)
        self.out = out
        self.journal = Journal(out / "run.sqlite")
        self.manifest = Manifest(out / "manifest.jsonl")
        self.committer = Committer(out, self.journal, self.manifest)
        self.adopted = self.committer.recover()

    def files(self) -> list[str]:
        return sorted(p.relative_to(self.out).as_posix() for p in self.out.rglob("*.png*"))


@pytest.fixture
def open_place(tmp_path: Path) -> Iterator[Callable[[], Place]]:
    opened: list[Place] = []

    def again() -> Place:
        if opened:
            opened[-1].journal.close()
        opened.append(Place(tmp_path / "out"))
        return opened[-1]

    yield again
    opened[-1].journal.close()


def kill_at(monkeypatch: pytest.MonkeyPatch, owner: Any, name: str, call: int, after: bool) -> None:
    real, calls = getattr(owner, name), iter(range(1, 100))

    def dying(*args: Any, **kwargs: Any) -> Any:
        if next(calls) != call:
            return real(*args, **kwargs)
        if after:
            real(*args, **kwargs)
        raise Killed

    monkeypatch.setattr(owner, name, dying)


MOMENTS = [
    (module, "_write_part", 1),
    (module, "_write_part", 2),
    (Journal, "committing", 1),
    (os, "replace", 1),
    (os, "replace", 2),
    (Manifest, "append", 1),
    (Journal, "done", 1),
]


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize(("owner", "name", "call"), MOMENTS, ids=[f"{m[1]} {m[2]}" for m in MOMENTS])
def test_killed_at_any_moment_the_next_run_has_the_pair_once(
    open_place: Any, monkeypatch: pytest.MonkeyPatch, owner: Any, name: str, call: int, after: bool
) -> None:
    place, job = open_place(), Job(0)
    place.journal.add([job])
    with monkeypatch.context() as patched, pytest.raises(Killed):
        kill_at(patched, owner, name, call, after)
        place.committer.commit(job.id, PAIR, {"seed": 1})
    images = [f for f in place.files() if f.endswith("000000.png")]
    assert not images or (place.out / "hazelnut/ground_truth/hole/000000_mask.png").exists(), "an image without mask"

    place = open_place()
    if place.journal.state(job.id) != DONE:
        assert place.journal.state(job.id) == PENDING
        assert place.files() == [], "leftovers of a job that will be done again"
        place.committer.commit(job.id, PAIR, {"seed": 1})
    assert place.files() == ["hazelnut/ground_truth/hole/000000_mask.png", "hazelnut/test/hole/000000.png"]
    assert [record["id"] for record in read(place.manifest.path)] == [job.id]
    assert (place.out / "hazelnut/test/hole/000000.png").read_bytes() == IMAGE


def test_deleted_files_are_made_again_and_recorded_once(open_place: Any) -> None:
    place, job = open_place(), Job(0)
    place.journal.add([job])
    place.committer.commit(job.id, PAIR, {})
    (place.out / "hazelnut/ground_truth/hole/000000_mask.png").unlink()
    place = open_place()
    assert place.journal.state(job.id) == PENDING
    assert place.files() == [], "an image without its mask must not stay"
    place.committer.commit(job.id, PAIR, {})
    assert len(read(place.manifest.path)) == 1


def test_a_lost_manifest_is_written_again_from_the_journal(open_place: Any) -> None:
    place = open_place()
    place.journal.add([Job(0), Job(1)])
    for n in range(2):
        place.committer.commit(Job(n).id, PAIR, {})
    before = read(place.manifest.path)
    place.manifest.path.unlink()
    assert read(open_place().manifest.path) == before


def test_a_torn_manifest_line_is_cut_off(tmp_path: Path) -> None:
    path = tmp_path / "manifest.jsonl"
    path.write_text('{"id": "a"}\n{"id": "b"}\n{"id": "c')
    Manifest(path).append({"id": "d"})
    assert [record["id"] for record in read(path)] == ["a", "b", "d"]


def test_a_manifest_broken_in_the_middle_is_not_cut(tmp_path: Path) -> None:
    path = tmp_path / "manifest.jsonl"
    path.write_text('{"id": "a"}\nnonsense\n{"id": "b"}\n')
    with pytest.raises(RequestError, match="a line that is no record"):
        Manifest(path)


def test_a_full_disk_is_one_clear_error(open_place: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    place, job = open_place(), Job(0)
    place.journal.add([job])

    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(module, "_write_part", full)
    with pytest.raises(StorageError, match="No space left on device"):
        place.committer.commit(job.id, PAIR, {})


def test_two_runs_on_one_folder_are_refused(open_place: Any) -> None:
    place = open_place()
    with pytest.raises(RequestError, match="in use"):
        Journal(place.out / "run.sqlite")


def test_numbers_stay_and_folders_are_sharded_by_a_thousand(open_place: Any) -> None:
    place = open_place()
    place.journal.add([Job(5), Job(999), Job(1000)])
    other = Job(5)
    other.id = "f" * 64
    place.journal.add([other, Job(5)])
    assert [place.journal.row(Job(n).id)["number"] for n in (5, 999, 1000)] == [5, 999, 1000]
    assert place.journal.row(other.id)["number"] == 1001, "a taken number gives the next free one"
    assert names("hazelnut", "hole", 999)[0] == "hazelnut/test/hole/000999.png"
    assert names("hazelnut", "hole", 1000)[1] == "hazelnut/ground_truth/hole/0001/001000_mask.png"


@pytest.mark.parametrize(
    ("image", "mask", "size", "reason"),
    [
        (IMAGE[:50], MASK, None, "the image does not decode"),
        (IMAGE, b"", None, "the mask does not decode"),
        (IMAGE, png(np.zeros((8, 8), np.uint8)), None, "differ in size"),
        (IMAGE, MASK, (1024, 1024), "its source photo 1024x1024"),
        (IMAGE, png(np.stack([mask_array()] * 3, -1)), None, "expected 8-bit grey"),
        (IMAGE, png(mask_array(250)), None, "other values than 0 and 255"),
        (IMAGE, png(mask_array(0)), None, "the mask is empty"),
    ],
)
def test_what_is_not_a_pair_is_refused(image: bytes, mask: bytes, size: Any, reason: str) -> None:
    with pytest.raises(NotAPair, match=reason):
        verify(image, mask, size, may_be_empty=False)


def test_a_right_pair_passes_and_an_empty_mask_where_it_is_meant() -> None:
    assert verify(IMAGE, MASK, (24, 16), False) == ((24, 16), 24 / 384)
    assert verify(IMAGE, png(mask_array(0)), None, may_be_empty=True)[1] == 0.0


@pytest.mark.parametrize(
    ("history", "reason"),
    [
        ({"outputs": {}}, "nothing was saved"),
        ({"outputs": {"4": {"defectforge_pairs": [{}, {}]}}}, "2 pairs instead of one"),
        ({"outputs": {"4": {"defectforge_pairs": [{"image": {}}]}}}, "not named as image and mask"),
    ],
)
def test_success_without_the_declared_outputs_is_no_success(history: Any, reason: str) -> None:
    with pytest.raises(NotAPair, match=reason):
        announced(history, "4")


def test_the_record_says_where_the_pair_is(open_place: Any) -> None:
    place, job = open_place(), Job(3)
    place.journal.add([job])
    record = place.committer.commit(job.id, PAIR, {"seed": 9})
    assert record == json.loads(place.manifest.path.read_text())
    assert (record["number"], record["seed"]) == (3, 9)
    assert record["image"]["path"] == "hazelnut/test/hole/000003.png"


NO_HOLE = {"draw": 0, "reason": "nothing is visible", "scores": {}}
TOO_FAINT = {"draw": 1, "reason": "presence is 0.1, wanted presence >= 0.3", "scores": {"presence": 0.1}}


def saved(*pairs: Any, refused: Any = ()) -> dict[str, Any]:
    return {"outputs": {"4": {"defectforge_pairs": list(pairs), "defectforge_refused": list(refused)}}}


@pytest.mark.parametrize(("refused", "nothing_visible"), [([NO_HOLE], True), ([NO_HOLE, TOO_FAINT], False)])
def test_a_job_whose_draws_are_all_refused_is_told_from_one_that_went_wrong(refused, nothing_visible) -> None:
    with pytest.raises(NothingKept) as caught:
        announced(saved(refused=refused), "4")
    assert caught.value.refused == refused
    assert caught.value.nothing_visible is nothing_visible


def test_several_pairs_are_taken_only_from_a_job_that_may_keep_as_many() -> None:
    pair = {"image": {"filename": "a"}, "mask": {"filename": "b"}, "record": {}}
    assert len(announced(saved(pair, pair), "4", keep=2).pairs) == 2
    with pytest.raises(NotAPair, match="3 pairs instead of at most 2"):
        announced(saved(pair, pair, pair), "4", keep=2)


def test_only_a_picture_that_says_so_may_come_without_a_mask() -> None:
    image = {"filename": "a"}
    assert announced(saved({"image": image, "record": {"label": "none"}}), "4").pairs
    with pytest.raises(NotAPair, match="not named as image and mask"):
        announced(saved({"image": image, "record": {"label": "visible"}}), "4")


def test_an_unlabelled_picture_lies_apart_from_the_labelled_ones(open_place: Any) -> None:
    place, job = open_place(), Job(0)
    place.journal.add([job])
    record = place.committer.commit(job.id, Fetched(IMAGE, None, {"label": "none"}, (24, 16), None), {})
    assert record["mask"] is None and record["image"]["path"] == "hazelnut/unlabelled/hole/000000.png"
    assert not (place.out / "hazelnut" / "test").exists()
    assert not (place.out / "hazelnut" / "ground_truth").exists()
    again = open_place()
    assert again.journal.state(job.id) == DONE


def test_the_pairs_of_one_job_appear_together_under_numbers_of_their_own(open_place: Any) -> None:
    place = open_place()
    committer, jobs = Committer(place.out, place.journal, place.manifest, keep=2), [Job(0), Job(1)]
    place.journal.add(jobs, keep=2)
    for job in jobs:
        committer.commit(job.id, [PAIR, PAIR], {})
    records = read(place.manifest.path)
    assert [record["number"] for record in records] == [0, 1, 2, 3]
    assert len({record["id"] for record in records}) == 4
    (place.out / records[1]["image"]["path"]).unlink()
    committer.recover()
    assert place.journal.state(jobs[0].id) == PENDING, "a job with a missing picture is made again as a whole"
    assert [record["number"] for record in read(place.manifest.path)] == [2, 3]
    assert not (place.out / records[0]["image"]["path"]).exists()


def test_refused_draws_stay_in_the_journal_once_a_round(open_place: Any) -> None:
    place, job = open_place(), Job(0)
    place.journal.add([job])
    for _ in range(2):  # told twice, as after a lost answer
        place.journal.refuse(job.id, 0, 7, [NO_HOLE, TOO_FAINT], whole=True)
    place.journal.refuse(job.id, 1, 8, [TOO_FAINT], whole=False)
    assert place.journal.rounds(job.id) == 1
    told = [(row["round"], row["draw"], row["reason"], row["scores"]) for row in place.journal.refused(job.id)]
    assert told == [
        (0, 0, NO_HOLE["reason"], {}),
        (0, 1, TOO_FAINT["reason"], {"presence": 0.1}),
        (1, 1, TOO_FAINT["reason"], {"presence": 0.1}),
    ]
