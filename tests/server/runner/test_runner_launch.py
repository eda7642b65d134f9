"""`--launch N`: servers of the run's own, watched, started anew, and gone with it."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest
from defectforge.runner.commands.preparing.fleet import launching_of
from defectforge.runner.commands.requests.request import Request
from defectforge.runner.errors import BAD_REQUEST, OK, RequestError
from defectforge.runner.servers.local import comfyui, gpus

Spawn = Callable[..., subprocess.Popen[str]]
Told = Callable[[], list[tuple[int, str | None, list[str]]]]


@pytest.fixture
def line(nuts: Path, place_workflow: Path, home: Path, tmp_path: Path) -> list[Any]:
    base = ["run", place_workflow, "--data", nuts, "--category", "hazelnut", "--out", tmp_path / "out"]
    return [*base, "--comfyui", home]


def after(arguments: list[str], name: str) -> str:
    return arguments[arguments.index(name) + 1]


def test_each_has_a_gpu_a_port_and_folders_of_its_own(
    cli: Any, line: list[Any], tmp_path: Path, pairs: Any, environment: dict[str, str], told: Told
) -> None:
    environment["CUDA_VISIBLE_DEVICES"] = "3,GPU-7"
    done = cli(*line, "--launch", 2, "--count", 8, "--comfyui-args", "--fp16-vae --reserve-vram 1")
    assert done.returncode == OK, done.stderr
    pairs(tmp_path / "out").assert_whole(8)
    started = told()
    assert sorted(gpu or "" for _, gpu, _ in started) == ["3", "GPU-7"]
    for name in ("--port", "--output-directory", "--input-directory", "--temp-directory", "--user-directory"):
        assert len({after(arguments, name) for _, _, arguments in started}) == 2, name
    assert all(arguments[-3:] == ["--fp16-vae", "--reserve-vram", "1"] for *_, arguments in started)
    assert all("--cpu" not in arguments for *_, arguments in started)
    assert not any(psutil.pid_exists(pid) for pid, *_ in started), "they end with the run"
    assert not any(Path(after(arguments, "--user-directory")).exists() for *_, arguments in started)


def test_a_dead_one_is_started_anew(spawn: Spawn, line: list[Any], tmp_path: Path, pairs: Any, told: Told) -> None:
    process = spawn(*line, "--launch", 2, "--count", 30, "--json")
    assert process.stdout is not None
    done = 0
    for text in process.stdout:
        done += json.loads(text)["event"] == "done"
        if done == 4:
            os.kill(told()[0][0], 9)
            done += 1
    assert process.wait() == OK
    pairs(tmp_path / "out").assert_whole(30)
    assert len(told()) == 3


def test_kill_9_of_the_runner_leaves_nothing(spawn: Spawn, line: list[Any], told: Told) -> None:
    process = spawn(*line, "--launch", 2, "--count", 400, "--json")
    assert process.stdout is not None
    for text in process.stdout:
        if json.loads(text)["event"] == "done":
            break
    servers = [psutil.Process(pid) for pid, *_ in told()]
    guards = [parent for server in servers if (parent := server.parent()) is not None]
    assert len(servers) == len(guards) == 2
    process.kill()
    process.wait()
    _, alive = psutil.wait_procs([*servers, *guards], timeout=10)
    assert [p for p in alive if p.is_running() and p.status() != psutil.STATUS_ZOMBIE] == []


def test_one_that_does_not_start_is_one_message(cli: Any, line: list[Any], environment: dict[str, str]) -> None:
    environment["DIES"] = "1"
    done = cli(*line, "--launch", 2, "--count", 4)
    assert done.returncode == 3
    assert "ended while starting" in done.stderr and "CUDA error: out of memory" in done.stderr
    assert "Traceback" not in done.stderr


def test_our_pack_is_linked_into_a_comfyui_that_lacks_it(home: Path, tmp_path: Path) -> None:
    assert comfyui.has_pack(home)
    (home / "custom_nodes" / "ours" / "pyproject.toml").write_text('[project]\nname = "other"\n')
    assert not comfyui.has_pack(home)
    config = json.loads(comfyui._with_pack(tmp_path).read_text())
    assert (Path(config["defectforge"]["custom_nodes"]) / "defectforge" / "nodes" / "extension.py").is_file()


@pytest.mark.parametrize(
    ("visible", "count", "given"),
    [("0,1,2", 2, ["0", "1"]), ("", 2, [None, None]), ("-1", 1, [None]), (" GPU-a , GPU-b ", 2, ["GPU-a", "GPU-b"])],
)
def test_gpus_are_those_that_we_were_given(
    monkeypatch: pytest.MonkeyPatch, visible: str, count: int, given: list[str | None]
) -> None:
    monkeypatch.setenv(gpus.VISIBLE, visible)
    assert gpus.assignments(count) == given


def test_two_servers_on_one_gpu_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(gpus.VISIBLE, "0")
    with pytest.raises(RequestError, match="--launch 2, and 1 GPUs are here"):
        gpus.assignments(2)


@pytest.mark.parametrize(
    "given",
    [
        {"comfyui": Path("x")},
        {"comfyui_args": "--cpu"},
        {"launch": 1, "server": ("http://a:1",)},
        {"launch": 1, "comfyui_args": "--cpu"},
        {"launch": 1, "comfyui": Path("x"), "models": Path("m")},
        {"launch": 1, "comfyui": Path("x"), "comfyui_args": "'"},
    ],
)
def test_options_that_do_not_go_together_are_refused(given: dict[str, Any]) -> None:
    with pytest.raises(RequestError):
        launching_of(Request(**given))


def test_a_folder_without_a_comfyui_is_one_message(cli: Any, line: list[Any], tmp_path: Path) -> None:
    done = cli(*line[:-1], tmp_path, "--launch", 1)
    assert done.returncode == BAD_REQUEST
    assert "there is no ComfyUI" in done.stderr
