"""What reference-only costs over plain sampling, on random weights of SD 1.5's size.

    python tests/benchmarks/bench_reference.py [--batch 4] [--size 256] [--rounds 5] [--steps 4]

A run of a few sampling steps is the unit. Plain and referenced runs alternate, each referenced one is divided by the
mean of the plain ones before and after it, and the median over the rounds is printed: other load on the machine moves
both. On a CPU that has other work to do, read the ratio of processor times, which waiting does not lengthen. On a CUDA
device the peak memory is printed too.
"""

from __future__ import annotations

import argparse
import math
import platform
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tools"))
from defectforge.nodes.algorithms.reference.bank import BankCache
from defectforge.nodes.reference.adapter import attach
from defectforge.nodes.reference.config import build_references
from reference_harness import Embedded

#: The schedule that a run takes its first `--steps` steps of.
SIGMAS = (9.0, 6.0, 4.0, 3.0, 2.0, 1.5, 1.0, 0.7, 0.4)

#: name -> settings, whether features are already there, and the target ratio (None: for information).
VARIANTS: dict[str, tuple[dict[str, Any], bool, float | None]] = {
    "Balanced, first run, exact contexts": ({"style_fidelity": 0.5}, False, 1.45),
    "Balanced, first run, shared context": ({"style_fidelity": 0.5, "contexts": "shared"}, False, 1.30),
    "Balanced, cached": ({"style_fidelity": 0.5}, True, 1.20),
    "ControlNet more important, first run": ({"style_fidelity": 1.0}, False, 1.25),
    "ControlNet more important, cached": ({"style_fidelity": 1.0}, True, 1.10),
    "Local, 10 % masks, inpainting, cached": ({"style_fidelity": 0.5, "local": True}, True, 1.05),
}


def build(dtype: torch.dtype, device: torch.device, layout: Any = None) -> Any:
    """A MODEL of SD 1.5's size (or of another `UNetLayout`) with random weights."""
    from defectforge.runner.embedded.engine.layout import UNetLayout
    from defectforge.runner.embedded.engine.model.diffusion import DiffusionModel
    from defectforge.runner.embedded.engine.model.model import EmbeddedModel
    from defectforge.runner.embedded.engine.model.model_sampling import ModelSampling
    from defectforge.runner.embedded.engine.model.unet import LatentUNet
    from defectforge.runner.embedded.engine.random_weights.random_tensors import unet_shapes

    layout = layout or UNetLayout()
    weights = {}
    for shape in unet_shapes(layout):
        size = tuple(shape.shape)
        gain = 0.8 / math.sqrt(math.prod(size[1:])) if len(size) > 1 else 0.05
        weights[shape.name] = torch.randn(size).mul_(gain).add_(float(len(size) == 1 and shape.name.endswith("weight")))
    network = LatentUNet.from_ldm(weights, layout, dtype).to(device)
    print(f"{sum(p.numel() for p in network.parameters()) / 1e6:.1f} M parameters", flush=True)
    return EmbeddedModel(DiffusionModel(network, ModelSampling(), device))


def disc(side: int, share: float) -> torch.Tensor:
    """A disc that covers `share` of a side x side picture, ``[1, side, side]``."""
    axis = torch.linspace(-0.5, 0.5, side)
    distance = (axis[:, None].square() + axis[None].square()).sqrt()
    return (distance <= math.sqrt(share / math.pi)).float().unsqueeze(0)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--size", type=int, default=256, help="pixels")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=4, choices=range(1, len(SIGMAS)), help="of one run")
    parser.add_argument("--dtype", default="float32", choices=["float32", "float16", "bfloat16"])
    parser.add_argument("--mode", default="reference_adain+attn")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--group", type=int, default=1, help="referenced runs between two plain ones")
    parser.add_argument("--only", default="", help="part of the names of the variants to measure")
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    harness = Embedded()
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    torch.manual_seed(0)
    model = build(getattr(torch, given.dtype), device)
    side = given.size // 8
    noise, reference = torch.randn(given.batch, 4, side, side), torch.randn(1, 4, side, side) / 0.18215
    prompts = {"positive": [[torch.randn(1, 77, 768), {}]], "negative": [[torch.randn(1, 77, 768), {}]]}
    name = torch.cuda.get_device_name() if device.type == "cuda" else f"{platform.processor() or 'CPU'}"
    print(
        f"{name}, {given.threads} threads, {given.dtype}, torch {torch.__version__}; batch {given.batch}, "
        f"{given.size} px, {given.mode}, runs of {given.steps} steps with two sides of guidance",
        flush=True,
    )

    sigmas = torch.tensor(SIGMAS[: given.steps + 1])

    def run(patched: Any, noise_mask: torch.Tensor | None = None) -> tuple[float, float]:
        guider = harness.guider(patched, prompts, 7.5)
        if device.type == "cuda":
            torch.cuda.synchronize()
        wall, processor = time.perf_counter(), time.process_time()
        guider.sample(noise, torch.zeros_like(noise), harness.sampler(), sigmas, noise_mask, None, True, 1)
        if device.type == "cuda":
            torch.cuda.synchronize()
        return time.perf_counter() - wall, time.process_time() - processor

    def variant(settings: dict[str, Any], cached: bool) -> Callable[[], tuple[float, float]]:
        settings = dict(settings)
        cache = BankCache(2**34, None)
        contexts = settings.pop("contexts", "exact")
        masks = disc(given.size, 0.1) if settings.pop("local", False) else None
        # A hole is inpainted: the noise mask is the target mask and holds the surroundings.
        noise_mask = None if masks is None else masks.unsqueeze(1)
        references = build_references(model, reference, masks=masks, target=masks, mode=given.mode, **settings)
        patched = attach(model, references, contexts=contexts, cache=cache)

        def measure() -> tuple[float, float]:
            if cached and not len(cache):
                run(patched, noise_mask)
            elif not cached:
                cache.clear()
            return run(patched, noise_mask)

        return measure

    chosen = {key: value for key, value in VARIANTS.items() if given.only in key}
    measures = {key: variant(settings, cached) for key, (settings, cached, _) in chosen.items()}
    ratios: dict[str, list[tuple[float, float]]] = {key: [] for key in chosen}
    peaks: dict[str, float] = {}
    run(model)
    before = run(model)
    plains = [before]
    for number in range(given.rounds):
        for group in (list(measures)[i : i + given.group] for i in range(0, len(measures), given.group)):
            taken = {}
            for key in group:
                if device.type == "cuda":
                    torch.cuda.reset_peak_memory_stats()
                taken[key] = measures[key]()
                if device.type == "cuda":
                    peaks[key] = torch.cuda.max_memory_allocated() / 2**20
            after = run(model)
            plains.append(after)
            for key, (wall, processor) in taken.items():
                ratios[key].append((2 * wall / (before[0] + after[0]), 2 * processor / (before[1] + after[1])))
                print(f"round {number + 1}: {key}: {ratios[key][-1][0]:.3f}, {ratios[key][-1][1]:.3f}", flush=True)
            before = after
    walls, processors = (statistics.median(plain[i] for plain in plains) for i in (0, 1))
    print(f"\nplain run: {walls:.2f} s, processor {processors:.2f} s")
    print("| | ratio to plain (median) | lowest..highest | processor time | target |" + (" peak MB |" if peaks else ""))
    print("|---|---|---|---|---|" + ("---|" if peaks else ""))
    for key, (_, _, target) in chosen.items():
        times, work = ([pair[i] for pair in ratios[key]] for i in (0, 1))
        peak = f" {peaks[key]:.0f} |" if peaks else ""
        print(
            f"| {key} | {statistics.median(times):.2f}x | {min(times):.2f}..{max(times):.2f} | "
            f"{statistics.median(work):.2f}x | {'' if target is None else f'<= {target:.2f}x'} |{peak}"
        )


if __name__ == "__main__":
    main()
