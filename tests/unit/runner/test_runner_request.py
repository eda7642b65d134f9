"""plan.yaml, shards, places: requests are data, and wrong ones are refused before anything is written."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
from defectforge.runner.commands.requests.request import Request, shard_of, with_plan_file
from defectforge.runner.errors import RequestError
from defectforge.runner.graphs.overrides import parse_varies
from defectforge.runner.graphs.roles import find_roles
from defectforge.runner.outputs.output import check_place, check_space
from defectforge.runner.plans.plan import Selection, make_plan

PLAN = """
workflow: inpaint_latent_noise
data: nuts
category: hazelnut
count: 8
seed: 3
set: {Sampler.steps: 20, Hole mask.cracks: true}
vary: {Save pair.type: ["a, b", c]}
out: OUT
"""


def test_a_plan_file_fills_in_what_the_command_line_leaves_open(tmp_path: Path, graph: Any, object_info: Any) -> None:
    path = tmp_path / "plan.yaml"
    path.write_text(PLAN)
    request = with_plan_file(Request(count=2, set=("Sampler.steps=5",)), path)
    assert (request.count, request.seed, request.category) == (2, 3, "hazelnut")
    assert (request.data, request.out) == (tmp_path / "nuts", tmp_path / "OUT")
    assert request.set == ("Sampler.steps=20", "Hole mask.cracks=true", "Sampler.steps=5"), "the later one wins"
    assert parse_varies(request.vary, graph, object_info)[0].values == ("a, b", "c")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("cuont: 3", "did you mean 'count'"),
        ("count: many", "count: 'many'"),
        ("- a\n- b", "not a mapping"),
        ("a: [", "cannot be read"),
        ("vary: {A.b: 3}", "lists as values"),
    ],
)
def test_a_wrong_plan_is_refused(tmp_path: Path, text: str, expected: str) -> None:
    path = tmp_path / "plan.yaml"
    path.write_text(text)
    with pytest.raises(RequestError, match=expected):
        with_plan_file(Request(), path)


def test_shards_count_from_one() -> None:
    assert shard_of("2/8") == (1, 8)
    assert shard_of(None) == (0, 1)
    for wrong in ("0/4", "5/4", "a/b", "3"):
        with pytest.raises(RequestError, match="i/N"):
            shard_of(wrong)


def test_the_output_never_goes_into_the_dataset(mvtec: Path, tmp_path: Path) -> None:
    for place in (mvtec, mvtec / "hazelnut" / "out"):
        with pytest.raises(RequestError, match="inside the source dataset"):
            check_place(place, mvtec)
    link = tmp_path / "link"
    link.symlink_to(mvtec)
    with pytest.raises(RequestError, match="inside the source dataset"):
        check_place(link / "out", mvtec)
    check_place(tmp_path / "out", mvtec)
    assert not (tmp_path / "out").exists()


def test_a_folder_with_other_people_s_files_is_left_alone(mvtec: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    check_place(out, mvtec)
    (out / "thesis.tex").touch()
    with pytest.raises(RequestError, match="not empty"):
        check_place(out, mvtec)


def test_too_little_room_is_told_before_the_first_job(
    mvtec: Path, tmp_path: Path, graph: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = make_plan(graph, find_roles(graph, ""), Selection(mvtec, "hazelnut"), [], [])
    check_space(tmp_path / "out", plan)
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=1 << 20))
    with pytest.raises(RequestError, match="1 MB are free"):
        check_space(tmp_path / "out", plan)
