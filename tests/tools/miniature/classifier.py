"""A small classifier of "a hole is in the picture", trained on generated nuts only, never on the model's samples."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from common import load_pool, log
from defectforge.runner.nuts import KINDS
from torch import nn

SIDE, HOLE = 64, KINDS.index("hole")


class HoleClassifier(nn.Module):
    """Five convolutions on 64 px pictures; the answer is the largest of local answers."""

    def __init__(self) -> None:
        super().__init__()
        widths = [3, 24, 32, 48, 64, 64]
        layers: list[nn.Module] = []
        for i, (a, b) in enumerate(pairwise(widths)):
            layers += [nn.Conv2d(a, b, 3, stride=2 if i in (1, 3) else 1, padding=1), nn.BatchNorm2d(b), nn.ReLU()]
        self.features = nn.Sequential(*layers)
        self.answer = nn.Conv2d(64, 1, 1)

    def forward(self, pictures: torch.Tensor) -> torch.Tensor:
        """0..1 ``[B, 3, 64, 64]`` to logits ``[B]``."""
        return torch.logsumexp(self.answer(self.features(pictures * 2 - 1)).flatten(1), 1) - 5.5


def shrunk(pictures: torch.Tensor) -> torch.Tensor:
    """0..1 ``[B, 3, H, W]`` to 64 px."""
    return F.interpolate(pictures, (SIDE, SIDE), mode="area")


def examples(work: Path) -> tuple[torch.Tensor, torch.Tensor]:
    """All pictures of the pool at 64 px (uint8) and whether a hole is in them."""
    pictures, labels = [], []
    keys = ("pictures", "masks", "kinds")
    for shots, masks, kinds in zip(*(load_pool(work / "pool", key) for key in keys), strict=True):
        flat = torch.from_numpy(shots.reshape(-1, *shots.shape[3:])).permute(0, 3, 1, 2).float() / 255
        pictures.append((shrunk(flat) * 255).to(torch.uint8))
        seen = (masks > 127).mean((2, 3)) > 0.004
        label = np.zeros((*seen.shape, 2), bool)
        label[..., 1] = seen & (kinds == HOLE)[:, None]
        labels.append(torch.from_numpy(label.reshape(-1)))
    return torch.cat(pictures), torch.cat(labels)


def trained_classifier(work: Path, steps: int = 900) -> tuple[HoleClassifier, float]:
    """The classifier and its accuracy on held-out generated nuts (the last tenth); kept in DIR/classifier.pt."""
    model, file = HoleClassifier(), work / "classifier.pt"
    if file.exists():
        state = torch.load(file, weights_only=True)
        model.load_state_dict(state["model"])
        return model.eval(), float(state["accuracy"])
    torch.manual_seed(2)
    pictures, labels = examples(work)
    cut = len(pictures) * 9 // 10
    weights = torch.where(labels[:cut], 1.0 / labels[:cut].sum(), 1.0 / (~labels[:cut]).sum())
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3)
    for step in range(steps):
        for group in optimizer.param_groups:
            group["lr"] = 2e-3 * (1 - step / steps)
        index = torch.multinomial(weights, 48)
        x = pictures[index].float() / 255
        # Blur, gain and flips: it should judge the hole, not the sharpness of the renderer.
        if step % 2:
            x = F.avg_pool2d(F.pad(x, (1, 1, 1, 1), mode="replicate"), 3, 1)
        x = x * (0.85 + 0.3 * torch.rand(48, 1, 1, 1)) + 0.01 * torch.randn_like(x)
        x = torch.rot90(x, step % 4, (2, 3))
        loss = F.binary_cross_entropy_with_logits(model(x), labels[index].float())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    model.eval()
    with torch.no_grad():
        guess = torch.cat([model(part.float() / 255) > 0 for part in pictures[cut:].split(256)])
    accuracy = float((guess == labels[cut:]).float().mean())
    log(work, "classifier", f"held-out accuracy {accuracy:.4f}")
    torch.save({"model": model.state_dict(), "accuracy": accuracy}, file)
    return model, accuracy
