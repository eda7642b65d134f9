"""The command line against the real embedded server: whole runs, killed runs, wrong requests."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from defectforge.runner.errors import BAD_REQUEST, INTERRUPTED, NO_SERVER, OK
from PIL import Image

#: More pairs than a fast machine makes between the first one's end and the arrival of a signal.
MANY = 80

Spawn = Callable[..., subprocess.Popen[str]]


@pytest.fixture
def request_line(nuts: Path, place_workflow: Path, tmp_path: Path, embedded_server: Any) -> list[Any]:
    """`run` of the checkpoint-free graph on the session's server into tmp_path/out; add --count."""
    line = ["run", place_workflow, "--data", nuts, "--category", "hazelnut", "--seed", 1]
    return [*line, "--server", embedded_server.url, "--out", tmp_path / "out"]


def test_good_photos_become_pairs_with_records(
    cli: Any, request_line: list[Any], nuts: Path, tmp_path: Path, pairs: Any
) -> None:
    done = cli(*request_line, "--count", 5)
    assert done.returncode == OK, done.stderr
    found = pairs(tmp_path / "out")
    found.assert_whole(5)
    for record in found.records:
        source = np.asarray(Image.open(nuts / record["source"]["file"]).convert("RGB"))
        image = np.asarray(Image.open(found.out / record["image"]["path"]))
        mask = np.asarray(Image.open(found.out / record["mask"]["path"]))
        assert np.array_equal(image, source), "this graph paints nothing: the photo must come back bit for bit"
        assert set(np.unique(mask)) == {0, 255}
        assert mask.shape == source.shape[:2]
    assert [record["seed"] for record in found.records] == [1, 2, 3, 4, 5]
    assert found.records[4]["source"] == found.records[0]["source"], "the fifth draw starts over with the first photo"
    masks = {record["mask"]["sha256"] for record in found.records}
    assert len(masks) == 5
    again = cli(*request_line, "--count", 5)
    assert "5 of them are there already" in again.stderr
    grown = cli(*request_line, "--count", 6)
    assert grown.returncode == OK
    grown_pairs = pairs(tmp_path / "out")
    grown_pairs.assert_whole(6)
    assert grown_pairs.records[:5] == found.records


def test_a_record_makes_the_same_pixels_again(
    cli: Any, request_line: list[Any], tmp_path: Path, embedded_server: Any, pairs: Any
) -> None:
    assert cli(*request_line, "--count", 3, "--set", "Hole mask.count=2").returncode == OK
    manifest = tmp_path / "out" / "manifest.jsonl"
    again = cli("rerun", f"{manifest}:1", "--server", embedded_server.url, "--out", tmp_path / "again")
    assert again.returncode == OK, again.stderr
    assert "1 pairs: the same pixels" in again.stderr
    repeated = tmp_path / "again" / "hazelnut/ground_truth/hole/000001_mask.png"
    first = tmp_path / "out" / "hazelnut/ground_truth/hole/000001_mask.png"
    assert np.array_equal(np.asarray(Image.open(repeated)), np.asarray(Image.open(first)))
    # The comparison is no formality: a changed picture is noticed.
    Image.fromarray(255 - np.asarray(Image.open(first))).save(first)
    changed = cli("rerun", f"{manifest}:1", "--server", embedded_server.url, "--out", tmp_path / "once-more")
    assert changed.returncode == 1
    assert "the mask came out with other pixels" in changed.stderr


def test_vary_does_every_draw_with_every_value(cli: Any, request_line: list[Any], tmp_path: Path, pairs: Any) -> None:
    assert cli(*request_line, "--count", 2, "--vary", "Hole mask.count=1,3").returncode == OK
    found = pairs(tmp_path / "out")
    found.assert_whole(4)
    assert [r["varied"] for r in sorted(found.records, key=lambda r: r["number"])] == [
        {"Hole mask.count": 1},
        {"Hole mask.count": 3},
    ] * 2


def test_json_gives_one_event_a_line_and_nothing_else(cli: Any, request_line: list[Any]) -> None:
    done = cli(*request_line, "--count", 2, "--json")
    events = [json.loads(line) for line in done.stdout.splitlines()]
    kinds = [event["event"] for event in events]
    assert kinds[0] == "begin" and kinds[-1] == "end"
    assert kinds.count("done") == 2
    assert events[-1]["exit_code"] == OK
    assert all(event["mask"]["path"].endswith("_mask.png") for event in events if event["event"] == "done")


@pytest.mark.parametrize("after", [0, 1, 3])
def test_killed_runs_are_continued_without_loss_or_double(
    cli: Any, spawn: Spawn, request_line: list[Any], tmp_path: Path, pairs: Any, after: int
) -> None:
    process = spawn(*request_line, "--count", 6, "--json")
    assert process.stdout is not None
    seen = -1
    for line in process.stdout:
        seen += json.loads(line)["event"] in ("begin", "done")
        if seen == after:
            break
    process.kill()
    process.wait()
    killed = pairs(tmp_path / "out")
    killed.assert_no_image_without_mask()
    assert len(killed.images) < 6, "the kill came too late to test anything"
    done = cli(*request_line, "--count", 6)
    assert done.returncode == OK, done.stderr
    pairs(tmp_path / "out").assert_whole(6)


def test_ctrl_c_stops_in_order_and_the_same_command_goes_on(
    cli: Any, spawn: Spawn, request_line: list[Any], tmp_path: Path, pairs: Any
) -> None:
    process = spawn(*request_line, "--count", MANY, "--json")
    assert process.stdout is not None
    for line in process.stdout:
        if json.loads(line)["event"] == "done":
            process.send_signal(signal.SIGINT)
            break
    events = [json.loads(line) for line in process.stdout]
    assert process.wait() == INTERRUPTED
    assert events[-1]["exit_code"] == INTERRUPTED
    found = pairs(tmp_path / "out")
    assert 1 <= len(found.images) < MANY
    found.assert_whole(len(found.images))
    assert cli(*request_line, "--count", MANY).returncode == OK
    pairs(tmp_path / "out").assert_whole(MANY)


def test_without_a_server_our_own_is_started_and_ends_with_the_run(
    cli: Any, spawn: Spawn, nuts: Path, place_workflow: Path, tmp_path: Path, pairs: Any
) -> None:
    line = ["run", place_workflow, "--data", nuts, "--category", "hazelnut", "--count", 4, "--out", tmp_path / "out"]
    process = spawn(*line, "--json")
    assert process.stdout is not None
    address = ""
    for text in process.stdout:
        event = json.loads(text)
        address = address or (event.get("text", "").partition("embedded server at ")[2].partition(";")[0])
        if event["event"] == "done":
            break
    process.kill()
    process.wait()
    assert address.startswith("http://127.0.0.1:")
    assert_gone(address)
    done = cli(*line)
    assert done.returncode == OK, done.stderr
    pairs(tmp_path / "out").assert_whole(4)
    assert [p.name for p in tmp_path.iterdir() if p.name.startswith("defectforge-run-")] == []


def assert_gone(address: str) -> None:
    """The orphan ends by itself when its parent is gone; it looks for that every few seconds at most."""
    import time

    import requests

    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        try:
            requests.get(address + "/queue", timeout=5)
        except requests.ConnectionError:
            return
        time.sleep(0.2)
    raise AssertionError(f"the server at {address} outlived its runner")


def test_a_type_or_category_or_folder_that_is_wrong_stops_before_a_server_is_started(
    cli: Any, nuts: Path, place_workflow: Path, tmp_path: Path
) -> None:
    base = ["run", place_workflow, "--out", tmp_path / "out"]
    cases = [
        (["--data", tmp_path / "nowhere", "--category", "hazelnut"], "there is no folder"),
        (["--data", nuts / "hazelnut", "--category", "hazelnut"], f"use --data {nuts}"),
        (["--data", nuts, "--category", "hazelnutt"], "did you mean 'hazelnut'?"),
        (["--data", nuts, "--category", "hazelnut", "--type", "hloe"], "did you mean 'hole'?"),
        (["--category", "hazelnut"], "--data is missing"),
    ]
    for arguments, expected in cases:
        done = cli(*base, *arguments)
        assert (done.returncode, expected in done.stderr) == (BAD_REQUEST, True), done.stderr
        assert "starting the embedded server" not in done.stderr
    assert not (tmp_path / "out").exists()


WRONG: list[tuple[str, list[str], str]] = [
    ("misspelt title", ["--set", "Hole maks.count=2"], "did you mean 'Hole mask'?"),
    ("misspelt input", ["--set", "Hole mask.cuont=2"], "did you mean 'count'?"),
    ("out of range", ["--set", "Hole mask.count=500"], "1 to 20"),
    ("wrong type", ["--set", "Hole mask.count=2.5"], "a whole number"),
    ("varied out of range", ["--vary", "Hole mask.count=1,500"], "1 to 20"),
    ("no checkpoint in the graph", ["--model", "miniature"], "loads no checkpoint"),
    ("unknown model", ["--model", "miniatur"], "did you mean 'miniature'?"),
    ("no photo at all", ["--count", "0"], "at least 1"),
]


@pytest.mark.parametrize(("arguments", "expected"), [w[1:] for w in WRONG], ids=[w[0] for w in WRONG])
def test_a_wrong_request_is_one_message_and_nothing_happens(
    cli: Any, request_line: list[Any], tmp_path: Path, embedded_server: Any, arguments: list[str], expected: str
) -> None:
    assert_refused(cli(*request_line, *arguments), expected, tmp_path / "out")


def assert_refused(done: subprocess.CompletedProcess[str], expected: str, out: Path) -> None:
    assert done.returncode == BAD_REQUEST, done.stderr
    assert expected in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stderr.count("error:") == 1
    assert not out.exists()


def edited(path: Path, change: Callable[[dict[str, Any]], None]) -> None:
    graph = json.loads(path.read_text())
    change(graph)
    path.write_text(json.dumps(graph))


def checkpoint(graph: dict[str, Any]) -> None:
    name = "v1-5-pruned-emaonly-fp16.safetensors"
    graph["9"] = {
        "class_type": "CheckpointLoaderSimple",
        "inputs": {"ckpt_name": name},
        "_meta": {"title": "Checkpoint"},
    }


def test_graphs_that_the_server_cannot_run_are_refused(
    cli: Any, request_line: list[Any], place_workflow: Path, tmp_path: Path
) -> None:
    text = place_workflow.read_text()
    changes: list[tuple[Callable[[dict[str, Any]], None], str]] = [
        (lambda g: g.update({"8": {"class_type": "FaceDetailer", "inputs": {}}}), "no node 'FaceDetailer'"),
        (lambda g: g["3"]["inputs"].update(object_mask=["3", 0]), "has a loop"),
        (lambda g: g["3"]["inputs"].update(cuont=3), "did you mean 'count'?"),
        (checkpoint, "v1-5-pruned-emaonly-fp16.safetensors"),
    ]
    for change, expected in changes:
        place_workflow.write_text(text)
        edited(place_workflow, change)
        assert_refused(cli(*request_line), expected, tmp_path / "out")
    place_workflow.write_text(text[: len(text) // 2])
    assert_refused(cli(*request_line), "ends in the middle", tmp_path / "out")


def test_broken_photos_are_all_named_before_anything_is_queued(
    cli: Any, request_line: list[Any], nuts: Path, tmp_path: Path
) -> None:
    import shutil

    data = tmp_path / "data"
    shutil.copytree(nuts, data)
    photos = sorted((data / "hazelnut" / "train" / "good").glob("*.png"))
    for photo in photos[:2]:
        photo.write_bytes(photo.read_bytes()[:100])
    line = [data if entry == nuts else entry for entry in request_line]
    done = cli(*line)
    assert_refused(done, "2 problems:", tmp_path / "out")
    assert all(str(photo) in done.stderr for photo in photos[:2])


def test_an_output_inside_the_dataset_is_refused(cli: Any, request_line: list[Any], nuts: Path) -> None:
    done = cli(*request_line[:-1], nuts / "hazelnut" / "generated")
    assert_refused(done, "inside the source dataset", nuts / "hazelnut" / "generated")


def test_no_room_on_the_disk_is_told_at_the_start(
    cli: Any, request_line: list[Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, environment: dict[str, str]
) -> None:
    # A `sitecustomize` in front of the path: the real process, a nearly full disk.
    (tmp_path / "sitecustomize.py").write_text(
        "import shutil\nreal = shutil.disk_usage\nshutil.disk_usage = lambda path: real(path)._replace(free=1000)\n"
    )
    environment["PYTHONPATH"] = str(tmp_path) + os.pathsep + environment.get("PYTHONPATH", "")
    assert_refused(cli(*request_line), "0 MB are free", tmp_path / "out")


def test_no_server_is_its_own_exit_code(cli: Any, request_line: list[Any], tmp_path: Path) -> None:
    line = list(request_line)
    line[line.index("--server") + 1] = "http://127.0.0.1:9"
    done = cli(*line)
    assert done.returncode == NO_SERVER
    assert "no server answers at http://127.0.0.1:9" in done.stderr
    assert not (tmp_path / "out").exists()


def test_check_tells_everything_at_once(cli: Any, place_workflow: Path, embedded_server: Any) -> None:
    right = cli("check", place_workflow, "--server", embedded_server.url)
    assert right.returncode == OK, right.stderr
    assert "nothing is wrong" in right.stderr

    def spoil(graph: dict[str, Any]) -> None:
        checkpoint(graph)
        graph["8"] = {"class_type": "FaceDetailer", "inputs": {}}
        graph["3"]["inputs"]["count"] = 99

    edited(place_workflow, spoil)
    wrong = cli("check", place_workflow, "--server", embedded_server.url)
    assert wrong.returncode == BAD_REQUEST
    for expected in ("3 problems:", "FaceDetailer", "e9476a13728cd75d", "1 to 20"):
        assert expected in wrong.stderr
