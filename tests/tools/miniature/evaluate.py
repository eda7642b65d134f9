"""Measure the shipped miniature on the embedded engine: the numbers and the sample sheets of docs/miniature.md.

    python tests/tools/miniature/evaluate.py --work DIR [--count 64]

Writes docs/miniature_numbers.json and docs/images/miniature_*.jpg. DIR holds the training pool (for the classifier).
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from captions import P1
from classifier import HoleClassifier, shrunk, trained_classifier
from defectforge.nodes.algorithms import masks
from defectforge.nodes.algorithms.compositing import crops, fills
from defectforge.nodes.algorithms.placement import holes
from defectforge.runner.checkpoints import miniature
from defectforge.runner.embedded.engine.loading.checkpoint import Checkpoint, load_checkpoint
from defectforge.runner.embedded.engine.sampling.sampling import ksampler
from defectforge.runner.nuts import View, draw_defect, draw_nut
from defectforge.runner.nuts.photo import Nut
from defectforge.runner.nuts.shape import look
from PIL import Image

SIDE, STEPS, CFG, SAMPLER, SCHEDULER = 128, 20, 7.0, "euler_ancestral", "normal"
HELD_OUT = 500_000  # seeds that no training picture has
DOCS = Path(__file__).parents[3] / "docs"


class Bench:
    """The loaded checkpoint and what is measured on it. Pictures are IMAGE tensors ``[B, H, W, 3]``, 0..1."""

    def __init__(self, checkpoint: Checkpoint, classifier: HoleClassifier) -> None:
        assert checkpoint.clip is not None and checkpoint.vae is not None
        self.model, self.vae, self.clip = checkpoint.model, checkpoint.vae, checkpoint.clip
        self.classifier = classifier
        self.negative = self.clip.encode("")

    def sample(self, prompt: Any, latent: dict[str, Any], seed: int, denoise: float = 1.0, cfg: float = CFG) -> Any:
        """Pictures for a prompt, or for a conditioning."""
        positive = self.clip.encode(prompt) if isinstance(prompt, str) else prompt
        settings = (seed, STEPS, cfg, SAMPLER, SCHEDULER)
        quiet = lambda *_: None  # noqa: E731 -- there is no server to report steps to
        result = ksampler(self.model, *settings, positive, self.negative, latent, denoise=denoise, callback=quiet)
        return self.vae.decode(result["samples"])

    def text_to_image(self, prompt: str, count: int, seed: int, batch: int = 16) -> torch.Tensor:
        parts = []
        for start in range(0, count, batch):
            latent = {"samples": torch.zeros(min(batch, count - start), 4, SIDE // 8, SIDE // 8)}
            parts.append(self.sample(prompt, latent, seed + start))
        return torch.cat(parts)

    @torch.no_grad()
    def holes_in(self, pictures: torch.Tensor) -> torch.Tensor:
        return self.classifier(shrunk(pictures.movedim(-1, 1))) > 0


def as_image(pictures: list[np.ndarray]) -> torch.Tensor:
    return torch.from_numpy(np.stack(pictures)).float() / 255


def psnr(a: torch.Tensor, b: torch.Tensor) -> float:
    return float((-10 * torch.log10(((a - b) ** 2).mean((1, 2, 3)))).mean())


def autoencoder(bench: Bench, count: int) -> dict[str, float]:
    """Reconstruction of held-out nuts: whole, with holes, and zoomed."""
    sets = {
        "sound": as_image([draw_nut(HELD_OUT + i, SIDE) for i in range(count)]),
        "hole": as_image([draw_defect(HELD_OUT + i, "hole", SIDE)[0] for i in range(count)]),
        "hole, zoomed 2x": as_image(
            [draw_defect(HELD_OUT + i, "hole", SIDE, view=View(half=0.5))[0] for i in range(count)]
        ),
    }
    return {name: psnr(x, bench.vae.decode(bench.vae.encode(x))) for name, x in sets.items()}


def image_to_image(bench: Bench, count: int) -> dict[str, Any]:
    """Sound photos through img2img with the defect prompt at the study's two strengths."""
    photos = as_image([draw_nut(HELD_OUT + 1000 + i, SIDE) for i in range(count)])
    latents = {"samples": bench.vae.encode(photos)}
    reference = bench.vae.decode(latents["samples"])
    out: dict[str, Any] = {}
    rows = [photos[:8]]
    for strength in (0.3, 0.75):
        made = bench.sample(P1, latents, 77, denoise=strength)
        holes_share = float(bench.holes_in(made).float().mean())
        out[str(strength)] = {"psnr_to_photo": psnr(made, reference), "holes": holes_share}
        rows.append(made[:8])
    save_sheet(torch.cat(rows), "miniature_img2img.jpg", 8)
    return out


def inpainting(
    bench: Bench, count: int, context: float, batch: int = 16, sheet: str = "miniature_inpaint.jpg"
) -> dict[str, Any]:
    """`latent noise` over a placed mask on a working crop: does a hole appear inside the mask?"""
    crops_before, softs, contents, cells = [], [], [], []
    for i in range(count):
        seed = HELD_OUT + 2000 + i
        photo = as_image([draw_nut(seed, 512)])[0]
        part = look(Nut(seed).shape, View(), 512).alpha > 0.5
        label = holes.place_holes(part, seed).label
        denoise = masks.grow_and_feather(label, 6.0, 8.0)
        window = crops.window_around(denoise, label, SIDE, context)
        small = crops.crop(photo, window, SIDE, SIDE)
        mask = crops.crop_mask(torch.from_numpy(denoise), window, SIDE, SIDE)
        pixels, blurred = fills.prepare(small, mask, fills.MaskedContent.LATENT_NOISE, 4.0)
        coarse = torch.from_numpy(blurred.astype(np.float32) / 255)[None]
        cells.append((F.interpolate(coarse[None], (SIDE // 8, SIDE // 8), mode="area")[0] > 0.5).float())
        crops_before.append(small)
        softs.append(mask[..., None])
        contents.append(pixels)
    first, soft, holes_mask = torch.stack(crops_before), torch.stack(softs), torch.stack(cells)
    parts = []
    for start in range(0, count, batch):
        rows = slice(start, min(start + batch, count))
        latent = bench.vae.encode(torch.stack(contents[rows]))
        latent = fills.set_latent_content(latent, holes_mask[rows], fills.MaskedContent.LATENT_NOISE, start)
        parts.append(bench.sample(P1, {"samples": latent, "noise_mask": holes_mask[rows, 0]}, start))
    second = first * (1 - soft) + torch.cat(parts) * soft
    dark = [(p.mean(-1)[m[..., 0] > 0.5] < 60 / 255).float().mean() > 0.05 for p, m in zip(second, soft, strict=True)]
    found = bench.holes_in(second) & ~bench.holes_in(first)
    save_sheet(torch.cat([first[:12], second[:12]]), sheet, 12)
    return {
        "hole_found": float(found.float().mean()),
        "hole_found_and_dark_core_in_mask": float((found & torch.stack(dark)).float().mean()),
        "hole_before": float(bench.holes_in(first).float().mean()),
        "context": context,
    }


def samples(bench: Bench, count: int, seed: int) -> dict[str, float]:
    """Share of pictures in which the classifier sees a hole, by prompt."""
    sheets, shares = [], {}
    for prompt in ("hazelnut", P1):
        pictures = bench.text_to_image(prompt, count, seed)
        shares[prompt] = float(bench.holes_in(pictures).float().mean())
        sheets.append(pictures[:16])
    save_sheet(torch.cat(sheets), "miniature_samples.jpg", 8)
    return shares


def save_sheet(pictures: torch.Tensor, name: str, columns: int) -> None:
    values = (pictures.clamp(0, 1) * 255).round().to(torch.uint8).numpy()
    rows = [np.concatenate(list(values[i : i + columns]), 1) for i in range(0, len(values), columns)]
    (DOCS / "images").mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.concatenate(rows, 0)).save(DOCS / "images" / name, quality=90)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--count", type=int, default=64)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--context", type=float, default=2.0, help="working crop's side over the mask's longer side")
    parser.add_argument("--data", type=Path, default=miniature.DATA, help="what export.py wrote")
    parser.add_argument("--only", nargs="*", help="measure these parts only, by their names in the numbers")
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    classifier, accuracy = trained_classifier(options.work)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "miniature.safetensors"
        digest = miniature.write_checkpoint("miniature", path, options.data)
        bench = Bench(load_checkpoint(path), classifier)
    parts = {
        "vae_psnr_db": lambda: autoencoder(bench, 64),
        "holes_found_share": lambda: samples(bench, options.count, options.seed),
        "img2img": lambda: image_to_image(bench, 16),
        "inpaint_latent_noise": lambda: inpainting(bench, options.count, options.context),
    }
    file = DOCS / "miniature_numbers.json"
    for name, measure in parts.items():
        if options.only and name not in options.only:
            continue
        result = measure()
        numbers = json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}
        if numbers.get("checkpoint_sha256") != digest:
            numbers = {"checkpoint_sha256": digest}  # numbers of other weights are dropped
        numbers["classifier_held_out_accuracy"] = accuracy
        numbers["settings"] = {"count": options.count, "steps": STEPS, "cfg": CFG, "sampler": SAMPLER}
        numbers[name] = result
        file.write_text(json.dumps(numbers, indent=1) + "\n", encoding="utf-8")
        print(name, json.dumps(result), flush=True)


if __name__ == "__main__":
    main()
