"""Draws that are refused are drawn again, `--until` ends a run, and what was redrawn can be made again."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from defectforge.runner.errors import BAD_REQUEST, OK, SOME_JOBS_FAILED
from defectforge.runner.outputs.journal import FAILED, Journal
from defectforge.runner.outputs.pairs import NOTHING_VISIBLE
from defectforge.runner.plans.plan import SEEDS_APART
from defectforge.runner.servers.worker import MOST_ROUNDS
from made import titled
from PIL import Image

Start = Callable[..., Any]
TOO_FAINT = "presence is 0.1, wanted presence >= 0.3"


def seeds_of(server: Any) -> list[int]:
    """The mask's seed in every graph that was posted."""
    return [body["prompt"]["3"]["inputs"]["seed"] for body in server.posted]


@pytest.fixture
def journal(tmp_path: Path) -> Callable[[], Any]:
    """What the journal tells after a run: states and codes by number, and the refused draws."""

    def read() -> Any:
        opened = Journal(tmp_path / "out" / "run.sqlite")
        try:
            return {row["number"]: row for row in opened.in_state(FAILED)}, opened.refused()
        finally:
            opened.close()

    return read


# ---- drawn again (a server that refuses on demand)


def test_a_refused_job_is_drawn_again_with_another_seed(
    start: Start, go: Any, pairs: Any, tmp_path: Path, recorder: Any, journal: Any
) -> None:
    server = start(refuse=lambda order: NOTHING_VISIBLE if order == 0 else None)
    assert go(server, count=2, seed=5) == OK
    pairs(tmp_path / "out").assert_whole(2)
    assert sorted(seeds_of(server)) == [5, 6, 5 + SEEDS_APART]
    (again,) = recorder.of("redraw")
    assert again["reason"] == NOTHING_VISIBLE
    failed, refused = journal()
    assert failed == {}
    assert [(row["round"], int(row["seed"]), row["reason"]) for row in refused] == [(0, 5, NOTHING_VISIBLE)]
    redrawn = next(record for record in pairs(tmp_path / "out").records if record["number"] == 0)
    assert redrawn["seed"] == 5 + SEEDS_APART, "the record says what made the picture"
    assert ["3", "seed", 5 + SEEDS_APART] in redrawn["assignments"]


@pytest.mark.parametrize(("reason", "code"), [(NOTHING_VISIBLE, "job.nothing_visible"), (TOO_FAINT, "job.refused")])
def test_a_job_that_never_shows_anything_fails_with_its_reason(
    start: Start, go: Any, pairs: Any, tmp_path: Path, recorder: Any, journal: Any, reason: str, code: str
) -> None:
    server = start(refuse=lambda _: reason)
    assert go(server, count=1) == SOME_JOBS_FAILED
    assert seeds_of(server) == [n * SEEDS_APART for n in range(MOST_ROUNDS)]
    (failure,) = recorder.of("failed")
    assert failure["code"] == code and f"in {MOST_ROUNDS} rounds" in failure["text"] and reason in failure["text"]
    assert pairs(tmp_path / "out").images == [], "what was refused is not in the dataset"
    failed, refused = journal()
    assert list(failed) == [0] and len(refused) == MOST_ROUNDS


def test_one_job_in_vain_does_not_hold_up_the_others(start: Start, go: Any, pairs: Any, tmp_path: Path) -> None:
    server = start()
    server.script.refuse = lambda order: NOTHING_VISIBLE if seeds_of(server)[order] % SEEDS_APART == 1 else None
    assert go(server, count=4) == SOME_JOBS_FAILED
    found = pairs(tmp_path / "out")
    assert found.images == [f"hole/{n:06d}.png" for n in (0, 2, 3)]
    assert len(server.posted) == 3 + MOST_ROUNDS


def test_the_same_command_again_goes_on_with_new_seeds(start: Start, go: Any, pairs: Any, tmp_path: Path) -> None:
    server = start(refuse=lambda _: NOTHING_VISIBLE)
    assert go(server, count=1) == SOME_JOBS_FAILED
    server.script.refuse = None
    assert go(server, count=1) == OK
    assert seeds_of(server)[-1] == MOST_ROUNDS * SEEDS_APART, "a seed that was refused is not tried again"
    pairs(tmp_path / "out").assert_whole(1)


def test_a_kill_between_rounds_keeps_the_round(
    start: Start, spawn: Any, cli: Any, nuts: Path, place_workflow: Path, tmp_path: Path, pairs: Any
) -> None:
    """kill -9 while the second round runs: the first one's seed is not drawn once more."""
    server = start(refuse=lambda order: NOTHING_VISIBLE if order == 0 else None, never_finish={1})
    line = ["run", place_workflow, "--data", nuts, "--count", 1, "--seed", 0, "--out", tmp_path / "out"]
    process = spawn(*line, "--server", server.url, "--json")
    assert process.stdout is not None
    assert any(json.loads(text)["event"] == "redraw" for text in process.stdout)
    process.kill()
    process.wait()
    second = start()
    done = cli(*line, "--server", second.url)
    assert done.returncode == OK, done.stderr
    assert seeds_of(second) == [SEEDS_APART]
    pairs(tmp_path / "out").assert_whole(1)


# ---- until there are enough


def test_until_stops_when_enough_pairs_are_there(start: Start, go: Any, pairs: Any, tmp_path: Path) -> None:
    server = start(refuse=lambda order: NOTHING_VISIBLE if order in (0, 1) else None)
    assert go(server, count=None, until=3) == OK
    made = len(pairs(tmp_path / "out").images)
    assert 3 <= made <= 5, "what was queued by then is taken along; no more is begun"
    assert len(server.posted) < 10, "most of the budget of 15 jobs is not spent"
    assert go(server, count=None, until=3) == OK
    assert len(pairs(tmp_path / "out").images) == made, "the same command has nothing left to do"
    assert go(server, count=None, until=made + 1) == OK
    assert len(pairs(tmp_path / "out").images) > made


def test_until_fails_when_the_budget_is_spent(start: Start, go: Any, recorder: Any, pairs: Any, tmp_path: Path) -> None:
    server = start()
    server.script.refuse = lambda order: TOO_FAINT if seeds_of(server)[order] % SEEDS_APART == 2 else None
    assert go(server, count=3, until=3) == SOME_JOBS_FAILED
    assert len(pairs(tmp_path / "out").images) == 2
    (end,) = [line for line in recorder.lines if "pairs are in" in line]
    assert "2 of 3 pairs" in end and "all 3 jobs that --count allows are done (1 kept none)" in end


def test_failed_jobs_do_not_matter_where_enough_pairs_are_there(
    start: Start, go: Any, recorder: Any, pairs: Any, tmp_path: Path
) -> None:
    server = start(refuse=lambda order: TOO_FAINT if order < MOST_ROUNDS else None)
    server.script.refuse = lambda order: TOO_FAINT if seeds_of(server)[order] % SEEDS_APART == 0 else None
    assert go(server, count=8, until=2) == OK
    assert 2 <= len(pairs(tmp_path / "out").images) <= 4


# ---- made again (the embedded server, without a model: the label is the hole that was placed)


def chosen_graph(place: dict[str, Any], thresholds: str, keep: int = 1, draws: int = 1) -> dict[str, Any]:
    """The checkpoint-free graph with a choice before the saver."""
    graph = json.loads(json.dumps(place))

    pictures: list[Any] = ["1", 0]
    for number in range(1, draws):
        graph[f"b{number}"] = titled("ImageBatch", f"Batch {number}", image1=pictures, image2=["1", 0])
        pictures = [f"b{number}", 0]
    graph["3"]["inputs"]["image"] = pictures
    graph["5"] = titled("DefectForgeScoreDefect", "Score defect", source=["1", 0], image=pictures, label_mask=["3", 0])
    graph["6"] = titled(
        "DefectForgeKeepBest",
        "Keep best",
        image=pictures,
        label_mask=["3", 0],
        scores=["5", 0],
        keep=keep,
        by="label_share",
        thresholds=thresholds,
    )
    graph["4"]["inputs"] |= {"image": ["6", 0], "mask": ["6", 1], "scores": ["6", 2], "label": "visible"}
    return graph


@pytest.fixture
def chosen(place_workflow: Path, nuts: Path, tmp_path: Path, embedded_server: Any) -> Callable[..., list[Any]]:
    """The line that runs the graph with a choice; `thresholds` are those in the graph itself."""

    def line(thresholds: str, keep: int = 1, draws: int = 1) -> list[Any]:
        path = tmp_path / "chosen.json"
        path.write_text(json.dumps(chosen_graph(json.loads(place_workflow.read_text()), thresholds, keep, draws)))
        return ["run", path, "--data", nuts, "--server", embedded_server.url, "--seed", 1, "--out", tmp_path / "out"]

    return line


#: A share of the photo that about every second placed hole reaches.
LARGE = "label_share >= 0.02"


def test_a_redrawn_pair_is_made_again_pixel_by_pixel(
    cli: Any, chosen: Any, tmp_path: Path, pairs: Any, embedded_server: Any
) -> None:
    done = cli(*chosen(LARGE), "--count", 4)
    found = pairs(tmp_path / "out")
    redrawn = [record for record in found.records if record["seed"] >= SEEDS_APART]
    assert redrawn and done.returncode in (OK, SOME_JOBS_FAILED), done.stderr
    assert all(record["scores"]["label_share"] >= 0.02 for record in found.records)
    manifest = tmp_path / "out" / "manifest.jsonl"
    again = cli("rerun", manifest, "--server", embedded_server.url, "--out", tmp_path / "again")
    assert again.returncode == OK, again.stderr
    assert f"{len(found.records)} pairs: the same pixels" in again.stderr


def test_several_kept_pairs_of_a_job_are_numbered_and_made_again(
    cli: Any, chosen: Any, tmp_path: Path, pairs: Any, embedded_server: Any
) -> None:
    done = cli(*chosen("", keep=2, draws=3), "--count", 2)
    assert done.returncode == OK, done.stderr
    found = pairs(tmp_path / "out")
    found.assert_whole(4)
    by_job = [[r["scores"]["label_share"] for r in found.records if r["number"] // 2 == job] for job in range(2)]
    assert all(shares == sorted(shares, reverse=True) for shares in by_job), "the best comes first"
    masks = [np.asarray(Image.open(found.out / r["mask"]["path"])) for r in found.records]
    assert not np.array_equal(masks[0], masks[1]), "two draws, not one twice"
    again = cli(
        "rerun", tmp_path / "out" / "manifest.jsonl", "--server", embedded_server.url, "--out", tmp_path / "again"
    )
    assert again.returncode == OK, again.stderr
    assert "4 pairs: the same pixels" in again.stderr


def test_another_number_to_keep_in_the_same_folder_is_refused(cli: Any, chosen: Any, tmp_path: Path) -> None:
    assert cli(*chosen("", keep=2, draws=2), "--count", 1).returncode == OK
    other = cli(*chosen("", keep=2, draws=2), "--count", 1, "--keep", 1)
    assert other.returncode == BAD_REQUEST and "this run keeps up to 1 pairs a job, the earlier one" in other.stderr


def test_thresholds_come_from_a_file(cli: Any, chosen: Any, tmp_path: Path, pairs: Any) -> None:
    rules = tmp_path / "rules.txt"
    rules.write_text("# more than any hole\nlabel_share >= 0.9\n")
    done = cli(*chosen(""), "--count", 1, "--thresholds", rules)
    assert done.returncode == SOME_JOBS_FAILED and "wanted label_share >= 0.9" in done.stderr
    assert pairs(tmp_path / "out").images == []


@pytest.mark.slow
def test_the_best_of_the_miniatures_draws_are_made_again_pixel_by_pixel(
    cli: Any, nuts: Path, tmp_path: Path, pairs: Any
) -> None:
    line = ["inpaint_latent_noise", "--data", nuts, "--model", "miniature", "--count", 1, "--seed", 3]
    choice = ["--draws", 3, "--keep", 2, "--set", "Sampler.steps=6", "--thresholds", tmp_path / "none.txt"]
    (tmp_path / "none.txt").write_text("")
    done = cli("run", *line, *choice, "--out", tmp_path / "out")
    assert done.returncode == OK, done.stderr
    assert len(pairs(tmp_path / "out").records) == 2
    again = cli("rerun", tmp_path / "out" / "manifest.jsonl", "--out", tmp_path / "again")
    assert again.returncode == OK, again.stderr
    assert "2 pairs: the same pixels" in again.stderr
