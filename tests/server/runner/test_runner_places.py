"""Full disks, missing rights, impossible names: one message, an exit code, and nothing half-written."""

from __future__ import annotations

import ctypes
import json
import os
import resource
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from defectforge.runner.errors import BAD_REQUEST, OK, SOME_JOBS_FAILED

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="real faults of disks, made as on Linux")

Mount = Callable[..., Path]


@pytest.fixture
def mount(tmp_path: Path) -> Iterator[Mount]:
    """Mount something at a new folder; needs a right that containers often lack."""
    mounted: list[Path] = []

    def at(name: str, *options: str) -> Path:
        place = tmp_path / name
        place.mkdir(exist_ok=True)
        done = subprocess.run(["mount", *options, str(place)], capture_output=True, text=True, check=False)
        if done.returncode != 0:
            pytest.skip(f"nothing can be mounted here: {done.stderr.strip()}")
        mounted.append(place)
        return place

    yield at
    for place in reversed(mounted):
        subprocess.run(["umount", "-l", str(place)], check=False)


@pytest.fixture
def line(nuts: Path, place_workflow: Path, start: Any) -> list[Any]:
    server = start()
    return ["run", place_workflow, "--data", nuts, "--category", "hazelnut", "--count", 4, "--server", server.url]


def assert_one_message(done: subprocess.CompletedProcess[str], code: int, *expected: str) -> None:
    text = done.stderr
    assert done.returncode == code, text
    assert "Traceback" not in text and "fault of DefectForge" not in text, text
    assert text.count("error:") == 1, text
    for words in expected:
        assert words in text, text


def limited(arguments: list[Any], environment: dict[str, str], largest: int) -> subprocess.CompletedProcess[str]:
    """The real process, on which every write beyond `largest` bytes of a file fails."""
    return subprocess.run(
        [sys.executable, "-m", "defectforge.runner", *map(str, arguments)],
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (largest, largest)),
    )


@pytest.mark.parametrize("largest", [0, 3_000, 20_000, 40_000, 60_000])
def test_files_that_cannot_grow_end_the_run_and_the_same_command_goes_on(
    cli: Any, line: list[Any], environment: dict[str, str], tmp_path: Path, pairs: Any, largest: int
) -> None:
    """Journal, graph, picture, manifest: wherever it hits."""
    out = tmp_path / "out"
    done = limited([*line, "--out", out], environment, largest)
    assert_one_message(done, SOME_JOBS_FAILED, "cannot be written" if largest else "")
    found = pairs(out)
    found.assert_no_image_without_mask()
    assert found.leftovers == []
    again = cli(*line, "--out", out)
    assert again.returncode == OK, again.stderr
    pairs(out).assert_whole(4)


def test_a_disk_that_fills_up_ends_the_run_and_the_same_command_goes_on(
    cli: Any, line: list[Any], mount: Mount, tmp_path: Path, pairs: Any, environment: dict[str, str]
) -> None:
    disk = mount("disk", "-t", "tmpfs", "-o", "size=400k", "none")
    # The check before the run sees that it is full; that one is looked at elsewhere.
    (tmp_path / "sitecustomize.py").write_text(
        "import shutil\nreal = shutil.disk_usage\nshutil.disk_usage = lambda path: real(path)._replace(free=1 << 40)\n"
    )
    environment["PYTHONPATH"] = str(tmp_path) + os.pathsep + environment.get("PYTHONPATH", "")
    done = cli(*line, "--out", disk / "out")
    assert_one_message(done, SOME_JOBS_FAILED, "make room")
    found = pairs(disk / "out")
    found.assert_no_image_without_mask()
    assert found.leftovers == []
    manifest = disk / "out" / "manifest.jsonl"
    assert not manifest.exists() or manifest.read_bytes().endswith(b"\n")
    subprocess.run(["mount", "-o", "remount,size=64m", str(disk)], check=True)
    again = cli(*line, "--out", disk / "out")
    assert again.returncode == OK, again.stderr
    pairs(disk / "out").assert_whole(4)


def test_a_full_disk_of_the_server_is_told_once(
    cli: Any, nuts: Path, place_workflow: Path, mount: Mount, tmp_path: Path, pairs: Any
) -> None:
    """A real server whose folders lie on a disk of 100 kB: first uploads do not fit, then results."""
    from defectforge.runner.embedded import launch

    line = ["run", place_workflow, "--data", nuts, "--category", "hazelnut", "--count", 4, "--out", tmp_path / "out"]
    for kind in ("input", "output"):
        disk = mount(f"disk-{kind}", "-t", "tmpfs", "-o", "size=16k", "none")
        folders: dict[str, Any] = {"input": tmp_path / "in", "output": tmp_path / "res", kind: disk}
        with launch.start(
            models=[tmp_path], temp=tmp_path / "t", log=tmp_path / "log", device="cpu", **folders
        ) as ours:
            done = cli(*line, "--server", ours.url)
        assert_one_message(done, 3, "the disk of the server at", "make room there")
        assert "failed: job" not in done.stderr
    assert pairs(tmp_path / "out").images == []


def test_events_that_nobody_can_read_stop_the_run_in_order(
    line: list[Any], environment: dict[str, str], tmp_path: Path, pairs: Any, cli: Any
) -> None:
    command = [sys.executable, "-m", "defectforge.runner", *map(str, line), "--json"]
    out = tmp_path / "out"
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [*command, "--out", str(out)], stdout=full, stderr=subprocess.PIPE, env=environment, text=True, check=False
        )
    assert_one_message(done, SOME_JOBS_FAILED)
    gone = subprocess.Popen(
        [*command, "--out", str(out)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment, text=True
    )
    assert gone.stdout is not None
    gone.stdout.close()
    _, text = gone.communicate(timeout=120)
    assert gone.returncode == SOME_JOBS_FAILED and "Traceback" not in text and "Exception ignored" not in text, text
    pairs(out).assert_no_image_without_mask()
    assert cli(*line, "--out", out).returncode == OK
    pairs(out).assert_whole(4)


@pytest.mark.parametrize("listing", [["models", "list"], ["models", "list", "--json"], ["--help"], ["workflows"]])
def test_a_listing_into_a_full_disk_is_no_traceback(environment: dict[str, str], listing: list[str]) -> None:
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "defectforge.runner", *listing],
            stdout=full,
            stderr=subprocess.PIPE,
            env=environment,
            text=True,
            check=False,
        )
    assert done.returncode in (OK, SOME_JOBS_FAILED)
    assert "Traceback" not in done.stderr and "Exception ignored" not in done.stderr, done.stderr
    assert listing == ["workflows"] or "cannot be written" in done.stderr or "No space left" in done.stderr


LONG = "n" * 300


@pytest.mark.parametrize(
    "change",
    [
        {"--out": f"/tmp/{LONG}"},
        {"--out": f"/tmp/{LONG}/{LONG}"},
        {"--data": LONG},
        {"--category": LONG},
        {"--plan": LONG},
        {"--models": LONG, "--server": ""},
        {"--header-file": LONG},
        {"--out": "~nobody-of-this-name/out"},
        {"WORKFLOW": LONG},
        {"WORKFLOW": f"{LONG}/{LONG}.json"},
        {"--category": "haselnu\udcdf"},
        {"--category": "a\nb\x1b[31m"},
        {"--set": "x" * 100_000},
        {"--count": "9" * 5000},
        {"--count": "999999999"},
        {"--shard": "9" * 5000 + "/" + "9" * 5000},
    ],
    ids=str,
)
def test_names_that_cannot_be_are_one_message(
    cli: Any, line: list[Any], tmp_path: Path, change: dict[str, str | None]
) -> None:
    options: dict[str, Any] = dict(zip(line[2::2], line[3::2], strict=True)) | {"--out": tmp_path / "out"}
    workflow = change.pop("WORKFLOW", None) or line[1]
    options |= change
    arguments = [part for item in options.items() for part in item if part is not None]
    done = cli("run", workflow, *arguments)
    assert done.returncode in (BAD_REQUEST, SOME_JOBS_FAILED), done.stderr
    assert "Traceback" not in done.stderr and "fault of DefectForge" not in done.stderr, done.stderr
    assert done.stderr.lower().count("error:") == 1, done.stderr
    assert "\x1b" not in done.stderr
    assert len(done.stderr) < 12_000
    assert not (tmp_path / "out").exists() or list((tmp_path / "out").rglob("*.png")) == []


def test_a_type_that_no_folder_could_hold_gets_a_shorter_name(cli: Any, line: list[Any], tmp_path: Path) -> None:
    options: dict[str, Any] = dict(zip(line[2::2], line[3::2], strict=True)) | {"--out": tmp_path / "out"}
    done = cli("run", line[1], *(part for item in options.items() for part in item), "--type", LONG, "--new-type")
    assert done.returncode == 0, done.stderr
    made = [path.relative_to(tmp_path / "out") for path in (tmp_path / "out").rglob("*.png")]
    assert made and all(len(part) < 100 for path in made for part in path.parts)


@pytest.fixture
def without_rights(environment: dict[str, str], tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Run a command on which permissions hold: the tests may run as root, whom none stops."""
    drop_from_bounding_set, dac_override, dac_read_search = 24, 1, 2

    def give_up_rights() -> None:
        library = ctypes.CDLL(None)
        for capability in (dac_override, dac_read_search):
            library.prctl(drop_from_bounding_set, capability, 0, 0, 0)

    def run(*command: Any) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            list(map(str, command)),
            env=environment,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
            preexec_fn=give_up_rights,
        )

    closed = tmp_path / "closed"
    closed.touch(0o000)
    if run("cat", closed).returncode == 0:
        pytest.skip("no permission stops this user")
    return lambda *arguments: run(sys.executable, "-m", "defectforge.runner", *arguments)


@pytest.mark.parametrize(
    ("closed", "mode"),
    [
        ("data", 0o000),
        ("data/hazelnut", 0o000),
        ("data/hazelnut/train/good", 0o000),
        ("data/hazelnut/train", 0o444),
        ("place.json", 0o000),
        ("plan.yaml", 0o000),
        ("headers", 0o000),
        ("parent", 0o555),
        ("parent", 0o000),
        ("mine", 0o555),
        ("mine/hazelnut", 0o555),
    ],
)
def test_folders_without_rights_are_one_message(
    without_rights: Any, line: list[Any], tmp_path: Path, closed: str, mode: int
) -> None:
    folder = tmp_path / "request"
    shutil.copytree(line[3], folder / "data")
    shutil.copy(line[1], folder / "place.json")
    (folder / "plan.yaml").write_text("count: 1\n")
    (folder / "headers").write_text("X: 1\n")
    for name in ("parent", "mine/hazelnut"):
        (folder / name).mkdir(parents=True)
    (folder / "mine" / "run.sqlite").touch()
    (folder / closed).chmod(mode)
    out = folder / ("mine" if closed.startswith("mine") else "parent/out")
    inputs = ["--plan", folder / "plan.yaml", "--header-file", folder / "headers", "--data", folder / "data"]
    done = without_rights("run", folder / "place.json", *inputs, *line[4:6], *line[-2:], "--out", out)
    (folder / closed).chmod(0o755)
    assert done.returncode in (BAD_REQUEST, SOME_JOBS_FAILED), done.stderr
    assert "Traceback" not in done.stderr and "fault of DefectForge" not in done.stderr, done.stderr
    assert done.stderr.lower().count("error:") == 1, done.stderr
    assert list(out.rglob("*.png")) == list(out.rglob("*.part")) == []


def test_a_disk_that_can_only_be_read_is_told_before_anything_is_queued(
    cli: Any, line: list[Any], mount: Mount
) -> None:
    disk = mount("disk", "-t", "tmpfs", "-o", "ro", "none")
    assert_one_message(cli(*line, "--out", disk / "out"), BAD_REQUEST, "no permission")


@pytest.mark.parametrize("name", ["hazelnut", "hazelnut/test", "hazelnut/test/hole", "hazelnut/ground_truth"])
def test_a_file_where_a_folder_belongs_is_one_message(cli: Any, line: list[Any], tmp_path: Path, name: str) -> None:
    out = tmp_path / "out"
    (out / name).parent.mkdir(parents=True)
    (out / name).touch()
    (out / "run.sqlite").touch()
    assert_one_message(cli(*line, "--out", out), SOME_JOBS_FAILED, "folder", str(out))


@pytest.mark.parametrize("content", [b"", b"\x00" * 100, b"SQLite format 3\x00" + b"\xff" * 5000, b"x" * 100_000])
@pytest.mark.parametrize("name", ["run.sqlite", "manifest.jsonl", "run.sqlite-wal"])
def test_what_lies_in_the_output_folder_may_be_anything(
    cli: Any, line: list[Any], tmp_path: Path, name: str, content: bytes
) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "run.sqlite").touch()
    (out / name).write_bytes(content)
    done = cli(*line, "--out", out)
    assert done.returncode in (OK, SOME_JOBS_FAILED, BAD_REQUEST), done.stderr
    assert "Traceback" not in done.stderr and "fault of DefectForge" not in done.stderr, done.stderr


def test_a_journal_of_another_shape_is_refused(cli: Any, line: list[Any], tmp_path: Path) -> None:
    import sqlite3

    out = tmp_path / "out"
    out.mkdir()
    with sqlite3.connect(out / "run.sqlite") as other:
        other.execute("CREATE TABLE job(a, b)")
    other.close()
    assert_one_message(cli(*line, "--out", out), BAD_REQUEST, "the journal cannot be used")


@pytest.mark.parametrize("change", ["lacks", "list", "number", "nonsense", "deep", "graph"])
def test_a_record_that_somebody_changed_is_one_message(cli: Any, line: list[Any], tmp_path: Path, change: str) -> None:
    out = tmp_path / "out"
    assert cli(*line, "--out", out).returncode == OK
    manifest = out / "manifest.jsonl"
    record = json.loads(manifest.read_text().splitlines()[0])
    changed = {
        "lacks": {"id": record["id"], "number": 0},
        "list": [1],
        "number": {**record, "source": 3, "references": None},
        "graph": {**record, "workflow": {**record["workflow"], "graph": "../../../../dev/null"}},
    }.get(change, "nonsense")
    text = "[" * 50_000 if change == "deep" else json.dumps(changed) if change != "nonsense" else "{nonsense"
    manifest.write_text(text + "\n")
    assert_one_message(cli("rerun", manifest, "--out", tmp_path / "again", *line[-2:]), BAD_REQUEST)
