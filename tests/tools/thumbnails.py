"""The thumbnails beside the workflows, made by running them on drawn nuts with the miniature.

    python tests/tools/thumbnails.py [NAME...] [--seed 3] [--count 1] [--out FOLDER] [--models FOLDER]

Each shows the result, with the photo it was made from in the corner and, where there is one, the reference. With a
count, FOLDER gets as many to choose from; without --out the files in `workflows` are replaced. img2prompt needs a
models folder that holds its captioning model.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from defectforge.runner.checkpoints import miniature
from defectforge.runner.checkpoints.choose_model import inpaints
from defectforge.runner.checkpoints.models import checkpoint_loaders
from defectforge.runner.commands.results.compare_command import ON_REQUEST
from defectforge.runner.embedded import launch
from defectforge.runner.graphs.export import api_path
from defectforge.runner.graphs.graph import SHIPPED, shipped_workflows
from defectforge.runner.nuts import write_dataset
from PIL import Image, ImageOps

SIZE, INSET, GAP = 448, 110, 8


def thumbnail(line: dict[str, Any], out: Path, data: Path) -> Image.Image:
    """One pair of a manifest as a picture."""
    picture = Image.open(out / line["image"]["path"]).convert("RGB").resize((SIZE, SIZE), Image.Resampling.LANCZOS)
    sources = [line["source"], *line["references"]]
    for number, source in enumerate(sources):
        inset = Image.open(data / source["path"]).convert("RGB").resize((INSET, INSET), Image.Resampling.LANCZOS)
        framed = ImageOps.expand(inset, 2, "white")
        picture.paste(framed, (GAP + number * (INSET + 4 + GAP), SIZE - INSET - 4 - GAP))
    return picture


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    drawable = [name for name in shipped_workflows() if name not in ON_REQUEST]  # see thumbnail_drawings.py
    parser.add_argument("names", nargs="*", default=drawable)
    parser.add_argument("--seed", type=int, default=3)
    parser.add_argument("--count", type=int, default=1)
    parser.add_argument("--out", type=Path, default=SHIPPED)
    parser.add_argument("--models", type=Path, action="append", default=[])
    parser.add_argument("--set", action="append", default=[], metavar="'Title.input=value'")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as scratch:
        data, models = Path(scratch) / "nuts", Path(scratch) / "models"
        write_dataset(data, n_good=4, n_defect=2, size=512, seed=21)
        (models / "checkpoints").mkdir(parents=True)
        for variant in miniature.table():
            miniature.write_checkpoint(variant, models / "checkpoints" / f"{variant}.safetensors")
        with launch.start(models=[models, *options.models], timeout=600.0) as server:
            for name in options.names:
                out = Path(scratch) / name
                command = [sys.executable, "-m", "defectforge.runner", "run", name, "--data", str(data)]
                graph = json.loads(api_path(name).read_text(encoding="utf-8"))
                model = "miniature-inpaint" if inpaints(graph) else "miniature"
                command += ["--category", "hazelnut", "--type", "hole", "--server", server.url]
                command += ["--model", model] if any(checkpoint_loaders(graph)) else []
                command += ["--count", str(options.count), "--seed", str(options.seed), "--out", str(out)]
                command += [part for value in options.set for part in ("--set", value)]
                subprocess.run(command, check=True)
                for line in (out / "manifest.jsonl").read_text(encoding="utf-8").splitlines():
                    entry = json.loads(line)
                    number = f"-{entry['seed']}" if options.count > 1 else ""
                    thumbnail(entry, out, data).save(options.out / f"{name}{number}.jpg", quality=82)


if __name__ == "__main__":
    main()
