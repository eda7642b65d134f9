"""`--draws --keep --until --thresholds --label` as settings, jobs and an end; without a server."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from defectforge.runner.commands.requests.choice import BUDGET, check_keep, choice_settings, pairs_in, planned
from defectforge.runner.commands.requests.request import Request, with_plan_file
from defectforge.runner.errors import RequestError
from defectforge.runner.graphs.roles import find_roles
from defectforge.runner.outputs.journal import Journal
from defectforge.runner.plans.plan import SEEDS_APART, Job, Selection, make_plan
from defectforge.runner.plans.source import JobSource

ROOT = Path(__file__).parents[3]


@pytest.fixture
def shipped() -> dict[str, Any]:
    graph: dict[str, Any] = json.loads((ROOT / "workflows/api/inpaint_latent_noise.json").read_text())
    return graph


# ---- options become settings


def test_every_option_sets_its_node(shipped: Any, tmp_path: Path) -> None:
    rules = tmp_path / "rules.txt"
    rules.write_text("\ufeffpresence >= 0.5\n", encoding="utf-8")
    request = Request(draws=4, keep=2, thresholds=rules, label="requested")
    assert [(s.title, s.input, s.value) for s in choice_settings(request, shipped)] == [
        ("Draws", "amount", 4),
        ("Keep best", "keep", 2),
        ("Keep best", "thresholds", "presence >= 0.5\n"),
        ("Save pair", "label", "requested"),
    ]
    assert choice_settings(Request(), shipped) == [], "what is not asked for is not touched"


@pytest.mark.parametrize(
    ("values", "kind"), [({"draws": 2}, "RepeatLatentBatch"), ({"keep": 2}, "DefectForgeKeepBest")]
)
def test_a_workflow_that_cannot_choose_says_so(graph: Any, values: dict[str, Any], kind: str) -> None:
    with pytest.raises(RequestError, match="nodes that could do it") as caught:
        choice_settings(Request(**values), graph)
    assert kind in str(caught.value)


def test_the_node_called_draws_is_meant_where_there_are_several(shipped: Any) -> None:
    shipped["99"] = {"class_type": "RepeatLatentBatch", "inputs": {"amount": 1}, "_meta": {"title": "Other"}}
    assert [s.title for s in choice_settings(Request(draws=2), shipped)] == ["Draws"]


@pytest.mark.parametrize("content", [None, b"\xff\xfe\x00presence"])
def test_a_file_of_thresholds_that_cannot_be_read_is_refused(shipped: Any, tmp_path: Path, content: Any) -> None:
    path = tmp_path / "rules.txt"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(RequestError, match=r"rules\.txt"):
        choice_settings(Request(thresholds=path), shipped)


def test_the_plan_file_knows_the_choice(tmp_path: Path) -> None:
    path = tmp_path / "plan.yaml"
    path.write_text("draws: 4\nkeep: 2\nuntil: 30\nthresholds: rules.txt\nlabel: visible\n")
    request = with_plan_file(Request(keep=1), path)
    assert (request.draws, request.keep, request.until, request.label) == (4, 1, 30, "visible")
    assert request.thresholds == tmp_path / "rules.txt"


# ---- how many jobs


@pytest.mark.parametrize(
    ("request_", "jobs"),
    [(Request(), None), (Request(count=7), 7), (Request(until=6), 6 * BUDGET), (Request(until=6, count=9), 9)],
)
def test_until_plans_a_budget_of_jobs(request_: Request, jobs: int | None) -> None:
    assert planned(request_) == jobs


def test_a_folder_keeps_its_number_of_pairs_a_job(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "run.sqlite")
    try:
        check_keep(journal, 3, tmp_path)  # nothing was kept before
        journal.start_run({"pairs_a_job": 2}, "1")
        check_keep(journal, 2, tmp_path)
        with pytest.raises(RequestError, match="keeps up to 3 pairs a job, the earlier one in this folder 2"):
            check_keep(journal, 3, tmp_path)
    finally:
        journal.close()


def test_pairs_are_counted_by_their_images() -> None:
    outputs = json.dumps([{"role": "image"}, {"role": "mask"}, {"role": "image"}, {"role": "mask"}])
    assert pairs_in({"state": "done", "outputs": outputs}) == 2
    assert pairs_in({"state": "failed", "outputs": outputs}) == 0
    assert pairs_in({"state": "done", "outputs": None}) == 1, "a journal of an older version: one pair a job"


# ---- another seed


def test_a_redrawn_job_has_other_seeds_and_nothing_else(graph: Any, mvtec: Path) -> None:
    job = make_plan(graph, find_roles(graph, "test"), Selection(mvtec, "hazelnut", count=1, seed=9), (), ()).jobs[0]
    assert job.redrawn(0) is job
    again = job.redrawn(2)
    assert (again.id, again.index, again.round) == (job.id, job.index, 2)
    assert again.seed == 9 + 2 * SEEDS_APART
    changed = set(again.assignments) - set(job.assignments)
    assert changed == {("3", "seed", 9 + 2 * SEEDS_APART)}
    assert again.redrawn(3) == job.redrawn(3), "a round's seed hangs on its number, not on the way to it"


def test_seeds_that_the_user_set_stay(graph: Any, mvtec: Path) -> None:
    from defectforge.runner.graphs.overrides import Setting

    fixed = (Setting("Hole mask", "seed", 4),)
    graph["3"]["inputs"]["seed"] = 4
    job = make_plan(graph, find_roles(graph, "test"), Selection(mvtec, "hazelnut", count=1), (), fixed).jobs[0]
    assert job.seeds == (), "nothing to draw again with"
    assert job.redrawn(1).assignments == job.assignments


# ---- the waiting jobs


def jobs_of(count: int) -> list[Job]:
    return [Job(f"{n}", n, "nut", "hole", n, (), ()) for n in range(count)]


def test_enough_pairs_let_the_waiting_jobs_go() -> None:
    source = JobSource(jobs_of(10), until=3)
    first, second = source.take("a"), source.take("a")
    assert first is not None and second is not None
    source.finish(2)
    assert source.take("a") is not None and not source.all_finished
    source.finish(1)
    assert source.take("a") is None, "nothing more is begun"
    assert not source.all_finished, "what was begun is waited for"
    source.finish(1)
    assert source.all_finished


def test_a_job_that_comes_back_after_the_end_is_let_go() -> None:
    source = JobSource(jobs_of(4), until=1)
    first, second = source.take("a"), source.take("a")
    assert first is not None and second is not None
    source.finish(1)
    source.give_back(second)
    assert source.take("a") is None and source.all_finished


def test_failures_do_not_count_as_pairs() -> None:
    source = JobSource(jobs_of(3), until=1)
    for _ in range(2):
        assert source.take("a") is not None
        source.finish()
    assert source.take("a") is not None and not source.all_finished


def test_without_until_all_are_done() -> None:
    source = JobSource(jobs_of(2))
    for _ in range(2):
        assert source.take("a") is not None
        source.finish(5)
    assert source.all_finished
