"""Every shipped workflow with random weights, which forgive nothing: the embedded server paints what ComfyUI paints.

What comes out of the decoder is compared, before anything is chosen or blended; where nothing is decoded, the result.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from defectforge.runner.embedded import launch
from defectforge.runner.graphs.export import api_path
from defectforge.runner.graphs.graph import upstream
from PIL import Image
from small_runs import SMALL, in_both

pytestmark = [pytest.mark.comfyui, pytest.mark.slow]

#: Decibels, after rounding to 8 bits: of 2,000 values one may differ by one step.
AGREEMENT = 80.0
#: The shipped checkpoints' names and the random ones of the same kind; the embedded server has no SDXL, but its graphs
#: run with Stable Diffusion 1.5 in both.
KINDS = {
    "v1-5-pruned-emaonly-fp16.safetensors": "random-sd15.safetensors",
    "instruct-pix2pix-00-22000.safetensors": "random-sd15-ip2p.safetensors",
    "sd21-unclip-h.ckpt": "random-sd21-unclip.safetensors",
    "sd_xl_base_1.0.safetensors": "random-sd15.safetensors",
}
Graph = dict[str, Any]


def small(name: str) -> Graph:
    """The workflow as it is queued: on the nuts, with random weights, few steps, and previews in the saver's place."""
    graph: Graph = json.loads(api_path(name).read_text(encoding="utf-8"))
    kinds = {node_id: node["class_type"] for node_id, node in graph.items()}
    for node in graph.values():
        inputs = node["inputs"]
        inputs |= {key: value for key, value in SMALL.get(node["class_type"], {}).items() if inputs.get(key) != 0}
        if "ckpt_name" in inputs:
            inputs["ckpt_name"] = KINDS[inputs["ckpt_name"]]
        if "root" in inputs:
            inputs["root"] = "parity"
    (saver,) = (node_id for node_id, kind in kinds.items() if kind == "DefectForgeSaveDefectPair")
    shown = [[node_id, 0] for node_id, kind in kinds.items() if kind == "VAEDecode"] or [
        graph[saver]["inputs"]["image"]
    ]
    wanted = set().union(*({link[0]} | upstream(graph, link[0]) for link in shown))
    kept = {node_id: node for node_id, node in graph.items() if node_id in wanted}
    previews = {f"show{n}": {"class_type": "PreviewImage", "inputs": {"images": link}} for n, link in enumerate(shown)}
    return kept | previews


@pytest.fixture
def both(connect: Callable[..., Any], comfyui: Any, embedded_like: launch.RunningServer, nuts: Path) -> Any:
    """A connected client of ComfyUI, and one of the embedded server; both have the nuts."""
    clients = connect(comfyui.url), connect(embedded_like.url)
    for client in clients:
        client.connect()
        client.socket.settimeout(600)
        for path in nuts.rglob("*.png"):
            form = {"subfolder": f"parity/{path.parent.relative_to(nuts).as_posix()}", "overwrite": "true"}
            files = {"image": (path.name, path.read_bytes(), "image/png")}
            client.http.post(f"{client.url}/upload/image", files=files, data=form, timeout=60).raise_for_status()
    return clients


def pictures(client: Any, graph: Graph) -> np.ndarray:
    outcome = client.run(graph)
    assert outcome.history["status"]["completed"], outcome.history["status"]["messages"]
    found = [r for key, shown in outcome.history["outputs"].items() if key.startswith("show") for r in shown["images"]]
    opened = [Image.open(BytesIO(client.get("/view", **reference).content)).convert("RGB") for reference in found]
    return np.stack([np.asarray(picture, np.float64) for picture in opened]) / 255


@pytest.mark.parametrize("name", in_both())
def test_the_embedded_server_paints_comfyuis_picture(both, record_property, name):
    theirs, ours = (pictures(client, small(name)) for client in both)
    assert theirs.shape == ours.shape
    assert theirs.std() > 0.02, "a constant picture compares nothing"
    error = float(((theirs - ours) ** 2).mean())
    found = float("inf") if error == 0 else -10 * float(np.log10(error))
    record_property("psnr", found)
    assert found >= AGREEMENT
