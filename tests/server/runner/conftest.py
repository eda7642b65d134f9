"""Set-up of the runner's tests against servers: drawn nuts, a graph that needs no checkpoint, the command line."""

from __future__ import annotations

import importlib.util
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import requests
from defectforge.runner.cli import guarded
from defectforge.runner.commands.requests.request import Request
from defectforge.runner.commands.running.run import run
from defectforge.runner.nuts import write_dataset
from defectforge.runner.reporter import Reporter
from defectforge.runner.servers.worker import Timing

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parents[1] / "tools"))
from made import loader, saver, titled  # noqa: E402

NUT_SIZE = 192
Cli = Callable[..., subprocess.CompletedProcess[str]]


PLACE = {
    "1": loader("Good photo"),
    "2": titled(
        "DefectForgeObjectMask",
        "Object mask",
        image=["1", 0],
        sensitivity=1.0,
        largest_opening=1.0,
        min_confidence=0.5,
        when_unsure="stop with an error",
    ),
    "3": titled(
        "DefectForgePlaceHoleMask",
        "Hole mask",
        image=["1", 0],
        object_mask=["2", 0],
        seed=0,
        count=1,
        min_size=0.033,
        max_size=0.078,
        max_cracks=3,
        rim=0.3,
        tries=64,
        grow=6.0,
        feather=8.0,
    ),
    "4": saver(source_path=["1", 2]),
}


@pytest.fixture(scope="session")
def nuts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A dataset of four good and two defective drawn hazelnuts."""
    root = tmp_path_factory.mktemp("nuts")
    write_dataset(root, n_good=4, n_defect=2, size=NUT_SIZE, seed=3)
    return root


@pytest.fixture
def place_workflow(tmp_path: Path) -> Path:
    """Queue form of: photo, object mask, hole mask, saved pair. Runs without a checkpoint."""
    path = tmp_path / "place.json"
    path.write_text(json.dumps(PLACE))
    return path


def command(*arguments: Any) -> list[str]:
    return [sys.executable, "-m", "defectforge.runner", *map(str, arguments)]


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """No models but those of the test; nothing from the user's machine."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("DEFECTFORGE_", "COMFYUI_"))}
    return {**kept, "DEFECTFORGE_MODELS": str(tmp_path / "models"), "TMPDIR": str(tmp_path)}


@pytest.fixture
def cli(environment: dict[str, str]) -> Cli:
    """Run `defectforge ...` to its end in a process of its own."""

    def run(*arguments: Any) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            command(*arguments), env=environment, capture_output=True, text=True, timeout=300, check=False
        )

    return run


@pytest.fixture
def spawn(environment: dict[str, str]) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Start `defectforge ...` and go on; what still runs at the end is killed."""
    started: list[subprocess.Popen[str]] = []

    def start(*arguments: Any) -> subprocess.Popen[str]:
        started.append(
            subprocess.Popen(
                command(*arguments),
                env=environment,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                text=True,
                # A job in a script's background inherits an ignored Ctrl-C, and so would what is started here.
                preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
            )
        )
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.wait()
        if process.stdout is not None:
            process.stdout.close()


def beside(name: str) -> ModuleType:
    """A module of this folder, which is no package."""
    spec = importlib.util.spec_from_file_location(f"runner_{name}", HERE / f"{name}.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def faulty_module() -> ModuleType:
    return beside("faulty")


@pytest.fixture(scope="session")
def fuzzing() -> ModuleType:
    return beside("fuzzing")


@pytest.fixture(scope="session")
def raw_module() -> ModuleType:
    return beside("raw")


@pytest.fixture(scope="session")
def known_nodes(embedded_server: Any) -> dict[str, Any]:
    """What the real server answers to /object_info."""
    known: dict[str, Any] = requests.get(embedded_server.url + "/object_info", timeout=60).json()
    return known


@pytest.fixture
def start(known_nodes: dict[str, Any], faulty_module: Any) -> Iterator[Callable[..., Any]]:
    """Start a faulty server that knows the nodes of the real one."""
    started = []

    def begin(**faults: Any) -> Any:
        started.append(faulty_module.FaultyServer(known_nodes, faulty_module.Script(**faults)))
        return started[-1]

    yield begin
    for server in started:
        server.stop()


#: Waiting times that fit servers which answer at once.
FAST = Timing(reconcile=0.3, status_echo=0.2, stall=30.0, give_up=5.0, wind_down=0.5)


@pytest.fixture
def go(nuts: Path, place_workflow: Path, tmp_path: Path, recorder: Recorder) -> Callable[..., int]:
    """Run jobs (four by default) on servers into `tmp_path/out`, as the command line does with its net below."""

    def run_on(*servers: Any, timing: Timing = FAST, count: int = 4, **more: Any) -> int:
        urls = tuple(getattr(server, "url", server) for server in servers)
        request = Request(
            workflow=str(place_workflow),
            data=nuts,
            category="hazelnut",
            count=count,
            server=urls,
            out=tmp_path / "out",
            **more,
        )
        return guarded(recorder, lambda: run(request, recorder, timing))

    return run_on


class Recorder(Reporter):
    """Keeps events and lines instead of printing them."""

    def __init__(self) -> None:
        super().__init__()
        self.events: list[tuple[str, dict[str, Any]]] = []
        self.lines: list[str] = []

    def event(self, name: str, data: dict[str, Any]) -> None:
        self.events.append((name, data))
        super().event(name, data)

    def line(self, text: str) -> None:
        self.lines.append(text)

    def of(self, name: str) -> list[dict[str, Any]]:
        return [data for event, data in self.events if event == name]


@pytest.fixture
def recorder() -> Recorder:
    return Recorder()


class Pairs:
    """What lies in an output folder."""

    def __init__(self, out: Path) -> None:
        self.out = out
        self.images = sorted(p.relative_to(out / "hazelnut" / "test").as_posix() for p in self._all("test"))
        self.masks = sorted(
            p.relative_to(out / "hazelnut" / "ground_truth").as_posix() for p in self._all("ground_truth")
        )
        manifest = out / "manifest.jsonl"
        self.records = [json.loads(line) for line in manifest.read_text().splitlines()] if manifest.exists() else []
        self.leftovers = [p.name for p in out.rglob("*.part")]

    def _all(self, folder: str) -> Iterator[Path]:
        return (self.out / "hazelnut" / folder).rglob("*.png")

    def assert_whole(self, count: int) -> None:
        """`count` pairs, each image with its mask and one record, and nothing else."""
        assert self.images == [f"hole/{n:06d}.png" for n in range(count)]
        assert self.masks == [f"hole/{n:06d}_mask.png" for n in range(count)]
        assert sorted(record["number"] for record in self.records) == list(range(count))
        assert len({record["id"] for record in self.records}) == count
        assert self.leftovers == []

    def assert_no_image_without_mask(self) -> None:
        assert {name[: -len(".png")] for name in self.images} <= {name[: -len("_mask.png")] for name in self.masks}


@pytest.fixture
def pairs() -> type[Pairs]:
    return Pairs


STUB = Path(__file__).resolve().parents[2] / "chaos" / "stub_server.py"

#: What a ComfyUI is to whoever launches it: main.py with its options; behind them the scripted server.
MAIN = """
import json, os, runpy, sys
arguments = sys.argv[1:]
value = lambda name: arguments[arguments.index(name) + 1]
folder = os.path.dirname(value("--output-directory"))
with open(os.environ["TOLD"], "a") as told:
    print(json.dumps([os.getpid(), os.environ.get("CUDA_VISIBLE_DEVICES"), arguments]), file=told)
if os.environ.get("DIES"):
    sys.exit("CUDA error: out of memory")
sys.argv = ["stub", value("--port"), folder, os.environ["OBJECT_INFO"], "0.1"]
runpy.run_path(os.environ["STUB"], run_name="__main__")
"""
OPTIONS = " ".join(f'"--{kind}-directory"' for kind in ("input", "output", "temp", "user")) + ' "--disable-auto-launch"'


@pytest.fixture
def home(tmp_path: Path, environment: dict[str, str], known_nodes: dict[str, Any]) -> Path:
    """A checkout with our pack in it."""
    home = tmp_path / "ComfyUI"
    (home / "comfy").mkdir(parents=True)
    (home / "main.py").write_text(MAIN)
    (home / "comfy" / "cli_args.py").write_text(OPTIONS)
    pack = home / "custom_nodes" / "ours"
    pack.mkdir(parents=True)
    (pack / "pyproject.toml").write_text('[project]\nname = "defectforge"\n')
    info = tmp_path / "object_info.json"
    info.write_text(json.dumps(known_nodes))
    environment |= {"TOLD": str(tmp_path / "told"), "OBJECT_INFO": str(info), "STUB": str(STUB)}
    environment.pop("CUDA_VISIBLE_DEVICES", None)
    return home


@pytest.fixture
def told(tmp_path: Path) -> Callable[[], list[tuple[int, str | None, list[str]]]]:
    """(process, GPU, arguments) of each start of that ComfyUI."""
    return lambda: [tuple(json.loads(text)) for text in (tmp_path / "told").read_text().splitlines()]
