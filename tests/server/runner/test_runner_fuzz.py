"""Wild command lines, plans, graphs, pictures, masks and servers: every request ends in one message and an exit code.

A small form runs always; `make fuzz` (DEFECTFORGE_FUZZ=10000) tries ten thousand requests.
"""

from __future__ import annotations

import json
import os
import shutil
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from defectforge.runner.commands.preparing import fleet
from defectforge.runner.graphs.graph import SHIPPED
from defectforge.runner.servers.worker import Timing
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

CASES = int(os.environ.get("DEFECTFORGE_FUZZ", "0"))
#: Of ten thousand. Requests with a server behind them take longest.
SHARES = {"lines": 3000, "plans": 4000, "graphs": 2000, "pictures": 500, "masks": 300, "servers": 200}


def tried(kind: str) -> Callable[[Any], Any]:
    """How many examples of a kind: its share, or a few."""
    few = max(5, SHARES[kind] // 100)
    return settings(
        max_examples=CASES * SHARES[kind] // 10_000 if CASES else few,
        deadline=None,
        derandomize=not CASES,
        database=None,
        # Shrinking a request that hangs would take hours.
        phases=[Phase.explicit, Phase.generate] + ([] if CASES else [Phase.shrink]),
        suppress_health_check=list(HealthCheck),
    )


@pytest.fixture(autouse=True)
def nothing_of_this_machine(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[None]:
    def no_server(*_: Any, **__: Any) -> None:
        raise AssertionError("a request without --server got as far as starting our own")

    monkeypatch.setattr(fleet, "launch", no_server)
    monkeypatch.setenv("DEFECTFORGE_MODELS", str(tmp_path / "models"))
    monkeypatch.setenv("HOME", str(tmp_path_factory.mktemp("home")))
    monkeypatch.chdir(tmp_path_factory.mktemp("cwd"))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow on broken files
        yield


@pytest.fixture
def small(start: Any, known_nodes: dict[str, Any]) -> Any:
    """A server that knows the nodes of a handful of graphs: its list is asked for in every request."""
    server = start()
    names = ["KSampler", "CheckpointLoaderSimple", "CLIPTextEncode", "VAEDecode", "EmptyLatentImage", "SaveImage"]
    ours = [name for name in known_nodes if name.startswith("DefectForge")]
    server.object_info = {name: known_nodes[name] for name in [*names, *ours] if name in known_nodes}
    return server


@pytest.fixture
def fresh(tmp_path: Path) -> Callable[[], Path]:
    """An empty folder for every request, without what the last one left."""

    def make() -> Path:
        folder = tmp_path / "request"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        return folder

    return make


def test_command_lines(fuzzing: Any, nuts: Path, place_workflow: Path, fresh: Any) -> None:
    known = [str(nuts), "hazelnut", "hole", str(place_workflow), "inpaint_fill", "out", "plan.yaml", "miniature"]

    @tried("lines")
    @given(fuzzing.command_lines(known))
    def check(line: list[str]) -> None:
        folder = fresh()
        os.chdir(folder)
        fuzzing.judge(fuzzing.run(line), folder)

    check()


def test_plan_files(fuzzing: Any, fresh: Any) -> None:
    @tried("plans")
    @given(fuzzing.plan_files())
    def check(raw: bytes) -> None:
        folder = fresh()
        os.chdir(folder)
        (folder / "plan.yaml").write_bytes(raw)
        fuzzing.judge(fuzzing.run(["run", "--server", "127.0.0.1:9", "--plan", str(folder / "plan.yaml")]), folder)

    check()


def test_graphs(fuzzing: Any, fresh: Any, small: Any, place_workflow: Path) -> None:
    names = ("inpaint_fill.json", "api/inpaint_fill.json", "reference_only.json")
    sound = [json.loads((SHIPPED / name).read_text()) for name in names if (SHIPPED / name).exists()]
    sound += [json.loads(place_workflow.read_text())] * 3

    @tried("graphs")
    @given(fuzzing.graphs(sound))
    def check(raw: bytes) -> None:
        folder = fresh()
        (folder / "graph.json").write_bytes(raw)
        fuzzing.judge(fuzzing.run(["check", str(folder / "graph.json"), "--server", small.url]), folder)

    check()


@pytest.mark.parametrize("kind", ["pictures", "masks"])
def test_pictures_and_masks(fuzzing: Any, fresh: Any, small: Any, place_workflow: Path, kind: str) -> None:
    graph = json.loads(place_workflow.read_text())
    # A reference is read with its mask.
    values = {**graph["1"]["inputs"], "split": "test", "type": "hole"}
    graph["5"] = {"class_type": "DefectForgeLoadMVTec", "inputs": values, "_meta": {"title": "Reference defect"}}

    @tried(kind)
    @given(fuzzing.pictures(grey=kind == "masks"))
    def check(drawn: tuple[str, bytes]) -> None:
        folder = fresh()
        suffix, raw = drawn
        category = folder / "data" / "hazelnut"
        wild = {"pictures": f"train/good/000{suffix}", "masks": f"ground_truth/hole/000_mask{suffix}"}[kind]
        sound = fuzzing.Image.new("RGB", (24, 16), (90, 60, 30))
        for name in ("train/good/001.png", "test/hole/000.png", wild):
            (category / name).parent.mkdir(parents=True, exist_ok=True)
            sound.save(category / name, format="PNG")
        (category / wild).write_bytes(raw)
        (folder / "graph.json").write_text(json.dumps(graph))
        line = ["run", str(folder / "graph.json"), "--data", str(folder / "data"), "--category", "hazelnut"]
        line += ["--type", "hole", "--count", "1", "--server", small.url, "--out", str(folder / "out")]
        fuzzing.judge(fuzzing.run(line), folder)

    check()


def test_servers(fuzzing: Any, fresh: Any, start: Any, go: Any, recorder: Any, tmp_path: Path) -> None:
    """A server that answers one kind of question with anything, a few times or always."""
    drawn: dict[str, Any] = {}

    def intercept(request: web.Request) -> web.Response | None:
        if not request.path.startswith(drawn["path"]) or drawn["times"] <= 0:
            return None
        drawn["times"] -= 1
        body = json.dumps(drawn["answer"]).encode()
        return web.Response(status=drawn["status"], body=body, content_type="application/json")

    server = start(intercept=intercept)
    paths = ["/system_stats", "/object_info", "/queue", "/history", "/prompt", "/upload", "/view", "/ws"]
    hasty = Timing(reconcile=0.05, status_echo=0.1, stall=2.0, give_up=1.0, wind_down=0.2)

    @tried("servers")
    @given(st.sampled_from(paths), fuzzing.answers, st.sampled_from([200, 200, 200, 204, 304, 400, 404, 500]),
           st.sampled_from([1, 3, 10**6]))  # fmt: skip
    def check(path: str, answer: Any, status: int, times: int) -> None:
        drawn.update(path=path, answer=answer, status=status, times=times)
        shutil.rmtree(tmp_path / "out", ignore_errors=True)
        recorder.lines.clear()
        code = go(server, count=1, timing=hasty)
        text = "\n".join(recorder.lines)
        assert code in (0, 1, 2, 3), text
        assert "fault of DefectForge" not in text, text
        assert list(tmp_path.rglob("*.part")) == []

    check()
