"""Encode the pool once: latents of every picture in two of its eight symmetric poses, and the captions' contexts.

    python tests/tools/miniature/cache.py --work DIR

Writes DIR/latents.pt (latents, masks at latent size, kinds, zoom) and DIR/contexts.pt.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from captions import everything
from common import load_pool, log, save_atomically
from text import contexts
from trained import TrainedVae

VISIBLE = 0.004  # share of the crop above which the defect counts as in the picture


def pose(pictures: torch.Tensor, number: int) -> torch.Tensor:
    """One of the eight symmetries of the square, over the last two axes."""
    turned = torch.rot90(pictures, number % 4, (-2, -1))
    return turned.flip(-1) if number >= 4 else turned


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--poses", type=int, default=2)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    options = parser.parse_args()
    torch.set_num_threads(2)
    if not (options.work / "contexts.pt").exists():
        texts = everything()
        save_atomically({"texts": texts, "contexts": contexts(texts).half()}, options.work / "contexts.pt")
        log(options.work, "cache", f"{len(texts)} captions")
    vae = TrainedVae(options.work / "vae.pt", options.device)
    rng = np.random.default_rng(5)
    latents, masks, kinds, zooms = [], [], [], []
    folder = options.work / "pool"
    shards = zip(*(load_pool(folder, key) for key in ("pictures", "masks", "kinds", "views")), strict=True)
    for pictures, shapes, shard_kinds, views in shards:
        for nut in range(len(pictures)):
            for window in range(2):
                picture = torch.from_numpy(pictures[nut, window]).permute(0, 3, 1, 2)  # sound and broken
                mask = torch.from_numpy(shapes[nut, window])[None]
                for number in rng.choice(8, options.poses, replace=False):
                    # Both halves of a pair in the same pose, side by side, for the instruction variant.
                    latents.append(vae.encode(pose(picture, number)).half())
                    masks.append(F.max_pool2d(pose(mask, number).float()[None] / 255, 8)[0].to(torch.uint8))
                    seen = (shapes[nut, window] > 127).mean() > VISIBLE
                    kinds.append(int(shard_kinds[nut]) if seen else -1)
                    zooms.append(float(views[nut, window, 2]))
    state = {
        "latents": torch.stack(latents),  # [N, 2 (sound, broken), 4, 16, 16], unit variance
        "masks": torch.stack(masks),  # [N, 1, 16, 16]
        "kinds": torch.tensor(kinds),  # -1: the defect is outside of the window
        "zooms": torch.tensor(zooms),
    }
    save_atomically(state, options.work / "latents.pt")
    values = state["latents"].float()
    log(
        options.work,
        "cache",
        f"{len(values)} pairs, mean {values.mean((0, 1, 3, 4)).tolist()} std {values.std((0, 1, 3, 4)).tolist()}",
    )


if __name__ == "__main__":
    main()
