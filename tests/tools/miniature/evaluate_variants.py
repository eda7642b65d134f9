"""Measure the miniature's variants on the embedded engine; adds to docs/miniature_numbers.json and docs/images.

    python tests/tools/miniature/evaluate_variants.py --work DIR [--count 32] [--only ip2p]

inpaint: a hole over a placed mask; ip2p: the study's instruction on whole photos, with its guidance; unclip: another
picture like a sound one, and like one with a hole. DIR holds the classifier of evaluate.py.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from captions import INSTRUCTIONS
from classifier import trained_classifier
from defectforge.runner.checkpoints import miniature
from defectforge.runner.embedded.core_nodes import conditioning, sampling
from defectforge.runner.embedded.engine.loading.checkpoint import load_checkpoint
from defectforge.runner.nuts import draw_defect, draw_nut
from evaluate import CFG, DOCS, HELD_OUT, SAMPLER, SCHEDULER, SIDE, STEPS, Bench, as_image, inpainting, psnr, save_sheet

IMAGE_CFG = 1.5  # instruct-pix2pix's own scale for the picture


def loaded(name: str, work: Path) -> tuple[Bench, Any]:
    """The bench of a variant, and its CLIP vision tower if it has one."""
    classifier, _ = trained_classifier(work)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"{name}.safetensors"
        miniature.write_checkpoint(name, path)
        checkpoint = load_checkpoint(path, with_vision=name.endswith("unclip"))
        return Bench(checkpoint, classifier), checkpoint.clip_vision


def instructed(bench: Bench, photos: torch.Tensor, text: str, seed: int) -> torch.Tensor:
    """Photos ``[B, H, W, 3]`` after an instruction, as the workflow `instruct_pix2pix` asks."""
    made = []
    for i, photo in enumerate(photos):
        empty = bench.clip.encode("")
        told, untold, latent = conditioning.instruct_pix_to_pix_conditioning(
            bench.clip.encode(text), empty, bench.vae, photo[None]
        )
        (guider,) = sampling.dual_cfg_guider(bench.model, told, untold, empty, CFG, IMAGE_CFG, "regular")
        (sigmas,) = sampling.basic_scheduler(bench.model, SCHEDULER, STEPS, 1.0)
        (sampler,) = sampling.k_sampler_select(SAMPLER)
        noise = sampling.ComfyNoise(seed + i).generate_noise(latent)
        made.append(bench.vae.decode(guider.sample(noise, latent["samples"], sampler, sigmas, seed=seed + i)))
    return torch.cat(made)


def inpaint(work: Path, count: int) -> dict[str, Any]:
    bench, _ = loaded("miniature-inpaint", work)
    return inpainting(bench, count, 2.0, sheet="miniature_variant_inpaint.jpg")


def ip2p(work: Path, count: int) -> dict[str, Any]:
    bench, _ = loaded("miniature-ip2p", work)
    photos = as_image([draw_nut(HELD_OUT + 3000 + i, SIDE) for i in range(count)])
    made = instructed(bench, photos, INSTRUCTIONS["hole"][0], seed=5)
    save_sheet(torch.cat([photos[:12], made[:12]]), "miniature_variant_ip2p.jpg", 12)
    known = bench.vae.decode(bench.vae.encode(photos))
    return {
        "psnr_to_photo": psnr(made, known),
        "psnr_of_other_photos": psnr(known.roll(1, 0), known),
        "holes": float(bench.holes_in(made).float().mean()),
    }


def unclip(work: Path, count: int) -> dict[str, Any]:
    bench, vision = loaded("miniature-unclip", work)
    out: dict[str, Any] = {}
    rows = []
    sets = {
        "sound": as_image([draw_nut(HELD_OUT + 4000 + i, SIDE) for i in range(count)]),
        "hole": as_image([draw_defect(HELD_OUT + 4000 + i, "hole", SIDE)[0] for i in range(count)]),
    }
    for name, photos in sets.items():
        made = []
        for i, photo in enumerate(photos):
            (seen,) = conditioning.clip_vision_encode(vision, photo[None], "center")
            (asked,) = conditioning.unclip_conditioning(bench.clip.encode(""), seen, 1.0, 0.0)
            latent = {"samples": torch.zeros(1, 4, SIDE // 8, SIDE // 8)}
            made.append(bench.sample(asked, latent, 6 + i))
        pictures = torch.cat(made)
        out[name] = {"holes": float(bench.holes_in(pictures).float().mean()), "psnr_to_photo": psnr(pictures, photos)}
        rows += [photos[:12], pictures[:12]]
    save_sheet(torch.cat(rows), "miniature_variant_unclip.jpg", 12)
    return out


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--count", type=int, default=32)
    parser.add_argument("--only", nargs="*", default=[])
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    parts: dict[str, Callable[[Path, int], dict[str, Any]]] = {"inpaint": inpaint, "ip2p": ip2p, "unclip": unclip}
    file = DOCS / "miniature_numbers.json"
    for name, measure in parts.items():
        if options.only and name not in options.only:
            continue
        if not miniature.available(f"miniature-{name}"):
            print(f"miniature-{name} has no weights here")
            continue
        result = measure(options.work, options.count)
        numbers = json.loads(file.read_text(encoding="utf-8"))
        sha256 = miniature.table()[f"miniature-{name}"]["sha256"]
        numbers.setdefault("variants", {})[name] = {"checkpoint_sha256": sha256, "count": options.count, **result}
        file.write_text(json.dumps(numbers, indent=1) + "\n", encoding="utf-8")
        print(name, json.dumps(result), flush=True)


if __name__ == "__main__":
    main()
