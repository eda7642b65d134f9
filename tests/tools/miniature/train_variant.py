"""Fine-tune a variant of the trained U-Net: wider input convolution, and a low-rank change of every other weight.

    python tests/tools/miniature/train_variant.py --work DIR --kind inpaint --steps 1000 [--deadline 19:20]

Writes DIR/unet-<kind>.pt (the whole changed U-Net; export.py takes the difference). Resumes from it.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np
import torch
from captions import INSTRUCTIONS, P1
from common import log, save_atomically, sheet
from diffusion import alphas_cumprod, miniature_unet, sample
from torch.nn.utils import parametrize
from train_unet import DROPOUT, deadline_seconds, learning_rate, noised
from trained import TrainedVae
from variant_data import InpaintData, InstructData, UnclipData

RANK, SMALL = 32, 20_000
DATA = {"inpaint": InpaintData, "ip2p": InstructData, "unclip": UnclipData}


class LowRank(torch.nn.Module):
    """``weight + rows @ columns``, of which only the factors are trained."""

    def __init__(self, weight: torch.Tensor) -> None:
        super().__init__()
        flat = weight.reshape(len(weight), -1)
        self.rows = torch.nn.Parameter(torch.zeros(len(flat), RANK))
        self.columns = torch.nn.Parameter(torch.randn(RANK, flat.shape[1]) / flat.shape[1] ** 0.5)

    def forward(self, weight: torch.Tensor) -> torch.Tensor:
        return weight + (self.rows @ self.columns).view_as(weight)


def widened(unet: torch.nn.Module, channels: int, vector: int | None) -> torch.nn.Module:
    """The same network with more input channels or an embedding's vector, which start without effect."""
    wide = miniature_unet(channels, vector)
    state = unet.state_dict()
    weight = torch.zeros(320, channels, 3, 3)
    weight[:, :4] = state["conv_in.weight"]
    wide.load_state_dict({**state, "conv_in.weight": weight}, strict=vector is None)
    if vector is not None:
        torch.nn.init.zeros_(wide.class_embedding.linear_2.weight)
        torch.nn.init.zeros_(wide.class_embedding.linear_2.bias)
    return wide


@torch.no_grad()
def whiten(layer: torch.nn.Linear, embeddings: torch.Tensor) -> None:
    """Let a layer start as if each number of an embedding had mean 0 and deviation 1: what all have in common says
    nothing, and would drown what tells pictures apart."""
    width = embeddings.shape[1]
    mean, deviation = embeddings.float().mean(0), embeddings.float().std(0).clamp(min=1e-3)
    layer.weight[:, :width] /= deviation
    layer.bias -= layer.weight[:, :width] @ mean


def adapt(unet: torch.nn.Module) -> tuple[list[torch.nn.Parameter], list[torch.nn.Parameter]]:
    """Freeze everything but low-rank changes of the large weights and the small tensors; returns (factors, whole)."""
    unet.requires_grad_(False)
    whole = [*unet.conv_in.parameters()]
    if unet.class_embedding is not None:
        whole += [*unet.class_embedding.parameters()]
    factors = []
    for name, module in [*unet.named_modules()]:
        if name.startswith(("conv_in", "class_embedding")) or not isinstance(module, torch.nn.Linear | torch.nn.Conv2d):
            continue
        if module.weight.numel() > SMALL:
            change = LowRank(module.weight)
            parametrize.register_parametrization(module, "weight", change)
            factors += [change.rows, change.columns]
    for p in whole:
        p.requires_grad_(True)
    return factors, whole


def merged(unet: torch.nn.Module) -> dict[str, torch.Tensor]:
    """State dict in the plain network's names, with the changes added up."""
    state = {}
    for name, value in unet.state_dict().items():
        if ".parametrizations." not in name:
            state[name] = value.clone()
    for name, module in unet.named_modules():
        if parametrize.is_parametrized(module):
            state[f"{name}.weight"] = module.weight.detach().clone()
    return state


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--kind", choices=sorted(DATA), required=True)
    parser.add_argument("--steps", type=int, default=1000)
    parser.add_argument("--deadline", help="HH:MM, wall clock: stop then")
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--lr", type=float, default=1e-3)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.manual_seed(3)
    device = torch.device(options.device)
    data = DATA[options.kind](options.work)
    file = options.work / f"unet-{options.kind}.pt"
    base = miniature_unet()
    base.load_state_dict(torch.load(options.work / "unet.pt", weights_only=True)["ema"])
    unet = widened(base, data.channels, data.vector).to(device)
    if data.vector is not None:
        whiten(unet.class_embedding.linear_1, data.state["embeddings"].to(device))
    factors, whole = adapt(unet)
    groups = [{"params": factors, "scale": 1.0}, {"params": whole, "scale": 0.5 if data.vector is None else 1.0}]
    optimizer = torch.optim.AdamW(groups, lr=options.lr, weight_decay=0.0, betas=(0.9, 0.99), foreach=True)
    trained = [*factors, *whole]
    step = 0
    if file.exists():
        state = torch.load(file, weights_only=True)
        unet.load_state_dict(state["adapted"])
        optimizer.load_state_dict(state["optimizer"])
        step = state["step"]
    ema = [p.detach().clone() for p in trained]
    stored = torch.load(options.work / "contexts.pt", weights_only=True)
    contexts, row = stored["contexts"], {text: i for i, text in enumerate(stored["texts"])}
    rng, generator = np.random.default_rng(20 + step), torch.Generator().manual_seed(30 + step)
    alphas, budget, start = alphas_cumprod(), deadline_seconds(options.deadline), time.time()
    name, since, total = f"unet-{options.kind}", time.time(), 0.0
    log(options.work, name, f"start at step {step}, {sum(p.numel() for p in trained) / 1e6:.2f} M trained")
    while step < options.steps and (budget is None or time.time() - start < budget):
        by_clock = 0.0 if budget is None else (time.time() - start) / budget
        rate = learning_rate(options.lr, step, max(step / options.steps, by_clock))
        for group in optimizer.param_groups:
            group["lr"] = rate * group["scale"]
        examples = [data.draw(rng) for _ in range(options.batch)]
        rows = [0 if rng.random() < DROPOUT else row[e.text] for e in examples]
        x, times, noise, weight = noised(torch.stack([e.target for e in examples]), alphas, generator)
        x = torch.cat([x, torch.stack([e.extra for e in examples])], 1)
        vector = None if data.vector is None else torch.stack([e.vector for e in examples]).to(device)
        context = contexts[rows].float().to(device)
        with torch.autocast(device.type, torch.bfloat16), parametrize.cached():
            guess = unet(x.to(device), times.to(device), context, class_labels=vector).sample
        loss = (weight.to(device) * (guess.float() - noise.to(device)) ** 2).mean()
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(trained, 1.0)
        optimizer.step()
        step += 1
        with torch.no_grad():
            torch._foreach_lerp_(ema, trained, 1 - min(0.99, (1 + step) / (10 + step)))
        total += float(loss.detach())
        if step % 50 == 0:
            log(options.work, name, f"step {step} loss {total / 50:.4f} {(time.time() - since) / 50:.2f} s/step")
            since, total = time.time(), 0.0
    with torch.no_grad():
        adapted = {key: value.clone() for key, value in unet.state_dict().items()}
        for p, value in zip(trained, ema, strict=True):
            p.copy_(value)
    state = {"ema": merged(unet), "adapted": adapted, "optimizer": optimizer.state_dict(), "step": step}
    save_atomically(state, file)
    examples = [data.draw(np.random.default_rng([40, i])) for i in range(8)]
    text = {"inpaint": P1, "ip2p": INSTRUCTIONS["hole"][0], "unclip": ""}[options.kind]
    context = contexts[[row[text]] * 8].float().to(device)
    extra = torch.stack([e.extra for e in examples]).to(device)
    vae = TrainedVae(options.work / "vae.pt", options.device)
    vector = None if data.vector is None else torch.stack([e.vector for e in examples]).to(device)
    empty = contexts[:1].float().to(device)
    made = sample(unet, context, empty, torch.Generator().manual_seed(7), extra=extra, vector=vector)
    pictures = [vae.decode(made), vae.decode(torch.stack([e.target for e in examples]))]
    if data.channels > 4:
        pictures.insert(0, vae.decode(extra[:, -4:]))
    sheet(torch.cat(pictures), options.work / f"{name}-{step:05d}.png", columns=8)
    log(options.work, name, f"done at step {step}")


if __name__ == "__main__":
    main()
