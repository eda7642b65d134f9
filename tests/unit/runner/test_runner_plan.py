"""Requests become jobs: deterministic, addressable, growing only by what is new."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from defectforge.runner.errors import RequestError
from defectforge.runner.graphs.overrides import Axis, Setting
from defectforge.runner.graphs.roles import find_roles
from defectforge.runner.plans.plan import Plan, Selection, make_plan


@pytest.fixture
def selection(mvtec: Path) -> Selection:
    return Selection(mvtec, "hazelnut")


def plan(graph: Any, selection: Selection, *axes: Axis, fixed: tuple[Setting, ...] = ()) -> Plan:
    return make_plan(graph, find_roles(graph, "test"), selection, axes, fixed)


def ids(made: Plan) -> list[str]:
    return [job.id for job in made.jobs]


def test_without_a_count_every_good_photo_is_drawn_once(graph: Any, selection: Selection) -> None:
    jobs = plan(graph, selection).jobs
    assert [job.source.photo.path.name for job in jobs] == ["000.png", "001.png", "002.png"]
    assert [job.seed for job in jobs] == [0, 1, 2]


def test_more_draws_than_photos_start_over_with_new_seeds(graph: Any, selection: Selection) -> None:
    jobs = plan(graph, replace(selection, count=5, seed=10)).jobs
    assert [job.source.photo.path.name for job in jobs] == ["000.png", "001.png", "002.png", "000.png", "001.png"]
    assert [job.seed for job in jobs] == [10, 11, 12, 13, 14]
    filled = jobs[3].graph(graph, "here", "4")
    assert filled["3"]["inputs"]["seed"] == 13
    assert filled["4"]["inputs"]["filename_prefix"] == "here"
    assert filled["1"]["inputs"]["root"].startswith("defectforge/")
    assert graph["3"]["inputs"]["seed"] == 0, "the base graph is shared and must stay as it is"


def test_equal_requests_give_equal_ids_and_a_larger_one_only_adds(graph: Any, selection: Selection) -> None:
    small, again = plan(graph, replace(selection, count=2)), plan(graph, replace(selection, count=2))
    assert ids(small) == ids(again)
    assert ids(plan(graph, replace(selection, count=4)))[:2] == ids(small)


def test_an_id_follows_what_is_computed(graph: Any, selection: Selection, mvtec: Path) -> None:
    before = ids(plan(graph, selection))
    graph["3"]["_meta"]["title"] = "Renamed"
    assert ids(plan(graph, selection)) == before, "a title computes nothing"
    graph["3"]["inputs"]["rim"] = 0.4
    changed = ids(plan(graph, selection))
    assert not set(before) & set(changed)
    photo = mvtec / "hazelnut" / "train" / "good" / "000.png"
    photo.write_bytes((photo.parent / "002.png").read_bytes())
    assert ids(plan(graph, selection))[0] != changed[0], "another photo under the same name is another job"


def test_every_draw_is_done_with_every_combination(graph: Any, selection: Selection) -> None:
    axes = (Axis("Hole mask", "count", (1, 2)), Axis("Hole mask", "rim", (0.1, 0.2)))
    jobs = plan(graph, replace(selection, count=2), *axes).jobs
    assert len(jobs) == len(set(ids(plan(graph, replace(selection, count=2), *axes)))) == 8
    assert [job.seed for job in jobs] == [0] * 4 + [1] * 4, "one draw keeps its seed, so that values can be compared"
    assert [tuple(s.value for s in job.varied) for job in jobs[:4]] == [(1, 0.1), (1, 0.2), (2, 0.1), (2, 0.2)]


def test_shards_are_disjoint_and_complete(graph: Any, selection: Selection) -> None:
    whole = ids(plan(graph, replace(selection, count=7)))
    parts = [plan(graph, replace(selection, count=7, shard=(n, 3))) for n in range(3)]
    assert sorted(whole) == sorted(job_id for part in parts for job_id in ids(part))
    assert sorted(job.index for part in parts for job in part.jobs) == list(range(7))


def test_a_seed_that_is_set_stays_and_twins_are_refused(graph: Any, selection: Selection) -> None:
    fixed = (Setting("Hole mask", "seed", 5),)
    graph["3"]["inputs"]["seed"] = 5
    jobs = plan(graph, replace(selection, count=3), fixed=fixed).jobs
    assert {job.graph(graph, "", "4")["3"]["inputs"]["seed"] for job in jobs} == {5}
    with pytest.raises(RequestError, match="jobs 0 and 3 of the request would be the same picture"):
        plan(graph, replace(selection, count=4), fixed=fixed)


def test_a_reference_loader_gets_defect_photos_with_their_masks(with_reference: Any, selection: Selection) -> None:
    jobs = plan(with_reference, replace(selection, type="hole", count=3)).jobs
    assert [job.references[0].photo.path.name for job in jobs] == ["000.png", "001.png", "000.png"]
    assert all(job.references[0].mask_sha256 for job in jobs)
    filled = jobs[0].graph(with_reference, "", "4")
    assert (filled["5"]["inputs"]["split"], filled["5"]["inputs"]["type"]) == ("test", "hole")


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"type": "hoel"}, "did you mean 'hole'?"),
        ({"type": "../up"}, "a name for a folder"),
        ({"count": 0}, "at least 1"),
        ({"category": "bottle"}, "the dataset has no category 'bottle'"),
    ],
)
def test_wrong_selections_are_refused(graph: Any, selection: Selection, change: Any, expected: str) -> None:
    with pytest.raises(RequestError, match=expected.replace("?", r"\?")):
        plan(graph, replace(selection, **change))


def test_a_new_type_has_to_be_asked_for(graph: Any, selection: Selection) -> None:
    assert plan(graph, replace(selection, type="dent", new_type=True)).jobs[0].type == "dent"


@pytest.mark.parametrize(
    ("node", "expected"),
    [("4", "0 nodes that save an image with its mask"), ("1", "no photo goes into the pair")],
)
def test_a_graph_without_photo_or_pair_cannot_be_run(graph: Any, node: str, expected: str) -> None:
    del graph[node]
    with pytest.raises(RequestError, match=expected):
        find_roles(graph, "test")
