"""Time and memory of the nodes around the sampler on a large photo: `python tests/benchmarks/bench_big_photo.py`.

Load -> Object Mask -> Place Hole Mask -> Denoise Mask -> Crop for Defect -> (no sampler) -> Blend Defect -> Save Defect
Pair, as the inpainting workflows do, in one process that holds every result at once, as a server's cache does. Not a
test: a slow machine would fail it. The goal is 20 s and 3 GB for 96 MP.

    python tests/benchmarks/bench_big_photo.py --size 20000x2000 --holes 3
"""

from __future__ import annotations

import argparse
import os
import resource
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
from PIL import Image

NATIVE = 512


def write_photo(path: Path, width: int, height: int) -> None:
    """A grainy brown part before a dark ground, as a PNG: the slowest format to read and the largest to write."""
    rng = np.random.default_rng(0)
    y = np.linspace(-1, 1, height)[:, None]
    x = np.linspace(-1, 1, width)[None]
    part = (x / 0.75) ** 2 + (y / (0.7 - 0.1 * x)) ** 2 <= 1
    picture = Image.new("RGB", (width, height))
    for top in range(0, height, 512):
        rows = part[top : top + 512]
        strip = np.where(rows[..., None], np.uint8([150, 80, 50]), np.uint8([30, 30, 32]))
        picture.paste(Image.fromarray(strip + rng.integers(0, 6, strip.shape, np.uint8)), (0, top))
    path.parent.mkdir(parents=True)
    picture.save(path, compress_level=1)


def peak() -> float:
    """Largest resident memory of this process so far, in GB."""
    used = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return used * (1 if sys.platform == "darwin" else 1024) / 1e9


def now() -> float:
    """Resident memory of this process, in GB; 0 where the system does not say."""
    file = Path("/proc/self/statm")
    return int(file.read_text().split()[1]) * resource.getpagesize() / 1e9 if file.exists() else 0.0


def timed(name: str, work: Callable[[], Any]) -> Any:
    start, wall = time.process_time(), time.perf_counter()
    done = work()
    took = time.process_time() - start
    wall = time.perf_counter() - wall
    print(f"{name:<20} {took:6.1f} s of processor, {wall:6.1f} s in all   {now():5.2f} GB, peak {peak():5.2f} GB")
    return done


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--size", default="12000x8000", help="width x height, px")
    options.add_argument("--holes", type=int, default=1)
    asked = options.parse_args()
    width, height = map(int, asked.size.split("x"))
    with tempfile.TemporaryDirectory() as place:
        root = Path(place)
        photo = root / "input/big/part/train/good/000.png"
        if os.fork() == 0:  # drawing it is not what is measured
            write_photo(photo, width, height)
            os._exit(0)
        os.wait()
        run(root, photo, asked.holes)


def run(root: Path, photo: Path, holes: int) -> None:
    from defectforge.runner.embedded.api import standin

    standin.install()
    from defectforge.nodes import host
    from defectforge.nodes.blend_nodes import DefectForgeBlendDefect as Blend
    from defectforge.nodes.blend_nodes import DefectForgeDenoiseMask as Denoise
    from defectforge.nodes.dataset_nodes import DefectForgeLoadMVTec as Load
    from defectforge.nodes.inpaint_nodes import DefectForgeCropForDefect as Crop
    from defectforge.nodes.mask_nodes import DefectForgeObjectMask as Part
    from defectforge.nodes.mask_nodes import DefectForgePlaceHoleMask as Hole
    from defectforge.nodes.output_nodes import DefectForgeSaveDefectPair as Save
    from defectforge.runner.embedded import folders
    from defectforge.runner.embedded.host import EmbeddedHost

    places = folders.Folders(**{kind: root / kind for kind in ("input", "output", "temp")}, models=[root / "models"])
    places.create()
    folders._current = places
    host.install(EmbeddedHost("benchmark", "cpu"))
    print(f"{photo.stat().st_size / 1e6:.0f} MB of PNG; before the first node: peak {peak():.2f} GB")
    start, wall = time.process_time(), time.perf_counter()
    image, _, relative, _ = timed("load", lambda: Load.execute("big", "part", "train", "good", 0).args)
    part = timed("object mask", lambda: Part.execute(image, 1.0, 1.0, 0.5, "stop with an error").args)
    label, _, _ = timed(
        "place hole mask",
        lambda: Hole.execute(image, part[0], 1, holes, 0.002, 0.02, 3, 0.3, 64, 6.0, 8.0).args,
    )
    denoise, drawable, fine = timed("denoise mask", lambda: Denoise.execute(label, NATIVE, 0.0, 1.0, 2.0, 1.0).args)
    cut = timed("crop", lambda: Crop.execute(image, denoise, NATIVE, "around the mask", 0.0, drawable).args)
    dark = cut[0] * (1.0 - 0.9 * cut[1][..., None])  # what a sampler could have painted
    result, label = timed("blend", lambda: Blend.execute(cut[3], dark, 1, 8.0, 2.0, 1.0, 1.0, True, fine).args)
    Save.hidden = type("Hidden", (), {"prompt": None, "extra_pnginfo": None, "unique_id": None})
    timed("save", lambda: Save.execute(result, label, "big", "part", "hole", relative))
    print(
        f"{image.shape[2]}x{image.shape[1]} px: {time.process_time() - start:.1f} s of processor, "
        f"{time.perf_counter() - wall:.1f} s in all, peak {peak():.2f} GB"
    )


if __name__ == "__main__":
    main()
