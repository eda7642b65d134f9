"""Train the tiny autoencoder (TAESD's layout) on the pool of generated nuts.

    python tests/tools/miniature/train_vae.py --work DIR --steps 3000

Resumes from DIR/vae.pt. Latents are normalised to unit variance while training (as a batch norm without parameters),
which is folded into the encoder at the end, so that SD 1.5's latent scale 0.18215 holds with ``vae_scale`` 0.18215.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import torch
import torch.nn.functional as F
from common import load_pictures, log, save_atomically, sheet, tiny_vae

CROP, BATCH = 64, 8


class Normaliser(torch.nn.Module):
    """Per-channel mean and deviation of the latents, running; frozen for the last third of the training."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(1, 4, 1, 1))
        self.register_buffer("std", torch.ones(1, 4, 1, 1))

    def forward(self, latents: torch.Tensor, update: bool) -> torch.Tensor:
        if update:
            mean = latents.mean((0, 2, 3), keepdim=True).detach()
            std = latents.std((0, 2, 3), keepdim=True).detach().clamp_min(1e-3)
            self.mean.lerp_(mean, 0.05)
            self.std.lerp_(std, 0.05)
        return (latents - self.mean) / self.std


def edges(x: torch.Tensor) -> torch.Tensor:
    return torch.cat([(x[..., 1:, :-1] - x[..., :-1, :-1]), (x[..., :-1, 1:] - x[..., :-1, :-1])], 1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, required=True, help="folder with pool/; checkpoints and logs go there")
    parser.add_argument("--steps", type=int, default=3000)
    parser.add_argument("--lr", type=float, default=1e-3)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    device = torch.device(options.device)
    vae = tiny_vae().to(device, memory_format=torch.channels_last)
    normaliser = Normaliser().to(device)
    parameters = [*vae.parameters()]
    optimizer = torch.optim.AdamW(parameters, lr=options.lr, weight_decay=0.0, betas=(0.9, 0.99))
    state_file = options.work / "vae.pt"
    step = 0
    if state_file.exists():
        state = torch.load(state_file, weights_only=True)
        vae.load_state_dict(state["vae"])
        normaliser.load_state_dict(state["normaliser"])
        optimizer.load_state_dict(state["optimizer"])
        step = state["step"]
    pictures = load_pictures(options.work / "pool", limit=700)
    log(options.work, "vae", f"start at step {step}, {len(pictures)} pictures")
    generator = torch.Generator().manual_seed(1 + step)
    since, mean_error = time.time(), 0.0
    while step < options.steps:
        for group in optimizer.param_groups:
            warm = min(1.0, (step + 1) / 100)
            group["lr"] = options.lr * warm * min(1.0, 0.03 + 1.9 * (1.0 - step / options.steps))
        index = torch.randint(len(pictures), (BATCH,), generator=generator)
        corner = torch.randint(6, 128 - CROP - 5, (BATCH, 2), generator=generator)  # not the empty border
        batch = torch.stack(
            [
                pictures[i][:, y : y + CROP, x : x + CROP]
                for i, (y, x) in zip(index.tolist(), corner.tolist(), strict=True)
            ]
        )
        if torch.rand((), generator=generator) < 0.5:
            batch = batch.transpose(2, 3)
        x = (batch.float() / 255.0).to(device).contiguous(memory_format=torch.channels_last)
        with torch.autocast(device.type, torch.bfloat16):
            raw = vae.encoder(x * 2 - 1)
        latents = normaliser(raw.float(), update=step < options.steps * 2 // 3)
        # A little noise makes the decoder forgiving to what a diffusion model leaves over.
        noisy = latents + 0.04 * torch.randn(latents.shape, generator=generator).to(device)
        with torch.autocast(device.type, torch.bfloat16):
            y = vae.decoder(noisy)
        y = (y.float() + 1) / 2
        error = F.mse_loss(y, x)
        spread = ((raw.float().mean((0, 2, 3))) ** 2 + (raw.float().std((0, 2, 3)) - 1) ** 2).mean()
        loss = 30.0 * error + 0.3 * F.l1_loss(y, x) + 0.3 * F.l1_loss(edges(y), edges(x)) + 0.002 * spread
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        mean_error += float(error.detach())
        step += 1
        if step % 100 == 0:
            psnr = -10 * torch.log10(torch.tensor(mean_error / 100)).item()
            log(
                options.work,
                "vae",
                f"step {step} psnr {psnr:.2f} loss {loss.item():.4f} {(time.time() - since) / 100:.2f} s/step",
            )
            since, mean_error = time.time(), 0.0
        if step % 500 == 0 or step == options.steps:
            state = {
                "vae": vae.state_dict(),
                "normaliser": normaliser.state_dict(),
                "optimizer": optimizer.state_dict(),
                "step": step,
            }
            save_atomically(state, state_file)
            with torch.no_grad():
                some = pictures[-12:].float().to(device) / 255.0
                latents = normaliser(vae.encoder(some * 2 - 1), update=False)
                again = ((vae.decoder(latents) + 1) / 2).clamp(0, 1)
            sheet(torch.cat([some, again]), options.work / f"vae-{step:05d}.png", columns=12)
    log(options.work, "vae", "done")


if __name__ == "__main__":
    main()
