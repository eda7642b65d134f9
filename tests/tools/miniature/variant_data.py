"""What each variant is shown beside the noisy latents.

inpaint: the mask at latent size and the latents of the photo with the masked part greyed; ip2p: the latents of the
sound photo, and an instruction instead of a caption; unclip: an embedding of the picture itself, with noise.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from cache import VISIBLE, pose
from captions import INSTRUCTIONS, weighted
from common import load_pool, save_atomically
from defectforge.runner.checkpoints import random_vision_encoder
from defectforge.runner.embedded.engine.encoders.clip_vision import clip_vision_from_state_dict
from defectforge.runner.embedded.engine.model.unclip import NoiseAugmentation
from defectforge.runner.nuts import KINDS
from scipy import ndimage
from trained import TrainedVae

GREY = 0.5  # what ComfyUI's InpaintModelConditioning and VAEEncodeForInpaint put under the mask


@dataclass
class Example:
    target: torch.Tensor  # [4, 16, 16]
    extra: torch.Tensor  # [C, 16, 16], C = in_channels - 4
    text: str
    vector: torch.Tensor | None = None  # [2 * embedding]


def grown_mask(mask: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """What a denoise mask looks like: the label grown by a few pixels, often its hull or an ellipse around it."""
    shape = mask > 127
    if rng.random() < 0.5:
        rows, columns = np.nonzero(shape)
        y, x = np.ogrid[: mask.shape[0], : mask.shape[1]]
        cy, cx = (rows.min() + rows.max()) / 2, (columns.min() + columns.max()) / 2
        ry, rx = np.ptp(rows) / 2 + 2, np.ptp(columns) / 2 + 2
        shape = ((y - cy) / (1.15 * ry)) ** 2 + ((x - cx) / (1.15 * rx)) ** 2 < 1
    return ndimage.binary_dilation(shape, iterations=int(rng.integers(2, 9)))


def build_inpaint(work: Path, limit: int) -> None:
    """DIR/inpaint.pt: masks and masked latents of the pool's pairs in which the defect is visible, in two poses."""
    vae, rng = TrainedVae(work / "vae.pt", fast=True), np.random.default_rng(11)
    rows: dict[str, list] = {"targets": [], "extras": [], "kinds": [], "zoomed": []}
    shards = zip(*(load_pool(work / "pool", key) for key in ("pictures", "masks", "kinds", "views")), strict=True)
    for pictures, masks, kinds, views in shards:
        for nut, window in np.ndindex(len(pictures), 2):
            if (masks[nut, window] > 127).mean() <= VISIBLE or len(rows["kinds"]) >= limit:
                continue
            number = int(rng.integers(8))
            mask = torch.from_numpy(grown_mask(masks[nut, window], rng).astype(np.float32))[None, None]
            both = torch.from_numpy(pictures[nut, window]).permute(0, 3, 1, 2).float() / 255
            both, mask = pose(both, number), pose(mask, number)
            greyed = both[:1] * (1 - mask) + GREY * mask  # the pair differs inside the mask only
            latents = vae.encode(torch.cat([both, greyed]))
            small = F.interpolate(mask, size=(16, 16), mode="bilinear", antialias=False).round()
            rows["targets"].append(latents[:2].half())
            rows["extras"].append(torch.cat([small[0], latents[2]]).half())
            rows["kinds"].append(int(kinds[nut]))
            rows["zoomed"].append(bool(views[nut, window, 2] < 0.9))
    state = {key: torch.stack(value) if key in ("targets", "extras") else value for key, value in rows.items()}
    save_atomically(state, work / "inpaint.pt")


#: What lies under the mask in what the network is shown: grey, or the masked contents of the web UI's inpainting, which
#: servers hand over where only a noise mask is set.
CONTENTS = {"grey": 0.45, "noise": 0.35, "nothing": 0.1, "original": 0.1}


class InpaintData:
    """Broken targets with a defect prompt, and one in four sound targets with a sound prompt."""

    channels = 9
    vector: int | None = None

    def __init__(self, work: Path, limit: int = 1200) -> None:
        if not (work / "inpaint.pt").exists():
            build_inpaint(work, limit)
        self.state = torch.load(work / "inpaint.pt", weights_only=True)

    def draw(self, rng: np.random.Generator) -> Example:
        i = int(rng.integers(len(self.state["kinds"])))
        broken = rng.random() < 0.75
        options = weighted(KINDS[self.state["kinds"][i]] if broken else None, self.state["zoomed"][i])
        text = options[rng.choice(len(options), p=[p for _, p in options])][0]
        extra = self.state["extras"][i].float()
        return Example(self.state["targets"][i, int(broken)].float(), self.with_content(i, extra, rng), text)

    def with_content(self, i: int, extra: torch.Tensor, rng: np.random.Generator) -> torch.Tensor:
        """Mask and masked latents ``[5, 16, 16]`` with one of `CONTENTS` under the mask."""
        mask, latent = extra[:1], extra[1:]
        content = rng.choice(list(CONTENTS), p=list(CONTENTS.values()))
        if content == "grey":
            return extra
        under = {
            "noise": lambda: torch.from_numpy(rng.standard_normal(latent.shape).astype(np.float32)),
            "nothing": lambda: torch.zeros_like(latent),
            "original": lambda: self.state["targets"][i, 0].float(),
        }[content]()
        return torch.cat([mask, latent * (1 - mask) + under * mask])


class InstructData:
    """Sound photo and instruction in, broken photo out. One in ten pictures is withheld, as in InstructPix2Pix."""

    channels = 8
    vector: int | None = None

    def __init__(self, work: Path) -> None:
        pool = torch.load(work / "latents.pt", weights_only=True)
        self.latents, self.kinds = pool["latents"], pool["kinds"]
        self.members = torch.nonzero(self.kinds >= 0)[:, 0]

    def draw(self, rng: np.random.Generator) -> Example:
        i = int(self.members[rng.integers(len(self.members))])
        extra = self.latents[i, 0].float() * (rng.random() > 0.1)
        return Example(self.latents[i, 1].float(), extra, str(rng.choice(INSTRUCTIONS[KINDS[int(self.kinds[i])]])))


@torch.no_grad()
def build_unclip(work: Path, limit: int) -> None:
    """DIR/unclip.pt: latents and embeddings of whole nuts, sound and broken."""
    vae = TrainedVae(work / "vae.pt", fast=True)
    prefix = len("embedder.model.")
    state = {name[prefix:]: torch.from_numpy(value) for name, value in random_vision_encoder.tensors()}
    vision = clip_vision_from_state_dict(state, torch.device("cpu"))
    latents, embeddings = [], []
    for shard in load_pool(work / "pool", "pictures", limit // 100):
        pictures = torch.from_numpy(shard[:, 0].reshape(-1, *shard.shape[3:]))
        latents += [vae.encode(part.permute(0, 3, 1, 2)).half() for part in pictures.split(20)]
        embeddings += [vision.encode_image(part.float() / 255).image_embeds.half() for part in pictures.split(20)]
    save_atomically({"targets": torch.cat(latents), "embeddings": torch.cat(embeddings)}, work / "unclip.pt")


class UnclipData:
    """The picture's own embedding with a random level of noise (often none), mostly without words."""

    channels = 4
    vector: int | None = 2 * random_vision_encoder.EMBEDDING

    def __init__(self, work: Path, limit: int = 2000) -> None:
        if not (work / "unclip.pt").exists():
            build_unclip(work, limit)
        self.state = torch.load(work / "unclip.pt", weights_only=True)
        self.augmentation = NoiseAugmentation(random_vision_encoder.EMBEDDING)

    def draw(self, rng: np.random.Generator) -> Example:
        i = int(rng.integers(len(self.state["targets"])))
        level = 0 if rng.random() < 0.6 else int(rng.integers(1000))
        generator = torch.Generator().manual_seed(int(rng.integers(2**31)))
        vector = self.augmentation.noisy(self.state["embeddings"][i : i + 1].float(), level, generator)[0]
        # Without a picture servers hand over zeros; the guidance needs to know what that means.
        vector = vector * float(rng.random() > 0.12)
        return Example(self.state["targets"][i].float(), torch.zeros(0, 16, 16), "", vector)
