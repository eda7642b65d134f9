"""The rows of `gpu.sh`: what reference-only, compiling and the embedded server cost on a graphics card.

    python tests/benchmarks/bench_gpu.py [--tiny] [--minutes 7.5]

Random weights of SD 1.5's size in half precision at 512 px; a picture is 20 steps with two sides of guidance. Plain
runs stand before and after each measured one, and their mean is what it is divided by. A part for which no time is left
is left out, and that is said; an interrupted run prints what it has.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import platform
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tools"))
import bench_embedded_vs_comfyui as servers
from bench_reference import build, disc
from defectforge.nodes.algorithms.reference.bank import BankCache
from defectforge.nodes.reference.adapter import attach
from defectforge.nodes.reference.config import build_references
from defectforge.runner.embedded.engine.layout import UNetLayout
from defectforge.runner.embedded.engine.random_weights.random_checkpoint import SMALL, write, write_sd15_size
from reference_harness import Embedded

#: name -> settings of the reference, whether its features are already there.
REFERENCES: dict[str, tuple[dict[str, Any], bool]] = {
    "reference-only, balanced, first run": ({"style_fidelity": 0.5}, False),
    "reference-only, balanced, cached": ({"style_fidelity": 0.5}, True),
    "reference-only, ControlNet more important, cached": ({"style_fidelity": 1.0}, True),
    "local reference, 10 % masks, first run": ({"style_fidelity": 0.5, "local": True}, False),
    "local reference, 10 % masks, cached": ({"style_fidelity": 0.5, "local": True}, True),
}


@dataclass
class Bench:
    """One model, its noise and prompts, and the rows measured so far."""

    device: torch.device
    dtype: torch.dtype
    layout: UNetLayout
    size: int
    steps: int
    rounds: int
    tiny: bool = False
    rows: list[tuple[str, str, str, str]] = field(default_factory=list)

    def __post_init__(self) -> None:
        torch.manual_seed(0)
        self.harness = Embedded()
        self.model = build(self.dtype, self.device, self.layout)
        side = self.size // 8
        self.noise, self.reference = torch.randn(1, 4, side, side), torch.randn(1, 4, side, side) / 0.18215
        width = self.layout.context_dim
        self.prompts = {"positive": [[torch.randn(1, 77, width), {}]], "negative": [[torch.randn(1, 77, width), {}]]}
        self.sigmas = torch.linspace(9.0, 0.0, self.steps + 1)

    def run(self, model: Any, mask: torch.Tensor | None = None) -> float:
        """Seconds of one picture."""
        guider = self.harness.guider(model, self.prompts, 7.5)
        self._wait()
        start = time.perf_counter()
        guider.sample(
            self.noise, torch.zeros_like(self.noise), self.harness.sampler(), self.sigmas, mask, None, True, 1
        )
        self._wait()
        return time.perf_counter() - start

    def _wait(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize()

    def peak(self, start: bool = False) -> str:
        """Peak of the device's memory since the last start, in MB."""
        if self.device.type != "cuda":
            return "-"
        if start:
            torch.cuda.reset_peak_memory_stats()
        return f"{torch.cuda.max_memory_allocated() / 2**20:.0f}"

    def referenced(self, settings: dict[str, Any], cached: bool) -> Callable[[], float]:
        settings = dict(settings)
        cache = BankCache(2**34, None)
        masks = disc(self.size, 0.1) if settings.pop("local", False) else None
        noise_mask = None if masks is None else masks.unsqueeze(1)
        references = build_references(
            self.model, self.reference, masks=masks, target=masks, mode="reference_only", **settings
        )
        patched = attach(self.model, references, cache=cache)

        def measure() -> float:
            if not cached:
                cache.clear()
            elif not len(cache):
                self.run(patched, noise_mask)
            return self.run(patched, noise_mask)

        measure()  # what is compiled, chosen or allocated at first is not the picture's cost
        return measure

    def compared(self, name: str, measure: Callable[[], float], plain: Callable[[], float]) -> None:
        """One row: seconds for a picture, and against the plain ones around it."""
        ratios, seconds = [], []
        self.peak(start=True)
        for _ in range(self.rounds):
            before, taken, after = plain(), measure(), plain()
            seconds.append(taken)
            ratios.append(2 * taken / (before + after))
        self.row(name, f"{statistics.median(seconds):.3f}", f"{statistics.median(ratios):.2f}x", self.peak())

    def row(self, name: str, seconds: str, ratio: str, peak: str) -> None:
        self.rows.append((name, seconds, ratio, peak))
        print(f"  {name}: {seconds} s, {ratio}, peak {peak} MB", file=sys.stderr, flush=True)


def plain_and_references(bench: Bench) -> None:
    def plain() -> float:
        return bench.run(bench.model)

    plain()
    bench.peak(start=True)
    bench.row("plain", f"{statistics.median(plain() for _ in range(bench.rounds)):.3f}", "1.00x", bench.peak())
    for name, (settings, cached) in REFERENCES.items():
        bench.compared(name, bench.referenced(settings, cached), plain)


def compiled(bench: Bench) -> None:
    """The same network through torch.compile, with and without a reference, against the plain one."""

    def plain() -> float:
        return bench.run(bench.model)

    network = bench.model.model.diffusion_model
    forward = network.forward
    reference = bench.referenced({"style_fidelity": 0.5}, True)
    # In miniature without the compiler behind it, which takes minutes on a CPU.
    quick = torch.compile(forward, backend="eager" if bench.tiny else "inductor")

    def on(measure: Callable[[], float]) -> Callable[[], float]:
        def measured() -> float:
            network.forward = quick
            try:
                return measure()
            finally:
                network.forward = forward

        return measured

    for name, measure in (("plain, compiled", plain), ("reference-only, balanced, cached, compiled", reference)):
        start = time.perf_counter()
        on(measure)()
        print(f"  compiling for '{name}' took {time.perf_counter() - start:.0f} s", file=sys.stderr, flush=True)
        bench.compared(name, on(measure), plain)


def embedded_against_comfyui(bench: Bench) -> None:
    """A whole graph on both servers, in turn; the ratio is embedded / ComfyUI."""
    with tempfile.TemporaryDirectory() as scratch, contextlib.ExitStack() as stack:
        from defectforge.runner.embedded import launch

        base = Path(scratch)
        models, checkpoint = base / "models", "random.safetensors"
        (models / "checkpoints").mkdir(parents=True)
        (base / "comfyui").mkdir()
        file = models / "checkpoints" / checkpoint
        if bench.tiny:
            write(file)
        else:
            write_sd15_size(file, vae="tiny")
        device = bench.device.type
        theirs = stack.enter_context(servers.comfyui(models, base / "comfyui", device))
        folders = {name: base / name for name in ("input", "output", "temp")}
        ours = stack.enter_context(launch.start(models=[models], **folders, device=device, log=base / "log.txt")).url
        settings = argparse.Namespace(size=bench.size, batch=1, steps=bench.steps)
        taken: dict[str, list[float]] = {ours: [], theirs: []}
        for number in range(bench.rounds + 1):
            for url in (ours, theirs) if number % 2 else (theirs, ours):
                seconds = servers.seconds(url, servers.graph(checkpoint, number, settings))
                taken[url] += [seconds] if number else []
        mine, other = (statistics.median(taken[url]) for url in (ours, theirs))
        bench.row("whole graph, ComfyUI", f"{other:.3f}", "1.00x", "-")
        bench.row("whole graph, embedded server", f"{mine:.3f}", f"{mine / other:.2f}x", "-")


PARTS = {
    "plain and reference-only": plain_and_references,
    "embedded server against ComfyUI": embedded_against_comfyui,
    "compiled": compiled,
}
#: Minutes that a part may take on a card; it is not begun with less left.
NEEDS = {"plain and reference-only": 1.5, "embedded server against ComfyUI": 2.5, "compiled": 2.5}


def lines(bench: Bench, notes: list[str]) -> Iterator[str]:
    cuda = bench.device.type == "cuda"
    card = torch.cuda.get_device_name() if cuda else f"CPU ({platform.processor() or platform.machine()})"
    yield (
        f"{card}, torch {torch.__version__}, {str(bench.dtype).removeprefix('torch.')}, {bench.size} px, {bench.steps} "
        f"steps, batch 1, {bench.rounds} rounds"
    )
    yield ""
    yield "| | s for a picture | against plain | peak MB |"
    yield "|---|---|---|---|"
    for row in bench.rows:
        yield "| " + " | ".join(row) + " |"
    for note in notes:
        yield f"\nLeft out: {note}"


def main() -> None:
    """Measure the parts and print one table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tiny", action="store_true", help="on the CPU, small: shows that the script runs")
    parser.add_argument("--minutes", type=float, default=7.5)
    given = parser.parse_args()
    end = time.monotonic() + 60 * given.minutes
    if given.tiny:
        layout = replace(SMALL, model_channels=64)
        bench = Bench(torch.device("cpu"), torch.float32, layout, 64, 1, 1, tiny=True)
    elif torch.cuda.is_available():
        bench = Bench(torch.device("cuda"), torch.float16, UNetLayout(), 512, 20, 5)
    else:
        raise SystemExit("no CUDA device: run it where one is, or with --tiny to see that it runs")
    notes = []
    for name, part in PARTS.items():
        if not given.tiny and (end - time.monotonic()) / 60 < NEEDS[name]:
            notes.append(f"{name}: no time left")
            continue
        print(f"{name} ...", file=sys.stderr, flush=True)
        try:
            with torch.inference_mode():
                part(bench)
        except KeyboardInterrupt:
            notes.append(f"{name}, in part or whole: the time was up")
            break
        except (Exception, SystemExit) as error:  # one part that cannot be had here does not cost the others
            notes.append(f"{name}: {str(error).strip().splitlines()[0][:200] if str(error).strip() else error!r}")
    print("\n".join(lines(bench, notes)))
    if given.tiny:
        print("\nIn miniature on a CPU: these figures say nothing of a card.")
    sys.stdout.flush()
    # Threads of a compiler may still be waiting.
    os._exit(0)


if __name__ == "__main__":
    main()
