"""Encode the pool once: latents of every picture in two of its eight symmetric poses, and the captions' contexts.

    python tests/tools/miniature/cache.py --work DIR

Writes DIR/latents.pt (latents, masks at latent size, kinds, zoom) and DIR/contexts.pt.
"""

from __future__ import annotations

import argparse
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from captions import everything
from common import log, save_atomically, shard_files
from text import contexts
from trained import TrainedVae

VISIBLE = 0.004  # share of the crop above which the defect counts as in the picture


def pose(pictures: torch.Tensor, number: int) -> torch.Tensor:
    """One of the eight symmetries of the square, over the last two axes."""
    turned = torch.rot90(pictures, number % 4, (-2, -1))
    return turned.flip(-1) if number >= 4 else turned


def encode_shard(work: Path, number: int, poses: int, device: str) -> dict[str, torch.Tensor]:
    """Latents, masks, kinds and zooms of one shard."""
    torch.set_num_threads(1)
    vae = TrainedVae(work / "vae.pt", device, fast=True)
    rng = np.random.default_rng([5, number])
    file = np.load(shard_files(work / "pool")[number])
    pictures, shapes, views = file["pictures"], file["masks"], file["views"]
    rows: dict[str, list] = {"latents": [], "masks": [], "kinds": [], "zooms": []}
    for nut in range(len(pictures)):
        batch = []
        for window in range(2):
            both = torch.from_numpy(pictures[nut, window]).permute(0, 3, 1, 2)  # sound and broken
            mask = torch.from_numpy(shapes[nut, window])[None]
            for turn in rng.choice(8, poses, replace=False):
                # Both halves of a pair in the same pose, side by side, for the instruction variant.
                batch.append(pose(both, turn))
                rows["masks"].append(F.max_pool2d(pose(mask, turn).float()[None] / 255, 8)[0].to(torch.uint8))
                seen = (shapes[nut, window] > 127).mean() > VISIBLE
                rows["kinds"].append(torch.tensor(int(file["kinds"][nut]) if seen else -1))
                rows["zooms"].append(torch.tensor(float(views[nut, window, 2])))
        latents = vae.encode(torch.cat(batch)).half()
        rows["latents"] += list(latents.view(-1, 2, *latents.shape[1:]))
    return {key: torch.stack(value) for key, value in rows.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--poses", type=int, default=2)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    options = parser.parse_args()
    if not (options.work / "contexts.pt").exists():
        texts = everything()
        save_atomically({"texts": texts, "contexts": contexts(texts).half()}, options.work / "contexts.pt")
        log(options.work, "cache", f"{len(texts)} captions")
    count = len(shard_files(options.work / "pool"))
    with ProcessPoolExecutor(options.workers, get_context("spawn")) as workers:
        jobs = [workers.submit(encode_shard, options.work, i, options.poses, options.device) for i in range(count)]
        shards = [job.result() for job in jobs]
    # latents [N, 2 (sound, broken), 4, 16, 16] of unit variance; masks [N, 1, 16, 16]; kinds [N], -1: not in sight
    state = {key: torch.cat([shard[key] for shard in shards]) for key in shards[0]}
    save_atomically(state, options.work / "latents.pt")
    values = state["latents"].float()
    mean, std = values.mean((0, 1, 3, 4)).tolist(), values.std((0, 1, 3, 4)).tolist()
    log(options.work, "cache", f"{len(values)} pairs, mean {mean} std {std}")


if __name__ == "__main__":
    main()
