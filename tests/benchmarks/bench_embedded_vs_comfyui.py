"""How long the embedded server takes beside ComfyUI: the same graph on both, in turn, on the same machine.

    python tests/benchmarks/bench_embedded_vs_comfyui.py --models FOLDER [--rounds 7] [--size 256] [--steps 8]

FOLDER holds `checkpoints/random-sd15.safetensors` (or what --checkpoint names; it is written when it is missing).
ComfyUI is taken from COMFYUI_PATH or ~/comfy/ComfyUI, or a running one is named with --comfyui URL. Each round runs the
graph once on each server with a new seed, in alternating order; loading and text encoding are done before. Printed are
all pairs and the median of the ratios embedded / ComfyUI. Only a quiet machine gives a figure worth quoting.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import requests

ROOT = Path(__file__).resolve().parents[2]
Graph = dict[str, Any]


def graph(checkpoint: str, seed: int, args: argparse.Namespace) -> Graph:
    """Text to image, or inpainting of an encoded picture."""

    def node(class_type: str, **inputs: Any) -> dict[str, Any]:
        return {"class_type": class_type, "inputs": inputs}

    given = {
        "1": node("CheckpointLoaderSimple", ckpt_name=checkpoint),
        "2": node("CLIPTextEncode", clip=["1", 1], text="a defective hazelnut with a hole"),
        "3": node("CLIPTextEncode", clip=["1", 1], text="blurry"),
        "4": node("EmptyImage", width=args.size, height=args.size, batch_size=args.batch, color=0x806040),
        "5": node("VAEEncode", pixels=["4", 0], vae=["1", 2]),
        "6": node("SolidMask", value=1.0, width=args.size, height=args.size),
        "7": node("SetLatentNoiseMask", samples=["5", 0], mask=["6", 0]),
        "9": node("VAEDecode", samples=["8", 0], vae=["1", 2]),
        "10": node("PreviewImage", images=["9", 0]),
    }
    links = {"model": ["1", 0], "positive": ["2", 0], "negative": ["3", 0], "latent_image": ["7", 0]}
    settings = {"steps": args.steps, "cfg": 7.0, "sampler_name": "euler", "scheduler": "normal", "denoise": 1.0}
    given["8"] = node("KSampler", seed=seed, **settings, **links)
    return given


def seconds(url: str, prompt: Graph) -> float:
    """Time from queueing a prompt to its entry in the history."""
    start = time.perf_counter()
    reply = requests.post(f"{url}/prompt", json={"prompt": prompt, "client_id": uuid.uuid4().hex}, timeout=60)
    reply.raise_for_status()
    prompt_id = reply.json()["prompt_id"]
    while True:
        entry = requests.get(f"{url}/history/{prompt_id}", timeout=60).json().get(prompt_id)
        if entry is not None:
            if entry["status"]["status_str"] != "success":
                raise SystemExit(f"{url} failed: {entry['status']['messages'][-1]}")
            return time.perf_counter() - start
        time.sleep(0.01)


@contextlib.contextmanager
def comfyui(models: Path, base: Path, device: str = "cpu") -> Iterator[str]:
    """A ComfyUI with its own folders, on the CPU or on what it finds."""
    path = Path(os.environ.get("COMFYUI_PATH") or Path.home() / "comfy" / "ComfyUI").expanduser()
    if not (path / "main.py").is_file():
        raise SystemExit(f"no ComfyUI at {path}: set COMFYUI_PATH, or name a running one with --comfyui URL")
    own = path / ".venv" / "bin" / "python"
    python = os.environ.get("COMFYUI_PYTHON") or (str(own) if own.is_file() else sys.executable)
    for folder in ("input", "output", "temp", "user", "custom_nodes"):
        (base / folder).mkdir()
    (base / "models").symlink_to(models.resolve())
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [python, "main.py", "--disable-api-nodes", "--port", str(port), "--base-directory", str(base)]
    command += ["--cpu"] if device == "cpu" else []
    with (base / "log.txt").open("wb") as log:
        process = subprocess.Popen(command, cwd=path, stdout=log, stderr=subprocess.STDOUT)
    try:
        url = f"http://127.0.0.1:{port}"
        for _ in range(600):
            if process.poll() is not None:
                raise SystemExit(f"ComfyUI ended at once; its log is {base / 'log.txt'}")
            with contextlib.suppress(requests.ConnectionError):
                if requests.get(f"{url}/system_stats", timeout=5).ok:
                    break
            time.sleep(0.3)
        yield url
    finally:
        process.terminate()
        process.wait(30)


def main() -> None:
    """Runs the pairs and prints them."""
    from defectforge.runner.embedded import launch
    from defectforge.runner.embedded.engine.random_weights.random_checkpoint import write

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", type=Path, required=True)
    parser.add_argument("--checkpoint", default="random-sd15.safetensors")
    parser.add_argument("--comfyui", metavar="URL", help="a running ComfyUI that has the same models")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--size", type=int, default=256)
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--steps", type=int, default=8)
    args = parser.parse_args()
    file = args.models / "checkpoints" / args.checkpoint
    if not file.is_file():
        write(file)
    with contextlib.ExitStack() as stack:
        base = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        (base / "comfyui").mkdir()
        theirs = args.comfyui or stack.enter_context(comfyui(args.models, base / "comfyui"))
        folders = {name: base / name for name in ("input", "output", "temp")}
        server = launch.start(models=[args.models], **folders, device="cpu", log=base / "log.txt")
        ours = stack.enter_context(server).url
        for url in (theirs, ours):
            seconds(url, graph(args.checkpoint, 0, args))  # loads and warms up
        ratios = []
        for n in range(1, args.rounds + 1):
            order = [theirs, ours] if n % 2 else [ours, theirs]
            took = {url: seconds(url, graph(args.checkpoint, n, args)) for url in order}
            ratios.append(took[ours] / took[theirs])
            print(f"{n}: ComfyUI {took[theirs]:.2f} s, embedded {took[ours]:.2f} s, ratio {ratios[-1]:.3f}", flush=True)
        print(f"load average {os.getloadavg()[0]:.1f}; median ratio {statistics.median(ratios):.3f}")


if __name__ == "__main__":
    main()
