"""Shards: by hand and merged, as Ray tasks, through an object store; whatever is killed, one run's output comes out."""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import psutil
import pytest
from defectforge.runner.outputs.manifest import read
from made import cheapest
from PIL import Image

RAY = pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="Ray is not installed (extra `cluster`)")
S3 = pytest.mark.skipif(
    any(importlib.util.find_spec(name) is None for name in ("moto", "flask", "s3fs")),
    reason="no S3 server here: pip install 'moto[server,s3]' s3fs",
)
Cli = Callable[..., subprocess.CompletedProcess[str]]
CHEAP = cheapest(192)


@pytest.fixture
def options(tmp_path: Path, nuts: Path) -> Callable[[int], list[Any]]:
    """The command for so many cheap jobs over four photos."""

    def write(jobs: int) -> list[Any]:
        graph, plan = tmp_path / "cheap.json", tmp_path / f"plan{jobs}.yaml"
        graph.write_text(json.dumps(CHEAP))
        plan.write_text(json.dumps({"vary": {"Mask.value": [1 - n / 1e6 for n in range(jobs // 4)]}}))
        return ["run", graph, "--data", nuts, "--type", "hole", "--count", 4, "--plan", plan]

    return write


def facts(out: Path) -> list[tuple[Any, ...]]:
    """Of every pair in the manifest, in its order, what does not tell when and where it was made."""
    return [
        (
            record["id"], record["number"], record["seed"], record["image"]["path"], record["mask"], record["source"],
            record["varied"], record["workflow"], record["assignments"], record["models"], record["data"],
        )
        for record in read(out / "manifest.jsonl")
    ]  # fmt: skip


def pictures(out: Path) -> dict[str, bytes]:
    """Every picture's pixels. The files of two runs differ: each holds the graph that was queued, with its prefix."""
    return {
        path.relative_to(out).as_posix(): Image.open(path).tobytes()
        for path in sorted((out / "hazelnut").rglob("*.png"))
    }


def by_id(out: Path) -> dict[str, tuple[Any, ...]]:
    return {fact[0]: fact for fact in facts(out)}


def assert_same(out: Path, plain: Path) -> None:
    assert pictures(out) == pictures(plain)
    assert by_id(out) == by_id(plain)
    assert [fact[1] for fact in facts(out)] == list(range(len(facts(plain)))), "each number once, in the plan's order"


@pytest.fixture
def plain(cli: Cli, options: Any, embedded_server: Any, tmp_path: Path) -> Callable[[int], Path]:
    """The output of one run on one server."""

    def run(jobs: int) -> Path:
        out = tmp_path / "plain"
        done = cli(*options(jobs), "--server", embedded_server.url, "--out", out)
        assert done.returncode == 0, done.stderr
        return out

    return run


def test_shards_made_apart_and_merged_are_one_run(
    cli: Cli, options: Any, plain: Callable[[int], Path], embedded_server: Any, tmp_path: Path
) -> None:
    for part in (1, 2, 3):
        done = cli(
            *options(20), "--server", embedded_server.url, "--shard", f"{part}/3", "--out", tmp_path / f"part{part}"
        )
        assert done.returncode == 0, done.stderr
    merged = tmp_path / "merged"
    short = cli("merge", merged, tmp_path / "part1", tmp_path / "part3")
    assert (short.returncode, "no folder is part 2/3 of the plan" in short.stderr) == (1, True), short.stderr
    # What is missing can also be made by the whole plan's command.
    rest = cli(*options(20), "--server", embedded_server.url, "--out", merged, "--json")
    assert rest.returncode == 0, rest.stdout
    assert rest.stdout.count('"event": "done"') == 7, "only the jobs of part 2 are made"
    assert by_id(merged) == by_id(plain(20))
    again = tmp_path / "again"
    whole = cli("merge", again, *(tmp_path / f"part{part}" for part in (1, 2, 3)))
    assert whole.returncode == 0, whole.stderr
    assert_same(again, tmp_path / "plain")


@pytest.mark.parametrize("jobs", [24, pytest.param(400, marks=pytest.mark.slow)], ids=["small", "whole"])
def test_shards_that_are_killed_go_on_and_merge_to_one_run(
    jobs: int,
    cli: Cli,
    spawn: Callable[..., subprocess.Popen[str]],
    options: Any,
    plain: Callable[[int], Path],
    embedded_server: Any,
    tmp_path: Path,
) -> None:
    parts = [tmp_path / f"part{part}" for part in (1, 2)]
    for number, part in enumerate(parts, 1):
        command = [*options(jobs), "--server", embedded_server.url, "--shard", f"{number}/2", "--out", part]
        running = spawn(*command, "--json")
        assert running.stdout is not None
        done = 0
        while done < jobs // 8:
            done += json.loads(running.stdout.readline())["event"] == "done"
        running.kill()
        running.wait()
        assert len(pictures(part)) < jobs, "the kill came too late to test anything"
        again = cli(*command)
        assert again.returncode == 0, again.stderr
    merged = cli("merge", tmp_path / "merged", *parts)
    assert merged.returncode == 0, merged.stderr
    assert_same(tmp_path / "merged", plain(jobs))


def test_a_dry_run_says_what_would_be_done(
    cli: Cli, options: Any, plain: Callable[[int], Path], embedded_server: Any, tmp_path: Path
) -> None:
    before = cli(*options(20), "--server", embedded_server.url, "--out", tmp_path / "plain", "--dry-run")
    assert before.returncode == 0, before.stderr
    assert "20 jobs: 4 draws x 5 sets of values" in before.stderr
    assert "hazelnut/test/hole/000001.png: hazelnut/train/good/000.png, seed 0, Mask.value=0.999999" in before.stderr
    assert "time: not known" in before.stderr
    assert "assumed: 1.5 times the photos" in before.stderr
    assert not (tmp_path / "plain").exists()
    out = plain(20)
    kept = pictures(out)
    after = cli(*options(40), "--server", embedded_server.url, "--out", out, "--dry-run", "--shard", "1/2")
    assert "20 jobs of 40 in the whole plan" in after.stderr
    assert "s a job, measured on the last 20 jobs in --out" in after.stderr
    assert "MB a job, measured in --out" in after.stderr
    assert pictures(out) == kept


def test_several_workflows_and_types_in_one_plan(cli: Cli, embedded_server: Any, nuts: Path, tmp_path: Path) -> None:
    for name, value in (("light", 1.0), ("dark", 0.9)):
        graph = json.loads(json.dumps(CHEAP))
        graph["3"]["inputs"]["value"] = value
        graph["4"]["_meta"]["title"] = name
        # The second graph has other ids: nothing of one may be used for the other.
        renamed = json.loads(json.dumps(graph).replace('"3"', '"33"')) if name == "dark" else graph
        (tmp_path / f"{name}.json").write_text(json.dumps(renamed))
    plan = tmp_path / "plan.yaml"
    dark = {"workflow": str(tmp_path / "dark.json"), "vary": {"Mask.value": [0.8, 0.7]}}
    plan.write_text(json.dumps({"workflows": [str(tmp_path / "light.json"), dark], "types": ["hole", "cut"]}))
    out = tmp_path / "out"
    arguments = ["run", "--data", nuts, "--new-type", "--count", 2, "--plan", plan, "--server", embedded_server.url]
    done = cli(*arguments, "--out", out)
    assert done.returncode == 0, done.stderr
    records = read(out / "manifest.jsonl")
    assert len(records) == 2 * 2 * (1 + 2)
    made = {(r["type"], r["workflow"]["name"], r["source"]["path"], *r["varied"].values()) for r in records}
    assert len(made) == len(records)
    for type_ in ("hole", "cut"):
        numbers = [record["number"] for record in records if record["type"] == type_]
        assert sorted(numbers) == list(range(6)), "no gaps within a type"
    for record in records:
        graph = json.loads((out / record["workflow"]["graph"]).read_text())
        assert ("33" in graph) == (record["workflow"]["name"] == "dark")
    again = cli(*arguments, "--out", out, "--json")
    assert '"done": 12' in again.stdout.splitlines()[-1]


# ---- Ray


def stations(log: Path) -> list[int]:
    return [int(pid) for pid in re.findall(r"process (\d+), is up", log.read_text())]


def until(holds: Callable[[], Any], driver: subprocess.Popen[Any], seconds: float = 240.0, pause: float = 0.05) -> Any:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if found := holds():
            return found
        assert driver.poll() is None, "the driver ended before it was killed"
        time.sleep(pause)
    raise AssertionError("it took too long")


def left_after(seconds: float, processes: Sequence[psutil.Process]) -> list[psutil.Process]:
    """Those that have not ended by then."""
    _, alive = psutil.wait_procs(processes, timeout=seconds)
    return [one for one in alive if one.is_running() and one.status() != psutil.STATUS_ZOMBIE]


@pytest.fixture
def kills(environment: dict[str, str], tmp_path: Path) -> Iterator[Callable[[list[Any]], dict[psutil.Process, str]]]:
    """Start a command on a cluster, kill one of its workers, then the driver; gives all that the driver had started."""
    running: list[subprocess.Popen[Any]] = []

    def kill(arguments: list[Any]) -> dict[psutil.Process, str]:
        log = tmp_path / "driver.log"
        with log.open("wb") as stream:
            command = [sys.executable, "-m", "defectforge.runner", *map(str, arguments)]
            driver = subprocess.Popen(command, env=environment, stderr=stream, stdout=stream)
        running.append(driver)
        until(lambda: "pairs to make" in log.read_text(), driver)
        killed: set[int] = set()

        def lost() -> bool:
            """A station that was between two shards is not missed: then another one."""
            if "its station was lost" in log.read_text():
                return True
            for pid in [pid for pid in stations(log) if pid not in killed][:1]:
                killed.add(pid)
                os.kill(pid, signal.SIGKILL)
            return False

        until(lost, driver, pause=0.3)
        until(lambda: "of 8 shards" in log.read_text(), driver)
        started = {one: one.name() for one in psutil.Process(driver.pid).children(recursive=True)}
        driver.kill()
        driver.wait()
        return started

    yield kill
    for driver in running:
        with contextlib.suppress(ProcessLookupError):
            driver.kill()
        driver.wait()


@pytest.mark.ray
@RAY
@pytest.mark.parametrize(
    ("jobs", "size"), [(48, 6), pytest.param(400, 50, marks=pytest.mark.slow)], ids=["small", "whole"]
)
def test_a_worker_and_the_driver_are_killed_and_the_command_repeated(
    jobs: int,
    size: int,
    cli: Cli,
    kills: Callable[[list[Any]], dict[psutil.Process, str]],
    options: Any,
    plain: Callable[[int], Path],
    embedded_server: Any,
    tmp_path: Path,
) -> None:
    out = tmp_path / "cluster"
    command = [
        *options(jobs), "--cluster", "local", "--stations", 2, "--shard-size", size, "--out", out,
        "--server", embedded_server.url,
    ]  # fmt: skip
    started = kills(command)
    assert len(started) >= 4, "Ray's own processes and the stations"
    # Ray's agents, which hold nothing, look for their lost head for a minute before they end.
    agents = [one for one, name in started.items() if "Agent" in name]
    assert left_after(60, [one for one in started if one not in agents]) == [], (
        "a killed driver leaves no station behind"
    )
    assert left_after(180, agents) == []
    done = cli(*command)
    assert done.returncode == 0, done.stderr
    assert f"{jobs} pairs from {jobs} of {jobs} jobs" in done.stderr
    assert_same(out, plain(jobs))
    assert not list(out.rglob("*.tar")), "the pictures lie there once"
    again = cli(*command)
    assert again.returncode == 0, again.stderr
    assert "shard 0" not in again.stderr, "all is made"


@pytest.mark.ray
@pytest.mark.slow
@RAY
def test_a_station_starts_its_own_server(cli: Cli, options: Any, plain: Any, tmp_path: Path) -> None:
    out = tmp_path / "cluster"
    done = cli(*options(12), "--cluster", "local", "--stations", 2, "--shard-size", 6, "--out", out)
    assert done.returncode == 0, done.stderr
    assert_same(out, plain(12))


@pytest.fixture
def bucket(environment: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A real S3 server of this process, empty."""
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    login = {
        "AWS_ENDPOINT_URL": f"http://{host}:{port}", "AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_DEFAULT_REGION": "us-east-1",
    }  # fmt: skip
    environment.update(login)
    for name, value in login.items():
        monkeypatch.setenv(name, value)
    import s3fs

    s3fs.S3FileSystem.clear_instance_cache()
    s3fs.S3FileSystem().mkdir("runs")
    yield "s3://runs"
    server.stop()
    s3fs.S3FileSystem.clear_instance_cache()


@pytest.mark.ray
@RAY
@S3
def test_through_an_object_store_alone(
    cli: Cli, options: Any, plain: Any, embedded_server: Any, bucket: str, nuts: Path, tmp_path: Path
) -> None:
    """The machines see the store only: photos come from it, shards go to it; merged here while it runs, or later."""
    command = [
        *options(12), "--cluster", "local", "--stations", 1, "--shard-size", 6, "--store", f"{bucket}/one",
        "--server", embedded_server.url,
    ]  # fmt: skip
    left = cli(*command)
    assert left.returncode == 0, left.stderr
    assert f"12 of 12 jobs are in {bucket}/one/shards" in left.stderr
    out = tmp_path / "cluster"
    done = cli(*command, "--out", out)
    assert done.returncode == 0, done.stderr
    assert_same(out, plain(12))
    later = tmp_path / "later"
    merged = cli("merge", later, f"{bucket}/one")
    assert merged.returncode == 0, merged.stderr
    assert_same(later, tmp_path / "plain")
    import s3fs

    s3fs.S3FileSystem().put(str(nuts), "runs/photos", recursive=True)
    there = [f"{bucket}/photos" if option == nuts else option for option in command]
    there[there.index(f"{bucket}/one")] = f"{bucket}/two"
    away = cli(*there, "--out", tmp_path / "away")
    assert away.returncode == 0, away.stderr
    assert pictures(tmp_path / "away") == pictures(out)
    assert {record["data"] for record in read(tmp_path / "away" / "manifest.jsonl")} == {f"{bucket}/photos"}
    other = cli(*command, "--seed", 5)
    assert other.returncode == 2
    assert "the store holds the shards of another plan" in other.stderr


@RAY
@pytest.mark.parametrize(
    ("more", "expected"),
    [
        (["--shard", "1/2"], "cuts the plan itself"),
        (["--until", "3"], "cuts the plan itself"),
        (["--cluster", "nowhere:1"], "Ray does not answer"),
        (["--store", "bogus://x"], "the store cannot be used"),
    ],
)
def test_what_a_cluster_cannot_do_is_refused(
    cli: Cli, options: Any, tmp_path: Path, more: list[str], expected: str
) -> None:
    done = cli(*options(8), "--cluster", "local", "--out", tmp_path / "out", *more)
    assert done.returncode in (2, 3), done.stderr
    assert expected in done.stderr
    assert "Traceback" not in done.stderr
