"""Plans in every direction, lazily: references, seeds, types, workflows; shards of them; how much they cost."""

from __future__ import annotations

import copy
import itertools
import json
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from defectforge.runner.commands.preparing.prepare import each_workflow
from defectforge.runner.commands.requests.request import Chosen, Request, with_plan_file
from defectforge.runner.errors import RequestError
from defectforge.runner.graphs.overrides import Axis, Setting
from defectforge.runner.graphs.roles import find_roles
from defectforge.runner.plans.ids import IdTemplate
from defectforge.runner.plans.job import Job
from defectforge.runner.plans.jobs import Jobs
from defectforge.runner.plans.plan import Method, Plan, Selection, make_plan, plan_of
from defectforge.runner.plans.source import JobSource


@pytest.fixture
def selection(mvtec: Path) -> Selection:
    return Selection(mvtec, "hazelnut", type="hole")


def method(graph: Any, *axes: Axis, fixed: tuple[Setting, ...] = (), name: str = "test") -> Method:
    return Method(graph, find_roles(graph, name), axes, fixed, name)


AXES = (Axis("Hole mask", "count", (1, 2)), Axis("Hole mask", "rim", (0.1, 0.2, 0.3)))


@pytest.fixture
def wide(graph: Any, with_reference: Any, selection: Selection) -> Plan:
    """Three draws x two references x two seeds x two types x two workflows, one of them with six sets of values."""
    other = copy.deepcopy(with_reference)
    other["3"]["inputs"]["rim"] = 0.9
    chosen = replace(selection, type=None, types=("hole", "crack"), count=3, references=2, seeds=2, seed=7)
    return plan_of([method(with_reference, *AXES, name="varied"), method(other, name="plain")], chosen)


@pytest.fixture(autouse=True)
def mvtec_with_cracks(mvtec: Path) -> Path:
    """Every test here sees a dataset with two types of defect, each with two photos that have a mask."""
    for kind in ("test", "ground_truth"):
        source, target = mvtec / "hazelnut" / kind / "hole", mvtec / "hazelnut" / kind / "crack"
        shutil.rmtree(target, ignore_errors=True)
        shutil.copytree(source, target)
    return mvtec


def test_every_direction_is_crossed_with_every_other(wide: Plan) -> None:
    assert len(wide.jobs) == 3 * 2 * 2 * 2 * (6 + 1)
    made = {
        (job.source.photo.path.name, job.references[0].photo.path.name, job.seed, job.type, job.method, job.varied)
        for job in wide.jobs
    }
    assert len(made) == len(wide.jobs)
    assert {job.seed for job in wide.jobs} == set(range(7, 13)), "two seeds for each of three draws"
    assert {len(job.varied) for job in wide.jobs if job.method == 1} == {0}


def id_of(graph: Any, job: Job) -> str:
    """Of the graph that is queued, with nothing left to fill in."""
    saver = find_roles(graph, "").saver
    return IdTemplate(job.graph(graph, "", saver), saver, ()).id((), job.inputs)


def test_ids_are_those_of_the_filled_in_graphs(wide: Plan) -> None:
    for job in wide.jobs:
        assert job.id == id_of(wide.methods[job.method].graph, job)
    assert len({job.id for job in wide.jobs}) == len(wide.jobs)


@pytest.mark.parametrize("text", ['a "quoted" <text>', "\u00e9\n", ["a", "b"], True, 1, 1.0, None])
def test_ids_follow_any_value(graph: Any, selection: Selection, text: Any) -> None:
    made = make_plan(graph, find_roles(graph, ""), replace(selection, count=2), [Axis("Hole mask", "rim", (text,))], [])
    assert [job.id for job in made.jobs] == [id_of(graph, job) for job in made.jobs]


def test_numbers_have_no_gaps_within_a_type(wide: Plan) -> None:
    numbers: dict[str, list[int]] = {}
    for job in wide.jobs:
        numbers.setdefault(job.type, []).append(job.number)
    assert set(numbers) == {"hole", "crack"}
    assert all(found == list(range(len(wide.jobs) // 2)) for found in numbers.values())


def test_a_job_is_the_same_however_it_is_asked_for(wide: Plan) -> None:
    jobs = list(wide.jobs)
    assert [wide.jobs[n] for n in range(len(wide.jobs))] == jobs
    assert wide.jobs[-1] == jobs[-1]
    assert list(wide.jobs[5:20:3]) == jobs[5:20:3]
    with pytest.raises(IndexError):
        wide.jobs[len(jobs)]


@pytest.mark.parametrize("parts", [2, 5, 13, 200])
def test_shards_of_a_wide_plan_are_the_plan(with_reference: Any, selection: Selection, parts: int) -> None:
    chosen = replace(selection, type=None, types=("hole", "crack"), count=3, references=2)
    other = copy.deepcopy(with_reference)
    other["3"]["inputs"]["rim"] = 0.9
    methods = [method(with_reference, *AXES), method(other, name="other")]
    whole = plan_of(methods, chosen)
    shards = [plan_of(methods, replace(chosen, shard=(n, parts))) for n in range(parts)]
    by_index = {job.index: job for job in itertools.chain.from_iterable(shard.jobs for shard in shards)}
    assert [by_index[n] for n in sorted(by_index)] == list(whole.jobs)
    assert sum(len(shard.jobs) for shard in shards) == len(whole.jobs)
    assert {json.dumps(shard.described()) for shard in shards} == {json.dumps(whole.described())}


def test_another_plan_is_described_otherwise(graph: Any, selection: Selection) -> None:
    def said(*axes: Axis, **changes: Any) -> str:
        return str(plan_of([method(graph, *axes)], replace(selection, count=3, **changes)).described()["sha256"])

    different = [said(), said(seed=1), said(seeds=2), said(AXES[0]), said(type="crack")]
    assert len(set(different)) == len(different)
    assert said() == said(shard=(1, 2))


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"references": 3}, "--references 3, but 2 photos of hole have a mask"),
        ({"types": ("hole", "hole"), "type": None}, "would go into one folder"),
        ({"types": ("hole", "hoel"), "type": None}, "did you mean 'hole'?"),
        ({"count": 1000, "seeds": 1001}, "at most 1000002 seeds in one run"),
    ],
)
def test_a_plan_that_cannot_be_is_refused(
    with_reference: Any, selection: Selection, change: Any, expected: str
) -> None:
    with pytest.raises(RequestError, match=expected.replace("?", r"\?")):
        plan_of([method(with_reference)], replace(selection, **change))


def test_references_and_seeds_need_a_workflow_that_has_them(graph: Any, selection: Selection) -> None:
    with pytest.raises(RequestError, match="the workflow test takes none: it would make every picture 2 times"):
        plan_of([method(graph)], replace(selection, references=2))
    fixed = (Setting("Hole mask", "seed", 5),)
    with pytest.raises(RequestError, match="no seed of the workflow test is free"):
        plan_of([method(graph, fixed=fixed)], replace(selection, seeds=2))


def twin_axes() -> list[tuple[Axis, ...]]:
    return [
        (Axis("Hole mask", "rim", (0.1, 0.1)),),
        (Axis("Hole mask", "rim", (0.1, 0.2)), Axis("Hole mask", "rim", (0.3,))),
        (Axis("Save pair", "type", ("a", "b")),),
    ]


@pytest.mark.parametrize("axes", twin_axes())
def test_values_that_change_nothing_make_twins(graph: Any, selection: Selection, axes: tuple[Axis, ...]) -> None:
    with pytest.raises(RequestError, match="would be the same picture"):
        plan_of([method(graph, *axes)], selection)


def test_the_same_workflow_twice_makes_twins(graph: Any, selection: Selection) -> None:
    with pytest.raises(RequestError, match="jobs 0 and 1 of the request would be the same picture"):
        plan_of([method(graph, name="a"), method(copy.deepcopy(graph), name="b")], selection)
    fixed = copy.deepcopy(graph)
    fixed["3"]["inputs"]["rim"] = 0.2
    with pytest.raises(RequestError, match="would be the same picture"):
        plan_of([method(graph, AXES[1], name="varied"), method(fixed, name="fixed")], selection)


def test_equal_references_make_twins(with_reference: Any, selection: Selection, mvtec: Path) -> None:
    for kind in ("test", "ground_truth"):
        first, second = sorted((mvtec / "hazelnut" / kind / "hole").iterdir())[:2]
        second.write_bytes(first.read_bytes())
    assert len(plan_of([method(with_reference)], selection).jobs) == 3, "another seed each"
    with pytest.raises(RequestError, match="would be the same picture"):
        plan_of([method(with_reference)], replace(selection, references=2))


# ---- plan.yaml


def test_a_plan_file_names_workflows_and_types(tmp_path: Path) -> None:
    path = tmp_path / "plan.yaml"
    path.write_text(
        """
        data: photos
        types: [hole, crack]
        references: 2
        seeds: 3
        set: {Sampler.steps: 20}
        workflows:
          - inpaint_original
          - workflow: reference_local
            model: miniature
            set: {Sampler.cfg: 7.5}
            vary: {Sampler.steps: [10, 20]}
        """
    )
    request = with_plan_file(Request(), path)
    assert (request.types, request.references, request.seeds) == (("hole", "crack"), 2, 3)
    assert request.workflows == (
        Chosen("inpaint_original"),
        Chosen("reference_local", ("Sampler.cfg=7.5",), ('Sampler.steps="10","20"',), "miniature"),
    )
    first, second = each_workflow(request)
    assert (first.workflow, first.set, first.vary) == ("inpaint_original", ("Sampler.steps=20",), ())
    assert (second.model, second.set) == ("miniature", ("Sampler.steps=20", "Sampler.cfg=7.5"))
    json.dumps(request.content())
    alone = with_plan_file(Request(workflow="img2img", type="cut"), path)
    assert (alone.workflows, alone.types) == ((), ()), "the command line wins"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("workflows: []", "workflows: none"),
        ("workflows: [{model: a}]", "name a workflow in every entry"),
        ("workflows: [{workflow: a, count: 3}]", "name a workflow in every entry"),
        ("workflows: [a]\nworkflow: b", "the plan has both 'workflow' and 'workflows'"),
        ("workflows: [3]", "workflow: 3"),
        ("types: [hole, 3]", "types: 3"),
        ("references: 0", "1 to 100000"),
    ],
)
def test_a_wrong_plan_file_is_refused(tmp_path: Path, text: str, expected: str) -> None:
    path = tmp_path / "plan.yaml"
    path.write_text(text)
    with pytest.raises(RequestError, match=expected):
        with_plan_file(Request(), path)


# ---- laziness


def test_the_source_asks_for_jobs_one_by_one(graph: Any, selection: Selection) -> None:
    jobs = make_plan(graph, find_roles(graph, ""), replace(selection, count=1_000_000), [], []).jobs
    assert isinstance(jobs, Jobs)
    source = JobSource(jobs)
    source.join("a")
    source.claim(jobs[1])
    taken = [source.take("a") for _ in range(3)]
    assert [job.index for job in taken if job is not None] == [0, 2, 3]
    assert taken[1] is not None
    source.give_back(taken[1])
    assert source.take("a") == taken[1]
    assert not source.all_finished


MILLION = """
import json, resource, sys, time
from pathlib import Path
from defectforge.runner.graphs.roles import find_roles
from defectforge.runner.plans.plan import Selection, make_plan
graph, root, count = json.loads(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])
began = time.process_time()
plan = make_plan(graph, find_roles(graph, ""), Selection(root, "hazelnut", count=count), [], [])
last = plan.jobs[-1].id
hashed = sum(len(job.id) for job in plan.jobs[:100_000])
# Of this program: getrusage's value is inherited from the process that started it.
status = Path("/proc/self/status")
peak = status.read_text().partition("VmHWM:")[2].split() if status.exists() else []
kilobytes = int(peak[0]) if peak else resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
print(json.dumps([len(plan.jobs), time.process_time() - began, kilobytes]))
"""


@pytest.mark.parametrize("count", [100_000, 1_000_000])
def test_a_hundred_thousand_jobs_are_planned_in_little_time_and_a_million_in_the_same_memory(
    graph: Any, mvtec: Path, count: int
) -> None:
    arguments = [sys.executable, "-c", MILLION, json.dumps(graph), str(mvtec), str(count)]
    done = subprocess.run(arguments, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    jobs, seconds, kilobytes = json.loads(done.stdout)
    assert jobs == count
    assert seconds <= 30, "processor time for the plan and a hundred thousand ids"
    assert kilobytes <= 300 << 10
