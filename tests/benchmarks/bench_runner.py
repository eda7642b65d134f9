"""What the runner itself costs: pairs that need no model, so that the server has next to nothing to do.

    python tests/benchmarks/bench_runner.py [--jobs 200] [--server URL] [--profile]

Prints jobs a second and milliseconds of the client's own processor time a job, from the first job to the last; without
--server against an embedded one in a process of its own. In turns with the runner, the logic of ComfyUI's own
script_examples/websockets_api_example.py does the same jobs: it uploads nothing, checks nothing and keeps no file. The
ratio of the two is what counts, a busy machine slows both.
"""

from __future__ import annotations

import argparse
import contextlib
import cProfile
import importlib.util
import json
import pstats
import sys
import tempfile
import threading
import time
import urllib.parse
import urllib.request
import uuid
from pathlib import Path
from typing import Any

import websocket

ROOT = Path(__file__).resolve().parents[2]
if "defectforge" not in sys.modules:
    spec = importlib.util.spec_from_file_location(
        "defectforge", ROOT / "__init__.py", submodule_search_locations=[str(ROOT)]
    )
    assert spec is not None and spec.loader is not None
    sys.modules["defectforge"] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(sys.modules["defectforge"])

from defectforge.runner.commands.requests.request import Request  # noqa: E402
from defectforge.runner.commands.running.run import run  # noqa: E402
from defectforge.runner.embedded import launch  # noqa: E402
from defectforge.runner.nuts import write_dataset  # noqa: E402
from defectforge.runner.reporter import Reporter  # noqa: E402


def node(class_type: str, title: str, **inputs: Any) -> dict[str, Any]:
    return {"class_type": class_type, "inputs": inputs, "_meta": {"title": title}}


#: The photo and a mask that is drawn, not computed: as little work for the server as a pair can be.
GRAPH = {
    "1": node("DefectForgeLoadMVTec", "Good photo", root="", category="hazelnut", split="train", type="good", index=0),
    "3": node("SolidMask", "Mask", value=1.0, width=192, height=192),
    "4": node(
        "DefectForgeSaveDefectPair",
        "Save pair",
        image=["1", 0],
        mask=["3", 0],
        filename_prefix="defectforge",
        category="hazelnut",
        type="hole",
        source_path=["1", 2],
    ),
}


class Meter(Reporter):
    """Clock and processor time of this process between the first job and the last."""

    def __init__(self) -> None:
        super().__init__()
        self.first = self.last = (0.0, 0.0)
        self.done = 0

    def begin(self, total: int, done: int, out: str) -> None:
        self.first = (time.perf_counter(), time.process_time())

    def event(self, name: str, data: dict[str, Any]) -> None:
        if name == "done":
            self.done += 1
            self.last = (time.perf_counter(), time.process_time())

    def end(self, summary: dict[str, Any]) -> None:
        pass


def measure(servers: tuple[str, ...], jobs: int, folder: Path) -> Meter:
    """`jobs` pairs through some servers; the same four photos, another seed each."""
    data, graph = folder / "nuts", folder / "graph.json"
    if not data.exists():
        write_dataset(data, n_good=4, n_defect=0, size=192, seed=3)
    graph.write_text(json.dumps(GRAPH))
    meter = Meter()
    # Draws without a seed in the graph would be twins: the prefix of the saver's type tells them apart.
    varied = ",".join(f"{1 - n / 1e6:.6f}" for n in range(jobs))
    request = Request(
        workflow=str(graph), data=data, category="hazelnut", new_type=True, type="hole", count=1,
        vary=(f"Mask.value={varied}",), server=servers, out=folder / f"out-{time.monotonic_ns()}",
    )  # fmt: skip
    code = run(request, meter)
    if code != 0 or meter.done != jobs:
        sys.exit(f"the run ended with {code}, {meter.done} of {jobs} pairs")
    return meter


def example(url: str, jobs: int, out: Path) -> tuple[float, float]:
    """(seconds, processor seconds) of the example's loop over the jobs that a run before left in OUT."""
    records = [json.loads(line) for line in (out / "manifest.jsonl").read_text().splitlines()][:jobs]
    graph = json.loads((out / records[0]["workflow"]["graph"]).read_text())
    address, client_id = url.rpartition("//")[2], str(uuid.uuid4())
    socket = websocket.WebSocket()
    socket.connect(f"ws://{address}/ws?clientId={client_id}")
    began = (time.perf_counter(), time.process_time())
    for number, record in enumerate(records):
        for node_id, name, value in record["assignments"]:
            graph[node_id]["inputs"][name] = value
        graph["4"]["inputs"]["filename_prefix"] = f"example/{client_id[:8]}-{number}"
        prompt_id = str(uuid.uuid4())
        body = json.dumps({"prompt": graph, "client_id": client_id, "prompt_id": prompt_id}).encode()
        urllib.request.urlopen(urllib.request.Request(f"{url}/prompt", data=body)).read()
        while True:
            received = socket.recv()
            if isinstance(received, str):
                message = json.loads(received)
                data = message["data"]
                if message["type"] == "executing" and data["node"] is None and data["prompt_id"] == prompt_id:
                    break
        with urllib.request.urlopen(f"{url}/history/{prompt_id}") as answer:
            history = json.loads(answer.read())[prompt_id]
        for pair in history["outputs"]["4"]["defectforge_pairs"]:
            for role in ("image", "mask"):
                query = urllib.parse.urlencode({key: pair[role][key] for key in ("filename", "subfolder", "type")})
                with urllib.request.urlopen(f"{url}/view?{query}") as answer:
                    assert answer.read()
    took = (time.perf_counter() - began[0], time.process_time() - began[1])
    socket.close()
    return took


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--jobs", type=int, default=200)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--server", help="a ComfyUI with this pack")
    parser.add_argument("--profile", action="store_true", help="of the worker's thread, the last round")
    options = parser.parse_args()
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="defectforge-bench-")))
        url = options.server
        if url is None:
            places: dict[str, Any] = {kind: folder / kind for kind in ("input", "output", "temp")}
            server = launch.start(models=[folder], device="cpu", log=folder / "log", **places)
            url = stack.enter_context(server).url
        profiler = cProfile.Profile()
        for round_ in range(options.rounds):
            if options.profile and round_ == options.rounds - 1:
                threading.setprofile(lambda *_: (threading.setprofile(None), profiler.enable()))  # type: ignore[arg-type]
            meter = measure((url,), options.jobs, folder)
            ours = tuple(last - first for last, first in zip(meter.last, meter.first, strict=True))
            theirs = example(url, options.jobs, max(folder.glob("out-*")))
            for who, (wall, cpu) in (("runner", ours), ("example", theirs)):
                told = (
                    f"{options.jobs / wall:7.1f} jobs/s   {1000 * cpu / options.jobs:6.2f} ms of processor time a job"
                )
                print(f"{who:8}{told}")
            print(f"{'ratio':8}{theirs[0] / ours[0]:7.2f}")
        if options.profile:
            pstats.Stats(profiler).sort_stats("tottime").print_stats(30)


if __name__ == "__main__":
    main()
